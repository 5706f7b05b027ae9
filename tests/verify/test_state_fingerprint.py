"""What the model checker compares of an engine: every attribute, but for those that are marked."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from opensvc_openha.core.beat import Ack, Beat, BootId
from opensvc_openha.core.facts import Facts
from opensvc_openha.core.state_marks import marked_classes, marks_of_class
from opensvc_openha.verify.exhaustive.bounded_model import BoundedModel

CHANGED = "another value"
BY_THEIR_OWN_RULES = (Beat, Ack, BootId, Facts)


def _objects(value: Any, seen: set[int]) -> Iterator[Any]:
    """The objects of an engine that are compared attribute by attribute, each once."""
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, (tuple, list, set, frozenset)):
        for item in value:
            yield from _objects(item, seen)
    elif hasattr(value, "__dict__") and type(value).__module__.startswith("opensvc_openha."):
        is_plain = not isinstance(value, BY_THEIR_OWN_RULES) and not hasattr(value, "__objclass__")
        if is_plain and id(value) not in seen:
            seen.add(id(value))
            yield value
            marks = marks_of_class(type(value))
            for name, item in vars(value).items():
                if name not in marks.not_state:
                    yield from _objects(item, seen)


def _started_world() -> BoundedModel:
    world = BoundedModel()
    world.start()
    world.run(1.0)
    return world


def test_every_attribute_is_compared_unless_it_is_marked() -> None:
    """Each attribute of each object of an engine is replaced in turn."""
    world = _started_world()
    engine = world.nodes[0].engine
    before = world.fingerprint()
    tried = 0
    for found in _objects(engine, set()):
        marks = marks_of_class(type(found))
        for name, value in list(vars(found).items()):
            if found is engine and name in ("spec", "_announcer"):
                continue  # They report whose sequence numbers are meant, and whether there are any.
            found.__dict__[name] = CHANGED
            is_same = world.fingerprint() == before
            found.__dict__[name] = value
            assert is_same is (name in marks.not_state), f"{type(found).__name__}.{name}"
            tried += 1
    assert tried > 150 and world.fingerprint() == before


def test_every_mark_names_an_attribute() -> None:
    """An attribute that is renamed takes its mark along."""
    reached = {type(found): set(vars(found)) for found in _objects(_engine(), set())}
    assert len(marked_classes()) > 10
    for kind, marks in marked_classes().items():
        fields = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()
        names = {field.name for field in fields} or reached[kind]
        assert marks.names and marks.names <= names, f"{kind.__name__}: {marks.names - names}"


def _engine() -> Any:
    return _started_world().nodes[0].engine
