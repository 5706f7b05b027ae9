"""Look at the `[stonith#N]` sections of services before they are needed: the standing check.

By the rules of ``FenceWatch`` and ``core.fence_paths``: each device must report on while the peer
is heard. It is asked while the peer is heard alone, since a board has few sessions, and those of
a fence come first. What is found is shown; a check-up script is judged by its exit code, as ever.

A program of the embedded agent asks all devices in one run, see ``agent.actions.fence_looks``.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from opensvc_openha.core.events import PathLook, PathState
from opensvc_openha.core.fence_paths import FencePaths
from opensvc_openha.core.model import FencePath, FencingPolicy, PathKind, ServiceSpec
from opensvc_openha.core.status import PathStatus, PeerStanding, service_path
from opensvc_openha.core.timing import (
    FENCE_LOOK_JITTER,
    FENCE_REFUSALS_MAX,
    POWER_LOOK_LIMIT_S,
    SERVICE_FENCES_LIMIT_S,
)
from opensvc_openha.daemon.fence_program import FenceAnswer, FenceProgram, list_of
from opensvc_openha.daemon.fence_watch import WatchedPath, after_look
from opensvc_openha.daemon.issues import ActiveIssues, Issue
from opensvc_openha.daemon.readiness import reports_power
from opensvc_openha.system import clock
from opensvc_openha.system.thread_names import name_thread

PROGRAM = "opensvc_openha.agent.actions.fence_looks"
_WRAPPER = ".stonith"
"""End of a check-up script of the embedded agent; other agents' services are not known here."""
_POLL_S = 0.5
_BROKEN = (PathState.WRONG.value, PathState.UNREACHABLE.value)


class ServiceFences:
    """Look at the sections of all services, in a thread of its own.

    Any thread may read ``known``.
    """

    def __init__(
        self,
        program: FenceProgram,
        services: Callable[[], Iterable[ServiceSpec]],
        peer: str,
        standing: Callable[[], PeerStanding],
        patience: Callable[[], float],
        interval: Callable[[], float],
        issues: ActiveIssues,
        on_change: Callable[[str, str], None],
    ) -> None:
        """``services`` are those of this node; ``on_change`` is that of ``FenceWatch``.

        ``patience`` is the time within which a peer that has fallen silent is called so,
        ``interval`` that between two looks, both in seconds.
        """
        self._program = program
        self._services = services
        self._peer = peer
        self._standing = standing
        self._patience = patience
        self._interval = interval
        self._issues = issues
        self._on_change = on_change
        self._watched: dict[str, WatchedPath] = {}
        self._shown: Mapping[str, tuple[int, str]] = {}
        self._paths = FencePaths(FencingPolicy(), (), peer)
        self._broken: frozenset[str] = frozenset()
        self._next_at = 0.0
        self._known: tuple[PathStatus, ...] = ()
        self._is_over = threading.Event()
        self._wake = threading.Event()

    @property
    def known(self) -> tuple[PathStatus, ...]:
        """What is known of each section, with monotonic instants."""
        return self._known

    def start(self) -> None:
        """Start to look; the first time once the peer is heard."""
        threading.Thread(target=self._run, name="service fences", daemon=True).start()

    def check_soon(self) -> None:
        """Look soon: something was edited."""
        self._next_at = 0.0
        self._wake.set()

    def stop(self) -> None:
        """End without waiting for any device."""
        self._is_over.set()
        self._wake.set()
        self._program.close()

    def has_work(self) -> bool:
        """Return True if a service may be fenced by such sections."""
        return any(svc.check.endswith(_WRAPPER) for svc in self._services())

    # --- the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        name_thread("service fences")
        while not self._is_over.is_set():
            try:
                self._check()
                self._issues.solve(Issue.SERVICE_FENCES)
            # The only catch-all of this thread: reported while the failure lasts.
            except Exception as error:
                self._issues.report(Issue.SERVICE_FENCES, f"{type(error).__name__}: {error}")
            self._wake.wait(_POLL_S)
            self._wake.clear()

    def _check(self) -> None:
        standing, now = self._standing(), clock.monotonic()
        if standing is PeerStanding.LIVE:
            self._paths.record_heard(now, self._patience())
        else:
            self._paths.record_silence()
        if standing is PeerStanding.LIVE and now >= self._next_at:
            jitter = random.uniform(1 - FENCE_LOOK_JITTER, 1 + FENCE_LOOK_JITTER)
            self._next_at = now + self._interval() * jitter
            self._look()
        self._show()

    def _look(self) -> None:
        names = sorted(
            svc.name
            for svc in self._services()
            if svc.check.endswith(_WRAPPER) and reports_power(svc.check)
        )
        if not names:
            self._take({})
            return
        refused = [
            known.path.mark
            for known in self._watched.values()
            if known.refusals >= FENCE_REFUSALS_MAX
        ]
        answer = self._program.ask({"services": names, "skip": refused}, SERVICE_FENCES_LIMIT_S)
        if answer.problem:
            raise RuntimeError(answer.problem)
        found = {
            service_path(service, str(look.get("rid"))): look
            for service in names
            for look in list_of(answer.values.get(service))
            if isinstance(look, dict)
        }
        self._take(found)

    def _take(self, found: Mapping[str, Mapping[str, object]]) -> None:
        """Take what was found of each section; an edited one is a new one."""
        is_heard = self._standing() is PeerStanding.LIVE
        paths = {name: _path_of(name, look) for name, look in found.items()}
        self._shown = {
            name: (_whole(look.get("level")), str(look.get("device") or ""))
            for name, look in found.items()
        }
        self._paths.reconfigure(FencingPolicy(levels=tuple((path,) for path in paths.values())))
        watched = {}
        for name, path in paths.items():
            known = self._watched.get(name)
            if known is None or known.path.mark != path.mark:
                known = WatchedPath(PathLook(name, PathState.UNTESTED, text="not asked yet"), path)
            watched[name] = self._looked(known, found[name], is_heard)
        self._watched = watched
        looks = [known.look for known in watched.values()]
        self._paths.record_looks(looks, is_heard, clock.monotonic())

    def _looked(
        self, known: WatchedPath, look: Mapping[str, object], is_heard: bool
    ) -> WatchedPath:
        if look.get("power") == "":
            if look.get("is_refused") is True:
                return known  # It was not asked.
            text = str(look.get("text"))
            return replace(known, look=PathLook(known.look.name, PathState.WRONG, text=text))
        if look.get("power") is None:
            text = str(look.get("text"))
            return replace(known, look=PathLook(known.look.name, PathState.UNTESTED, text=text))
        took_s = look.get("took_s")
        answer = FenceAnswer(look, took_s=took_s if isinstance(took_s, float) else 0.0)
        return after_look(known, answer, self._peer, is_heard, "edit the section")

    def _show(self) -> None:
        self._known = tuple(
            replace(status, level=self._shown[status.name][0], device=self._shown[status.name][1])
            for status in self._paths.statuses()
        )
        broken = {
            status.name: f"{status.state}: {status.text}"
            for status in self._known
            if status.state in _BROKEN
        }
        for name in sorted(broken.keys() ^ self._broken):
            if name in self._shown:
                self._on_change(name, broken.get(name, ""))
        self._broken = frozenset(broken)
        if broken:
            text = "; ".join(f"{name}: {problem}" for name, problem in broken.items())
            self._issues.report(Issue.SERVICE_FENCE, text)
        else:
            self._issues.solve(Issue.SERVICE_FENCE)


def _path_of(name: str, look: Mapping[str, object]) -> FencePath:
    kind = PathKind.POWER if look.get("kind") == PathKind.POWER.value else PathKind.CALLOUT
    return FencePath(name, kind, POWER_LOOK_LIMIT_S, mark=str(look.get("mark")))


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 1
