"""What is generated of the schema of service files: tables of docs/services.md, editors' schema."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from manual.defaults import keyword_default
from opensvc_openha.agent.config import schema
from opensvc_openha.agent.config.keywords import REQUIRED, AnyKeyword, Kind
from opensvc_openha.agent.config.value_types import any_of

Json = dict[str, Any]
Keywords = Sequence[AnyKeyword]

_COLUMNS = "| keyword | value | default | what it does |\n|---|---|---|---|"
_NAMES_SHOWN = 8
_WIDTH = 118


def keyword_tables() -> str:
    """Return the Markdown of all keywords, kind by kind."""
    parts = [
        "## Keywords of every resource",
        *_table(schema.COMMON),
        "## Keywords of `[DEFAULT]`",
        *_table(schema.DEFAULT_SECTION),
        "## Resources",
    ]
    for kind in schema.KINDS.values():
        parts += [f"### `[{kind.group}#N]`", _wrapped(kind.text), *_of_kind(kind)]
    parts.append("### `[subset#GROUP:NAME]`, `[subset#GROUP.TYPE:NAME]`")
    return "\n\n".join([*parts, *_table(schema.SUBSET_SECTION)])


def _wrapped(text: str) -> str:
    return textwrap.fill(text, _WIDTH, break_on_hyphens=False)


def _of_kind(kind: Kind) -> Iterable[str]:
    """Yield a table for each group of types that have the same keywords."""

    def names(type_: str) -> list[str]:
        return [keyword.name for keyword in kind.types[type_]]

    for _, found in groupby(kind.types, names):
        together = list(found)
        if together != [""]:
            yield _wrapped(f"{_types(together)}:")
        yield from _table(*(kind.types[type_] for type_ in together))
    if kind.shown_types:
        yield _wrapped(f"{_types(kind.shown_types)}: only shown.")


def _types(words: Sequence[str]) -> str:
    return f"`type = {words[0]}`" + "".join(f", `{word}`" for word in words[1:])


def _table(*of_types: Keywords) -> Iterable[str]:
    """Yield one table for types whose keywords differ in the format of their values at most."""
    rows = [_COLUMNS]
    documented = [keyword for keyword in of_types[0] if not keyword.is_ignored]
    for text, found in groupby(documented, lambda keyword: keyword.text):
        same = list(found)
        formats = dict.fromkeys(
            # A format that differs between types names its type, which a list of all need not.
            keyword.type.expected.partition(" for ")[0]
            for keywords in of_types
            for keyword in keywords
            if keyword.name == same[0].name
        )
        names = ", ".join(_name(keyword) for keyword in same[:_NAMES_SHOWN])
        more = ", ..." if len(same) > _NAMES_SHOWN else ""
        cells = (f"{names}{more}", "; or ".join(formats), _default(same[0]), text)
        rows.append("|".join(("", *(f" {cell} " if cell else " " for cell in cells), "")))
    yield "\n".join(rows)
    ignored = ", ".join(f"`{keyword.name}`" for keyword in of_types[0] if keyword.is_ignored)
    if ignored:
        yield _wrapped(f"Without effect, but accepted, for other agents know them: {ignored}.")


def _name(keyword: AnyKeyword) -> str:
    others = " or ".join(f"`{alias}`" for alias in keyword.aliases)
    return f"`{keyword.name}`" + (f" (or {others})" if others else "")


def _default(keyword: AnyKeyword) -> str:
    if keyword.default is REQUIRED:
        return "required"
    if keyword.required_when:
        return f"required if {keyword.required_when}"
    written = keyword_default(keyword)
    return f"`{written}`" if written else ""


def editor_schema() -> str:
    """Return the JSON schema of a service file that was read into a dictionary.

    It has the sections, and in each the text of every keyword, by its name in lower case.
    """
    kinds = "|".join(sorted({*schema.KINDS, *schema.NO_RESOURCES}))
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Service file of the embedded agent: NAME.env",
        "type": "object",
        "properties": {"DEFAULT": {"$ref": "#/$defs/inherited"}},
        "patternProperties": {
            **{f"^{kind.group}(#.*)?$": _section(kind) for kind in schema.KINDS.values()},
            "^subset#": {**_object([schema.SUBSET_SECTION]), "unevaluatedProperties": False},
            f"^(?!({kinds})#)[^#]*#": False,
        },
        "$defs": {"inherited": _object([[*schema.COMMON, *schema.DEFAULT_SECTION]])},
    }
    return json.dumps(document, indent=1) + "\n"


def _section(kind: Kind) -> Json:
    """Return the schema of one kind; required keywords may stand in [DEFAULT], so none is."""
    section = _object([*kind.types.values(), [schema.TYPE]])
    section |= {"description": kind.text, "allOf": [{"$ref": "#/$defs/inherited"}]}
    words = [word for word in (*kind.types, *kind.shown_types) if word.isidentifier()]
    if words:
        section["properties"]["type"]["pattern"] = "|".join((any_of(words), *_open(kind)))
    if kind.types:
        section["unevaluatedProperties"] = False
    free = [any_of(kind.shown_types)] if kind.shown_types else []
    free += _open(kind)
    if kind.types and free:
        # The keywords of these types are not known.
        is_free = {"pattern": "|".join(free)}
        section["if"] = {"properties": {"type": is_free}, "required": ["type"]}
        section["then"] = {"additionalProperties": True}
    return section


def _open(kind: Kind) -> list[str]:
    """Return the pattern of types whose keywords are declared elsewhere, if there are any."""
    if not kind.open_type:
        return []
    return [any_of((kind.open_type,)).removesuffix("$") + "[A-Za-z0-9_]+$"]


def _object(of_types: Iterable[Keywords]) -> Json:
    """Return the properties of a section; any may be spelled for some nodes, as name@node."""
    found: dict[str, dict[str, AnyKeyword]] = {}
    for keyword in (keyword for keywords in of_types for keyword in keywords):
        for name in keyword.names:
            found.setdefault(name, {})[keyword.type.pattern] = keyword
    # An empty value is as good as none, and a reference may stand for anything.
    checked = {
        f"^{name}(@.+)?$": {"pattern": "|".join(("^$", r"\{", *formats))}
        for name, formats in found.items()
        if all(formats)
    }
    return {
        "type": "object",
        "properties": {name: _described(*formats.values()) for name, formats in found.items()},
        "patternProperties": {f"^({'|'.join(found)})(@.+)?$": {"type": "string"}, **checked},
    }


def _described(keyword: AnyKeyword, *_: AnyKeyword) -> Json:
    text = "Without effect, but accepted." if keyword.is_ignored else keyword.text
    default = keyword_default(keyword)
    return {"description": text, **({"default": default} if default else {})}
