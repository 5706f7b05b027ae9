"""What stands for ``typing`` does at run time what that does."""

from __future__ import annotations

import copy
import pickle
import typing

import pytest

from opensvc_openha import hints


class Place(hints.NamedTuple):
    """Where something is."""

    path: str
    size: int = 0

    @property
    def is_empty(self) -> bool:
        """True without content."""
        return not self.size

    @staticmethod
    def of(path: str) -> Place:
        """Return an empty one."""
        return Place(path)

    def grown(self, size: int) -> Place:
        """Return a larger one."""
        return self._replace(size=self.size + size)


class TypingPlace(typing.NamedTuple):
    """The same by the library."""

    path: str
    size: int = 0


def test_named_tuple_is_that_of_the_library() -> None:
    """Fields, defaults, text, equality, errors: as with ``typing``."""
    made, other = Place("a"), TypingPlace("a")
    assert made == other == ("a", 0)
    assert repr(made) == repr(other).replace("TypingPlace", "Place")
    assert hash(made) == hash(other)
    assert Place._fields == TypingPlace._fields
    assert Place._field_defaults == TypingPlace._field_defaults
    assert Place.__annotations__ == {"path": "str", "size": "int"}
    assert (Place.__name__, Place.__module__) == ("Place", __name__)
    assert Place.__doc__ == "Where something is."
    with pytest.raises(TypeError):
        Place()  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        made.size = 1  # type: ignore[misc]


def test_named_tuple_keeps_what_its_class_defines() -> None:
    """Properties and methods, and it is copied and pickled as what it is."""
    made = Place.of("a")
    assert made.is_empty and not made.grown(3).is_empty
    assert made.grown(3) == Place("a", 3)
    for same in (copy.copy(made), copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert type(same) is Place and same == made


def test_class_for_types_is_the_class() -> None:
    """A type in brackets changes nothing, also as a base."""
    item = hints.TypeVar("item", bound=str)

    class Box(hints.Generic[item]):
        """Holds one."""

    class Words(Box[str]):
        """Holds words."""

    assert Box[str] is Box and issubclass(Words, Box)


def test_protocol_is_a_base_like_any() -> None:
    """A class may derive from it, and have attributes that it does not declare."""

    class Sender(hints.Protocol):
        """Sends."""

        def send(self) -> int:
            """Return what was sent."""
            return 1

    class Real(Sender):
        """Does."""

        def __init__(self) -> None:
            self.sent = self.send()

    assert Real().sent == 1
