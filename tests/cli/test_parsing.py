"""The words of every command: parsers that manuals can be made from, and answers to wrong words."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from opensvc_openha import __version__
from opensvc_openha.cli.main import COMMANDS, build_parser, main, parser_of
from opensvc_openha.cli.parsing import Parser
from opensvc_openha.cli.streams import is_report
from opensvc_openha.errors import UsageError
from opensvc_openha.formats.suggestion import suggest, which_service


def parsers_of(name: str) -> Iterator[Parser]:
    """The parser of a command, and those of its verbs."""
    parser = parser_of(name)
    yield parser
    yield from parser.verbs.values()


def shown(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command prints that ends with 0 and writes nothing to stderr."""
    try:
        code = main(words)
    except SystemExit as ended:
        code = int(ended.code or 0)
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    return out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_parser_is_documented(name: str) -> None:
    """A description, and a text for each option and word: what manuals are made of."""
    assert COMMANDS[name].summary and COMMANDS[name].group
    for parser in parsers_of(name):
        assert parser.description and parser.description.endswith(".")
        actions = [
            action
            for action in parser._actions
            if not isinstance(action, argparse._SubParsersAction)
        ]
        assert [action for action in actions if not action.help] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_verb_has_help_and_version(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """On stdout with 0; the help names every option that is not hidden."""
    for parser in parsers_of(name):
        words = parser.prog.removeprefix("openha ").split()
        text = shown([*words, "--help"], capsys)
        assert text.startswith("Usage: ") and set(parser.option_names()) <= set(
            text.replace(",", " ").split()
        )
        assert text == shown(["help", *words], capsys) or len(words) > 1
        assert shown([*words, "--version"], capsys) == f"{words[0]} {__version__}\n"


def test_help_of_openha_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """In its groups, with one line each."""
    assert "openha COMMAND" in build_parser().format_usage()
    for word in ("--help", "-h", "help"):
        text = shown([word], capsys)
        assert [name for name in COMMANDS if f"\n  {name:14} " not in text] == []


@pytest.mark.parametrize(
    "words, text",
    [
        (["servce", "-s"], "unknown command 'servce': did you mean service?"),
        (["xyz"], "unknown command 'xyz': expected one of service, hb, "),
        (["service", "--jsn"], "service: unknown option --jsn: did you mean --json?"),
        (["service", "-s", "web"], "service: unexpected 'web'"),
        (["service", "-i", "web", "-v"], "service: -c, -v and --json are for -s"),
        (["service", "-A", "web", "start", "now"], "expected `-A [NAME] ACTION`, found 3 words"),
        (["service", "-A", "freeze"], "action freeze not found: did you mean freeze-start or"),
        (["service", "-A", "unfreze"], "action unfreze not found: did you mean unfreeze?"),
        (["service", "-s", "-i", "web"], "service: argument -i: not allowed with argument -s"),
        (["hb", "-s", "-x"], "hb: unknown option -x"),
        (["hb", "-a", "-n"], "hb: expected `-n node`"),
        (["hb", "--forc"], "unknown option --forc: did you mean --force?"),
        (["ezha", "strat"], "ezha: 'strat' is unknown: did you mean start?"),
        (["start", "now"], "ezha: unexpected 'now'"),
        (["key", "instal", "x"], "openha key: 'instal' is unknown: did you mean install?"),
        (["key", "install"], "openha key install: expected FILE"),
        (["fence"], "openha fence: expected one of status, test, plan, confirm, release"),
        (["fence", "--json"], "openha fence: --json is an option of `openha fence status`"),
        (["hb"], "hb: An option is missing. Expected one of -s, -a, -r"),
        (["hb", "-a", "-r"], "hb: Incompatible options. Expected one of -s, -a, -r"),
        (["service", "--json=3"], "service: argument --json: takes no value; found '3'"),
        (["service", "-A", "stop", "web"], "service: write `-A web stop`, the name first"),
        (["agent", "isntall"], "openha agent: 'isntall' is unknown: did you mean install?"),
        (["agent", "fence"], "a service is named for fence and probe"),
        (["install", "--prefx", "/x"], "unknown option --prefx: did you mean --prefix?"),
        (["install", "--layout", "tre"], "'--layout tre' is unknown: did you mean tree?"),
        (["history", "-n", "x"], "argument -n: expected a number; found 'x'"),
        (["why"], "openha why: expected SERVICE"),
        (["nmond", "-d"], "nmond: unknown option -d"),
        (["ps", "aux"], "openha ps: unexpected 'aux'"),
        (["monitor", "-f"], "openha monitor: unknown option -f"),
        (["demo", "--fst"], "openha demo: unknown option --fst: did you mean --fast?"),
        (["svcmgr", "-s", "web", "--frce", "start"], "unknown option --frce: did you mean --force"),
        (["svcmgr", "--servic", "web", "start"], "unknown option --servic: did you mean --service"),
        (["svcmgr", "-s", "web"], "svcmgr: no action given"),
        (["svcmon", "--watc"], "unknown option --watc: did you mean --watch?"),
        (["svcmon", "web"], "svcmon: unexpected 'web'"),
    ],
)
def test_wrong_words_get_one_line_with_what_to_write(words: list[str], text: str) -> None:
    """Exit code 2, the command, what is wrong with it, and what was probably meant."""
    with pytest.raises(UsageError) as caught:
        main(words)
    line = str(caught.value)
    assert text in line and "\n" not in line
    assert "--help)" in line or "service -A" in " ".join(words[:2])


def test_words_that_are_close_to_nothing_get_no_wrong_advice() -> None:
    """The opposite of what was meant is not offered, nor a name that only looks alike."""
    actions = ("start", "stop", "freeze-stop", "freeze-start", "unfreeze")
    assert suggest("freeze", actions) == "freeze-start or freeze-stop"
    assert suggest("START", actions) == "start"
    assert suggest("", actions) == suggest("backup", actions) == ""
    assert which_service("regist", ["registry", "web"]) == "did you mean registry?"
    assert which_service("x", list("abcdefg")) == "there is a, b, c, d, e and 2 more"
    assert "service -a adds one" in which_service("x", [])


@pytest.mark.parametrize(
    "words",
    [
        *("service -s", "service -s -c", "service -sc", "service -s -v", "hb -s", "hb -s -v"),
        *("status", "ezha status", "svcmon", "svcmon --service=a,b"),
    ],
)
def test_usual_status_calls_load_no_parser(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither argparse nor getopt: a status must be quick."""
    code = (
        "import sys\nfrom opensvc_openha.cli.main import main\n"
        "from opensvc_openha.errors import NotRunningError\n"
        f"try: main({words.split()!r})\n"
        "except NotRunningError: pass\n"
        "print({'argparse', 'getopt'} & set(sys.modules), file=sys.stderr)"
    )
    for name in ("EZ", "OSVC_ETC", "OSVC_VAR", "OSVC_LOG"):
        monkeypatch.setenv(name, str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == "set()"


def test_daemon_and_monitor_are_spared_the_parser() -> None:
    """They run for months: no module of theirs loads argparse."""
    code = (
        "import sys\nfrom opensvc_openha.cli import monitor, nmond\n"
        "from opensvc_openha.daemon import launch\n"
        "nmond._monitor()\nprint({'argparse', 'difflib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_report_of_fencing_fails_if_it_cannot_be_written() -> None:
    """`fence status` is a report, `fence confirm` an action."""
    assert is_report(["fence", "status"]) and not is_report(["fence", "confirm", "deb2"])


def test_help_that_cannot_be_written_is_an_error() -> None:
    """A full disk behind stdout: one line, and 7."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "opensvc_openha", "service", "--help"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 7
    assert done.stderr == "cannot write the output: No space left on device\n"
