"""Copy engines, and the invariant checker that observes them, quickly.

An enumeration copies a world before each possible event. Plain attributes are walked, so that a new
field of the engine is copied without being named here; immutable objects (values, enums, frozen
dataclasses) are shared.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, TypeVar

_T = TypeVar("_T")
_Copier = Callable[[Any, "dict[int, Any]"], Any]


def copy_of(value: _T, memo: dict[int, Any] | None = None) -> _T:
    """Return a copy that shares only immutable objects.

    Objects that were shared are shared in the copy, too.
    """
    how = _COPIERS[type(value)]
    return value if how is None else how(value, {} if memo is None else memo)


def _copy_dict(value: dict[Any, Any], memo: dict[int, Any]) -> dict[Any, Any]:
    made = value.copy()
    for key, item in value.items():
        how = _COPIERS[type(item)]
        if how is not None:
            made[key] = how(item, memo)
    return made


def _copy_list(value: list[Any], memo: dict[int, Any]) -> list[Any]:
    return [copy_of(item, memo) for item in value]


def _copy_set(value: set[Any], _memo: dict[int, Any]) -> set[Any]:
    return value.copy()


def _copy_object(value: Any, memo: dict[int, Any]) -> Any:
    found = memo.get(id(value))
    if found is not None:
        return found
    made = object.__new__(type(value))
    memo[id(value)] = made
    made.__dict__.update(value.__dict__)
    fields = made.__dict__
    for name, item in value.__dict__.items():
        how = _COPIERS[type(item)]
        if how is not None:
            fields[name] = how(item, memo)
    return made


class _Copiers(dict[type, "_Copier | None"]):
    """How to copy an object of each type; None where it is shared."""

    def __missing__(self, kind: type) -> _Copier | None:
        self[kind] = how = None if _never_changes(kind) else _copy_object
        return how


_COPIERS = _Copiers({dict: _copy_dict, list: _copy_list, set: _copy_set})


def _never_changes(kind: type) -> bool:
    if issubclass(kind, (enum.Enum, tuple, frozenset, str, bytes, int, float, type(None))):
        return True
    if getattr(kind, "__dataclass_params__", None) and getattr(kind, "__dataclass_params__").frozen:  # noqa: B009 - mypy does not know it.
        return True
    if kind.__module__.startswith("opensvc_openha."):
        return False
    raise TypeError(f"no rule for copying a {kind.__module__}.{kind.__qualname__}")
