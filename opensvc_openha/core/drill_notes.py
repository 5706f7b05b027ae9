"""Hold what a drill of a takeover has asked of this node; each note ends by itself.

    hold fences     on the node that takes over: a start beside a silent peer waits, as for a turn
    play dead       on the other one: it sends nothing, and starts nothing, whatever is ordered
    peer stopped    the word that the other one runs nothing; it takes the place of the fence

What holds back only delays, and a node that is silent on purpose is to its peer what a cut one is:
neither proves anything. The word is an operator's, for less time than the other node plays dead:
what that one starts later, this one does not take for stopped.

A node that holds its fences back does not play dead, and the other way round: if a drill is begun
on both nodes at once, both are refused.

A node plays dead only while it hears its peer, and the newest beat of that one reports that it
holds its fences back for long enough: it speaks again as soon as that one is silent, has left, was
started again, or reports no hold. The end of a hold is reported first, and comes with the next
beat of the peer: one that plays dead sends none before it has heard that.
"""

from __future__ import annotations

import math

from opensvc_openha.core import timing
from opensvc_openha.core.actions import Action, Answer, AnswerCode, Record, RecordKind
from opensvc_openha.core.beat import BootId
from opensvc_openha.core.events import DrillOrder, DrillOrdered
from opensvc_openha.core.peer_view import PeerView
from opensvc_openha.core.state_marks import state_marks
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import PeerStanding

HELD, DEAD, OVER = "HOLDS ITS FENCES", "PLAYS DEAD", "DRILL OVER"
_NEVER = -math.inf


@state_marks(not_state={"_node", "_peer"})
class DrillNotes:
    """The notes of one node."""

    def __init__(self, node: str, peer: str) -> None:
        self._node = node
        self._peer = peer
        self.held_until = _NEVER
        """No fence begins before that instant."""
        self.word_until = _NEVER
        """The word that the peer has stopped everything is taken, and holds, before that instant.
        """
        self.dead_until = _NEVER
        """This node sends and starts nothing before that instant."""
        self._ends_after: int | None = None
        """The newest beat of the peer when the end of the hold was ordered; None if it was not."""
        self._heard: BootId | None = None
        """The incarnation of the peer that was heard when this node began to play dead."""

    @property
    def plays_dead(self) -> bool:
        """True while this node sends nothing since a drill asks for that."""
        return self.dead_until > _NEVER

    @property
    def deadlines(self) -> tuple[float, ...]:
        """When time alone ends a note."""
        ends = (self.held_until, self.word_until, self.dead_until)
        return tuple(at for at in ends if at > _NEVER)

    def order(
        self, event: DrillOrdered, view: PeerView, why_never: str, is_busy: bool, now: float
    ) -> list[Action]:
        """Take a note, or end one; the word that the peer has stopped is the engine's to take.

        ``why_never`` is why this node takes part in no drill; ``is_busy`` if a script runs here.
        """
        order = event.order
        if order is DrillOrder.SPEAK:
            return [*self._speak("the drill ends it"), self.answer(event)]
        # Beside a peer that is not heard any of this is a failure, and no drill of one.
        why = "" if view.standing is PeerStanding.LIVE else f"{self._peer} is {view.standing.value}"
        if order is DrillOrder.END_HOLD:
            if not why and view.newest is not None and self.held_until > _NEVER:
                self._ends_after = view.newest.seq
            return [self.answer(event, why)]
        why = why or why_never or ("it came too late" if now > event.at_latest else "")
        if not 0.0 < event.seconds <= timing.DRILL_DEAD_MAX_S:
            why = why or f"a drill takes at most {timing.DRILL_DEAD_MAX_S:g} s"
        if order is DrillOrder.PLAY_DEAD:
            why = why or ("a script of a service runs" if is_busy else "")
            # Two drills of both nodes, begun at once, would silence both and stop all services.
            is_holding = self.held_until > now
            why = why or ("it holds its fences back, for its own drill" if is_holding else "")
        if order in (DrillOrder.PLAY_DEAD, DrillOrder.HOLD_FENCES):
            why = why or ("it plays dead already" if self.plays_dead else "")
        if order is DrillOrder.PLAY_DEAD:
            why = why or self._why_not_held(view, event.seconds, now)
        if why:
            return [self.answer(event, why)]
        if order is DrillOrder.HOLD_FENCES:
            held_s = timing.hold_s(event.seconds)
            self.held_until, self._ends_after = now + held_s, None
            self.word_until = now + event.seconds * timing.DRILL_WORD_PART
            return [self._record("", HELD, f"for {held_s:.0f} s at most"), self.answer(event)]
        newest = view.newest
        self.dead_until = now + event.seconds
        self._heard = None if newest is None else newest.boot
        left = f"for {event.seconds:.0f} s at most"
        return [self._record("", DEAD, left), self.answer(event)]

    def reported_s(self, now: float) -> float | None:
        """Return for how long the peer may rely on the hold; None if it must not."""
        is_held = self._ends_after is None and self.held_until > now
        return self.held_until - now if is_held else None

    def _why_not_held(self, view: PeerView, seconds: float, now: float) -> str:
        """Return why this node must not be silent for so long; empty if it may."""
        held_s = None if view.facts is None else view.facts.held_s
        if held_s is None:
            return f"{self._peer} does not report that it holds its fences back"
        left_s = view.facts_at + held_s - timing.DRILL_SPEAK_EARLIER_S - now
        return "" if seconds <= left_s else f"{self._peer} does not hold its fences back so long"

    def why_no_word(self, now: float) -> str:
        """Return why the word that the peer has stopped is not taken; empty if it is."""
        return (
            "" if now < self.word_until else "no drill holds fences back here, or its time is over"
        )

    def advance(self, view: PeerView, is_leaving: bool, now: float) -> list[Action]:
        """End what is over."""
        done: list[Action] = []
        if self.held_until <= now:
            done += self._release("its time is over")
        newest_seq = None if view.newest is None else view.newest.seq
        is_live = view.standing is PeerStanding.LIVE
        if self._ends_after is not None and is_live and newest_seq != self._ends_after:
            done += self._release("the drill ends it")
        if self.plays_dead:
            newest = None if view.newest is None else view.newest.boot
            reasons = {
                "its time is over": self.dead_until <= now,
                f"{self._peer} is {view.standing.value}": view.standing is not PeerStanding.LIVE,
                f"another daemon runs on {self._peer}": newest != self._heard,
                "its daemon is leaving": is_leaving,
            }
            why = next((text for text, is_so in reasons.items() if is_so), "")
            why = why or self._why_not_held(view, 0.0, now)
            done += self._speak(why) if why else []
        return done

    def forget_word(self) -> None:
        """Take no word for the drill: an operator has seen to it, for longer than a drill may."""
        self.word_until = _NEVER

    def is_word_over(self, now: float) -> bool:
        """Return True once, when the time for the word has passed."""
        if not _NEVER < self.word_until <= now:
            return False
        self.word_until = _NEVER
        return True

    def text(self, now: float) -> str:
        """Return what a drill does to this node; empty for nothing."""
        texts = []
        if self.held_until > now:
            texts.append(f"a drill holds its fences back for {self.held_until - now:.0f} s more")
        if self.plays_dead:
            left_s = max(0.0, self.dead_until - now)
            texts.append(
                f"a drill has it play dead for {left_s:.0f} s more: it sends and starts nothing"
            )
        return "; ".join(texts)

    def refusal(self, now: float) -> str:
        """Return why nothing is started here on an order; empty if nothing speaks against it."""
        return self.text(now) if self.plays_dead else ""

    def answer(self, event: DrillOrdered, why: str = "") -> Answer:
        """Return the answer to an order; ``why`` it is refused, empty if it is not."""
        unknown = ServiceState.UNKNOWN
        return Answer(
            event.command_id,
            event.order.value,
            self._node,
            AnswerCode.REFUSED if why else AnswerCode.CONFIRMED,
            unknown,
            unknown,
            why,
            is_last=True,
            is_ok=not why,
        )

    def _speak(self, why: str) -> list[Action]:
        was_dead, self.dead_until, self._heard = self.plays_dead, _NEVER, None
        return [self._record(DEAD, OVER, why)] if was_dead else []

    def _release(self, why: str) -> list[Action]:
        was_held, self.held_until = self.held_until > _NEVER, _NEVER
        self._ends_after = None
        return [self._record(HELD, OVER, why)] if was_held else []

    def _record(self, old: str, new: str, reason: str) -> Record:
        return Record(RecordKind.NODE, self._node, old, new, f"drill: {reason}")
