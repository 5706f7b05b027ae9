"""The program that asks the devices of all services for the daemon's standing check."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from opensvc_openha.agent.actions.fence_looks import looks_of, main
from opensvc_openha.formats.layout import AgentLayout
from tests.agent.embedded import Agent
from tests.fence_devices.agents import needs_agents

HB = "[hb#0]\ntype = OpenHA\n"
CALLOUT = "[stonith#{number}]\ntype = callout\ncmd = touch {root}/fenced\n{more}"


def callout(agent: Agent, number: int, more: str = "") -> str:
    """A section, whose command must not be run."""
    return CALLOUT.format(number=number, root=agent.root, more=more)


def status(agent: Agent, name: str, code: int) -> str:
    """A status command that notes that it was asked."""
    return f"status_cmd = echo {name} >> {agent.root}/asked; exit {code}\n"


def asked(agent: Agent) -> list[str]:
    """The status commands that ran."""
    path = agent.root / "asked"
    return path.read_text().split() if path.exists() else []


def test_every_section_is_asked_and_nothing_is_fenced(agent: Agent) -> None:
    """On, off, no clear answer, and one that cannot be asked; disabled ones and other services are
    left out.
    """
    agent.write(
        "a",
        HB
        + callout(agent, 1, status(agent, "one", 0))
        + callout(agent, 2, "level = 2\n" + status(agent, "two", 2))
        + callout(agent, 3, status(agent, "three", 9))
        + callout(agent, 4)
        + callout(agent, 5, "disable = true\n" + status(agent, "five", 0)),
    )
    agent.write("b", HB + callout(agent, 1, status(agent, "other", 0)))
    agent.write("c", callout(agent, 1, status(agent, "unclustered", 0)))
    found = looks_of(AgentLayout(str(agent.etc)), ["a", "c"], ())
    assert list(found) == ["a"]
    assert [(look["rid"], look["level"], look["power"], look["text"]) for look in found["a"]] == [
        ("stonith#1", 1, "on", "on"),
        ("stonith#2", 2, "off", "off"),
        ("stonith#3", 1, "unknown", "its status_cmd gives no clear answer"),
        ("stonith#4", 1, None, "it has no status_cmd"),
    ]
    assert len({look["mark"] for look in found["a"]}) == 4
    assert asked(agent) == ["one", "two", "three"]
    assert not (agent.root / "fenced").exists()


def test_section_whose_login_was_refused_is_not_asked_until_it_is_edited(agent: Agent) -> None:
    """Its mark is that of its options, without those that are none of the device's."""
    layout = AgentLayout(str(agent.etc))
    agent.write("a", HB + callout(agent, 1, status(agent, "one", 0)))
    mark = looks_of(layout, ["a"], ())["a"][0]["mark"]
    agent.write("a", HB + callout(agent, 1, "timeout = 7\n" + status(agent, "one", 0)))
    (look,) = looks_of(layout, ["a"], (str(mark),))["a"]
    assert (look["power"], look["is_refused"], look["mark"]) == ("", True, mark)
    assert asked(agent) == ["one"]
    agent.write("a", HB + callout(agent, 1, status(agent, "edited", 0)))
    (look,) = looks_of(layout, ["a"], (str(mark),))["a"]
    assert look["power"] == "on" and asked(agent) == ["one", "edited"]


@needs_agents
def test_device_of_several_services_is_asked_once(agent: Agent, tmp_path: Path) -> None:
    """Boards have few sessions. One that cannot be used says why."""
    (tmp_path / "power").write_text("on")
    section = f"[stonith#1]\ntype = fence_dummy\nstatus_file = {tmp_path}/power\n"
    agent.write("a", HB + section)
    agent.write("b", HB + section.replace("#1", "#2"))
    agent.write("c", HB + "[stonith#1]\ntype = fence_nothing\nip = 10.0.0.1\n")
    found = looks_of(AgentLayout(str(agent.etc)), ["a", "b", "c"], ())
    ((first,), (second,), (broken,)) = found["a"], found["b"], found["c"]
    assert first["kind"] == "power" and first["power"] == second["power"] == "on", found
    assert first["mark"] == second["mark"] and first["took_s"] == second["took_s"]
    assert (broken["power"], broken["device"]) == ("", "10.0.0.1") and "fence_nothing" in str(
        broken["text"]
    )


def test_request_that_cannot_be_used_is_an_error(
    agent: Agent, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one that can be used is answered with one JSON object."""
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert main({"services": "a", "skip": []}) == 2
    assert "expected the lists" in capsys.readouterr().err
    assert main({"services": [], "skip": []}) == 0
    assert json.loads(capsys.readouterr().out) == {}
