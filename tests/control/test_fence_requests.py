"""Requests about a fence plan on the control socket: who asked, and how each answer returns."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from opensvc_openha.control import client
from opensvc_openha.control.protocol import path_from_json, status_from_json, status_to_json
from opensvc_openha.control.server import ControlServer
from opensvc_openha.core.status import (
    FenceGroup,
    FencingStatus,
    NodeStatus,
    PathStatus,
    PeerStanding,
    ProofStatus,
)
from opensvc_openha.errors import ActionError, NotAnsweringError, RefusedError
from opensvc_openha.formats.layout import Layout, tree_layout

PATH = PathStatus("ipmi", "power", 0, "armed", "ON", 1.5, 0.2, 2.5, 3.5, 30.0, True, "10.1.1.1")


class Rig:
    """A control server whose daemon does what the test asks for."""

    def __init__(self, layout: Layout, mocker: MockerFixture) -> None:
        self.layout = layout
        self.served = mocker.Mock()
        self.server = ControlServer(layout.control_socket, self.served)
        self.server.open()


@pytest.fixture
def rig(tmp_path: Path, mocker: MockerFixture) -> Iterator[Rig]:
    """An open server."""
    layout = tree_layout(str(tmp_path))
    Path(layout.proc_dir).mkdir(parents=True)
    made = Rig(layout, mocker)
    yield made
    made.server.close()
    for thread in threading.enumerate():
        if thread.name in ("control", "request"):
            thread.join()


def test_look_returns_what_is_known_of_the_path(rig: Rig) -> None:
    """Every field."""
    rig.served.look_at_path.return_value = PATH
    assert client.look_at_path(rig.layout, "ipmi") == PATH
    rig.served.look_at_path.assert_called_once_with("ipmi")


def test_drill_returns_what_was_measured_and_names_the_caller(rig: Rig) -> None:
    """Who cut the power is known to the daemon."""
    rig.served.drill.return_value = ["ipmi: off", "it took 3.3 s"]
    assert client.drill(rig.layout, "ipmi", "deb1") == ["ipmi: off", "it took 3.3 s"]
    path, node, caller = rig.served.drill.call_args.args
    assert (path, node) == ("ipmi", "deb1") and caller.may_change


@pytest.mark.parametrize("error", [RefusedError("it runs web"), ActionError("still heard")])
def test_drill_that_is_refused_and_one_that_failed_are_distinguished(
    rig: Rig, error: Exception
) -> None:
    """By the type of the error, and so by the exit code."""
    rig.served.drill.side_effect = error
    with pytest.raises(type(error), match=str(error)):
        client.drill(rig.layout, "ipmi", "deb1")


def test_release_returns_what_follows(rig: Rig) -> None:
    """Line by line."""
    rig.served.release.return_value = ["registered again"]
    assert client.release(rig.layout) == ["registered again"]


def test_answer_of_another_version_is_none(rig: Rig) -> None:
    """Neither a crash nor a half-filled path."""
    rig.served.look_at_path.return_value = type("Other", (), {"name": "ipmi"})()
    with pytest.raises(NotAnsweringError, match="of another version"):
        client.look_at_path(rig.layout, "ipmi")


def test_path_of_a_newer_daemon_is_read_without_what_is_unknown() -> None:
    """And one of an older daemon with defaults."""
    assert path_from_json({**vars(PATH), "newer": 1}) == PATH
    assert path_from_json({"name": "ipmi", "kind": "power", "level": 1}) == PathStatus(
        "ipmi", "power", 1
    )


def test_what_devices_and_scripts_printed_is_for_root(rig: Rig) -> None:
    """Other users see how each ended, and not a word of it; the daemon's own values are not
    touched.
    """
    secret = "exit code 1: Error: token 4711; more of it"
    group = FenceGroup("", "/fence", ("web",), detail="exited with 3 (4711)")
    path = dataclasses.replace(PATH, text=f"not switched off in 2 s: {secret}")
    killed = dataclasses.replace(PATH, name="pdu", text="no answer in 9.5 s, killed: 4711")
    proof = ProofStatus("script", "node", 1.0, f"callout {secret}")
    fencing = FencingStatus(
        groups=(group,),
        plan=(("ipmi",),),
        paths=(path, killed),
        proofs=(proof,),
        hints=(secret,),
        service_paths=(path, killed),
    )
    warning = "fence path broken: ipmi: the fence program ended with 1: 4711"
    rig.served.status.return_value = NodeStatus(
        "deb1", "deb2", 1, PeerStanding.LIVE, "heard", (), (), (warning,), fencing=fencing
    )
    found = rig.server._status_for_all(rig.served.status())["status"]
    assert "4711" not in json.dumps(found) and "more of it" not in json.dumps(found)
    assert found["fencing"]["paths"][0]["text"] == (
        "not switched off in 2 s: exit code 1 (what it printed is for root)"
    )
    assert found["fencing"]["groups"][0]["detail"] == "exited with 3 (what it printed is for root)"
    assert path.text.endswith("more of it") and "4711" in group.detail


def test_status_without_a_fence_plan_has_the_keys_that_readers_know() -> None:
    """Not one more: nothing changes for those who configure no plan, or no lease in it."""
    plain = NodeStatus("deb1", "deb2", 1, PeerStanding.LIVE, "heard", (), ())
    found = status_to_json(plain)["fencing"]
    new = {
        "plan", "has_arbiter", "paths", "step", "step_began_at", "proofs", "hints",
        "is_ejected_by", "next_try_at",
    }  # fmt: skip
    assert new.isdisjoint(found)
    lease = {"lease", "lease_ends_at"}
    names = {field.name for field in dataclasses.fields(FencingStatus)}
    looked = {"service_paths"}
    assert lease | new | looked | set(found) == names
    assert lease.isdisjoint(found) and looked.isdisjoint(found)
    planned = dataclasses.replace(plain, fencing=FencingStatus(plan=(("ipmi",),), paths=(PATH,)))
    found = status_to_json(planned)["fencing"]
    assert new <= set(found) and json.dumps(found) and lease.isdisjoint(found)
    leased = dataclasses.replace(planned.fencing, lease="lease: ends in 3.4 s", lease_ends_at=7.0)
    found = status_to_json(dataclasses.replace(plain, fencing=leased))
    assert set(found["fencing"]) == names - looked
    assert status_from_json(found).fencing == leased
