"""What `openha check` finds in the facts of two nodes, and what it makes of a strange answer."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from opensvc_openha.cli import add, check, config, peer_server, remove
from opensvc_openha.core.outlook import Finding, Severity
from opensvc_openha.errors import OpenhaError
from tests.local_user import as_nobody, needs_root

FACTS: dict[str, Any] = {
    "facts": 1,
    "version": "1.0",
    "node": "n1",
    "files": {"nodes": "a", "monitor": "b", "openha.conf": "-"},
    "env": {"web": "c"},
    "services": [
        {
            "name": "web",
            "script": "/web.cluster",
            "primary": "n1",
            "secondary": "n2",
            "check": "/bin/true",
            "problem": "",
        }
    ],
    "keys": ["1a2b3c4d"],
    "daemon": {
        "peer": "live",
        "links": [{"link": "net eth0:1", "is_up": True}],
        "warnings": [],
        "paths": [{"path": "ipmi", "state": "armed", "text": "on"}],
        "states": {"web": "STARTED"},
    },
    "configuration": {"services": ["web"]},
}


def found_in(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Return the lines for these facts."""
    found = [*check._of_node("n1", ours), *check._of_node("n2", theirs)]
    return [check.line_of(each) for each in (*found, *check._between("n1", ours, "n2", theirs))]


def test_two_nodes_in_order_have_no_finding() -> None:
    """Nothing is reported of nothing, nor of a path that can prove nothing on this machine."""
    assert found_in(FACTS, FACTS) == []
    virtual = copy.deepcopy(FACTS)
    virtual["daemon"]["paths"].append({"path": "lease", "state": "unusable", "text": "virtual"})
    assert found_in(virtual, virtual) == []


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            lambda facts: facts.update(daemon={"problem": "nmond is not running"}),
            "error: n2: nmond is not running",
        ),
        (
            lambda facts: facts["daemon"].update(peer="silent"),
            "error: n2: does not hear the other node: it is silent",
        ),
        (
            lambda facts: facts["daemon"]["links"][0].update(is_up=False),
            "error: n2: link net eth0:1 is down",
        ),
        (lambda facts: facts["daemon"]["warnings"].append("no\nroom"), "warning: n2: no\\nroom"),
        (
            lambda facts: facts["daemon"].update(
                targets=[{"address": "192.0.2.1", "text": "does not answer"}]
            ),
            "warning: n2: target 192.0.2.1: does not answer: `hb -s -v`",
        ),
        (
            lambda facts: facts.update(targets=["target 192.0.2.1 is named twice"]),
            "warning: n2: target 192.0.2.1 is named twice: name a machine beyond it, such as the"
            " gateway of the clients",
        ),
        (
            lambda facts: facts["daemon"]["paths"][0].update(state="wrong", text="off"),
            "error: n2: fence path ipmi is wrong: off",
        ),
        (
            lambda facts: facts["daemon"]["paths"][0].update(state="untested", text=""),
            "warning: n2: fence path ipmi is untested",
        ),
        (
            lambda facts: facts["services"][0].update(problem="/w.cluster does not exist"),
            "error: n2: service web: /w.cluster does not exist",
        ),
        (
            lambda facts: facts["services"][0].update(check="/fence"),
            "error: service web: check is /bin/true on n1, /fence on n2",
        ),
        (
            lambda facts: facts["services"].clear(),
            "error: service web is configured on n1 and not on n2",
        ),
        (
            lambda facts: facts["services"].append({**facts["services"][0], "name": "db"}),
            "error: service db is configured on n2 and not on n1",
        ),
        (
            lambda facts: facts["files"].update(monitor="x"),
            "error: monitor is not the same on both nodes: `openha config diff`",
        ),
        (
            lambda facts: facts["files"].update({"openha.conf": "x"}),
            "warning: openha.conf is not the same on both nodes: `openha config diff`",
        ),
        (
            lambda facts: facts["files"].update(monitor={"problem": "cannot read monitor"}),
            "error: n2: cannot read monitor",
        ),
        (
            lambda facts: facts["env"].update(web="x"),
            "error: service web: web.env is not the same on both nodes: `openha add` brings it",
        ),
        (lambda facts: facts["env"].clear(), "warning: web.env is on n1 and not on n2"),
        (
            lambda facts: facts.update(keys=["1a2b3c4d", "99aabbcc"]),
            "warning: the nodes do not have the same keys: `openha key status`",
        ),
        (lambda facts: facts.update(version="0.9"), "warning: n1 has version 1.0, n2 0.9"),
        (
            lambda facts: facts.update(configuration={"problem": "monitor:3: expected"}),
            "error: n2: monitor:3: expected",
        ),
    ],
)
def test_each_thing_that_is_wrong_is_one_line(
    change: Callable[[dict[str, Any]], object], line: str
) -> None:
    """It names the node, or the cluster, and nothing else is reported."""
    theirs = copy.deepcopy(FACTS)
    change(theirs)
    assert found_in(FACTS, theirs) == [line]


def test_case_of_a_node_name_is_no_difference() -> None:
    """Node names are compared as everywhere."""
    theirs = copy.deepcopy(FACTS)
    theirs["services"][0]["primary"] = "N1"
    assert found_in(FACTS, theirs) == []


@pytest.mark.parametrize("part", [None, 7, "x", [], [1], {}, {"a": 1}, [[]]])
@pytest.mark.parametrize("name", ["files", "env", "services", "keys", "daemon", "configuration"])
def test_facts_of_another_version_break_nothing(name: str, part: object) -> None:
    """A part that is missing or of another shape is compared as far as it goes."""
    found_in(FACTS, {**FACTS, name: part})
    found_in({**FACTS, name: part}, FACTS)


def test_exit_code_is_that_of_the_worst() -> None:
    """0, 1 and 2: nothing, warnings or what is not known, errors."""
    fine, unknown, warning, error = (
        Finding(severity, "", "", "x", "a")
        for severity in (Severity.OK, Severity.UNKNOWN, Severity.WARNING, Severity.ERROR)
    )
    lists: tuple[list[Finding], ...] = ([], [fine], [unknown], [fine, warning], [warning, error])
    assert [check.exit_code(found) for found in lists] == [0, 0, 1, 1, 2]


@needs_root
@pytest.mark.parametrize(
    "command",
    [
        lambda: check.main([]),
        lambda: check.main(["--json"]),
        lambda: add.main(["/etc/hostname"]),
        lambda: add.main(["--from-peer"]),
        lambda: remove.main(["web"]),
        lambda: remove.main(["--from-peer"]),
        lambda: config.main(["diff"]),
        lambda: config.main(["push", "--yes"]),
        lambda: config.main(["edit", "nodes"]),
        lambda: config.main(["take"]),
        lambda: peer_server.main([]),
    ],
)
def test_other_users_than_root_are_refused(command: Callable[[], int]) -> None:
    """With one line that says so, before anything is read or asked."""

    def refusal() -> str:
        try:
            return f"ended with {command()}"
        except OpenhaError as error:
            return str(error)

    assert "is for root" in as_nobody(refusal)[1]


@pytest.mark.parametrize(
    ("theirs", "lines"),
    [
        (1003.0, ["warning: the clock of n2 is 2.9 s ahead of that of n1"]),
        (997.0, ["warning: the clock of n1 is 3.1 s ahead of that of n2"]),
        (1001.1, []),
        (None, []),
        ("x", []),
    ],
)
def test_clocks_differ_by_more_than_the_way_of_the_answer_explains(
    theirs: object, lines: list[str]
) -> None:
    """Asked at 1000.0, answered at 1000.2; a peer of an earlier version sends no time."""
    found = check._clocks("n1", "n2", theirs, 1000.0, 1000.2)
    texts = [check.line_of(each).partition("; that")[0].partition(": see")[0] for each in found]
    assert texts == lines


def test_findings_are_selected_by_service_and_by_node() -> None:
    """What concerns no service in particular concerns each; the other node's alone with --peer."""
    own, other, both = (
        Finding(Severity.WARNING, node, service, "x", "a")
        for node, service in (("n1", "web"), ("n2", "db"), ("", ""))
    )
    looked = check.Looked("n1", "n2", (own,), (other,), (both,))
    assert check.select(looked, "", is_peer=False) == [own, other, both]
    assert check.select(looked, "", is_peer=True) == [other, both]
    assert check.select(looked, "web", is_peer=False) == [own, both]
    assert check.select(looked, "web", is_peer=True) == [both]
