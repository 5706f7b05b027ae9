"""Answer an operator's confirmation that the peer runs nothing, and record its end."""

from __future__ import annotations

from opensvc_openha.core.actions import Action, Answer, AnswerCode, Record, RecordKind
from opensvc_openha.core.events import PeerConfirmedOut
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import PeerStanding


def refusal(
    event: PeerConfirmedOut, peer: str, standing: PeerStanding, reason: str, now: float
) -> str:
    """Return why the confirmation is refused; empty if it is accepted."""
    # The command has reported a time-out by then, and the operator may have acted otherwise.
    if now > event.until:
        return "it came too late: its command has already reported that there is no answer"
    # A live peer contradicts the operator, and one not listened to for long enough may yet do so.
    if standing in (PeerStanding.LIVE, PeerStanding.UNKNOWN):
        return f"{peer} is {standing.value}: {reason}"
    return ""


def refused(event: PeerConfirmedOut, peer: str, why: str) -> list[Action]:
    """Return the answer to a confirmation that is refused."""
    return [_answer(event, peer, AnswerCode.REFUSED, why)]


def accepted(
    event: PeerConfirmedOut, peer: str, standing: PeerStanding, follows: str
) -> list[Action]:
    """Return record and answer; ``follows`` describes what happens to the services."""
    text = (
        f"by {event.who}: believed until a beat of it comes in, this node stands still, or its"
        " daemon ends"
    )
    return [
        Record(RecordKind.PEER, peer, standing.word, "CONFIRMED OUT", text, is_alarm=True),
        _answer(event, peer, AnswerCode.CONFIRMED, follows),
    ]


def ended(who: str, why: str, peer: str, standing: PeerStanding) -> list[Action]:
    """Return the record of the end of what ``who`` confirmed."""
    text = f"{why}: what {who} confirmed holds no longer"
    return [Record(RecordKind.PEER, peer, "CONFIRMED OUT", standing.word, text, is_alarm=True)]


def _answer(event: PeerConfirmedOut, peer: str, code: AnswerCode, detail: str) -> Answer:
    unknown = ServiceState.UNKNOWN
    is_ok = code is AnswerCode.CONFIRMED
    return Answer(
        event.command_id, "confirm", peer, code, unknown, unknown, detail, is_last=True, is_ok=is_ok
    )
