"""The parts around a fence plan, each of which only notes what it is asked: what they are given,
when they begin and end, and what is shown, recorded and refused.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from opensvc_openha.core.beat import BootId
from opensvc_openha.core.events import Event, FenceTried
from opensvc_openha.core.lease_view import PeerPromise
from opensvc_openha.core.model import (
    ClusterSpec,
    FencePath,
    FencingPolicy,
    LinkSpec,
    PathKind,
    Profile,
    ServiceSpec,
)
from opensvc_openha.core.promise import WITNESS_MARK, Promise, media_of
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import (
    FencingStatus,
    NodeStatus,
    PathStatus,
    PeerStanding,
    ProofStatus,
    ServiceStatus,
)
from opensvc_openha.daemon import fence_service as module
from opensvc_openha.daemon.fence_program import FenceAnswer
from opensvc_openha.daemon.fence_service import FenceService
from opensvc_openha.daemon.issues import Issue
from opensvc_openha.daemon.service_fences import PROGRAM
from opensvc_openha.errors import ActionError, RefusedError, SystemFault
from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.storage.fence_history import DRILL, DRILL_FAILED, FENCE_PATH, RESERVATION
from opensvc_openha.storage.history_entry import EntryKind
from opensvc_openha.storage.journal_fields import path_fields
from opensvc_openha.system import clock
from opensvc_openha.system.peer_credentials import Caller
from tests.daemon.noted_parts import Notes, Part
from tests.simulated_clock import SimulatedClock

IPMI = FencePath("ipmi", PathKind.POWER, 30.0, mark="1")
LEASE = FencePath("lease", PathKind.LEASE, 12.0)
SLOT = LinkSpec("deb2", "dio", "/dev/x", "", 0, 8, 15.0)
NET = LinkSpec("deb2", "net", "eth1", "239.131.50.11", 5010, 0, 10.0)
WEB = ServiceSpec("web", "/opt/web", "deb1", "deb2", "/bin/true")
CALLER = Caller(0, 0, 1)
PROVED = FenceAnswer({"is_proved": True, "readings": ["on", "off", "off"], "text": "off"}, "", 3.3)
PARTS = ("watch", "arbiter", "disks", "reservations", "services")


class Rig(Notes):
    """A service whose parts are noted in one list; deb1, whose peer is deb2."""

    def __init__(self, root: str, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(
            {
                "services.has_work": False,
                "program.ask": PROVED,
                "drills.of": None,
                "disks.of": {"disks": ["d"]},
            }
        )
        self.time = SimulatedClock(monkeypatch)
        self.time.now = 100.0
        monkeypatch.setattr(clock, "wall", lambda: 1_000.0 + self.time.now)
        monkeypatch.setattr(clock, "wall_of", lambda instant: 1_000.0 + instant)
        self.built: dict[str, tuple[Any, ...]] = {}
        self.parts: dict[str, Any] = {
            "runner": Part(self, "runner", is_busy=False, pause=self._pause),
            "watch": Part(self, "watch"),
            "disks": Part(self, "disks", disks_of="disks of"),
            "services": Part(self, "services", known=()),
            "arbiter": Part(self, "arbiter", status=None, generation=7, is_registered=False),
            "reservations": Part(self, "reservations"),
            "drills": Part(self, "drills"),
        }
        for name, part in (
            ("FenceRunner", "runner"),
            ("FenceWatch", "watch"),
            ("ReservedDisks", "disks"),
            ("ServiceFences", "services"),
            ("ArbiterWatch", "arbiter"),
            ("ReservationWatch", "reservations"),
            ("FenceDrills", "drills"),
        ):
            monkeypatch.setattr(module, name, self._builder(part))
        self.status: NodeStatus = self.node(FencingStatus())
        self.engine: Any = SimpleNamespace(
            peer_standing=PeerStanding.LIVE, may_register=True, wrong_paths=("ipmi",),
            settled_services=frozenset({"web"}), promised=None,
            status=lambda: self.status, await_events=lambda: self.call("engine.await_events"),
        )  # fmt: skip
        plan = Part(
            self, "plan", check_interval_s=60.0, arbiter_address="/dev/hb",
            arbiter_options={"disk": "/dev/hb"}, arbiter_witness=None,
        )  # fmt: skip
        self.results["plan.request"] = lambda do, *rest: {"do": do}
        self.results["plan.address_of"] = lambda name, peer: f"{name} of {peer}"
        self.configuration: Any = Part(
            self, "configuration", current=SimpleNamespace(
                spec=ClusterSpec("deb1", "deb2", (SLOT, NET), (WEB,), Profile.FAST),
                options=SimpleNamespace(fence_plan=plan),
            ), problems=Part(self, "problems"),
        )  # fmt: skip
        self.logged: list[tuple[int, str, object]] = []
        self.events: list[Event] = []
        self.put = self.events.append
        logger = SimpleNamespace(
            log=self._log,
            info=lambda form, *values: self._log(logging.INFO, form, *values),
            warning=lambda form, *values: self._log(logging.WARNING, form, *values),
        )
        self.service = FenceService(
            tree_layout(root),
            cast(Any, Part(self, "program")),
            cast(Any, self.configuration),
            self.put,
            lambda: self.engine,
            cast(Any, Part(self, "history")),
            cast(logging.Logger, logger),
        )

    def _builder(self, part: str) -> Callable[..., object]:
        def build(*given: object) -> object:
            self.built[part] = given
            return self.parts[part]

        return build

    def _log(self, level: int, form: str, *values: object, extra: object = None) -> None:
        self.logged.append((level, form % values, extra))

    @contextlib.contextmanager
    def _pause(self) -> Iterator[None]:
        self.notes.append(("pause",))
        yield
        self.notes.append(("paused",))

    def node(self, fencing: FencingStatus, **values: Any) -> NodeStatus:
        """The status of this node."""
        svc = ServiceStatus(
            "web", "deb1", "deb2", ServiceState.STOPPED, ServiceState.STOPPED,
            ServiceState.STOPPED, ServiceState.STOPPED,
        )  # fmt: skip
        status = NodeStatus(
            "deb1", "deb2", 1, PeerStanding.LIVE, "heard", (), (svc,), fencing=fencing
        )
        return replace(status, **values)

    def use(self, *paths: FencePath, has_arbiter: bool = False) -> None:
        """Another plan is configured."""
        policy = FencingPolicy(levels=tuple((path,) for path in paths), has_arbiter=has_arbiter)
        current = self.configuration.current
        current.spec = replace(current.spec, fencing=policy)

    def asked(self, *methods: str) -> list[str]:
        """The parts that were asked for this, in order."""
        return [str(note[0]) for note in self.notes if str(note[0]).rpartition(".")[2] in methods]

    def drill(self, status: NodeStatus | None = None, name: str = "ipmi") -> list[str]:
        return self.service.drill(lambda: status or self.status, name, "deb2", CALLER)


@pytest.fixture
def rig(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """One path, to a device; the peer is heard."""
    made = Rig(str(tmp_path), monkeypatch)
    made.use(IPMI)
    return made


# --- what they are given --------------------------------------------------------------------------


def test_each_part_follows_the_configuration_and_the_engine(rig: Rig) -> None:
    """What it asks is asked then, of the ones in force."""
    program, plan, peer, put, on_done = rig.built["runner"]
    assert program.__dict__["_name"] == "program" and (peer, put) == ("deb2", rig.put)
    assert plan == cast(Any, rig.service)._plan and on_done == cast(Any, rig.service)._record_use
    watch = rig.built["watch"]
    assert watch[2] == "deb2" and watch[3]() is PeerStanding.LIVE and watch[4]() is False
    rig.parts["runner"].is_busy = True
    assert watch[4]() is True and watch[5] == rig.put and watch[7]() == 60.0
    assert watch[8]() == ("ipmi",)
    rig.results["disks.look"] = lambda name: f"look at {name}"
    assert watch[9]("disks") == "look at disks"
    ((complete,),) = rig.of("configuration.complete_by")
    cast(Any, complete)("spec")
    assert rig.of("disks.complete") == [("spec",)]
    find, spec, interval, suspect = rig.built["disks"]
    assert spec() is rig.configuration.current.spec and interval() == 60.0
    assert find(["web", "mail"])._argv[-2:] == ["web", "mail"]
    suspect()
    assert rig.of("configuration.suspect") == [()]
    services = rig.built["services"]
    assert services[1]() == (WEB,) and services[2] == "deb2" and services[5]() == 60.0
    assert services[3]() is PeerStanding.LIVE and services[4]() == 16.0
    assert services[0]._argv[-1] == PROGRAM
    arbiter = rig.built["arbiter"]
    assert arbiter[0]() == "/dev/hb" and arbiter[3]() is True and arbiter[5] == rig.put
    arbiter[4]()
    assert rig.of("engine.await_events") == [()]
    assert arbiter[7]() == 0.1 and arbiter[8] == "deb2"
    held = rig.built["reservations"]
    assert held[1] == "disks of" and held[2]() == {"web"} and held[4]() is True
    assert held[5] == rig.put and held[6] == cast(Any, rig.service)._record_renewal
    assert held[3](), "no arbiter decides"
    rig.use(IPMI, has_arbiter=True)
    assert not held[3]()
    rig.parts["arbiter"].is_registered = True
    assert held[3]()


def test_peer_without_links_is_called_silent_within_a_second(rig: Rig) -> None:
    """There is nothing to wait for."""
    rig.configuration.current.spec = replace(rig.configuration.current.spec, links=())
    assert rig.built["services"][4]() == 1.0


def _opened(name: str) -> Callable[..., object]:
    return lambda *given, **named: (name, given, named)


def test_arbiter_and_disks_are_opened_as_they_are_configured(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk with its last counter, or a witness; the code of neither is loaded before."""
    devices = "opensvc_openha.fence_devices"
    for name in ("arbiter_disk.ArbiterDisk", "etcd_arbiter.EtcdArbiter", "held_disks.HeldDisks"):
        monkeypatch.setattr(f"{devices}.{name}", _opened(name))
    open_arbiter = rig.built["arbiter"][1]
    assert open_arbiter("/dev/hb", 7) == (
        "arbiter_disk.ArbiterDisk", ("/dev/hb", "deb1", "deb2"), {"generation": 7},
    )  # fmt: skip
    rig.configuration.current.options.fence_plan.__dict__["arbiter_witness"] = "witness"
    found = open_arbiter("etcd", None)
    assert found == ("etcd_arbiter.EtcdArbiter", ("witness", "deb1", "deb2"), {})
    assert rig.built["reservations"][0]() == ("held_disks.HeldDisks", (), {})


# --- when they begin and end ----------------------------------------------------------------------


@pytest.mark.parametrize("has_levels", [False, True])
@pytest.mark.parametrize("has_arbiter", [False, True])
@pytest.mark.parametrize("has_work", [False, True])
def test_only_what_is_configured_begins(
    rig: Rig, has_levels: bool, has_arbiter: bool, has_work: bool
) -> None:
    """Once each, and not before the daemon begins; each look is soon after an edit."""
    rig.use(*([IPMI] if has_levels else []), has_arbiter=has_arbiter)
    rig.results["services.has_work"] = has_work
    rig.notes.clear()
    rig.service.follow()
    assert rig.notes == []
    rig.service.start()
    rig.service.follow()
    begun = {
        "watch.start": has_levels,
        "arbiter.start": has_arbiter,
        "disks.start": has_levels,
        "reservations.start": has_levels,
        "services.start": has_work,
    }
    assert rig.asked("start") == [name for name, is_begun in begun.items() if is_begun]
    assert (
        rig.asked("check_soon")
        == ["watch.check_soon", "disks.check_soon", "services.check_soon"] * 2
    )


@pytest.mark.parametrize("name", PARTS)
def test_part_without_a_thread_begins_with_the_next_edit(rig: Rig, name: str) -> None:
    """The daemon continues, and reports it."""
    rig.use(IPMI, has_arbiter=True)
    rig.results["services.has_work"] = True
    rig.results[f"{name}.start"] = RuntimeError("can't start new thread")
    rig.notes.clear()
    rig.service.start()
    reports = rig.of("problems.report")
    assert reports == [(Issue.FENCE_WATCH, "can't start new thread")]
    rig.results[f"{name}.start"] = None
    rig.service.follow()
    rig.service.follow()
    again = [f"{name}.start"] + (["reservations.start"] if name == "disks" else [])
    first = [f"{each}.start" for each in PARTS if name != "disks" or each != "reservations"]
    assert rig.asked("start") == [*first, *again]


def test_all_end_without_waiting_for_a_device(rig: Rig) -> None:
    """The steps first, and the programs that run last."""
    rig.notes.clear()
    rig.service.stop()
    assert rig.asked("close", "stop") == [
        "runner.close", *(f"{name}.stop" for name in PARTS), "program.close",
    ]  # fmt: skip


# --- what is shown --------------------------------------------------------------------------------

KNOWN = PathStatus("ipmi", "power", 0, "armed", "ON", looked_at=90.0)


def test_instants_are_those_of_the_wall_clock(rig: Rig) -> None:
    """Of each path, of the fences of services, of what is being done and of what is proved."""
    rig.parts["services"].known = (replace(KNOWN, name="web fence#1"),)
    rig.parts["arbiter"].status = PathStatus("arbiter", "arbiter", -1, looked_at=1_050.0)
    rig.results["drills.of"] = SimpleNamespace(at=500.0, took_s=3.5)
    proof = ProofStatus("plan", "node", 95.0, "off")
    shown = rig.service.complete(
        FencingStatus(
            plan=(("ipmi",),), paths=(KNOWN,), step_began_at=91.0, next_try_at=92.0,
            lease_ends_at=93.0, proofs=(proof, replace(proof, at=None)),
        )
    )  # fmt: skip
    assert shown.service_paths == (replace(KNOWN, name="web fence#1", looked_at=1_090.0),)
    assert shown.paths == (
        replace(KNOWN, looked_at=1_090.0, device="ipmi of deb2", tested_at=500.0, tested_s=3.5),
        PathStatus("arbiter", "arbiter", -1, looked_at=1_050.0),
    )
    assert (shown.step_began_at, shown.next_try_at, shown.lease_ends_at) == (
        1_091.0, 1_092.0, 1_093.0,
    )  # fmt: skip
    assert [each.at for each in shown.proofs] == [1_095.0, None]
    assert rig.of("drills.of") == [(IPMI,)]


def test_without_a_plan_only_the_fences_of_services_are_shown(rig: Rig) -> None:
    """And without an arbiter no arbiter is."""
    rig.parts["services"].known = (KNOWN,)
    rig.parts["arbiter"].status = KNOWN
    shown = rig.service.complete(FencingStatus(step_began_at=91.0, paths=(KNOWN,)))
    assert shown == FencingStatus(
        step_began_at=91.0, paths=(KNOWN,), service_paths=(replace(KNOWN, looked_at=1_090.0),)
    )
    rig.parts["arbiter"].status = None
    shown = rig.service.complete(
        FencingStatus(plan=(("pdu",),), paths=(replace(KNOWN, name="pdu"),))
    )
    assert [(path.name, path.tested_at) for path in shown.paths] == [("pdu", None)]


@pytest.mark.parametrize(
    ("media", "device"),
    [
        (frozenset(media_of([SLOT]).values()), "/dev/x"),
        (frozenset({WITNESS_MARK}), "witness"),
        (frozenset({b"nobody.."}), ""),
    ],
)
def test_promise_of_the_peer_is_shown_with_its_media(
    rig: Rig, media: frozenset[bytes], device: str
) -> None:
    """It is not looked at: beats bring it."""
    rig.use(LEASE)
    known = replace(KNOWN, name="lease", kind="lease", limit_s=12.0)
    status = FencingStatus(plan=(("lease",),), paths=(known,))
    (shown,) = rig.service.complete(status).paths
    assert (shown.looked_at, shown.limit_s, shown.device) == (None, 12.0, "lease of deb2")
    rig.engine.promised = PeerPromise(BootId(1, 1), Promise(9.5, media), 3)
    (shown,) = rig.service.complete(status).paths
    assert (shown.looked_at, shown.limit_s, shown.device) == (None, 9.5, device)


@pytest.mark.parametrize("path", [IPMI, LEASE])
def test_time_of_a_fence_is_known_once_it_was_used_or_is_promised(
    rig: Rig, path: FencePath
) -> None:
    """A watchdog has a time of its own."""
    rig.use(path)
    assert rig.service.is_measured is (path is LEASE)
    rig.use(IPMI, LEASE)
    assert rig.service.is_measured
    rig.use(IPMI)
    rig.results["drills.of"] = SimpleNamespace(at=500.0, took_s=3.5)
    assert rig.service.is_measured


# --- looks ----------------------------------------------------------------------------------------


def test_look_of_an_operator(rig: Rig) -> None:
    """The device is asked first, then the engine for what that means; a lease has no device."""
    rig.use(IPMI, LEASE)
    known = (KNOWN, replace(KNOWN, name="lease"))
    rig.status = rig.node(FencingStatus(paths=known))
    rig.notes.clear()
    assert rig.service.look_at_path("ipmi").looked_at == 1_090.0
    assert [note[0] for note in rig.notes][:2] == ["watch.look_now", "engine.await_events"]
    assert rig.of("watch.look_now") == [(IPMI,)]
    assert rig.service.look_at_path("lease").name == "lease"
    assert len(rig.of("watch.look_now")) == 1 and len(rig.of("engine.await_events")) == 2
    with pytest.raises(RefusedError, match=r"pdu is no path of \[fencing\] levels: ipmi, lease"):
        rig.service.look_at_path("pdu")
    rig.status = rig.node(FencingStatus(paths=(replace(KNOWN, name="lease"),)))
    with pytest.raises(RefusedError, match="ipmi was taken out of"):
        rig.service.look_at_path("ipmi")
    rig.use()
    with pytest.raises(RefusedError, match="there is none"):
        rig.service.look_at_path("arbiter")
    rig.parts["arbiter"].status = KNOWN
    assert rig.service.look_at_path("arbiter") is KNOWN
    with pytest.raises(RefusedError, match="there is none"):
        rig.service.look_at_path("ipmi")


# --- drills ---------------------------------------------------------------------------------------


def test_drill_has_the_devices_to_itself(rig: Rig) -> None:
    """From the request to the answer; then the peer is waited for, and all is recorded."""
    rig.engine.peer_standing = PeerStanding.SILENT
    lines = rig.drill(rig.node(FencingStatus()))
    assert lines == [
        "ipmi: off; deb2 fell silent; it took 3.3 s",
        "deb2 has no power now: switch it on again",
    ]
    asked = [note for note in rig.notes if note[0] in ("pause", "paused", "program.ask")]
    assert asked == [("pause",), ("program.ask", {"do": "cut", "node": "deb1"}, 30.0), ("paused",)]
    assert rig.of("plan.request") == [("cut", "ipmi", "deb2", 30.0, ())]
    assert rig.of("history.record") == [
        (EntryKind.COMMAND, "", "fence test --power ipmi", f"by {CALLER.text}", True),
        (EntryKind.NODE, "deb1", DRILL, "ipmi: off; deb2 fell silent", 3.3, False),
    ]
    assert rig.of("drills.record") == [(IPMI, 1_100.0, 3.3)] and rig.of("watch.check_soon") == [()]
    assert rig.logged == [(30, "node deb1: drill: ipmi cuts the power of deb2", None)]
    assert rig.events == [FenceTried("ipmi", 3.3)]


def test_drill_that_cannot_be_kept_says_so(rig: Rig) -> None:
    """It worked all the same."""
    rig.engine.peer_standing = PeerStanding.SILENT
    rig.results["drills.record"] = SystemFault("no space left")
    assert rig.drill()[1:] == [
        "not kept: no space left",
        "deb2 has no power now: switch it on again",
    ]


def test_answer_with_a_problem_proves_nothing(rig: Rig) -> None:
    """Whatever else is in it."""
    rig.engine.peer_standing = PeerStanding.SILENT
    rig.results["program.ask"] = replace(PROVED, problem="no answer within 30 s: killed")
    with pytest.raises(ActionError, match="ipmi: no answer within 30 s: killed"):
        rig.drill(rig.node(FencingStatus()))
    assert rig.of("drills.record") == []


@pytest.mark.parametrize("is_proved", [False, True])
def test_drill_that_fails_is_an_alarm(rig: Rig, is_proved: bool) -> None:
    """The device reports no success, or the peer is heard for longer than it can be."""
    if not is_proved:
        rig.results["program.ask"] = FenceAnswer({"text": "still ON"}, "", 2.0)
    text = "it reports OFF, and deb2 is still heard" if is_proved else "still ON"
    with pytest.raises(ActionError, match=f"ipmi: {text}"):
        rig.drill()
    entry = rig.of("history.record")[1]
    assert entry[:3] == (EntryKind.NODE, "deb1", DRILL_FAILED) and entry[-1] is True
    assert str(entry[3]).startswith(f"ipmi: {text}") and rig.of("drills.record") == []
    # 15 s of the slowest link and one more, and five for the machine to go down.
    waited_s = rig.time.now - 100.0
    assert 21.0 <= waited_s < 21.1 if is_proved else waited_s == 0.0
    assert rig.of("watch.check_soon") == [()]
    level, line, _ = rig.logged[1]
    assert level == 30 and line.startswith(f"node deb1: drill failed: ipmi: {text}")


@pytest.mark.parametrize(
    ("values", "node", "text"),
    [
        ({}, "deb", "deb is not the peer of this node, which is deb2: type its whole name"),
        ({"peer_standing": PeerStanding.SILENT}, "deb2", "deb2 is silent: a drill is for a node"),
        ({"peer_state": ServiceState.STARTED}, "deb2", r"may run something: web \(STARTED\)"),
        ({"peer_state": None}, "deb2", r"may run something: web \(unknown\)"),
    ],
)
def test_drill_is_for_a_node_that_is_heard_and_runs_nothing(
    rig: Rig, values: dict[str, Any], node: str, text: str
) -> None:
    """Nothing is asked of its device."""
    status = rig.status
    if "peer_state" in values:
        (svc,) = status.services
        values = {"services": (replace(svc, peer_state=values["peer_state"]),)}
    with pytest.raises(RefusedError, match=text):
        rig.service.drill(lambda: replace(status, **values), "ipmi", node, CALLER)
    assert rig.of("program.ask") == [] and len(rig.of("history.record")) == 1


def test_drill_is_refused_while_this_node_fences(rig: Rig) -> None:
    """And on a path that has no device; nothing is asked."""
    rig.parts["runner"].is_busy = True
    with pytest.raises(RefusedError, match="this node is fencing already"):
        rig.drill()
    rig.use(LEASE)
    with pytest.raises(RefusedError, match="lease cuts no power"):
        rig.drill(name="lease")
    assert rig.of("program.ask") == [] and len(rig.of("history.record")) == 2


# --- requests -------------------------------------------------------------------------------------


def test_request_has_what_its_kind_needs(rig: Rig) -> None:
    """The arbiter's options for a claim, the disks for a reservation."""
    policy, plan = cast(Any, rig.service)._plan()
    assert policy is rig.configuration.current.spec.fencing
    assert plan.request("look", "ipmi", "deb2", 1.0) == {"do": "look", "node": "deb1"}
    assert plan.request("claim", "", "deb2", 2.0, ("web",)) == {
        "do": "claim", "node": "deb1", "options": {"disk": "/dev/hb"}, "generation": 7,
    }  # fmt: skip
    assert plan.request("preempt", "disks", "deb2", 3.0, ("web",)) == {
        "do": "preempt", "node": "deb1", "disks": ["d"],
    }  # fmt: skip
    assert rig.of("plan.request") == [
        ("look", "ipmi", "deb2", 1.0, ()),
        ("claim", "", "deb2", 2.0, ("web",)),
        ("preempt", "disks", "deb2", 3.0, ("web",)),
    ]
    assert rig.of("disks.of") == [(("web",),)]


# --- what is recorded -----------------------------------------------------------------------------


def test_use_of_a_path_is_kept_like_a_drill(rig: Rig) -> None:
    """Unless it is configured no more; a disk that is full forgets it."""
    rig.built["runner"][4]("ipmi", 2.5)
    rig.built["runner"][4]("pdu", 2.5)
    rig.results["drills.record"] = SystemFault("no space left")
    rig.built["runner"][4]("ipmi", 3.5)
    assert rig.of("drills.record") == [(IPMI, 1_100.0, 2.5), (IPMI, 1_100.0, 3.5)]


@pytest.mark.parametrize("problem", ["", "no answer"])
def test_path_that_breaks_is_an_alarm(rig: Rig, problem: str) -> None:
    """In order again it is a line."""
    for part, index in (("watch", 10), ("services", 7), ("arbiter", 9)):
        rig.notes.clear()
        rig.logged.clear()
        rig.built[part][index]("ipmi", problem)
        text = f"ipmi: {problem or 'in order again'}"
        assert rig.of("history.record") == [
            (EntryKind.NODE, "deb1", FENCE_PATH, text, bool(problem))
        ]
        level = logging.WARNING if problem else logging.INFO
        fields = {"fields": path_fields("ipmi", problem)}
        assert rig.logged == [(level, f"node deb1: fence path {text}", fields)]


def test_reservation_that_was_renewed_is_recorded(rig: Rig) -> None:
    """Later it shows which path had gone."""
    rig.built["reservations"][6]("/dev/sdb came back")
    assert rig.of("history.record") == [(EntryKind.NODE, "deb1", RESERVATION, "/dev/sdb came back")]
    assert rig.logged == [(20, "node deb1: reservation: /dev/sdb came back", None)]


# --- release --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "fencing", "may_register", "has_arbiter", "text"),
    [
        ({}, {}, True, True, ""),
        ({}, {}, True, False, "this node is not ejected"),
        ({}, {"is_ejected_by": ""}, True, True, "this node is not ejected"),
        ({}, {}, False, True, "not released: deb2 has not acknowledged yet"),
        ({"peer_standing": PeerStanding.SILENT}, {}, True, True, "not released: deb2 is silent"),
        ({"peer_standing": PeerStanding.SILENT}, {"confirmed_by": "al"}, False, True, ""),
        ({"services": "up"}, {}, True, True, "not released: web (STARTED) may run here"),
        ({"services": "none"}, {}, True, True, ""),
    ],
)
def test_release_needs_a_node_that_runs_nothing(
    rig: Rig,
    values: dict[str, Any],
    fencing: dict[str, Any],
    may_register: bool,
    has_arbiter: bool,
    text: str,
) -> None:
    """Beside a peer that acknowledged that, or one that is confirmed out."""
    status = rig.node(FencingStatus(**{"is_ejected_by": "deb2", **fencing}))
    kind = values.pop("services", "")
    if kind:
        (svc,) = status.services
        state = ServiceState.STARTED if kind == "up" else None
        values["services"] = (replace(svc, own_state=state),)
    status = replace(status, **values)
    rig.engine.may_register = may_register
    rig.parts["arbiter"].status = KNOWN if has_arbiter else None
    rig.results["arbiter.release"] = "deb1 and deb2 registered"
    if text:
        with pytest.raises(RefusedError) as caught:
            rig.service.release(status, CALLER)
        assert str(caught.value).startswith(text) and rig.of("arbiter.release") == []
    else:
        assert rig.service.release(status, CALLER) == [
            "registered again: deb1 and deb2 registered",
            "services may be started here again",
        ]
    assert rig.of("history.record") == [
        (EntryKind.COMMAND, "", "fence release", f"by {CALLER.text}", True)
    ]
