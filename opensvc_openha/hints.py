"""What modules need of ``typing`` when they are run, without ``typing``.

It is half a megabyte of each process of a node, and takes some milliseconds of each command, for
names that only type checkers read; those find here what is there. A protocol is a plain class,
without checks of instances. Named tuples are in ``named_tuples``.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any as Any
    from typing import Generic as Generic
    from typing import NoReturn as NoReturn
    from typing import Protocol as Protocol
    from typing import TypeVar as TypeVar
else:
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
