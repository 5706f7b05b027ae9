"""Dataclasses that share their methods do what those of the standard library do."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest

from opensvc_openha import records
from opensvc_openha.core import actions, events, status


def _classes(decorator: Any) -> tuple[Any, Any, Any]:
    @decorator(frozen=True)
    class Nothing:
        """Has no fields."""

    @decorator(frozen=True)
    class Base:
        """Has a keyword."""

        why: str = dataclasses.field(default="", kw_only=True)

    @decorator(frozen=True)
    class Order(Base):
        """Has fields of all kinds."""

        name: str
        links: tuple[str, ...] = ()
        counts: dict[str, int] = dataclasses.field(default_factory=dict, repr=False)
        line: int = dataclasses.field(default=0, compare=False)

    return Nothing, Base, Order


NOTHING, BASE, ORDER = _classes(records.dataclass)
LIBRARY = _classes(dataclasses.dataclass)


@pytest.mark.parametrize(
    "one, other",
    [
        (("web",), ("web",)),
        (("web",), ("db",)),
        (("web", ("a", "b")), ("web", ("a",))),
        (("web", (), {}, 1), ("web", (), {}, 2)),
        (("web", (), {"x": 1}), ("web", (), {"x": 2})),
    ],
)
def test_comparing_and_showing_are_those_of_the_library(
    one: tuple[Any, ...], other: tuple[Any, ...]
) -> None:
    """Fields that are not compared or not shown are left out; another class is never equal."""
    first, second = ORDER(*one), ORDER(*other, why="asked")
    theirs = LIBRARY[2](*one), LIBRARY[2](*other, why="asked")
    assert repr(first) == repr(theirs[0]) and repr(second) == repr(theirs[1])
    assert (first == second) is (theirs[0] == theirs[1])
    assert (first == ORDER(*other)) is (theirs[0] == LIBRARY[2](*other))
    assert first != theirs[0] and first != one and BASE() != NOTHING()
    assert NOTHING() == NOTHING() and repr(BASE(why="x")) == repr(LIBRARY[1](why="x"))


def test_equal_ones_have_one_hash() -> None:
    """Also without fields; what cannot be hashed is refused."""
    assert len({BASE(why="a"), BASE(why="a"), BASE(why="b")}) == 2
    assert hash(NOTHING()) == hash(NOTHING())
    with pytest.raises(TypeError):
        hash(ORDER("web"))


def test_they_are_frozen_and_can_be_copied() -> None:
    """By all that the library offers for its own."""
    order = ORDER("web", counts={"x": 1})
    for change in (
        lambda: setattr(order, "name", "db"),
        lambda: setattr(order, "new", 1),
        lambda: delattr(order, "name"),
    ):
        with pytest.raises(dataclasses.FrozenInstanceError):
            change()
    assert dataclasses.replace(order, name="db") == ORDER("db", counts={"x": 1})
    assert dataclasses.asdict(order) == {
        "why": "",
        "name": "web",
        "links": (),
        "counts": {"x": 1},
        "line": 0,
    }
    copied = copy.deepcopy(order)
    assert copied == order and copied.counts is not order.counts
    assert pickle.loads(pickle.dumps(events.Tick())) == events.Tick()


def test_they_can_be_matched_by_place_and_by_name() -> None:
    """As a statement with ``match`` does, and a class derived from another one is of both."""
    match ORDER("web", ("a",), why="asked"):
        case ORDER(name, links, why=why):
            assert (name, links, why) == ("web", ("a",), "asked")
        case _:
            raise AssertionError
    assert isinstance(ORDER("web"), BASE) and ORDER.__match_args__ == LIBRARY[2].__match_args__


def test_methods_are_shared_unless_a_class_has_its_own() -> None:
    """Nothing is compiled for a class but what makes it."""
    for kind in (events.Tick, actions.RunScript, status.NodeStatus):
        assert kind.__eq__ is events.Tick.__eq__ and kind.__repr__ is events.Tick.__repr__
        assert kind.__setattr__ is events.Tick.__setattr__ is not object.__setattr__

    @records.dataclass(frozen=True)
    class Named:
        """Is shown by its name."""

        name: str

        def __repr__(self) -> str:
            return self.name

    assert repr(Named("web")) == "web" and Named("web") == Named("web")
