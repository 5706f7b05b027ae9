"""Read text in sections with configobj, keeping the line of each section and option for errors.

Knows no particular section: the caller defines what is expected. An unexpected section or option is
an error that lists the known ones, and so is a value of the wrong kind.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from opensvc_openha.errors import ConfigError

Place = tuple[str, ...]
SECONDS_MAX = 86_400

_NAMED = 12
"""Number of known names listed in a message."""
_HEADING = re.compile(r"\s*(\[+)\s*([^\]]*?)\s*\]")
_OPTION = re.compile(r"\s*(\"[^\"]*\"|'[^']*'|[^\s=\"'#][^=]*?)\s*=")
_SECONDS = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6})?\Z")
_WHOLE = re.compile(r"[0-9]{1,9}\Z")
_T = TypeVar("_T")


class Section:
    """One section, or the whole file: its options and subsections.

    ``place`` is its position.
    """

    def __init__(
        self, values: Mapping[str, Any], path: str, lines: Mapping[Place, int], place: Place = ()
    ) -> None:
        self._values = values
        self._path = path
        self._place = place
        self.lines = lines

    def expect(self, options: Iterable[str], sections: Iterable[str] | None = ()) -> None:
        """Reject options and sections that are not listed.

        ``sections`` None allows any section that holds options only.
        """
        known_options = tuple(options)
        known_sections = None if sections is None else tuple(sections)
        for name, value in self._values.items():
            if isinstance(value, Mapping):
                if known_sections is not None and name not in known_sections:
                    raise self.error(
                        "unknown section"
                        f" {self._bracketed(name)}{self._known(known_sections, True)}",
                        name,
                    )
            elif name not in known_options:
                if not self._place:
                    raise self.error(f"option {name!r} stands before any [section]", name)
                raise self.error(
                    f"unknown option {name!r}{self._known(known_options, False)}", name
                )

    def inner(self, name: str) -> Section:
        """Return the section of that name; an empty one if there is none."""
        values = self._values.get(name)
        return Section(
            values if isinstance(values, Mapping) else {},
            self._path,
            self.lines,
            (*self._place, name),
        )

    @property
    def inner_names(self) -> list[str]:
        """Return the names of the subsections."""
        return [name for name, value in self._values.items() if isinstance(value, Mapping)]

    def text(self, option: str) -> str | None:
        """Return the value as written; None if the option is absent."""
        value = self._values.get(option)
        if value is not None and not isinstance(value, str):
            found = "a section" if isinstance(value, Mapping) else ", ".join(map(str, value))
            raise self.error(f"{option}: expected one value; found {found}", option)
        return value

    def word(self, option: str, words: Mapping[str, _T]) -> _T | None:
        """Return the value of the word in ``words``; None if the option is absent."""
        text = self.text(option)
        if text is not None and text not in words:
            raise self.error(
                f"{option}: expected one of {', '.join(words)}; found {text!r}", option
            )
        return None if text is None else words[text]

    def seconds(self, option: str) -> float | None:
        """Return a time above 0 in seconds; None if the option is absent."""
        text = self.text(option)
        if text is None:
            return None
        value = float(text) if _SECONDS.match(text) else 0.0
        if not 0 < value <= SECONDS_MAX:
            raise self.error(
                f"{option}: expected seconds, above 0 and at most {SECONDS_MAX}; found {text!r}",
                option,
            )
        return value

    def whole(self, option: str, at_most: int) -> int | None:
        """Return a whole number of at least 1; None if the option is absent."""
        text = self.text(option)
        if text is None:
            return None
        value = int(text) if _WHOLE.match(text) else 0
        if not 1 <= value <= at_most:
            raise self.error(
                f"{option}: expected a whole number from 1 to {at_most}; found {text!r}", option
            )
        return value

    def error(self, message: str, option: str = "") -> ConfigError:
        """Return an error about an option or subsection; about this section if none is named."""
        place = (*self._place, option) if option else self._place
        return ConfigError(message, self._path, self.lines.get(place))

    def _bracketed(self, name: str) -> str:
        depth = len(self._place) + 1
        return f"{'[' * depth}{name}{']' * depth}"

    def _known(self, names: tuple[str, ...], are_sections: bool) -> str:
        """Return the known names, for a message."""
        where = f" in [{self._place[-1]}]" if self._place else ""
        if not names:
            return f" (there is none{where})"
        shown = [self._bracketed(name) for name in names] if are_sections else list(names)
        return f" (known{where}: {listed(shown, _NAMED)})"


def read_sections(text: str, path: str) -> Section:
    """Parse the whole file; raise ConfigError with the line for malformed text."""
    # Imported here: most nodes have no such file, and each command would pay for it.
    from configobj import ConfigObj, ConfigObjError

    try:
        values = ConfigObj(text.splitlines(), interpolation=False, raise_errors=True)
    except ConfigObjError as error:
        raise ConfigError(
            str(error).split(" at line ")[0].rstrip("."), path, error.line_number
        ) from None
    return Section(values, path, _line_numbers(text))


def listed(names: list[str], at_most: int) -> str:
    """Join names with commas; shorten the rest of a long list to its number."""
    more = f" and {len(names) - at_most} more" if len(names) > at_most else ""
    return ", ".join(names[:at_most]) + more


def _line_numbers(text: str) -> dict[Place, int]:
    """Return the first line of each section and option."""
    lines: dict[Place, int] = {}
    here: Place = ()
    for number, line in enumerate(text.splitlines(), 1):
        heading = _HEADING.match(line)
        if heading:
            here = (*here[: len(heading.group(1)) - 1], heading.group(2).strip("\"'"))
            lines.setdefault(here, number)
            continue
        option = _OPTION.match(line)
        if option:
            lines.setdefault((*here, option.group(1).strip("\"'")), number)
    return lines
