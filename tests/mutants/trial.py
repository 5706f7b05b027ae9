"""Try mutants in parallel, each in a fork of the process that has collected the tests."""

from __future__ import annotations

import importlib
import os
import resource
import select
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from opensvc_openha.links import disk_worker
from opensvc_openha.system.self_command import package_parent
from tests.mutants import bequest
from tests.mutants.graft import graft
from tests.mutants.kept import Kept
from tests.mutants.plant import Mutant
from tests.mutants.rooms import CORE, Room, module_of, path_of
from tests.mutants.watch import Met

UNPLANTED = "not planted"
_CUT_SHORT = "cut short"
_PURE = (CORE, "formats")
"""Rooms whose tests start nothing that could be left over, and fail alike each time."""
_TEST_CPU_S = 2.0
_SLOWER = 10
"""Factor, besides some seconds, after which a test counts as hanging: detected."""
_PATIENCE_S = 120.0
_MEMORY = 2 << 30
_WORKER = "links/disk_io.py"
"""Run by a process that is started without any hook, by the path of a script."""
_WORKER_SCRIPT = """
import sys

sys.path.insert(0, {parent!r})
{source}

serve()
"""


@dataclass(frozen=True)
class Verdict:
    """Which test detected a mutant (empty: none), among how many, and the time it took."""

    mutant: Mutant
    found_by: str
    tests: int
    seconds: float
    is_cut_short: bool = False
    """True if the time did not suffice for all tests."""
    is_kept: bool = False
    """True if an earlier run found it, and neither the code nor the test have changed."""


@dataclass
class _Trial:
    mutant: Mutant
    child: int
    tests: int
    began: float
    source: str
    """File with the mutant's source; its name marks all processes that run it."""


class Bench:
    """Runs trials in parallel, and records which tests detect most."""

    def __init__(
        self,
        room: Room,
        items: list[pytest.Item],
        met: Met,
        passes: Callable[[pytest.Item], bool],
        jobs: int,
        is_again: bool,
    ) -> None:
        self._room = room
        self._items = {item.nodeid: item for item in items if item.nodeid not in met.failing}
        self._met = met
        self._passes = passes
        self._jobs = jobs
        self._is_again = is_again
        self._kept = Kept(self._items.values())
        self._found = Counter(self._kept.former_finders())
        self._finders: set[str] = set()
        # As loaded, even if they are edited meanwhile.
        self._sources = {file: path_of(file).read_text(encoding="utf-8") for file in room.files}
        self._folder = tempfile.TemporaryDirectory(prefix="openha-mutants-")

    def broken_finders(self) -> list[str]:
        """Return tests that detected a fault but fail without one too.

        Then the tree was edited meanwhile, and no verdict counts.
        """
        return [name for name in sorted(self._finders) if not self._passes(self._items[name])]

    def judge(self, mutants: list[Mutant], limit_s: float) -> Iterator[Verdict]:
        """Yield a verdict on each mutant as it is reached.

        No further test of a mutant begins after ``limit_s`` seconds.
        """
        waiting = list(reversed(mutants))
        going: dict[Any, Any] = {}
        while waiting or going:
            while waiting and len(going) < self._jobs:
                mutant = waiting.pop()
                if not self._is_again and (found_by := self._kept.found_by(mutant)):
                    yield Verdict(mutant, found_by, 1, 0.0, is_kept=True)
                    continue
                order = self._order(mutant)
                path = Path(self._folder.name) / str(len(waiting)) / Path(mutant.file).name
                path.parent.mkdir()
                path.write_text(mutant.plant(self._sources[mutant.file]), encoding="utf-8")
                read, child = bequest.fork(
                    lambda m=mutant, o=order, p=path: self._try(m, o, limit_s, p)  # type: ignore[misc]
                )
                going[read] = _Trial(mutant, child, len(order), time.monotonic(), str(path))
            ready, _, _ = select.select(list(going), [], [], 1.0)
            for trial in going.values():
                if time.monotonic() > trial.began + limit_s + _PATIENCE_S:
                    # It hangs where no exception of ours gets through, which no test does without a
                    # fault.
                    os.kill(trial.child, signal.SIGKILL)
            for read in ready:
                yield self._end(read, going.pop(read))

    def _end(self, read: int, trial: _Trial) -> Verdict:
        result = bequest.end(read, trial.child, "" if self._room.name in _PURE else trial.source)
        found_by = "" if result in ("-", _CUT_SHORT) else result or "the end of its process"
        self._found[trial.mutant.file, found_by] += 1
        if found_by in self._items:
            self._finders.add(found_by)
        if found_by and found_by != UNPLANTED:
            self._kept.keep(trial.mutant, found_by)
        return Verdict(
            trial.mutant,
            found_by,
            trial.tests,
            time.monotonic() - trial.began,
            result == _CUT_SHORT,
        )

    def _order(self, mutant: Mutant) -> list[str]:
        """Return the tests that reach the fault, the most productive per second first.

        All tests for code that runs when modules are loaded.
        """
        names = (
            list(self._items)
            if mutant.is_at_load
            else self._met.tests_at(mutant.file, mutant.where)
        )
        meeting = self._met.tests_of(mutant.file)
        # The rules in words are a table of their own, written out for each state: they go through
        # whatever the other one holds.
        rules = (
            [name for name in self._items if "test_rules" in name]
            if mutant.file == "transitions.py"
            else []
        )
        state = mutant.before.partition("S.")[2].partition(",")[0]

        def worth(name: str) -> float:
            found = self._found[mutant.file, name] + 100 * (
                name in rules and name.endswith(f".{state}]")
            )
            meets = name in meeting
            return (meets + 20 * found) / (self._met.took_s[name] + 0.01)

        return sorted({*names, *rules} & set(self._items), key=worth, reverse=True)

    def _try(self, mutant: Mutant, order: list[str], limit_s: float, path: Path) -> str:
        is_core = self._room.name == CORE
        if is_core:
            resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        name = module_of(mutant.file)
        module = importlib.import_module(name)
        source = path.read_text(encoding="utf-8")
        try:
            if not graft(module, source, mutant.where):
                return UNPLANTED
        except SyntaxError:
            return UNPLANTED
        if mutant.file == _WORKER:
            script = path.with_suffix(".worker.py")
            script.write_text(_WORKER_SCRIPT.format(parent=package_parent(), source=source))
            disk_worker.__file__ = str(script)
        if not is_core:
            os.environ[bequest.FAULT] = f"{name}={path}"
        signal.signal(signal.SIGVTALRM, _too_long)
        signal.signal(signal.SIGALRM, _too_long)
        began = time.monotonic()
        for number, name in enumerate(order, 1):
            # Tests with real processes may fail once on a busy machine without any fault.
            for _ in range(1 if self._room.name in _PURE else 2):
                took_s = self._met.took_s[name]
                # Again each second: code under test may catch everything.
                signal.setitimer(signal.ITIMER_VIRTUAL, _TEST_CPU_S + _SLOWER * took_s, 1.0)
                signal.setitimer(signal.ITIMER_REAL, limit_s + _SLOWER * took_s, 1.0)
                is_ok = self._passes(self._items[name])
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
                signal.setitimer(signal.ITIMER_REAL, 0)
                if is_ok:
                    break
            else:
                return name
            if time.monotonic() > began + limit_s and number < len(order):
                return _CUT_SHORT
        return ""


class _TooLong(BaseException):
    """A test that hangs, or goes round in a loop."""


def _too_long(_number: int, _frame: object) -> None:
    raise _TooLong
