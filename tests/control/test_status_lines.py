"""Status and answers as lines of the control socket: read back as they were, by any version."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from opensvc_openha.control.protocol import (
    VERSION,
    answer_from_json,
    answer_to_json,
    dump,
    status_from_json,
    status_to_json,
)
from opensvc_openha.core.actions import Answer, AnswerCode
from opensvc_openha.core.model import LinkSpec, Wire
from opensvc_openha.core.outlook import Finding, Severity
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import (
    AuthStatus,
    FenceGroup,
    FencingStatus,
    LinkStatus,
    NodeStatus,
    PathStatus,
    PeerStanding,
    PredictedPart,
    ProofStatus,
    ServiceStatus,
)

UP, DOWN = ServiceState.STARTED, ServiceState.STOPPED
LINK = LinkStatus(
    LinkSpec("deb2", "net", "eth1", "239.131.50.10", 5010, 0, 10.0, wire=Wire.LEGACY),
    False, True, 7, 8.5, "why", 9, {"received": 3},
)  # fmt: skip
SERVICE = ServiceStatus(
    "web", "deb1", "deb2", UP, DOWN, UP, None, "why", 3.5, "/web", "not", True, True, True
)
GROUP = FenceGroup("ipmi", "/fence", ("web", "db"), 1.5, 2, 3.5, "why", 4.5, 5.5, 6.5)
PATH = PathStatus("ipmi", "power", 1, "armed", "ON", 1.5, 0.2, 2.5, 3.5, 9.5, True)
PROOF = ProofStatus("power", "node", 4.5, "OFF", ("web",))
FENCING = FencingStatus(
    (GROUP,), "own", "peer", True, True, 1.0, 2.0, 3.0, "proof", "flight", 4.0, "off", "deb2", 5.0,
    ("ipmi", "other"), "root", 6.0, (("ipmi", "pdu"), ("disks",)), True, (PATH,), "ipmi", 7.0,
    (PROOF,), ("carrier",), "deb2", 8.0, service_paths=(PATH, PATH),
)  # fmt: skip
STATUS = NodeStatus(
    node="deb1",
    peer="deb2",
    pid=42,
    peer_standing=PeerStanding.SILENT,
    peer_reason="why",
    links=(LINK,),
    services=(SERVICE,),
    warnings=("one", "two"),
    fencing_warnings=("three",),
    authentication=AuthStatus("enforced", "1234", "k1", ("k1", "k2"), "k2", "k1"),
    scheduling="ordinary",
    own_only=("a",),
    peer_only=("b", "c"),
    fencing=FENCING,
    age_s=3.5,
)


def on_the_wire(values: dict[str, Any]) -> dict[str, Any]:
    line = dump(values)
    assert line.endswith(b"\n") and line.count(b"\n") == 1 and b" " not in line
    found: dict[str, Any] = json.loads(line)
    return found


def test_status_is_read_back_as_it_was() -> None:
    """Every field, none of which has its default value."""
    assert status_from_json(on_the_wire(status_to_json(STATUS))) == STATUS


@pytest.mark.parametrize(
    "disks, keys",
    [
        ({"disks": "answering", "peer_disks": "frozen"}, {"disks", "peer_disks"}),
        ({"disks": "answering"}, {"disks"}),
        ({"peer_disks": "frozen"}, {"peer_disks"}),
        ({}, set()),
    ],
)
def test_disks_of_a_service_are_sent_where_they_are_looked_at(
    disks: dict[str, str], keys: set[str]
) -> None:
    """Without the option there are no such keys."""
    status = replace(STATUS, services=(replace(SERVICE, **disks),))  # type: ignore[arg-type]
    line = on_the_wire(status_to_json(status))
    assert {"disks", "peer_disks"} & line["services"][0].keys() == keys
    assert status_from_json(line) == status


def test_failback_of_a_service_is_sent_where_it_runs_away_from_its_primary() -> None:
    """Elsewhere there are no such keys."""
    away = {"failback": "goes-back", "fails_back_at": 7.5, "is_kept_here": True}
    for values, keys in ((away, set(away)), ({}, set())):
        status = replace(STATUS, services=(replace(SERVICE, **values),))  # type: ignore[arg-type]
        line = on_the_wire(status_to_json(status))
        assert set(away) & line["services"][0].keys() == keys
        assert status_from_json(line) == status


OUTLOOK = {
    "ready": "no",
    "ready_text": "why",
    "checked_at": 4.5,
    "peer_ready": "no",
    "predicted_s": 0.0,
    "predicted_parts": (PredictedPart("start", 1.5), PredictedPart("timeout", 10.0)),
    "last_takeover_s": 5.5,
    "last_takeover_at": 6.5,
}


@pytest.mark.parametrize("keys", [*([key] for key in OUTLOOK), list(OUTLOOK), []], ids=str)
def test_outlook_of_a_service_is_sent_where_it_was_checked(keys: list[str]) -> None:
    """Each key by itself, also with a time of nothing."""
    values = {key: OUTLOOK[key] for key in keys}
    status = replace(STATUS, services=(replace(SERVICE, **values),))  # type: ignore[arg-type]
    line = on_the_wire(status_to_json(status))
    assert OUTLOOK.keys() & line["services"][0].keys() == set(keys)
    assert status_from_json(line) == status


def test_what_the_last_check_found_is_sent_once_there_was_one() -> None:
    """Nothing found is a result, too."""
    finding = Finding(list(Severity)[0], "deb1", "web", "script", "why", "how", True)
    for findings in ((finding, replace(finding, service="")), ()):
        status = replace(STATUS, checked_at=0.0, findings=findings)
        line = on_the_wire(status_to_json(status))
        assert line["checked_at"] == 0.0 and len(line["findings"]) == len(findings)
        assert status_from_json(line) == status
    assert {"checked_at", "findings"}.isdisjoint(on_the_wire(status_to_json(STATUS)))


def test_status_of_a_newer_daemon_is_read_without_what_is_unknown() -> None:
    """Another field in each of its objects."""
    values = on_the_wire(status_to_json(STATUS))
    fencing = values["fencing"]
    for found in (
        values, values["links"][0], values["services"][0], fencing, fencing["groups"][0],
        fencing["paths"][0], fencing["proofs"][0], values["authentication"],
    ):  # fmt: skip
        found["newer"] = [1]
    assert status_from_json(values) == STATUS


def test_status_of_an_older_daemon_is_read_with_defaults() -> None:
    """Only what the first version sent."""
    values = on_the_wire(status_to_json(STATUS))
    first = ("node", "peer", "pid", "peer_standing", "links", "services")
    assert status_from_json({name: values[name] for name in first}) == NodeStatus(
        "deb1", "deb2", 42, PeerStanding.SILENT, "", (LINK,), (SERVICE,)
    )
    some = {**values, "authentication": {}, "fencing": {"turn": "own"}}
    read = status_from_json(some)
    assert read.authentication == AuthStatus() and read.fencing == FencingStatus(turn="own")


@pytest.mark.parametrize(
    "change",
    [
        {"links": None}, {"links": [1]}, {"services": [[]]}, {"peer_standing": "?"}, {"node": ...},
        {"fencing": []}, {"authentication": 1},
    ],
    ids=str,
)  # fmt: skip
def test_other_values_are_errors_of_three_kinds(change: dict[str, Any]) -> None:
    """What the client takes for an answer of another program."""
    values = on_the_wire(status_to_json(STATUS)) | change
    values = {name: value for name, value in values.items() if value is not ...}
    with pytest.raises((KeyError, TypeError, ValueError)):
        status_from_json(values)


@pytest.mark.parametrize("line", ["[]", "null", "7", '"status"'])
def test_what_is_no_object_is_an_error_that_names_its_type(line: str) -> None:
    """JSON allows it, and a reader would look for the first field in it."""
    with pytest.raises(TypeError, match="a status is an object, not"):
        status_from_json(json.loads(line))


def test_link_of_the_first_version_has_no_place() -> None:
    """Only its kind and what it does."""
    values = on_the_wire(status_to_json(STATUS))
    link = values["links"][0]
    values["links"] = [{name: link[name] for name in ("kind", "is_sender", "is_up")}]
    spec = LinkSpec("deb2", "net", "", "", 0, 0, 0.0)
    assert status_from_json(values).links == (LinkStatus(spec, False, True),)
    assert VERSION == 1


@pytest.mark.parametrize("word", list(AnswerCode))
def test_answer_is_read_back_as_it_was(word: AnswerCode) -> None:
    """But for the number of the command, which is the daemon's."""
    answer = Answer(5, "stop", "web", word, UP, DOWN, "why", True, False)
    assert answer_from_json(on_the_wire(answer_to_json(answer))) == Answer(
        0, "stop", "web", word, UP, DOWN, "why", True, False
    )
