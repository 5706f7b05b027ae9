"""The outer namespaces that hold both nodes, and how to run commands in a namespace.

One small process keeps a mount and a network namespace (and, without root, a user namespace) of its
own, with a tmpfs for the nodes' disks and the switches of their links. It lives until its standard
input is closed: when the owner closes it, or dies in any way, then process, namespaces, mounts and
links all vanish.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from typing import IO

from opensvc_openha.errors import SystemFault
from opensvc_openha.system import clock

BASE = "/dev/shm"
"""Mount point of the sandbox's tmpfs: exists on every Linux, and no node inherits it."""

TOOL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
START_LIMIT_S = COMMAND_LIMIT_S = 120.0
END_LIMIT_S = 30.0
"""Limits, in seconds, for what hangs: the machine may be busy."""

PACKAGES = {
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "mount": "mount or util-linux",
    "pivot_root": "util-linux",
    "ip": "iproute2",
}


def find_tool(name: str) -> str:
    """Return the absolute path of a system tool; SystemFault names the package to install."""
    path = shutil.which(name, path=TOOL_PATH)
    if path is None:
        raise SystemFault(
            f"the command '{name}' is missing: install the package {PACKAGES.get(name, name)}"
        )
    return path


def is_rootless() -> bool:
    """Return whether a user namespace is needed to be root in.

    True for an ordinary user, and for root in any user namespace but the first one.
    """
    with open("/proc/self/uid_map", encoding="ascii") as file:
        is_first_namespace = file.read().split() == ["0", "0", "4294967295"]
    return os.geteuid() != 0 or not is_first_namespace


class Sandbox:
    """The outer process and its namespaces."""

    def __init__(self) -> None:
        for tool in PACKAGES:
            find_tool(tool)
        self.rootless = is_rootless()
        self.disk_file = ""
        """A file on the host's disk, which the outer process removes at its end."""
        self._lifeline_r, self._lifeline_w = os.pipe()
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        kind = ["--user", "--map-root-user"] if self.rootless else []
        script = (
            f"mount -t tmpfs -o mode=755 openha {BASE} && mkdir {BASE}/shared {BASE}/net &&"
            " disk=$(mktemp /var/tmp/openha-disk-XXXXXX) && echo ready $disk; cat >/dev/null; rm"
            " -f $disk"
        )
        with tempfile.TemporaryFile() as errors:
            argv = [find_tool("unshare"), *kind, "--mount", "--net", "--", "/bin/sh", "-c", script]
            self._process = subprocess.Popen(
                argv,
                stdin=self._lifeline_r,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=tool_environment(),
                start_new_session=True,
            )
            assert self._process.stdout is not None
            line = read_line(self._process.stdout, START_LIMIT_S)
            self._process.stdout.close()
            if not line.startswith(b"ready "):
                errors.seek(0)
                raise self._cannot_start(errors.read().decode(errors="replace").strip())
            self.disk_file = line.decode().split()[1]

    def _cannot_start(self, text: str) -> SystemFault:
        if not self.rootless:
            return SystemFault(f"the system does not let root make namespaces: {text}")
        return SystemFault(
            f"user namespaces are not available to this user ({text}): run as root, or allow them"
            " with 'sysctl kernel.unprivileged_userns_clone=1 user.max_user_namespaces=1000'"
            " (Ubuntu: 'sysctl kernel.apparmor_restrict_unprivileged_userns=0')"
        )

    @property
    def lifeline(self) -> int:
        """Descriptor for the standard input of a process that must end with the owner."""
        return self._lifeline_r

    def enter(self, argv: Sequence[str], net: str | None = None) -> list[str]:
        """Return the argv that runs ``argv`` in the sandbox.

        ``net``: the file of the network namespace to use.
        """
        assert self._process is not None
        user = ["-U", "--preserve-credentials"] if self.rootless else []
        line = [find_tool("nsenter"), "-t", str(self._process.pid), *user, "-m", "-n"]
        if net is not None:
            line += [find_tool("nsenter"), f"--net={net}"]
        return line + list(argv)

    def run(self, argv: Sequence[str], text: str = "", net: str | None = None) -> str:
        """Run a set-up command; SystemFault with its error text if it fails."""
        done = subprocess.run(
            self.enter(argv, net),
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=tool_environment(),
            timeout=COMMAND_LIMIT_S,
            start_new_session=True,
        )
        if done.returncode != 0:
            raise SystemFault(f"'{' '.join(argv)}' failed: {done.stdout.strip()}")
        return done.stdout

    def ip(self, *lines: str, net: str | None = None) -> None:
        """Run several `ip` commands at once."""
        self.run([find_tool("ip"), "-batch", "-"], "".join(f"{line}\n" for line in lines), net)

    def close(self) -> None:
        """Close the lifeline: the processes that hold it end by themselves."""
        for name in ("_lifeline_r", "_lifeline_w"):
            fd = getattr(self, name)
            if fd >= 0:
                os.close(fd)
                setattr(self, name, -1)
        if self._process is not None:
            end(self._process)


def tool_environment() -> dict[str, str]:
    """Return the environment for system tools: English messages, a complete PATH."""
    return {"PATH": TOOL_PATH, "LC_ALL": "C"}


def end(process: subprocess.Popen[bytes]) -> None:
    """Wait for a process that should end by itself; kill it if it does not."""
    try:
        process.wait(timeout=END_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout=END_LIMIT_S)


def read_line(stream: IO[bytes], limit_s: float) -> bytes:
    """Read one line of a pipe, or what arrives until its end or the limit."""
    deadline = clock.monotonic() + limit_s
    os.set_blocking(stream.fileno(), False)
    line = b""
    while not line.endswith(b"\n") and clock.monotonic() < deadline:
        piece = stream.read(4096)
        if piece == b"":
            break
        if piece is None:
            clock.pause(0.002)
        else:
            line += piece
    return line
