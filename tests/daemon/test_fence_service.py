"""What operators may order of a fence plan, and when that is refused."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pytest_mock import MockerFixture

from opensvc_openha.core.events import Event, FenceTried
from opensvc_openha.core.model import ClusterSpec, FencePath, FencingPolicy, PathKind, Profile
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.core.status import (
    FencingStatus,
    NodeStatus,
    PathStatus,
    PeerStanding,
    ServiceStatus,
)
from opensvc_openha.daemon import fence_service
from opensvc_openha.daemon.fence_service import FenceService
from opensvc_openha.daemon.issues import Issue
from opensvc_openha.daemon.reserved_disks import ServiceDisks
from opensvc_openha.errors import ActionError, RefusedError
from opensvc_openha.fence_devices.etcd_arbiter import EtcdArbiter
from opensvc_openha.formats.fence_plan_config import FencePlanConfig
from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.formats.lease_config import EtcdConfig
from opensvc_openha.storage.fence_drills import FenceDrills
from opensvc_openha.storage.history_writer import History
from opensvc_openha.system.peer_credentials import Caller
from tests.daemon.fence_devices import OFF, ON, PROVED, Device

NODE, PEER = "deb2", "deb1"
IPMI = FencePath("ipmi", PathKind.POWER, 30.0, mark="1")
DISKS = FencePath("reservation", PathKind.RESERVATION, 30.0)
CALLER = Caller(0, 0, 1)


def service(own: S | None, peer: S | None) -> ServiceStatus:
    known = S.UNKNOWN if own is None else own
    return ServiceStatus("web", PEER, NODE, peer or S.UNKNOWN, known, own, peer)


QUIET = NodeStatus(
    NODE,
    PEER,
    1,
    PeerStanding.LIVE,
    "heard",
    (),
    (service(S.STOPPED, S.FROZEN_STOP),),
    fencing=FencingStatus(plan=(("ipmi",),), paths=(PathStatus("ipmi", "power", 0),)),
)
OUT = replace(QUIET, fencing=replace(QUIET.fencing, has_arbiter=True, is_ejected_by=PEER))


class Rig:
    """A service whose engine, configuration and arbiter are the test's."""

    def __init__(self, root: Path, mocker: MockerFixture) -> None:
        self.layout = tree_layout(str(root))
        Path(self.layout.proc_dir).mkdir(parents=True)
        self.device = Device(root, PROVED)
        self.events: list[Event] = []
        self.engine = mocker.Mock(
            peer_standing=PeerStanding.LIVE, may_register=True, wrong_paths=()
        )
        policy = FencingPolicy(levels=((IPMI,), (DISKS,)), has_arbiter=True)
        self.configuration: Any = mocker.Mock()
        self.configuration.current.spec = ClusterSpec(
            NODE, PEER, (), (), Profile.TUTORIAL, fencing=policy
        )
        self.plan = self.configuration.current.options.fence_plan
        self.plan.arbiter_address, self.plan.check_interval_s = "/dev/hb", 60.0
        self.plan.arbiter_options = {"disk": "/dev/hb"}
        self.plan.request.side_effect = lambda do, *rest: {"do": do}
        self.plan.address_of.return_value = "10.1.1.1"
        self.history = History(self.layout, 1, lambda is_fault, text: None)
        self.service = FenceService(
            self.layout,
            self.device.program,
            self.configuration,
            self.events.append,
            lambda: self.engine,
            self.history,
            logging.getLogger("test"),
        )
        self.release = mocker.patch.object(
            self.service._arbiter, "release", return_value="deb1 and deb2 registered"
        )

    def drill(self, status: NodeStatus = QUIET, path: str = "ipmi", node: str = PEER) -> list[str]:
        """A drill; the peer falls silent once the device was asked."""
        return self.service.drill(lambda: status, path, node, CALLER)

    def reasons(self) -> list[tuple[str, str]]:
        """New value and reason of each entry of the history."""
        return [(entry.new, entry.reason) for entry in self.history.recent]


@pytest.fixture
def rig(tmp_path: Path, mocker: MockerFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """A healthy peer that runs nothing."""
    monkeypatch.setattr(fence_service, "_STILL_HEARD_S", -0.9)
    made = Rig(tmp_path, mocker)
    yield made
    made.service.stop()


def test_drill_is_measured_recorded_and_kept(rig: Rig) -> None:
    """By the operator's name; the next daemon knows it, until the path is edited."""
    rig.engine.peer_standing = PeerStanding.SILENT
    lines = rig.drill()
    assert lines[0].startswith(f"ipmi: off, then OFF twice in 3.3 s; {PEER} fell silent; it took ")
    assert lines[1] == f"{PEER} has no power now: switch it on again"
    assert [request["do"] for request in rig.device.requests] == ["cut"]
    (command, drill) = rig.reasons()
    assert command == ("fence test --power ipmi", f"by {CALLER.text}")
    assert drill[0] == "DRILL" and drill[1].startswith("ipmi: off, then OFF twice")
    kept = FenceDrills(rig.layout).of(IPMI)
    assert kept is not None and kept.took_s >= 0
    (tried,) = rig.events
    assert isinstance(tried, FenceTried) and tried.path == "ipmi"
    assert tried.took_s == pytest.approx(kept.took_s, abs=0.01)
    assert FenceDrills(rig.layout).of(replace(IPMI, mark="2")) is None
    shown = rig.service.complete(QUIET.fencing).paths[0]
    assert (shown.tested_at, shown.tested_s) == (kept.at, kept.took_s)
    assert shown.device == "10.1.1.1"


@pytest.mark.parametrize(
    "body, text",
    [
        (PROVED, f"ipmi: it reports OFF, and {PEER} is still heard: it cuts the power of another"),
        ('echo \'{"is_proved": false, "text": "still ON"}\'', "ipmi: still ON"),
        ("exit 1", "ipmi: the fence program ended with 1"),
    ],
)
def test_drill_that_does_not_silence_the_peer_has_failed(
    rig: Rig, mocker: MockerFixture, body: str, text: str
) -> None:
    """Exit code 6, in the history, and the path was never tried out."""
    rig.device.write(body)
    looks_again = mocker.patch.object(rig.service._watch, "check_soon")
    with pytest.raises(ActionError) as caught:
        rig.drill()
    assert text in str(caught.value) and looks_again.call_count == 1
    assert rig.reasons()[-1][0] == "DRILL FAILED"
    assert FenceDrills(rig.layout).of(IPMI) is None and rig.events == []


@pytest.mark.parametrize(
    "change, words, text",
    [
        ({}, {"node": "deb"}, "deb is not the peer of this node, which is deb1"),
        ({}, {"path": "pdu"}, "pdu is no path of [fencing] levels: ipmi, reservation"),
        ({}, {"path": "reservation"}, "reservation cuts no power"),
        ({"peer_standing": PeerStanding.SILENT}, {}, "deb1 is silent: a drill is for a node that"),
        ({"services": (service(S.STOPPED, S.STARTED),)}, {}, "may run something: web (STARTED)"),
        (
            {"services": (service(S.STOPPED, S.STOP_FAILED),)},
            {},
            "run something: web (STOP_FAILED)",
        ),
        ({"services": (service(S.STOPPED, S.UNKNOWN),)}, {}, "may run something: web (UNKNOWN)"),
        ({"services": (service(S.STOPPED, None),)}, {}, "may run something: web (unknown)"),
    ],
)
def test_drill_is_refused(
    rig: Rig, change: dict[str, Any], words: dict[str, str], text: str
) -> None:
    """And nothing is asked of any device."""
    with pytest.raises(RefusedError) as caught:
        rig.drill(replace(QUIET, **change), **words)
    assert text in str(caught.value)
    assert rig.device.requests == [] and rig.reasons()[0][0].startswith("fence test --power ")


def test_look_of_an_operator_asks_the_device_and_the_arbiter_is_what_its_watch_knows(
    rig: Rig,
) -> None:
    """A path of disks is not a device."""
    rig.device.write(ON)
    known = (
        PathStatus("ipmi", "power", 0, "wrong", "what the engine says"),
        PathStatus("reservation", "reservation", 1),
    )
    rig.engine.status.return_value = replace(QUIET, fencing=replace(QUIET.fencing, paths=known))
    found = rig.service.look_at_path("ipmi")
    assert (found.name, found.state, found.text) == ("ipmi", "wrong", "what the engine says")
    assert found.device == "10.1.1.1"
    assert [request["do"] for request in rig.device.requests] == ["look"]
    # Only after the engine has taken the look.
    calls = [call[0] for call in rig.engine.method_calls]
    assert calls[-2:] == ["await_events", "status"]
    assert rig.service.look_at_path("reservation").level == 1
    arbiter = rig.service.look_at_path("arbiter")
    assert (arbiter.kind, arbiter.text) == ("arbiter", "not looked at yet")
    assert len(rig.device.requests) == 1
    with pytest.raises(RefusedError, match="is no path of"):
        rig.service.look_at_path("pdu")
    rig.engine.status.return_value = replace(QUIET, fencing=replace(QUIET.fencing, paths=()))
    with pytest.raises(RefusedError, match="was taken out of"):
        rig.service.look_at_path("ipmi")


def test_arbiter_is_shown_beside_the_paths_and_instants_are_those_of_the_wall(rig: Rig) -> None:
    """Without a plan nothing is added."""
    shown = rig.service.complete(replace(QUIET.fencing, next_try_at=1.0, step_began_at=1.0))
    assert [path.kind for path in shown.paths] == ["power", "arbiter"]
    assert shown.next_try_at is not None and shown.next_try_at > 1_000_000
    assert shown.step_began_at is not None and shown.step_began_at > 1_000_000
    assert rig.service.complete(FencingStatus()) == FencingStatus()


def test_ejected_node_whose_services_are_down_is_released(rig: Rig) -> None:
    """Beside a peer that acknowledged that, or one that is confirmed out."""
    assert rig.service.release(OUT, CALLER) == [
        "registered again: deb1 and deb2 registered",
        "services may be started here again",
    ]
    rig.engine.may_register = False
    fencing = replace(OUT.fencing, confirmed_by="root")
    silent = replace(OUT, peer_standing=PeerStanding.SILENT, fencing=fencing)
    assert rig.service.release(silent, CALLER)[0].startswith("registered again: ")
    assert rig.release.call_count == 2


@pytest.mark.parametrize(
    "status, text",
    [
        (QUIET, "this node is not ejected"),
        (
            replace(OUT, services=(service(S.STOPPING, S.STOPPED),)),
            "not released: web (STOPPING) may run here. Stop it first",
        ),
        (
            replace(OUT, services=(service(S.UNKNOWN, S.STOPPED),)),
            "not released: web (UNKNOWN) may run here. Stop it first",
        ),
        (OUT, "not released: deb1 has not acknowledged yet that nothing runs here"),
        (
            replace(OUT, peer_standing=PeerStanding.SILENT),
            "not released: deb1 is silent, and has the right to what runs. If it runs nothing,"
            " type openha fence confirm deb1 first",
        ),
    ],
)
def test_release_is_refused(rig: Rig, status: NodeStatus, text: str) -> None:
    """With what is in its way."""
    rig.engine.may_register = False
    with pytest.raises(RefusedError) as caught:
        rig.service.release(status, CALLER)
    assert str(caught.value).startswith(text)
    rig.release.assert_not_called()


def test_requests_are_complete_for_what_they_ask(rig: Rig) -> None:
    """A claim has the arbiter's disk and its counter, a reservation the disks."""
    plan = rig.service._plan()[1]
    assert plan.request("claim", "", PEER, 1.0) == {
        "do": "claim",
        "node": NODE,
        "options": {"disk": "/dev/hb"},
        "generation": None,
    }
    assert plan.request("preempt", "reservation", PEER, 1.0, ("web",)) == {
        "do": "preempt",
        "node": NODE,
        "disks": [],
        "drain_s": 0.0,
    }
    assert plan.request("cut", "ipmi", PEER, 1.0) == {"do": "cut", "node": NODE}


def test_witness_is_opened_and_asked_as_the_arbiter(rig: Rig) -> None:
    """With all its options; nothing is asked before its thread looks."""
    etcd = EtcdConfig(("http://127.0.0.1:1", "http://127.0.0.1:2"), username="openha", prefix="x")
    plan = FencePlanConfig(arbiter="etcd", etcd=etcd)
    rig.configuration.current.options.fence_plan = plan
    arbiter = rig.service._arbiter.status
    assert arbiter is not None
    asked = rig.service._plan()[1].request("claim", "", PEER, 1.0)
    assert asked["options"] == {"etcd": etcd.as_options()}
    assert plan.arbiter_address == "etcd 127.0.0.1:1,127.0.0.1:2"
    with closing(rig.service._open_arbiter(plan.arbiter_address, 7)) as opened:
        assert isinstance(opened, EtcdArbiter)


def test_services_that_run_and_stay_so_are_watched(rig: Rig, mocker: MockerFixture) -> None:
    """As the engine's loop has them, without a snapshot of all; the disks are those found."""
    disk = {"name": "/dev/mapper/data", "paths": ["/dev/sda"], "key": "0x1"}
    known = {"web": ServiceDisks(disks=(disk,)), "mail": ServiceDisks(disks=(disk,))}
    mocker.patch.object(rig.service._disks, "_known", known)
    held = mocker.patch("opensvc_openha.fence_devices.held_disks.HeldDisks")
    held.return_value.look.return_value = {"disks": []}
    rig.engine.settled_services = frozenset({"mail"})
    assert rig.service._reservations._watch() == ""
    held.return_value.look.assert_called_once_with([{**disk, "generation": None}])
    rig.engine.settled_services = frozenset({"db"})
    assert rig.service._reservations._watch() == ""
    assert held.return_value.look.call_count == 1 and rig.engine.status.call_count == 0


def test_renewed_reservation_is_logged_and_kept(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """An operator finds out later which path had gone."""
    with caplog.at_level(logging.INFO):
        rig.service._record_renewal("/dev/sdb of /dev/mapper/data came back: registered again")
    assert "node deb2: reservation: /dev/sdb of /dev/mapper/data came back" in caplog.text
    assert rig.reasons() == [
        ("RESERVATION", "/dev/sdb of /dev/mapper/data came back: registered again")
    ]


@pytest.mark.parametrize("is_registered", [True, False])
def test_arbiter_that_has_nothing_against_an_ejected_node_lets_it_come_back(
    rig: Rig, mocker: MockerFixture, is_registered: bool
) -> None:
    """Its disks alone were taken, by hand for instance: no claim was lost, and none will end it."""
    mocker.patch.object(rig.service._arbiter, "_is_registered", is_registered)
    assert rig.service._reservations._is_admitted() is is_registered
    rig.configuration.current.spec = replace(
        rig.configuration.current.spec, fencing=FencingPolicy(levels=((IPMI,),))
    )
    assert rig.service._reservations._is_admitted()


def test_daemon_without_threads_for_the_plan_continues_and_reports_it(
    rig: Rig, mocker: MockerFixture
) -> None:
    """The next edit tries again; each thread is started once."""
    starts = [
        mocker.patch.object(part, "start", side_effect=RuntimeError("can't start new thread"))
        for part in (rig.service._watch, rig.service._arbiter, rig.service._disks)
    ]
    reservations = mocker.patch.object(rig.service._reservations, "start")
    rig.service.follow()
    assert [start.call_count for start in starts] == [0, 0, 0], "not before the daemon has begun"
    rig.service.start()
    rig.configuration.problems.report.assert_called_with(
        Issue.FENCE_WATCH, "can't start new thread"
    )
    for start in starts:
        start.side_effect = None
    rig.service.follow()
    rig.service.follow()
    assert [start.call_count for start in starts] == [2, 2, 2]
    assert reservations.call_count == 1, "nothing is watched before the disks are looked for"


def test_path_that_worked_in_a_takeover_was_tried_out(rig: Rig) -> None:
    """As by a drill; one that is configured no more is nobody's."""
    rig.service._record_use("ipmi", 2.5)
    rig.service._record_use("pdu", 9.0)
    shown = rig.service.complete(QUIET.fencing).paths[0]
    assert shown.tested_s == 2.5 and shown.tested_at is not None


def test_damaged_note_of_drills_is_none(rig: Rig) -> None:
    """Nothing was tried out then."""
    Path(rig.layout.fence_drills_file).write_text('{"ipmi": {"mark": "1"}}')
    assert FenceDrills(rig.layout).of(IPMI) is None
    rig.device.write(OFF)


def test_fence_is_measured_by_a_drill_or_by_a_lease(rig: Rig) -> None:
    """A disk that was never used says nothing of its time, and an edited path is another one."""
    assert not rig.service.is_measured
    rig.engine.peer_standing = PeerStanding.SILENT
    rig.drill()
    assert rig.service.is_measured
    spec = rig.configuration.current.spec
    edited = replace(IPMI, mark="2")
    lease = FencePath("lease", PathKind.LEASE, 12.3)
    for levels, is_measured in ((((edited,),), False), (((edited,), (lease,)), True)):
        policy = replace(spec.fencing, levels=levels)
        rig.configuration.current.spec = replace(spec, fencing=policy)
        assert rig.service.is_measured is is_measured
