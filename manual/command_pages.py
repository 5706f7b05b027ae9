"""Manual pages of commands, section 8: the words of their parsers, by argparse-manpage."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping
from unittest import mock

from argparse_manpage.manpage import Manpage

from manual import roff
from manual.file_pages import FILE_PAGES
from manual.parsers import OWN_NAMES, command_parsers, usage_lines
from opensvc_openha import errors
from opensvc_openha.cli.main import COMMANDS
from opensvc_openha.cli.parsing import Parser
from opensvc_openha.formats.layout import fhs_layout, tree_layout

_VARIABLES = {
    "EZ": "the cluster directory",
    "EZ_BIN": "the commands of the original",
    "EZ_CONF": "configuration and key",
    "EZ_VAR": "states, locks, the history and the control socket",
    "EZ_LOG": "logs",
    "EZ_SERVICES": "list of the services",
    "EZ_NODES": "names of both nodes",
    "EZ_MONITOR": "heartbeat links",
}


def command_pages() -> Mapping[str, str]:
    """Return the text of each page by its file name."""
    # argparse wraps at the width of the terminal; troff does that here.
    with mock.patch.dict(os.environ, {"COLUMNS": "1000"}):
        pages = {"openha.8": _main_page()}
        for name, parser in command_parsers().items():
            pages[f"openha-{name}.8"] = _page(name, parser)
    return pages


def exit_codes() -> Mapping[int, str]:
    """Return what each exit code means, from the exceptions that have it."""
    found = {0: "Done."}
    pending = [errors.OpenhaError]
    while pending:
        error = pending.pop(0)
        if error.exit_code not in found:
            found[error.exit_code] = (error.__doc__ or "").partition("\n")[0]
        pending += error.__subclasses__()
    found[errors.OpenhaError.exit_code] = "An error that is none of the others."
    return dict(sorted(found.items()))


def _main_page() -> str:
    lines = [
        roff.heading("openha", 8),
        roff.title("NAME"),
        "openha \\- high availability for two nodes",
        roff.title("SYNOPSIS"),
        f"{roff.bold('openha')} \\fICOMMAND\\fR [\\fIoptions\\fR]",
        roff.title("DESCRIPTION"),
        roff.paragraph(
            "Two nodes watch each other over heartbeat links, and run services by their start and"
            " stop scripts: each on one node. A node that falls silent is fenced, and its services"
            " are started on the other one. The node daemon decides; these commands ask it and act"
            " on it."
        ),
        roff.title("OPTIONS"),
        roff.paragraph("Every command has these."),
        roff.entry("`-h`, `--help`", "show help and exit"),
        roff.entry("`--version`", "show the version and exit"),
        roff.title("COMMANDS"),
    ]
    for group in dict.fromkeys(command.group for command in COMMANDS.values()):
        lines.append(roff.subtitle(group))
        for name, command in COMMANDS.items():
            if command.group == group:
                lines.append(
                    f".TP\n{roff.bold(f'openha-{name}')}(8)\n{roff.prose(command.summary)}"
                )
    lines += [
        roff.paragraph(
            "`openha COMMAND --help` describes each. In the tree layout `service`, `hb`, `nmond`"
            " and `ezha` are commands of their own below the cluster directory, as in OpenHA."
        ),
        _exit_status(),
        roff.title("ENVIRONMENT"),
        roff.paragraph(
            "Each place of a file can be changed. The defaults are those of the tree layout, and of"
            " the FHS layout, which is used if there is no tree."
        ),
    ]
    tree, fhs = tree_layout().environment(), fhs_layout().environment()
    for name, text in _VARIABLES.items():
        lines.append(roff.entry(f"`{name}`", f"{text}: {tree[name]}, or {fhs[name]}"))
    lines += [
        roff.entry("`EZ_DEBUG`", "if set, an unexpected error shows its traceback"),
        _files(),
        roff.see_also([f"openha-{name}(8)" for name in COMMANDS] + _file_names()),
    ]
    return roff.page(lines)


def _file_names() -> list[str]:
    return [f"{name.removesuffix('.5')}(5)" for name in FILE_PAGES]


def _files() -> str:
    layout = tree_layout()
    return "\n".join(
        [
            roff.title("FILES"),
            roff.entry(f"`{layout.nodes_file}`", "names of both nodes (`uname -n`), one a line"),
            roff.entry(f"`{layout.monitor_file}`", "heartbeat links, see monitor(5)"),
            roff.entry(f"`{layout.options_file}`", "options, see openha.conf(5)"),
            roff.entry(f"`{layout.key_file}`", "the secret of the cluster, mode 0600"),
            roff.entry(f"`{layout.services_file}`", "services; `openha service -a` writes it"),
            roff.entry(f"`{layout.log_dir}/nmond.log`", "changes of states, with their reasons"),
        ]
    )


def _exit_status() -> str:
    lines = [roff.title("EXIT STATUS")]
    lines += [roff.entry(f"`{code}`", text) for code, text in exit_codes().items()]
    lines.append(roff.entry("`128+N`", "Signal N ended an action."))
    return "\n".join(lines)


def _page(name: str, parser: Parser) -> str:
    notes, parser.epilog = parser.epilog, None
    parser._positionals.title = "verbs" if parser.verbs else "arguments"
    for verb in parser.verbs.values():
        # Its help is printed above it, and an epilog not at all.
        verb.description = verb.epilog
    page = Manpage(
        parser,
        format="single-commands-section",
        _data={
            "manual_section": 8,
            "description": COMMANDS[name].summary,
            "project_name": "opensvc-openha",
            "manual_title": "OpenHA",
        },
    )
    page.prog = f"openha-{name}"
    # Ours writes the words of an option once, however many they are.
    page.mf._format_args = page.formatter._format_args
    page.add_section("synopsis", "=", _synopsis(parser))
    text = str(page)
    header, _, rest = text.partition("\n")
    rest = _tidy(rest)
    if name in OWN_NAMES:
        rest = rest.replace(f"\nopenha\\-{name} \\-", f"\nopenha\\-{name}, {name} \\-", 1)
    lines = [roff.heading(f"openha-{name}", 8), rest.rstrip("\n")]
    if notes:
        lines += [roff.title("NOTES"), roff.formatted(notes)]
    lines += [_exit_status(), roff.see_also(["openha(8)", *_file_names()])]
    return roff.page(lines)


def _synopsis(parser: argparse.ArgumentParser) -> str:
    lines = []
    for usage in usage_lines(parser):
        command = re.match(r"(openha [a-z-]+|[a-z]+|SERVICE) ?", usage)
        assert command, usage
        lines += [roff.bold(command[1]) + " " + roff.literal(usage[command.end() :]), ".br"]
    return "\n".join(lines[:-1])


def _tidy(text: str) -> str:
    """Return what argparse-manpage has written as mandoc likes it, code in bold."""
    lines: list[str] = []
    for line in text.split("\n"):
        if line and not line.strip():
            continue
        if not line and (not lines or lines[-1].startswith((".SH", ".SS", ".TP"))):
            continue
        # A blank line is a paragraph.
        line = re.sub(r"`([^`]+)`", r"\\fB\1\\fR", line) or ".PP"
        if re.match(r"'|\.(?!br$|[A-Z]{2})", line):
            line = rf"\&{line}"
        lines.append(line)
    return "\n".join(lines)
