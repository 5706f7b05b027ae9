"""Keep this node registered on the arbiter, and notice when the peer has removed it.

    registered                              the right can be claimed when the peer is silent
    removed by the peer                     ejected: the engine stops what runs here
    neither, and the peer acknowledges us   registered now, in peace

A node registers only while its peer acknowledges it, never in order to fence; one that was ejected
only once its services are down, which the engine knows. An arbiter that does not answer is no
ejection. It is a disk, or the witness, which has the same rules; what is said of the disk here is
true of both.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from opensvc_openha.core.events import Ejected, PathState, Readmitted
from opensvc_openha.core.status import PathStatus
from opensvc_openha.daemon.issues import ActiveIssues, Issue
from opensvc_openha.errors import NotAnsweringError, OpenhaError, RefusedError, SystemFault
from opensvc_openha.hints import Protocol
from opensvc_openha.storage.arbiter_memory import ArbiterMemory
from opensvc_openha.system import clock
from opensvc_openha.system.thread_names import name_thread

KIND = "arbiter"
"""Kind and name of the arbiter among the paths of a status."""
_RELEASE_LIMIT_S = 8.0


class Look(Protocol):
    """What the disk shows: see ``ArbiterDisk``."""

    @property
    def is_registered(self) -> bool:
        """True while this node's key is there."""

    @property
    def by(self) -> str:
        """Who removed it; empty if nobody did."""

    @property
    def is_peer_registered(self) -> bool:
        """True while the peer's key is there."""

    @property
    def text(self) -> str:
        """All of it for people."""

    @property
    def generation(self) -> int:
        """The counter of changes."""


class Disk(Protocol):
    """The arbiter's disk: see ``ArbiterDisk``. Each call has a limit of its own."""

    def watch(self) -> Look:
        """Look; SystemFault if the disk cannot be asked."""

    def register_in_peace(self, is_readmitted: bool = False) -> str:
        """Register; SystemFault if that is not possible."""

    def close(self) -> None:
        """Release the disk."""


class ArbiterWatch:
    """Watch one disk, in a thread of its own."""

    def __init__(
        self,
        path: Callable[[], str],
        open_disk: Callable[[str, int | None], Disk],
        memory: ArbiterMemory,
        may_register: Callable[[], bool],
        settle: Callable[[], None],
        report: Callable[[Ejected | Readmitted], None],
        issues: ActiveIssues,
        interval: Callable[[], float],
        peer: str,
        on_change: Callable[[str, str], None],
    ) -> None:
        """``path`` is the disk that is configured now, empty for none.

        ``open_disk`` gets it and the last counter. ``may_register`` is the engine's, and
        ``settle`` returns once the engine has handled what was reported; NotAnsweringError if it
        does not in time. ``on_change`` gets ``KIND`` with the problem once the arbiter is not
        usable, and with an empty text once it is again.
        """
        self._path = path
        self._open_disk = open_disk
        self._memory = memory
        self._may_register = may_register
        self._settle = settle
        self._is_settled = True
        self._report = report
        self._issues = issues
        self._interval = interval
        self._peer = peer
        self._on_change = on_change
        self._is_broken = False
        self._opened = ""
        self._disk: Disk | None = None
        self._generation: int | None = None
        self._is_registered = False
        self._ejected_by = ""
        self._status = PathStatus(KIND, KIND, -1, text="not looked at yet")
        self._is_over = threading.Event()
        self._wake = threading.Event()
        self._is_released = False
        self._has_registered = threading.Event()

    def start(self) -> None:
        """Start to watch."""
        threading.Thread(target=self._run, name=KIND, daemon=True).start()

    def stop(self) -> None:
        """End; a disk that hangs is not waited for."""
        self._is_over.set()
        self._wake.set()

    @property
    def generation(self) -> int | None:
        """The counter at which this node was last seen registered; None if it never was."""
        return self._generation

    @property
    def is_registered(self) -> bool:
        """True if this node was registered at the last look."""
        return self._is_registered

    @property
    def status(self) -> PathStatus | None:
        """What is known of the arbiter, with a wall-clock instant; None without one."""
        return self._status if self._path() else None

    def release(self) -> str:
        """Register an ejected node again, for an operator. Raises RefusedError.

        That its services are down, and the peer is out or acknowledges it, is the caller's to know.
        """
        self._has_registered.clear()
        self._is_released = True
        self._wake.set()
        if not self._has_registered.wait(_RELEASE_LIMIT_S):
            self._is_released = False
            raise RefusedError(f"not registered: {self._status.text}")
        return self._status.text

    # --- the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        name_thread(KIND)
        while not self._is_over.is_set():
            try:
                self._follow_path()
                if self._opened:
                    self._look()
            # The disk cannot be asked, or refuses: that is no ejection.
            except (OpenhaError, OSError) as error:
                self._show(PathState.UNREACHABLE, str(error))
                self._close()
            # The only catch-all of this thread: reported while the failure lasts.
            except Exception as error:
                self._show(PathState.UNREACHABLE, f"{type(error).__name__}: {error}")
                self._close()
            self._wake.wait(self._interval())
            self._wake.clear()
        self._close()

    def _follow_path(self) -> None:
        path = self._path()
        if path == self._opened:
            return
        self._close()
        self._opened, self._is_registered, self._ejected_by = path, False, ""
        self._generation = self._memory.read(path) if path else None
        self._status = PathStatus(KIND, KIND, -1, text="not looked at yet", device=path)
        if not path:
            self._issues.solve(Issue.ARBITER)

    def _close(self) -> None:
        if self._disk is not None:
            self._disk.close()
            self._disk = None

    def _look(self) -> None:
        began = clock.monotonic()
        if self._disk is None:
            self._disk = self._open_disk(self._opened, self._generation)
        look = self._disk.watch()
        if look.by and look.by != self._ejected_by:
            self._ejected_by, self._is_registered, self._is_settled = look.by, False, False
            self._report(Ejected(look.by))
        if not look.is_registered and self._is_due():
            self._disk.register_in_peace(is_readmitted=bool(self._ejected_by))
            look = self._disk.watch()
        self._note(look)
        self._show(*self._described(look), clock.monotonic() - began)

    def _is_due(self) -> bool:
        """Return True if this node may register now."""
        if self._is_released:
            return True
        # An engine that does not know of the ejection yet would allow it.
        if not self._is_settled:
            try:
                self._settle()
            except NotAnsweringError:
                return False
            self._is_settled = True
        return self._may_register()

    def _note(self, look: Look) -> None:
        if not look.is_registered:
            self._is_registered = False
            return
        if look.generation != self._generation:
            self._generation = look.generation
            try:
                self._memory.write(self._opened, look.generation)
            except SystemFault as error:
                self._issues.report(Issue.ARBITER_MEMORY, str(error))
            else:
                self._issues.solve(Issue.ARBITER_MEMORY)
        if not self._is_registered:
            self._is_registered, self._ejected_by, self._is_released = True, "", False
            self._report(Readmitted())
            self._has_registered.set()

    def _described(self, look: Look) -> tuple[PathState, str]:
        if look.is_registered:
            return PathState.ARMED, look.text
        if look.by:
            return PathState.WRONG, f"{look.by} has ejected this node: {look.text}"
        return (
            PathState.WRONG,
            f"{look.text}; this node registers once {self._peer} acknowledges it",
        )

    def _show(self, state: PathState, text: str, took_s: float | None = None) -> None:
        before = self._status
        self._status = replace(
            before, state=state.value, text=text, looked_at=clock.wall(), took_s=took_s
        )
        is_broken = state is not PathState.ARMED
        if is_broken != self._is_broken:
            self._is_broken = is_broken
            self._on_change(KIND, text if is_broken else "")
        if not is_broken:
            self._issues.solve(Issue.ARBITER)
        elif before.state != state.value:
            self._issues.report(Issue.ARBITER, text)
