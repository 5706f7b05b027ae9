"""Read the lines of a service file: sections, their raw keywords, and the line of each.

The syntax is that of the agent, which is Python's configparser: ``keyword = value`` or ``keyword:
value``, comment lines with '#' or ';', and values continued in indented lines. In addition keywords
may be indented, and groups and keywords may be in capitals. A duplicate, or a line that is none of
these, is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from opensvc_openha.errors import ConfigError

_LINE_END = re.compile(r"\r\n|\r|\n")
_HEADER = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\](.*)\Z", re.DOTALL)
_KEYWORD = re.compile(r"\s*([^\s=:#;\[][^=:]*?)\s*[=:]")
_INDENTED_KEYWORD = re.compile(r"[A-Za-z_]\w*(@[\w.-]+)?\s*=")
_NO_DEFAULTS = "\0"


class Places:
    """Line numbers of headers and keywords; configparser does not keep them."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._headers: dict[str, int] = {}
        self._keywords: dict[str, dict[str, int]] = {}
        section = ""
        for number, line in enumerate(lines, 1):
            header = _HEADER.match(line)
            keyword = _KEYWORD.match(line)
            if header:
                section = header.group(1)
                self._headers.setdefault(section, number)
            elif keyword and not line[:1].isspace():
                self._keywords.setdefault(section, {}).setdefault(keyword.group(1).lower(), number)

    def header(self, section: str) -> int | None:
        """Return the line of a section's header."""
        return self._headers.get(section)

    def of(self, section: str) -> Mapping[str, int]:
        """Return the lines of a section's keywords, by lower-case spelling in the file."""
        return self._keywords.get(section, {})


def read_sections(text: str, path: str) -> tuple[dict[str, dict[str, str]], Places]:
    """Parse sections and keywords, as spelled but in lower case; return them and their places."""
    import configparser  # Costs some milliseconds: only readers of a service file pay.

    lines = list(_tidied(_LINE_END.split(text), path))
    places = Places(lines)
    parser = configparser.RawConfigParser(default_section=_NO_DEFAULTS, strict=True)
    try:
        # read_string is not used: it accepts more line separators than an operator's editor does.
        parser.read_file(f"{line}\n" for line in lines)
    except configparser.DuplicateSectionError as error:
        problem = (
            f"duplicate section [{error.section}], which stands in line"
            f" {places.header(error.section)} too: expected each once"
        )
        raise ConfigError(problem, path, error.lineno) from error
    except configparser.DuplicateOptionError as error:
        first = places.of(error.section).get(error.option)
        problem = (
            f"[{error.section}] duplicate keyword {error.option}, which stands in line {first} too:"
            " expected each once"
        )
        raise ConfigError(problem, path, error.lineno) from error
    except configparser.MissingSectionHeaderError as error:
        word = error.line.partition("=")[0].strip()
        raise ConfigError(
            f"{word} stands before the first section, expected [DEFAULT] above it",
            path,
            error.lineno,
        ) from error
    except configparser.ParsingError as error:
        number = error.errors[0][0]
        problem = (
            f"{lines[number - 1].strip()!r} is no line of a service file, expected [section] or"
            " keyword = value"
        )
        raise ConfigError(problem, path, number) from error
    return {
        name: {word: _one_line(parser[name][word]) for word in parser[name]}
        for name in parser.sections()
    }, places


def _tidied(lines: Sequence[str], path: str) -> Iterator[str]:
    """Yield the lines with normalised headers and with keywords at the margin."""
    for number, line in enumerate(lines, 1):
        word = line.strip()
        if word.startswith("[["):
            raise ConfigError(f"{word} is nested, expected single brackets", path, number)
        header = _HEADER.match(line)
        if header:
            yield f"[{_section_name(header.group(1))}]"
        elif word.startswith("["):
            raise ConfigError(f"{word!r} is no header, expected [section]", path, number)
        elif word[:1] in ("#", ";") or _INDENTED_KEYWORD.match(word):
            yield word
        else:
            yield line


def _section_name(name: str) -> str:
    group, separator, index = name.partition("#")
    return (
        "DEFAULT"
        if name.lower() == "default"
        else f"{group.strip().lower()}{separator}{index.strip()}"
    )


def _one_line(value: str) -> str:
    """Join a value that is continued in further lines into one line.

    A backslash at the end of a line is the shell's continuation and is dropped.
    """
    if "\n" not in value:
        return value
    parts = (re.sub(r"\\\Z", "", part).strip() for part in value.split("\n"))
    return " ".join(part for part in parts if part)
