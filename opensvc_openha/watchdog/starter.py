"""Start the keeper and the holder so that nothing which ends the daemon ends them.

Under systemd each gets a unit of its own, elsewhere a session of its own.
"""

from __future__ import annotations

import os
import subprocess

from opensvc_openha.errors import SystemFault
from opensvc_openha.hints import Protocol
from opensvc_openha.system.processes import text_of

_SYSTEMD_MARK = "/run/systemd/system"
_START_LIMIT_S = 10.0
_UNIT_PROPERTIES = (
    # The end of the machine must not end them before the daemon has disarmed the watchdog.
    "DefaultDependencies=no",
    "RefuseManualStop=yes",
    "OOMScoreAdjust=-1000",
    "LimitMEMLOCK=infinity",
    "LimitRTPRIO=99",
)


class Starter(Protocol):
    """How a process is started that outlives the daemon."""

    def start(self, name: str, command: list[str]) -> None:
        """Start it; it may take a moment until it serves. Raises SystemFault."""
        ...

    def is_apart(self, pid: int) -> bool:
        """Return whether a process lives in no unit of the daemon's, whose end could end it."""
        ...


class SystemStarter:
    """Units of systemd where it runs, sessions elsewhere."""

    def __init__(self) -> None:
        self._count = 0
        self._children: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, command: list[str]) -> None:
        """Start it in a unit or session of its own; a unit that cannot be made is an error."""
        # Collects those that have ended.
        self._children = [child for child in self._children if child.poll() is None]
        try:
            if os.path.isdir(_SYSTEMD_MARK):
                self._start_unit(name, command)
            else:
                self._children.append(
                    subprocess.Popen(
                        command,
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL,
                        cwd="/",
                        start_new_session=True,
                    )
                )
        except OSError as error:
            raise SystemFault(f"cannot start {name}: {command[0]}: {error.strerror}") from error

    def is_apart(self, pid: int) -> bool:
        """Return whether it has a control group of its own, or none of them belongs to a unit."""
        own, other = _groups(os.getpid()), _groups(pid)
        return bool(other) and all(
            path == "/" or other.get(hierarchy) != path for hierarchy, path in own.items()
        )

    def _start_unit(self, name: str, command: list[str]) -> None:
        self._count += 1
        argv = ["systemd-run", "--quiet", "--collect"]
        argv.append(f"--unit=openha-{name}-{os.getpid()}-{self._count}")
        argv.append(f"--description=OpenHA {name.replace('-', ' ')}")
        argv += [f"--property={each}" for each in _UNIT_PROPERTIES]
        try:
            done = subprocess.run(
                [*argv, "--", *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=_START_LIMIT_S,
            )
        except subprocess.TimeoutExpired:
            raise SystemFault(
                f"cannot start {name}: systemd-run did not end within {_START_LIMIT_S:g} s: see"
                " `systemctl list-jobs`"
            ) from None
        if done.returncode != 0:
            text = " ".join(done.stdout.decode("utf-8", "replace").split())
            raise SystemFault(
                f"cannot start {name} in a unit of its own, so that a restart of the daemon does"
                f" not end it: systemd-run: {text or f'exit code {done.returncode}'}"
            )


def _groups(pid: int) -> dict[str, str]:
    """Return the control groups of a process by hierarchy, those that systemd makes its units of.

    The unified one, and systemd's own of version 1.
    """
    found = {}
    for line in text_of(pid, "cgroup").splitlines():
        _, hierarchy, path = line.split(":", 2)
        if hierarchy in ("", "name=systemd"):
            found[hierarchy] = path
    return found
