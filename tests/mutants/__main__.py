"""``make mutants``: plants each fault alone in a copy of the package, runs the fast tests of the decisions, prints who found it.

A mutant that no test finds survives: either a test is missing, or the fault changes nothing that anybody can see; the
latter are listed in equivalent.txt with the reason. Exit code 1 if any other one survived.
"""

from __future__ import annotations

import argparse
import compileall
import concurrent.futures
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mutants.plant import DECISIONS, Mutant, mutants_of

ROOT = Path(__file__).resolve().parents[2]
STAGES = (
    ("tests/core/test_rules.py", "tests/core/test_peer_view.py", "tests/core/test_link_monitor.py", "tests/core/test_policies.py",
     "tests/core/test_service_machine.py", "tests/core/test_legacy_peer.py", "tests/core/test_decisions.py",
     "-k", "not go_round"),
    ("tests/core/test_engine_pair.py", "tests/core/test_engine_pair_with_key.py", "tests/core/test_records.py",
     "tests/core/test_legacy_pair.py", "tests/core/test_invariants.py", "-k", "not random"),
    ("tests/sim/test_enumeration.py",),
)
"""What is run, the quickest first: the next stage only sees what the one before did not find."""
_LIMIT_S = 300
_stages = len(STAGES)


@dataclass(frozen=True)
class Verdict:
    """What became of one mutant; ``found_by`` is empty if it survived."""

    mutant: Mutant
    found_by: str
    took_s: float


class Copy:
    """A copy of package and tests in which one fault at a time is planted."""

    def __init__(self) -> None:
        self.dir = Path(tempfile.mkdtemp(prefix="mutants."))
        for name in ("opensvc_openha", "tests"):
            shutil.copytree(ROOT / name, self.dir / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "setup.cfg", self.dir)
        compileall.compile_dir(str(self.dir), quiet=2)
        for cached in (self.dir / "opensvc_openha" / "core" / "__pycache__").iterdir():
            # A fault of the same length within the same second would not be seen.
            cached.unlink()

    def judge(self, mutant: "Mutant | None") -> str:
        """The test that found the fault; empty if none did."""
        if mutant is None:
            return self._run(is_writing=True)
        path = self.dir / "opensvc_openha" / "core" / mutant.file
        source = path.read_text(encoding="utf-8")
        path.write_text(mutant.plant(source), encoding="utf-8")
        try:
            return self._run()
        finally:
            path.write_text(source, encoding="utf-8")

    def _run(self, is_writing: bool = False) -> str:
        for stage in STAGES[:_stages]:
            paths = [item for item in stage if not item.startswith("tests/") or (self.dir / item).exists()]
            found_by = self._run_stage(paths, is_writing)
            if found_by:
                return found_by
        return ""

    def _run_stage(self, paths: "list[str]", is_writing: bool) -> str:
        output = self.dir / "output"
        child = multiprocessing.get_context("fork").Process(target=_test, args=(self.dir, paths, output, is_writing))
        child.start()
        child.join(_LIMIT_S)
        if child.exitcode is None:
            child.kill()
            child.join()
            return "the time limit"
        if child.exitcode == 0:
            return ""
        lines = output.read_text(encoding="utf-8", errors="replace").splitlines()
        failed = [line.split(" - ")[0] for line in lines if line.startswith(("FAILED ", "ERROR "))]
        return failed[0].split(" ", 1)[1].split("/")[-1] if failed else f"exit code {child.exitcode}"

    def close(self) -> None:
        """Removes it."""
        shutil.rmtree(self.dir)


def _test(where: Path, paths: "list[str]", output: Path, is_writing: bool) -> None:
    os.chdir(where)
    sys.dont_write_bytecode = not is_writing
    sys.path.insert(0, str(where))
    for name in [name for name in sys.modules if name.split(".")[0] in ("tests", "opensvc_openha")]:
        del sys.modules[name]
    with open(output, "w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    # Plugins that are not needed cost more than most mutants.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    options = ["-x", "-q", "--no-header", "--tb=no", "-p", "no:cacheprovider", "-p", "pytest_timeout", "--timeout=60"]
    code = pytest.main([*options, *paths])
    os._exit(int(code))


_COPY: "list[Copy]" = []


def _work(mutant: Mutant) -> Verdict:
    if not _COPY:
        _COPY.append(Copy())
        found_by = _COPY[0].judge(None)
        assert not found_by, f"the tests fail without any fault: {found_by}"
    began = time.monotonic()
    return Verdict(mutant, _COPY[0].judge(mutant), time.monotonic() - began)


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
    parser.add_argument("--only", default="", help="only those whose line in the list contains this text")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--list", action="store_true", help="only list them")
    parser.add_argument("--stages", type=int, default=len(STAGES), help="only so many groups of tests, the quickest first")
    asked = parser.parse_args(argv)
    global _stages
    _stages = asked.stages
    core = ROOT / "opensvc_openha" / "core"
    chosen = [
        mutant for name in DECISIONS for mutant in mutants_of(core / name)[asked.first::asked.every] if asked.only in mutant.name
    ]
    if asked.list:
        print("\n".join(mutant.name for mutant in chosen))
        return 0
    known = equivalents()
    survived = same = 0
    with concurrent.futures.ProcessPoolExecutor(asked.jobs) as pool:
        for verdict in pool.map(_work, chosen):
            name = without_line(verdict.mutant)
            if not verdict.found_by and name in known:
                same += 1
                print(f"same      {verdict.mutant.name}  ({known[name]})", flush=True)
                continue
            survived += not verdict.found_by
            what = f"killed    {verdict.mutant.name}  by {verdict.found_by}"
            print(f"{what if verdict.found_by else f'SURVIVED  {verdict.mutant.name}'}  ({verdict.took_s:.1f} s)", flush=True)
    print(f"{len(chosen)} planted: {len(chosen) - survived - same} killed, {same} change nothing, {survived} survived")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
