"""The original's proved holes in network, disk and configuration, each provoked here at a real
daemon: none is there.

The names are those of the reference's list (H1 to H6, H10, H17, H22, H24). Nothing here has a key:
what must hold without one holds with one, and what only a key can prevent is in test_attackers.
"""

from __future__ import annotations

import json
import os
import random
import signal
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from opensvc_openha.core.states import ServiceState
from opensvc_openha.formats.disk_slot import encode_slot
from tests.cluster_dir import HERE, PEER, ClusterDir
from tests.peer_voice import PeerVoice
from tests.waiting import stays


@pytest.fixture
def voice(cluster_dir: ClusterDir) -> Iterator[PeerVoice]:
    """The peer of the cluster directory."""
    made = PeerVoice(cluster_dir)
    yield made
    made.close()


def listener(cluster: ClusterDir, kind: str = "unicast") -> str:
    """Its line in `hb -s`."""
    return next(
        line for line in cluster.ok("hb -s").splitlines() if line.startswith(f"{kind} listener")
    )


def wait_down(cluster: ClusterDir, kind: str = "unicast") -> None:
    cluster.wait(lambda: "DOWN" in listener(cluster, kind), f"{kind} down")


def link_changes(cluster: ClusterDir, state: str) -> list[float]:
    """When the network listener came into a state, as the history has it: it may have been there
    for a moment only.
    """
    entries = json.loads(cluster.ok("openha history -n 0 --json"))["entries"]
    return [
        entry["mono"]
        for entry in entries
        if entry["kind"] == "link"
        and entry["name"].startswith("unicast ")
        and entry["new"] == state
    ]


def run_here(cluster: ClusterDir) -> None:
    """A daemon with a service that runs on this node."""
    cluster.add("registry")
    cluster.ok("ezha start")
    cluster.ok("service -A registry force-start")


def legacy_record(node: str, **states: int) -> bytes:
    """A datagram as a C OpenHA sends it: 9,384 bytes, little endian."""
    names = b"".join(name.encode().ljust(64, b"\0") for name in states)
    codes = b"".join(struct.pack("<i", state) for state in states.values())
    head = node.encode().ljust(128, b"\0") + struct.pack(
        "<ii5s15s", 1, 0, b"5010", b"239.131.50.10"
    )
    body = names.ljust(8192, b"\0") + codes.ljust(512, b"\0") + bytes(512)
    return head + body + struct.pack("<IIi", 1, int(time.time()), 47)


def test_h1_datagram_in_our_own_name_changes_no_state(
    cluster_dir: ClusterDir, voice: PeerVoice
) -> None:
    """One that names this node as its sender, in our format and in the original's: STARTED stays,
    in memory and on disk.
    """
    run_here(cluster_dir)
    voice.states = {"registry": ServiceState.FROZEN_STOP}
    for _ in range(10):
        voice.throw(voice.frame(node=HERE, with_names=True))
        voice.throw(legacy_record(HERE, registry=6))
    cluster_dir.wait(lambda: "10 namesake" in cluster_dir.ok("hb -s -v"), "both are counted")
    assert "another node uses the name of this one" in cluster_dir.ok("hb -s -v")
    assert cluster_dir.state("registry") == "STARTED"
    assert cluster_dir.state_file("registry").read_bytes() == b"2\0"
    assert "DOWN" in listener(cluster_dir) and cluster_dir.calls("registry.sh") == []


def test_h2_names_in_a_datagram_never_become_paths(
    cluster_dir: ClusterDir, voice: PeerVoice
) -> None:
    """Node and service names full of slashes, dots and 230 bytes, in both formats: no file outside
    is touched or made.
    """
    run_here(cluster_dir)
    victim = cluster_dir.path("victim")
    victim.write_bytes(b"root:x:0:0:root\n")
    before = {path for path in cluster_dir.root.rglob("*") if "proc" not in str(path)}
    good = voice.frame(with_names=True)
    for name in ("../../victim", "/" + "/" * 200 + "victim", "..", "a/b", "x\0y"):
        voice.throw(legacy_record("../../" + name[:100], **{name: 0}))
        voice.throw(legacy_record(PEER, **{name: 0}))
        old, new = PEER.encode(), name.encode()[:127]
        mutant = good.replace(bytes([len(old)]) + old, bytes([len(new)]) + new)
        mutant = mutant[:8] + struct.pack(">H", len(mutant)) + mutant[10:-4]
        voice.throw(mutant + struct.pack(">I", zlib.crc32(mutant)))
    cluster_dir.wait(lambda: "malformed" in cluster_dir.ok("hb -s -v"), "they are counted")
    assert victim.read_bytes() == b"root:x:0:0:root\n"
    assert {path for path in cluster_dir.root.rglob("*") if "proc" not in str(path)} == before


def test_h3_one_byte_datagrams_do_not_keep_a_dead_peer_alive(
    cluster_dir: ClusterDir, voice: PeerVoice
) -> None:
    """The peer was live and died.

    Scraps of 0 to 60 bytes come in ten times a second: down in its timeout, states UNKNOWN.
    """
    cluster_dir.add("registry")
    cluster_dir.ok("ezha start")
    voice.meet(cluster_dir)
    data = voice.frame()

    def is_down() -> bool:
        for length in (0, 1, 2, 4, 20, 60):
            voice.throw(data[:length])
        return "DOWN" in listener(cluster_dir)

    cluster_dir.wait(is_down, "scraps do not keep it alive")
    assert "truncated" in cluster_dir.ok("hb -s -v")
    cluster_dir.wait(lambda: "UNKNOWN" in cluster_dir.ok("service -s -c"), "the peer is unknown")


def test_h4_one_beat_after_a_silence_counts_for_one_timeout(
    cluster_dir: ClusterDir, voice: PeerVoice
) -> None:
    """Down, one beat, then nothing: up, and down again after the timeout.

    Three times over, as with a crash loop.
    """
    cluster_dir.ok("ezha start")
    wait_down(cluster_dir)
    for _ in range(3):
        ups = len(link_changes(cluster_dir, "UP"))
        voice.send()
        cluster_dir.wait(
            lambda: len(link_changes(cluster_dir, "UP")) > ups, "one beat brings it up"
        )
        wait_down(cluster_dir)


def test_h5_dead_or_stopped_worker_of_a_link_is_seen_and_blocks_no_decision(
    cluster_dir: ClusterDir, voice: PeerVoice
) -> None:
    """The process behind the disk link is stopped, later killed: its link goes down with a reason,
    services are still decided.
    """
    cluster_dir.add("registry")
    cluster_dir.ok("ezha start")
    worker = next(pid for pid in _children(cluster_dir.pid()) if "disk_worker" in _command(pid))
    os.kill(worker, signal.SIGSTOP)
    try:
        cluster_dir.wait(lambda: "hung" in cluster_dir.ok("hb -s -v"), "the hang is reported")
        assert "dio sender" in cluster_dir.ok("hb -s")
        cluster_dir.ok("service -A registry unfreeze")
        cluster_dir.wait_state("registry", "STARTED")
    finally:
        os.kill(worker, signal.SIGKILL)
    cluster_dir.wait(
        lambda: "dio sender" in _up(cluster_dir), "the link comes back with a new process"
    )


def _up(cluster: ClusterDir) -> str:
    return "\n".join(line for line in cluster.ok("hb -s").splitlines() if " UP" in line)


def _children(pid: int) -> list[int]:
    return [
        int(word)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for word in (task / "children").read_text().split()
    ]


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


@pytest.mark.parametrize("content", ["never written", "zeroed later"])
def test_h6_blank_slot_is_a_silent_peer(
    cluster_dir: ClusterDir, voice: PeerVoice, content: str
) -> None:
    """The peer's slot holds zeros: the disk listener is down, the peer silent, and the service is
    taken over.
    """
    disk = cluster_dir.root / "disk"
    if content == "zeroed later":
        _write_slot(disk, voice)
    cluster_dir.add("registry")
    cluster_dir.ok("ezha start")
    if content == "zeroed later":
        beat_until_heard(cluster_dir, voice)
        with disk.open("r+b") as file:
            file.seek(5120)
            file.write(bytes(5120))
    wait_down(cluster_dir, "dio")
    cluster_dir.ok("service -A registry unfreeze")
    cluster_dir.wait_state("registry", "STARTED")


def beat_until_heard(cluster: ClusterDir, voice: PeerVoice) -> None:
    """The peer beats on the disk until the daemon has heard it there."""

    def is_heard() -> bool:
        _write_slot(cluster.root / "disk", voice)
        return "UP" in listener(cluster, "dio")

    cluster.wait(is_heard, "the peer is heard on the disk")


def _write_slot(disk: Path, voice: PeerVoice) -> None:
    """The peer's next beat in its slot."""
    with disk.open("r+b") as file:
        file.seek(10 * 512)
        file.write(encode_slot(voice.frame(), 5120).ljust(5120, b"\0"))
        file.flush()
        os.fsync(file.fileno())


def test_h6b_disk_that_cannot_be_read_takes_its_link_down(
    cluster_dir: ClusterDir, voice: PeerVoice
) -> None:
    """The peer is heard on the disk, then the disk shrinks to nothing: down, and the verdict on the
    peer is passed.
    """
    disk = cluster_dir.root / "disk"
    cluster_dir.ok("ezha start")
    beat_until_heard(cluster_dir, voice)
    cluster_dir.path("disk.gone").mkdir()
    os.rename(disk, cluster_dir.path("disk.gone/disk"))
    os.truncate(cluster_dir.path("disk.gone/disk"), 0)
    wait_down(cluster_dir, "dio")
    cluster_dir.wait(lambda: f"peer {PEER}: silent" in cluster_dir.ok("hb -s -v"), "silent")


def test_h6c_record_of_the_past_is_not_heard_at_start(
    cluster_dir: ClusterDir, voice: PeerVoice
) -> None:
    """The disk holds the last beat of a peer that died: never up, its states are not taken."""
    cluster_dir.add("registry")
    voice.states = {"registry": ServiceState.STARTED}
    _write_slot(cluster_dir.root / "disk", voice)
    cluster_dir.ok("ezha start")
    stays(
        lambda: (listener(cluster_dir, "dio"), cluster_dir.ok("service -s -c")),
        lambda seen: "DOWN" in seen[0] and "STARTED" not in seen[1],
        1.5,
    )


def test_h6d_peer_whose_clock_stands_still_is_alive_on_the_disk(
    cluster_dir: ClusterDir, voice: PeerVoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every beat bears the same time: it counts that the beat is a new one."""
    monkeypatch.setattr(time, "time", lambda: 1_000_000.0)
    cluster_dir.ok("ezha start")
    beat_until_heard(cluster_dir, voice)
    began = time.monotonic()

    def has_lived_on() -> bool:
        """For longer than the timeout, though all its beats bear one time."""
        beat_until_heard(cluster_dir, voice)
        return time.monotonic() > began + 3

    cluster_dir.wait(has_lived_on, "alive")


def test_h6e_slot_holds_nothing_but_the_beat(cluster_dir: ClusterDir) -> None:
    """All bytes of the slot behind the frame are zeros, and no byte beside the slot is written."""
    disk = cluster_dir.root / "disk"
    cluster_dir.ok("ezha start")
    cluster_dir.wait(lambda: disk.read_bytes()[:4] == b"\x89EZS", "a beat is written")
    data = disk.read_bytes()
    length = struct.unpack(">I", data[4:8])[0]
    assert 60 < length < 300
    assert not data[12 + length :].strip(b"\0")


@pytest.mark.parametrize("offsets", ["0 9", "9 0", "0 0", "5 5", "10 1", "19 10"])
def test_h6f_slots_that_overlap_are_refused_in_any_order(
    cluster_dir: ClusterDir, offsets: str
) -> None:
    """Whatever line comes first: the start is refused with the line, and nothing is written."""
    first, second = offsets.split()
    disk = cluster_dir.root / "disk"
    cluster_dir.path("conf/monitor").write_text(
        f"{HERE} dio {disk} {first} 10\n{PEER} dio {disk} {second} 10\n"
    )
    assert "monitor:2: offset" in cluster_dir.fails("ezha start", 3)
    assert not disk.read_bytes().strip(b"\0")


def test_h10_blank_lines_and_comments_in_monitor_have_no_effect(
    cluster_dir: ClusterDir, voice: PeerVoice
) -> None:
    """Blank lines, comments, CRs and no final newline: the links are those that are there, and the
    cluster decides.
    """
    monitor = cluster_dir.path("conf/monitor")
    lines = monitor.read_text().splitlines()
    monitor.write_bytes("\r\n".join(["", "# the links", "   ", *lines, "\t# end"]).encode())
    cluster_dir.add("registry")
    cluster_dir.ok("ezha start")
    assert len(cluster_dir.ok("hb -s").splitlines()) == 4
    voice.meet(cluster_dir)
    wait_down(cluster_dir)
    cluster_dir.ok("service -A registry unfreeze")
    cluster_dir.wait_state("registry", "STARTED")


@pytest.mark.parametrize(
    "line", ["stranger net eth9 239.1.1.1 5010 10", "web /opt/web a b /bin/true", "x"]
)
def test_h10_line_that_is_no_link_of_this_cluster_is_an_error(
    cluster_dir: ClusterDir, line: str
) -> None:
    """An unknown node or something else: reported with its line at the start.

    While it runs, nothing changes.
    """
    monitor = cluster_dir.path("conf/monitor")
    good = monitor.read_text()
    monitor.write_text(good + line + "\n")
    assert "monitor:5:" in cluster_dir.fails("ezha start", 3)
    monitor.write_text(good)
    cluster_dir.ok("ezha start")
    monitor.write_text(good + line + "\n")
    cluster_dir.wait(
        lambda: "configuration not taken over" in cluster_dir.ok("hb -s -v"),
        "the mistake is reported",
    )
    assert len(cluster_dir.ok("hb -s").splitlines()) == 4


def test_h17_stall_at_any_moment_hangs_nothing(cluster_dir: ClusterDir, voice: PeerVoice) -> None:
    """Stopped and continued over and over, longer and shorter than a beat: beats come again at
    once, takeover works.
    """
    cluster_dir.add("registry")
    cluster_dir.ok("ezha start")
    voice.meet(cluster_dir)
    dice = random.Random(3)
    for pause in (0.05, 1.1, 0.3, 2.5, 0.7, 1.6):
        cluster_dir.kill(signal.SIGSTOP)
        time.sleep(pause)
        cluster_dir.kill(signal.SIGCONT)
        voice.listen()
        heard = voice.heard
        assert heard is not None

        def has_spoken() -> bool:
            frame = voice.listen()
            return frame is not None and frame.seq > heard.seq

        cluster_dir.wait(has_spoken, "it speaks again")
        time.sleep(dice.random() / 4)
    wait_down(cluster_dir)
    cluster_dir.ok("service -A registry unfreeze")
    cluster_dir.wait_state("registry", "STARTED")


def test_h22_service_only_the_peer_knows_fills_no_log(
    cluster_dir: ClusterDir, voice: PeerVoice
) -> None:
    """Fifty beats with services this node does not have: one line in the log each way, the status
    reports, no directory is made.
    """
    cluster_dir.add("registry")
    cluster_dir.ok("ezha start")
    voice.states = {"registry": ServiceState.STOPPED}
    voice.meet(cluster_dir)
    lines = cluster_dir.log()
    voice.states = {"ghost": ServiceState.STARTED, "other": ServiceState.STOPPED}
    for number in range(50):
        voice.listen()
        voice.states = {**voice.states, f"ghost{number % 3}": ServiceState.STARTED}
        voice.throw(voice.frame(with_names=True))
        time.sleep(0.02)
    voice.meet(cluster_dir)
    new = cluster_dir.log().replace(lines, "").splitlines()
    # Links and peer may go down meanwhile where this test has no turn for a timeout.
    assert (
        len([line for line in new if " link " not in line and f" peer {PEER}: " not in line]) == 2
    ), new
    shown = cluster_dir.ok("service -s -v")
    assert (
        f"warning: only {PEER} has service ghost, ghost0, ghost1, ghost2, other: add it on {HERE}"
        " (service -a)" in shown
    )
    assert f"warning: only {HERE} has service registry: add it on {PEER}" in shown
    status = json.loads(cluster_dir.ok("service -s --json"))
    assert (status["own_only"], status["peer_only"]) == (
        ["registry"],
        ["ghost", "ghost0", "ghost1", "ghost2", "other"],
    )
    assert not cluster_dir.path("services/ghost").exists()
    voice.states = {"registry": ServiceState.STOPPED}
    voice.meet(cluster_dir)
    cluster_dir.wait(
        lambda: f"only {PEER} has" not in cluster_dir.ok("service -s -v"), "they agree again"
    )
    assert cluster_dir.log().count("SERVICES AGREE") == 2


def test_h24_storm_of_signals_and_beats_breaks_nothing(
    cluster_dir: ClusterDir, voice: PeerVoice
) -> None:
    """Hundreds of SIGHUPs during beats and state changes: it serves, each STATE file read at any
    time is whole and true.
    """
    cluster_dir.add("registry")
    cluster_dir.ok("ezha start")
    voice.meet(cluster_dir)
    pid = cluster_dir.pid()
    path = cluster_dir.state_file("registry")
    seen = set()
    for number in range(300):
        os.kill(pid, signal.SIGHUP)
        voice.send()
        if number % 60 == 0:
            action = "force-start" if number % 120 == 0 else "force-stop"
            cluster_dir.ok(f"service -A registry {action}")
        seen.add(path.read_bytes())
        time.sleep(0.005)
    assert seen <= {b"0\0", b"2\0", b"6\0"} and len(seen) >= 2
    assert cluster_dir.pid() == pid and cluster_dir.state("registry") == "STARTED"
    voice.listen()
    voice.meet(cluster_dir)
