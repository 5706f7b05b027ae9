"""The commands as an operator types them, without a terminal: words, exit codes, and what they
leave behind.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from opensvc_openha import __version__
from opensvc_openha.cli.main import main
from tests.cluster_dir import HERE, PEER, ClusterDir


def test_installed_directory_shows_what_the_tutorial_shows(cluster_dir: ClusterDir) -> None:
    """`ls /usr/local/cluster`."""
    shown = sorted(entry.name for entry in cluster_dir.root.iterdir() if entry.name != "disk")
    assert shown == ["bin", "conf", "doc", "env.sh", "ezha", "ezha.init", "log", "services"]


def test_installing_again_keeps_the_configuration(cluster_dir: ClusterDir) -> None:
    """An upgrade: launchers are written again, conf is not touched."""
    before = cluster_dir.path("conf/monitor").read_text()
    cluster_dir.path("bin/service").write_text("broken")
    ClusterDir.__init__(cluster_dir, cluster_dir.root)
    assert cluster_dir.path("conf/nodes").read_text() == f"{HERE}\n{PEER}\n"
    assert cluster_dir.path("conf/monitor").read_text().count("\n") == before.count("\n")
    assert "Usage" in cluster_dir.ok("service --help")


def test_adding_a_service_prints_what_the_tutorial_shows(cluster_dir: ClusterDir) -> None:
    """Directory and both STATE files, FROZEN_STOP, two bytes each.

    One tab separated line in the services file.
    """
    script = cluster_dir.script("registry.sh", "exit 0")
    root = cluster_dir.root
    assert cluster_dir.ok(f"service -a registry {script} {HERE} {PEER} /bin/true") == (
        "Creating service registry :\n"
        f"Directory {root}/services/registry created\n"
        f"State file {root}/services/registry/STATE.{HERE} created with initial state FROZEN_STOP\n"
        f"State file {root}/services/registry/STATE.{PEER} created with initial state FROZEN_STOP\n"
        "Done.\n"
    )
    assert cluster_dir.state_file("registry").read_bytes() == b"6\0"
    assert (
        cluster_dir.path("conf/services").read_text()
        == f"registry\t{script}\t{HERE}\t{PEER}\t/bin/true\n"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ("{long} /bin/true {here} {peer} /bin/true", 2, "service name is too long. 64 out of 63"),
        ("../evil /bin/true {here} {peer} /bin/true", 2, "not a service name"),
        (
            "web /nosuch {here} {peer} /bin/true",
            3,
            "unable to open startup script file /nosuch: No such file",
        ),
        (
            "web /bin/true {here} {peer} /nosuch",
            3,
            "unable to open check script file /nosuch: No such file",
        ),
        ("web /etc/passwd {here} {peer} /bin/true", 3, "not executable"),
        ("web /tmp {here} {peer} /bin/true", 3, "not a file"),
        ("web bin/true {here} {peer} /bin/true", 2, "expected an absolute path"),
        ("web /bin/true third {peer} /bin/true", 2, "unknown host third"),
        ("web /bin/true {here} {here} /bin/true", 2, "primary and secondary node must differ."),
        ("web /bin/true {here} {peer}", 2, "expected `-a NAME SCRIPT PRIMARY SECONDARY CHECK`"),
        ("registry /bin/true {here} {peer} /bin/true", 5, "Service registry already created."),
    ],
)
def test_bad_service_is_refused_and_nothing_changes(
    cluster_dir: ClusterDir, arguments: str, code: int, words: str
) -> None:
    """One line that reports what is wrong; neither file nor directory appears."""
    cluster_dir.add("registry")
    before = cluster_dir.path("conf/services").read_bytes()
    line = cluster_dir.fails(
        "service -a " + arguments.format(long="x" * 64, here=HERE, peer=PEER), code
    )
    assert words in line
    assert cluster_dir.path("conf/services").read_bytes() == before
    assert [
        entry.name for entry in cluster_dir.path("services").iterdir() if entry.name != ".proc"
    ] == ["registry"]


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("service", 2, "an option is missing"),
        ("service -x", 2, "unknown option -x"),
        ("service -s -z", 2, "unknown option -z"),
        ("service -i", 2, "expected `-i NAME`"),
        ("service -r nosuch", 3, "Service nosuch not found: there is registry"),
        ("service -A nosuch stop", 3, "service nosuch not found"),
        ("service -A registry bogus", 2, "action bogus not found: expected one of start, stop,"),
        ("service -A", 2, "expected `-A [NAME] ACTION`"),
        ("service -s -c", 4, "nmond is not running"),
        ("service -s", 4, "nmond is not running"),
        ("service -A registry unfreeze", 4, "nmond is not running"),
        ("hb -s", 4, "nmond is not running"),
        ("hb", 2, "Expected one of -s, -a, -r"),
        ("hb -s -a", 2, "Incompatible options."),
        ("hb -a -n {here}", 2, "missing -t type, -i interface, -d address"),
        ("hb -a -n third -t net -i lo -d 239.1.1.1 -p 5000 -T 10", 2, "third"),
        ("hb -a -n {here} -t pigeon -i lo -d 239.1.1.1 -p 5000 -T 10", 2, "expected a link type"),
        ("hb -a -n {here} -t net -i lo -d 10.1.1.1 -p 5000 -T 10", 2, "multicast"),
        ("hb -a -n {here} -t dio -i /dev/nosuch -d 0 -T 10", 2, "no such device: /dev/nosuch"),
        ("hb -r -n {here} -t net -i lo -d 239.1.1.1 -p 5000", 3, "no such heartbeat link"),
        ("openha ps", 4, "nmond is not running"),
        ("openha bogus", 2, "unknown command 'bogus'"),
        ("ezha", 2, "expected one of start, stop, restart, try-restart, reload, kill, status"),
        ("ezha kill", 4, "nmond is not running"),
        ("nmond -x", 2, "unknown option -x"),
    ],
)
def test_bad_command_is_one_line_on_stderr_and_never_zero(
    cluster_dir: ClusterDir, command: str, code: int, words: str
) -> None:
    """No daemon runs here, so nothing that needs one may pretend to have worked."""
    cluster_dir.add("registry")
    assert words in cluster_dir.fails(command.format(here=HERE), code)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("nodes", f"{HERE}\n", "nodes: a cluster has two nodes"),
        ("nodes", "a.b\nc.d\n", "the nodes are a.b and c.d"),
        ("monitor", f"{HERE} net eth1\n", "monitor:1: expected 6 columns"),
        (
            "monitor",
            f"\n# links\n{HERE} pigeon lo 239.1.1.1 5000 10\n",
            "monitor:3: expected a link type",
        ),
        ("services", "web /bin/true\n", "services:1: expected 5 columns"),
        ("services", f"web /bin/true {HERE} {PEER} /bin/true\n" * 2, "services:2:"),
        (
            "services",
            f"# caf\udce9\nweb /bin/true {HERE} {PEER} /bin/true\n",
            "services:1: expected UTF-8 text, found byte 0xe9",
        ),
    ],
)
def test_bad_configuration_file_is_reported_with_file_and_line(
    cluster_dir: ClusterDir, name: str, text: str, words: str
) -> None:
    """`ezha start` fails with the place of the mistake, and no daemon is left."""
    path = cluster_dir.path(f"conf/{name}")
    path.write_text(text, errors="surrogateescape")
    assert words in cluster_dir.fails("ezha start", 3)
    assert cluster_dir.pid() == 0
    assert path.read_text(errors="surrogateescape") == text


def test_missing_monitor_file_reports_what_to_do(cluster_dir: ClusterDir) -> None:
    """The original's daemon exits with 0 and silently."""
    cluster_dir.path("conf/monitor").unlink()
    assert "no such file: describe the heartbeat links in it" in cluster_dir.fails("ezha start", 3)


def test_hb_adds_and_removes_a_link_and_keeps_comments(cluster_dir: ClusterDir) -> None:
    """Removal works (in the original it never does); what an operator wrote stays."""
    path = cluster_dir.path("conf/monitor")
    path.write_text("# our links\n" + path.read_text())
    before = path.read_text()
    link = f"-n {HERE} -t net -i lo -d 239.131.50.99 -p 5099"
    assert cluster_dir.ok(f"hb -a {link} -T 10") == "heartbeat added.\n"
    assert path.read_text() == before + f"{HERE}\tnet\tlo\t239.131.50.99\t5099\t10\n"
    assert "is already on line 6" in cluster_dir.fails(f"hb -a {link} -T 10", 3)
    assert cluster_dir.ok(f"hb -r {link}") == "heartbeat removed.\n"
    assert path.read_text() == before


def test_removing_a_service_forgets_its_states(cluster_dir: ClusterDir) -> None:
    """`-r` of a frozen service; added again it starts from nothing."""
    cluster_dir.add("registry")
    assert cluster_dir.ok("service -r registry") == "Remove of service registry done\nDone.\n"
    assert cluster_dir.path("conf/services").read_text() == ""
    assert not cluster_dir.path("services/registry").exists()


def test_service_known_to_run_is_not_removed_even_without_a_daemon(cluster_dir: ClusterDir) -> None:
    """The STATE file states STARTED: hole H20 begins by forgetting that."""
    cluster_dir.add("registry")
    cluster_dir.state_file("registry").write_bytes(b"2\0")
    assert "is STARTED on this node" in cluster_dir.fails("service -r registry", 5)
    assert "registry" in cluster_dir.path("conf/services").read_text()


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_are_no_trouble(cluster_dir: ClusterDir, closed: str) -> None:
    """As from cron or a bare init: the daemon starts, a status is asked for, restart and stop work,
    all with 0.
    """
    ezha, hb = cluster_dir.path("ezha"), cluster_dir.path("bin/hb")
    for command in (f"{ezha} start", f"{hb} -s", f"{ezha} restart", f"{ezha} stop"):
        done = subprocess.run(
            ["sh", "-c", f"exec {command} {closed}"],
            env=cluster_dir.env,
            timeout=30,
            capture_output=True,
        )
        assert done.returncode == 0 and b"Traceback" not in done.stderr, (command, done)


def test_output_that_cannot_be_written_is_one_line_and_seven(cluster_dir: ClusterDir) -> None:
    """A full disk behind stdout."""
    cluster_dir.ok("ezha start")
    hb = cluster_dir.path("bin/hb")
    done = subprocess.run(
        ["sh", "-c", f"{hb} -s > /dev/full"], env=cluster_dir.env, capture_output=True, text=True
    )
    assert done.returncode == 7
    assert done.stderr == "cannot write the output: No space left on device\n"


def test_json_status_is_one_document(cluster_dir: ClusterDir) -> None:
    """For tools: the same facts, with the reasons."""
    cluster_dir.add("registry")
    cluster_dir.ok("ezha start")
    status = json.loads(cluster_dir.ok("service -s --json"))
    assert status["services"][0]["primary_state"] == "FROZEN_STOP"
    assert {link["kind"] for link in status["links"]} == {"unicast", "dio"}
    assert any("not authenticated" in text for text in status["warnings"])


@pytest.mark.parametrize("option", ["--help", "-h", "--version"])
@pytest.mark.parametrize(
    "words",
    [
        ["start"],
        ["stop"],
        ["restart"],
        ["reload"],
        ["kill"],
        ["status"],
        ["ezha", "start"],
        ["ezha"],
        ["service"],
        ["service", "-a"],
        ["service", "-A"],
        ["hb", "-a"],
        ["key", "install"],
        ["history"],
        ["why"],
        ["ps"],
        ["nmond"],
        ["install"],
        ["agent", "install"],
        ["monitor"],
        ["svcmgr"],
        ["svcmon"],
    ],
)
def test_help_and_version_are_no_mistakes(
    words: list[str], option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`openha stop --help`, `service -a -h`, `hb --version`: on stdout, with 0, and nothing is
    done.
    """
    if words[0] in ("svcmgr", "svcmon") and option == "-h":
        option = "--help"
    try:
        code = main([*words, option])
    except SystemExit as error:
        code = int(error.code or 0)
    shown = capsys.readouterr()
    assert (code, shown.err) == (0, "")
    name = (
        "ezha" if words[0] in ("start", "stop", "restart", "reload", "kill", "status") else words[0]
    )
    assert shown.out == f"{name} {__version__}\n" if option == "--version" else "sage" in shown.out


def test_demo_is_a_program_of_its_own_that_openha_runs() -> None:
    """`openha demo --help` is the help of the demo; `openha-demo` is the same program."""
    for words in (["opensvc_openha", "demo"], ["opensvc_openha.demo"]):
        done = subprocess.run(
            [sys.executable, "-m", *words, "--help"], capture_output=True, text=True, check=True
        )
        assert done.stdout.startswith("Usage: openha demo") and not done.stderr
