"""What modules need of ``typing`` when they are run, without ``typing``.

It is half a megabyte of each process of a node, and takes some milliseconds of each command, for
names that only type checkers read; those find here what is there. A named tuple is that of
``collections``, as with ``typing``; a protocol is a plain class, without checks of instances.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any as Any
    from typing import Generic as Generic
    from typing import NamedTuple as NamedTuple
    from typing import NoReturn as NoReturn
    from typing import Protocol as Protocol
    from typing import TypeVar as TypeVar
else:
    from collections import namedtuple

    Any = NoReturn = object

    class TypeVar:
        """A variable of types, whose bounds only type checkers know."""

        def __init__(self, name: str, **_: object) -> None:
            """Keep the name alone."""
            self.__name__ = name

    class Generic:
        """Base of classes with type variables: every choice of types is the class itself."""

        __slots__ = ()

        def __class_getitem__(cls, _: object) -> type:
            """Return the class."""
            return cls

    class Protocol(Generic):
        """Base of interfaces."""

        __slots__ = ()

    class _NamedTupleMaker(type):
        """Make a named tuple of a class that lists fields, defaults, properties and methods."""

        def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, object]) -> type:
            if not bases:
                return super().__new__(cls, name, bases, body)
            fields = body.get("__annotations__", {})
            made = namedtuple(
                name,
                fields,
                defaults=[body[field] for field in fields if field in body],
                module=body["__module__"],
            )
            for key, value in body.items():
                if key not in fields and key != "__qualname__":
                    setattr(made, key, value)
            made.__qualname__ = body["__qualname__"]
            return made

    class NamedTuple(metaclass=_NamedTupleMaker):
        """Base of classes that list the fields of a named tuple."""
