"""Service files as people get them wrong: what `validate config` and the actions report, and that
others are not hidden.
"""

from __future__ import annotations

import os

import pytest

from opensvc_openha.demo.tutorial_files import BUSYBOX_ENV, REGISTRY_ENV
from tests.agent.embedded import Agent
from tests.agent.service.validating import DEFAULT, NODE, validate

IP = "[ip#1]\nipdev = lo\nipname = 127.0.0.9\n"


def test_word_of_default_that_values_refer_to_is_no_unknown_keyword(agent: Agent) -> None:
    """BASE in capitals, and {BASE} where it is used: nothing to report."""
    text = DEFAULT + "BASE = 127.0.0\n" + IP.replace("127.0.0.9", "{BASE}.9")
    assert validate(agent, text) == (0, ["FILE: valid"])


def test_valid_file_is_reported_as_valid(agent: Agent) -> None:
    """Nothing wrong: exit code 0 and the word."""
    assert validate(agent, DEFAULT + IP) == (0, ["FILE: valid"])


@pytest.mark.parametrize(
    "text, message",
    [
        ("[ip#1]\nipdev = lo\n", "FILE:3: [ip#1] ipname is missing, expected a text"),
        (
            "[fs#1]\ntype = ext5\ndev = /d\nmnt = /m\n",
            "FILE:4: [fs#1] type is 'ext5', expected one of ",
        ),
        ("[fs#1]\ndev = /d\nmnt = /m\n", "FILE:3: [fs#1] type is missing, expected one of "),
        ("[ips#1]\nipdev = lo\n", "FILE:3: [ips#1] is no known kind of resource, expected one of "),
        (IP + "disable = maybe\n", "FILE:6: [ip#1] disable is 'maybe', expected true or false"),
        (IP + "restart = often\n", "FILE:6: [ip#1] restart is 'often', expected a whole number"),
        (
            "[app#1]\nstart = x\ntimeout = -1\n",
            "FILE:5: [app#1] timeout is '-1', expected a number of seconds above 0",
        ),
        (
            "[fs#1]\ntype = ext4\ndev = /d\nmnt = relative\n",
            "FILE:6: [fs#1] mnt is 'relative', expected an absolute path",
        ),
        (
            IP.replace("127.0.0.9", "{ip#7.addr}"),
            "FILE:5: [ip#1] ipname refers to {ip#7.addr}, which is not set",
        ),
        (
            IP + "[ip#1]\nipname = x\n",
            "FILE:6: duplicate section [ip#1], which stands in line 3 too",
        ),
        (
            IP + "[ IP#1 ]\nipname = x\n",
            "FILE:6: duplicate section [ip#1], which stands in line 3 too",
        ),
        (
            IP + "ipdev = eth1\n",
            "FILE:6: [ip#1] duplicate keyword ipdev, which stands in line 4 too",
        ),
        (
            IP + "IPDEV = eth1\n",
            "FILE:6: [ip#1] duplicate keyword ipdev, which stands in line 4 too",
        ),
        ("[ip\nipdev = lo\n", "FILE:3: '[ip' is no header, expected [section]"),
        ("[ip#]\nipdev = lo\nipname = x\n", "FILE:3: [ip#] has no number, expected [ip#1]"),
        (
            IP + "netmask\n",
            "FILE:6: 'netmask' is no line of a service file, expected [section] or keyword = value",
        ),
        (IP + "[[fs#1]]\n", "FILE:6: [[fs#1]] is nested, expected single brackets"),
        (
            IP.replace("127.0.0.9", "127.0.0.900"),
            "FILE:5: [ip#1] ipname is '127.0.0.900', expected an IPv4 or IPv6 address",
        ),
        (
            IP + "netmask = 64\n",
            "FILE:6: [ip#1] netmask is '64', expected a netmask of an IPv4 address",
        ),
        (
            "[fs#1]\ntype = tmpfs # in memory\n",
            "FILE:4: [fs#1] type is 'tmpfs # in memory', expected one of ",
        ),
        (
            "[fs#1]\ntype = tmpfs\ndev = x\nmnt = /m ; here\n",
            "expected an absolute path: a comment needs a line of its own",
        ),
        (
            '[fs#1]\ntype = tmpfs\ndev = x\nmnt = "/m"\n',
            "expected an absolute path, without quotes",
        ),
        (
            IP + "always_on = nodes # both\n",
            "expected names of nodes: a comment needs a line of its own",
        ),
    ],
)
def test_error_is_reported_with_file_line_section_keyword_and_expectation(
    agent: Agent, text: str, message: str
) -> None:
    """Each of these ends every action: validate and start report the same place, exit code 3."""
    exit_code, lines = validate(agent, DEFAULT + text)
    assert (exit_code, sum(message.lower() in line.lower() for line in lines)) == (3, 1), lines
    for action in (["start"], ["print", "status"]):
        outcome = agent.svcmgr("-s", "a", *action)
        assert outcome.exit_code == 3
        assert message.replace("FILE", str(agent.etc / "a.env")).lower() in outcome.err.lower()


@pytest.mark.parametrize(
    "text, message",
    [
        (IP + "ipnam = x\n", "FILE:6: [ip#1] ipnam is no keyword of [ip#1], did you mean ipname?"),
        (
            IP + "zzz = x\n",
            "FILE:6: [ip#1] zzz is no keyword of [ip#1], expected one of ipname, ipdev, netmask",
        ),
        (
            IP + "[subset#ip:web]\nparallel = true\n",
            "FILE:6: [subset#ip:web] is the subset of no resource",
        ),
        (
            IP + "[ip#2]\nipdev = eth9\nipname = 127.0.0.9\n",
            "FILE:8: [ip#2] ipname is 127.0.0.9, as in [ip#1]",
        ),
        (
            IP + "ipdev@peer7 = eth1\n",
            "FILE:6: [ip#1] ipdev@peer7 is meant for no node of this service",
        ),
        (
            "[vg#1]\nvgname = v\nscsi_reserve = true\n",
            "FILE:5: [vg#1] scsi_reserve is taken as scsireserv here, but OpenSVC agents ignore it",
        ),
        (
            IP.replace("9", "9 # the vip"),
            "FILE:5: [ip#1] ipname is '127.0.0.9 # the vip', all of it: a comment needs a line",
        ),
        ("# nothing yet\n", "FILE:1: no section of it is a resource: there is nothing to start"),
        (
            IP + "disable_on = peer7\n",
            "FILE:6: [ip#1] disable_on names peer7, which is no node of this service",
        ),
    ],
)
def test_warning_is_reported_and_ends_no_action(agent: Agent, text: str, message: str) -> None:
    """Each of these changes nothing for sure: validate reports it and exits with 1.

    The status is still there.
    """
    exit_code, lines = validate(agent, DEFAULT + text)
    assert exit_code == 1
    assert [line for line in lines if line.startswith("warning: " + message)], lines
    assert agent.svcmgr("-s", "a", "print", "status").exit_code == 0


def test_value_for_another_node_is_validated_here_and_ends_no_action_here(agent: Agent) -> None:
    """It would end every action there; a reference is only resolved there."""
    text = DEFAULT + IP + "optional@peer1 = maybe\ndisable@peer1 = {nobody}\nmonitor@peer1 = yes\n"
    assert validate(agent, text) == (
        3,
        ["error: FILE:6: [ip#1] optional@peer1 is 'maybe', expected true or false"],
    )
    assert agent.svcmgr("-s", "a", "print", "status").exit_code == 0
    own = text.replace("optional@peer1", f"optional@{NODE}").replace("disable@peer1 = {nobody}", "")
    assert validate(agent, own) == (
        3,
        ["error: FILE:6: [ip#1] optional is 'maybe', expected true or false"],
    )


def test_list_that_all_nodes_share_must_not_differ_between_them(agent: Agent) -> None:
    """Each node would decide by another list."""
    exit_code, lines = validate(agent, DEFAULT + "nodes@peer1 = peer1\n" + IP)
    message = "FILE:3: [DEFAULT] nodes@peer1 differs between the nodes, expected one nodes for all"
    assert (exit_code, lines) == (1, [f"warning: {message}"])


def test_wrong_value_that_several_need_is_reported_once(agent: Agent) -> None:
    """In [DEFAULT], and needed by two containers."""
    containers = "".join(f"[container#{n}]\ntype = docker\nrun_image = i\n" for n in (1, 2))
    exit_code, lines = validate(agent, DEFAULT + "docker_data_dir = data\n" + containers)
    message = "FILE:3: [DEFAULT] docker_data_dir is 'data', expected an absolute path"
    assert (exit_code, lines) == (3, [f"error: {message}"])


def test_section_for_launchers_is_validated(agent: Agent) -> None:
    """It is no resource itself, but its keywords are those of an application."""
    exit_code, lines = validate(agent, DEFAULT + IP + "[app]\ndir = scripts\noptionl = true\n")
    assert (exit_code, lines) == (
        3,
        [
            "error: FILE:7: [app] dir is 'scripts', expected an absolute path",
            ("warning: FILE:8: [app] optionl is no keyword of [app], did you mean optional?"),
        ],
    )


def test_all_that_is_wrong_is_reported_at_once_in_the_order_of_the_file(agent: Agent) -> None:
    """Three sections, four mistakes: four lines."""
    text = "[ip#1]\nipdev = lo\nspeed = 9\n[fs#1]\ntype = ext9\n[app#1]\ntimeout = x\n"
    exit_code, lines = validate(agent, DEFAULT + text)
    assert exit_code == 3
    assert [line.split("FILE:")[1].split(":")[0] for line in lines] == ["3", "5", "7", "9"], lines


def test_start_reports_unknown_keywords_and_continues(agent: Agent) -> None:
    """An unknown keyword must not keep a service down: a warning that names the line, then
    the start.
    """
    agent.write("a", "[DEFAULT]\nservice_typ = DEV\n[app#1]\nstart = /bin/true\nstrat = 3\n")
    outcome = agent.svcmgr("-s", "a", "start")
    assert outcome.exit_code == 0
    assert (
        "a.env:2: [DEFAULT] service_typ is no keyword of [DEFAULT], did you mean service_type?"
        in outcome.err
    )
    assert "a.env:5: [app#1] strat is no keyword of [app#1], did you mean start?" in outcome.err


def test_wrong_value_in_default_is_reported_before_a_change_and_ends_none(agent: Agent) -> None:
    """A typing error in monitor_action must not keep a service down: its line and what is expected,
    then the start.
    """
    agent.write("a", "[DEFAULT]\nmonitor_action = freeze_stop\n[app#1]\nstart = /bin/true\n")
    outcome = agent.svcmgr("-s", "a", "start")
    assert outcome.exit_code == 0
    assert (
        "a.env:2: [DEFAULT] monitor_action is 'freeze_stop', expected none or freezestop or reboot"
        " or crash" in outcome.err
    )


def test_nodes_that_are_no_names_end_every_action(agent: Agent) -> None:
    """A comment behind the nodes would be nodes too: refused, also in the status."""
    agent.write("a", f"[DEFAULT]\nnodes = {NODE} ; this one\n[app#1]\nstart = /bin/true\n")
    for action in (["start"], ["stop"], ["print", "status"]):
        outcome = agent.svcmgr("-s", "a", *action)
        assert (outcome.exit_code, "a.env:2: [DEFAULT] nodes is" in outcome.err) == (3, True)


def test_status_of_a_file_with_several_errors_reports_how_many(agent: Agent) -> None:
    """The first one in full, the number of all, and the command that shows them.

    With one error no more is reported.
    """
    agent.write(
        "a", "[fs#1]\ntype = ext9\n[ip#1]\nipdev = lo\n[app#1]\nstart = x\nrestart = twice\n"
    )
    for outcome in (agent.svcmgr("-s", "a", "print", "status"), agent.svcmon()):
        assert outcome.exit_code == 3
        assert "a.env:2: [fs#1] type is 'ext9'" in outcome.err
        assert "(one of 3 errors: svcmgr -s a validate config)" in outcome.err
    agent.write("a", "[fs#1]\ntype = ext9\n")
    assert "one of" not in agent.svcmgr("-s", "a", "print", "status").err.partition("expected")[0]
    assert "errors" not in agent.svcmgr("-s", "a", "print", "status").err


def test_file_whose_name_is_no_service_name_is_reported_once(agent: Agent) -> None:
    """A blank in the name, capitals, copies of editors: svcmon names those that look meant,
    validate config all of them.
    """
    agent.write("good", DEFAULT + "[app#1]\ncheck = /bin/true\n")
    for name in ("my web.env", "web.ENV", "good.env~", ".good.env.swp", "good.env.bak"):
        (agent.etc / name).write_text("[DEFAULT]\n")
    monitor = agent.svcmon()
    assert monitor.exit_code == 0
    assert [line.split("/")[-1].split(":")[0] for line in monitor.err.splitlines()] == [
        "my web.env",
        "web.ENV",
    ]
    assert "is skipped, its name is none of a service file: expected letters" in monitor.err
    assert agent.svcmon("-s", "good").err == ""
    outcome = agent.svcmgr("validate", "config")
    assert (outcome.exit_code, outcome.out.count("is skipped, its name")) == (1, 5)
    assert agent.svcmgr("-s", "good", "validate", "config").exit_code == 0


def test_start_on_a_node_that_is_none_of_the_service_is_refused(agent: Agent) -> None:
    """nodes names two others: start refuses and reports who they are.

    Validate does too; stop is allowed.
    """
    agent.write("a", "[DEFAULT]\nnodes = n1 n2\n[app#1]\nstart = /bin/true\n")
    outcome = agent.svcmgr("-s", "a", "start")
    assert (
        outcome.exit_code,
        "is none of the nodes of a, n1, n2: start refused" in outcome.err,
    ) == (5, True)
    assert agent.svcmgr("-s", "a", "stop").exit_code == 0
    assert agent.svcmgr("-s", "a", "validate", "config").exit_code == 3


def test_peer_of_the_cluster_that_is_not_in_nodes_is_an_error(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenHA's nodes file names a peer that the service file does not."""
    conf = agent.root / "openha" / "conf"
    conf.mkdir(parents=True)
    (conf / "nodes").write_text(f"{NODE}\nother\n")
    monkeypatch.setenv("EZ", str(agent.root / "openha"))
    exit_code, lines = validate(agent, DEFAULT + IP + "[hb#0]\ntype = OpenHA\n")
    assert exit_code == 3
    assert (
        "error: FILE:2: [DEFAULT] nodes does not name the peer of the cluster, other: nodes are"
        f" {NODE}, peer1" in lines
    )


def test_autostart_node_under_a_heartbeat_is_a_warning(agent: Agent) -> None:
    """The tutorial removes autostart_node when the heartbeat comes: forgetting that gives a
    warning.
    """
    exit_code, lines = validate(
        agent, DEFAULT + f"autostart_node = {NODE}\n" + IP + "[hb#0]\ntype = OpenHA\n"
    )
    assert (exit_code, "has no effect under a heartbeat" in lines[0]) == (1, True)


@pytest.mark.parametrize("text", [REGISTRY_ENV, BUSYBOX_ENV])
def test_files_of_the_tutorial_have_no_unknown_keyword(agent: Agent, text: str) -> None:
    """As the tutorial prints them, on a node of theirs: nothing but what is not handled yet."""
    text = text.replace("deb1.opensvc.com deb2.opensvc.com", f"{NODE} deb2.opensvc.com")
    exit_code, lines = validate(agent, text.replace("deb1.opensvc.com", NODE))
    assert [line for line in lines if "is not handled" not in line and "valid" not in line] == []


def test_broken_services_never_hide_the_others(agent: Agent) -> None:
    """Wrong bytes, a directory, a pipe, a link to nothing, a syntax error: each is reported, the
    good one is shown.
    """
    agent.write("good", DEFAULT + "[app#1]\ncheck = /bin/true\n")
    agent.write("syntax", "[app#1\n")
    (agent.etc / "latin.env").write_bytes(b"[DEFAULT]\n# caf\xe9\n")
    (agent.etc / "folder.env").mkdir()
    os.mkfifo(agent.etc / "pipe.env")
    (agent.etc / "gone.env").symlink_to("/nowhere/x.env")
    outcome = agent.svcmon()
    assert outcome.exit_code == 3
    assert outcome.out.splitlines()[3].startswith("good ")
    for message in (
        "latin.env:2: holds the byte 0xe9, which is no UTF-8 text",
        "folder.env: cannot be read: Is a directory",
        "pipe.env: is no regular file",
        "gone.env: cannot be read: No such file",
        "syntax.env:1: ",
    ):
        assert message in outcome.err


def test_references_take_the_values_of_this_node(agent: Agent) -> None:
    """{svcname}, {nodename}, keywords of DEFAULT and of other sections, an item and a count of a
    list.
    """
    out = agent.root / "out"
    agent.write(
        "a.example",
        f"[DEFAULT]\nnodes = {NODE} peer1\nbase = {agent.root}\n[env]\nsize = 5g\n[app#1]\nscript ="
        " {base}/{svcname}.{short_svcname}.sh\nstart = echo {svcname} {nodename}"
        " {app#1.script} {nodes[1]} {#nodes} {env.size} ${HOME} {nobody} > " + f"{out}\n",
    )
    assert agent.svcmgr("-s", "a.example", "start").exit_code == 0
    script = f"{agent.root}/a.example.a.sh"
    assert (
        out.read_text()
        == f"a.example {NODE} {script} peer1 2 5g {os.environ.get('HOME', '')} {{nobody}}\n"
    )


def test_word_of_the_operator_that_values_refer_to_is_no_mistake(agent: Agent) -> None:
    """base in DEFAULT, used as {base}: nothing to report."""
    assert validate(agent, DEFAULT + "base = 127.0.0.9\n" + IP.replace("127.0.0.9", "{base}")) == (
        0,
        ["FILE: valid"],
    )


def test_reference_that_leads_to_itself_is_an_error(agent: Agent) -> None:
    """Two values that refer to each other: an error with its line, no endless loop."""
    exit_code, lines = validate(agent, "[DEFAULT]\nx = {y}\ny = {x}\n" + IP)
    assert (exit_code, "refers to itself" in lines[0]) == (3, True)
