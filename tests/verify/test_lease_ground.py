"""S2 finds a start on a promise that does not prove the peer dead yet."""

from __future__ import annotations

import pytest

from opensvc_openha.core.beat import Ack, Beat, BootId, Goodbye
from opensvc_openha.core.events import ScriptKind
from opensvc_openha.core.facts import Facts
from opensvc_openha.core.promise import Promise
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.verify.invariants import (
    DaemonBegan,
    Heard,
    InvariantBroken,
    InvariantChecker,
    MediumRead,
    Moved,
    ScriptBegan,
)

OWN, PEER, FORMER = BootId(1, 1), BootId(2, 2), BootId(1, 2)
MEDIUM = b"a disk.."
PROMISE = Facts(promise=Promise(11.4, frozenset({MEDIUM})))


def _checker() -> InvariantChecker:
    checker = InvariantChecker(("deb1", "deb2"), 10.0, 10.0)
    checker.expect_plan()
    checker.observe(DaemonBegan(0.0, "deb1", OWN, {"web": S.STOPPED}))
    checker.observe(DaemonBegan(0.0, "deb2", PEER, {"web": S.STARTED}))
    return checker


def _hear(
    checker: InvariantChecker,
    at: float,
    seq: int,
    facts: Facts | None = PROMISE,
    is_authentic: bool = True,
    boot: BootId = PEER,
    goodbye: Goodbye = Goodbye.NONE,
) -> None:
    beat = Beat("deb2", boot, seq, Ack(OWN, 1), {"web": S.STARTED}, goodbye=goodbye, facts=facts)
    checker.observe(Heard(at, "deb1", beat, is_authentic, received_at=at))


def _start(checker: InvariantChecker, at: float) -> None:
    checker.observe(Moved(at, "deb1", "web", S.START_READY))
    checker.observe(ScriptBegan(at, "deb1", "web", ScriptKind.START))


def _read(checker: InvariantChecker, read_at: float, since: float = 1.0) -> None:
    checker.observe(MediumRead(read_at, "deb1", MEDIUM, read_at, since))


def test_a_start_after_the_promised_time_and_a_read_has_its_ground() -> None:
    """Facts that come later make it longer or shorter, a beat without facts does not."""
    checker = _checker()
    _hear(checker, 1.0, 1)
    _hear(checker, 2.0, 2, facts=None)
    _read(checker, 13.4)
    _start(checker, 13.4)


@pytest.mark.parametrize(
    ("facts", "is_authentic", "goodbye"),
    [
        (Facts(), True, Goodbye.NONE),
        (PROMISE, False, Goodbye.NONE),
        (Facts(promise=Promise(11.4, frozenset())), True, Goodbye.NONE),
        (Facts(promise=Promise(11.4, frozenset({MEDIUM}), is_virtual=True)), True, Goodbye.NONE),
        (Facts(promise=Promise(90.0, frozenset({MEDIUM}))), True, Goodbye.NONE),
        (Facts(promise=Promise(11.4, frozenset({MEDIUM, b"another."}))), True, Goodbye.NONE),
        (None, True, Goodbye.RESTART),
    ],
)
def test_a_promise_that_proves_nothing_is_no_ground(
    facts: Facts | None, is_authentic: bool, goodbye: Goodbye
) -> None:
    """Withdrawn, without a key, of a virtual machine, without a medium, longer, not all read."""
    checker = _checker()
    _hear(checker, 1.0, 1)
    _hear(checker, 2.0, 2, facts, is_authentic, goodbye=goodbye)
    _read(checker, 80.0)
    with pytest.raises(InvariantBroken, match="^S2 broken"):
        _start(checker, 80.0)


@pytest.mark.parametrize("late", ["a read before the end", "a sign", "a hidden sign", "too early"])
def test_a_start_before_the_end_is_found(late: str) -> None:
    """Anything received begins the time again, also an old beat, and what lay in a slot."""
    checker = _checker()
    _hear(checker, 2.0, 2)
    _read(checker, 13.3 if late == "a read before the end" else 20.0)
    if late == "a sign":
        _hear(checker, 9.0, 1, boot=FORMER)
    if late == "a hidden sign":
        _read(checker, 20.0, since=9.0)
    with pytest.raises(InvariantBroken, match="^S2 broken"):
        _start(checker, 13.3 if late == "too early" else 20.0)


@pytest.mark.parametrize("facts", [Facts(), Facts(promise=Promise(90.0, frozenset({MEDIUM})))])
def test_a_beat_that_is_not_taken_ends_or_prolongs_the_promise(facts: Facts) -> None:
    """A goodbye to a former daemon of this node, before a beat of that life is taken, or after."""
    for seqs in ((1, 3), (3, 1)):
        checker = _checker()
        for seq in seqs:
            own = OWN if seq == 1 else BootId(77, 77)
            goodbye = Goodbye.NONE if seq == 1 else Goodbye.RESTART
            content = PROMISE if seq == 1 else facts
            states = {"web": S.STARTED}
            beat = Beat("deb2", PEER, seq, Ack(own, 1), states, goodbye=goodbye, facts=content)
            checker.observe(Heard(2.0, "deb1", beat, True, received_at=2.0))
        _read(checker, 80.0)
        with pytest.raises(InvariantBroken, match="^S2 broken"):
            _start(checker, 80.0)
