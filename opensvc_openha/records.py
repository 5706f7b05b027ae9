"""Frozen dataclasses that share the methods which every one of them would get a copy of.

The standard library compiles six methods for each class, which take 9 kB of each process of a node
and half a millisecond of each command; here only ``__init__`` and what the library insists on are
compiled, and the rest is the same for all. What they do is the same, too, and so are ``fields``,
``replace`` and what type checkers see. Not for classes that are hashed in each step of the engine:
to find the fields takes some tenths of a microsecond more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from operator import attrgetter

from opensvc_openha.hints import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(*, frozen: bool) -> Callable[[type], type]:
        """Make a class a frozen dataclass, as the standard library's decorator does."""
        assert frozen, "for frozen ones alone"
        return _make


def _make(cls: type) -> Any:
    own = set(vars(cls))
    made: Any = dataclasses.dataclass(frozen=True, repr=False, eq=False)(cls)
    names = [each.name for each in dataclasses.fields(made) if each.compare]
    made._compared = attrgetter(*names) if names else _nothing
    # What the class defines itself stays.
    for name, method in _SHARED.items():
        if name not in own:
            setattr(made, name, method)
    return made


def _nothing(_: Any) -> tuple[()]:
    return ()


def _equals(self: Any, other: Any) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    compared = self.__class__._compared
    return compared(self) == compared(other)


def _hash(self: Any) -> int:
    return hash(self.__class__._compared(self))


def _text(self: Any) -> str:
    found = (
        f"{each.name}={getattr(self, each.name)!r}"
        for each in dataclasses.fields(self)
        if each.repr
    )
    return f"{self.__class__.__qualname__}({', '.join(found)})"


def _refuse_change(_self: Any, name: str, _value: object) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_removal(_self: Any, name: str) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


_SHARED: dict[str, Callable[..., Any]] = {
    "__eq__": _equals,
    "__hash__": _hash,
    "__repr__": _text,
    "__setattr__": _refuse_change,
    "__delattr__": _refuse_removal,
}
