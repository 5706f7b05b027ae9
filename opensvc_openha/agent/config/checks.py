"""Check sections against the schema: their kind and type, values, names and scopes.

A value that is missing or invalid is an error in every action. An unknown keyword is an error in
validation, but only a warning in actions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from opensvc_openha.agent.config.keywords import REQUIRED, AnyKeyword, Kind
from opensvc_openha.agent.config.schema import (
    COMMON,
    DRPNODES,
    IMPLICIT_SYNC,
    KINDS,
    NO_RESOURCES,
    NODES,
    OF_IMPLICIT_SYNC,
    TYPE,
)
from opensvc_openha.agent.config.service_file import Section
from opensvc_openha.agent.config.value_types import hint
from opensvc_openha.errors import ConfigError
from opensvc_openha.formats.suggestion import what_to_write


def kind_of(section: Section) -> Kind:
    """Return the kind of a resource's section; ConfigError for an unknown one."""
    kind = KINDS.get(section.group)
    if kind is None:
        known = ", ".join(sorted([*KINDS, *NO_RESOURCES]))
        raise section.error("", f"is no known kind of resource, expected one of {known}")
    return kind


def type_of(section: Section) -> str | None:
    """Return the type of a section, as the schema spells it; None for one that is only shown.

    Raises ConfigError for a type that is missing or unknown.
    """
    kind = kind_of(section)
    if not kind.types or "" in kind.types:
        return "" if kind.types else None
    word = section.text("type").lower() or kind.default_type
    if word in kind.types and word.isidentifier():
        return word
    name = word.removeprefix(kind.open_type)
    if name != word and name.isidentifier():
        return f"{kind.open_type}*"
    if word in kind.shown_types:
        return None
    expected = f"expected one of {', '.join(sorted(kind.types))}"
    if not word:
        raise section.error("type", f"is missing, {expected}")
    text = section.text("type")
    raise section.error("type", f"is {text!r}, {expected}{hint(text)}")


def keywords_of(section: Section) -> tuple[AnyKeyword, ...] | None:
    """Return the keywords of a section; None for one that is only shown: they are not known.

    Raises ConfigError for an unknown kind or type.
    """
    name = type_of(section)
    return None if name is None else (*kind_of(section).types[name], TYPE, *COMMON)


def has_free_names(section: Section) -> bool:
    """Return whether a section may have keywords that are declared elsewhere."""
    kind = kind_of(section)
    return bool(kind.open_type) and type_of(section) == f"{kind.open_type}*"


def wrong_values(section: Section, keywords: Iterable[AnyKeyword]) -> Iterator[ConfigError]:
    """Yield the errors of these keywords' values in a section, and missing required keywords."""
    for keyword in keywords:
        if keyword.default is REQUIRED and not section.spelling(keyword):
            yield section.missing(keyword)
        for name in keyword.names:
            try:
                if section.text(name):
                    keyword.type.read(section.text(name))
            except ValueError as error:
                yield section.error(name, str(error))


def wrong_in_resource(section: Section) -> Iterator[ConfigError]:
    """Yield the errors in a resource's section for which no action can continue."""
    keywords = keywords_of(section)
    if keywords is None:
        keywords = ()
    elif section.name == IMPLICIT_SYNC:
        keywords = (*OF_IMPLICIT_SYNC, *COMMON)
    return wrong_values(section, (keyword for keyword in keywords if not keyword.is_lenient))


def unknown_names(
    section: Section, keywords: Sequence[AnyKeyword], allowed: Iterable[str] = ()
) -> Iterator[ConfigError]:
    """Yield an error for each unknown keyword in this section.

    ``allowed`` names are accepted too, but not offered as a correction.
    """
    known = {name for keyword in keywords for name in keyword.names}
    for name in sorted(section.own - known - set(allowed)):
        # Those of the kind itself that have an effect: a list of all would be too long.
        proper = [
            keyword.name
            for keyword in keywords
            if keyword not in COMMON and keyword is not TYPE and not keyword.is_ignored
        ]
        advice = what_to_write(name, known, proper)
        yield section.error(name, f"is no keyword of [{section.name}], {advice}")


def wrong_nodes(default: Section) -> Iterator[ConfigError]:
    """Return the errors of the node lists; any of them makes every action fail."""
    return wrong_values(default, (NODES, DRPNODES))
