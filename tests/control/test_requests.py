"""Lines on the control socket: each request, and what is refused before it is used."""

from __future__ import annotations

import json

import pytest

from opensvc_openha.control.requests import (
    ActRequest,
    ConfirmRequest,
    CutRequest,
    DrillNoteRequest,
    EvacuateRequest,
    FenceDrillRequest,
    FenceLookRequest,
    ForgetPeerRequest,
    HistoryRequest,
    LeaveRequest,
    NoteRequest,
    ReleaseRequest,
    ReloadRequest,
    Request,
    StatusRequest,
    parse_request,
)
from opensvc_openha.core.events import BY_MONITOR, BY_OPERATOR, SOURCES, Command, Leaving
from opensvc_openha.core.model import REQUEST_SERVICES_MAX
from opensvc_openha.errors import UsageError


def parsed(**fields: object) -> Request:
    return parse_request(json.dumps({**fields, "newer": 1}).encode("utf-8"))


def refusal(**fields: object) -> str:
    with pytest.raises(UsageError) as caught:
        parsed(**fields)
    return str(caught.value)


@pytest.mark.parametrize(
    ("word", "request_of"),
    [
        ("status", StatusRequest()),
        ("history", HistoryRequest()),
        ("reload", ReloadRequest()),
        ("forget-peer", ForgetPeerRequest()),
        ("fence-release", ReleaseRequest()),
    ],
)
def test_word_alone_is_a_request(word: str, request_of: Request) -> None:
    """Keys that this version does not know are passed over."""
    assert parsed(do=word) == request_of


@pytest.mark.parametrize("value", [True, False, 1, "true", None])
def test_old_status_is_fine_for_who_says_so(value: object) -> None:
    """In no other words: most decide by it."""
    assert parsed(do="status", old=value) == StatusRequest(is_old_fine=value is True)


@pytest.mark.parametrize("command", list(Command))
def test_each_command_is_taken_for_named_services_or_all(command: Command) -> None:
    """By an operator, unless the resource monitor names itself."""
    assert parsed(do="act", command=command.value) == ActRequest(command, None, BY_OPERATOR)
    named = parsed(do="act", command=command.value, services=["web", "db"], by=BY_MONITOR)
    assert named == ActRequest(command, ("web", "db"), BY_MONITOR)
    other = parsed(do="act", command=command.value, services=[], by="somebody")
    assert other == ActRequest(command, (), BY_OPERATOR)


@pytest.mark.parametrize("leaving", list(Leaving))
def test_each_way_to_leave_is_taken(leaving: Leaving) -> None:
    """And no other one."""
    assert parsed(do="leave", how=leaving.value) == LeaveRequest(leaving)
    assert refusal(do="leave", how="at once") == ("not a request: no such way to leave: 'at once'")


def test_note_is_cut_and_kept_on_one_line() -> None:
    """Its texts may be missing, and it is no alarm unless marked as one."""
    long = "x" * 401
    note = parsed(do="note", service="web", word="a\nb", reason=long, is_alarm=True)
    assert isinstance(note, NoteRequest) and "\n" not in note.word
    assert (note.reason, note.is_alarm) == ("x" * 400, True)
    assert parsed(do="note", service="web") == NoteRequest("web", "", "", False)


def test_node_that_was_confirmed_is_named() -> None:
    """By a name that a node can have."""
    assert parsed(do="confirm", node="deb2") == ConfirmRequest("deb2")


def test_path_of_the_fence_plan_is_named() -> None:
    """A look needs the path alone, a drill the node as well."""
    assert parsed(do="fence-look", path="ipmi") == FenceLookRequest("ipmi")
    drill = parsed(do="fence-drill", path="pdu-a", node="deb2")
    assert drill == FenceDrillRequest("pdu-a", "deb2")


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"do": "fence-look"}, "expected the name of a path, found None"),
        ({"do": "fence-look", "path": "a b"}, "as in [fencing] levels, found 'a b'"),
        ({"do": "fence-look", "path": "../x"}, "as in [fencing] levels, found '../x'"),
        ({"do": "fence-look", "path": "x" * 64}, "as in [fencing] levels, found "),
        ({"do": "fence-drill", "path": "ipmi"}, "expected the name of a node, found None"),
        ({"do": "fence-drill", "node": "deb2"}, "expected the name of a path, found None"),
        ({"do": "dance"}, "unknown request 'dance': this daemon may be older than the command"),
        ({}, "unknown request None"),
        ({"do": "act", "command": "dance"}, "no such command: 'dance'"),
        ({"do": "act", "command": {}}, "no such command: {}"),
        ({"do": "act", "command": "stop", "services": "web"}, "expected a list of at most 100"),
        ({"do": "act", "command": "stop", "services": [{}]}, "expected the name of a service"),
        ({"do": "act", "command": "stop", "services": ["a/b"]}, "not a request: "),
        ({"do": "confirm"}, "expected the name of a node, found None"),
        ({"do": "confirm", "node": "a b"}, "not a request: "),
        ({"do": "note"}, "expected the name of a service, found None"),
        ({"do": "note", "service": "web", "is_alarm": 1}, "is_alarm: expected true or false"),
        ({"do": "note", "service": "web", "word": 1}, "word: expected a text, found 1"),
        ({"do": "x" * 100}, f"unknown request '{'x' * 59}: this"),
    ],
)
def test_anything_else_is_refused_with_what_it_is(fields: dict[str, object], text: str) -> None:
    """Before any of it is used; a long value is shown in part."""
    assert text in refusal(**fields)


def test_drill_cuts_links_for_some_seconds_and_notes_what_it_does() -> None:
    """Links are named in any way, as hb -s does; whether there are such is for the daemon."""
    links = ["net eth1:239.131.50.10", "net eth1:239.131.50.12"]
    assert parsed(do="cut-links", links=links, seconds=21) == CutRequest(tuple(links), 21.0)
    noted = parsed(do="drill-note", word="link", text="a\nb", is_alarm=True, order_reason="CHG")
    assert noted == DrillNoteRequest("link", "a\\nb", True, order_reason="CHG")


@pytest.mark.parametrize("seconds", [0, -1, 601, True, "5", None, float("nan"), float("inf")])
def test_cut_without_an_end_is_refused(seconds: object) -> None:
    """No number of seconds, or too many."""
    text = refusal(do="cut-links", links=["net eth1:239.131.50.10"], seconds=seconds)
    assert "seconds: expected a number up to 600" in text


@pytest.mark.parametrize("links", [None, [], ["x"] * 17, [1], "x", ["x" * 401]])
def test_cut_of_something_else_than_links_is_refused(links: object) -> None:
    """None, too many, or no texts."""
    assert "links: expected" in refusal(do="cut-links", links=links, seconds=5)


def test_services_are_limited_in_number() -> None:
    """As many as a request may name, and one more."""
    names = [f"s{number}" for number in range(REQUEST_SERVICES_MAX + 1)]
    act = parsed(do="act", command="stop", services=names[:-1])
    assert isinstance(act, ActRequest) and act.services == tuple(names[:-1])
    assert f"at most {REQUEST_SERVICES_MAX} names" in refusal(
        do="act", command="stop", services=names
    )


@pytest.mark.parametrize("line", [b"", b"{", b"\xff", b"[" * 8_000, b"[]", b'"status"'])
def test_line_that_is_no_object_is_refused(line: bytes) -> None:
    """No JSON, no UTF-8, nested too deeply, or another value: a usage error, and nothing else."""
    with pytest.raises(UsageError, match="not a request: "):
        parse_request(line)


def test_evacuation_is_begun_and_ended_by_words_that_are_clear() -> None:
    """One that ends it opens the node again."""
    assert parse_request(b'{"do": "evacuate", "on": true}') == EvacuateRequest(True, False)
    on = parse_request(b'{"do": "evacuate", "on": true, "off_limits": true}')
    assert on == EvacuateRequest(True, True)
    assert parse_request(b'{"do": "evacuate", "on": false}') == EvacuateRequest(False, False)
    assert "on: expected true or false, found 1" in refusal(do="evacuate", on=1)


@pytest.mark.parametrize("by", [*SOURCES, "anybody"])
def test_source_of_a_command_is_one_of_the_known_ones(by: str) -> None:
    """Any other source is an operator."""
    request = parse_request(json.dumps({"do": "act", "command": "stop", "by": by}).encode())
    assert isinstance(request, ActRequest)
    assert request.by == (by if by in SOURCES else BY_OPERATOR)
