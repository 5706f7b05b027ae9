"""An owner whose data disks do not answer, while its peer reads them: what it gives up, when."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from opensvc_openha.core.beat import Beat, BootId
from opensvc_openha.core.events import BeatReceived, Command, ConfigChanged, ScriptKind
from opensvc_openha.core.facts import DiskAnswer, Facts
from opensvc_openha.core.model import FrozenStorage, OnStartFailure, Policy
from opensvc_openha.core.peer_view import PeerView
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.core.timing import (
    DISK_FACTS_OLD_S,
    FROZEN_STOP_S,
    GIVE_UPS_MAX,
)
from tests.core.frozen_disks import GIVEN_UP, FrozenPair
from tests.core.leases import LeaseHost

AFTER_S = GIVEN_UP.frozen_after_s
LONG_S = 100.0
LIMIT_S = 40.0
"""Of scripts, where one is to be killed."""
HAND_OVER = OnStartFailure.HAND_OVER


def _news(host: LeaseHost, *wanted: str) -> list[str]:
    return [record.new for record in host.records if record.new in wanted]


def _is_mute(pair: FrozenPair, host: LeaseHost, seconds: float) -> bool:
    """Return whether the node sends nothing for some time."""
    count = sum(name == host.name for _, name, _ in pair.sent)
    pair.run(seconds)
    return sum(name == host.name for _, name, _ in pair.sent) == count


def test_owner_whose_disks_freeze_alone_is_taken_over_once_its_watchdog_has_reset_it() -> None:
    """Its stop hangs on them as well: it is never called out, falls silent, is reset by its own
    watchdog, and only then the peer starts the service.
    """
    pair = FrozenPair()
    deb1, deb2 = pair.start_first()
    began = pair.now
    pair.disks.freeze("deb1")
    pair.run(AFTER_S - 1)
    assert deb1.state == "STARTED"
    pair.run(3.5)
    assert deb1.state == "STOPPING" and "the peer reads them" in deb1.service().reason
    assert deb2.shown == ("STOPPING", "STOPPED")
    pair.run(FROZEN_STOP_S)
    assert _news(deb1, "FELL SILENT") == ["FELL SILENT"]
    pair.run(60)
    assert [name for _, name in pair.bitten] == ["deb1"]
    assert deb2.state == "STARTED"
    assert pair.starts()[-1][0] > pair.bitten[0][0]
    assert pair.now - began < 150


def test_array_frozen_for_both_resets_nobody() -> None:
    """Whatever freezes first, and for however long."""
    pair = FrozenPair()
    deb1, deb2 = pair.start_first()
    pair.disks.freeze("deb1", "deb2")
    pair.run(LONG_S)
    assert (deb1.state, deb2.state) == ("STARTED", "STOPPED")
    pair.disks.thaw("deb1", "deb2")
    pair.run(60)
    assert (deb1.state, deb2.state) == ("STARTED", "STOPPED")
    assert not pair.bitten and not _news(deb1, "FELL SILENT", "STOPPING")


@pytest.mark.parametrize("lead_s", [0.0, 5.0, AFTER_S - 14.0])
def test_array_that_freezes_for_the_owner_first_resets_nobody(lead_s: float) -> None:
    """The peer's last good news is old by the time that counts."""
    pair = FrozenPair()
    deb1, _ = pair.start_first()
    pair.disks.freeze("deb1")
    pair.run(lead_s)
    pair.disks.freeze("deb2")
    pair.run(LONG_S)
    assert deb1.state == "STARTED" and not pair.bitten


def test_array_that_freezes_for_the_peer_during_the_stop_resets_nobody() -> None:
    """The stop goes on hanging; the node does not fall silent. Once the disks answer again the
    service is stopped and handed over.
    """
    pair = FrozenPair()
    deb1, deb2 = pair.start_first()
    pair.disks.freeze("deb1")
    pair.run(AFTER_S + 5)
    assert deb1.state == "STOPPING"
    pair.disks.freeze("deb2")
    pair.run(LONG_S / 2)
    assert not pair.bitten and not _news(deb1, "FELL SILENT")
    pair.disks.thaw("deb1", "deb2")
    pair.run(30)
    assert (deb1.state, deb2.state) == ("STOPPED", "STARTED")
    assert not pair.bitten


def test_silent_node_speaks_again_when_the_array_freezes_for_both() -> None:
    """In time: its watchdog has not bitten yet."""
    pair = FrozenPair()
    deb1, deb2 = pair.start_first()
    pair.disks.freeze("deb1")
    while not _news(deb1, "FELL SILENT"):
        pair.run(0.5)
    pair.disks.freeze("deb2")
    pair.run(LONG_S / 2)
    assert (
        _news(deb1, "FELL SILENT", "SPEAKS AGAIN") == ["FELL SILENT", "SPEAKS AGAIN"]
        and not pair.bitten
    )
    assert deb1.state == "STOPPING" and deb2.state == "STOPPED"


def test_silent_node_speaks_again_when_its_peer_reports_nothing_any_more() -> None:
    """It may not read the disks either."""
    pair = FrozenPair()
    deb1, _ = pair.start_first()
    pair.disks.freeze("deb1")
    while not _news(deb1, "FELL SILENT"):
        pair.run(0.5)
    pair.disks.blind.add("deb2")
    deb1.keeper.late_s = 30.0
    pair.run(12)
    assert _news(deb1, "FELL SILENT", "SPEAKS AGAIN") == ["FELL SILENT", "SPEAKS AGAIN"]


def test_silent_node_speaks_again_when_its_disks_answer() -> None:
    """Its stop ends, and the service is handed over without a reset."""
    pair = FrozenPair()
    deb1, deb2 = pair.start_first()
    pair.disks.freeze("deb1")
    while not _news(deb1, "FELL SILENT"):
        pair.run(0.5)
    assert _is_mute(pair, deb1, 2.0)
    engine = deb1.engine
    assert engine is not None and engine.keeps_silent
    assert engine.repeat(pair.now) is None and engine.repeat_at == math.inf
    pair.disks.thaw("deb1")
    pair.run(30)
    assert (
        _news(deb1, "FELL SILENT", "SPEAKS AGAIN") == ["FELL SILENT", "SPEAKS AGAIN"]
        and not pair.bitten
    )
    assert (deb1.state, deb2.state) == ("STOPPED", "STARTED")


def test_silent_node_speaks_again_when_its_peer_is_lost() -> None:
    """Alone, it must not die for a peer that cannot take the service."""
    pair = FrozenPair()
    deb1, deb2 = pair.start_first()
    pair.disks.freeze("deb1")
    while not _news(deb1, "FELL SILENT"):
        pair.run(0.5)
    deb2.crash()
    deb1.keeper.late_s = 5.0
    pair.run(10)
    assert _news(deb1, "FELL SILENT", "SPEAKS AGAIN") == ["FELL SILENT", "SPEAKS AGAIN"]


def test_stop_that_succeeds_while_its_disks_do_not_answer_proves_nothing() -> None:
    """Whoever unmounts without waiting leaves writes behind: the service is not called out, and the
    peer has it only once this node is dead.
    """
    pair = FrozenPair()
    deb1, deb2 = pair.start_first()
    pair.disks.stops_lie = True
    pair.disks.freeze("deb1")
    pair.run(AFTER_S + 3)
    assert deb1.state == "STOP_FAILED" and "may be on its way" in deb1.records[-2].reason
    pair.run(60)
    assert [name for _, name in pair.bitten] == ["deb1"] and deb2.state == "STARTED"
    assert pair.starts()[-1][0] > pair.bitten[0][0]


def test_disks_that_answer_again_in_time_change_nothing() -> None:
    """Also if they freeze again and again."""
    pair = FrozenPair()
    deb1, _ = pair.start_first()
    for _ in range(10):
        pair.disks.freeze("deb1")
        pair.run(AFTER_S - 3)
        pair.disks.thaw("deb1")
        pair.run(3)
    assert deb1.state == "STARTED" and not _news(deb1, "STOPPING", "FELL SILENT")


def test_without_the_option_nothing_is_given_up() -> None:
    """As before: it waits for its disks, and nothing is said of them."""
    pair = FrozenPair(policy_of_services=Policy())
    deb1, deb2 = pair.start_first()
    pair.disks.freeze("deb1")
    pair.run(LONG_S)
    assert (deb1.state, deb2.state) == ("STARTED", "STOPPED")
    assert all(
        not beat.facts.answering and not beat.facts.frozen
        for _, _, beat in pair.sent
        if beat.facts is not None
    )


@pytest.mark.parametrize("who", ["deb1", "deb2"])
def test_disks_that_a_node_does_not_look_at_are_not_known(who: str) -> None:
    """Neither the owner's nor the peer's silence about its disks gives anything up."""
    pair = FrozenPair()
    deb1, _ = pair.start_first()
    pair.disks.freeze("deb1")
    pair.run(5)
    pair.disks.blind.add(who)
    pair.run(LONG_S)
    assert deb1.state == "STARTED" and not pair.bitten


def test_word_of_a_peer_that_is_not_authenticated_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Anybody could talk a node out of its service."""
    monkeypatch.setattr(FrozenPair, "key_id", "")
    pair = FrozenPair()
    deb1, _ = pair.start_first()
    pair.disks.freeze("deb1")
    pair.run(LONG_S)
    assert deb1.state == "STARTED" and not _news(deb1, "STOPPING")


def test_peer_that_would_not_start_it_is_not_left_the_service() -> None:
    """It is frozen as stopped there; once it is not, it is given up."""
    pair = FrozenPair()
    deb1, deb2 = pair.start_first(is_frozen=True)
    pair.disks.freeze("deb1")
    pair.run(LONG_S)
    assert (deb1.state, deb2.state) == ("STARTED", "FROZEN_STOP")
    deb2.command(Command.UNFREEZE)
    pair.run(5)
    assert deb1.state == "STOPPING"


def test_service_that_an_operator_froze_is_left_alone() -> None:
    """FROZEN_START is the operator's."""
    pair = FrozenPair()
    deb1, _ = pair.start_first()
    deb1.command(Command.FREEZE_START)
    pair.disks.freeze("deb1")
    pair.run(LONG_S)
    assert deb1.state == "FROZEN_START" and not pair.bitten


def test_node_does_not_fall_silent_while_another_service_is_frozen_as_started() -> None:
    """The reset would end it. Once the disks answer, the service is stopped after all."""
    pair = FrozenPair("registry", "mail")
    deb1, deb2 = pair.start_first()
    deb1.command(Command.FREEZE_START, "mail")
    pair.disks.freeze("deb1")
    pair.run(LONG_S + 2 * AFTER_S)
    assert _news(deb1, "NOT SILENT", "FELL SILENT") == ["NOT SILENT"] and not pair.bitten
    assert deb1.state == "STOPPING"
    assert "mail is frozen as started here" in deb1.service().reason
    pair.disks.thaw("deb1")
    pair.run(30)
    assert (deb1.state, deb2.state) == ("STOPPED", "STARTED")


def test_node_does_not_fall_silent_while_the_disks_of_another_service_are_frozen_there() -> None:
    """The peer could not run that one."""
    pair = FrozenPair("registry", "mail")
    deb1, _ = pair.start_first()
    pair.disks.freeze("deb1")
    pair.disks.freeze("deb2", service="mail")
    pair.run(LONG_S)
    assert not pair.bitten and _news(deb1, "NOT SILENT", "FELL SILENT") == ["NOT SILENT"]
    assert deb1.service("mail").own_state is ServiceState.STARTED


def test_node_does_not_fall_silent_for_what_is_frozen_as_stopped_on_the_peer() -> None:
    """Nobody would start it there: what is in good health here would be lost."""
    pair = FrozenPair("registry", "mail")
    deb1, deb2 = pair.start_first()
    deb2.command(Command.FREEZE_STOP, "mail")
    pair.disks.freeze("deb1", service="registry")
    pair.run(LONG_S)
    assert not pair.bitten and _news(deb1, "NOT SILENT", "FELL SILENT") == ["NOT SILENT"]
    assert "mail is frozen as stopped on the peer" in deb1.service().reason
    deb2.command(Command.UNFREEZE, "mail")
    pair.run(60)
    assert [name for _, name in pair.bitten] == ["deb1"]
    assert deb2.service("mail").own_state is ServiceState.STARTED


@pytest.mark.parametrize("lag_s", [0.0, 1.0, 2.0])
def test_two_nodes_do_not_fall_silent_at_the_same_time(lag_s: float) -> None:
    """One cable less, and each node has lost the array of the service that it runs. One of them is
    reset, the other stays: it can take a service over.
    """
    pair = FrozenPair("registry", "mail")
    deb1, deb2 = pair.start_first()
    deb1.command(Command.STOP, "mail")
    pair.run(40)
    assert (deb1.running, deb2.running) == ({"registry"}, {"mail"})
    pair.disks.freeze("deb1", service="registry")
    pair.run(lag_s)
    pair.disks.freeze("deb2", service="mail")
    pair.run(AFTER_S + FROZEN_STOP_S + 60)
    assert [name for _, name in pair.bitten] == ["deb1"]
    assert _news(deb1, "FELL SILENT", "SPEAKS AGAIN") == ["FELL SILENT"]
    assert _news(deb2, "FELL SILENT", "NOT SILENT") == ["NOT SILENT"]
    assert deb2.service("registry").own_state is ServiceState.STARTED


def test_two_services_on_one_array_move_together() -> None:
    """One silence, one reset, both start on the peer."""
    pair = FrozenPair("registry", "mail")
    deb1, deb2 = pair.start_first()
    for name in ("registry", "mail"):
        pair.disks.freeze("deb1", service=name)
    pair.run(AFTER_S + FROZEN_STOP_S + 60)
    assert [name for _, name in pair.bitten] == ["deb1"] and len(_news(deb1, "FELL SILENT")) == 1
    assert deb2.service("registry").own_state is ServiceState.STARTED
    assert deb2.service("mail").own_state is ServiceState.STARTED


def test_stall_of_the_owner_does_not_count_as_time_without_an_answer() -> None:
    """It stood still itself, and with it whatever looks at its disks."""
    pair = FrozenPair()
    deb1, _ = pair.start_first()
    pair.disks.freeze("deb1")
    pair.run(AFTER_S - 5)
    deb1.is_stalled = True
    pair.run(4)
    pair.resume(deb1)
    pair.run(AFTER_S - 3)
    assert deb1.state == "STARTED"
    pair.run(6)
    assert deb1.state == "STOPPING"


def test_disks_that_freeze_now_here_now_there_do_not_pass_it_to_and_fro() -> None:
    """After some times it stays where it is."""
    pair = FrozenPair()
    deb1, deb2 = pair.start_first()
    nodes = [deb1, deb2]
    for _ in range(6 * GIVE_UPS_MAX):
        owner = next(node for node in nodes if "registry" in node.running)
        pair.disks.freeze(owner.name)
        pair.run(AFTER_S + 4)
        pair.disks.thaw(owner.name)
        pair.run(15)
    given_up = sum("given up" in each.reason for node in nodes for each in node.records)
    assert given_up == 2 * GIVE_UPS_MAX and not pair.bitten


def test_node_whose_disks_are_frozen_leaves_a_stopped_service_to_its_peer() -> None:
    """Although it is the primary; once they answer it is as before."""
    pair = FrozenPair()
    deb1, deb2 = pair.start_first()
    pair.disks.freeze("deb1")
    deb1.command(Command.FREEZE_STOP)
    pair.disks.thaw("deb1")
    pair.run(10)
    pair.disks.freeze("deb1")
    deb2.command(Command.FREEZE_STOP)
    pair.run(10)
    deb1.command(Command.UNFREEZE)
    pair.run(20)
    deb2.command(Command.UNFREEZE)
    pair.run(20)
    assert deb2.state == "STARTED" or deb1.state == "STARTING"


def test_operator_ends_the_silence() -> None:
    """An order is not taken for a part of giving up."""
    pair = FrozenPair()
    deb1, _ = pair.start_first()
    pair.disks.stops_lie = True
    pair.disks.freeze("deb1")
    while not _news(deb1, "FELL SILENT"):
        pair.run(0.5)
    deb1.command(Command.FREEZE_STOP)
    pair.run(30)
    assert (
        _news(deb1, "FELL SILENT", "SPEAKS AGAIN") == ["FELL SILENT", "SPEAKS AGAIN"]
        and not pair.bitten
    )


def test_service_whose_check_up_proves_nothing_keeps_the_node_from_falling_silent() -> None:
    """The peer would start a second copy of what is in good health here."""
    pair = FrozenPair("registry", "mail")
    pair.fencing = replace(pair.fencing, levels=())
    pair.services = (replace(pair.services[0], check="/etc/fence"), pair.services[1])
    pair.use(replace(GIVEN_UP, frozen_storage=FrozenStorage.IGNORE), "mail")
    deb1, _ = pair.start_first()
    pair.disks.freeze("deb1")
    pair.run(LONG_S)
    assert _news(deb1, "NOT SILENT", "FELL SILENT") == ["NOT SILENT"] and not pair.bitten


def test_stop_that_fails_by_itself_is_an_operators() -> None:
    """Its disks answer again: a short freeze later on makes nobody fall silent."""
    pair = FrozenPair()
    deb1, _ = pair.start_first()
    pair.disks.freeze("deb1")
    pair.run(AFTER_S + 4)
    pair.script_ok = lambda host, action: False
    pair.disks.thaw("deb1")
    pair.run(10)
    assert deb1.state == "STOP_FAILED"
    pair.disks.freeze("deb1")
    pair.run(AFTER_S - 5)
    assert deb1.state == "STOP_FAILED" and not _news(deb1, "FELL SILENT")


def test_disks_that_answer_in_between_are_waited_for_again_before_the_silence() -> None:
    """The stop goes on hanging for another reason meanwhile."""
    pair = FrozenPair()
    deb1, _ = pair.start_first()
    pair.script_s = lambda action: 300.0 if action.kind is ScriptKind.STOP else 1.0
    pair.disks.freeze("deb1")
    pair.run(AFTER_S + 4)
    pair.disks.thaw("deb1")
    pair.run(4)
    pair.disks.freeze("deb1")
    pair.run(AFTER_S - 5)
    assert deb1.state == "STOPPING" and not _news(deb1, "FELL SILENT")
    pair.run(10)
    assert _news(deb1, "FELL SILENT") == ["FELL SILENT"]


def test_word_of_the_peer_grows_old() -> None:
    """Beats without facts withdraw none, but say nothing of its disks either."""
    view = PeerView(BootId(1, 1))
    facts = Facts(answering=frozenset({"registry"}), frozen={"mail": 3})
    beats = (Beat("deb2", BootId(1, 2), seq, None, {}, facts=facts) for seq in range(1, 9))
    assert view.take(next(beats), 10.0, is_authentic=True, received_at=9.0)
    view.judge(is_any_up=True, silent_since=None, now=10.0)
    assert view.disks_of("registry", 10.0) is DiskAnswer.ANSWERS
    assert view.disks_of("mail", 10.0) is DiskAnswer.FROZEN
    assert view.disks_of("web", 10.0) is DiskAnswer.UNKNOWN
    assert view.take(replace(next(beats), facts=None), 12.0, is_authentic=True)
    assert view.disks_of("registry", 9.0 + DISK_FACTS_OLD_S) is DiskAnswer.ANSWERS
    assert view.disks_of("registry", 9.1 + DISK_FACTS_OLD_S) is DiskAnswer.UNKNOWN
    assert view.take(next(beats), 14.0)
    assert view.disks_of("registry", 14.0) is DiskAnswer.UNKNOWN
    assert view.take(next(beats), 15.0, is_authentic=True)
    assert view.disks_of("registry", 15.0) is DiskAnswer.ANSWERS
    view.judge(is_any_up=False, silent_since=15.0, now=15.0)
    assert view.disks_of("registry", 15.0) is DiskAnswer.UNKNOWN


@pytest.mark.parametrize("is_lie", [True, False])
def test_stop_of_an_operator_that_ends_without_its_disks_is_repeated_when_they_answer(
    is_lie: bool,
) -> None:
    """As that of a service which was given up, and what was frozen stays that."""
    pair = FrozenPair()
    pair.disks.limit_s = LIMIT_S
    deb1, _ = pair.start_first(is_frozen=True)
    pair.disks.stops_lie = is_lie
    pair.disks.freeze("deb1", "deb2")
    pair.run(5)
    deb1.command(Command.FREEZE_STOP)
    pair.run(5 if is_lie else LIMIT_S + 2)
    assert deb1.state == "STOP_FAILED"
    pair.disks.stops_lie = False
    pair.disks.thaw("deb1", "deb2")
    pair.run(15)
    assert deb1.state == "FROZEN_STOP" and not deb1.running and not pair.bitten
    assert deb1.reasons("STOPPING")[-1] == "its disks answer again: it is stopped once more"


def test_start_that_failed_is_not_handed_over_while_its_disks_do_not_answer() -> None:
    """A stop would prove nothing, and end in STOP_FAILED: it is handed over once they do."""
    pair = FrozenPair(policy_of_services=replace(GIVEN_UP, on_start_failure=HAND_OVER))
    pair.script_ok = lambda host, action: (
        action.kind.value != "check" and (host.name, action.kind) != ("deb2", ScriptKind.START)
    )
    pair.disks.limit_s = LIMIT_S
    deb1, deb2 = pair.start_first()
    pair.script_s = lambda action: 6.0 if action.kind is ScriptKind.START else 1.0
    deb1.command(Command.STOP)
    pair.run(7)
    assert deb2.state == "STARTING"
    pair.disks.freeze("deb1", "deb2")
    pair.run(LIMIT_S + 1)
    assert deb2.state == "START_FAILED"
    pair.disks.thaw("deb1", "deb2")
    pair.run(60)
    assert deb1.state == "STARTED" and not pair.bitten
    assert "STOP_FAILED" not in [state.name for _, _, state in deb2.states]


def test_start_that_hung_on_frozen_disks_is_given_up() -> None:
    """At its limit it has failed; what it left behind cannot be stopped either."""
    pair = FrozenPair()
    pair.disks.limit_s = LIMIT_S
    deb1, deb2 = pair.start_first()
    pair.script_s = lambda action: 6.0 if action.kind is ScriptKind.START else 1.0
    deb1.command(Command.STOP)
    pair.run(5)
    assert deb2.state == "STARTING"
    pair.disks.freeze("deb2")
    pair.run(LIMIT_S + 2)
    assert "START_FAILED" in [state.name for _, _, state in deb2.states]
    pair.run(FROZEN_STOP_S + 60)
    assert [name for _, name in pair.bitten] == ["deb2"] and deb1.state == "STARTED"
    assert pair.starts()[-1][0] > pair.bitten[0][0]


def test_start_that_fails_by_itself_is_an_operators() -> None:
    """Its disks answer."""
    pair = FrozenPair()
    pair.script_ok = lambda host, action: (
        action.kind.value != "check" and (host.name, action.kind) != ("deb2", ScriptKind.START)
    )
    deb1, deb2 = pair.start_first()
    deb1.command(Command.STOP)
    pair.run(100)
    assert deb2.state == "START_FAILED" and not _news(deb2, "STOPPING")


def test_word_of_the_peer_from_before_the_freeze_does_not_count() -> None:
    """It was held up on its way, and the array has been frozen for both nodes since."""
    pair = FrozenPair()
    deb1, deb2 = pair.start_first()
    pair.cut_all("deb2")
    pair.break_disk(deb2)
    pair.run(2)
    beat = next(beat for _, name, beat in reversed(pair.sent) if name == "deb2")
    assert beat.facts is not None and "registry" in beat.facts.answering
    deb2.is_stalled = True
    pair.disks.freeze("deb1", "deb2")
    pair.run(AFTER_S + 3)
    link = next(link for link in pair.links if link.node == "deb2" and not link.is_disk)
    deb1.handle(deb1.life, BeatReceived(link, beat, deb1.now, key_id="k"))
    pair.run(1)
    assert deb1.engine is not None and deb1.engine.peer_standing is PeerStanding.LIVE
    assert deb1.state == "STARTED"
    assert "not known whether the peer reads them" in deb1.service().reason


@pytest.mark.parametrize("is_older", [True, False])
def test_node_does_not_fall_silent_beside_a_peer_that_proves_less(is_older: bool) -> None:
    """It would start second copies of what is in good health; or does not report that it would not.

    Services of the peer need no proof: it has no fence plan, and their check-up is /bin/true.
    """
    pair = FrozenPair("registry", "mail")
    pair.use(replace(GIVEN_UP, frozen_storage=FrozenStorage.IGNORE), "mail")
    deb1, deb2 = pair.start_first()
    assert deb1.engine is not None and deb2.engine is not None
    assert not deb1.engine.snapshot(pair.now).warnings
    spec = replace(deb2.engine.spec, fencing=replace(pair.fencing, levels=()))
    deb2.handle(deb2.life, ConfigChanged(spec))
    if is_older:
        pair.without_marks.add("deb2")
    pair.run(3)
    what = "configured differently: openha.conf and the services file: for which services"
    assert any(what in text for text in deb1.engine.snapshot(pair.now).warnings) is not is_older
    pair.disks.freeze("deb1")
    pair.run(LONG_S)
    assert _news(deb1, "NOT SILENT", "FELL SILENT") == ["NOT SILENT"] and not pair.bitten
    why = "does not report for which" if is_older else "proves this node out for other services"
    assert why in deb1.reasons("NOT SILENT")[0] and deb2.running == set()


def _flushes(pair: FrozenPair) -> list[bool]:
    """Whether each stop on deb1 waited until all was written."""
    return [flushes for name, kind, flushes in pair.flushes if (name, kind) == ("deb1", "stop")]


def test_stop_whose_disks_did_not_answer_meanwhile_waits_until_all_is_written() -> None:
    """A lazy unmount leaves writes behind, which land when they answer, and a second stop finds
    nothing to wait for.
    """
    pair = FrozenPair()
    deb1, deb2 = pair.start_first()
    pair.script_s = lambda action: 12.0 if action.kind is ScriptKind.STOP else 1.0
    deb1.command(Command.STOP)
    pair.run(2)
    pair.disks.freeze("deb1")
    pair.run(5)
    pair.disks.thaw("deb1")
    pair.run(7)
    assert deb1.state == "STOPPING" and "ends once all is written" in deb1.service().reason
    pair.run(16)
    assert (deb1.state, deb2.state) == ("STOPPED", "STARTED")
    assert _flushes(pair) == [False, True]


def test_only_a_stop_that_is_repeated_waits_for_what_was_written() -> None:
    """One whose disks answer all the time needs none of that: other disks may hang."""
    pair = FrozenPair()
    deb1, _ = pair.start_first()
    deb1.command(Command.STOP)
    pair.run(5)
    assert _flushes(pair) == [False]


@pytest.mark.parametrize("by", ["itself", "operator"])
def test_stop_after_one_that_ended_without_its_disks_waits_until_all_is_written(by: str) -> None:
    """By itself once they answer, or ordered before that."""
    pair = FrozenPair()
    deb1, _ = pair.start_first()
    pair.disks.stops_lie = True
    pair.disks.freeze("deb1", "deb2")
    pair.run(5)
    deb1.command(Command.FREEZE_STOP)
    pair.run(5)
    assert deb1.state == "STOP_FAILED"
    pair.disks.stops_lie = False
    if by == "operator":
        deb1.command(Command.FREEZE_STOP)
    pair.disks.thaw("deb1", "deb2")
    pair.run(15)
    assert deb1.state == "FROZEN_STOP" and _flushes(pair)[0] is False and _flushes(pair)[-1]
