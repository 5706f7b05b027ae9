"""What the agent prints about leftovers, wrong words and what scripts print."""

from __future__ import annotations

from tests.agent.embedded import Agent

APP = "[app#1]\nstart = true\nscript = /bin/true\n"


def test_what_is_left_of_a_removed_service_file_is_named(agent: Agent) -> None:
    """`rm web.env`: svcmon and validate config name command and wrappers.

    What others wrote there is not ours to name.
    """
    agent.write("web", APP)
    agent.write("good", APP)
    agent.svcmon()
    (agent.etc / "web.env").unlink()
    (agent.etc / "other.cluster").write_text("#!/bin/sh\n")
    (agent.etc / "foreign").symlink_to("/bin/true")
    files = " ".join(str(agent.etc / name) for name in ("web", "web.cluster", "web.stonith"))
    reported = (
        f"warning: {agent.etc}/web.env is gone, but web, web.cluster, web.stonith beside it are not"
    )
    shown = agent.svcmon()
    assert reported in shown.err and f"then rm {files}" in shown.err and shown.exit_code == 0
    assert "other" not in shown.err and "foreign" not in shown.err
    outcome = agent.svcmgr("validate", "config")
    assert reported in outcome.out and outcome.exit_code == 1
    assert "web.cluster" not in agent.svcmon("-s", "good").err
    outcome = agent.svcmgr("start", called_as="web.cluster")
    assert outcome.exit_code == 2 and f"does not exist, though {agent.etc}/web, " in outcome.err


def test_unknown_action_is_answered_with_all_of_them(agent: Agent) -> None:
    """A word that is close to none: the list has the actions on groups and on broken files, too."""
    agent.write("a", APP)
    outcome = agent.svcmgr("-s", "a", "bogus")
    assert outcome.exit_code == 2
    for word in (
        "start",
        "startip",
        "stopcontainer",
        "print status",
        "validate config",
        "syncnodes",
        "docker",
    ):
        assert f" {word}," in outcome.err.replace("\n", ","), outcome.err


def test_control_characters_of_a_script_do_not_reach_terminal_or_log(agent: Agent) -> None:
    """An application prints colours, a bell and a carriage return.

    Tabs of a table stay what they are.
    """
    script = agent.script("noisy", "printf 'a\\tb \\033[31mred\\007\\rover\\n'")
    agent.write("a", f"[app#1]\nscript = {script}\nstart = 1\n")
    shown = agent.svcmgr("-s", "a", "start").err + (agent.root / "log" / "a.log").read_text()
    assert shown.count("a\tb \\e[31mred\\x07") == 2
    assert "\x1b" not in shown and "\x07" not in shown


def test_control_characters_of_a_service_file_are_escaped_in_the_status(agent: Agent) -> None:
    """They may stand in any value, and a value is part of a label."""
    agent.write(
        "a",
        "[DEFAULT]\nservice_type = \x1b[31mDEV\n[fs#1]\ntype = tmpfs\ndev = x\x1b]0;t\x07\nmnt ="
        " /nowhere/m\n",
    )
    for shown in (agent.svcmgr("-s", "a", "print", "status").out, agent.svcmon().out):
        assert "\x1b" not in shown and "\x07" not in shown and "\\e" in shown
