"""``make mutants``: plants each fault alone, runs the tests that meet it, the quickest first, prints which one finds it.

A mutant that no test finds survives: either a test is missing, or the fault changes nothing that anybody can see; the
latter are listed in equivalent.txt with the reason. Exit code 1 if any other one survived.

The tests are collected once and run once, watched for the functions of the decision code that each of them meets. A mutant
is then tried in a fork of that process.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import select
import signal
import sys
import time
import types
from pathlib import Path
from typing import Optional

import pytest

from tests.mutants.graft import graft
from tests.mutants.plant import DECISIONS, Mutant, mutants_of

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "opensvc_openha" / "core"
TESTS = ("tests/core", "tests/sim/test_enumeration.py")
LEFT_OUT = "crash_points or go_round or with_force or with force or every pair or found_out or test_invariants"
"""Too slow for every mutant, or not needed beside test_rules."""
_LIMIT_S = 120
"""A fault that is not found by then is an endless loop."""


class Watcher:
    """Which functions of the decision code each test meets."""

    def __init__(self) -> None:
        self._files = {str(CORE / name): name for name in DECISIONS}
        self._met: "set[types.CodeType]" = set()
        self.tests_at: "dict[tuple[str, int], list[int]]" = {}

    def trace(self, frame: types.FrameType, _event: str, _arg: object) -> None:
        """For sys.settrace: each call, never a line."""
        self._met.add(frame.f_code)

    def note(self, number: int) -> None:
        """The test with this number met all that was met since the last one."""
        for code in self._met:
            name = self._files.get(code.co_filename)
            if name is not None:
                self.tests_at.setdefault((name, code.co_firstlineno), []).append(number)
        self._met = set()


class Session:
    """A pytest plugin that takes the place of the run of the tests."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self._asked = asked
        self.survived = 0

    def pytest_collection_modifyitems(self, items: "list[pytest.Item]") -> None:
        """Leaves out what is too slow."""
        words = [word.strip() for word in LEFT_OUT.split(" or ")]
        items[:] = [
            item for item in items
            if not any(word in item.nodeid for word in words) and not re.search(r"twice\[[^]]*[0-9]{2}", item.nodeid)
        ]

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Runs all tests once, then each mutant against those that meet it."""
        watcher, took = Watcher(), []
        for number, item in enumerate(session.items):
            began = time.monotonic()
            sys.settrace(watcher.trace)
            is_ok = _passes(item)
            sys.settrace(None)
            took.append(time.monotonic() - began)
            watcher.note(number)
            if not is_ok:
                raise pytest.UsageError(f"{item.nodeid} fails without any fault")
        print(f"{len(session.items)} tests, {sum(took):.0f} s", flush=True)
        chosen = [
            mutant for name in DECISIONS for mutant in mutants_of(CORE / name)[self._asked.first::self._asked.every]
            if any(text in mutant.name for text in self._asked.only.split(","))
        ]
        known, same = equivalents(), 0
        for mutant in chosen:
            order = self._order(mutant, watcher, took, session.items)
            began = time.monotonic()
            found_by = _judge(mutant, order, self._asked.seconds)
            seconds = time.monotonic() - began
            if not found_by and without_line(mutant) in known:
                same += 1
                print(f"same      {mutant.name}  ({known[without_line(mutant)]})", flush=True)
                continue
            self.survived += not found_by
            what = f"killed    {mutant.name}  by {found_by}" if found_by else f"SURVIVED  {mutant.name}"
            print(f"{what}  ({seconds:.1f} s of {len(order)} tests)", flush=True)
        killed = len(chosen) - self.survived - same
        print(f"{len(chosen)} planted: {killed} killed, {same} change nothing, {self.survived} survived")
        return True

    @staticmethod
    def _order(mutant: Mutant, watcher: Watcher, took: "list[float]", items: "list[pytest.Item]") -> "list[pytest.Item]":
        """The tests that meet the fault, the quickest first; all of them for what is met when a module is loaded."""
        numbers = set(watcher.tests_at.get((mutant.file, mutant.function_line), []))
        if mutant.is_at_load:
            numbers = set(range(len(items)))
        rules = {number for number, item in enumerate(items) if "test_rules" in item.nodeid and mutant.file == "transitions.py"}
        return [items[number] for number in sorted(numbers | rules, key=lambda number: (number not in rules, took[number]))]


def _passes(item: pytest.Item) -> bool:
    from _pytest.runner import runtestprotocol

    reports = runtestprotocol(item, nextitem=None, log=False)
    return not any(report.failed for report in reports)


def _judge(mutant: Mutant, order: "list[pytest.Item]", limit_s: float) -> str:
    """The test that found the fault, in a process of its own; empty if none did."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        os.setsid()
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")
        try:
            found_by = _try(mutant, order, limit_s)
        except BaseException as error:  # Whatever a fault breaks, it was found.
            found_by = f"{type(error).__name__}"
        os.write(write, (found_by or "-").encode("utf-8")[:400])
        os._exit(0)
    os.close(write)
    ready, _, _ = select.select([read], [], [], _LIMIT_S)
    said = os.read(read, 400).decode("utf-8") if ready else "the time limit"
    os.close(read)
    if not ready:
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "" if said == "-" else said or "the end of its process"


def _try(mutant: Mutant, order: "list[pytest.Item]", limit_s: float) -> str:
    module = importlib.import_module(f"opensvc_openha.core.{mutant.file[:-3]}")
    if not graft(module, mutant.plant((CORE / mutant.file).read_text(encoding="utf-8"))):
        raise RuntimeError("not planted")
    began = time.monotonic()
    for item in order:
        if not _passes(item):
            return item.nodeid.split("/")[-1]
        if time.monotonic() > began + limit_s:
            break
    return ""


def equivalents() -> "dict[str, str]":
    """Mutants that change nothing, as told without their line number, and why."""
    path = Path(__file__).with_name("equivalent.txt")
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        if line.strip() and not line.startswith("#"):
            name, _, reason = line.partition(" # ")
            found[name.strip()] = reason.strip()
    return found


def without_line(mutant: Mutant) -> str:
    """The mutant's name as it stays when lines are added above it."""
    return mutant.name.replace(f":{mutant.line} ", " ", 1)


def main(argv: "list[str]") -> int:
    """Prints each mutant and who found it, then how many survived."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=str(__doc__).split("\n\n")[0])
    parser.add_argument("--every", type=int, default=1, help="only each Nth mutant of a file")
    parser.add_argument("--first", type=int, default=0, help="the first of those")
    parser.add_argument("--only", default="", help="only those whose line in the list contains one of these texts (a,b)")
    parser.add_argument("--seconds", type=float, default=_LIMIT_S, help="for a quick look: no further test of a mutant then")
    parser.add_argument("--list", action="store_true", help="only list them")
    asked = parser.parse_args(argv)
    if asked.list:
        for name in DECISIONS:
            print("\n".join(mutant.name for mutant in mutants_of(CORE / name)[asked.first::asked.every]))
        return 0
    os.chdir(ROOT)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    session: Optional[Session] = Session(asked)
    options = ["-o", "addopts=", "-p", "no:terminal", "-p", "no:cacheprovider", "-p", "pytest_timeout", "-s"]
    code = pytest.main([*options, *TESTS], plugins=[session])
    assert session is not None
    return int(code) or (1 if session.survived else 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
