"""Run histories of consecutive seeds, one process per core on request, and report the results.

A history depends on nothing but its seed and its length, so a failure is reported as the command
that replays it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from difflib import unified_diff
from multiprocessing import get_context
from typing import TextIO

from opensvc_openha.errors import UsageError
from opensvc_openha.system import clock
from opensvc_openha.verify.random.plan import (
    Plan,
    drill_plan_from_seed,
    failback_plan_from_seed,
    frozen_plan_from_seed,
    lease_plan_from_seed,
    plan_from_seed,
    targets_plan_from_seed,
)
from opensvc_openha.verify.random.random_history import HOURS, Outcome, run_history
from opensvc_openha.verify.random.scenario import render

COMMAND = "python -m opensvc_openha.verify.random"
_BAR = 30
_PLANS = {
    "drills": drill_plan_from_seed,
    "targets": targets_plan_from_seed,
    "failback": failback_plan_from_seed,
    "frozen_disks": frozen_plan_from_seed,
    "lease": lease_plan_from_seed,
    "fence_plan": plan_from_seed,
}
"""The plans of each option, of which the first that is given counts."""


def build_parser() -> argparse.ArgumentParser:
    """Return the simulator's options."""
    parser = argparse.ArgumentParser(
        prog=COMMAND, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=1,
        metavar="N",
        help="the first history, or the only one (default 1)",
    )
    parser.add_argument(
        "--runs",
        type=int,
        default=1,
        metavar="N",
        help="how many histories, of consecutive seeds (default 1)",
    )
    parser.add_argument(
        "--hours",
        type=float,
        default=HOURS,
        help=f"virtual time with faults in each (default {HOURS})",
    )
    parser.add_argument(
        "--fence-plan",
        action="store_true",
        help="the nodes have a fence plan, and an arbiter in most histories",
    )
    parser.add_argument(
        "--lease",
        action="store_true",
        help="watchdogs keep what the nodes promise; clocks run at the extremes",
    )
    parser.add_argument(
        "--frozen-disks",
        action="store_true",
        help="data disks freeze, for one node or for both, and services are given up",
    )
    parser.add_argument(
        "--failback",
        action="store_true",
        help="services go back to their primary by themselves",
    )
    parser.add_argument(
        "--targets",
        action="store_true",
        help="nodes ask targets whether they are isolated, and are cut from them",
    )
    parser.add_argument(
        "--drills",
        action="store_true",
        help="drills of a takeover: a node plays dead, the other one holds its fences back",
    )
    parser.add_argument("--trace", action="store_true", help="print each history line by line")
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="processes that share the seeds (default 1)",
    )
    parser.add_argument(
        "--keep-going", action="store_true", help="run all seeds, also after one that failed"
    )
    parser.add_argument(
        "--scenario",
        metavar="FILE",
        nargs="+",
        help="play these stories instead, and compare their output",
    )
    parser.add_argument(
        "--rewrite",
        action="store_true",
        help="write their present output into the files",
    )
    return parser


def main(args: list[str] | None = None) -> int:
    """Run the histories; return 0 if every invariant held, else 1."""
    options = build_parser().parse_args(args)
    if options.scenario:
        return _play_scenarios(options.scenario, options.rewrite)
    began_at = clock.monotonic()
    bar = _Bar(options.runs, None if options.trace else sys.stderr)
    done, virtual_s, failed = 0, 0.0, 0
    digest = ""
    for outcome in _outcomes(options):
        done, virtual_s, digest = done + 1, virtual_s + outcome.virtual_s, outcome.digest
        if outcome.failure:
            failed += 1
            bar.clear()
            _report_failure(outcome, options)
            if not options.keep_going:
                break
        bar.show(done, failed)
    bar.clear()
    real_s = max(clock.monotonic() - began_at, 1e-9)
    print(
        f"{done} histories, {failed} failed, {virtual_s / 3600:.1f} virtual hours in {real_s:.1f}"
        f" s: {virtual_s / real_s:.0f} x real"
        f" time{f' in {options.jobs} processes' if options.jobs > 1 else ''}"
        + (f"; trace {digest}" if options.runs == 1 else "")
    )
    return 1 if failed else 0


def _outcomes(options: argparse.Namespace) -> Iterator[Outcome]:
    seeds = range(options.seed, options.seed + options.runs)
    kind = _kind(options)
    if options.jobs <= 1 or options.trace:
        on_line = _print_line if options.trace else None
        for seed in seeds:
            yield run_history(seed, options.hours, on_line, _plan_of(seed, kind))
        return
    with get_context("fork").Pool(options.jobs) as pool:
        work: Iterable[tuple[int, float, str]] = ((seed, options.hours, kind) for seed in seeds)
        yield from pool.imap(_run, work, chunksize=8)


def _run(work: tuple[int, float, str]) -> Outcome:
    seed, hours, kind = work
    return run_history(seed, hours, plan=_plan_of(seed, kind))


def _kind(options: argparse.Namespace) -> str:
    """Return the option whose plans the histories have; empty without one."""
    return next((kind for kind in _PLANS if getattr(options, kind)), "")


def _plan_of(seed: int, kind: str) -> Plan | None:
    return _PLANS[kind](seed) if kind else None


def _print_line(line: str) -> None:
    print(line)


def _report_failure(outcome: Outcome, options: argparse.Namespace) -> None:
    hours = f" --hours {options.hours:g}" if options.hours != HOURS else ""
    kind = _kind(options).replace("_", "-")
    given = hours + (f" --{kind}" if kind else "")
    print(
        f"seed {outcome.seed}: {outcome.failure}\n    replay: {COMMAND} --seed"
        f" {outcome.seed}{given} --trace",
        flush=True,
    )


def _play_scenarios(paths: list[str], is_rewritten: bool) -> int:
    code = 0
    for path in paths:
        with open(path, encoding="ascii") as file:
            old = file.read()
        try:
            new = render(old)
        except UsageError as error:
            print(f"{path}: {error}", file=sys.stderr)
            return error.exit_code
        if new == old:
            print(f"{path}: as expected")
        elif is_rewritten:
            with open(path, "w", encoding="ascii") as file:
                file.write(new)
            print(f"{path}: rewritten, read the difference")
        else:
            sys.stdout.writelines(
                unified_diff(old.splitlines(True), new.splitlines(True), path, "now")
            )
            code = 1
    return code


class _Bar:
    """Show progress, on a terminal only."""

    def __init__(self, total: int, stream: TextIO | None) -> None:
        self._total = total
        self._stream = stream if stream is not None and stream.isatty() and total > 1 else None

    def show(self, done: int, failed: int) -> None:
        """Redraw the bar."""
        if self._stream is None:
            return
        filled = _BAR * done // self._total
        text = f"\r[{'#' * filled}{'.' * (_BAR - filled)}] {done}/{self._total}, {failed} failed"
        self._stream.write(text)
        self._stream.flush()

    def clear(self) -> None:
        """Clear the bar, for a line of text."""
        if self._stream is not None:
            self._stream.write("\r\033[K")
