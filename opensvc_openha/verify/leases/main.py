"""Run histories of the protocol of a promise, by their seeds, and report what was broken.

A history depends on nothing but its seed, so a failure is reported as the command that replays it.
"""

from __future__ import annotations

import argparse
import math
import re

from opensvc_openha.system import clock
from opensvc_openha.verify.leases.history import run_history

COMMAND = "python -m opensvc_openha.verify.leases"


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__.split("\n", 1)[0])
    parser.add_argument(
        "--seeds", type=_seeds, default=(1, 1000), metavar="A-B", help="histories (default 1-1000)"
    )
    parser.add_argument("--trace", action="store_true", help="print each history line by line")
    return parser


def main(args: list[str] | None = None) -> int:
    """Run the histories; return 0 if nothing was broken, else 1."""
    options = build_parser().parse_args(args)
    first, last = options.seeds
    began_at = clock.monotonic()
    failed = proofs = bites = 0
    virtual_s, least_s = 0.0, math.inf
    for seed in range(first, last + 1):
        outcome = run_history(seed, print if options.trace else None)
        if outcome.failure:
            failed += 1
            print(f"seed {seed}: {outcome.failure}")
            print(f"    replay: {COMMAND} --seeds {seed} --trace", flush=True)
        proofs, bites = proofs + outcome.proofs, bites + outcome.bites
        virtual_s += outcome.virtual_s
        least_s = min(least_s, outcome.least_spare_s)
    used_s = clock.monotonic() - began_at
    print(
        f"{last - first + 1} histories ({first}-{last}), {failed} failed: {virtual_s / 3600:.1f}"
        f" virtual hours in {used_s:.1f} s, {proofs} proofs with at least"
        f" {least_s:.3f} s to spare, {bites} resets by watchdogs"
    )
    return 1 if failed else 0


def _seeds(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a seed nor A-B")
    first = int(match[1])
    return first, int(match[2] or first)
