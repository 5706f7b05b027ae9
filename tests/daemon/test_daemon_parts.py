"""The main thread of a daemon, with parts that only note what they are asked: in which order they
begin and end, what it does meanwhile, and what the next daemon of the process gets.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from opensvc_openha.core.events import LeaveRequested, Leaving, ScriptKind
from opensvc_openha.core.model import ClusterSpec, LinkSpec, ServiceSpec
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.daemon import daemon as module
from opensvc_openha.daemon.daemon import Daemon, Survivors
from opensvc_openha.daemon.issues import Issue
from opensvc_openha.errors import NotAnsweringError, RefusedError, SystemFault
from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.storage.history_entry import EntryKind
from tests.daemon.noted_parts import Notes, Part
from tests.simulated_clock import SimulatedClock

LINK = LinkSpec("deb1", "net", "eth1", "239.131.50.10", 5010, 0, 10.0)
WEB = ServiceSpec("web", "/opt/web", "deb1", "deb2", "/bin/true")
ALIEN = ServiceSpec("alien", "/opt/alien", "deb3", "deb4", "/bin/true")
SPEC = ClusterSpec("deb1", "deb2", (LINK,), (WEB, ALIEN))
NAMES = ("web",)
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Rig(Notes):
    """A daemon whose parts are all noted in one list."""

    def __init__(self, root: str, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__({"authentication.advance": None})
        self.time = SimulatedClock(monkeypatch)
        self.time.now = 100.0
        self.built: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {}
        self.turns: list[Callable[[], None]] = []
        self.is_over = False
        self.statuses: list[tuple[PeerStanding, tuple[str, ...]]] = []
        self.handlers: dict[int, Any] = {}
        self.layout = tree_layout(root)
        self.history: Any = Part(self, "history", is_open=False)
        self.children = (Part(self, "monitor"), Part(self, "notifier"))
        self.process = SimpleNamespace(
            place=Part(self, "place", handle=7),
            memory=Part(self, "memory"),
            history=self.history,
            stall_detector=Part(self, "stall detector"),
            children=self.children,
            signals=[],
            end_children=lambda: self.call("process.end_children"),
        )
        self.configuration: Any = Part(
            self,
            "configuration",
            current=SimpleNamespace(
                spec=SPEC, options=SimpleNamespace(realtime="fifo", check_every_s=60.0)
            ),
            problems=Part(self, "issues"),
        )
        self.loop: Any = Part(
            self,
            "loop",
            is_over=SimpleNamespace(is_set=lambda: self.is_over),
            displaced="",
            failure=None,
        )
        self.incarnation = Part(
            self,
            "incarnation",
            inbox=Part(self, "inbox"),
            outbox="outbox",
            datagrams="datagrams",
            loop=self.loop,
            authentication=Part(self, "authentication"),
            lease=Part(self, "lease", reports="reports"),
            fence=Part(self, "fence"),
            fencing_store="fencing store",
            removed="removed",
            commands=Part(self, "commands"),
            runner=Part(self, "runner"),
            agent_caches=Part(self, "caches"),
            store=Part(self, "store"),
        )
        self.service: Any = Part(self, "service", leaving=None)
        self.report = Part(self, "report")
        self.results["report.warnings"] = ["a warning"]
        self.results["report.advice"] = ["an advice"]
        self.results["service.status"] = self._status
        self.realtime: Any = Part(self, "realtime")
        self.enter = object()
        self.realtime.__dict__["enter"] = self.enter
        for name, part in (
            ("LiveConfiguration", self.configuration),
            ("set_up_process", self.process),
            ("Systemd", Part(self, "systemd")),
            ("Realtime", self.realtime),
            ("Incarnation", self.incarnation),
            ("LinkManager", Part(self, "links")),
            ("StartProblemsFound", Part(self, "problems")),
            ("OutlookWatch", Part(self, "outlook")),
            ("StatusReport", self.report),
            ("ControlService", self.service),
            ("ControlServer", Part(self, "server")),
            ("Watchers", Part(self, "watchers")),
        ):
            monkeypatch.setattr(module, name, self._builder(name, part))
        monkeypatch.setattr(signal, "signal", self.handlers.__setitem__)
        monkeypatch.setattr(module, "favour_session", lambda: self.call("favour session"))
        self.logger = Part(self, "log")
        self.daemon = self.make()

    def make(self, survivors: Survivors | None = None) -> Daemon:
        """A daemon of this process."""
        daemon = Daemon(
            self.layout,
            cast(Any, self.logger),
            5,
            cast(Any, "children"),
            lambda: "log problem",
            survivors,
        )
        assert isinstance(cast(Any, daemon)._wake, threading.Event)
        cast(Any, daemon)._wake = Part(self, "wake")
        self.results["wake.wait"] = self._turn
        return daemon

    def _builder(self, name: str, part: object) -> Callable[..., object]:
        def build(*args: object, **options: object) -> object:
            self.built[name] = args, options
            return part

        return build

    def _status(self) -> object:
        standing, scripts = (
            self.statuses.pop(0)
            if len(self.statuses) > 1
            else self.statuses[0]
            if self.statuses
            else (PeerStanding.LIVE, ())
        )
        return SimpleNamespace(
            peer_standing=standing, services=[SimpleNamespace(script=each) for each in scripts]
        )

    def _turn(self, limit_s: float) -> None:
        if self.turns:
            self.turns.pop(0)()
        if not self.turns:
            self.is_over = True

    def run(self, *turns: Callable[[], None]) -> int:
        """The main thread's work; each turn does something while it waits."""
        self.turns = list(turns)
        self.notes.clear()
        return self.daemon.run(lambda: self.notes.append(("ready",)))

    def names(self, *left_out: str) -> list[str]:
        """What was called, in order."""
        return [
            str(note[0]) for note in self.notes if str(note[0]).partition(".")[0] not in left_out
        ]


@pytest.fixture
def rig(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """Made, and not begun."""
    return Rig(str(tmp_path), monkeypatch)


PERIODIC = [
    "wake.clear", "configuration.poll", "place.expect", "server.reopen_if_gone", "issues.solve",
    "watchers.check", "monitor.ensure_running", "notifier.ensure_running",
    "authentication.advance", "issues.solve",
]  # fmt: skip
BEGIN = [
    "memory.protect", "favour session", "server.open", "history.open", "stall detector.start",
    "caches.begin", "lease.start", "links.reconcile", "report.warnings", "report.advice",
    "watchers.check", "loop.start", "watchers.start", "fence.start", "service.status", "ready",
    "caches.serve", "systemd.ready",
]  # fmt: skip
END = [
    "links.flush", "watchers.stop", "fence.stop", "lease.stop", "server.close", "systemd.stopping",
    "process.end_children", "caches.end", "store.close",
]  # fmt: skip
FOR_GOOD = ["process.end_children", "history.close"]


def test_parts_begin_and_end_in_their_order(rig: Rig) -> None:
    """Links before the engine, which is ready before that is reported; at the end, the goodbye
    first of all.
    """
    assert rig.run(lambda: None, lambda: None) == 0
    turns = ["wake.wait", *PERIODIC] * 2
    assert rig.names("log") == [*BEGIN, *turns, *END, "history.record", *FOR_GOOD]
    assert rig.of("wake.wait") == [(2.0,), (2.0,)]
    assert rig.of("history.record") == [(EntryKind.DAEMON, "", "ENDED", "orderly", False)]
    assert rig.of("caches.begin") == rig.of("caches.serve") == rig.of("caches.end") == [(NAMES,)]
    assert rig.of("links.reconcile") == [(SPEC,)] and rig.of("systemd.ready") == [("peer deb2",)]
    wake = cast(Any, rig.daemon)._wake
    ((enter, over),) = rig.of("loop.start")
    assert enter is rig.enter
    cast(Any, over)()
    assert rig.notes[-1] == ("wake.set",) and wake is not None
    for name in ("stall detector.start", "lease.start", "watchers.start"):
        assert rig.of(name) == [(rig.enter,)]
    assert [note[-1] for note in rig.notes if note[0] == "log.warning"] == [
        "a warning",
        "an advice",
    ]
    assert set(rig.handlers) == {*SIGNALS, signal.SIGQUIT}
    assert rig.handlers[signal.SIGQUIT] is signal.SIG_DFL


def test_parts_are_made_of_the_configuration(rig: Rig) -> None:
    """What asks for it later gets the one in force then."""
    assert rig.of("incarnation.apply_options") == [(rig.configuration.current,)]
    assert rig.built["LiveConfiguration"][0][3] is None
    layout, logger, handle, spec, children = rig.built["set_up_process"][0]
    assert (layout, logger, handle, children) == (rig.layout, rig.logger, 5, "children")
    other = ClusterSpec("deb1", "deb2", (), ())
    rig.configuration.current.spec = other
    assert rig.built["OutlookWatch"][0][1]() is other and rig.built["Watchers"][0][1]() is other
    assert rig.built["OutlookWatch"][0][2]() == 60.0
    assert rig.built["OutlookWatch"][0][3]().peer_standing is PeerStanding.LIVE
    outbox, datagrams, inbox, authentication, own_names = rig.built["LinkManager"][0][:5]
    incarnation = cast(Any, rig.incarnation)
    assert (outbox, datagrams) == (incarnation.outbox, incarnation.datagrams)
    assert (inbox, authentication) == (incarnation.inbox, incarnation.authentication)
    assert own_names() == ()
    assert rig.built["Realtime"][0] == ("fifo",)
    assert rig.built["ControlService"][1]["leaving"] is None


def test_history_that_is_open_is_not_opened_again(rig: Rig) -> None:
    """It outlives an engine that failed, and so does the stall detector."""
    rig.history.is_open = True
    rig.run()
    assert not {"history.open", "stall detector.start"} & set(rig.names())


def test_order_to_leave_that_survived_is_carried_out(rig: Rig) -> None:
    """By the engine that follows the one that failed; before anything is ready."""
    rig.run()
    assert rig.of("inbox.put") == []
    rig.is_over = False
    rig.service.leaving = Leaving.KEEP_SERVICES
    rig.run()
    assert rig.of("inbox.put") == [(LeaveRequested(Leaving.KEEP_SERVICES),)]


# --- the first status -----------------------------------------------------------------------------

LIVE, SILENT, PROBE = PeerStanding.LIVE, PeerStanding.SILENT, ScriptKind.PROBE.value


@pytest.mark.parametrize(
    ("statuses", "waited_s"),
    [
        ([(LIVE, ())], 0.0),
        ([(LIVE, ("start", ""))], 0.0),
        ([(SILENT, ()), (SILENT, ()), (LIVE, ())], 0.1),
        ([(SILENT, ())], 1.2),
        ([(LIVE, ("", PROBE)), (LIVE, ("start",))], 0.05),
        ([(LIVE, ("", PROBE))], 10.0),
        ([(SILENT, (PROBE, PROBE))], 10.0),
    ],
)
def test_first_status_waits_for_the_peer_and_the_wrappers(
    rig: Rig, statuses: list[tuple[PeerStanding, tuple[str, ...]]], waited_s: float
) -> None:
    """1.2 s for a beat, ten for the answers of all wrappers, looked at each 0.05 s."""
    rig.statuses = statuses
    rig.run()
    assert set(rig.time.pauses) <= {0.05}
    assert waited_s - 0.01 < rig.time.now - 100.0 < waited_s + 0.06


def test_limits_of_the_wait_are_instants(rig: Rig) -> None:
    """From 1.2 s on a late peer is not waited for, and from ten seconds on no wrapper is."""
    daemon = cast(Any, rig.daemon)
    rig.statuses = [(SILENT, ())]
    rig.results["service.status"] = lambda: (rig.time.__setattr__("now", 101.2), rig._status())[1]
    daemon._await_peer()
    assert rig.time.pauses == []
    rig.time.now = 100.0
    rig.statuses = [(LIVE, (PROBE,))]
    rig.results["service.status"] = lambda: (rig.time.__setattr__("now", 109.95), rig._status())[1]
    rig.notes.clear()
    daemon._await_peer()
    assert rig.names() == ["service.status"] and rig.time.pauses == [0.05]


def test_busy_engine_is_not_waited_for(rig: Rig) -> None:
    """It is busy with its services: they come first."""
    rig.results["service.status"] = NotAnsweringError("busy")
    rig.run()
    assert rig.time.pauses == []


@pytest.mark.parametrize("is_over", [False, True])
@pytest.mark.parametrize("signals", [[], [signal.SIGTERM]])
def test_end_or_signal_ends_the_wait(rig: Rig, is_over: bool, signals: list[int]) -> None:
    """The first status is of no use then."""
    rig.is_over, rig.process.signals = is_over, signals
    rig.statuses = [(LIVE, ())]
    rig.notes.clear()
    cast(Any, rig.daemon)._await_peer()
    assert rig.names() == ([] if is_over or signals else ["service.status"])


# --- periodic work --------------------------------------------------------------------------------


def test_failure_of_the_periodic_work_is_a_problem_and_no_end(rig: Rig) -> None:
    """Reported while it lasts."""

    def fail() -> None:
        rig.results["watchers.check"] = ZeroDivisionError("what now")

    def work() -> None:
        rig.results["watchers.check"] = None

    assert rig.run(fail, work) == 0
    internal = [note for note in rig.notes if Issue.INTERNAL in note]
    assert internal == [
        ("issues.report", Issue.INTERNAL, "ZeroDivisionError: what now"),
        ("issues.solve", Issue.INTERNAL),
    ]


def test_key_rotation_continues(rig: Rig) -> None:
    """What is due is written; nothing while nothing is."""
    rig.run(lambda: None)
    assert rig.of("configuration.write_rotation") == []
    assert rig.of("authentication.advance") == [(100.0,)]
    rig.is_over, rig.results["authentication.advance"] = False, "ring"
    rig.run(lambda: None)
    assert rig.of("configuration.write_rotation") == [("ring",)]


@pytest.mark.parametrize("asked", ["place.expect", "server.reopen_if_gone"])
def test_place_that_another_daemon_has_taken_silences_this_one(rig: Rig, asked: str) -> None:
    """Any other error is a problem until it is gone."""
    rig.results[asked] = RefusedError("pid 9 has it")
    rig.run(lambda: None)
    assert rig.of("loop.displace") == [("pid 9 has it",)]
    assert not any(Issue.PLACE in note for note in rig.notes)
    rig.is_over, rig.results[asked] = False, SystemFault("no space left")

    def work() -> None:
        rig.results[asked] = None

    rig.run(lambda: None, work)
    assert rig.of("loop.displace") == []
    assert [note for note in rig.notes if Issue.PLACE in note] == [
        ("issues.report", Issue.PLACE, "no space left"),
        ("issues.solve", Issue.PLACE),
    ]


def test_signals_are_obeyed_in_their_order(rig: Rig) -> None:
    """SIGHUP reads the files again, and is logged once; each other one lets the daemon leave."""
    rig.run()
    handle = rig.handlers[signal.SIGTERM]
    assert all(rig.handlers[number] == handle for number in SIGNALS)
    rig.is_over = False

    def send() -> None:
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            handle(number, None)

    rig.run(send)
    assert rig.of("wake.set") == [()] * 3 and rig.process.signals == []
    begin = rig.names("log").index("wake.clear") + 1
    assert rig.names("log")[begin : begin + 4] == [
        "configuration.suspect",
        "service.leave",
        "service.leave",
        "configuration.poll",
    ]
    assert rig.of("service.leave") == [
        (Leaving.KEEP_SERVICES, "signal SIGTERM"),
        (Leaving.KEEP_SERVICES, "signal SIGINT"),
    ]
    assert sum("SIGHUP" in str(note) for note in rig.of("log.info")) == 1
    rig.is_over = False
    rig.run(lambda: handle(signal.SIGTERM, None))
    assert not any("SIGHUP" in str(note) for note in rig.of("log.info"))


# --- the end --------------------------------------------------------------------------------------


def test_daemon_whose_place_is_taken_ends_with_an_alarm(rig: Rig) -> None:
    """Everything ends as it does in order."""
    rig.loop.displaced = "pid 9 has it"
    assert rig.run() == 1
    assert rig.names("log")[-12:] == [*END, "history.record", *FOR_GOOD]
    why = "another daemon has taken the place of this one: pid 9 has it"
    assert rig.of("history.record") == [(EntryKind.DAEMON, "", "ENDED", why, True)]
    assert not rig.daemon.has_failed


def test_failed_engine_leaves_what_the_next_one_uses(rig: Rig) -> None:
    """Nothing is begun or sent for it any more; history and children stay, until the last ends."""
    rig.loop.failure = ValueError("what now")
    assert rig.run() == 1 and rig.daemon.has_failed
    left = [name for name in END if name not in ("systemd.stopping", "process.end_children")]
    assert rig.names("log")[-11:] == [
        "runner.close", "commands.fail_all", "links.stop", *left, "history.record",
    ]  # fmt: skip
    why = "the engine failed: ValueError('what now')"
    assert rig.of("commands.fail_all") == [(why,)]
    assert rig.of("history.record") == [(EntryKind.DAEMON, "", "ENDED", why, True)]
    rig.notes.clear()
    rig.daemon.end_for_good()
    assert rig.names("log") == FOR_GOOD


def test_next_daemon_begins_with_the_files_and_what_survived(rig: Rig) -> None:
    """Its process, its last good configuration, and the order to leave; once all is written."""
    rig.service.leaving = Leaving.STOP_SERVICES
    rig.notes.clear()
    rig.built.clear()
    daemon = rig.daemon.successor()
    assert rig.names() == ["incarnation.expect_written", "incarnation.apply_options"]
    assert "set_up_process" not in rig.built
    assert rig.built["LiveConfiguration"][0][3] is rig.configuration.current
    assert rig.built["ControlService"][1]["leaving"] is Leaving.STOP_SERVICES
    assert rig.built["Watchers"][0][6]() == "log problem"
    assert isinstance(daemon, Daemon)
    rig.results["incarnation.expect_written"] = SystemFault("still writing")
    with pytest.raises(SystemFault):
        rig.daemon.successor()


# --- another configuration ------------------------------------------------------------------------


@pytest.mark.parametrize("is_edited", [False, True])
def test_new_configuration_reaches_every_part(rig: Rig, is_edited: bool) -> None:
    """The engine before the links: a beat of a link that it does not know would be lost."""
    current = rig.configuration.current
    former = SimpleNamespace(spec=ClusterSpec("deb1", "deb2", (), ()) if is_edited else SPEC)
    rig.notes.clear()
    cast(Any, rig.daemon)._take_over(former)
    always = [
        ("watchers.check_soon",),
        ("incarnation.apply_options", current),
        ("fence.follow",),
        ("lease.follow",),
    ]
    edited = [
        ("incarnation.follow", former, current),
        ("links.reconcile", SPEC),
        ("watchers.use_senders", (LINK,)),
    ]
    assert rig.notes == always + (edited if is_edited else [])
    assert rig.built["LiveConfiguration"][0][2] == cast(Any, rig.daemon)._take_over
