"""Subsets, triggers, tags, standby resources and rollback, on services made of scripts."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from opensvc_openha.agent.service.loaded_service import load_service
from opensvc_openha.agent.service.runner import bring_back
from opensvc_openha.agent.values.action_log import open_log
from opensvc_openha.agent.values.cluster_client import ClusterView
from opensvc_openha.core.status import NodeStatus
from opensvc_openha.errors import NotRunningError
from opensvc_openha.formats.layout import agent_layout
from tests.agent.embedded import PACKAGE_ROOT, Agent
from tests.waiting import LIMIT_S, until

NODE = os.uname().nodename


def no_daemon() -> NodeStatus:
    raise NotRunningError("none")


def app(agent: Agent, number: int, name: str, body: str = "", more: str = "") -> str:
    script = agent.script(name, f'if [ "$1" = start ]; then {body or ":"}; fi')
    return (
        f"[app#{number}]\nscript = {script}\nstart = {number}\nstop = {100 - number}\ncheck ="
        f" {number}\n{more}\n"
    )


def changes(agent: Agent) -> list[str]:
    return [call for call in agent.calls if not call.endswith(" status")]


def test_subsets_start_by_name_and_stop_the_other_way(agent: Agent) -> None:
    """Resources without a subset first, then subsets by name, whatever their numbers.

    Stop is the reverse.
    """
    text = (
        app(agent, 1, "one", more="subset = 02web")
        + app(agent, 2, "two", more="subset = 01db")
        + app(agent, 3, "three")
    )
    agent.write("a", text)
    assert agent.svcmgr("-s", "a", "start").exit_code == 0
    assert changes(agent) == ["three start", "two start", "one start"]
    assert agent.svcmgr("-s", "a", "stop").exit_code == 0
    assert changes(agent)[3:] == ["one stop", "two stop", "three stop"]


def test_parallel_subset_starts_and_stops_side_by_side(agent: Agent) -> None:
    """Each of the two waits until the other has begun: they only come up if they are started at the
    same time.
    """
    meet = "touch {me}; for i in $(seq 100); do [ -e {you} ] && exit 0; sleep 0.1; done; exit 1"
    flags = (
        {"me": agent.root / "m1", "you": agent.root / "m2"},
        {"me": agent.root / "m2", "you": agent.root / "m1"},
    )
    services = [
        f"[app#{n}]\nstart = {meet.format(**names)}\nsubset = web\n"
        for n, names in enumerate(flags, 1)
    ]
    agent.write("a", "".join(services) + "[subset#app:web]\nparallel = true\n")
    assert agent.svcmgr("-s", "a", "start").exit_code == 0


def test_serial_subset_is_the_default(agent: Agent) -> None:
    """parallel = false: one after the other, in their order."""
    body = f"echo begin-$0 >> {agent.root}/calls; sleep 0.1; echo end-$0 >> {agent.root}/calls"
    text = app(agent, 1, "one", body, "subset = w") + app(agent, 2, "two", body, "subset = w")
    agent.write("a", text + "[subset#app:w]\nparallel = false\n")
    assert agent.svcmgr("-s", "a", "start").exit_code == 0
    marks = [call.partition("-")[0] for call in agent.calls if "-" in call]
    assert marks == ["begin", "end", "begin", "end"]


def test_failure_in_a_parallel_subset_rolls_back_all_of_it(agent: Agent) -> None:
    """One of two fails: both are stopped, and so is what was started before.

    The message names the one that failed.
    """
    text = (
        app(agent, 1, "one")
        + app(agent, 2, "two", more="subset = w")
        + app(agent, 3, "three", "exit 5", "subset = w")
    )
    agent.write("a", text + "[subset#app:w]\nparallel = true\n")
    outcome = agent.svcmgr("-s", "a", "start")
    assert (outcome.exit_code, "app#3" in outcome.err, "ended with exit code 5" in outcome.err) == (
        6,
        True,
        True,
    )
    assert sorted(changes(agent)[-3:]) == ["one stop", "three stop", "two stop"]
    assert changes(agent)[-1] == "one stop"


def test_interrupted_parallel_start_ends_its_children_and_rolls_back(agent: Agent) -> None:
    """SIGTERM while two apps start side by side: their commands are killed, both are stopped."""
    slow = "touch $0.began; sleep 10000"
    text = app(agent, 1, "one", slow, "subset = w") + app(agent, 2, "two", slow, "subset = w")
    agent.write("a", text + "[subset#app:w]\nparallel = true\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "opensvc_openha.cli.svcmgr", "-s", "a", "start"],
        env=dict(os.environ, PYTHONPATH=PACKAGE_ROOT),
        stderr=subprocess.PIPE,
        text=True,
    )
    until((agent.root / "one.began").exists)
    until((agent.root / "two.began").exists)
    process.terminate()
    _, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 143, err
    assert "interrupted by SIGTERM: rolling back" in err
    assert sorted(changes(agent)) == ["one start", "one stop", "two start", "two stop"]


def test_optional_resource_does_not_swallow_the_interruption(agent: Agent) -> None:
    """SIGTERM while an optional app starts ends the whole start, not only that app."""
    agent.write(
        "a",
        app(agent, 1, "one", "touch $0.began; sleep 60", "optional = true") + app(agent, 2, "two"),
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "opensvc_openha.cli.svcmgr", "-s", "a", "start"],
        env=dict(os.environ, PYTHONPATH=PACKAGE_ROOT),
        stderr=subprocess.DEVNULL,
    )
    until((agent.root / "one.began").exists)
    process.terminate()
    assert process.wait(LIMIT_S) == 143
    assert changes(agent) == ["one start", "one stop"]


def trigger(agent: Agent, name: str, code: int = 0) -> str:
    return (
        f"{name} = echo {name} $OPENSVC_SVCNAME $OPENSVC_RID $OPENSVC_NODENAME >>"
        f" {agent.root}/calls; exit {code}\n"
    )


def test_triggers_run_around_start_and_stop_with_their_environment(agent: Agent) -> None:
    """pre, blocking_pre, the action, post, blocking_post; each knows service, resource and node."""
    moments = [f"{when}_{action}" for action in ("start", "stop") for when in ("pre", "post")]
    names = [blocking + moment for moment in moments for blocking in ("", "blocking_")]
    agent.write("a", app(agent, 1, "one", more="".join(trigger(agent, name) for name in names)))
    assert agent.svcmgr("-s", "a", "start").exit_code == 0
    assert agent.svcmgr("-s", "a", "stop").exit_code == 0
    seen = changes(agent)
    assert [call.split()[0] for call in seen] == [
        *names[:2],
        "one",
        *names[2:4],
        *names[4:6],
        "one",
        *names[6:],
    ]
    assert seen[0] == f"pre_start a app#1 {NODE}"


def test_failing_trigger_only_ends_the_action_where_it_blocks(agent: Agent) -> None:
    """pre_start that fails is a warning.

    Blocking_pre_start that fails ends the start before the resource.
    """
    agent.write("a", app(agent, 1, "one", more=trigger(agent, "pre_start", 3)))
    outcome = agent.svcmgr("-s", "a", "start")
    assert (outcome.exit_code, "only blocking_pre_start would end the action" in outcome.err) == (
        0,
        True,
    )
    agent.svcmgr("-s", "a", "stop")
    agent.write("a", app(agent, 1, "one", more=trigger(agent, "blocking_pre_start", 3)))
    outcome = agent.svcmgr("-s", "a", "start")
    assert (outcome.exit_code, "app#1: blocking_pre_start trigger" in outcome.err) == (6, True)
    assert changes(agent).count("one start") == 1


def test_tags_and_subsets_choose_resources(agent: Agent) -> None:
    """--tags takes alternatives and a+b, --subsets a name with or without its group.

    An unknown word is refused.
    """
    text = app(agent, 1, "one", more="tags = red big") + app(agent, 2, "two", more="tags = red")
    agent.write("a", text + app(agent, 3, "three", more="subset = w"))
    for option, started in (
        ("--tags=red+big", "one"),
        ("--tags=red", "two"),
        ("--subsets=w", "three"),
    ):
        assert agent.svcmgr("-s", "a", "start", option).exit_code == 0
        assert changes(agent)[-1] == f"{started} start"
    assert agent.svcmgr("-s", "a", "stop", "--subsets=app:w").exit_code == 0
    assert changes(agent)[3:] == ["three stop"]
    outcome = agent.svcmgr("-s", "a", "start", "--tags=green")
    assert (outcome.exit_code, "no tag green, expected one of big, red" in outcome.err) == (2, True)


def test_resource_that_is_always_on_is_standby_and_survives_a_stop(agent: Agent) -> None:
    """always_on here: shown as stdby, left up by stop and by a rollback, stopped by stop
    --force.
    """
    agent.write(
        "a",
        f"[DEFAULT]\nnodes = {NODE}\n"
        + app(agent, 1, "one", more="always_on = nodes")
        + app(agent, 2, "two"),
    )
    assert "stdby down" in agent.svcmgr("-s", "a", "print", "status").out
    assert agent.svcmgr("-s", "a", "start").exit_code == 0
    assert agent.svcmgr("-s", "a", "status").out == "up\n"
    assert agent.svcmgr("-s", "a", "stop").exit_code == 0
    assert changes(agent) == ["one start", "two start", "two stop"]
    assert agent.svcmgr("-s", "a", "status").out == "stdby up\n"
    assert agent.svcmgr("-s", "a", "stop", "--force").exit_code == 0
    assert changes(agent)[-1] == "one stop"


def test_boot_on_another_node_starts_the_standby_resources_only(agent: Agent) -> None:
    """boot where autostart_node names another node: only what is always on here comes up, under a
    cluster too.
    """
    text = (
        "[DEFAULT]\nautostart_node = elsewhere\n"
        + app(agent, 1, "one", more=f"always_on = {NODE}")
        + app(agent, 2, "two")
    )
    agent.write("a", text + "[hb#0]\ntype = OpenHA\n")
    assert agent.svcmgr("-s", "a", "boot").exit_code == 0
    assert changes(agent) == ["one start"]


def test_boot_without_a_name_is_for_all_services(agent: Agent) -> None:
    """`svcmgr boot`, as the machine calls it when it comes up: each service by its own rule, a
    broken one in nobody's way.
    """
    agent.write("a", f"[DEFAULT]\nautostart_node = {NODE}\n" + app(agent, 1, "one"))
    agent.write("b", "[DEFAULT]\nautostart_node = elsewhere\n" + app(agent, 1, "two"))
    agent.write("c", "[app#1\n")
    agent.write("d", f"[DEFAULT]\nautostart_node = {NODE} elsewhere\n" + app(agent, 1, "four"))
    assert agent.svcmgr("boot").exit_code == 3
    assert changes(agent) == ["one start", "four start"]


@pytest.mark.parametrize("fails, is_up", [(1, True), (5, False)])
def test_resource_that_went_down_is_brought_back_as_often_as_restart_allows(
    agent: Agent, monkeypatch: pytest.MonkeyPatch, fails: int, is_up: bool
) -> None:
    """restart = 2: a start that fails once is tried again.

    One that always fails is given up after two.
    """
    monkeypatch.setattr("opensvc_openha.agent.service.runner.RESTART_PAUSE_S", 0.01)
    tries = agent.root / "tries"
    flaky = f"echo x >> {tries}; [ $(wc -l < {tries}) -gt {fails} ] || exit 1"
    agent.write("a", app(agent, 1, "one", flaky, "restart = 2"))
    layout = agent_layout("", os.environ)
    with open_log(layout.log_dir, "a") as log:
        service = load_service(layout, "a", log, ClusterView(no_daemon, is_installed=False))
        assert bring_back(service, service.resources[0]) is is_up
    assert tries.read_text() == "x\n" * 2


def test_failed_start_at_boot_falls_back_to_the_standby_resources(agent: Agent) -> None:
    """The start at boot fails: it is rolled back, what is always on is up, and the exit code
    reports failure.
    """
    text = app(agent, 1, "one", more=f"always_on = {NODE}") + app(agent, 2, "two", "exit 3")
    agent.write("a", f"[DEFAULT]\nautostart_node = {NODE}\n" + text)
    assert agent.svcmgr("-s", "a", "boot").exit_code == 6
    assert changes(agent) == ["one start", "two start", "two stop"]
    assert agent.svcmgr("-s", "a", "status").out == "stdby up\n"


def test_app_that_cannot_be_stopped_does_not_keep_the_rest_up(agent: Agent) -> None:
    """The stop script of one app fails: the others are stopped, the action fails and names it."""
    stubborn = agent.root / "stubborn"
    stubborn.write_text('#!/bin/sh\n[ "$1" != stop ]\n')
    stubborn.chmod(0o755)
    agent.write(
        "a",
        app(agent, 1, "one") + f"[app#2]\nscript = {stubborn}\nstart = 2\nstop = 2\ncheck = 2\n",
    )
    agent.svcmgr("-s", "a", "start")
    outcome = agent.svcmgr("-s", "a", "stop")
    assert (outcome.exit_code, "all was stopped, except for app#2" in outcome.err) == (6, True)
    assert changes(agent) == ["one start", "one stop"]


def test_resource_tagged_noaction_is_left_alone(agent: Agent) -> None:
    """The agent's noaction tag: shown, never started."""
    agent.write("a", app(agent, 1, "one", more="tags = noaction") + app(agent, 2, "two"))
    assert agent.svcmgr("-s", "a", "start").exit_code == 0
    assert changes(agent) == ["two start"]


@pytest.mark.parametrize("word, exit_code", [("false", 6), ("true", 6)])
def test_rollback_keyword_of_the_service_is_obeyed(agent: Agent, word: str, exit_code: int) -> None:
    """rollback = false in DEFAULT leaves a failed start as it is."""
    agent.write(
        "a",
        f"[DEFAULT]\nrollback = {word}\n" + app(agent, 1, "one") + app(agent, 2, "two", "exit 3"),
    )
    assert agent.svcmgr("-s", "a", "start").exit_code == exit_code
    assert ("one stop" in agent.calls) == (word == "true")


def test_blocking_trigger_that_fails_after_the_stop_of_an_application_fails_the_action(
    agent: Agent,
) -> None:
    """The application is down, the rest is stopped, and yet the exit code is not 0: the operator
    asked for it.
    """
    text = app(agent, 1, "one") + app(agent, 2, "two", more="blocking_post_stop = exit 7")
    agent.write("a", text)
    agent.svcmgr("-s", "a", "start")
    outcome = agent.svcmgr("-s", "a", "stop")
    assert (outcome.exit_code, changes(agent)[2:]) == (6, ["two stop", "one stop"])
    assert "blocking_post_stop trigger 'exit 7' ended with exit code 7" in outcome.err


def test_application_that_starts_with_a_test_is_shown_by_its_section(agent: Agent) -> None:
    """The first word of its command names nothing."""
    agent.write(
        "a",
        "[app#1]\nstart = [ -e /nowhere ] && exit 9\n[app#2]\nstart = /opt/tomcat/bin/startup.sh"
        " now\n",
    )
    out = agent.svcmgr("-s", "a", "print", "status").out
    assert "n/a      app#1\n" in out and "n/a      startup.sh\n" in out
