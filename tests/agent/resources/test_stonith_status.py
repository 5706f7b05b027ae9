"""What the fencing device reports of the peer after a fence, and when it is asked: off only where
it clearly reports it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from opensvc_openha.agent.config.wrappers import ensure_wrappers
from opensvc_openha.agent.resources.fence_status import power_of_levels
from opensvc_openha.errors import UsageError
from opensvc_openha.fence_devices.power_readings import Power
from opensvc_openha.formats.layout import agent_layout
from tests.agent.embedded import Agent

ON, OFF, UNKNOWN = Power.ON, Power.OFF, Power.UNKNOWN


@pytest.fixture
def device(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A fencing device that gives these exit codes, one after the other and the last one for
    ever.
    """
    monkeypatch.setenv("OPENHA_PEER_STANDING", "silent")

    def make(name: str, *codes: int) -> str:
        script = agent.root / name
        script.write_text(
            f"echo {name} >> {agent.root}/asked\n"
            f"number=$(grep -c {name} {agent.root}/asked)\n"
            f"set -- {' '.join(map(str, codes))}\n"
            "while [ $number -gt 1 ] && [ $# -gt 1 ]; do shift; number=$((number - 1)); done\n"
            'echo "the chassis is $1"; exit $1\n'
        )
        return f"sh {script}"

    return make


def asked(agent: Agent) -> list[str]:
    """Names of the devices that were asked, in order."""
    path = agent.root / "asked"
    return path.read_text().split() if path.exists() else []


def write(agent: Agent, *sections: str) -> None:
    text = "".join(
        f"[stonith#{number}]\ntype = callout\n{lines}\n" for number, lines in enumerate(sections, 1)
    )
    agent.write("a", "[hb#0]\ntype = OpenHA\n" + text)


@pytest.mark.parametrize(
    "codes, times",
    [((2,), 2), ((0, 2), 3), ((2, 0, 2), 4), ((2, 1, 2), 4), ((1, 2), 3), ((7, 2), 3)],
)
def test_a_fence_is_believed_once_the_device_reports_off_twice_in_a_row(
    agent: Agent,
    device: Callable[..., Any],
    codes: tuple[int, int, int] | tuple[int, int] | tuple[int],
    times: int,
) -> None:
    """It still reports on, or cannot be asked for a moment: it is asked again."""
    write(agent, f"cmd = exit 0\nstatus_cmd = {device('bmc', *codes)}")
    outcome = agent.svcmgr(called_as="a.stonith")
    assert (outcome.exit_code, asked(agent)) == (0, ["bmc"] * times), outcome.err
    assert "status: off" in outcome.err


@pytest.mark.parametrize(
    "code, word", [(0, "on"), (1, "unknown"), (3, "unknown"), (255, "unknown")]
)
def test_a_device_that_never_reports_off_has_failed_and_the_next_level_is_tried(
    agent: Agent, device: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, code: int, word: str
) -> None:
    """The order was accepted, but the power stays on: 0 of the command alone is no proof."""
    monkeypatch.setenv("OPENHA_LIMIT_S", "6")
    write(agent, f"cmd = exit 0\nstatus_cmd = {device('bmc', code)}", "level = 2\ncmd = exit 9")
    outcome = agent.svcmgr(called_as="a.stonith")
    assert outcome.exit_code == 9 and len(asked(agent)) >= 2, outcome.err
    assert (
        "exit 0 exited with 0, but its status_cmd did not report off twice in time; last report:"
        f" {word}" in outcome.err
    )


def test_a_status_that_hangs_ends_with_the_share_of_its_section(
    agent: Agent, device: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its fence is not believed; level 2 has its time."""
    monkeypatch.setenv("OPENHA_LIMIT_S", "3")
    write(agent, "cmd = exit 0\nstatus_cmd = sleep 10000", "level = 2\ncmd = exit 0")
    outcome = agent.svcmgr(called_as="a.stonith")
    assert outcome.exit_code == 0 and "level 2 succeeded" in outcome.err, outcome.err


def test_a_device_is_not_asked_after_a_command_that_failed(
    agent: Agent, device: Callable[..., Any]
) -> None:
    """A peer that is off for another reason was not fenced by it."""
    write(agent, f"cmd = exit 4\nstatus_cmd = {device('bmc', 2)}")
    assert agent.svcmgr(called_as="a.stonith").exit_code == 4
    assert asked(agent) == []


@pytest.mark.parametrize(
    "sections, word, exit_code",
    [
        ([(1, 0)], "on", 0),
        ([(1, 2)], "off", 2),
        ([(1, 1)], "unknown", 1),
        ([(1, 9)], "unknown", 1),
        ([(1, None)], "unknown", 1),
        ([], "unknown", 1),
        ([(1, 2), (1, 2)], "off", 2),
        ([(1, 2), (1, 0)], "on", 0),
        ([(1, 2), (1, 1)], "unknown", 1),
        ([(1, 2), (1, None)], "unknown", 1),
        ([(1, 1), (2, 2)], "off", 2),
        ([(1, 2), (2, 0)], "on", 0),
    ],
)
@pytest.mark.parametrize(
    "call", [("a.stonith", "status"), ("svcmgr", "-s", "a", "stonith", "status")]
)
def test_status_prints_what_all_devices_report_and_fences_no_node(
    agent: Agent,
    device: Callable[..., Any],
    call: tuple[str, str, str, str, str] | tuple[str, str],
    sections: list[tuple[int, None] | tuple[int, int]]
    | list[tuple[int, None]]
    | list[tuple[int, int]],
    word: str,
    exit_code: int,
) -> None:
    """On if one reports it; off if all of a level do; else unknown, as where nothing can be
    asked.
    """
    mark = agent.root / "fenced"
    written = []
    for number, (level, code) in enumerate(sections, 1):
        status = "" if code is None else f"\nstatus_cmd = {device(f'device{number}', code)}"
        written.append(f"level = {level}\ncmd = touch {mark}{status}")
    write(agent, *written)
    name, *words = call
    outcome = agent.svcmgr(*words, called_as=name)
    assert (outcome.out, outcome.exit_code) == (f"{word}\n", exit_code), outcome.err
    assert not mark.exists()


def test_status_of_a_service_that_is_gone_does_not_end_as_if_the_peer_were_off(
    agent: Agent,
) -> None:
    """The wrapper is still there, its service file is not: any exit code but that of off."""
    outcome = agent.svcmgr("status", called_as="a.stonith")
    assert outcome.exit_code not in (0, UsageError.exit_code) and "no service a" in outcome.err


def test_wrapper_hands_the_word_status_on(agent: Agent) -> None:
    """As a program: status only asks, start fences."""
    ensure_wrappers(agent_layout("", {"OSVC_ETC": str(agent.etc)}), "a", "echo svcmgr")
    ends = [
        subprocess.run(
            [agent.etc / "a.stonith", word], capture_output=True, text=True, check=True
        ).stdout
        for word in ("status", "start")
    ]
    assert ends == ["svcmgr -s a stonith status\n", "svcmgr -s a --cluster stonith\n"]


def test_no_level_and_no_answer_is_unknown() -> None:
    """The empty plan is no proof."""
    assert power_of_levels([]) is UNKNOWN
    assert power_of_levels([[OFF, OFF], [UNKNOWN]]) is OFF
    assert power_of_levels([[OFF], [UNKNOWN, ON]]) is ON
