"""Remember which test found a fault.

A run that was cut short, or one after a new test, does not begin at the first fault again. What
was found counts as long as the function with the fault and the test that found it have the same
text. Nothing is remembered of a fault that no test found.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterable

import pytest

from tests.mutants.plant import Mutant, text_around
from tests.mutants.rooms import ROOT, path_of

_PLACE = ROOT / ".mutants" / "found.jsonl"


class Kept:
    """The faults found by earlier runs in this checkout: one line each, the last one counts."""

    def __init__(self, items: Iterable[pytest.Item]) -> None:
        self._tests = {item.nodeid: _digest(_source_of(item)) for item in items}
        self._sources: dict[str, str] = {}
        lines = _PLACE.read_text(encoding="utf-8").splitlines() if _PLACE.exists() else []
        self._known: dict[str, list[str]] = dict(json.loads(line) for line in lines)

    def found_by(self, mutant: Mutant) -> str:
        """Return the test that found this fault in this code; empty if that is not known."""
        code, test, state = self._known.get(mutant.lasting_name, ("", "", ""))
        is_same = code == self._state_of(mutant) and state == self._tests.get(test, "")
        return test if is_same else ""

    def former_finders(self) -> list[tuple[str, str]]:
        """Return file and test of each fault ever found: such tests go first."""
        return [(name.partition(" ")[0], test) for name, (_, test, _) in self._known.items()]

    def keep(self, mutant: Mutant, test: str) -> None:
        """Write down that a test found it, or that it ended the process that ran them."""
        state = self._tests.get(test, "")
        entry = (mutant.lasting_name, (self._state_of(mutant), test, state))
        with open(_PLACE, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def _state_of(self, mutant: Mutant) -> str:
        if mutant.file not in self._sources:
            self._sources[mutant.file] = path_of(mutant.file).read_text(encoding="utf-8")
        return _digest(text_around(self._sources[mutant.file], mutant))


def _source_of(item: pytest.Item) -> str:
    try:
        return inspect.getsource(item.function)  # type: ignore[attr-defined]
    except (AttributeError, OSError, TypeError):
        return item.path.read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]
