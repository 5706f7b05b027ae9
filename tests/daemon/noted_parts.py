"""Parts that only note what they are asked, for tests of what uses them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Notes:
    """What the parts of a test were asked, in order, and what each returns or raises."""

    def __init__(self, results: dict[str, Any]) -> None:
        self.notes: list[tuple[object, ...]] = []
        self.results = results

    def call(self, name: str, *given: object) -> object:
        """A part was asked for something."""
        self.notes.append((name, *given))
        result = self.results.get(name)
        if isinstance(result, Exception):
            raise result
        return result(*given) if callable(result) else result

    def of(self, name: str) -> list[tuple[object, ...]]:
        """What each call of this name was given."""
        return [note[1:] for note in self.notes if note[0] == name]


class Part:
    """Any part: notes each call, and returns or raises what the test wants."""

    def __init__(self, notes: Notes, name: str, **values: object) -> None:
        self.__dict__.update(values)
        self._notes, self._name = notes, name

    def __getattr__(self, method: str) -> Callable[..., object]:
        return lambda *args, **named: self._notes.call(
            f"{self._name}.{method}", *args, *named.values()
        )
