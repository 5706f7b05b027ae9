"""What the nodes tell each other: it comes back as it was, and anything else is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from opensvc_openha.errors import PeerError
from opensvc_openha.setup.messages import (
    Facts,
    Go,
    Keys,
    Problem,
    Proposal,
    Report,
    Trial,
    Tried,
    from_message,
    to_message,
)
from opensvc_openha.setup.networks import Address

FACTS = Facts(
    conversation=1,
    version="1.0",
    node="deb2",
    way="10.0.0.1",
    wall_s=1.5,
    addresses=(Address("eth0", "10.0.0.2", 24, "eth0"),),
    key_ids=("1a2b3c4d",),
    is_key_used=False,
    is_configured=False,
    is_running=False,
    is_dry_run=False,
    agent="the embedded agent",
    conf_dir="/etc/openha",
)


@pytest.mark.parametrize(
    "value",
    [
        FACTS,
        Trial("a\nb\n", "a unicast eth0 10.0.0.2 5010 10\n", "aa", "bb"),
        Tried(("unicast eth0:10.0.0.2",), ()),
        Proposal("a\nb\n", "...", "", ("/etc/secret",), ("a remark",)),
        Keys("current ...", {"/etc/secret": "x\n"}),
        Go(),
        Report(("up",), ("down",), "problem"),
        Problem("no"),
    ],
)
def test_a_message_comes_back_as_it_was(value: Any) -> None:
    assert from_message(json.loads(json.dumps(to_message(value))), type(value)) == value


def test_a_problem_is_understood_in_place_of_any_message() -> None:
    assert from_message(to_message(Problem("no disk")), Facts) == Problem("no disk")


@pytest.mark.parametrize(
    "changed",
    [
        {"node": 5},
        {"node": "x" * 200_000},
        {"is_running": "yes"},
        {"wall_s": "now"},
        {"key_ids": "1a2b3c4d"},
        {"key_ids": [1]},
        {"key_ids": ["x"] * 5_000},
        {"addresses": [{"interface": "eth0"}]},
        {"addresses": [["eth0"]]},
        {
            "addresses": [
                {"interface": "eth0", "address": "10.0.0.300", "prefix": 24, "trunk": "eth0"}
            ]
        },
    ],
)
def test_a_message_of_wrong_types_is_refused(changed: dict[str, Any]) -> None:
    message = {**json.loads(json.dumps(to_message(FACTS))), **changed}
    with pytest.raises(PeerError, match="cannot be used"):
        from_message(message, Facts)


@pytest.mark.parametrize("message", [None, {}, {"kind": "Go"}, {"kind": 7}, {"kind": "Facts"}])
def test_another_message_and_an_end_are_errors(message: dict[str, Any] | None) -> None:
    with pytest.raises(PeerError):
        from_message(message, Facts)


def test_no_repr_shows_a_secret() -> None:
    assert "hunter2" not in repr(Keys("hunter2", {"/etc/secret": "hunter2"}))
