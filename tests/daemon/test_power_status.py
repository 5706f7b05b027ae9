"""A real daemon that has not heard its peer since it booted, and the generated check-up script of a
fence with a status.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from opensvc_openha.agent.config.wrappers import default_command, ensure_wrappers
from opensvc_openha.core.events import ScriptOutcome
from opensvc_openha.daemon.readiness import reports_power
from opensvc_openha.daemon.script_runner import _read_power
from opensvc_openha.formats.layout import agent_layout
from tests.cluster_dir import HERE, PEER, ClusterDir
from tests.waiting import until


def fence(cluster: ClusterDir, status: str) -> str:
    """The check-up script of an embedded agent's service, whose device answers by a script.

    Its power-off leaves a mark.
    """
    root = cluster.root / "agent"
    layout = agent_layout(
        "", {f"OSVC_{name.upper()}": str(root / name) for name in ("etc", "var", "log", "bin")}
    )
    for name in ("etc", "var", "log", "bin"):
        (root / name).mkdir(parents=True)
    Path(layout.service_file("web")).write_text(
        f"[DEFAULT]\nnodes = {HERE} {PEER}\n[hb#0]\ntype = OpenHA\n"
        f"[stonith#1]\ntype = callout\ncmd = touch {cluster.root}/shot\n{status}\n"
    )
    ensure_wrappers(layout, "web", default_command(layout))
    return layout.stonith_wrapper("web")


def begin(cluster: ClusterDir, check: str) -> None:
    """The node has booted, its service is unfrozen, its peer is silent."""
    cluster.ok(f"service -a web {cluster.script('web.sh', 'exit 0')} {HERE} {PEER} {check}")
    cluster.ok("ezha start")
    cluster.ok("service -A web unfreeze")
    until(
        lambda: cluster.quick("openha fence status").stdout,
        lambda text: "peer: silent" in text,
        "silence",
    )


def power_records(cluster: ClusterDir) -> list[str]:
    """What the history has of the peer's power."""
    return [
        entry["reason"]
        for entry in json.loads(cluster.ok("openha history -n 0 --json"))["entries"]
        if entry["new"] == "POWER"
    ]


def test_device_that_reports_off_twice_starts_the_service(cluster_dir: ClusterDir) -> None:
    """No node is fenced, no operator is asked; the history reports why."""
    device = cluster_dir.script("device", "exit 2")
    begin(cluster_dir, fence(cluster_dir, f"status_cmd = {device} status"))
    cluster_dir.wait_state("web", "STARTED")
    assert cluster_dir.all_calls("device") == ["status", "status"]
    assert not (cluster_dir.root / "shot").exists()
    assert [
        text.rpartition(": ")[2]
        for text in until(
            lambda: power_records(cluster_dir), lambda seen: len(seen) == 2, "history"
        )
    ] == ["off", "nothing runs there"]
    assert (
        "proved out: the fence of web reports twice that it is off"
        in cluster_dir.quick("openha fence status").stdout
    )


@pytest.mark.parametrize("code, word", [(0, "on"), (1, "nothing clear"), (7, "nothing clear")])
def test_device_that_reports_anything_else_starts_nothing(
    cluster_dir: ClusterDir, code: int, word: str
) -> None:
    """What it reported is shown beside what to type."""
    device = cluster_dir.script("device", f"exit {code}")
    begin(cluster_dir, fence(cluster_dir, f"status_cmd = {device} status"))
    text = f"the fence of web reports the peer's power: {word}"
    until(lambda: power_records(cluster_dir), lambda seen: seen == [text], "the answer")
    assert cluster_dir.state("web") == "STOPPED" and not (cluster_dir.root / "shot").exists()
    shown = cluster_dir.quick("openha fence status").stdout
    assert (
        f"  the fence of web reports twice that {PEER} is off (asked repeatedly; last: {word}, "
        in shown
    )
    assert shown.endswith(f"and type: openha fence confirm {PEER}\n")


def test_script_without_a_status_is_not_called(cluster_dir: ClusterDir) -> None:
    """A fence of one's own, and a generated one whose section has no status command: they may
    shoot, whatever the word.
    """
    own = cluster_dir.script("own", "echo off; exit 2")
    begin(cluster_dir, own)
    shown = cluster_dir.quick("openha fence status").stdout
    assert "is off (asked" not in shown and "openha fence confirm" in shown
    assert cluster_dir.all_calls("own") == []
    assert not reports_power(own) and not reports_power(fence(cluster_dir, "timeout = 5"))


@pytest.mark.parametrize(
    "line, expected",
    [
        ("status_cmd = /bin/x", True),
        ("STATUS_CMD: /bin/x", True),
        ("status_cmd@nodes = /bin/x", True),
        ("# status_cmd = /bin/x", False),
        ("status_cmd =", False),
        ("cmd2 = status_cmd = x", False),
    ],
)
def test_section_shows_whether_there_is_a_status(
    cluster_dir: ClusterDir, line: str, expected: bool
) -> None:
    """As the agent reads its keywords; a comment is none."""
    assert reports_power(fence(cluster_dir, line)) is expected


@pytest.mark.parametrize(
    "code, output, expected",
    [
        (2, "level 1: stonith#1: off\noff\n", ScriptOutcome.DOWN),
        (0, "on\n", ScriptOutcome.UP),
        (1, "unknown\n", ScriptOutcome.UNSURE),
        (2, "usage: ...\n", ScriptOutcome.UNSURE),
        (0, "off\n", ScriptOutcome.UNSURE),
        (2, "", ScriptOutcome.UNSURE),
        (2, "off, or so\n", ScriptOutcome.UNSURE),
        (-9, "off\n", ScriptOutcome.UNSURE),
    ],
)
def test_off_needs_the_word_and_the_exit_code(
    code: int, output: str, expected: ScriptOutcome
) -> None:
    """A usage error has the exit code of off."""
    assert _read_power(code, output) is expected
