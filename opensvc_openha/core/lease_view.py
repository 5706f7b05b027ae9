"""Keep what the peer promised of its own death, and find out when that proves it dead.

The peer's watchdog is petted for confirmed signs of life only, and the peer announces how long
after the last one that *this* node can have seen it is dead. So it is dead once

* that time has passed since this node last received anything in its name, believed or not, and
* each medium of the promise was read with success, in a read begun after that time, and showed
  nothing that came later.

A medium that cannot be read proves nothing, however still it is: the peer may be renewing its sign
of life there. A disk counts only if it has brought an authenticated beat of the peer's present
incarnation: another disk, or a copy of one, is still for ever. A medium may hold something that
was not taken for a beat; it is a sign of life all the same (``MediumQuiet.since``). A path may name
another disk each time that it is opened, and two paths the same one (``SlotOpened``). A slot that
was opened again counts once what it held then is known: that beat is of any age, and no news of the
peer, but it may end or prolong the promise (``BeatFound``). So it can only make this node wait.

Only the newest facts of the present incarnation promise anything, and only authenticated. Once a
beat of another one came in that was not heard before, they promise nothing: it may be a later one
whose beats withdrew the promise, though it has not heard this node yet and is not believed. This
incarnation must have been acknowledged by the peer (``incarnations``): what lies in a slot when
this node boots may be older than a withdrawal which that slot could not take. Beyond the promise,
the start-ready delay, or the last call, is kept as the peer's last chance to be heard.

Nothing here depends on this node having listened without a break: what it has missed was neither
acknowledged, nor is a medium quiet then. A proof is void after a stall all the same, as any other.
"""

from __future__ import annotations

import math
from dataclasses import replace

from opensvc_openha.core import timing
from opensvc_openha.core.beat import Beat, BootId, Goodbye
from opensvc_openha.core.events import BeatFound, MediumQuiet, MediumUnread, SlotOpened
from opensvc_openha.core.model import ClusterSpec, LinkSpec, PathKind
from opensvc_openha.core.peer_view import PeerView
from opensvc_openha.core.promise import WITNESS_MARK, Promise, media_of
from opensvc_openha.core.proof import Proof, ProofKind, Scope
from opensvc_openha.core.state_marks import state_marks
from opensvc_openha.named_tuples import NamedTuple
from opensvc_openha.records import dataclass

_REFUSED_KEPT = 4
"""Of so many incarnations a beat is kept that was refused."""

_MEMORY_S = dict.fromkeys(("_life_at", "_quiet_at"), timing.PROOF_LIFE_S + 1)


class PeerPromise(NamedTuple):
    """What the peer promises, as far as that is known here.

    ``seq`` is the beat that brought the newest facts: of later statements nothing is known.
    """

    boot: BootId
    promise: Promise
    seq: int


@state_marks(not_state={"text", "is_barred"})
@dataclass(frozen=True)
class LeaseSight:
    """What the promise of the peer comes to at one instant.

    ``text`` says what stands, or what is missing, as a clause. ``is_usable`` if the promise, should
    there be one (``is_promised``), can prove something once the peer is silent. During a silence,
    ``ends_at`` is when the promised time, and the start-ready delay, are over; ``is_open`` while a
    round has to wait for it. ``is_prolonged`` if that takes longer than it did when the silence
    began: a peer that renews where only its promise is read may do so for ever, and is no reason to
    leave other paths untried.
    """

    text: str = "no beat of the peer came in yet"
    is_promised: bool = False
    is_usable: bool = False
    ends_at: float | None = None
    is_open: bool = False
    is_prolonged: bool = False
    proof: Proof | None = None
    is_barred: bool = False
    """The peer is a virtual machine, whose promise proves nothing here, whatever can be read."""

    def explain(self, now: float) -> str:
        """Return the text, with the time that is left."""
        if self.ends_at is not None and now < self.ends_at:
            return f"ends in {self.ends_at - now:.1f} s"
        return self.text


@state_marks(not_state={"_spec", "_links", "_boot", "_unread", "promised"}, memory_s=_MEMORY_S)
class LeaseView:
    """The promise of one peer, and the reads of the media that it names."""

    def __init__(self, spec: ClusterSpec, now: float) -> None:
        self._life_at = now
        """The last reception of anything in the peer's name."""
        self._boot: BootId | None = None
        """The incarnation that ``_shown_by`` is about."""
        self._links: dict[bytes, LinkSpec] = {}
        self._disks: dict[LinkSpec, str] = {}
        """The disk that the path of each link names now; the path itself if that is not known."""
        self._shown_by: set[tuple[str, int]] = set()
        """Disks that brought an authenticated beat of that incarnation, with the slot's offset."""
        self._opened: set[LinkSpec] = set()
        """Links whose slot was opened, and of which nothing is known that it has held since."""
        self._found: dict[LinkSpec, Beat] = {}
        """What lay in the slot of each link when it was opened."""
        self._refused: dict[BootId, Beat] = {}
        """The newest authentic beat of each incarnation that came in and was not taken."""
        self._other: BootId | None = None
        """An incarnation that was seen beside the one that promised."""
        self._quiet_at: dict[bytes, float] = {}
        """When the newest read of each medium began that showed nothing new."""
        self._unread: dict[bytes, str] = {}
        """Why the last look at a medium proves nothing."""
        self._silence: tuple[float, float] | None = None
        """When the peer fell silent, and what its last sign of life was then."""
        self._first_wait_ends = -math.inf
        """How long a round waits that has something else to try."""
        self.sight = LeaseSight()
        self.promised: PeerPromise | None = None
        """The peer's promise, if that is of use here; one value, which any thread may read."""
        self.reconfigure(spec)

    def reconfigure(self, spec: ClusterSpec) -> None:
        """Apply a configuration."""
        self._spec = spec
        before, media = self._links, media_of(spec.listeners)
        self._links = {mark: link for link, mark in media.items()}
        self._disks = {link: disk for link, disk in self._disks.items() if link in media}
        self._found = {link: beat for link, beat in self._found.items() if link in media}
        self._opened &= media.keys()
        # Where it is not known which disk a path names, each configuration may mean another one.
        gone = before.values() - media.keys()
        self._shown_by -= {(link.device, link.offset) for link in gone}
        # Of two disks with the same offset, the second may have the name of the first one now.
        if self._links != before:
            self.void()

    @property
    def is_configured(self) -> bool:
        """True if the fence plan of this node makes use of the peer's promise."""
        return any(path.kind is PathKind.LEASE for path in self._spec.fencing.paths)

    # --- what is heard and read -------------------------------------------------------------------

    def record_life(self, received_at: float) -> None:
        """Handle a sign of life: any beat in the peer's name, believed or not."""
        self._life_at = max(self._life_at, received_at)

    def record_beat(self, link: LinkSpec, boot: BootId) -> None:
        """Record which link has brought an authenticated beat of the present incarnation."""
        if boot != self._boot:
            self._boot = boot
            if self._other is not None and self._other.counter <= boot.counter:
                self._other = None
            self._shown_by.clear()
        self._shown_by.add(self._slot(link))
        self._opened.discard(link)
        found = self._found.get(link)
        if found is not None and found.boot.counter < boot.counter:
            del self._found[link]

    def record_opened(self, event: SlotOpened) -> None:
        """Record the disk that is read from now on: what another one has shown is not of it."""
        link, disk = event.link, event.disk
        self._opened.add(link)
        if disk and disk == self._disks.get(link):
            return
        self._disks[link] = disk or link.device
        if not disk:
            # No other opening is known to be of the same one.
            self._shown_by.discard(self._slot(link))
        for medium, each in self._links.items():
            if each == link:
                self._quiet_at.pop(medium, None)

    def record_found(self, event: BeatFound, view: PeerView) -> None:
        """Record what a slot held when it was opened."""
        beat = event.beat
        # It may have been written just before it was read.
        self.record_life(event.read_at)
        self._opened.discard(event.link)
        self._found[event.link] = beat
        newest = view.newest
        if newest is None or beat.boot.counter > newest.boot.counter:
            self.record_other(beat.boot)

    def record_refused(self, beat: Beat) -> None:
        """Record an authentic beat that counts for nothing: it may end or prolong the promise.

        A goodbye that does not answer this daemon is one, see ``PeerView.admits``.
        """
        known = self._refused.get(beat.boot)
        if known is None or beat.seq >= known.seq:
            self._refused[beat.boot] = beat
        if len(self._refused) > _REFUSED_KEPT:
            # Recordings are of former incarnations.
            del self._refused[min(self._refused, key=lambda boot: boot.counter)]

    def _slot(self, link: LinkSpec) -> tuple[str, int]:
        return self._disks.get(link, link.device), link.offset

    def record_other(self, boot: BootId) -> None:
        """Record an authenticated beat of an incarnation that is not the present one, nor past."""
        self._other = boot

    def record_quiet(self, event: MediumQuiet) -> None:
        """Record a read of a medium that showed nothing new."""
        # The first one that found what is there now may have been the first to look at all.
        self.record_life(event.since)
        self._quiet_at[event.medium] = max(
            event.read_at, self._quiet_at.get(event.medium, -math.inf)
        )
        self._unread.pop(event.medium, None)

    def record_unread(self, event: MediumUnread) -> None:
        """Record why a look at a medium proves nothing: a text for the operator."""
        self._unread[event.medium] = event.why

    def void(self) -> None:
        """Void the proof, and ask for new reads: this node may have missed something."""
        self._quiet_at.clear()
        self.sight = LeaseSight(self.sight.text)

    # --- what follows -----------------------------------------------------------------------------

    def judge(self, view: PeerView, delay_s: float, now: float, is_cut_off: bool = False) -> None:
        """Work out what the promise comes to; ``delay_s`` is the peer's last chance to be heard.

        ``is_cut_off``: nothing confirms that this node lives.
        """
        self.sight = self._judged(view, delay_s, now, is_cut_off)

    def next_deadline(self, now: float) -> float | None:
        """Return when time alone changes what the promise comes to."""
        sight = self.sight
        ahead = (
            []
            if sight.ends_at is None
            else [sight.ends_at, _waits_until(sight.ends_at), self._first_wait_ends]
        )
        if sight.proof is not None:
            ahead.append(sight.proof.at + timing.PROOF_LIFE_S)
        return min((instant for instant in ahead if instant > now), default=None)

    def _judged(self, view: PeerView, delay_s: float, now: float, is_cut_off: bool) -> LeaseSight:
        found = self._found_since(view)
        promise, seq = _known(view, found)
        is_held = self.is_configured and view.newest is not None and view.are_facts_authentic
        self.promised = (
            PeerPromise(view.newest.boot, promise, seq)
            if is_held and view.newest is not None and promise is not None
            else None
        )
        if promise is None:
            return LeaseSight(f"{self._spec.peer} made no promise")
        media, problem = self._media(promise)
        problem = self._doubt(view, promise, found) or problem
        if problem:
            is_barred = view.are_facts_authentic and self._is_barred(promise)
            return LeaseSight(problem, is_promised=True, is_barred=is_barred)
        if view.silent_since is None:
            what = "dead, or without services," if promise.may_stop else "dead"
            text = f"{self._spec.peer} promises: {what} {promise.death_s:.1f} s after its last sign"
            return LeaseSight(text, is_promised=True, is_usable=True)
        if promise.may_stop and is_cut_off:
            # The peer may be cut off as well, live without services, and see this node as this one
            # sees it: each would take the other's. What is seen until the cut ends proves nothing.
            self.record_life(now)
            text = f"this node is cut off, and {self._spec.peer} may be, too: it may live"
            return LeaseSight(text, is_promised=True)
        return self._countdown(view.silent_since, delay_s, promise, media, now)

    def _found_since(self, view: PeerView) -> list[Beat]:
        """Return what was seen and not taken, later than the newest facts, in its order."""
        newest = view.newest
        if newest is None:
            return []
        later = [
            beat
            for beat in (*self._found.values(), *self._refused.values())
            if beat.boot == newest.boot and beat.seq > view.facts_seq
        ]
        return sorted(later, key=lambda beat: beat.seq)

    def _doubt(self, view: PeerView, promise: Promise, found: list[Beat]) -> str:
        """Return why the promise proves nothing, whatever can be read; empty if it does."""
        peer, newest = self._spec.peer, view.newest
        if not view.are_facts_authentic:
            return f"the beats of {peer} are not authenticated"
        if self._is_barred(promise):
            return f"{peer} is a virtual machine"
        # One with a lower counter may be left in a slot that the present life never wrote to. A
        # link may have been removed before it was reported what its slot held.
        is_other_found = newest is not None and any(
            link in self._links.values()
            and beat.boot != newest.boot
            and not view.is_past(beat.boot)
            and (beat.boot.counter > newest.boot.counter or self._slot(link) in self._shown_by)
            for link, beat in self._found.items()
        )
        if self._other is not None or is_other_found:
            return f"another life of {peer} was seen, which has not acknowledged this node"
        # It promised to be petted beyond its daemon's end, or nothing at all: that is not known.
        if newest is not None and newest.goodbye is not Goodbye.NONE and newest.facts is None:
            return f"{peer} said goodbye without a promise"
        if newest is not None and any(
            beat.facts is None and beat.seq > newest.seq for beat in found
        ):
            return f"there is a later beat of {peer}, without facts"
        return ""

    def _is_barred(self, promise: Promise) -> bool:
        """Return True if the peer may be paused: neither it nor its watchdog would notice."""
        policy = self._spec.fencing.lease
        return promise.is_virtual and (policy is None or not policy.is_pause_excluded)

    def _media(self, promise: Promise) -> tuple[dict[bytes, str], str]:
        """Return the media to be read, with a name for each, and what prevents that."""
        peer, lease = self._spec.peer, self._spec.fencing.lease
        named: dict[bytes, str] = {}
        marks = set()
        for medium in sorted(promise.media):
            if medium == WITNESS_MARK:
                named[medium] = "the witness"
                if lease is None or not lease.has_witness:
                    return {}, f"no witness is configured here, {peer} has one"
            elif medium in self._links:
                marks.add(self._links[medium].mark)
            else:
                return {}, f"a disk of {peer} is not read here"
        # Where two disks have the same offset it is not known which one is meant: both are read.
        for medium, link in self._links.items():
            if link.mark in marks:
                named[medium] = f"slot of {link.device}"
                if self._slot(link) not in self._shown_by:
                    return {}, f"slot of {link.device} has not shown the present life of {peer}"
                if link in self._opened:
                    return {}, f"slot of {link.device} was opened, and shows no beat of {peer}"
        return named, "" if named else f"the promise of {peer} names no medium"

    def _countdown(
        self,
        silent_since: float,
        delay_s: float,
        promise: Promise,
        media: dict[bytes, str],
        now: float,
    ) -> LeaseSight:
        last_chance = silent_since + delay_s
        if self._silence is None or self._silence[0] != silent_since:
            self._silence = silent_since, self._life_at
        first = max(self._silence[1] + promise.death_s, last_chance)
        self._first_wait_ends = _waits_until(first)
        dead_at = self._life_at + promise.death_s
        ends_at = max(dead_at, last_chance)
        unread = [medium for medium in media if not self._is_read(medium, dead_at, now)]
        if now < ends_at or unread:
            why = self._unread.get(unread[0], "no successful read since then") if unread else ""
            text = f"{media[unread[0]]}: {why}" if unread else ""
            is_open = now < _waits_until(ends_at)
            is_prolonged = is_open and now >= self._first_wait_ends
            return LeaseSight(text, True, True, ends_at, is_open, is_prolonged)
        before = self.sight.proof
        if before is not None and now < before.at + timing.PROOF_LIFE_S:
            return self.sight
        read_s = min(self._quiet_at[medium] for medium in media) - self._life_at
        what = "dead, or without services," if promise.may_stop else "dead"
        text = (
            f"self-fenced: promised to be {what} {promise.death_s:.1f} s after its last sign,"
            f" {' and '.join(media.values())} read {read_s:.1f} s after it"
        )
        proof = Proof(ProofKind.SELF_FENCED, Scope.NODE, None, now, text)
        return LeaseSight(text, True, True, ends_at, proof=proof)

    def _is_read(self, medium: bytes, dead_at: float, now: float) -> bool:
        read_at = self._quiet_at.get(medium)
        return read_at is not None and dead_at <= read_at and now < read_at + timing.PROOF_LIFE_S


def _known(view: PeerView, found: list[Beat]) -> tuple[Promise | None, int]:
    """Return what the peer is known to promise, and the number of the newest beat with it.

    What was found, and did not come in, withdraws a promise or prolongs it, and makes none.
    """
    promise, seq = None if view.facts is None else view.facts.promise, view.facts_seq
    for beat in found:
        if beat.facts is None:
            continue
        seq, later = beat.seq, beat.facts.promise
        if promise is None or later is None:
            promise = None
            continue
        promise = replace(
            later,
            death_s=max(promise.death_s, later.death_s),
            media=promise.media | later.media,
            is_virtual=promise.is_virtual or later.is_virtual,
        )
    return promise, seq


def _waits_until(ends_at: float) -> float:
    return ends_at + timing.LEASE_LAST_READ_S
