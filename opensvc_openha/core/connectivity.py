"""Find out whether this node is isolated: none of the targets that it asks answers any more.

A verdict takes several rounds in a row, in both directions. What could not be asked, and what fell
into a stall of this node, is neither a miss nor an answer; without news nothing is known. A service
is handed over only on evidence that the targets answer the peer alone: the peer, which has heard
that this node is isolated, was answered since, and this node has missed whole rounds that began
later than that. A gateway that dies therefore moves nothing, whichever node notices first.
"""

from __future__ import annotations

import math

from opensvc_openha.core.actions import Record, RecordKind
from opensvc_openha.core.events import PingResult, TargetLook, TargetsAsked
from opensvc_openha.core.facts import Connectivity, Reach
from opensvc_openha.core.model import ClusterSpec
from opensvc_openha.core.peer_view import PeerView
from opensvc_openha.core.state_marks import state_marks
from opensvc_openha.core.status import ConnectivityStatus, PeerStanding, TargetStatus
from opensvc_openha.core.timing import (
    CONNECTIVITY_FACTS_OLD_S,
    PEER_ANSWERS,
    PING_ANSWERS,
    PING_MISSES,
    PING_SLACK_S,
)
from opensvc_openha.core.wording import named
from opensvc_openha.records import dataclass

ISOLATED = "ISOLATED"
"""Word of the history for the beginning of an isolation, and for what ends with it."""
_NOT_ASKED = "its targets were not asked yet"
_MEMORY_S = 60.0
_NO_ROUNDS = "nothing asks its targets any more"


@dataclass(frozen=True)
class ReachSight:
    """What follows for services.

    ``isolated`` states as a clause that this node is, ``since`` since when; empty if it is not.
    ``is_open`` while it is not known yet since the peer fell silent. ``is_peer_reachable`` if what
    runs here is better off on the peer: its targets answer it, and not this node.
    """

    isolated: str = ""
    since: float | None = None
    is_open: bool = False
    is_peer_reachable: bool = False


@state_marks(
    not_state={
        "_node",
        "_peer",
        "_looks",
        "_answered",
        "_shown",
        "_since",
        "_answers_in_all",
        "_peer_answers",
        "unknown_why",
    },
    own_seqs={"_isolated_seq"},
    memory_s={"_answered_at": _MEMORY_S, "_awake_since": _MEMORY_S, "_looked_at": _MEMORY_S},
)
class OwnConnectivity:
    """What this node knows of its targets."""

    def __init__(self, spec: ClusterSpec, now: float) -> None:
        self._node = spec.node
        self._peer = spec.peer
        self.policy = spec.connectivity
        self.reach = Reach.UNKNOWN
        self.unknown_why = _NOT_ASKED
        self._since = now
        self._isolated_at: float | None = None
        self._isolated_seq = -1
        """The first beat of this node that reports that it is isolated."""
        self._awake_since = self._looked_at = now
        self._answered_at = -math.inf
        """When the newest round began that was answered."""
        self._missed: tuple[float, ...] = ()
        """When the last rounds began, of those in a row that nobody answered."""
        self._answers = 0
        self._unable = 0
        self._is_blind = False
        """Its targets cannot be asked, or are not any more."""
        self._answers_in_all = 0
        self._peer_answers: int | None = None
        """How many answers the peer has reported since it knows that this node is isolated."""
        self._peer_news = 0
        """How many of them are later than the first such report."""
        self._peer_answered_at: float | None = None
        """When they were enough: one of them at least was asked for since."""
        self._looks: tuple[TargetLook, ...] = ()
        self._answered: dict[str, float] = {}
        self._shown = Reach.UNKNOWN

    # --- what was seen ----------------------------------------------------------------------------

    def record(self, event: TargetsAsked, now: float, next_seq: int) -> list[Record]:
        """Take a round; ``next_seq`` is the number of the next beat."""
        policy = self.policy
        if policy is None or {look.address for look in event.looks} != set(policy.targets):
            return []
        self._looked_at, self._looks = now, event.looks
        results = {look.result for look in event.looks}
        for look in event.looks:
            if look.result is PingResult.ANSWERED:
                self._answered[look.address] = event.began_at
        if PingResult.ANSWERED in results:
            self._take_answer(event)
        elif event.began_at < self._awake_since:
            # Part of it fell into a stall of this node.
            return []
        elif PingResult.UNABLE in results:
            self._take_unable(event, now)
        else:
            self._take_miss(event, now, next_seq)
        return self._news()

    def _take_answer(self, event: TargetsAsked) -> None:
        self._answered_at = max(self._answered_at, event.began_at)
        self._answers = min(self._answers + 1, PING_ANSWERS)
        self._answers_in_all += 1
        self._missed, self._unable, self._is_blind = (), 0, False
        self._forget_peer()
        if self.reach is Reach.UNKNOWN or self._answers >= PING_ANSWERS:
            self._enter(Reach.REACHABLE, event.began_at)

    def _take_unable(self, event: TargetsAsked, now: float) -> None:
        self._answers, self._missed = 0, ()
        self._forget_peer()
        self._unable = min(self._unable + 1, PING_MISSES)
        if self._unable >= PING_MISSES:
            unable = [look for look in event.looks if look.result is PingResult.UNABLE]
            self._lose_sight(f"{unable[0].address} could not be asked: {unable[0].text}", now)

    def _take_miss(self, event: TargetsAsked, now: float, next_seq: int) -> None:
        self._answers = self._unable = 0
        self._is_blind = False
        self._missed = (*self._missed, event.began_at)[-PING_MISSES:]
        if len(self._missed) >= PING_MISSES and self.reach is not Reach.ISOLATED:
            self._enter(Reach.ISOLATED, now)
            self._isolated_at, self._isolated_seq = now, next_seq

    def _lose_sight(self, why: str, now: float) -> None:
        self._is_blind, self.unknown_why = True, why
        if self.reach is not Reach.UNKNOWN:
            self._enter(Reach.UNKNOWN, now)

    def _enter(self, reach: Reach, at: float) -> None:
        if reach is not self.reach:
            self.reach, self._since = reach, at
        if reach is not Reach.ISOLATED:
            self._isolated_at, self._isolated_seq = None, -1
            self._forget_peer()

    def _forget_peer(self) -> None:
        self._peer_answers, self._peer_news, self._peer_answered_at = None, 0, None

    def restart(self, now: float) -> None:
        """Count from now on: this node stood still, and what asks its targets with it."""
        self._awake_since = now
        self._missed, self._answers, self._unable = (), 0, 0
        self._forget_peer()

    def advance(self, now: float) -> list[Record]:
        """Let what was seen grow old; called in each step."""
        if self.policy is None or self._is_blind or now < self._old_at:
            return []
        self._missed, self._answers = (), 0
        self._lose_sight(_NO_ROUNDS, now)
        return self._news()

    @property
    def _old_at(self) -> float:
        """When rounds are missed themselves."""
        return max(self._looked_at, self._awake_since) + self._rounds_s

    @property
    def _rounds_s(self) -> float:
        """Seconds in which a verdict comes, from any moment on, if rounds are made as they should.

        A round that is under way at that moment does not count.
        """
        assert self.policy is not None
        return (PING_MISSES + 1) * self.policy.period_s + PING_SLACK_S

    def _news(self) -> list[Record]:
        if self.reach is self._shown:
            return []
        old, self._shown = self._shown, self.reach
        if self.reach is Reach.ISOLATED:
            text = f"{self._unanswered}: nothing is taken over from a silent {self._peer}"
        elif self.reach is Reach.UNKNOWN:
            text = f"whether this node is isolated is not known: {self.unknown_why}"
        else:
            answering = [each.address for each in self._looks if _answers(each)]
            text = f"{named(answering, 3)} {'answers' if len(answering) == 1 else 'answer'}"
            text += " again" if old is Reach.ISOLATED else ""
        is_alarm = self.reach is not Reach.REACHABLE
        word, before = _WORDS[self.reach], _WORDS[old] if old is Reach.ISOLATED else ""
        return [Record(RecordKind.NODE, self._node, before, word, text, is_alarm=is_alarm)]

    # --- what follows -----------------------------------------------------------------------------

    @property
    def _unanswered(self) -> str:
        assert self.policy is not None
        targets = self.policy.targets
        if len(targets) == 1:
            return f"{targets[0]} does not answer"
        return f"none of {named(targets, 3)} answers"

    @property
    def text(self) -> str:
        """Say that this node is isolated, as a clause; empty if it is not."""
        return f"isolated, {self._unanswered}" if self.reach is Reach.ISOLATED else ""

    @property
    def is_isolated(self) -> bool:
        """True if none of the targets answers this node; safe to read from any thread."""
        return self.reach is Reach.ISOLATED

    def sight(self, view: PeerView, now: float) -> ReachSight:
        """Return what follows for services."""
        if self.policy is None:
            return _NOTHING
        is_open = self._opens_until(view.silent_since, now) is not None
        return ReachSight(self.text, self._isolated_at, is_open, self._is_peer_reachable(view, now))

    def _opens_until(self, silent_since: float | None, now: float) -> float | None:
        """Return until when an answer is awaited that is later than the beginning of a silence.

        One from before may be of before whatever has cut this node from its peer. None if nothing
        is awaited.
        """
        if silent_since is None or self.is_isolated or self._is_blind:
            return None
        until = max(silent_since, self._awake_since) + self._rounds_s
        return until if self._answered_at < silent_since and now < until else None

    def observe(self, view: PeerView, now: float) -> None:
        """Note what the peer reports; called in each step."""
        if not self.is_isolated:
            return
        answers = self._peer_count(view, now)
        if answers is None or self._peer_answers is None or answers < self._peer_answers:
            self._forget_peer()
            self._peer_answers = answers
            return
        self._peer_news = min(PEER_ANSWERS, self._peer_news + answers - self._peer_answers)
        self._peer_answers = answers
        if self._peer_news >= PEER_ANSWERS and self._peer_answered_at is None:
            self._peer_answered_at = now

    def _peer_count(self, view: PeerView, now: float) -> int | None:
        """Return how often a target has answered the peer; None unless it reports that it does.

        It must know by then that this node is isolated: an earlier report is of before that.
        """
        facts = view.facts
        if facts is None or facts.connectivity is None or view.standing is not PeerStanding.LIVE:
            return None
        is_news = now <= view.facts_at + CONNECTIVITY_FACTS_OLD_S
        has_heard = view.facts_acked_seq >= self._isolated_seq and view.hears_this_node
        is_reachable = facts.connectivity.reach is Reach.REACHABLE
        return facts.connectivity.answers if is_reachable and is_news and has_heard else None

    def _is_peer_reachable(self, view: PeerView, now: float) -> bool:
        answered_at = self._peer_answered_at
        if not self.is_isolated or answered_at is None or len(self._missed) < PING_MISSES:
            return False
        is_reported = self._peer_count(view, now) is not None
        return is_reported and self._missed[0] >= answered_at

    def next_deadline(self, view: PeerView, now: float) -> float | None:
        """Return when time alone changes something; None if it does not."""
        if self.policy is None:
            return None
        until = self._opens_until(view.silent_since, now)
        ahead = [] if self._is_blind else [self._old_at]
        ahead += [] if until is None else [until]
        if self._peer_answers is not None:
            ahead.append(view.facts_at + CONNECTIVITY_FACTS_OLD_S)
        return min((at for at in ahead if at > now), default=None)

    @property
    def facts(self) -> Connectivity | None:
        """What beats report; None without targets."""
        if self.policy is None:
            return None
        return Connectivity(self.reach, self._answers_in_all)

    # --- showing ----------------------------------------------------------------------------------

    def why_not_handed_over(self, view: PeerView, now: float) -> str:
        """Return why an isolated node hands nothing over; empty if it does."""
        facts = view.facts
        if view.standing is not PeerStanding.LIVE:
            return f"{self._peer} is {view.standing.value}"
        if facts is None or facts.connectivity is None:
            return f"{self._peer} does not report whether it is isolated"
        if facts.connectivity.reach is Reach.ISOLATED:
            return f"{self._peer} is isolated as well"
        if facts.connectivity.reach is Reach.UNKNOWN:
            return f"whether {self._peer} is isolated is not known"
        if not self._is_peer_reachable(view, now):
            return f"whether {self._peer} is still answered is being found out"
        return ""

    def status(self, view: PeerView, now: float) -> ConnectivityStatus | None:
        """Return what is shown of it; None without targets."""
        policy = self.policy
        if policy is None:
            return None
        looks = {look.address: look for look in self._looks}
        targets = tuple(self._target(address, looks.get(address)) for address in policy.targets)
        facts = view.facts if view.standing is PeerStanding.LIVE else None
        peer = None if facts is None else facts.connectivity
        text = self.unknown_why if self.reach is Reach.UNKNOWN else ""
        if self.is_isolated:
            why_not = self.why_not_handed_over(view, now)
            stays = (
                f"nothing is handed over: {why_not}"
                if why_not
                else (f"what {self._peer} would take is handed over")
            )
            text = f"nothing is taken over from a silent peer; {stays}"
        since = None if self.reach is Reach.UNKNOWN else self._since
        reach = "" if peer is None else peer.reach.value
        return ConnectivityStatus(self.reach.value, since, targets, reach, text)

    def _target(self, address: str, look: TargetLook | None) -> TargetStatus:
        answered_at = self._answered.get(address)
        if look is None:
            return TargetStatus(address, None, "not asked yet", answered_at=answered_at)
        is_known = look.result is not PingResult.UNABLE
        answers = _answers(look) if is_known else None
        text = "" if answers else look.text or look.result.value
        return TargetStatus(address, answers, text, look.took_s, answered_at)

    def warnings(self, view: PeerView) -> tuple[str, ...]:
        """Return what an operator has to look at."""
        if self.policy is None:
            return ()
        found = []
        if self.is_isolated:
            found.append(f"{self._node} is isolated: {self._unanswered}")
        elif self._is_blind:
            found.append(f"whether {self._node} is isolated is not known: {self.unknown_why}")
        facts = view.facts
        if view.standing is PeerStanding.LIVE and facts is not None and facts.connectivity is None:
            found.append(
                f"{self._peer} does not report whether it is isolated ([connectivity] in its"
                " openha.conf, and a version that knows it): nothing is handed over to it"
            )
        return tuple(found)


def _answers(look: TargetLook) -> bool:
    return look.result is PingResult.ANSWERED


_NOTHING = ReachSight()
_WORDS = {
    Reach.REACHABLE: "REACHABLE",
    Reach.ISOLATED: ISOLATED,
    Reach.UNKNOWN: "CONNECTIVITY UNKNOWN",
}
