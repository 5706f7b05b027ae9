"""Generate the schemas and the documentation of what commands print with ``--json``."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from opensvc_openha.cli import json_status, json_views
from opensvc_openha.cli.json_status import View
from opensvc_openha.cli.json_views import VIEWS

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_SHAPES: dict[str, Any] = {**vars(json_status), **vars(json_views)}


def schema_path(view: type[View]) -> str:
    """Return the path of a kind's schema in the repository."""
    return f"templates/json-{view.KIND}.schema.json"


def schema_of(view: type[View]) -> dict[str, Any]:
    """Return the JSON schema of what a command prints; more keys are allowed by design."""
    _read_docstrings_of_fields()
    found = _plain_schema(view)
    for name, inner in found.get("$defs", {}).items():
        _inherit_descriptions(inner["properties"], _SHAPES[name])
    _inherit_descriptions(found["properties"], view)
    own = {"kind": {"const": view.KIND}, "version": {"const": view.VERSION}}
    found["properties"] = {**own, **found["properties"]}
    found["required"] = [*own, *found["required"]]
    return {"$schema": _DIALECT, "$id": f"openha:{view.KIND}:{view.VERSION}", **_untitled(found)}


def _plain_schema(shape: type) -> dict[str, Any]:
    return TypeAdapter(shape).json_schema(mode="serialization")


def _inherit_descriptions(properties: dict[str, Any], shape: type) -> None:
    """Describe inherited keys: only those of the class itself are found in its source."""
    for base in shape.__mro__[1:]:
        if dataclasses.is_dataclass(base):
            for name, value in _plain_schema(base)["properties"].items():
                if "description" in value:
                    properties[name].setdefault("description", value["description"])


def schema_text(view: type[View]) -> str:
    """Return the text of a schema's file."""
    return json.dumps(schema_of(view), indent=2) + "\n"


def json_tables() -> str:
    """Return the tables of docs/json.md: each kind, then each object inside of them."""
    lines = ["| kind | version | command | what it holds | schema |", "|---|---|---|---|---|"]
    inner: dict[str, dict[str, Any]] = {}
    whole = []
    for view in VIEWS:
        schema = schema_of(view)
        file = schema_path(view).rpartition("/")[2]
        text = schema["description"].partition(": ")[2].rstrip(".")
        lines.append(f"| `{view.KIND}` | {view.VERSION} | `{view.COMMAND}` | {text} | `{file}` |")
        whole.append((view, schema))
        inner |= schema.get("$defs", {})
    for view, schema in whole:
        lines += ["", f"## {view.KIND}", "", *_table(schema)]
    for name, schema in sorted(inner.items()):
        text = schema["description"].replace("\n", " ")
        lines += ["", f"## {_object_name(name)}", "", text, "", *_table(schema)]
    return "\n".join(lines)


def _table(schema: dict[str, Any]) -> list[str]:
    rows = ["| key | type | meaning |", "|---|---|---|"]
    for name, value in schema["properties"].items():
        text = " ".join(value.get("description", "").split())
        rows.append(f"| `{name}` | {_type_of(value)} | {text} |".replace("|  |", "| |"))
    return rows


def _type_of(value: dict[str, Any]) -> str:
    if "const" in value:
        return f"`{json.dumps(value['const'])}`"
    if "anyOf" in value:
        return " or ".join(_type_of(each) for each in value["anyOf"])
    if "$ref" in value:
        name = _object_name(value["$ref"].rpartition("/")[2])
        return f"[{name}](#{name.lower().replace(' ', '-')})"
    if value["type"] == "array":
        return f"list of {_type_of(value['items'])}"
    if "additionalProperties" in value:
        return f"object of {_type_of(value['additionalProperties'])}"
    return str(value["type"])


def _object_name(name: str) -> str:
    """Return the heading of a view that is part of others: "FenceGroupView" is "fence group"."""
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name)
    return words.strip().removesuffix(" view") + " object"


def _read_docstrings_of_fields() -> None:
    """Let the docstring after a field become its description."""
    for value in _SHAPES.values():
        if isinstance(value, type) and dataclasses.is_dataclass(value):
            value.__pydantic_config__ = ConfigDict(use_attribute_docstrings=True)  # type: ignore[attr-defined]


def _untitled(value: Any) -> Any:
    """Return a schema without the titles that repeat the names of its keys."""
    if isinstance(value, dict):
        return {
            key: _untitled(inner)
            for key, inner in value.items()
            if not (key == "title" and isinstance(inner, str))
        }
    return [_untitled(inner) for inner in value] if isinstance(value, list) else value
