"""Manual pages and completion are made of every command, option, keyword and link type there is."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

pytest.importorskip("argparse_manpage")
pytest.importorskip("shtab")

from manual.__main__ import main
from manual.parsers import command_parsers
from opensvc_openha.agent.config import schema
from opensvc_openha.cli.main import COMMANDS
from opensvc_openha.formats.options_schema import SECTIONS
from opensvc_openha.links.registry import LINK_TYPES


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("manual")
    main(target)
    return target


def _text(path: Path) -> str:
    """Return a page without what troff needs for hyphens, fonts and backslashes."""
    return re.sub(r"\\f[BIR]|\\&", "", path.read_text()).replace("\\-", "-").replace("\\e", "\\")


@pytest.mark.parametrize("name", COMMANDS)
def test_page_of_a_command_has_its_options_and_verbs(made: Path, name: str) -> None:
    text = _text(made / f"man/man8/openha-{name}.8")
    assert f"openha-{name}" in text.split(".SH SYNOPSIS")[0]
    parser = command_parsers()[name]
    for part in (parser, *parser.verbs.values()):
        for action in part._actions:
            if action.help != "==SUPPRESS==" and action.dest != "verb":
                for option in action.option_strings:
                    assert option in text
    for verb in parser.verbs:
        assert f".SS openha {name} {verb}" in text


def test_page_of_openha_names_all_commands(made: Path) -> None:
    text = _text(made / "man/man8/openha.8")
    for name, command in COMMANDS.items():
        assert f"openha-{name}(8)\n{command.summary.split('`')[0]}" in text


def test_page_of_openha_conf_has_every_option(made: Path) -> None:
    text = _text(made / "man/man5/openha.conf.5")
    for section in SECTIONS:
        assert f".SH [{section.name}]" in text
        for option in (*section.options, *section.inner_options):
            assert re.search(rf"^(As above: .*)?{option.name}\b", text, re.MULTILINE), option.name
        for part in section.parts:
            assert f".SS [[{part.name}]]" in text
            for option in part.options:
                assert f".TP\n{option.name} = " in text


def test_page_of_the_monitor_file_has_every_type(made: Path) -> None:
    text = _text(made / "man/man5/monitor.5")
    for word, type_ in LINK_TYPES.items():
        assert f"NODE {word} {' '.join(type_.columns)} timeout" in text


def test_page_of_service_files_has_every_keyword(made: Path) -> None:
    text = _text(made / "man/man5/openha-service.env.5")
    shown = [each for each in schema.OF_ALL_KINDS if not each.is_ignored]
    for kind in schema.KINDS:
        assert f".SH [{kind}#N]" in text
    for keyword in (*shown, schema.NODES, schema.OPTIONAL, schema.PARALLEL):
        assert re.search(rf"^{keyword.name}\b", text, re.MULTILINE), keyword.name


@pytest.mark.skipif(not shutil.which("mandoc"), reason="mandoc is not installed")
def test_mandoc_finds_nothing_wrong(made: Path) -> None:
    pages = sorted(map(str, made.glob("man/*/*")))
    lint = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", *pages], capture_output=True, text=True
    )
    assert lint.stdout + lint.stderr == ""


@pytest.mark.skipif(not shutil.which("groff"), reason="groff is not installed")
def test_groff_warns_of_nothing(made: Path) -> None:
    pages = sorted(map(str, made.glob("man/*/*")))
    command = ["groff", "-ww", "-man", "-T", "ascii", "-z", *pages]
    lint = subprocess.run(command, capture_output=True, text=True)
    assert lint.stderr == ""


def test_names_of_commands_of_their_own_are_links(made: Path) -> None:
    link = made / "man/man8/svcmgr.8"
    assert link.is_symlink() and "svcmgr" in link.read_text()


@pytest.fixture
def cluster(tmp_path: Path) -> Mapping[str, str]:
    """Return the environment of a cluster with two services, two nodes and an agent's service."""
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/services").write_text("# services\nregistry /r.cluster\nbusybox /b.cluster\n")
    (tmp_path / "conf/nodes").write_text("deb1\ndeb2\n")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/web.example.org.env").touch()
    return {"EZ": str(tmp_path), "OSVC_ETC": f"{tmp_path}/etc", "PATH": "/usr/bin:/bin"}


_OFFERED = {
    "openha wh": {"why", "whatif"},
    "openha why ": {"registry", "busybox"},
    "openha service -A re": {"registry"},
    "openha service -A registry un": {"unfreeze"},
    "openha fence ": {"status", "test", "plan", "confirm", "release"},
    "openha fence confirm ": {"deb1", "deb2"},
    "openha hb -a -t ": set(LINK_TYPES),
    "openha svcmgr -s ": {"web.example.org"},
}


@pytest.mark.parametrize("line", _OFFERED)
def test_bash_completes(made: Path, cluster: Mapping[str, str], line: str) -> None:
    words = line.split(" ")
    script = (
        f'source "$0"; COMP_WORDS=("$@"); COMP_CWORD={len(words) - 1}; _shtab_openha;'
        ' printf "%s\\n" "${COMPREPLY[@]}"'
    )
    command = ["bash", "-c", script, f"{made}/completion/bash/openha", *words]
    shown = subprocess.run(command, capture_output=True, text=True, env=cluster)
    assert shown.stderr == "" and set(shown.stdout.split()) == _OFFERED[line]


@pytest.mark.skipif(not shutil.which("fish"), reason="fish is not installed")
@pytest.mark.parametrize("line", [line for line in _OFFERED if "registry un" not in line])
def test_fish_completes_all_but_the_second_word_of_an_option(
    made: Path, cluster: Mapping[str, str], line: str, tmp_path: Path
) -> None:
    script = (
        f"function openha; end; source {made}/completion/fish/openha.fish; complete -C '{line}'"
    )
    shown = subprocess.run(
        ["fish", "--no-config", "-c", script],
        capture_output=True,
        text=True,
        env={**cluster, "HOME": str(tmp_path)},
    )
    offered = {row.split("\t")[0] for row in shown.stdout.splitlines()}
    assert offered == _OFFERED[line]


@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not installed")
def test_zsh_reads_its_file_and_finds_the_names(made: Path, cluster: Mapping[str, str]) -> None:
    file = f"{made}/completion/zsh/_openha"
    assert subprocess.run(["zsh", "-n", file]).returncode == 0
    # compadd works within completion only: here it prints what it would add.
    script = (
        'compadd() { print -l ${(P)${@[-1]}} }; compdef() { :; }; eval "$(<$0)";'
        " _openha_add services stop; _openha_add agents; _openha_add - net"
    )
    shown = subprocess.run(
        ["zsh", "-f", "-c", script, file], capture_output=True, text=True, env=cluster
    )
    assert shown.stdout.split() == ["stop", "registry", "busybox", "web.example.org", "net"]
