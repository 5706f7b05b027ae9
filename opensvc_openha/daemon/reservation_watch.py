"""Watch the reserved disks of the services that run here: does this node still hold them?

A reservation that is gone means that the peer has taken the disks: this node is ejected. A path
that came back without its registration refuses the writes of what runs here, so that it is
registered again at once, where that is safe.

Only a service that ran before and after a look counts, since a start and a stop change the keys as
well. A disk that does not answer ejects nobody.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from opensvc_openha.core.events import Ejected, Readmitted
from opensvc_openha.core.timing import RESERVED_LOOK_S
from opensvc_openha.daemon.fence_program import list_of
from opensvc_openha.daemon.issues import ActiveIssues, Issue
from opensvc_openha.hints import Protocol
from opensvc_openha.system.thread_names import name_thread


class Disks(Protocol):
    """The disks that are looked at: see ``HeldDisks``."""

    def look(self, disks: Sequence[Mapping[str, object]]) -> Mapping[str, object]:
        """Look at them; return what they show."""

    def close(self) -> None:
        """Release them, without waiting."""


class ReservationWatch:
    """Watch the disks, in a thread of its own."""

    def __init__(
        self,
        held: Callable[[], Disks],
        disks_of: Callable[[frozenset[str]], Mapping[str, Mapping[str, object]]],
        running: Callable[[], frozenset[str]],
        is_admitted: Callable[[], bool],
        may_register: Callable[[], bool],
        report: Callable[[Ejected | Readmitted], None],
        on_renewed: Callable[[str], None],
        issues: ActiveIssues,
    ) -> None:
        """``held`` opens what is looked at, once there is a disk.

        ``disks_of`` returns the disks of services by name of the disk; ``running`` the services
        that run here, without those that a script is starting or stopping. ``is_admitted``: no
        arbiter has anything against this node. ``on_renewed`` gets the text of a registration that
        was renewed.
        """
        self._open = held
        self._held: Disks | None = None
        self._disks_of = disks_of
        self._running = running
        self._is_admitted = is_admitted
        self._may_register = may_register
        self._report = report
        self._on_renewed = on_renewed
        self._issues = issues
        self._generations: dict[str, int] = {}
        self._is_ejected = False
        self._is_over = threading.Event()

    def start(self) -> None:
        """Start to look."""
        threading.Thread(target=self._run, name="reservations", daemon=True).start()

    def stop(self) -> None:
        """End without waiting for a disk."""
        self._is_over.set()

    # --- the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        name_thread("reservations")
        while not self._is_over.wait(RESERVED_LOOK_S):
            try:
                problem = self._watch()
                self._return()
            # The only catch-all of this thread: shown while the failure lasts.
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
            if problem:
                self._issues.report(Issue.RESERVED_DISK, problem)
            else:
                self._issues.solve(Issue.RESERVED_DISK)
        self._close()

    def _watch(self) -> str:
        """Look whether this node still holds the disks of what runs here; return the problem."""
        before = self._running()
        disks = self._disks_of(before)
        if not disks:
            self._generations.clear()
            self._close()
            return ""
        if self._held is None:
            self._held = self._open()
        found = self._held.look(
            [{**disk, "generation": self._generations.get(name)} for name, disk in disks.items()]
        )
        looks = [look for look in list_of(found.get("disks")) if isinstance(look, Mapping)]
        if found.get("is_ejected") is True and before <= self._running():
            if not self._is_ejected:
                self._is_ejected = True
                self._report(Ejected(f"the holder of key {found.get('by')}"))
            return ""
        self._generations = {
            str(look["name"]): generation
            for look in looks
            if look.get("is_held") is True and isinstance(generation := look.get("generation"), int)
        }
        for look in looks:
            for path in list_of(look.get("renewed")):
                self._on_renewed(f"{path} of {look['name']} came back: registered again")
        return "; ".join(filter(None, map(_problem_of, looks)))

    def _return(self) -> None:
        """Come back after an ejection, once the peer knows that nothing runs here."""
        if self._is_ejected and self._is_admitted() and self._may_register():
            self._is_ejected = False
            self._report(Readmitted())

    def _close(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None


def _problem_of(look: Mapping[str, object]) -> str:
    """Return what is wrong with a disk of a service that runs here; empty if nothing is."""
    if look.get("problem") or look.get("is_held") is True:
        return str(look.get("problem", ""))
    return f"{look.get('name')} is not held by this node: {look.get('text')}"
