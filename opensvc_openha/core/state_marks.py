"""Marks on the attributes of the decision code: what the model checker compares, and how.

An attribute that is not marked is compared as it is, so that a new one is never forgotten: it costs
time at most, never a state.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import field

from opensvc_openha.hints import TypeVar
from opensvc_openha.records import dataclass

_Class = TypeVar("_Class", bound=type)


@dataclass(frozen=True)
class StateMarks:
    """The marked attributes of one class."""

    not_state: frozenset[str] = frozenset()
    """Not compared: shown only, repeated elsewhere, or merely the instant of the next beat."""
    own_seqs: frozenset[str] = frozenset()
    """Sequence numbers of this node: compared by their distance to its newest beat."""
    memory_s: Mapping[str, float] = field(default_factory=dict)
    """Instants with a memory of their own: how long ago makes no difference any more."""

    @property
    def names(self) -> frozenset[str]:
        """Every attribute that is marked."""
        return self.not_state | self.own_seqs | frozenset(self.memory_s)


_NONE = StateMarks()
_MARKS: dict[type, StateMarks] = {}


def state_marks(
    not_state: Collection[str] = (),
    own_seqs: Collection[str] = (),
    memory_s: Mapping[str, float] | None = None,
) -> Callable[[_Class], _Class]:
    """Mark attributes of the decorated class; see `StateMarks`."""
    marks = StateMarks(frozenset(not_state), frozenset(own_seqs), dict(memory_s or {}))

    def mark(kind: _Class) -> _Class:
        _MARKS[kind] = marks
        return kind

    return mark


def marks_of_class(kind: type) -> StateMarks:
    """Return the marks of a class: none for one that is not decorated."""
    return _MARKS.get(kind, _NONE)


def marked_classes() -> Mapping[type, StateMarks]:
    """Return the decorated classes of every module loaded so far."""
    return dict(_MARKS)
