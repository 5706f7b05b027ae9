"""Names and arguments of svcmgr and svcmon: what they stand for, and how wrong ones end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import pytest

from opensvc_openha.agent.service.selection import ServiceSelector
from opensvc_openha.agent.show.parallel_status import status_of_all
from opensvc_openha.agent.values.resource_status import ServiceReport
from opensvc_openha.cli import svcmgr
from opensvc_openha.cli.svcmgr import parse_call
from opensvc_openha.demo.tutorial_files import BUSYBOX_ENV, REGISTRY_ENV
from opensvc_openha.errors import UsageError
from tests.agent.embedded import Agent
from tests.waiting import LIMIT_S

UP = "[DEFAULT]\nservice_type = DEV\n[app#1]\ncheck = /bin/true\n"
DOWN = "[DEFAULT]\nservice_type = DEV\n[app#1]\ncheck = /bin/false\n"


@pytest.mark.parametrize(
    "called_as, args, services, action, is_cluster",
    [
        ("svcmgr", ["-s", "a,b", "print", "status"], ("a", "b"), "print_status", False),
        ("svcmgr", ["--service=a", "print_status"], ("a",), "print_status", False),
        ("svcmgr", ["start", "--cluster", "-s", "a"], ("a",), "start", True),
        ("a.b.com", ["json", "status"], ("a.b.com",), "json_status", False),
        ("a.b.com.cluster", ["start"], ("a.b.com",), "start", True),
        ("a.b.com.stonith", ["start"], ("a.b.com",), "stonith", True),
        ("a.b.com.stonith", ["status"], ("a.b.com",), "stonith_status", True),
        ("svcmgr", ["-s", "a", "stonith", "status"], ("a",), "stonith_status", False),
        ("a.b.com", ["docker", "ps", "-a", "--cluster"], ("a.b.com",), "docker", False),
        ("svcmgr", ["-s", "docker", "start"], ("docker",), "start", False),
    ],
)
def test_command_line_is_understood(
    called_as: str,
    args: list[str],
    services: tuple[str, str] | tuple[str],
    action: str,
    is_cluster: bool,
) -> None:
    """Options anywhere, words joined, the program's name gives the rest; docker keeps its own
    options.
    """
    call = parse_call(called_as, args)
    assert (call.services, call.action, call.options.is_cluster, call.choices) == (
        services,
        action,
        is_cluster,
        (),
    )


USUAL = [
    *("start", "print status", "print_status", "-s a stop", "-s a,b --cluster start", "boot"),
    *("--cluster status", "-s a stonith status", "-s a* status", "-s docker start"),
    *("--cluster stonith", "-s a resource_monitor", "-s a print config", "-s a nonsense now"),
]
OTHERS = [
    *("", "-s", "-s a", "docker ps", "-s a --rid fs#1 start", "--cluster -s a start", "--help"),
    *("start --cluster", "-s -c start", "-sa start", "-s a docker --cluster"),
]


@pytest.mark.parametrize("called_as", ["svcmgr", "a.cluster", "b.stonith", "web", "allservices"])
def test_usual_words_mean_the_same_without_the_parser(
    called_as: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the wrappers and of the status; other ones are left to it."""

    def outcome(words: list[str]) -> object:
        try:
            return parse_call(called_as, words)
        except UsageError as error:
            return str(error)

    quick = [outcome(words.split()) for words in USUAL]
    assert all(svcmgr._usual_call(words.split()) is not None for words in USUAL)
    assert all(svcmgr._usual_call(words.split()) is None for words in OTHERS)
    monkeypatch.setattr(svcmgr, "_usual_call", lambda _: None)
    assert quick == [outcome(words.split()) for words in USUAL]


@pytest.mark.parametrize("choice", list(ServiceSelector))
def test_mass_action_names_choose_by_their_name(choice: ServiceSelector) -> None:
    """allservices and its kin: every service, chosen by the name."""
    call = parse_call(choice.value, ["status"])
    assert (call.services, call.choices) == (None, (choice,))


@pytest.mark.parametrize(
    "called_as, args",
    [
        ("svcmgr", ["start"]),
        ("svcmgr", ["-s", "a"]),
        ("svcmgr", ["-s", "a", "start", "--dry-runs"]),
        ("svcmgr", ["-s", "../a", "start"]),
        ("svcmgr", ["-s", "a", "start", "--waitlock=soon"]),
        ("svcmgr", ["-s", "a", "print", "status", "--format=csv"]),
    ],
)
def test_wrong_command_line_is_a_usage_error(called_as: str, args: list[str]) -> None:
    """No service, no action, an option we would not honour, a name that is a path: refused before
    anything happens.
    """
    with pytest.raises(UsageError):
        parse_call(called_as, args)


def test_help_names_the_actions(agent: Agent) -> None:
    """--help prints the usage with every action and exits with 0."""
    outcome = agent.svcmgr("--help")
    assert outcome.exit_code == 0
    expected = (
        "print status, resource monitor, restart, shutdown, start, startstandby, status, stonith, "
    )
    assert f"{expected}stonith status, stop, switch" in outcome.out


@pytest.mark.parametrize("words", [["push"]])
def test_action_that_is_not_there_yet_is_reported_and_not_zero(
    agent: Agent, words: list[str]
) -> None:
    """Actions the tutorial knows and this agent does not yet do: one clear line, exit 6."""
    agent.write("a", UP)
    outcome = agent.svcmgr(*words, called_as="a")
    assert outcome.exit_code == 6
    assert "not handled by the embedded agent yet" in outcome.err


def test_unknown_action_and_unknown_service_are_usage_errors(agent: Agent) -> None:
    """A typing error in either place: exit 2, and what was probably meant."""
    agent.write("web", UP)
    for outcome, what, meant in (
        (agent.svcmgr("-s", "web", "strat"), "strat is no action", "did you mean start?"),
        (agent.svcmgr("-s", "wbe", "start"), "no service wbe", "did you mean web?"),
        (agent.svcmgr("-s", "b", "start"), "no service b: ", "b.env does not exist\n"),
        (agent.svcmon("--service=wbe"), "no service wbe", "did you mean web?"),
    ):
        assert outcome.exit_code == 2
        assert what in outcome.err and outcome.err.rstrip("\n").endswith(meant.rstrip("\n"))


def test_all_up_services_acts_on_these_only(agent: Agent) -> None:
    """allupservices freezes the service that is up and not the one that is down."""
    agent.write("up", UP)
    agent.write("down", DOWN)
    assert agent.svcmgr("freeze", called_as="allupservices").exit_code == 0
    assert agent.svcmgr("frozen", "-s", "up").out == "True\n"
    assert agent.svcmgr("frozen", "-s", "down").out == "False\n"


def test_primary_services_are_those_of_the_autostart_node_else_of_the_first_node(
    agent: Agent,
) -> None:
    """allprimaryservices and allsecondaryservices split the services of this node."""
    here = os.uname().nodename
    agent.write(
        "p1", f"[DEFAULT]\nautostart_node = {here}\nnodes = x {here}\n[app#1]\ncheck = /bin/true\n"
    )
    agent.write("p2", f"[DEFAULT]\nnodes = {here} x\n[app#1]\ncheck = /bin/true\n")
    agent.write("s1", f"[DEFAULT]\nnodes = x {here}\n[app#1]\ncheck = /bin/true\n")
    agent.write("none", "[DEFAULT]\nnodes = x y\n[app#1]\ncheck = /bin/true\n")
    agent.svcmgr("freeze", called_as="allprimaryservices")
    assert sorted(path.parent.name for path in agent.root.glob("var/*/frozen")) == ["p1", "p2"]
    agent.svcmgr("thaw", called_as="allservices")
    agent.svcmgr("freeze", called_as="allsecondaryservices")
    assert [path.parent.name for path in agent.root.glob("var/*/frozen")] == ["s1"]


def test_print_config_gives_the_file_back(agent: Agent) -> None:
    """print config: the text as it stands."""
    agent.write("registry.opensvc.com", REGISTRY_ENV)
    assert agent.svcmgr("print", "config", called_as="registry.opensvc.com").out == REGISTRY_ENV


def test_json_and_format_json_print_the_same(agent: Agent) -> None:
    """json status and print status --format=json: one JSON object."""
    agent.write("a", UP)
    one = agent.svcmgr("-s", "a", "json", "status").out
    assert one == agent.svcmgr("-s", "a", "print", "status", "--format=json").out
    assert json.loads(one)["avail"] == "up"


def test_table_shows_rows_in_the_order_asked_for_and_sorted_otherwise(agent: Agent) -> None:
    """--service=b,a keeps that order; without it names are sorted."""
    agent.write("a", UP)
    agent.write("b", DOWN)
    assert [line.split()[0] for line in agent.svcmon("--service=b,a").out.splitlines()[3:]] == [
        "b",
        "a",
    ]
    rows = agent.svcmon().out.splitlines()[3:]
    assert [line.split() for line in rows] == [
        [
            "a",
            "DEV",
            "hosted",
            "n/a",
            "n/a",
            "n/a",
            "n/a",
            "n/a",
            "up",
            "n/a",
            "n/a",
            "up",
            "up",
            "False",
        ],
        [
            "b",
            "DEV",
            "hosted",
            "n/a",
            "n/a",
            "n/a",
            "n/a",
            "n/a",
            "down",
            "n/a",
            "n/a",
            "down",
            "down",
            "False",
        ],
    ]


def test_broken_service_file_does_not_hide_the_others(agent: Agent) -> None:
    """One file is wrong, one service does not exist: both are reported on stderr, the good row is
    shown, exit not 0.
    """
    agent.write("bad", "[ip#1]\nipdev = e\nipname = x\nnetmask = wide\n")
    agent.write("good", UP)
    outcome = agent.svcmon()
    assert [line.split()[0] for line in outcome.out.splitlines()[3:]] == ["good"]
    assert (outcome.exit_code, f"{agent.etc}/bad.env:4: [ip#1] netmask" in outcome.err) == (3, True)
    asked = agent.svcmon("--service=none,good")
    assert (asked.exit_code, "no service none" in asked.err) == (2, True)
    assert asked.out.splitlines()[3].startswith("good")


def test_broken_service_file_does_not_stop_a_mass_action(agent: Agent) -> None:
    """allservices freeze with one broken file: the other is frozen, exit not 0."""
    agent.write("bad", "what\n")
    agent.write("good", UP)
    outcome = agent.svcmgr("freeze", called_as="allservices")
    assert (outcome.exit_code, "bad.env:1" in outcome.err) == (3, True)
    assert (agent.root / "var" / "good" / "frozen").exists()


def test_tutorial_services_show_without_their_hardware(agent: Agent) -> None:
    """Both files of the tutorial on a machine that has none of it: a tree each, with the containers
    down as there.
    """
    agent.write("registry.opensvc.com", REGISTRY_ENV + "\n[hb#0]\ntype = OpenHA\nname = registry\n")
    agent.write("busybox.opensvc.com", BUSYBOX_ENV)
    outcome = agent.svcmon("--verbose", "--service=registry.opensvc.com,busybox.opensvc.com")
    assert outcome.exit_code == 0
    assert (
        f"|  |- container#1    .... down     de9a91835513\n|  |  |{' ' * 28}# docker daemon is not"
        " running\n" in outcome.out
    )
    assert (
        "|  |- fs#2           .... down    "
        " /dev/mapper/vgbusybox-lvbusyboxdata@/opt/busybox.opensvc.com" in outcome.out
    )
    assert (
        "   '- hb#0           .... warn     hb.openha\n" + " " * 35 + "# open-ha is not installed\n"
        in outcome.out
    )


def test_patterns_and_states_choose_services(agent: Agent) -> None:
    """-s with a pattern, --status and --onlyprimary: those that fit, each once.

    A pattern that fits none is refused.
    """
    here = os.uname().nodename
    agent.write("web1", f"[DEFAULT]\nnodes = {here} x\n[app#1]\ncheck = /bin/true\n")
    agent.write("web2", f"[DEFAULT]\nnodes = x {here}\n[app#1]\ncheck = /bin/false\n")
    agent.write("db", f"[DEFAULT]\nnodes = {here} x\n[app#1]\ncheck = exit 2\n")
    assert agent.svcmgr("-s", "web*,web1", "status").out == "up\ndown\n"
    assert agent.svcmgr("-s", "w?b[2]", "status").out == "down\n"
    assert agent.svcmgr("--status=up", "status").out == "up\n"
    assert agent.svcmgr("--status", "warn", "status").out == "warn\n"
    assert agent.svcmgr("--onlyprimary", "status").out == "warn\nup\n"
    assert agent.svcmgr("--onlysecondary", "status").out == "down\n"
    missed = agent.svcmgr("-s", "x*", "status")
    assert (missed.exit_code, missed.err) == (2, "no service fits x*: there is db, web1, web2\n")
    assert agent.svcmgr("--status=odd", "status").exit_code == 2


def test_service_that_hangs_hides_no_other_in_the_table(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One look does not come back in time: the other rows are shown, the hanging one is named with
    what to do, exit 7.
    """
    release = threading.Event()

    def look(name: str) -> ServiceReport:
        if name == "hangs":
            release.wait(LIMIT_S)
        return ServiceReport(name, "DEV", False, ())

    try:
        seen = status_of_all(["a", "hangs", "b"], look, limit_s=0.3)
    finally:
        release.set()
    assert [found.name for found in seen if found.report] == ["a", "b"]
    assert (
        "hangs: no status within 0.3 s" in str(seen[1].problem)
        and getattr(seen[1].problem, "exit_code", 0) == 7
    )


def test_table_takes_patterns_and_the_words_of_the_real_one(agent: Agent) -> None:
    """svcmon --service with a pattern and a name twice, --updatedb, --upddb and --refresh: the
    rows, each once, and no more.
    """
    agent.write("web1", UP)
    agent.write("web2", DOWN)
    outcome = agent.svcmon("--service=web*,web1", "--updatedb", "--upddb", "--refresh")
    assert (outcome.exit_code, [line.split()[0] for line in outcome.out.splitlines()[3:]]) == (
        0,
        ["web1", "web2"],
    )


def test_status_command_loads_no_driver_and_no_library_it_does_not_need(agent: Agent) -> None:
    """print status of a service with an application only, in a new process: no docker, no psutil,
    no engine is loaded.
    """
    agent.write("a", UP)
    code = (
        "import sys; there = set(sys.modules); from opensvc_openha.cli import main;"
        " main.main(['svcmgr', '-s', 'a', 'print', 'status']);"
        "print([name for name in set(sys.modules) - there if 'docker' in name or name in ('psutil',"
        " 'sqlite3', 'logging.handlers') or name.startswith('opensvc_openha.core.e')],"
        " file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=30,
        env=dict(os.environ),
    )
    assert (done.stderr, "app#1" in done.stdout) == ("[]\n", True)


@pytest.mark.parametrize("names", ["", ",", " "])
def test_empty_list_of_services_is_wrong_usage(agent: Agent, names: str) -> None:
    """A script's variable that is not set: not success, but exit code 2."""
    agent.write("a", "")
    outcome = agent.svcmgr("-s", names, "stop")
    assert (outcome.exit_code, "expected names of services" in outcome.err) == (2, True)
