"""Know the reserved disks of services before they are needed.

To find the disks of a volume group LVM reads disks, and one that hangs must hold nothing: so a
program of the embedded agent finds them, from time to time, in a process that is killed at its
limit. What it found last is used by a fence, and watched while a service runs here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from opensvc_openha.core.events import PathLook, PathState
from opensvc_openha.core.model import ClusterSpec, FenceNeeds, PathKind, ServiceSpec
from opensvc_openha.core.timing import RESERVED_FIND_LIMIT_S
from opensvc_openha.daemon.fence_program import FenceAnswer
from opensvc_openha.hints import Protocol
from opensvc_openha.records import dataclass
from opensvc_openha.system.thread_names import name_thread


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
    """Find the disks, in a thread of its own.

    Any thread may call ``complete``, ``of``, ``disks_of`` and ``look``.
    """

    def __init__(
        self,
        find: Callable[[tuple[str, ...]], Program],
        spec: Callable[[], ClusterSpec],
        interval: Callable[[], float],
        on_news: Callable[[], None],
    ) -> None:
        """``find`` returns the program that finds the disks of these services.

        ``on_news`` is called when what ``complete`` adds has changed.
        """
        self._find = find
        self._spec = spec
        self._interval = interval
        self._on_news = on_news
        self._known: dict[str, ServiceDisks] = {}
        self._problem = ""
        self._has_looked = False
        self._finder: Program | None = None
        self._is_over = threading.Event()
        self._wake = threading.Event()

    def start(self) -> None:
        """Start to find them; at once."""
        threading.Thread(target=self._run, name="reserved disks", daemon=True).start()

    def check_soon(self) -> None:
        """Find the disks soon: something was edited."""
        self._wake.set()

    def stop(self) -> None:
        """End without waiting for a disk."""
        self._is_over.set()
        self._wake.set()
        finder = self._finder
        if finder is not None:
            finder.close()

    def complete(self, spec: ClusterSpec) -> ClusterSpec:
        """Return the configuration with what is known of each service's disks.

        A step that takes disks may wait for writes to land, which its limit must allow.
        """
        drain_s = self._drain_s(self._known)
        levels = tuple(
            tuple(
                replace(path, limit_s=path.limit_s + drain_s, drain_s=drain_s)
                if path.kind is PathKind.RESERVATION
                else path
                for path in level
            )
            for level in spec.fencing.levels
        )
        fencing = replace(spec.fencing, levels=levels)
        services = tuple(map(self._completed, spec.services))
        return replace(spec, services=services, fencing=fencing)

    def _completed(self, svc: ServiceSpec) -> ServiceSpec:
        known = self._known.get(svc.name)
        if known is None:
            return svc
        return replace(svc, fence_needs=known.needs, has_reserved_data=known.has_reserved_data)

    def of(self, services: Iterable[str]) -> Mapping[str, object]:
        """Return the disks of those services that need no more than them, as for a request."""
        chosen = [
            name
            for name in services
            if name in self._known and self._known[name].needs is FenceNeeds.DATA
        ]
        disks = {str(disk["name"]): disk for name in chosen for disk in self._known[name].disks}
        return {"disks": list(disks.values()), "drain_s": self._drain_s(chosen)}

    def _drain_s(self, services: Iterable[str]) -> float:
        """Return the longest time that one of these services gives writes to land."""
        known = map(self._known.__getitem__, services)
        return max((each.drain_s for each in known if each.needs is FenceNeeds.DATA), default=0.0)

    def disks_of(self, services: frozenset[str]) -> Mapping[str, Mapping[str, object]]:
        """Return all reserved disks of these services, by name."""
        known = self._known
        return {
            str(disk["name"]): disk
            for name in services & known.keys()
            for disk in known[name].disks
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
                self._find_all()
            # The only catch-all of this thread: shown while the failure lasts.
            except Exception as error:
                self._problem = f"{type(error).__name__}: {error}"
            self._wake.wait(self._interval())
            self._wake.clear()

    def _find_all(self) -> None:
        names = tuple(svc.name for svc in self._spec().own_services)
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
