"""An operator's word that the peer runs nothing: for how long it is believed, what ends it, and
what it is asked to start.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from opensvc_openha.core.actions import AnswerCode
from opensvc_openha.core.beat import Ack, Beat, BootId, Goodbye
from opensvc_openha.core.events import (
    BeatReceived,
    Command,
    Leaving,
    PeerConfirmedOut,
    RecoveredState,
)
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.core.timing import PROOF_LIFE_S
from tests.core.fences import OUT_S, STOPPED, Fences
from tests.core.pair import Host

WHO = "root on the console"


def alone(recovered: dict[str, RecoveredState]) -> tuple[Fences, Host]:
    """deb2, booted into a silence."""
    pair = Fences()
    pair.deb2.boot(recovered)
    pair.run(60)
    return pair, pair.deb2


def confirm(host: Host, until: float = float("inf")) -> tuple[AnswerCode, str]:
    """Gives the word; what is answered."""
    host.handle(host.life, PeerConfirmedOut(7, WHO, until))
    answer = host.answers[-1]
    assert answer.is_last and answer.is_ok is (answer.code is AnswerCode.CONFIRMED)
    return answer.code, answer.detail


def holds(host: Host) -> bool:
    """True while the word is believed, as `fence status` shows it."""
    assert host.engine is not None
    fencing = host.engine.snapshot(host.pair.now).fencing
    assert bool(fencing.confirmed_by) is (fencing.confirmed_at is not None)
    return fencing.confirmed_by == WHO


@pytest.mark.exhaustive
def test_word_holds_for_what_is_unfrozen_hours_later() -> None:
    """No second confirmation and no script; it is in the history once."""
    pair, deb2 = alone(
        {"registry": RecoveredState(S.STOPPED), "files": RecoveredState(S.FROZEN_STOP)}
    )
    word, detail = confirm(deb2)
    assert word is AnswerCode.CONFIRMED
    assert detail.splitlines() == [
        "registry: is started here now",
        "files: stays frozen: it is started here once you type service -A files unfreeze",
    ]
    pair.run(3 * 3600)
    assert (
        pair.state("deb2", "registry") is S.STARTED
        and pair.state("deb2", "files") is S.FROZEN_STOP
        and holds(deb2)
    )
    deb2.command(Command.UNFREEZE, "files")
    pair.run(5)
    assert pair.state("deb2", "files") is S.STARTED and pair.checks() == []
    assert [
        record.reason.split(":")[0] for record in deb2.records if record.new == "CONFIRMED OUT"
    ] == [f"by {WHO}"]


def test_word_ends_with_the_first_beat_of_the_peer() -> None:
    """Heard again and silent again: nothing is founded on what was confirmed before."""
    pair, deb2 = alone(
        {"registry": RecoveredState(S.STOPPED), "files": RecoveredState(S.FROZEN_STOP)}
    )
    confirm(deb2)
    pair.run(5)
    pair.deb1.boot(
        {"registry": RecoveredState(S.FROZEN_STOP), "files": RecoveredState(S.FROZEN_STOP)}
    )
    pair.run(2)
    assert not holds(deb2)
    assert any(
        record.old == "CONFIRMED OUT" and "a beat of it came in" in record.reason
        for record in deb2.records
    )
    pair.cut_all()
    pair.works = False
    pair.run(20)
    deb2.command(Command.UNFREEZE, "files")
    pair.run(OUT_S + 5)
    assert pair.state("deb2", "files") is not S.STARTED


def test_word_ends_with_a_beat_that_is_not_believed() -> None:
    """One of the peer that is refused, a goodbye to another life of this node, is a sign of life
    all the same.
    """
    pair, deb2 = alone(dict(STOPPED))
    confirm(deb2)
    assert holds(deb2)
    beat = Beat(
        "deb1",
        BootId(9, 9),
        1,
        Ack(BootId(1, 1), 1),
        dict.fromkeys(("registry", "files"), S.STOPPED),
        Goodbye.LEFT,
    )
    deb2.handle(deb2.life, BeatReceived(pair.links[0], replace(beat, node="another"), pair.now))
    assert holds(deb2), "not the peer's"
    deb2.handle(deb2.life, BeatReceived(pair.links[0], beat, pair.now))
    assert not holds(deb2)


def test_word_outlives_a_short_stall_and_ends_with_one_of_a_link_timeout() -> None:
    """After a short one the peer is listened to again for its whole timeout.

    A long one may hide a peer that came and went.
    """
    for stall_s, expected in ((4.0, True), (11.0, False)):
        pair, deb2 = alone(
            {"registry": RecoveredState(S.STOPPED), "files": RecoveredState(S.FROZEN_STOP)}
        )
        confirm(deb2)
        pair.run(5)
        deb2.is_stalled = True
        pair.run(stall_s)
        pair.resume(deb2)
        pair.run(1)
        assert holds(deb2) is expected, stall_s
        deb2.command(Command.UNFREEZE, "files")
        pair.run(1)
        assert pair.state("deb2", "files") is S.STOPPED, "not before the peer was listened to again"
        pair.run(30)
        assert (pair.state("deb2", "files") is S.STARTED) is expected


def test_word_ends_with_the_daemon() -> None:
    """While no daemon runs the word is lost: the operator must confirm again."""
    pair, deb2 = alone(
        {"registry": RecoveredState(S.STOPPED), "files": RecoveredState(S.FROZEN_STOP)}
    )
    confirm(deb2)
    pair.run(5)
    deb2.kill_daemon()
    deb2.boot({"registry": RecoveredState(S.STARTED), "files": RecoveredState(S.FROZEN_STOP)})
    pair.run(60)
    assert not holds(deb2)
    deb2.command(Command.UNFREEZE, "files")
    pair.run(PROOF_LIFE_S)
    assert pair.state("deb2", "files") is S.STOPPED
    deb2.kill_daemon()
    deb2.boot({"registry": RecoveredState(S.STARTED), "files": RecoveredState(S.STOPPED)})
    pair.run(5)
    [ended] = [record for record in deb2.records if record.old == "CONFIRMED OUT"]
    assert ended.is_alarm and ended.reason == (
        f"the daemon was started again: what {WHO} confirmed holds no longer"
    ), "recorded once, by the next daemon"


def test_word_that_was_over_before_its_daemon_ended_is_not_reported_by_the_next_one() -> None:
    """The peer was heard, or the machine was booted: that has ended it."""
    for is_booted in (False, True):
        pair, deb2 = alone({"registry": RecoveredState(S.STOPPED)})
        confirm(deb2)
        pair.run(5)
        if is_booted:
            deb2.crash()
        else:
            pair.deb1.boot({"registry": RecoveredState(S.FROZEN_STOP)})
            pair.run(2)
            deb2.kill_daemon()
        deb2.boot({"registry": RecoveredState(S.STOPPED)})
        pair.run(5)
        reported = [record.reason for record in deb2.records if record.old == "CONFIRMED OUT"]
        assert not any("started again" in reason for reason in reported)


def test_word_that_comes_too_late_is_refused() -> None:
    """The operator who gave it was informed that the engine does not answer."""
    pair, deb2 = alone(dict(STOPPED))
    word, detail = confirm(deb2, until=pair.now - 0.1)
    assert word is AnswerCode.REFUSED and "too late" in detail and not holds(deb2)
    assert confirm(deb2, until=pair.now + 5)[0] is AnswerCode.CONFIRMED


def test_answer_reports_what_becomes_of_each_service() -> None:
    """A service that the peer's daemon left running in a freeze is not started, and one whose start
    failed stays so.
    """
    pair = Fences()
    pair.start_both()
    pair.deb1.command(Command.FREEZE_START, "registry")
    pair.run(2)
    pair.deb1.leave(Leaving.KEEP_SERVICES)
    pair.run(2)
    word, detail = confirm(pair.deb2)
    assert word is AnswerCode.CONFIRMED
    lines = dict(line.split(": ", 1) for line in detail.splitlines())
    assert lines["registry"].startswith(
        "not started: the peer's daemon left it running, frozen as started"
    )
    assert lines["files"] == "runs here already"
    pair.run(90)
    assert pair.state("deb2", "registry") is S.STOPPED


def test_answer_names_what_waits_for_a_daemon_that_said_goodbye() -> None:
    """Within the hold of a restart nothing is started yet, and the answer reports it."""
    pair = Fences()
    pair.start_both()
    pair.deb1.leave(Leaving.KEEP_SERVICES)
    pair.run(2)
    detail = confirm(pair.deb2)[1]
    assert (
        "registry: is started here unless the peer's daemon, which said goodbye, is back within"
        " 30 s" in detail
    )
    pair.run(40)
    assert pair.state("deb2", "registry") is S.STARTED and pair.checks() == []


def test_failed_start_is_not_reported_as_started() -> None:
    """START_FAILED by its start script stays so, with what to type."""
    _, deb2 = alone(
        {"registry": RecoveredState(S.START_FAILED), "files": RecoveredState(S.STOP_FAILED)}
    )
    lines = confirm(deb2)[1].splitlines()
    assert lines[0].startswith("registry: stays START_FAILED") and "freeze-stop" in lines[0]
    assert lines[1].startswith("files: stays STOP_FAILED")
