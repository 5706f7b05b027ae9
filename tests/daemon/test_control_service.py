"""What the control socket serves, without the threads of a daemon."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
from pytest_mock import MockerFixture

from opensvc_openha.core.actions import Answer, AnswerCode
from opensvc_openha.core.evacuation import NOT_EVACUATED
from opensvc_openha.core.events import (
    BY_MONITOR,
    BY_OPERATOR,
    Command,
    CommandReceived,
    DrillOrder,
    DrillOrdered,
    EvacuationSet,
    LeaveRequested,
    Leaving,
    PeerConfirmedOut,
    PeerForgotten,
)
from opensvc_openha.core.model import ClusterSpec, LinkSpec, ServiceSpec
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import LinkStatus, NodeStatus, PeerStanding
from opensvc_openha.daemon import control_service
from opensvc_openha.daemon.control_service import ControlService
from opensvc_openha.daemon.engine_loop import EngineLoop
from opensvc_openha.daemon.inbox import EngineInbox
from opensvc_openha.daemon.open_commands import Answers, OpenCommands
from opensvc_openha.errors import NotAnsweringError, RefusedError
from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.storage.evacuation_store import read_evacuation
from opensvc_openha.storage.history_entry import EntryKind
from opensvc_openha.storage.history_writer import History
from opensvc_openha.system import clock
from opensvc_openha.system.peer_credentials import Caller

WEB, DB, OLD = (
    ServiceSpec(name, f"/{name}", "deb1", "deb2", "/true") for name in ["web", "db", "old"]
)
SPEC = ClusterSpec("deb1", "deb2", (), (WEB, DB))
ROOT = Caller(4711, 0)


class Bench:
    """A service with a history that is not written, and an engine that does what a test asks
    for.
    """

    def __init__(self, root: str, mocker: MockerFixture) -> None:
        self.layout = layout = tree_layout(root)
        self.configuration = mocker.Mock()
        self.configuration.current.spec = SPEC
        self.inbox = EngineInbox()
        self.commands = OpenCommands()
        self.report, self.links, self.removed = mocker.Mock(), mocker.Mock(), mocker.Mock()
        self.fence, self.lease = mocker.Mock(), mocker.Mock()
        self.removed.present.return_value = ()
        self.loop = mocker.create_autospec(EngineLoop, instance=True)
        self.history = History(layout, 1, lambda is_fault, text: None)
        self.service = ControlService(
            layout=layout,
            logger=logging.getLogger("test"),
            configuration=self.configuration,
            loop=self.loop,
            inbox=self.inbox,
            commands=self.commands,
            report=self.report,
            links=self.links,
            history=self.history,
            removed=self.removed,
            fence=self.fence,
            lease=self.lease,
            leaving=None,
        )

    def record(self, reason: str) -> None:
        self.history.record(EntryKind.SERVICE, "web", "STARTED", reason)

    def entries(self) -> list[tuple[EntryKind, str, str, str, str, bool]]:
        """What the history has."""
        return [
            (entry.kind, entry.name, entry.old, entry.new, entry.reason, entry.is_alarm)
            for entry in self.history.recent
        ]

    def engine_answers(self, detail: str, is_ok: bool) -> None:
        """The engine takes the next event, a confirmation, as soon as it is put."""
        put = self.inbox.put

        def answer(event: object) -> None:
            put(event)  # type: ignore[arg-type]
            assert isinstance(event, (PeerConfirmedOut, DrillOrdered))
            self.commands.answer(
                Answer(
                    event.command_id, "confirm", "", AnswerCode.REFUSED,
                    ServiceState.STOPPED, ServiceState.UNKNOWN, detail, True, is_ok,
                )
            )  # fmt: skip

        self.inbox.put = answer  # type: ignore[assignment,method-assign]

    def recent(self) -> list[str]:
        return [entry.reason for entry in self.service.recent()]


@pytest.fixture
def bench(tmp_path: object, mocker: MockerFixture) -> Bench:
    """See Bench."""
    return Bench(str(tmp_path), mocker)


def test_recent_entries_have_what_the_engine_records_after_its_states(bench: Bench) -> None:
    """A status has shown a state that is being written: its entry comes with the end of the step,
    which is waited for.
    """
    bench.record("before")
    bench.loop.await_records.side_effect = lambda: bench.record("the step that was shown")
    assert bench.recent() == ["before", "the step that was shown"]


def test_status_is_that_of_the_engine_completed(bench: Bench) -> None:
    """With what the threads know of the services that are configured now."""
    bench.report.complete.return_value = "complete"
    assert bench.service.status() == "complete"
    bench.report.complete.assert_called_once_with(bench.loop.status.return_value, SPEC)


@pytest.mark.parametrize("age_s, warnings", [(0.0, ("one",)), (2.04, ("2.0", "one"))])
def test_status_of_an_engine_that_hangs_has_its_age_as_first_warning(
    bench: Bench, age_s: float, warnings: tuple[str, ...]
) -> None:
    """One that is new has none."""
    status = NodeStatus(
        "deb1", "deb2", 1, PeerStanding.LIVE, "heard", (), (), ("one",), age_s=age_s
    )
    bench.report.complete.return_value = status
    found = bench.service.newest_status()
    old = "this status is {} s old: the engine of nmond does not answer"
    expected = tuple(old.format(text) if text == "2.0" else text for text in warnings)
    assert found == replace(status, warnings=expected)
    bench.report.complete.assert_called_once_with(bench.loop.newest_status.return_value, SPEC)


def test_reload_ends_when_the_engine_has_the_result(bench: Bench) -> None:
    """First the files, then the wait."""
    done = []
    bench.configuration.reload.side_effect = lambda: done.append("read")
    bench.loop.await_events.side_effect = lambda: done.append("awaited")
    bench.service.reload(Caller(1, 0))
    assert done == ["read", "awaited"]
    assert bench.entries() == []


def test_reload_and_start_with_a_reason_are_in_the_history(bench: Bench) -> None:
    """Who, and why."""
    caller = Caller(1, 0, order_reason="CHG-12")
    bench.service.reload(caller)
    bench.service.record_start(caller)
    by = "by root (pid 1, reason: CHG-12)"
    assert bench.entries() == [
        (EntryKind.COMMAND, "", "", "reload", by, False),
        (EntryKind.COMMAND, "", "", "start of the daemon", by, False),
    ]


def test_command_for_all_reaches_each_service_also_those_removed_while_they_ran(
    bench: Bench,
) -> None:
    """One entry of the history; one event for each, in order, with who gave it."""
    bench.removed.present.return_value = (OLD,)
    answers = Answers()
    assert bench.service.act(Command.STOP, None, answers, Caller(1, 0, by=BY_MONITOR)) == 3
    events = [bench.inbox.get(0) for _ in range(4)]
    assert events == [
        *(CommandReceived(number, name, Command.STOP, BY_MONITOR)
          for number, name in enumerate(("web", "db", "old"), 1)),
        None,
    ]  # fmt: skip
    assert [entry[:4] for entry in bench.entries()] == [(EntryKind.COMMAND, "", "", "stop")]


def test_command_for_some_reaches_these(bench: Bench) -> None:
    """An entry for each; whether the service exists is for the engine."""
    answers = Answers()
    assert bench.service.act(Command.START, ["db"], answers, ROOT) == 1
    assert bench.inbox.get(0) == CommandReceived(1, "db", Command.START, BY_OPERATOR)
    assert bench.inbox.get(0) is None
    assert [entry[1:4] for entry in bench.entries()] == [("db", "", "start")]


def test_command_for_all_of_none_is_refused(bench: Bench) -> None:
    """And is no entry."""
    bench.configuration.current.spec = ClusterSpec("deb1", "deb2", (), ())
    with pytest.raises(RefusedError, match="this node has no service"):
        bench.service.act(Command.START, None, Answers(), ROOT)
    assert bench.entries() == []


@pytest.mark.parametrize("is_alarm", [True, False])
def test_observation_is_in_the_log_and_in_the_history(
    bench: Bench, caplog: pytest.LogCaptureFixture, is_alarm: bool
) -> None:
    """As loud as the monitor wants it."""
    with caplog.at_level(logging.INFO):
        bench.service.record_observation("web", "fs#1", "down", is_alarm)
    level = logging.WARNING if is_alarm else logging.INFO
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (level, "monitor web: fs#1: down")
    ]
    assert bench.entries() == [(EntryKind.MONITOR, "web", "", "fs#1", "down", is_alarm)]


def test_peer_is_forgotten_when_the_call_returns(bench: Bench) -> None:
    """The engine has taken the event, and the history has who wanted it."""
    bench.service.forget_peer(ROOT)
    bench.loop.await_events.assert_called_once_with()
    assert bench.inbox.get(0) == PeerForgotten()
    assert [entry[3] for entry in bench.entries()] == ["forget-peer"]


def test_order_to_leave_without_a_stop_does_not_replace_one_with(bench: Bench) -> None:
    """Whoever ends the daemon first decides no more; the other way round it does."""
    for how, leaving in (
        (Leaving.KEEP_SERVICES, Leaving.KEEP_SERVICES),
        (Leaving.STOP_SERVICES, Leaving.STOP_SERVICES),
        (Leaving.KEEP_SERVICES, Leaving.STOP_SERVICES),
    ):
        bench.service.leave(how, "SIGTERM")
        assert bench.service.leaving is leaving
        assert bench.inbox.get(0) == LeaveRequested(how)
    assert [entry[3:5] for entry in bench.entries()] == [
        ("end of the daemon", "by SIGTERM"),
        ("stop of this node", "by SIGTERM"),
        ("end of the daemon", "by SIGTERM"),
    ]


def test_confirmation_of_another_node_is_refused(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """The engine hears nothing of it; the log and the history do."""
    with pytest.raises(RefusedError, match="^deb3 is not the peer of this node, which is deb2"):
        bench.service.confirm_peer_out("deb3", ROOT)
    assert bench.inbox.qsize() == 0
    why = "deb3 is not the peer of this node, which is deb2: type its whole name"
    assert bench.entries() == [
        (EntryKind.COMMAND, "", "", "confirm deb3", f"by {ROOT.text}", True),
        (EntryKind.COMMAND, "", "confirm deb3", "REFUSED", why, True),
    ]
    assert caplog.messages == [f"node deb1: confirm deb3: REFUSED: {why}"]


def test_confirmation_that_is_believed_returns_what_happens(bench: Bench) -> None:
    """It names who gave it, and is worth something for five seconds."""
    bench.engine_answers("web: starts\ndb: starts", True)
    before = clock.monotonic()
    assert bench.service.confirm_peer_out("deb2", ROOT) == ["web: starts", "db: starts"]
    event = bench.inbox.get(0)
    assert isinstance(event, PeerConfirmedOut) and event.who == ROOT.text
    assert before + 5.0 <= event.until <= clock.monotonic() + 5.0
    assert [entry[2:4] for entry in bench.entries()] == [("", "confirm deb2")]


def test_confirmation_that_is_not_answered_is_dropped(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for its answer any more, and the history does not claim to know the result."""
    monkeypatch.setattr(control_service, "_CONFIRM_ANSWER_LIMIT_S", 0.01)
    with pytest.raises(NotAnsweringError, match="^the engine did not answer within 0.01 s$"):
        bench.service.confirm_peer_out("deb2", ROOT)
    assert bench.commands._answers == {}
    assert bench.entries()[1][3:5] == (
        "NOT ANSWERED",
        "the engine did not answer within 0.01 s: whether it is believed is not known",
    )


UNHEARD = (
    ". Repair one of them, or correct {monitor}, wait for its timeout, and confirm again. If none"
    " can be had, start a service by hand with its script, then type service -A NAME force-start"
)


@pytest.mark.parametrize(
    "standing, is_deaf, faults, advice",
    [
        (PeerStanding.LIVE, False, [], ""),
        (PeerStanding.SILENT, True, [], ""),
        (
            PeerStanding.UNKNOWN,
            False,
            ["x"],
            "; confirm again once each link was listened to for its timeout",
        ),
        (PeerStanding.UNKNOWN, True, ["a: down", "b: gone"], f" (a: down; b: gone){UNHEARD}"),
        (PeerStanding.UNKNOWN, True, [], UNHEARD),
    ],
)
def test_confirmation_that_is_not_believed_comes_with_advice(
    bench: Bench,
    caplog: pytest.LogCaptureFixture,
    standing: PeerStanding,
    is_deaf: bool,
    faults: list[str],
    advice: str,
) -> None:
    """What has to be done first, where there is something; the engine has recorded it already."""
    bench.engine_answers("it is heard", False)
    bench.loop.peer_standing, bench.loop.is_deaf = standing, is_deaf
    bench.links.listener_faults.return_value = faults
    with pytest.raises(RefusedError) as caught:
        bench.service.confirm_peer_out("deb2", ROOT)
    advice = advice.format(monitor=bench.layout.monitor_file)
    assert str(caught.value) == f"not believed: it is heard{advice}"
    assert len(bench.entries()) == 1
    assert caplog.messages == ["node deb1: confirm deb2: REFUSED: it is heard"]


def test_order_of_a_drill_names_who_gave_it_and_is_recorded(bench: Bench) -> None:
    """The word that the peer has stopped is an alarm, as any confirmation is."""
    bench.engine_answers("web: starts", True)
    before = clock.monotonic()
    assert bench.service.order_drill(DrillOrder.PEER_STOPPED, 0.0, ROOT) == ["web: starts"]
    event = bench.inbox.get(0)
    assert isinstance(event, DrillOrdered) and event.who == f"{ROOT.text}, in a drill"
    assert before + 5.0 <= event.at_latest <= clock.monotonic() + 5.0
    assert [entry[3::2] for entry in bench.entries()] == [("drill: peer stopped", True)]


def test_order_of_a_drill_that_the_engine_refuses_is_an_error(bench: Bench) -> None:
    """With the engine's reason; that it was given is in the history."""
    bench.engine_answers("deb2 is silent", False)
    with pytest.raises(RefusedError, match="^hold fences: deb2 is silent$"):
        bench.service.order_drill(DrillOrder.HOLD_FENCES, 60.0, ROOT)
    assert [entry[3::2] for entry in bench.entries()] == [("drill: hold fences", False)]


def test_cut_of_a_drill_is_recorded_and_ends_once_it_may_not_last(bench: Bench) -> None:
    """The daemon looks itself whether another link is up, at the beginning and all along."""
    links = [
        LinkStatus(LinkSpec(node, "net", device, address, 5010, 0, 2.0), node == "deb1", True)
        for node, host in (("deb1", 1), ("deb2", 2))
        for device, address in (("eth1", f"239.1.1.{host}"), ("eth2", f"239.1.2.{host}"))
    ]
    status = NodeStatus("deb1", "deb2", 1, PeerStanding.LIVE, "", tuple(links), ())
    bench.report.complete.return_value = status
    names = ("net eth1:239.1.1.1", "net eth1:239.1.1.2")
    bench.service.cut_links(names, 30.0, ROOT)
    bench.links.cut.assert_called_once_with(names, 30.0)
    assert bench.entries()[0][3:5] == (
        f"drill: cut {' and '.join(names)}", f"by {ROOT.text}, for 30 s at most",
    )  # fmt: skip
    cut = bench.links.present_cut
    cut.is_over = False
    assert bench.service.why_cut_ends(names) == ""
    down = tuple(replace(link, is_up=link.spec.device == "eth1") for link in links)
    bench.report.complete.return_value = replace(status, links=down)
    assert "no other link is up" in bench.service.why_cut_ends(names)
    with pytest.raises(RefusedError, match="^not cut: no other link is up"):
        bench.service.cut_links(names, 30.0, ROOT)
    cut.is_over = True
    assert bench.service.why_cut_ends(names) == "its time is over"
    bench.links.present_cut = None
    assert bench.service.why_cut_ends(names) == "its time is over"
    bench.service.end_cut()
    bench.links.end_cut.assert_called_once_with()


def test_fence_plan_and_lease_are_asked_by_their_own_services(bench: Bench) -> None:
    """The path of a lease is this node's watchdog."""
    service = bench.service
    assert service.look_at_path("ipmi") is bench.fence.look_at_path.return_value
    assert service.drill("ipmi", "deb2", ROOT) is bench.fence.drill.return_value
    bench.fence.drill.assert_called_once_with(service.status, "ipmi", "deb2", ROOT)
    assert service.drill("lease", "deb1", ROOT) is bench.lease.drill.return_value
    bench.lease.drill.assert_called_once_with(service.status, "deb1", ROOT)
    assert service.release(ROOT) is bench.fence.release.return_value
    bench.fence.release.assert_called_once_with(bench.report.complete.return_value, ROOT)
    bench.fence.look_at_path.assert_called_once_with("ipmi")


def test_second_evacuation_keeps_off_limits_on_disk_and_in_the_engine(bench: Bench) -> None:
    """Also one that comes after a restart of the daemon: the file has it."""
    first = Caller(4711, 0, order_reason="CHG-12")
    for is_on, is_off_limits, caller in [(True, True, first), (True, False, ROOT)]:
        bench.service.evacuate(is_on, is_off_limits, caller)
    found = read_evacuation(bench.layout)
    assert found.is_off_limits and "CHG-12" in found.text
    given = [bench.inbox.get(0) for _ in range(2)]
    assert given == [EvacuationSet(found)] * 2
    bench.service.evacuate(False, False, ROOT)
    assert read_evacuation(bench.layout) == NOT_EVACUATED
