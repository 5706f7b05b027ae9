"""What validation finds that this node lacks or must not give, and names that no service can
have.
"""

from __future__ import annotations

import os

import pytest

from tests.agent.embedded import Agent
from tests.agent.service.validating import DEFAULT, NODE, validate


@pytest.mark.parametrize(
    "text, message",
    [
        (
            "[app#1]\nscript = /no/such/script\nstart = 1\n",
            "FILE:4: [app#1] script cannot be run on this node: there is no file /no/such/script",
        ),
        (
            "[app#1]\nscript = /etc/passwd\nstart = 1\n",
            "FILE:4: [app#1] script cannot be run on this node: /etc/passwd is not exec",
        ),
        (
            "[app#1]\nstart = nosuch-command def\n",
            (
                "FILE:4: [app#1] start is 'nosuch-command def', and there is no command"
                " nosuch-command on this node"
            ),
        ),
        (
            "[app#1]\nscript = /bin/true\nstart = nosuch def\n",
            "FILE:5: [app#1] start is 'nosuch def', and there is no command",
        ),
        (
            "[app#1]\nstart = true\nscript = /bin/true\npre_start = /no/such thing\n",
            "FILE:6: [app#1] pre_start is '/no/such thing'",
        ),
        (
            "[ip#1]\nipdev = eth77\nipname = 10.0.0.1\n",
            "FILE:4: [ip#1] ipdev is 'eth77', and this node has no such interface: it has lo",
        ),
        (
            "[ip#1]\nipdev = eth77:1@if4\nipname = 10.0.0.1\n",
            "FILE:4: [ip#1] ipdev is 'eth77:1@if4', and this node has no such",
        ),
        (
            "[stonith#1]\ntype = callout\ncmd = /no/fence --off\n",
            "FILE:5: [stonith#1] cmd is '/no/fence --off', and there is no file",
        ),
        (
            "[stonith#1]\ntype = fence_nowhere\n",
            "FILE:4: [stonith#1] type cannot be used on this node: there is no program fence_now",
        ),
    ],
)
def test_what_this_node_lacks_is_a_warning_with_its_line(
    agent: Agent, text: str, message: str
) -> None:
    """It may be there when the service starts: validate names it and ends with 1, and actions
    continue to find out.
    """
    exit_code, lines = validate(agent, DEFAULT + text)
    assert (exit_code, len([line for line in lines if message in line])) == (1, 1), lines
    assert agent.svcmgr("-s", "a", "print", "status").exit_code == 0


@pytest.mark.parametrize(
    "text",
    [
        "[app#1]\nscript = /bin/true\nstart = 1\nstop = yes\ncheck = off\n",
        "[app#1]\nstart = test -e /x\nstop = cd / && true\n",
        "[app#1]\nstart = FOO=1 nosuch\nstop = $HOME/x\n",
        (
            "[app#1]\nscript = /srv/not-mounted/bin/app\nstart = 1\n[fs#1]\ntype = tmpfs\ndev ="
            " x\nmnt = /srv/not-mounted\n"
        ),
        (
            "[app#1]\nstart = /srv/not-mounted/bin/app up\n[fs#1]\ntype = tmpfs\ndev = x\nmnt ="
            " /srv/not-mounted\n"
        ),
        "[app#1]\nscript = /no/such/script\nstart = 1\ndisable = true\n",
        "[ip#1]\nipdev = lo:2\nipname = 127.0.0.9\n",
    ],
)
def test_what_cannot_be_known_or_is_in_order_is_not_warned_about(agent: Agent, text: str) -> None:
    """Shell syntax, what lies on the service's own file system, disabled resources: no warning that
    could be false.
    """
    assert validate(agent, DEFAULT + text) == (0, ["FILE: valid"])


@pytest.mark.parametrize(
    "body, message",
    [
        (b"#!/bin/sh\r\nexit 0\r\n", "has the line ends of DOS (CR LF)"),
        (
            b"#!/no/such/sh -e\nexit 0\n",
            "names the interpreter /no/such/sh in its first line, which does not exist",
        ),
        (b"#!/usr/bin/env sh\r\nexit 0\r\n", "has the line ends of DOS (CR LF)"),
        (b"\xef\xbb\xbf#!/bin/sh\nexit 0\n", "begins with a byte order mark"),
        (b"exit 0\n", "is no program, and its first line names no interpreter"),
    ],
)
def test_script_that_the_system_cannot_run_is_named_before_it_is_needed(
    agent: Agent, body: bytes, message: str
) -> None:
    """A script edited on another system: validation reports what is wrong with it, and so does the
    start.
    """
    script = agent.root / "app"
    script.write_bytes(body)
    script.chmod(0o755)
    _, lines = validate(agent, DEFAULT + f"[app#1]\nscript = {script}\nstart = 1\n")
    assert any(message in line for line in lines), lines
    outcome = agent.svcmgr("-s", "a", "start")
    assert (outcome.exit_code in (6, 7), message in outcome.err) == (True, True)


@pytest.mark.parametrize(
    "point", ["/etc", "/usr/", "/var/lib", "{root}", "{root}/etc", "{root}/var"]
)
def test_mount_over_the_system_is_an_error_and_is_not_done(agent: Agent, point: str) -> None:
    """mnt = /etc: validation calls it an error, a start refuses it, a stop is still possible."""
    path = point.format(root=agent.root)
    exit_code, lines = validate(
        agent, DEFAULT + f"[fs#1]\ntype = tmpfs\ndev = none\nmnt = {path}\n"
    )
    assert exit_code == 3
    assert any(
        "error: FILE:6: [fs#1] mnt is " in line and "would hide" in line for line in lines
    ), lines
    outcome = agent.svcmgr("-s", "a", "start")
    assert (outcome.exit_code, "would hide" in outcome.err) == (6, True)
    assert not os.path.ismount(path)
    assert agent.svcmgr("-s", "a", "stop").exit_code == 0


def test_mount_below_a_system_directory_is_in_order(agent: Agent) -> None:
    """/var/lib/web, /opt/web and the like are where services live."""
    for point in ("/var/lib/web", "/opt", "/srv", "/home", f"{agent.root}/var/a/data"):
        text = f"[fs#1]\ntype = tmpfs\ndev = none\nmnt = {point}\n"
        assert validate(agent, DEFAULT + text) == (0, ["FILE: valid"])


def test_missing_list_of_nodes_is_reported(agent: Agent) -> None:
    """Without a heartbeat a warning; with one an error, for the cluster has two nodes."""
    exit_code, lines = validate(agent, "[app#1]\nstart = true\nscript = /bin/true\n")
    assert (exit_code, lines) == (
        1,
        [
            "warning: FILE: [DEFAULT] nodes is missing: the service is known to this node alone,"
            f" as if nodes = {NODE}"
        ],
    )
    exit_code, lines = validate(
        agent, "[app#1]\nscript = /bin/true\nstart = 1\n[hb#0]\ntype = OpenHA\n"
    )
    assert exit_code == 3
    assert (
        "error: FILE: [DEFAULT] nodes is missing, and a cluster of two nodes decides: expected the"
        " names of both" in lines
    )


def test_second_heartbeat_is_an_error_and_each_change_reports_it(agent: Agent) -> None:
    """[hb#0] and [hb#1]: the second is not followed. Disabled ones do not count."""
    text = (
        DEFAULT + "[app#1]\nscript = /bin/true\nstart = 1\n[hb#0]\ntype = OpenHA\n[hb#1]\ntype ="
        " OpenHA\nname = b\n"
    )
    exit_code, lines = validate(agent, text)
    assert (
        exit_code == 3
        and "error: FILE:8: [hb#1] is ignored, for [hb#0] decides: expected one heartbeat" in lines
    )
    outcome = agent.svcmgr("-s", "a", "start", "--cluster")
    assert (outcome.exit_code, "[hb#1] is ignored" in outcome.err) == (0, True)
    assert validate(agent, text + "disable = true\n")[0] == 0


def test_effect_of_a_type_that_is_not_handled_is_the_true_one(agent: Agent) -> None:
    """A sync and a fencing command of such a type keep no service from being started.

    An fs does.
    """
    text = (
        DEFAULT
        + "[app#1]\nscript = /bin/true\nstart = 1\n[sync#1]\ntype = zfs\nsrc = /x\ndst = /x\n"
    )
    _, lines = validate(agent, text)
    assert any("[sync#1]" in line and "it is never sent" in line for line in lines), lines
    assert not any("a start is refused" in line for line in lines)
    assert agent.svcmgr("-s", "a", "start").exit_code == 0
    _, lines = validate(agent, DEFAULT + "[fs#1]\ntype = zfs\ndev = p/x\nmnt = /x\n")
    assert any("a start is refused unless it is disabled or optional" in line for line in lines)
    assert agent.svcmgr("-s", "a", "start").exit_code == 6


@pytest.mark.parametrize("name", ["svcmgr", "svcmon", "allupservices"])
def test_no_service_can_have_the_name_of_a_command(agent: Agent, name: str) -> None:
    """svcmgr.env: skipped with the reason, and never acted on by mistake."""
    agent.write(name, DEFAULT + "[app#1]\nscript = /bin/true\nstart = 1\n")
    outcome = agent.svcmgr("-s", name, "start")
    assert (outcome.exit_code, f"no service can be named {name}" in outcome.err) == (2, True)
    outcome = agent.svcmon()
    assert (
        f"is skipped, its name is none of a service file: {name} is a command of the agent"
        in outcome.err
    )
    assert not os.path.lexists(agent.etc / name)


@pytest.mark.parametrize("suffix", ["cluster", "stonith", "d"])
def test_service_in_the_place_of_anothers_wrapper_is_an_error(agent: Agent, suffix: str) -> None:
    """a.env and a.cluster.env: the command of the one is the wrapper of the other.

    Alone, that name is in order.
    """
    text = DEFAULT + "[app#1]\nscript = /bin/true\nstart = 1\n"
    agent.write(f"a.{suffix}", text)
    assert agent.svcmgr("-s", f"a.{suffix}", "validate", "config").exit_code == 0
    agent.write("a", text)
    outcome = agent.svcmgr("-s", f"a.{suffix}", "validate", "config")
    assert (outcome.exit_code, "rename one of both services" in outcome.out) == (3, True)
    assert agent.svcmgr("-s", "a", "status").exit_code == 3
    if suffix != "d":
        assert not (agent.etc / f"a.{suffix}").is_symlink(), "the wrapper wins"
