"""Pages of the documentation site about each command, in Markdown."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from pathlib import Path
from unittest import mock

from manual.command_pages import exit_codes
from manual.parsers import OWN_NAMES, command_parsers, usage_lines
from opensvc_openha.cli.main import COMMANDS
from opensvc_openha.cli.parsing import Parser


def write_command_pages(folder: Path) -> None:
    """Write a page for each command and one that lists them; touch none that is up to date."""
    with mock.patch.dict(os.environ, {"COLUMNS": "1000"}):
        pages = {name: _page(name, parser) for name, parser in command_parsers().items()}
    pages["index"] = _index()
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.md"):
        if old.stem not in pages:
            old.unlink()
    for name, text in pages.items():
        path = folder / f"{name}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def _index() -> str:
    lines = [
        "# Commands",
        "",
        "Each is a subcommand of `openha`. `openha COMMAND --help` and `man openha-COMMAND` print"
        " what its page here has.",
    ]
    for group in dict.fromkeys(command.group for command in COMMANDS.values()):
        lines += ["", f"## {group}", "", "| command | what it does |", "|---|---|"]
        lines += [
            f"| [`openha {name}`]({name}.md) | {command.summary} |"
            for name, command in COMMANDS.items()
            if command.group == group
        ]
    own = ", ".join(f"`{name}`" for name in ("service", *OWN_NAMES))
    lines += [
        "",
        f"In the tree layout these are commands of their own, too: {own}. The embedded agent adds a"
        " command for each service, and `allservices`, `allupservices` and the like.",
        "",
        "```{toctree}",
        ":hidden:",
        "",
        *COMMANDS,
        "```",
    ]
    return "\n".join(lines) + "\n"


def _page(name: str, parser: Parser) -> str:
    lines = [f"# openha {name}", "", *_body(parser)]
    for verb, inner in parser.verbs.items():
        lines += ["", f"## openha {name} {verb}", "", *_body(inner)]
    codes = ", ".join(f"{code}" for code in exit_codes())
    lines += ["", f"[Exit codes](../exit-codes.md): {codes}."]
    return "\n".join(lines) + "\n"


def _body(parser: Parser) -> Iterable[str]:
    yield _text(parser.description or "")
    yield from ("", "```text", *usage_lines(parser), "```")
    rows = [
        f"| {_written(action)} | {_cell(parser, action)} |"
        for action in parser._actions
        if action.help != argparse.SUPPRESS and action.dest != "verb"
    ]
    if rows:
        yield from ("", "| option or word | meaning |", "|---|---|", *rows)
    if parser.epilog:
        yield from ("", "```text", *parser.epilog.splitlines(), "```")


def _written(action: argparse.Action) -> str:
    words = action.metavar
    if action.nargs == 0:
        words = ""
    elif words is None:
        words = "{" + ",".join(map(str, action.choices or ())) + "}"
    names = action.option_strings or [""]
    return ", ".join(f"`{f'{name} {words}'.strip()}`" for name in names).replace("|", "\\|")


def _cell(parser: Parser, action: argparse.Action) -> str:
    shown = parser._get_formatter()._expand_help(action)
    return _text(shown).replace("|", "\\|")


def _text(text: str) -> str:
    """Return text that Markdown shows as it is, but for code."""
    parts = " ".join(text.split()).split("`")
    for number in range(0, len(parts), 2):
        for sign in "\\*_[]<>#":
            parts[number] = parts[number].replace(sign, f"\\{sign}")
    return "`".join(parts)
