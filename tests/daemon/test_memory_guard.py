"""Memory runs out on a node: the kernel ends something else than the daemon, and services are worth
no more than before.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from opensvc_openha.daemon.memory_guard import PROTECTED, MemoryGuard
from tests.cluster_dir import ClusterDir

MEMORY = Path("/sys/fs/cgroup/memory")
LIMIT_MB = 160
HOG_MB = 12
"""Less than a daemon has: by size alone the daemon would be the first to go."""
HOG = f"import time; kept = bytearray(b'x') * ({HOG_MB} << 20); time.sleep(600)"

BEFORE = "echo 500 > /proc/self/oom_score_adj"


def score(pid: int) -> int:
    """The adjustment of a process."""
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def start(cluster: ClusterDir, first: str) -> int:
    """`ezha start` by a shell that does something first; the daemon's pid."""
    done = subprocess.run(
        ["sh", "-c", f"{first} && exec {cluster.root}/ezha start"],
        capture_output=True,
        text=True,
        env=cluster.env,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done
    return cluster.pid()


def test_daemon_is_protected_and_its_scripts_are_not(cluster_dir: ClusterDir) -> None:
    """Started with 500, the daemon lowers it as far as it may.

    The start script, and what it leaves running, has 500.
    """
    seen = cluster_dir.root / "seen"
    # `service -a` asks for the status as well, with the score of the shell it is typed in.
    cluster_dir.add("registry", f'[ "$1" != start ] || cat /proc/self/oom_score_adj >> {seen}')
    pid = start(cluster_dir, BEFORE)
    cluster_dir.ok("service -A registry unfreeze")
    cluster_dir.wait_state("registry", "STARTED")
    assert score(pid) in (PROTECTED, 0)
    assert set(seen.read_text().split()) == {"500"}


def protected_from(given: int) -> tuple[int, int]:
    """A process that begins with a value: what it gets to, and what it runs a command with.

    None is refused without rights.
    """
    code = (
        "import subprocess\nfrom opensvc_openha.daemon.memory_guard import MemoryGuard\nguard ="
        " MemoryGuard()\nguard.protect()\nprint(open('/proc/self/oom_score_adj').read().strip(),"
        " flush=True)\nsubprocess.run(guard.command(['cat', '/proc/self/oom_score_adj']),"
        " check=True)\n"
    )
    begin = 'echo "$2" > /proc/self/oom_score_adj || exit 77; exec "$0" -c "$1"'
    done = subprocess.run(
        ["sh", "-c", begin, sys.executable, code, str(given)], capture_output=True, text=True
    )
    if done.returncode == 77:
        pytest.skip("needs CAP_SYS_RESOURCE, which containers have not")
    own, given_back = map(int, done.stdout.split())
    return own, given_back


def test_what_is_run_has_the_value_of_before() -> None:
    """Whatever the process can lower, what it runs is worth what it was worth itself."""
    own, given_back = protected_from(250)
    assert own < 250 and given_back == 250


@pytest.mark.parametrize("given", [PROTECTED, -1000])
def test_value_set_by_the_unit_is_not_handed_on(given: int) -> None:
    """OOMScoreAdjust= of the unit is meant for the daemon alone: what it starts has 0."""
    assert protected_from(given) == (given, 0)


def test_command_is_not_wrapped_where_nothing_is_protected() -> None:
    """Without the right to lower the score there is nothing to give back."""
    assert MemoryGuard().command(["/opt/fence.sh", "start"]) == ["/opt/fence.sh", "start"]


@pytest.fixture
def group() -> Iterator[Path]:
    """A memory cgroup with a limit."""
    if os.geteuid() or not os.access(MEMORY / "cgroup.procs", os.W_OK):
        pytest.skip("needs root and a writable cgroup v1 memory controller")
    place = MEMORY / f"oht{os.getpid()}"
    place.mkdir()
    try:
        (place / "memory.limit_in_bytes").write_text(str(LIMIT_MB << 20))
        with contextlib.suppress(OSError):
            (place / "memory.memsw.limit_in_bytes").write_text(str(LIMIT_MB << 20))
        yield place
    finally:
        for pid in (place / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                os.kill(int(pid), signal.SIGKILL)
        for _ in range(200):
            with contextlib.suppress(OSError):
                place.rmdir()
                break
            subprocess.run(["sleep", "0.05"], check=True)


def test_out_of_memory_ends_another_process_than_the_daemon(
    cluster_dir: ClusterDir, group: Path
) -> None:
    """The daemon and ever more smaller processes share a group with a limit: one of those is
    killed, the daemon lives on.
    """
    pid = start(cluster_dir, f"{BEFORE} && echo $$ > {group}/cgroup.procs")
    assert str(pid) in (group / "cgroup.procs").read_text().split()
    hogs: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(2 * LIMIT_MB // HOG_MB):
            if any(hog.poll() == -signal.SIGKILL for hog in hogs):
                break
            hog_command = (
                f'{BEFORE} && echo $$ > {group}/cgroup.procs && exec {sys.executable} -c "{HOG}"'
            )
            hogs.append(subprocess.Popen(["sh", "-c", hog_command]))
            with contextlib.suppress(subprocess.TimeoutExpired):
                hogs[-1].wait(0.3)
        cluster_dir.wait(
            lambda: any(hog.poll() == -signal.SIGKILL for hog in hogs), "the kernel has killed one"
        )
        assert cluster_dir.pid() == pid
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


FIPS = Path("/proc/sys/crypto/fips_enabled")


@pytest.mark.skipif(
    FIPS.exists() and FIPS.read_text().strip() == "1", reason="the system demands OpenSSL's digests"
)
def test_daemon_seals_its_beats_without_openssl(cluster_dir: ClusterDir) -> None:
    """Its library is larger than what the daemon needs of it: Python has the digests itself."""
    cluster_dir.ok("openha key generate")
    cluster_dir.add("registry", "exit 0")
    cluster_dir.ok("ezha start")
    assert "registry" in cluster_dir.ok("service -s")
    maps = Path(f"/proc/{cluster_dir.pid()}/maps").read_text()
    assert "libc." in maps and "libcrypto" not in maps and "_hashlib" not in maps
