"""Read text in sections with configobj, keeping the line of each section and option for errors.

Knows no particular section: a schema declares what is expected. An unexpected section or option is
an error that lists the known ones, and so is a value of the wrong kind.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field

from opensvc_openha.core.wording import named
from opensvc_openha.errors import ConfigError
from opensvc_openha.formats.suggestion import did_you_mean
from opensvc_openha.hints import Any, Generic, TypeVar
from opensvc_openha.records import dataclass

Place = tuple[str, ...]
SECONDS_MAX = 86_400

_NAMED = 12
"""Number of known names listed in a message."""
_HEADING = re.compile(r"\s*(\[+)\s*([^\]]*?)\s*\]")
_OPTION = re.compile(r"\s*(\"[^\"]*\"|'[^']*'|[^\s=\"'#][^=]*?)\s*=")
_SECONDS = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6})?\Z")
_WHOLE = re.compile(r"[0-9]{1,9}\Z")
_T = TypeVar("_T")
_Enum = TypeVar("_Enum", bound=enum.Enum)
_T_co = TypeVar("_T_co", covariant=True)


@dataclass(frozen=True)
class ConfValueType(Generic[_T_co]):
    """What values an option takes."""

    read: Callable[[str], _T_co]
    """Raises ValueError with the end of the message."""
    values: str
    """Description of the values."""
    words: Mapping[str, _T_co] = field(default_factory=dict)
    """Values that are written as words."""
    is_list: bool = False
    """True if commas separate parts of the value; others need quotes around a comma."""


@dataclass(frozen=True)
class Option(Generic[_T_co]):
    """One option: its values and its documentation, in a sentence or two."""

    name: str
    type: ConfValueType[_T_co]
    default: _T_co
    text: str
    default_text: str = ""
    """The default as written, if it is decided elsewhere."""
    example: str = ""
    """A value for the sample, if there is no default."""
    see: str = ""
    """Page of the documentation."""


@dataclass(frozen=True)
class SectionSchema:
    """A section: its options, and those of its subsections if it has any."""

    name: str
    options: tuple[Option[Any], ...]
    inner: str = ""
    """What subsections are named after; empty if there are none."""
    inner_options: tuple[Option[Any], ...] = ()
    has_free_options: bool = False
    """True if subsections have further options, which are checked where they are known."""
    inner_text: str = ""
    inner_example: str = ""
    parts: tuple[SectionSchema, ...] = ()
    """Subsections of a fixed name, beside those named after something."""
    text: str = ""
    """What a part is for."""
    see: str = ""
    """Page of the documentation about a part."""


def choice(words: Mapping[str, _T]) -> ConfValueType[_T]:
    """Return the type of a value that is one of some words."""

    def read(text: str) -> _T:
        if text not in words:
            hint = did_you_mean(text, words)
            raise ValueError(f"expected one of {', '.join(words)}; found {text!r}{hint}")
        return words[text]

    return ConfValueType(read, ", ".join(f"`{word}`" for word in words), words)


def words_of(members: type[_Enum]) -> Mapping[str, _Enum]:
    """Return the members of an enumeration by their values."""
    return {member.value: member for member in members}


def seconds(at_most: float = SECONDS_MAX) -> ConfValueType[float]:
    """Return the type of a time above 0 in seconds."""

    def read(text: str) -> float:
        value = float(text) if _SECONDS.match(text) else 0.0
        if not 0 < value <= SECONDS_MAX:
            raise ValueError(f"expected seconds, above 0 and at most {SECONDS_MAX}; found {text!r}")
        if value > at_most:
            raise ValueError(f"at most {at_most:g} seconds; found {value:g}")
        return value

    return ConfValueType(
        read, f"seconds, at most {at_most:g}" if at_most < SECONDS_MAX else "seconds"
    )


def whole(at_most: int) -> ConfValueType[int]:
    """Return the type of a whole number of at least 1."""

    def read(text: str) -> int:
        value = int(text) if _WHOLE.match(text) else 0
        if not 1 <= value <= at_most:
            raise ValueError(f"expected a whole number from 1 to {at_most}; found {text!r}")
        return value

    return ConfValueType(read, f"1 to {at_most}")


class ConfSection:
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

    def check(self, schemas: Iterable[SectionSchema]) -> None:
        """Raise ConfigError for sections and options of the whole file that no schema declares."""
        known = {schema.name: schema for schema in schemas}
        self._expect((), tuple(known))
        for name, schema in known.items():
            section = self.inner(name)
            section._expect(schema.options, None if schema.inner else ())
            parts = {part.name: part for part in schema.parts}
            for inner_name in section.inner_names:
                inner = section.inner(inner_name)
                if inner_name in parts:
                    inner.expect(parts[inner_name].options)
                else:
                    inner._expect(None if schema.has_free_options else schema.inner_options, ())

    def expect(self, options: Iterable[Option[Any]]) -> None:
        """Raise ConfigError for options that are not listed, and for any subsection."""
        self._expect(options, ())

    def _expect(
        self, options: Iterable[Option[Any]] | None, sections: tuple[str, ...] | None
    ) -> None:
        """Reject options and sections that are not listed; None allows any."""
        known = None if options is None else tuple(option.name for option in options)
        for name, value in self._values.items():
            if isinstance(value, Mapping):
                if sections is not None and name not in sections:
                    shown = [self._bracketed(section) for section in sections]
                    hint = did_you_mean(self._bracketed(name), shown)
                    raise self.error(
                        f"unknown section {self._bracketed(name)}{self._known(shown)}{hint}", name
                    )
            elif not self._place:
                raise self.error(f"option {name!r} stands before any [section]", name)
            elif known is not None and name not in known:
                hint = did_you_mean(name, known)
                raise self.error(f"unknown option {name!r}{self._known(known)}{hint}", name)

    def inner(self, name: str) -> ConfSection:
        """Return the section of that name; an empty one if there is none."""
        values = self._values.get(name)
        return ConfSection(
            values if isinstance(values, Mapping) else {},
            self._path,
            self.lines,
            (*self._place, name),
        )

    @property
    def inner_names(self) -> list[str]:
        """Return the names of the subsections."""
        return [name for name, value in self._values.items() if isinstance(value, Mapping)]

    @property
    def names(self) -> list[str]:
        """Return the names of the options, in the order of the file."""
        return [name for name, value in self._values.items() if not isinstance(value, Mapping)]

    @property
    def path(self) -> str:
        """Return the path of the file."""
        return self._path

    def line_of(self, option: str = "") -> int | None:
        """Return the line of an option, or of the section itself."""
        return self.lines.get((*self._place, option) if option else self._place)

    def value(self, option: Option[_T], default: _T | None = None) -> _T:
        """Return the value of an option; ``default``, or its own one, if it is absent."""
        if option.name not in self._values:
            return option.default if default is None else default
        text = self.text(option.name, option.type.is_list)
        try:
            return option.type.read(text)
        except ValueError as error:
            raise self.error(f"{option.name}: {error}", option.name) from None

    def text(self, name: str, is_list: bool = False) -> str:
        """Return the text of an option that is there; a list with commas between its parts."""
        text = self._values[name]
        if isinstance(text, list) and is_list:
            return ", ".join(map(str, text))
        if not isinstance(text, str):
            found = "a section" if isinstance(text, Mapping) else ", ".join(map(str, text))
            raise self.error(f"{name}: expected one value; found {found}", name)
        return text

    def error(self, message: str, option: str = "") -> ConfigError:
        """Return an error about an option or subsection; about this section if none is named."""
        place = (*self._place, option) if option else self._place
        return ConfigError(message, self._path, self.lines.get(place))

    def _bracketed(self, name: str) -> str:
        depth = len(self._place) + 1
        return f"{'[' * depth}{name}{']' * depth}"

    def _known(self, names: Sequence[str]) -> str:
        """Return the known names, for a message."""
        where = f" in [{self._place[-1]}]" if self._place else ""
        return f" (known{where}: {named(names, _NAMED)})" if names else f" (there is none{where})"


def read_sections(text: str, path: str) -> ConfSection:
    """Parse the whole file; raise ConfigError with the line for malformed text."""
    # Imported here: most nodes have no such file, and each command would pay for it.
    from configobj import ConfigObj, ConfigObjError

    try:
        values = ConfigObj(text.splitlines(), interpolation=False, raise_errors=True)
    except ConfigObjError as error:
        raise ConfigError(
            str(error).split(" at line ")[0].rstrip("."), path, error.line_number
        ) from None
    return ConfSection(values, path, _line_numbers(text))


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
