"""Keep the kernel's OOM killer from the daemon: other processes are killed first.

The daemon is often the largest process of a small node, and so the first to be killed; its peer
would fence the node for that. Processes of services get back the value that the daemon itself was
started with. Source: proc(5), /proc/PID/oom_score_adj. Only root may lower it.
"""

from __future__ import annotations

from collections.abc import Sequence

PROTECTED = -900
"""Not -1000: a daemon that leaks memory must not take the machine down."""
_FILE = "/proc/self/oom_score_adj"
_GIVE_BACK = ("/bin/sh", "-c", 'echo "$0" 2> /dev/null > /proc/self/oom_score_adj; exec "$@"')


class MemoryGuard:
    """Guard this process; the first instance protects it, if the system permits that."""

    def __init__(self) -> None:
        self._before = 0
        self.is_on = False

    def protect(self) -> None:
        """Lower the score of this process as far as permitted.

        Root in a container may not go below 0.
        """
        try:
            with open(_FILE, encoding="ascii") as file:
                before = int(file.read())
        except (OSError, ValueError):
            return
        lowered = next(
            (value for value in (PROTECTED, 0) if value < before and _is_set(value)), before
        )
        # The unit may have set it already: that is meant for the daemon alone.
        self._before, self.is_on = max(before, 0), lowered < max(before, 0)

    def command(self, command: Sequence[str]) -> list[str]:
        """Return the command that runs ``command`` with this process's former score."""
        return [*_GIVE_BACK, str(self._before), *command] if self.is_on else list(command)


def _is_set(value: int) -> bool:
    try:
        with open(_FILE, "w", encoding="ascii") as file:
            file.write(str(value))
    except OSError:
        return False
    return True
