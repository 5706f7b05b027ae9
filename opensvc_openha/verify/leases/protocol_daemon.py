"""Run the parts of a daemon that a promise consists of: the owner's, the survivor's, what is heard.

All decisions are those of production: `core/lease_owner.py`, `core/lease_view.py`,
`core/peer_view.py`, `core/incarnations.py`. Of services there is one, which runs here or not; of
the links' verdicts only their timeouts.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from opensvc_openha.core import timing
from opensvc_openha.core.actions import (
    Action,
    ArmWatchdog,
    DisarmWatchdog,
    GrantPermit,
    HoldWatchdog,
    Record,
    RenewWitness,
    WithdrawWitness,
)
from opensvc_openha.core.beat import Ack, Beat, BootId, Goodbye
from opensvc_openha.core.events import (
    BeatFound,
    BeatReceived,
    MediaReplaced,
    MediumQuiet,
    RenewalConfirmed,
    SlotOpened,
    WatchdogLost,
    WatchdogReady,
)
from opensvc_openha.core.facts import Facts
from opensvc_openha.core.incarnations import UNPROVEN, PeerIncarnations
from opensvc_openha.core.lease_owner import Circumstances, LeaseOwner
from opensvc_openha.core.lease_view import LeaseView
from opensvc_openha.core.model import ClusterSpec, LinkSpec
from opensvc_openha.core.peer_view import PeerView
from opensvc_openha.core.promise import WITNESS_MARK, Promise, media_of
from opensvc_openha.core.promised_disks import PromisedDisks
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.verify.leases.media import SlotReader, SlotWriter, WitnessThread
from opensvc_openha.watchdog import keeper as keeper_words

if TYPE_CHECKING:
    from opensvc_openha.verify.leases.keeper_process import KeeperProcess
    from opensvc_openha.verify.leases.machine import Machine

SERVICE = "registry"
_RUNS = {SERVICE: ServiceState.STARTED}
_OUT = {SERVICE: ServiceState.STOPPED}
_ANSWER_LIMIT_S = 3.0
"""The daemon waits so long for its keeper."""
_KEEPER_STARTS_S = 0.1
_KEEPER_LOOK_S = 1.0

_TINY_S = 1e-6
Call = Callable[..., None]
Event = (
    BeatReceived
    | BeatFound
    | RenewalConfirmed
    | MediumQuiet
    | MediaReplaced
    | WatchdogReady
    | WatchdogLost
)


class ProtocolDaemon:
    """One daemon; its threads end with it, but for the orders to the keeper."""

    def __init__(self, machine: Machine, boot: BootId, spec: ClusterSpec) -> None:
        self.machine = machine
        self._plan, self._scheduler = machine.pair.plan, machine.pair.scheduler
        self.boot = boot
        self.life = f"{boot.counter}.{boot.nonce:x}"
        self.spec = spec
        now = machine.clock()
        self.owner = LeaseOwner(spec, now)
        self.view = PeerView(boot)
        self.incarnations = PeerIncarnations(boot, machine.known)
        self.lease = LeaseView(spec, now)
        self.is_over = False
        self.stopped_until = -math.inf
        """Nothing of it runs until then, in real time."""
        self.stalled_until = -math.inf
        """Its engine decides nothing until then, and events wait."""
        self._inbox: list[Event] = []
        self._listened_since = now
        self._heard_at: dict[LinkSpec, float] = {}
        self._newest_at = -math.inf
        self._is_judged = False
        """Nothing has changed in what the peer's promise comes to while the peer is heard."""
        self._seen: dict[tuple[LinkSpec, BootId], int] = {}
        self._first_heard: dict[tuple[BootId, int], float] = {}
        self.gone_since = math.inf
        """Since when its peer has left, as far as it knows, in real time."""
        self.wants_service = False
        self._ready_seq = 0
        """The beat from which on the peer knows that the service is wanted here."""
        self.leaving = Goodbye.NONE
        self._goodbyes = 0
        self._seq = 0
        self._beat_at = -math.inf
        self._is_ack_due = self._is_greeting_due = False
        self._wake_at = math.inf
        self._told: Promise | None = None
        self._told_seq = 0
        """The first beat that said so."""
        self._facts = Facts()
        self.orders = KeeperOrders(self)
        plan = machine.pair.plan
        media = media_of(spec.listeners)
        self._nets = [link for link in spec.senders if not link.is_disk]
        self.disks = PromisedDisks(spec.senders)
        self._replaced: frozenset[bytes] = frozenset()
        self._writers = [SlotWriter(self, link) for link in spec.senders if link.is_disk]
        self.readers = [
            SlotReader(self, link, media[link], plan.slot_read_s)
            for link in spec.listeners
            if link.is_disk
        ]
        self._witness = self._looks = None
        if plan.has_witness:
            self._witness, self._looks = WitnessThread(self), WitnessThread(self)
            self.thread_after(0.3, self._looks.look)

    def begin(self) -> None:
        """Take over what a former daemon has armed, and say the first beat."""
        self.orders.take_over()
        for writer in self._writers:
            writer.open()
        self._step(self.machine.clock())

    # --- threads ----------------------------------------------------------------------------------

    def thread_after(self, seconds: float, call: Call, *args: object) -> None:
        """Let one of its threads do something, in real time."""
        self._scheduler.after(seconds, self._in_thread, call, args)

    def _in_thread(self, call: Call, args: tuple[object, ...]) -> None:
        # It ends with its machine.
        if self.is_over:
            return
        still_until = max(self.stopped_until, self.machine.paused_until)
        if self._scheduler.now < still_until:
            self._scheduler.at(still_until + _TINY_S, self._in_thread, call, args)
            return
        call(*args)

    @property
    def wants_quiet(self) -> bool:
        """True if reads that show nothing new are reported."""
        return self.lease.promised is not None and self.view.standing is not PeerStanding.LIVE

    def deliver(self, event: Event) -> None:
        """Give the engine an event."""
        if self.is_over:
            return
        if self._is_still:
            self._inbox.append(event)
            return
        now = self.machine.clock()
        if self._handle(event, now):
            self._step(now)

    @property
    def _is_still(self) -> bool:
        return self._scheduler.now < max(self.stopped_until, self.stalled_until)

    def arrive(self, link: LinkSpec, beat: Beat) -> None:
        """Take a datagram."""
        self.deliver(BeatReceived(link, beat, self.machine.clock(), key_id="k"))

    def stop(self, seconds: float, is_engine_alone: bool) -> None:
        """Let it stand still."""
        until = self.machine.pair.scheduler.now + seconds
        if is_engine_alone:
            self.stalled_until = max(self.stalled_until, until)
        else:
            self.stopped_until = max(self.stopped_until, until)
        self.machine.after(seconds + 2 * _TINY_S, self._continue, seconds)

    def _continue(self, seconds: float) -> None:
        if self.is_over or self._is_still:
            return
        now = self.machine.clock()
        if seconds >= self.machine.pair.plan.stall_s:
            self.lease.void()
            self._is_judged = False
            self._listened_since = now
        inbox, self._inbox = self._inbox, []
        for event in inbox:
            self._handle(event, now)
        self._step(now)

    def nudge(self) -> None:
        """Decide what an order has changed."""
        if not (self.is_over or self._is_still):
            self._step(self.machine.clock())

    def want(self) -> None:
        """Let it start the service, once the peer reports that it is out there."""
        self.wants_service, self._ready_seq = True, self._seq + 1
        self.nudge()

    @property
    def is_at_rest(self) -> bool:
        """True if it hears its peer, is about to do nothing, and its keeper is there."""
        is_heard = self.view.standing is PeerStanding.LIVE and self.leaving is Goodbye.NONE
        is_kept = self.machine.keeper is not None or not self.machine.is_in_use
        machine = self.machine
        is_still = self._is_still or self._scheduler.now < machine.paused_until
        is_awaited = machine.is_in_use is not (self.owner.promise is not None)
        return is_heard and is_kept and not is_still and not is_awaited

    @property
    def is_watching(self) -> bool:
        """True if nothing keeps it from proving its peer out by what that one has promised."""
        promised = self.lease.promised
        if promised is None or promised.promise.death_s > self._plan.death_s:
            # Nothing, or more for a restart: a proof takes longer, and is not waited for.
            return False
        is_free = not self._is_still and self.leaving is Goodbye.NONE
        return is_free and self.lease.sight.is_usable and self.view.silent_since is None

    def believes_in(self, counter: int) -> bool:
        """Return True if that daemon of the peer is the one whose beats count."""
        newest = self.view.newest
        return newest is not None and newest.boot.counter == counter

    def knows(self, machine: Machine) -> bool:
        """Return True if what the last daemon of the peer has promised came in here."""
        promised = self.lease.promised
        is_known = promised is not None and promised.seq >= machine.last_promise_seq
        return is_known and self.believes_in(machine.counter)

    def has_left(self, counter: int) -> bool:
        """Return True if that daemon of the peer has said that it ends, with its service."""
        newest = self.view.newest
        return (
            newest is not None
            and newest.goodbye is Goodbye.LEFT
            and self.believes_in(counter)
            and self.view.standing is PeerStanding.DEPARTED
        )

    def end(self, is_orderly: bool = False) -> None:
        """End it; what was ordered from the keeper is carried out before an orderly end."""
        self.is_over = True
        machine, promise = self.machine, self.owner.promise
        # What no beat has said is promised to nobody.
        is_said = promise is not None and promise is self._told
        machine.last_promised_s = promise.death_s if promise is not None and is_said else 0.0
        machine.last_promise_seq = self._told_seq
        self.orders.end(is_orderly)
        if self.machine.daemon is self:
            self.machine.daemon = None

    # --- the engine -------------------------------------------------------------------------------

    def _handle(self, event: Event, now: float) -> bool:
        """Take an event; return False if nothing can follow from it."""
        if isinstance(event, BeatReceived):
            return self._take_beat(event, now)
        if isinstance(event, RenewalConfirmed):
            self._carry_out(self.owner.confirmed(event, now))
            return self._is_involved
        if isinstance(event, MediumQuiet):
            self.lease.record_quiet(event)
        elif isinstance(event, BeatFound):
            self.lease.record_found(event, self.view)
            self._is_judged = False
        elif isinstance(event, MediaReplaced):
            self.owner.media_replaced(event)
        elif isinstance(event, WatchdogReady):
            self.owner.watchdog_ready(event, now)
        else:
            self._carry_out(self.owner.watchdog_lost(event, now))
        return True

    def _take_beat(self, event: BeatReceived, now: float) -> bool:
        beat, view = event.beat, self.view
        self.lease.record_life(event.received_at)
        reason = self._rejection(event, now)
        newest = view.newest
        if not reason:
            heard_at = self._heard_at
            heard_at[event.link] = event.received_at
            self._newest_at = max(heard_at.values())
            is_taken = view.take(beat, now, is_authentic=True)
            was, newest = newest, view.newest
        if newest is not None and newest.boot == beat.boot:
            self.lease.record_beat(event.link, newest.boot)
        elif not view.is_past(beat.boot):
            self.lease.record_other(beat.boot)
        if reason or not is_taken:
            if not view.is_over(beat.boot):
                self.lease.record_refused(beat)
            # A copy of what is known already moves nothing but the peer's last sign.
            return bool(reason) or view.standing is not PeerStanding.LIVE
        if beat.goodbye is not Goodbye.NONE:
            self._heard_at.clear()
            self._newest_at = -math.inf
        ack = beat.ack
        if ack is not None and ack.is_taken and ack.boot == self.boot:
            self._carry_out(self.owner.acknowledged(ack.seq, now))
        if beat.wants_ack or was is None or was.boot != beat.boot:
            self._is_ack_due = True
        self._is_judged = False
        return True

    def _rejection(self, event: BeatReceived, now: float) -> str:
        beat, known = event.beat, self.incarnations
        if not self.view.admits(beat, now):
            return "not admitted"
        reason = known.rejection(beat, "k", now, self._seq)
        if reason:
            if reason == UNPROVEN and known.has_new_greeting:
                self._is_ack_due = self._is_greeting_due = True
            else:
                known.check_rival(beat, self._seq, now)
            return reason
        if known.has_changed:
            self.machine.known, known.has_changed = dict(known.known), False
        place = event.link, beat.boot
        if beat.seq <= self._seen.get(place, -1):
            return "replayed"
        first = self._first_heard.setdefault((beat.boot, beat.seq), event.received_at)
        if first + event.link.timeout_s <= event.received_at:
            return "old"
        self._seen[place] = beat.seq
        return ""

    def _silent_since(self, now: float) -> float | None:
        """Return since when no link is up; None while one is, or may be."""
        timeout_s = self._plan.link_timeout_s
        if now < self._newest_at + timeout_s:
            return None
        silent_since = max(self._newest_at, self._listened_since) + timeout_s
        return silent_since if now >= silent_since else None

    def wake(self, at: float) -> None:
        """Decide what time alone makes due."""
        if self.is_over or at != self._wake_at:
            return
        self._wake_at = math.inf
        if not self._is_still:
            self._step(self.machine.clock())

    def _step(self, now: float) -> None:
        view, lease, owner = self.view, self.lease, self.owner
        pair, machine, plan = self.machine.pair, self.machine, self._plan
        silent_since = self._silent_since(now)
        is_any_up = now < self._newest_at + plan.link_timeout_s
        was_standing = view.judge(is_any_up, silent_since, now)
        before = lease.sight.proof
        # Without a silence it does not depend on time.
        is_same = was_standing is view.standing is PeerStanding.LIVE
        if not (is_same and self._is_judged):
            lease.judge(view, plan.start_ready_delay_s, now)
            self._is_judged = True
        proof = lease.sight.proof
        if proof is not None and proof is not before:
            pair.proved(machine, view.newest)
        proved_out, is_gone = "", False
        if proof is not None and now < proof.at + timing.PROOF_LIFE_S:
            proved_out = proof.text
        elif view.standing is PeerStanding.DEPARTED:
            assert view.newest is not None
            proved_out = "left" if view.newest.goodbye is Goodbye.LEFT else ""
            is_gone = bool(proved_out) and self.incarnations.is_last(view.newest.boot)
        if proved_out != "left":
            self.gone_since = math.inf
        elif self.gone_since == math.inf:
            self.gone_since = self._scheduler.now
        if proved_out:
            pair.may_take_over(machine)
        is_involved = self._is_involved
        while is_involved:
            is_near = self.wants_service and not machine.runs_service
            at = Circumstances(
                self._seq + 1,
                machine.is_in_use,
                is_near and view.silent_since is None,
                proved_out,
                "" if view.takes_facts else "it is not known to understand promises",
                self.leaving,
                is_gone,
            )
            self._carry_out(owner.update(at, now))
            if not is_near or owner.is_awaited(now) or not self._is_peer_out:
                break
            pair.started(machine)
        self._speak(now)
        if view.standing is not PeerStanding.LIVE and lease.promised is not None:
            for reader in self.readers:
                reader.look()
        self._plan_wake(now, is_involved)

    @property
    def _is_involved(self) -> bool:
        """False while there is nothing that the owner's part could do: it promises nothing."""
        is_wanted = self.machine.is_in_use or self.wants_service or self.owner.promise is not None
        return is_wanted or self.orders.is_used or self.leaving is not Goodbye.NONE

    @property
    def _is_peer_out(self) -> bool:
        view = self.view
        is_live = view.standing is PeerStanding.LIVE
        return is_live and view.states == _OUT and view.acked_seq >= self._ready_seq

    def _plan_wake(self, now: float, is_involved: bool) -> None:
        gap_s = self._plan.interval_s
        if self.leaving is not Goodbye.NONE and self._goodbyes:
            gap_s = timing.GOODBYE_GAP_S
        elif self._is_ack_due:
            gap_s = timing.ACK_GAP_S
        wake_at = self._beat_at + gap_s
        lease_at = self.lease.next_deadline(now)
        if lease_at is not None and lease_at < wake_at:
            wake_at = lease_at
        for instant in self.owner.deadlines(now) if is_involved else ():
            if instant < wake_at:
                wake_at = instant
        if wake_at < self._wake_at or self._wake_at <= now:
            self._wake_at = wake_at
            self.machine.at(wake_at, self.wake, wake_at)

    def _carry_out(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, (ArmWatchdog, GrantPermit, HoldWatchdog, DisarmWatchdog)):
                self.orders.order(action)
            elif isinstance(action, (RenewWitness, WithdrawWitness)):
                if self._witness is not None:
                    self._witness.order(action)
            elif isinstance(action, Record):
                self.machine.note(f"{action.new}: {action.reason}")

    # --- what it says -----------------------------------------------------------------------------

    def _speak(self, now: float) -> None:
        owner, leaving = self.owner, self.leaving
        if leaving is not Goodbye.NONE and not self._goodbyes:
            if owner.holds_back(now):
                leaving = Goodbye.NONE
            else:
                self._carry_out(owner.leave())
        if leaving is not Goodbye.NONE:
            if self._goodbyes and now < self._beat_at + timing.GOODBYE_GAP_S:
                return
            self._goodbyes += 1
            self._announce(leaving, now)
            if self._goodbyes > timing.GOODBYE_REPEATS:
                self.end(is_orderly=True)
            return
        gap_s = timing.ACK_GAP_S if self._is_ack_due else self._plan.interval_s
        if now >= self._beat_at + gap_s or owner.is_ask_due(now):
            self._announce(leaving, now)

    def _announce(self, goodbye: Goodbye, now: float) -> None:
        owner, machine = self.owner, self.machine
        self._seq += 1
        promise = owner.promise
        if promise is not self._told:
            self._told, self._facts = promise, Facts(promise=promise)
            self._told_seq = self._seq
        beat = Beat(
            machine.name,
            self.boot,
            self._seq,
            self._ack(),
            _RUNS if machine.runs_service else _OUT,
            goodbye,
            wants_ack=owner.asks(now),
            interval_s=self._plan.interval_s,
            facts=self._facts,
        )
        self._beat_at = now
        self._is_ack_due = self._is_greeting_due = False
        self.view.own_seq = self._seq
        self._carry_out(owner.record_beat(self._seq, True, now))
        for link in self._nets:
            machine.pair.send(machine, link, beat)
        for writer in self._writers:
            writer.write(beat)

    def _ack(self) -> Ack | None:
        newest, heard = self.view.newest, self.incarnations.heard
        taken = None if newest is None else Ack(newest.boot, newest.seq)
        if heard is None or newest is None or heard.boot == newest.boot:
            return taken or heard
        is_later = heard.boot.counter > newest.boot.counter
        is_later = is_later or self.view.standing is not PeerStanding.LIVE
        is_its_turn = self._is_greeting_due or self._seq % 2 or taken is None
        return heard if is_later and is_its_turn else taken

    # --- its disks --------------------------------------------------------------------------------

    @property
    def places(self) -> dict[bytes, str]:
        """What each mark of its media stands for; as daemon/lease_service.py has it."""
        senders = media_of(self.spec.senders)
        self.disks.expect({mark: self.machine.disk_of(link) for link, mark in senders.items()})
        known = self.disks.known
        return {**known, WITNESS_MARK: "etcd"} if self._plan.has_witness else known

    def disk_opened(self, link: LinkSpec, disk: str) -> None:
        """Take the disk that a link writes to from now on."""
        self.disks.opened(link, disk)
        self._follow_disks()

    def slot_opened(self, event: SlotOpened) -> None:
        """Take the disk that a link reads from now on."""
        self.lease.record_opened(event)
        self._is_judged = False

    def reconfigure(self, spec: ClusterSpec) -> None:
        """Take an edited configuration, and open what its paths name: other disks, here alone."""
        self.spec = spec
        self.disks.follow(spec.senders)
        self._follow_disks()
        self._writers = [SlotWriter(self, link) for link in spec.senders if link.is_disk]
        for writer in self._writers:
            writer.open()
        self.owner.reconfigure(spec)
        self.nudge()

    def _follow_disks(self) -> None:
        machine, present = self.machine, self.places
        common = dict(machine.noted.items() & present.items())
        machine.noted = common if self.orders.is_used else present
        before, self._replaced = self._replaced, self.disks.replaced
        if self._replaced != before:
            self.deliver(MediaReplaced(self._replaced))


class KeeperOrders:
    """The thread that commands the keeper, and the daemon's end of the keeper."""

    def __init__(self, daemon: ProtocolDaemon) -> None:
        self._daemon = daemon
        self._queue: collections.deque[Action] = collections.deque()
        self._is_busy = False
        self._is_ending = self._is_dead = False
        self._has_client = False
        self._is_new = True
        self._is_armed = False
        self._is_known_armed = False
        self._number = 0

    @property
    def is_used(self) -> bool:
        """True while there is a keeper, or an order to have one."""
        return self._has_client or bool(self._queue)

    def end(self, is_orderly: bool) -> None:
        """End it, after the orders that wait, or at once."""
        self._is_ending = True
        self._is_dead = self._is_dead or not is_orderly

    def take_over(self) -> None:
        """Take over the watchdog that a former daemon has armed."""
        machine = self._daemon.machine
        keeper, now = machine.keeper, machine.clock()
        if keeper is None or not keeper.is_armed or keeper.busy_until > now + _ANSWER_LIMIT_S:
            return
        self._has_client = True
        if self._ensure() == "":
            self._is_armed = self._is_known_armed = True
            self._daemon.deliver(self._ready(is_former=True))

    def keeper_ended(self) -> None:
        """Notice by the next look that nobody keeps the watchdog."""
        self._after(_KEEPER_LOOK_S, self._look)

    def _look(self) -> None:
        keeper = self._daemon.machine.keeper
        if self._is_known_armed and not self._is_busy and not (keeper and keeper.is_armed):
            self._lose("the watchdog is not kept any more")

    def order(self, order: Action) -> None:
        """Add an order; a permit that waits is replaced by a newer one."""
        if self._is_ending:
            return
        queue = self._queue
        if isinstance(order, GrantPermit) and queue and isinstance(queue[-1], GrantPermit):
            queue.pop()
        queue.append(order)
        self._next()

    def _next(self) -> None:
        if self._is_busy or self._is_dead or not self._queue:
            return
        self._is_busy = True
        self._after(self._daemon.machine.pair.order_s(), self._carry_out, self._queue.popleft())

    def _after(self, seconds: float, call: Call, *args: object) -> None:
        self._daemon.machine.after(seconds, self._in_thread, call, args)

    def _in_thread(self, call: Call, args: tuple[object, ...]) -> None:
        """Run in the daemon's process, which may be stopped, or have ended in good order."""
        daemon = self._daemon
        if self._is_dead:
            return
        still_s = daemon.stopped_until - daemon.machine.pair.scheduler.now
        if still_s > 0:
            self._after(still_s + _TINY_S, self._in_thread, call, args)
            return
        call(*args)

    def _carry_out(self, order: Action) -> None:
        began_at = self._daemon.machine.clock()
        self._ended_at = began_at
        reason = ""
        if isinstance(order, ArmWatchdog):
            self._has_client, self._number = True, order.number
            reason = self._ensure()
        elif self._has_client:
            if isinstance(order, GrantPermit):
                reason = self._grant(order.renewed_at)
            elif isinstance(order, HoldWatchdog):
                reason = self._expect(f"{keeper_words.HOLD} {order.until!r}", keeper_words.DONE)
            else:
                reason = self._disarm()
        wait_s = max(0.0, self._ended_at - began_at) / self._daemon.machine.rate
        self._after(wait_s, self._done, reason)

    def _done(self, reason: str) -> None:
        self._is_busy = False
        if reason == _READY:
            self._daemon.deliver(self._ready(is_former=False))
        elif reason:
            self._lose(reason)
        self._next()

    def _lose(self, reason: str) -> None:
        self._is_known_armed = False
        self._daemon.deliver(WatchdogLost(reason))

    def _ask(self, request: str) -> str:
        """Return the keeper's outcome; empty if it has ended."""
        machine = self._daemon.machine
        keeper: KeeperProcess | None = machine.keeper
        if keeper is None:
            return ""
        asked_at = max(machine.clock(), self._ended_at)
        answer = keeper.ask(request)
        machine.watch_keeper()
        if answer is None:
            self._ended_at = max(asked_at, min(keeper.local, asked_at + _ANSWER_LIMIT_S))
            return "" if keeper.local <= asked_at + _ANSWER_LIMIT_S else _NO_ANSWER
        outcome, ended_at = answer
        if ended_at > asked_at + _ANSWER_LIMIT_S:
            self._ended_at = asked_at + _ANSWER_LIMIT_S
            return _NO_ANSWER
        self._ended_at = max(asked_at, ended_at)
        return outcome

    def _expect(self, request: str, outcome: str) -> str:
        found = self._ask(request)
        return "" if found == outcome else f"{request.partition(' ')[0]}: {found or 'it has ended'}"

    def _ensure(self) -> str:
        """Have a keeper with our settings; return why there is none."""
        machine, plan = self._daemon.machine, self._daemon.machine.pair.plan
        self._ended_at = machine.clock()
        if machine.keeper is None:
            self._ended_at += _KEEPER_STARTS_S
        keeper = machine.start_keeper()
        request = (
            f"{keeper_words.SETTINGS} {plan.timeout_s:g} {plan.answer_s!r} {plan.holders} /dev/wd"
        )
        reason = self._expect(request, keeper_words.DONE)
        if not reason:
            self._is_new = True
            self._is_armed = self._is_armed or keeper.is_armed
        return reason

    def _grant(self, renewed_at: float) -> str:
        machine, is_first = self._daemon.machine, self._is_new
        if machine.keeper is not None:
            machine.pair.before_grant(machine, machine.keeper)
        outcome = self._ask(f"{keeper_words.GRANT} {renewed_at!r}")
        if not outcome:
            return self._ensure() or "its keeper had ended"
        if outcome == keeper_words.PETTED:
            self._is_new, self._is_armed, self._is_known_armed = False, True, True
            return _READY if is_first else ""
        if outcome == keeper_words.NO_HOLDER:
            machine.start_holder()
        return "" if outcome in (keeper_words.LATE, keeper_words.REPEATED) else outcome

    def _disarm(self) -> str:
        self._is_new, self._is_known_armed = True, False
        request = f"{keeper_words.DISARM} {keeper_words.RUNNING if self._is_armed else ''}".strip()
        outcome = self._ask(request)
        if not outcome:
            if not self._is_armed:
                return ""
            outcome = "" if self._ensure() else self._ask(request)
        if outcome not in (keeper_words.STOPPED, keeper_words.KEPT):
            return f"DISARM: {outcome}"
        self._is_armed = self._has_client = False
        machine = self._daemon.machine
        if machine.keeper is not None and not machine.keeper.is_armed and outcome != "KEPT":
            machine.keeper = None
        return ""

    def _ready(self, is_former: bool) -> WatchdogReady:
        machine, plan = self._daemon.machine, self._daemon.machine.pair.plan
        policy = self._daemon.spec.fencing.lease
        media = frozenset(machine.noted) if is_former else None
        return WatchdogReady(
            plan.timeout_s,
            plan.granularity_s,
            plan.holders,
            plan.is_virtual,
            "softdog",
            policy if is_former else None,
            media,
            None if is_former else self._number,
        )


_READY = "ready"
_NO_ANSWER = "no answer"
