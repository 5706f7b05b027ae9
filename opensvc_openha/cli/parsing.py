"""Parse the words of every command with argparse, with the errors and the help of this package.

argparse costs several milliseconds: the modules of the commands import this one where they build
their parser, and recognise the usual status calls without it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence

from opensvc_openha import __version__
from opensvc_openha.errors import UsageError
from opensvc_openha.formats.suggestion import did_you_mean, what_to_write
from opensvc_openha.hints import Any, NoReturn
from opensvc_openha.system.order_reason import VARIABLE, check_reason

_INFORMATION = ("-h", "--help", "--version")
_TEXTS = {
    "the following arguments are required: ": "expected ",
    "ignored explicit argument ": "takes no value; found ",
}


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Write a metavar with blanks as it is: it stands for all words of an option."""

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        if isinstance(action.metavar, str) and " " in action.metavar:
            return action.metavar
        return super()._format_args(action, default_metavar)

    def add_usage(
        self,
        usage: str | None,
        actions: Iterable[argparse.Action],
        groups: Iterable[Any],
        prefix: str | None = None,
    ) -> None:
        super().add_usage(usage, actions, groups, "Usage: " if prefix is None else prefix)


class _SetReason(argparse.Action):
    """Set the reason of all orders that this process gives."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        os.environ[VARIABLE] = values


def _reason(text: str) -> str:
    try:
        return check_reason(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


class Parser(argparse.ArgumentParser):
    """A parser whose errors are UsageErrors of one line that name what to write."""

    def __init__(self, prog: str, description: str, **more: Any) -> None:
        super().__init__(
            prog=prog,
            description=description,
            formatter_class=_Formatter,
            allow_abbrev=False,
            add_help=False,
            **more,
        )
        self.verbs: dict[str, Parser] = {}
        self._verb_action: Any = None
        self.add_argument("-h", "--help", action="help", help="show this help and exit")
        self.add_argument(
            "--version",
            action="version",
            version=f"{prog.removeprefix('openha ').split()[0]} {__version__}",
            help="show the version and exit",
        )

    def add_flag(self, *names: str, help: str, dest: str = "") -> None:
        """Add an option without a value."""
        dest = dest or names[-1].lstrip("-").replace("-", "_")
        self.add_argument(*names, action="store_true", dest=dest, help=help)

    def add_reason(self) -> None:
        """Add the option that says why an order is given; it is set for what the process asks."""
        self.add_argument(
            "--reason",
            metavar="TEXT",
            type=_reason,
            action=_SetReason,
            help='why, as "CHG-12": kept in the history, shown by `why`',
        )

    def add_verb(self, name: str, summary: str) -> Parser:
        """Return the parser of a further word that selects what the command does."""
        if self._verb_action is None:
            self._verb_action = self.add_subparsers(dest="verb", metavar="VERB")
        verb: Parser = self._verb_action.add_parser(
            name, help=summary, description=f"{summary[:1].upper()}{summary[1:]}."
        )
        self.verbs[name] = verb
        return verb

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """Return the parsed words; options may stand anywhere.

        Raise UsageError for wrong ones. Help and version are shown, and SystemExit is raised, even
        if the rest is incomplete, as in `service -a --help`.
        """
        try:
            if self.verbs:
                found, rest = self.parse_known_args(words)
            else:
                found, rest = self.parse_known_intermixed_args(words)
            for word in rest:
                self.error(self._unexpected(word))
            if self.verbs and found.verb is None:
                self.error(f"expected one of {', '.join(self.verbs)}")
        except UsageError:
            asked = [word for word in words if word in _INFORMATION]
            if asked:
                self.parse_args(asked[:1])
            raise
        return found

    def error(self, message: str) -> NoReturn:
        """Raise UsageError, with argparse's texts in the words of the other messages."""
        for theirs, ours in _TEXTS.items():
            message = message.replace(theirs, ours)
        raise UsageError(f"{self.prog}: {message} (see {self.prog} --help)")

    def _unexpected(self, word: str) -> str:
        if not word.startswith("-"):
            return f"unexpected {word!r}"
        known = set(self.option_names())
        for verb, parser in self.verbs.items():
            known.update(parser.option_names())
            if word in parser.option_names():
                return f"{word} is an option of `{self.prog} {verb}`"
        return f"unknown option {word}{did_you_mean(word.partition('=')[0], known)}"

    def option_names(self) -> list[str]:
        """Return every spelling of an option that the help shows."""
        return [
            name
            for action in self._actions
            if action.help != argparse.SUPPRESS
            for name in action.option_strings
        ]

    def _print_message(self, message: str, file: Any = None) -> None:
        # argparse ignores errors.
        (file or sys.stdout).write(message)

    def _match_argument(self, action: argparse.Action, arg_strings_pattern: str) -> int:
        try:
            return super()._match_argument(action, arg_strings_pattern)
        except argparse.ArgumentError:
            words = action.metavar or action.dest.upper()
            self.error(f"expected `{'|'.join(action.option_strings)} {words}`")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            words = " ".join([*action.option_strings[-1:], value])
            self.error(f"{words!r} is unknown: {what_to_write(value, action.choices)}")
