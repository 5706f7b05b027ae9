"""Run the keeper's own code, watchdog/keeper.py, on a simulated device and under virtual time.

The module is loaded a second time, for this use alone, and gets a clock, an interval timer and a
holder that are simulated. Between any two of its looks at the clock, settings of the timer and
requests to the device the process may be stopped, for as long as a fault says, or killed: its own
time passes, what it does then is done at that later instant, and a timer that ended meanwhile kills
it before its next instruction, as the kernel does.
"""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from opensvc_openha.watchdog import keeper as production

if TYPE_CHECKING:
    from opensvc_openha.verify.leases.machine import Machine

_HANDLE = 7


class ProcessEnded(BaseException):
    """The keeper is dead, or will be reset with its machine, before its next instruction."""


@dataclass(frozen=True)
class Trap:
    """What happens to the keeper at one point of its next request.

    Points are counted from 1 on; -1 is the first one after the timer was set and the clock looked
    at. ``stop_s`` is for how long it is stopped there; negative: so that it continues by that
    much before its timer ends.
    """

    point: int
    stop_s: float = 0.0
    is_killed: bool = False


class KeeperProcess:
    """One keeper process of a machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.local = 0.0
        """The instant of its next instruction, by the clock of its machine."""
        self.busy_until = -math.inf
        self.renewed_at: float | None = None
        """The renewal of the permit that it carries out."""
        self.trap: Trap | None = None
        self.is_dead = False
        self._timer: float | None = None
        self._point = self._looked = 0
        # Any: a second copy of a module has no types of its own.
        self._keeper: Any = KEEPER.Keeper(_Device, [])

    def ask(self, request: str) -> tuple[str, float] | None:
        """Let it carry a request out; return its answer, and when that came.

        None if it ended before it answered.
        """
        word, _, rest = request.partition(" ")
        self.renewed_at = float(rest) if word == production.GRANT else None
        answer: list[str] = []
        is_done = self._run(lambda: answer.append(self._keeper.answer(request)))
        self.renewed_at = None
        return (answer[0].partition(" ")[0], self.local) if is_done else None

    @property
    def is_armed(self) -> bool:
        """True if it has the watchdog open, and a promise may count on it."""
        return bool(self._keeper.is_open and not self._keeper._is_idle)  # noqa: SLF001

    @property
    def held_until(self) -> float | None:
        """Until when it pets by itself."""
        until: float | None = self._keeper._held_until  # noqa: SLF001
        return until

    def next_pet_at(self) -> float | None:
        """Return when it pets by itself."""
        at: float | None = self._keeper.next_pet_at()
        return at

    def pet_unasked(self) -> None:
        """Let it do what it does by itself."""
        self._run(self._keeper.pet_unasked)

    def stop(self, seconds: float) -> None:
        """Stop it between two requests."""
        self.busy_until = max(self.busy_until, self.machine.clock()) + seconds

    def _run(self, call: Any) -> bool:
        global _running
        self.local = max(self.machine.clock(), self.busy_until)
        self._point = self._looked = 0
        self._timer = None
        before, _running = _running, self
        try:
            call()
        except ProcessEnded:
            return False
        finally:
            _running = before
            self.trap = None
        self.busy_until = self.local
        return True

    # --- what it calls ----------------------------------------------------------------------------

    def step(self) -> None:
        """Pass one point between two of its instructions."""
        if self.is_dead:
            raise ProcessEnded
        self._point += 1
        trap = self.trap
        if trap is not None and self._is_at(trap.point):
            self.trap = None
            if trap.stop_s >= 0:
                self.local += trap.stop_s
            elif self._timer is not None:
                self.local = max(self.local, self._timer + trap.stop_s)
            if trap.is_killed:
                self._end()
        if self._timer is not None and self.local >= self._timer:
            self._end()
        if self.local >= self.machine.watchdog.bites_at:
            # Nothing that it does comes before the reset, which the machine does by itself.
            self.is_dead = True
            raise ProcessEnded

    def _is_at(self, point: int) -> bool:
        if point > 0:
            return point == self._point
        # Within the look it would only take another one.
        is_set = self._timer is not None
        self._looked = self._looked + 1 if is_set else 0
        return self._looked == 2

    def _end(self) -> None:
        self.is_dead = True
        if self.local < self.machine.watchdog.bites_at:
            self.machine.keeper_ended(self.local)
        raise ProcessEnded

    def clock(self) -> float:
        """Return the clock, as it reads it."""
        self.step()
        return self.local

    def set_timer(self, seconds: float) -> None:
        """Set its interval timer; 0 turns it off."""
        self.step()
        self._timer = self.local + seconds if seconds > 0 else None


class _Device:
    """The watchdog as the keeper has it open."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.is_open = False
        self.options = 0
        self.identity = "simulated"

    def open(self) -> None:
        """Open it, which starts and pets it."""
        process = running()
        process.step()
        process.machine.watchdog.open(process)
        self.is_open, self.options = True, production.MAGIC_CLOSE_OPTION

    def adopt(self, handle: int) -> None:
        """Take the file of the holder over."""
        running().step()
        self.is_open, self.options = True, production.MAGIC_CLOSE_OPTION

    def set_timeout(self, seconds: int) -> int:
        """Set its timeout, which pets it."""
        process = running()
        process.step()
        process.machine.watchdog.set_timeout(process, seconds)
        return seconds

    def pet(self) -> None:
        """Pet it."""
        process = running()
        process.step()
        process.machine.watchdog.pet(process)

    def stop_at_close(self) -> None:
        """Let the last close stop it."""
        process = running()
        process.step()
        process.machine.watchdog.is_to_stop = True

    def close(self) -> None:
        """Close it."""
        process = running()
        process.step()
        self.is_open = False
        process.machine.watchdog.close("keeper", process.local)

    def is_nowayout(self) -> bool:
        """Return whether it cannot be stopped."""
        return running().machine.watchdog.is_nowayout

    def driver(self) -> str:
        """Return the name of its driver."""
        return "simulated"


class _HolderEnd:
    """The keeper's connection to the holder."""

    def __init__(self) -> None:
        self._pid = 0

    def is_there(self) -> bool:
        """Return whether it lives."""
        self._pid = running().machine.holder_pid
        return self._pid != 0

    def pid(self) -> int:
        """Return its process id, as it was last seen."""
        return self._pid

    def keep(self, device: _Device) -> bool:
        """Return whether it has the open file from now on."""
        process = running()
        process.step()
        if self._pid != process.machine.holder_pid:
            return False
        process.machine.watchdog.files.add("holder")
        return True

    def give(self, path: str) -> int:
        """Take its open file; -1 if it has none."""
        process = running()
        process.step()
        files = process.machine.watchdog.files
        if "holder" not in files or not self._pid:
            return -1
        files.add("keeper")
        return _HANDLE

    def drop(self) -> None:
        """Let it close its file."""
        process = running()
        process.step()
        process.machine.watchdog.close("holder", process.local)

    def leave(self) -> None:
        """Close the connection."""
        self._pid = 0


class _Signals:
    """Stands for the module ``signal``."""

    ITIMER_REAL = 0

    @staticmethod
    def setitimer(which: int, seconds: float) -> None:
        """Set the timer of the process that runs."""
        running().set_timer(seconds)


class _System:
    """Stands for the module ``os``."""

    @staticmethod
    def close(handle: int) -> None:
        """Close the file that the holder gave, and that was not used."""
        process = running()
        process.machine.watchdog.close("keeper", process.local)

    @staticmethod
    def getpid() -> int:
        """Return a process id."""
        return 1


_running: KeeperProcess | None = None


def running() -> KeeperProcess:
    """Return the process whose code runs now."""
    assert _running is not None, "the keeper runs within a request"
    return _running


def _loaded() -> ModuleType:
    spec = importlib.util.find_spec(production.__name__)
    assert spec is not None and spec.loader is not None, "it was imported"
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    surroundings = {
        "now": lambda: running().clock(),
        "signal": _Signals,
        "os": _System,
        "Holder": _HolderEnd,
    }
    for name, value in surroundings.items():
        assert hasattr(module, name), f"the keeper uses {name}"
        setattr(module, name, value)
    return module


KEEPER = _loaded()
"""The second copy of the keeper's module."""
