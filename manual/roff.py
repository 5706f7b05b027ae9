"""Text to the man macros of troff."""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Iterable, Sequence

from argparse_manpage.compat import get_reproducible_date

from opensvc_openha import __version__

_WIDTH = 79
_CODE = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\[([^\]]+)\]\([^)]*\)")


def heading(name: str, section: int) -> str:
    """Return the first line of a page; the date is that of SOURCE_DATE_EPOCH, else today."""
    title, date = literal(name.upper()), get_reproducible_date()
    return f'.TH {title} "{section}" "{date}" "opensvc\\-openha {__version__}" "OpenHA"'


def page(lines: Iterable[str]) -> str:
    """Return a whole page: its lines of text are broken, and empty paragraphs left out."""
    text = re.sub(r"^(\.S[HS] .*)\n\.PP$", r"\1", "\n".join(lines), flags=re.MULTILINE)
    # A paragraph that begins with a list or the next title is none.
    text = re.sub(r"^\.PP\n(?=\.(?:TP|S[HS]|PP))", "", text, flags=re.MULTILINE)
    found: list[str] = []
    is_kept, is_term = False, False
    for line in text.split("\n"):
        is_kept = line == ".nf" or (is_kept and line != ".fi")
        if is_kept or is_term or line.startswith("."):
            found.append(line)
        else:
            wrapped = textwrap.wrap(line, _WIDTH, break_long_words=False, break_on_hyphens=False)
            found += map(_begin, wrapped)
        # The line after it is a term, however long.
        is_term = line == ".TP"
    return "\n".join(found) + "\n"


def _begin(line: str) -> str:
    """Return a line of text that troff takes for no request."""
    return re.sub(r"^(?=[.'])", r"\\&", line)


def literal(text: str) -> str:
    """Return text that troff prints as it is, also at the beginning of a line."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^(?=[.'])", r"\\&", text, flags=re.MULTILINE)


def prose(text: str) -> str:
    """Return Markdown of one paragraph: code is bold, of a link its text stays."""
    parts = _CODE.split(_LINK.sub(r"\1", " ".join(text.split())))
    marked = [bold(part) if number % 2 else literal(part) for number, part in enumerate(parts)]
    return "".join(marked)


def bold(text: str) -> str:
    """Return text in bold."""
    return f"\\fB{literal(text)}\\fR"


def title(text: str) -> str:
    """Return the line that begins a section."""
    return f".SH {literal(text)}"


def subtitle(text: str) -> str:
    """Return the line that begins a part of a section."""
    return f".SS {literal(text)}"


def paragraph(text: str) -> str:
    """Return one paragraph of Markdown."""
    return f".PP\n{prose(text)}"


def entry(term: str, text: str) -> str:
    """Return an entry of a list of definitions; ``term`` is Markdown, too."""
    return f".TP\n{prose(term)}\n{prose(text)}"


def verbatim(lines: Iterable[str]) -> str:
    """Return lines that keep their ends and blanks."""
    return "\n".join([".PP", ".RS 4", ".nf", *map(literal, lines), ".fi", ".RE"])


def formatted(text: str) -> str:
    """Return text of which paragraphs are filled, and indented lines are kept as they are."""
    parts: list[str] = []
    for kind, group in itertools.groupby(text.split("\n"), _kind_of_line):
        lines = list(group)
        if kind == "indented":
            parts.append(verbatim(line.strip() for line in lines))
        elif kind == "filled":
            parts.append(paragraph(" ".join(lines)))
    return "\n".join(parts)


def _kind_of_line(line: str) -> str:
    return "indented" if line.startswith("  ") else "filled" if line else "blank"


def see_also(names: Sequence[str]) -> str:
    """Return the last section, with names such as ``openha.conf(5)``."""
    shown = [f"{bold(name[:-3])}({name[-2]})" for name in names]
    return "\n".join([title("SEE ALSO"), ",\n".join(shown)])
