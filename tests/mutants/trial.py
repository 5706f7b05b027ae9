"""Tries mutants, several at a time, each in a fork of the process that has collected the tests."""

from __future__ import annotations

import importlib
import os
import resource
import select
import signal
import time
import sys
from dataclasses import dataclass
from typing import Callable, Iterator

import pytest

from tests.mutants.graft import graft
from tests.mutants.plant import Mutant
from tests.mutants.watch import CORE, Met

UNPLANTED = "not planted"
_TEST_CPU_S = 5.0
_SLOWER = 10
"""A test that takes so many times longer than without the fault, and some seconds, is in an endless loop: found."""
_MEMORY = 2 << 30


@dataclass(frozen=True)
class Verdict:
    """Who found a mutant (nobody: empty), among how many tests, and how long that took."""

    mutant: Mutant
    found_by: str
    tests: int
    seconds: float


@dataclass
class _Trial:
    mutant: Mutant
    child: int
    tests: int
    began: float


class Bench:
    """Runs trials side by side, and learns which tests find much."""

    def __init__(self, items: "list[pytest.Item]", met: Met, passes: "Callable[[pytest.Item], bool]", jobs: int) -> None:
        self._items = {item.nodeid: item for item in items}
        self._met = met
        self._passes = passes
        self._jobs = jobs
        self._found: "dict[tuple[str, str], int]" = {}
        # As they were loaded, even if somebody edits them meanwhile.
        self._sources = {path.name: path.read_text(encoding="utf-8") for path in CORE.glob("*.py")}

    def broken_finders(self) -> "list[str]":
        """Tests that found something and fail without any fault: somebody edits the tree, and no verdict counts."""
        finders = sorted({name for _, name in self._found} & set(self._items))
        return [name for name in finders if not self._passes(self._items[name])]

    def judge(self, mutants: "list[Mutant]", limit_s: float) -> "Iterator[Verdict]":
        """A verdict on each, as they come in; ``limit_s`` seconds after its begin no further test of a mutant is run."""
        waiting, going = list(reversed(mutants)), {}
        while waiting or going:
            while waiting and len(going) < self._jobs:
                mutant = waiting.pop()
                order = self._order(mutant)
                read, child = self._fork(mutant, order, limit_s)
                going[read] = _Trial(mutant, child, len(order), time.monotonic())
            ready, _, _ = select.select(list(going), [], [])
            for read in ready:
                yield self._end(read, going.pop(read))

    def _end(self, read: int, trial: _Trial) -> Verdict:
        said = os.read(read, 400).decode("utf-8")
        os.close(read)
        os.waitpid(trial.child, 0)
        found_by = "" if said == "-" else said or "the end of its process"
        self._found[trial.mutant.file, found_by] = self._found.get((trial.mutant.file, found_by), 0) + 1
        return Verdict(trial.mutant, found_by, trial.tests, time.monotonic() - trial.began)

    def _order(self, mutant: Mutant) -> "list[str]":
        """The tests that meet the fault, those first that find most in the shortest time; all of them for what modules load."""
        names = list(self._items) if mutant.is_at_load else self._met.tests_at(mutant.file, mutant.function_line)
        # The rules in words are a table of their own, told for each state: they go through whatever the other one says.
        rules = [name for name in self._items if "test_rules" in name] if mutant.file == "transitions.py" else []
        state = mutant.before.partition("S.")[2].partition(",")[0]

        def worth(name: str) -> float:
            found = self._found.get((mutant.file, name), 0) + 100 * (name in rules and name.endswith(f".{state}]"))
            return (1 + 20 * found) / (self._met.took_s[name] + 0.01)

        return sorted({*names, *rules} & set(self._items), key=worth, reverse=True)

    def _fork(self, mutant: Mutant, order: "list[str]", limit_s: float) -> "tuple[int, int]":
        read, write = os.pipe()
        child = os.fork()
        if child:
            os.close(write)
            return read, child
        os.close(read)
        os.setsid()
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        try:
            found_by = self._try(mutant, order, limit_s)
        except BaseException as error:  # Whatever a fault breaks, it was found.
            found_by = type(error).__name__
        os.write(write, (found_by or "-").encode("utf-8")[:400])
        os._exit(0)

    def _try(self, mutant: Mutant, order: "list[str]", limit_s: float) -> str:
        module = importlib.import_module(f"opensvc_openha.core.{mutant.file[:-3]}")
        try:
            is_planted = graft(module, mutant.plant(self._sources[mutant.file]))
        except SyntaxError:
            is_planted = False
        if not is_planted:
            return UNPLANTED
        signal.signal(signal.SIGVTALRM, _too_long)
        began = time.monotonic()
        for name in order:
            signal.setitimer(signal.ITIMER_VIRTUAL, _TEST_CPU_S + _SLOWER * self._met.took_s[name])
            is_ok = self._passes(self._items[name])
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            if not is_ok:
                return name
            if time.monotonic() > began + limit_s:
                break
        return ""


def _too_long(_number: int, _frame: object) -> None:
    raise TimeoutError("an endless loop")
