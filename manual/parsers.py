"""Parsers of all commands, and the one tree that they make with ``openha`` at its root."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from opensvc_openha.cli.main import COMMANDS, build_parser, parser_of
from opensvc_openha.cli.parsing import Parser

OWN_NAMES = ("ezha", "hb", "nmond", "svcmgr", "svcmon")
"""Commands with a name of their own; that of ``service`` is one of the system."""


def command_parsers() -> Mapping[str, Parser]:
    """Return the parser of each subcommand, named as it is called: ``openha NAME``."""
    found = {name: parser_of(name) for name in COMMANDS}
    for name, parser in found.items():
        _hide_common_options(parser)
        if parser.usage:
            parser.usage = parser.usage.replace(f"{parser.prog} ", f"openha {name} ")
        if name != "svcmgr":
            _rename(parser, parser.prog, f"openha {name}")
    return found


def _hide_common_options(parser: Parser) -> None:
    """Leave help and version to the page of ``openha``: every command has them."""
    for action in parser._actions:
        if action.dest in ("help", "version"):
            action.help = argparse.SUPPRESS
    for verb in parser.verbs.values():
        _hide_common_options(verb)


def _rename(parser: Parser, before: str, after: str) -> None:
    parser.prog = parser.prog.replace(before, after, 1)
    for verb in parser.verbs.values():
        _rename(verb, before, after)


def whole_tree() -> Parser:
    """Return the parser of ``openha`` with those of all commands below it."""
    root = build_parser()
    # The word of the command is that which subparsers add.
    root._remove_action(next(action for action in root._actions if action.dest == "command"))
    commands: Any = root.add_subparsers(dest="command", metavar="COMMAND")
    for name, parser in command_parsers().items():
        commands.add_parser(name, prog=parser.prog, description="", help=COMMANDS[name].summary)
        commands._name_parser_map[name] = parser
    return root


def usage_lines(parser: argparse.ArgumentParser) -> list[str]:
    """Return each way to write the command, in one line."""
    if parser.usage:
        return [line.strip() for line in parser.usage.splitlines()]
    return [" ".join(parser.format_usage().partition(":")[2].split())]
