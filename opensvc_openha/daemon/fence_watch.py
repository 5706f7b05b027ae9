"""Look at each path of the fence plan while it is not needed: the standing check.

    the peer is heard, and the device says on     armed
    the peer is heard, and the device says off    wrong, if it is still heard a link timeout later
    no clear answer                               unreachable
    not looked at while the peer was heard        untested

What the answers mean is decided by the engine (``core.fence_paths``), which knows when beats came
in. Nothing is changed by a look. A device that refuses the login some times in a row is not asked
any more, since a management board locks the account: it is asked again after an edit, or by an
operator's test.

While the peer is silent a look only adds a hint: OFF proves nothing by itself.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from opensvc_openha.core.events import FencePathsLooked, PathLook, PathState
from opensvc_openha.core.fence_paths import wrong_text
from opensvc_openha.core.model import FencePath, FencingPolicy, PathKind
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.core.timing import (
    FENCE_LOOK_JITTER,
    FENCE_REFUSALS_MAX,
    POWER_LOOK_LIMIT_S,
)
from opensvc_openha.daemon.fence_program import FenceAnswer, FenceProgram
from opensvc_openha.daemon.fence_runner import FencePlan, text_of
from opensvc_openha.daemon.issues import ActiveIssues, Issue
from opensvc_openha.records import dataclass
from opensvc_openha.system import clock
from opensvc_openha.system.thread_names import name_thread

_POLL_S = 0.5
"""Seconds between two looks at the peer's standing, which is one value in memory."""
_LOOK = "look"


@dataclass(frozen=True)
class WatchedPath:
    """What is known of one path; ``looked_at`` is monotonic, None before the first look.

    ``refusals`` counts logins refused in a row. ``problem`` is the text of the look that found the
    path broken.
    """

    look: PathLook
    path: FencePath
    looked_at: float | None = None
    next_at: float = 0.0
    refusals: int = 0
    problem: str = ""


class FenceWatch:
    """Look at the paths, in a thread of its own; ``look_now`` may be called by any thread."""

    def __init__(
        self,
        program: FenceProgram,
        plan: Callable[[], tuple[FencingPolicy, FencePlan]],
        peer: str,
        standing: Callable[[], PeerStanding],
        is_fencing: Callable[[], bool],
        report: Callable[[FencePathsLooked], None],
        issues: ActiveIssues,
        interval: Callable[[], float],
        wrong: Callable[[], Collection[str]],
        look_at_disks: Callable[[str], PathLook],
        on_change: Callable[[str, str], None],
    ) -> None:
        """``standing`` and ``is_fencing`` are asked often, all of these by the thread.

        ``report`` gets each look, and all paths at the beginning and after an edit. ``interval`` is
        the time between two looks, in seconds. ``wrong`` returns the paths whose device the engine
        has found to be another machine's. ``look_at_disks`` returns what is known of a path that
        takes disks. ``on_change`` gets a path that has become broken, with its problem, or with an
        empty text one that is in order again.
        """
        self._program = program
        self._plan = plan
        self._peer = peer
        self._standing = standing
        self._is_fencing = is_fencing
        self._report = report
        self._issues = issues
        self._interval = interval
        self._wrong = wrong
        self._look_at_disks = look_at_disks
        self._on_change = on_change
        self._broken: frozenset[str] = frozenset()
        self._lock = threading.Lock()
        self._known: dict[str, WatchedPath] = {}
        self._wake = threading.Event()
        self._is_over = threading.Event()
        self._seen: PeerStanding | None = None

    def start(self) -> None:
        """Start to look; the first time at once."""
        threading.Thread(target=self._run, name="fence paths", daemon=True).start()

    def check_soon(self) -> None:
        """Look again soon, also where logins were refused: something was edited."""
        with self._lock:
            self._known = {
                name: replace(known, refusals=0, next_at=0.0) for name, known in self._known.items()
            }
        self._wake.set()

    def stop(self) -> None:
        """End the looks; one in progress is the program's to end."""
        self._is_over.set()
        self._wake.set()

    @property
    def known(self) -> Mapping[str, WatchedPath]:
        """What is known of each path, by name."""
        with self._lock:
            return dict(self._known)

    def look_now(self, path: FencePath) -> PathLook:
        """Look at a path, whatever was refused before; for an operator."""
        with self._lock:
            if path.name in self._known:
                self._known[path.name] = replace(self._known[path.name], refusals=0)
        return self._look(path)

    # --- the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        name_thread("fence paths")
        while not self._is_over.is_set():
            try:
                self._look_at_all()
                self._issues.solve(Issue.FENCE_WATCH)
            # The only catch-all of this thread: reported while the failure lasts.
            except Exception as error:
                self._issues.report(Issue.FENCE_WATCH, f"{type(error).__name__}: {error}")
            self._wake.wait(_POLL_S)
            self._wake.clear()

    def _look_at_all(self) -> None:
        """Look at each path that is due, one after the other."""
        self._take_plan()
        self._note_standing()
        for known in self.known.values():
            if self._is_over.is_set():
                return
            if known.path.kind is PathKind.RESERVATION:
                self._take_look(known)
            # A board has few sessions: those of a fence come first.
            if self._is_fencing() or clock.monotonic() < known.next_at:
                continue
            if known.path.kind.has_device and known.refusals < FENCE_REFUSALS_MAX:
                self._look(known.path)
        self._report_problems()

    def _take_plan(self) -> None:
        """Follow the configuration: an edited path is a new one."""
        paths = {path.name: path for path in self._plan()[0].paths}
        with self._lock:
            new = {name: self._known.get(name, _untested(path)) for name, path in paths.items()}
            new = {
                name: known if known.path.mark == paths[name].mark else _untested(paths[name])
                for name, known in new.items()
            }
            is_news = new.keys() != self._known.keys() or any(
                new[name].path.mark != self._known[name].path.mark for name in new
            )
            self._known = new
        if is_news:
            self._report(FencePathsLooked(tuple(known.look for known in new.values())))

    def _note_standing(self) -> None:
        """Look at once when the peer is heard, or falls silent."""
        standing = self._standing()
        if standing is self._seen:
            return
        self._seen = standing
        is_due = standing in (PeerStanding.LIVE, PeerStanding.SILENT)
        with self._lock:
            self._known = {
                name: replace(known, next_at=0.0 if is_due else known.next_at)
                for name, known in self._known.items()
            }

    def _look(self, path: FencePath) -> PathLook:
        before = self._standing()
        limit_s = min(POWER_LOOK_LIMIT_S, path.limit_s)
        request = self._plan()[1].request(_LOOK, path.name, self._peer, limit_s)
        answer = self._program.ask(request, limit_s)
        is_heard = before is PeerStanding.LIVE and self._standing() is PeerStanding.LIVE
        now = clock.monotonic()
        with self._lock:
            former = self._known.get(path.name, _untested(path))
            known = after_look(former, answer, self._peer, is_heard)
            wait_s = self._interval() * random.uniform(1 - FENCE_LOOK_JITTER, 1 + FENCE_LOOK_JITTER)
            known = replace(known, looked_at=now, next_at=now + wait_s)
            if path.name in self._known:
                self._known[path.name] = known
        self._report(FencePathsLooked((known.look,)))
        return known.look

    def _take_look(self, known: WatchedPath) -> None:
        """Take what another thread knows of a path, if that is news."""
        look = self._look_at_disks(known.path.name)
        if look == known.look:
            return
        problem = "" if look.state is PathState.ARMED else look.text
        known = replace(known, look=look, looked_at=clock.monotonic(), problem=problem)
        with self._lock:
            if known.path.name in self._known:
                self._known[known.path.name] = known
        self._report(FencePathsLooked((look,)))

    def _report_problems(self) -> None:
        wrong = self._wrong()
        known = self.known
        broken = {
            name: wrong_text(self._peer) if name in wrong else path.problem
            for name, path in known.items()
            if path.problem or name in wrong
        }
        for name in sorted(broken.keys() ^ self._broken):
            if name in known:
                self._on_change(name, broken.get(name, ""))
        self._broken = frozenset(broken)
        if broken:
            text = "; ".join(f"{name}: {problem}" for name, problem in broken.items())
            self._issues.report(Issue.FENCE_PATH, text)
        else:
            self._issues.solve(Issue.FENCE_PATH)


def after_look(
    known: WatchedPath, answer: FenceAnswer, peer: str, is_heard: bool, again: str = ""
) -> WatchedPath:
    """Return what is known of a path after an answer.

    ``is_heard``: the peer was heard when the look began, and when it ended. ``again`` is what an
    operator does to have it asked again, after refused logins.
    """
    is_refused = answer.values.get("is_refused") is True
    known = replace(known, refusals=known.refusals + 1 if is_refused else 0)
    power = answer.values.get("power")
    if answer.problem or power not in ("on", "off"):
        text = answer.problem or text_of(answer.values.get("text")) or "no clear answer"
        if known.refusals >= FENCE_REFUSALS_MAX:
            text += (
                f"; the login was refused {known.refusals} times: it is not asked any more, lest it"
                f" locks the account. Correct that, then"
                f" {again or f'type openha fence test {known.path.name}'}"
            )
        return _with(known, answer, PathState.UNREACHABLE, "", text)
    if not is_heard:
        text = "OFF; a look alone is no proof" if power == "off" else "ON"
        return _with(known, answer, PathState.ARMED, "", text)
    heard = f"as it must be while {peer} is heard" if power == "on" else f"and {peer} is heard"
    return _with(known, answer, PathState.ARMED, str(power), f"{str(power).upper()}, {heard}")


def _with(
    known: WatchedPath, answer: FenceAnswer, state: PathState, power: str, text: str
) -> WatchedPath:
    """Return the path with a look; a problem keeps the words in which it began."""
    look = PathLook(known.path.name, state, power, text, answer.took_s)
    if state is not PathState.UNREACHABLE:
        problem = ""
    elif state is known.look.state and known.refusals not in (1, FENCE_REFUSALS_MAX):
        problem = known.problem
    else:
        problem = text
    return replace(known, look=look, problem=problem)


def _untested(path: FencePath) -> WatchedPath:
    return WatchedPath(PathLook(path.name, PathState.UNTESTED, text="not looked at yet"), path)
