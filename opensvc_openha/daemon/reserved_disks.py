"""Know the reserved disks of services before they are needed, and watch those that run here.

To find the disks of a volume group LVM reads disks, and one that hangs must hold nothing: so a
program of the embedded agent finds them, from time to time, in a process that is killed at its
limit. What it found last is used by a fence.

While a service with reserved disks runs here, they are looked at: a reservation that is gone means
that the peer has taken them. Only a service that ran before and after the look counts, since a stop
takes the keys away as well.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from opensvc_openha.core.events import Ejected, PathLook, PathState, Readmitted
from opensvc_openha.core.model import ClusterSpec, FenceNeeds, ServiceSpec
from opensvc_openha.core.timing import RESERVED_FIND_LIMIT_S, RESERVED_LOOK_S
from opensvc_openha.daemon.fence_program import FenceAnswer
from opensvc_openha.system import clock
from opensvc_openha.system.thread_names import name_thread

_WATCH = "watch"


class Program(Protocol):
    """A program that is asked once: see ``FenceProgram``."""

    def ask(self, request: Mapping[str, object], limit_s: float) -> FenceAnswer:
        """Return its answer, or why there is none."""

    def close(self) -> None:
        """Kill what runs; returns at once."""


@dataclass(frozen=True)
class ServiceDisks:
    """The reserved disks of one service, as the request to the fence program has them."""

    needs: FenceNeeds = FenceNeeds.NODE
    has_reserved_data: bool = False
    disks: tuple[Mapping[str, object], ...] = ()
    drain_s: float = 0.0
    problems: tuple[str, ...] = ()


class ReservedDisks:
    """Find and watch the disks, in a thread of its own.

    Any thread may call ``complete``, ``of`` and ``look``.
    """

    def __init__(
        self,
        find: Callable[[tuple[str, ...]], Program],
        program: Program,
        spec: Callable[[], ClusterSpec],
        running: Callable[[], frozenset[str]],
        may_register: Callable[[], bool],
        report: Callable[[Ejected | Readmitted], None],
        interval: Callable[[], float],
        on_news: Callable[[], None],
    ) -> None:
        """``find`` returns the program that finds the disks of these services.

        ``running`` are the services that run here, without those that are being started or stopped.
        ``on_news`` is called when what ``complete`` adds has changed.
        """
        self._find = find
        self._program = program
        self._spec = spec
        self._running = running
        self._may_register = may_register
        self._report = report
        self._interval = interval
        self._on_news = on_news
        self._known: dict[str, ServiceDisks] = {}
        self._problem = ""
        self._has_looked = False
        self._generations: dict[str, int] = {}
        self._is_ejected = False
        self._next_find = 0.0
        self._finder: Program | None = None
        self._is_over = threading.Event()
        self._wake = threading.Event()

    def start(self) -> None:
        """Start to look."""
        threading.Thread(target=self._run, name="reserved disks", daemon=True).start()

    def check_soon(self) -> None:
        """Find the disks soon: something was edited."""
        self._next_find = 0.0
        self._wake.set()

    def stop(self) -> None:
        """End without waiting for a disk."""
        self._is_over.set()
        self._wake.set()
        finder = self._finder
        if finder is not None:
            finder.close()

    def complete(self, spec: ClusterSpec) -> ClusterSpec:
        """Return the configuration with what is known of each service's disks."""
        return replace(spec, services=tuple(map(self._completed, spec.services)))

    def _completed(self, svc: ServiceSpec) -> ServiceSpec:
        known = self._known.get(svc.name)
        if known is None:
            return svc
        return replace(svc, fence_needs=known.needs, has_reserved_data=known.has_reserved_data)

    def of(self, services: Iterable[str]) -> Mapping[str, object]:
        """Return the disks of those services that need no more than them, as for a request."""
        chosen = [
            self._known[name]
            for name in services
            if name in self._known and self._known[name].needs is FenceNeeds.DATA
        ]
        disks = {str(disk["name"]): disk for known in chosen for disk in known.disks}
        return {
            "disks": list(disks.values()),
            "drain_s": max((known.drain_s for known in chosen), default=0.0),
        }

    def look(self, name: str) -> PathLook:
        """Return what is known of the path that takes the disks."""
        needy = {
            service: known
            for service, known in self._known.items()
            if known.needs is FenceNeeds.DATA
        }
        if not self._has_looked:
            return PathLook(name, PathState.UNTESTED, text="its disks are being looked for")
        problems = [self._problem] if self._problem else []
        problems += [
            f"{service}: {problem}"
            for service, known in needy.items()
            for problem in known.problems
        ]
        problems += [
            f"{service}: not all of its shared disks carry a reservation (scsireserv)"
            for service, known in needy.items()
            if not known.has_reserved_data and not known.problems
        ]
        if problems:
            return PathLook(name, PathState.WRONG, text="; ".join(problems))
        if not needy:
            text = "no service has fence_needs = data: it proves nothing"
            return PathLook(name, PathState.WRONG, text=text)
        count = len({str(disk["name"]) for known in needy.values() for disk in known.disks})
        text = f"{count} disk(s) of {', '.join(sorted(needy))}"
        return PathLook(name, PathState.ARMED, text=text)

    # --- the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        name_thread("reserved disks")
        while not self._is_over.is_set():
            try:
                if clock.monotonic() >= self._next_find:
                    self._find_all()
                self._watch()
                self._return()
            # The only catch-all of this thread: shown while the failure lasts.
            except Exception as error:
                self._problem = f"{type(error).__name__}: {error}"
            self._wake.wait(RESERVED_LOOK_S)
            self._wake.clear()

    def _find_all(self) -> None:
        names = tuple(svc.name for svc in self._spec().own_services)
        self._next_find = clock.monotonic() + self._interval()
        self._finder = self._find(names)
        answer = self._finder.ask({}, RESERVED_FIND_LIMIT_S)
        self._has_looked = True
        if answer.problem:
            # What was found before still holds: the disks of a service rarely change.
            self._problem = f"its disks are not known: {answer.problem}"
            return
        self._problem = ""
        found = {
            name: disks_of(values)
            for name, values in answer.values.items()
            if name in names and isinstance(values, dict)
        }
        if found != self._known:
            self._known = found
            self._on_news()

    def _watch(self) -> None:
        """Look whether this node still holds the disks of what runs here."""
        before = self._running()
        disks = {
            str(disk["name"]): disk
            for name in before & self._known.keys()
            for disk in self._known[name].disks
        }
        if not disks:
            self._generations.clear()
            return
        request = {
            "do": _WATCH,
            "disks": [
                {**disk, "generation": self._generations.get(name)} for name, disk in disks.items()
            ],
        }
        answer = self._program.ask(request, RESERVED_FIND_LIMIT_S)
        looks = answer.values.get("disks")
        if answer.problem or not isinstance(looks, list):
            return  # A disk that does not answer has ejected nobody.
        if answer.values.get("is_ejected") is True and before <= self._running():
            if not self._is_ejected:
                self._is_ejected = True
                self._report(Ejected(f"the holder of key {answer.values.get('by')}"))
            return
        self._generations = {
            str(look["name"]): look["generation"]
            for look in looks
            if isinstance(look, dict)
            and look.get("is_held") is True
            and isinstance(look.get("generation"), int)
        }

    def _return(self) -> None:
        """Come back after an ejection, where no arbiter decides that."""
        if self._is_ejected and not self._spec().fencing.has_arbiter and self._may_register():
            self._is_ejected = False
            self._report(Readmitted())


def disks_of(values: Mapping[str, object]) -> ServiceDisks:
    """Return what the program found of one service; what is not clear is not reserved."""
    disks, problems = values.get("disks"), values.get("problems")
    drain_s = values.get("drain_s")
    is_clear = isinstance(disks, list) and all(
        isinstance(disk, dict) and isinstance(disk.get("name"), str) for disk in disks
    )
    return ServiceDisks(
        FenceNeeds.DATA if values.get("fence_needs") == FenceNeeds.DATA.value else FenceNeeds.NODE,
        values.get("has_reserved_data") is True and is_clear and bool(disks),
        tuple(disks) if isinstance(disks, list) and is_clear else (),
        float(drain_s) if isinstance(drain_s, (int, float)) else 0.0,
        tuple(map(str, problems)) if isinstance(problems, list) else (),
    )
