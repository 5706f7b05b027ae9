"""Simulate one machine: clock, watchdog, keeper and holder, which all outlive the daemon."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from opensvc_openha.core.beat import BootId
from opensvc_openha.core.model import ClusterSpec, LinkSpec
from opensvc_openha.verify.leases.keeper_process import KeeperProcess

if TYPE_CHECKING:
    from opensvc_openha.verify.leases.pair import LeasePair
    from opensvc_openha.verify.leases.protocol_daemon import ProtocolDaemon

_LATE_PET_S = 0.0105
"""More than the time between the two looks at the clock of the keeper, which the margin covers."""
_TINY_S = 1e-6
_LAST_MOMENT_S = 0.01


class Watchdog:
    """The device. It bites by the clock of its machine, ``late_s`` after its timeout."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.late_s = 0.0
        self.is_nowayout = False
        self.is_counting_twice = False
        self.dies_at_last_moment = False
        """Its keeper dies just before it bites; with the holder, so that it is petted again."""
        self.pets = 0
        self.kept_at = -math.inf
        """When its keeper has petted it last; the kernel may have done so since."""
        self.files: set[str] = set()
        self.lose_power()

    def lose_power(self) -> None:
        """Handle the end of the machine."""
        self.is_running = self.is_to_stop = False
        self.timeout_s = 60.0
        self.petted_at = self.kept_at = -math.inf
        self.bites_at = self._look_at = math.inf
        self.files.clear()

    def open(self, process: KeeperProcess) -> None:
        """Open it, which starts it."""
        self.files.add("keeper")
        self.is_running = True
        self.pet(process)

    def set_timeout(self, process: KeeperProcess, seconds: float) -> None:
        """Set its timeout, which pets it."""
        self.timeout_s = seconds * (2.0 if self.is_counting_twice else 1.0)
        self.pet(process)

    def pet(self, process: KeeperProcess) -> None:
        """Pet it for the keeper."""
        machine, at = self._machine, process.local
        if process.renewed_at is not None:
            late_s = at - process.renewed_at - machine.pair.plan.answer_s
            if late_s > _LATE_PET_S:
                machine.pair.fail(f"S6: {machine.name} is petted {late_s:.3f} s too late")
            self.pets += 1
        self.is_to_stop = False
        self.kept_at = at
        self._restart(at)

    def close(self, who: str, at: float) -> None:
        """Close one of its files; the kernel pets it at the last close, or stops it if asked to."""
        if who not in self.files:
            return
        self.files.discard(who)
        if self.files or not self.is_running:
            return
        if self.is_to_stop and not self.is_nowayout:
            self.is_running, self.bites_at = False, math.inf
        else:
            self._restart(at)
        self.is_to_stop = False

    def _restart(self, at: float) -> None:
        machine = self._machine
        self.petted_at = at
        self.bites_at = at + self.timeout_s + self.late_s
        if self.dies_at_last_moment and self.files:
            machine.at(self.bites_at - _LAST_MOMENT_S, self._die, at)
        # One that comes early looks again.
        if self.bites_at < self._look_at:
            self._look_at = self.bites_at
            machine.at(self.bites_at, self._bite)

    def _die(self, petted_at: float) -> None:
        if petted_at == self.petted_at and self.files:
            # Counting one timeout rests on nobody killing both.
            is_both = self._machine.pair.plan.holders == 2
            self._machine.note("the keeper is killed at the last moment")
            self._machine.kill_keeper(with_holder=is_both)

    def _bite(self) -> None:
        self._look_at = math.inf
        if self.bites_at == math.inf:
            return
        if self._machine.clock() < self.bites_at - _TINY_S:
            self._look_at = self.bites_at
            self._machine.at(self.bites_at, self._bite)
            return
        self._machine.bite()


class Machine:
    """One node, with its own clock."""

    def __init__(self, pair: LeasePair, name: str, rate: float) -> None:
        self.pair = pair
        self.name = name
        self.rate = rate
        self.power = 1
        """Number of its boot."""
        self.is_on = True
        self.lost_at = -math.inf
        self.was_in_use = False
        """Something ran on it when it lost its power."""
        self.last_promised_s = 0.0
        """What the beats of its last daemon promised when it ended; 0 for nothing."""
        self.last_promise_seq = 0
        """The first of those beats."""
        self._since, self._base = 0.0, 100.0
        self._is_clock_still = False
        self.paused_until = -math.inf
        """Nothing runs on it until then, in real time."""
        self.watchdog = Watchdog(self)
        self.keeper: KeeperProcess | None = None
        self.holder_pid = 0
        self._holders = 0
        self.daemon: ProtocolDaemon | None = None
        self.counter = 0
        self.boots: dict[int, int] = {}
        """In which boot of the machine each daemon began, by the daemon's counter."""
        self.known: dict[str, BootId] = {}
        """What its disk has of the peer's incarnations."""
        self.noted: dict[bytes, str] = {}
        """What its disk has of the media by which the daemon promises, see promised_media."""
        self.spec: ClusterSpec = pair.spec_of(name)
        self.disks: dict[str, str] = {}
        """Paths that name another disk by now."""
        self.runs_service = self.runs_own = False
        """The service that may move to the peer, and one that stays here."""
        self.sick_until = 0.0
        """Real time until which something may have kept its daemon or keeper from renewing."""
        self.unwell_until = 0.0
        """Likewise, by something that has happened to them alone."""

    def disk_of(self, link: LinkSpec) -> str:
        """Return the disk that the path of a link names."""
        return self.disks.get(link.device, link.device)

    @property
    def is_in_use(self) -> bool:
        """True if something runs here."""
        return self.runs_service or self.runs_own

    # --- time -------------------------------------------------------------------------------------

    def clock(self) -> float:
        """Return its clock."""
        if self._is_clock_still:
            return self._base
        return self._base + (self.pair.scheduler.now - self._since) * self.rate

    def at(self, instant: float, call: Callable[..., None], *args: object) -> None:
        """Schedule a call at an instant of its clock, unless it loses its power before."""
        real = self._since + (instant - self._base) / self.rate
        scheduler = self.pair.scheduler
        scheduler.at(max(real, scheduler.now) + _TINY_S, self._call, self.power, call, args)

    def after(self, seconds: float, call: Callable[..., None], *args: object) -> None:
        """Schedule a call on this machine, in real time."""
        self.pair.scheduler.after(seconds, self._call, self.power, call, args)

    def _call(self, power: int, call: Callable[..., None], args: tuple[object, ...]) -> None:
        if power != self.power:
            return
        scheduler = self.pair.scheduler
        if scheduler.now < self.paused_until and call != self.watchdog._bite:  # noqa: SLF001
            scheduler.at(self.paused_until + _TINY_S, self._call, power, call, args)
            return
        call(*args)

    def pause(self, seconds: float, is_clock_still: bool) -> None:
        """Let nothing run; the clock, and with it the watchdog, goes on or not."""
        scheduler = self.pair.scheduler
        if scheduler.now < self.paused_until:
            return
        self.note(f"pauses for {seconds:.3f} s{', and its clock' if is_clock_still else ''}")
        self.paused_until = scheduler.now + seconds
        if is_clock_still:
            self._base, self._since = self.clock(), self.paused_until
            self._is_clock_still = True
            scheduler.at(self.paused_until, self._continue, self.power)

    def _continue(self, power: int) -> None:
        if power == self.power:
            self._is_clock_still = False

    def note(self, text: str) -> None:
        """Add a line to the trace."""
        self.pair.note(self.name, text)

    # --- the keeper -------------------------------------------------------------------------------

    def start_keeper(self) -> KeeperProcess:
        """Start the keeper, unless it runs, and the holder."""
        if self.keeper is None:
            self.keeper = KeeperProcess(self)
        self.start_holder()
        return self.keeper

    def start_holder(self) -> None:
        """Start the holder, unless it runs."""
        if not self.holder_pid:
            self._holders += 1
            self.holder_pid = self._holders

    def keeper_ended(self, at: float) -> None:
        """Handle the end of the keeper at an instant of the machine's clock."""
        self.note("the keeper ends")
        self.keeper = None
        self.watchdog.close("keeper", at)
        if self.daemon is not None:
            self.daemon.orders.keeper_ended()
        elif self.watchdog.is_running:
            # It held the watchdog for a restart, and is started again by a daemon only.
            self.pair.sick(self, math.inf)

    def kill_keeper(self, with_holder: bool) -> None:
        """Kill the keeper while it waits, and the holder."""
        now = self.clock()
        if with_holder and self.holder_pid:
            self.holder_pid = 0
            self.watchdog.close("holder", now)
        if self.keeper is not None and self.keeper.busy_until <= now:
            self.keeper.is_dead = True
            self.keeper_ended(now)

    def watch_keeper(self) -> None:
        """Let the keeper pet by itself when it wants to."""
        keeper = self.keeper
        at = None if keeper is None or keeper.is_dead else keeper.next_pet_at()
        if at is not None:
            self.at(at, self._pet_unasked, keeper)

    def _pet_unasked(self, keeper: KeeperProcess) -> None:
        at = keeper.next_pet_at()
        if keeper is not self.keeper or at is None or at > self.clock() + _TINY_S:
            return
        keeper.pet_unasked()
        self.watch_keeper()

    # --- power ------------------------------------------------------------------------------------

    def bite(self) -> None:
        """Be reset by the watchdog."""
        self.pair.bitten(self)
        self.lose_power("reset by its watchdog")

    def lose_power(self, why: str = "power lost") -> None:
        """End everything on it."""
        if not self.is_on:
            return
        self.note(why)
        self.was_in_use = self.is_in_use
        self.is_on = self.runs_service = self.runs_own = False
        self.lost_at = self.pair.scheduler.now
        self._base, self._since = self.clock(), self.lost_at
        self._is_clock_still, self.paused_until = False, -math.inf
        self.power += 1
        self.watchdog.lose_power()
        self.keeper, self.holder_pid = None, 0
        if self.daemon is not None:
            self.daemon.end()
        self.pair.check_media()

    def boot(self) -> None:
        """Boot it, with a daemon."""
        if self.is_on:
            return
        self.is_on = True
        # Its peer is alone no more.
        self.pair.must_live = None
        self.sick_until = self.pair.scheduler.now
        self.pair.start_daemon(self)
        self.pair.check_media()
