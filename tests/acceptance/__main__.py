"""`python -m tests.acceptance`: build the nodes, play scenarios in namespaces, clean up.

Exit codes: 0 every step had its expected result, 1 one had not, 77 this machine cannot run it and
nothing was tried.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.acceptance import image
from tests.acceptance.errors import CannotRun, NotAccepted
from tests.acceptance.scenarios import MODULES, scenario
from tests.acceptance.transcript import Transcript

SKIPPED = 77
INTERRUPTED = 130


def main() -> int:
    """Parse arguments, build the nodes, play the scenarios; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.acceptance", description="Two nodes with kernels of their own."
    )
    parser.add_argument(
        "--work", metavar="DIR", help="build in this directory and keep it: the next run is faster"
    )
    parser.add_argument("--memory", type=int, default=768, metavar="MB", help="memory of each node")
    parser.add_argument(
        "--only",
        action="append",
        choices=list(MODULES),
        metavar="NAME",
        help=f"play this scenario, not all; may be repeated; one of {', '.join(MODULES)}",
    )
    parser.add_argument(
        "--rounds", type=int, default=20, metavar="N", help="of scenarios that repeat themselves"
    )
    parser.add_argument("--inside", type=float, metavar="BEGIN", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside is not None:
        return _play(Path(options.work), options)
    reason = image.why_not_here()
    if reason:
        print(f"SKIPPED: the acceptance run {reason}")
        return SKIPPED
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    work = Path(options.work or tempfile.mkdtemp(prefix="openha-acceptance-")).resolve()
    work.mkdir(parents=True, exist_ok=True)
    try:
        return _build_and_play(work, options)
    except CannotRun as error:
        print(f"SKIPPED: {error}")
        return SKIPPED
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        if not options.work:
            shutil.rmtree(work, ignore_errors=True)


def _build_and_play(work: Path, options: argparse.Namespace) -> int:
    begin = time.monotonic()
    transcript = Transcript(sys.stdout, begin)
    transcript.title(
        "The machines", "Debian with a User-Mode Linux kernel each, built from packages."
    )
    image.build(work, transcript.note)
    # No child may outlive this process, however it ends.
    argv = ["setpriv", "--pdeathsig", "KILL", "--", "unshare", "--net", "--mount", "--pid"]
    argv += ["--fork", "--kill-child=SIGKILL", "--mount-proc", "--"]
    argv += [sys.executable, "-m", "tests.acceptance", "--work", str(work)]
    argv += ["--memory", str(options.memory), "--rounds", str(options.rounds)]
    argv += ["--inside", str(begin)]
    environment = {**os.environ, "PYTHONPATH": str(image.REPOSITORY)}
    codes = {}
    for name in options.only or MODULES:
        image.make_disks(work)
        codes[name] = subprocess.run([*argv, "--only", name], env=environment).returncode
        if codes[name] == INTERRUPTED:
            return INTERRUPTED
    by_code = {code: [name for name in codes if codes[name] == code] for code in codes.values()}
    skipped = by_code.pop(SKIPPED, [])
    accepted = by_code.pop(0, [])
    if skipped:
        transcript.note(f"SKIPPED: {', '.join(skipped)}")
    if by_code:
        transcript.note(f"NOT ACCEPTED: {', '.join(sum(by_code.values(), []))}")
        return 1
    if accepted:
        transcript.note(f"ACCEPTED: {', '.join(accepted)}: every step came out as it must")
    return 0 if accepted else SKIPPED


def _play(work: Path, options: argparse.Namespace) -> int:
    """Play one scenario in the namespaces that were made for it."""
    from tests.acceptance.bed import Bed

    (name,) = options.only
    transcript = Transcript(sys.stdout, options.inside)
    played = scenario(name)
    transcript.title(f"Scenario {name}: {played.TITLE}")
    bed = Bed(work, options.memory, transcript, options.rounds)
    try:
        played.play(bed)
        transcript.note(f"{name}: accepted")
        return 0
    except NotAccepted as error:
        transcript.note(f"{name}: NOT ACCEPTED: {error}")
        bed.player.last_words()
        return 1
    except CannotRun as error:
        transcript.note(f"{name}: SKIPPED: {error}")
        return SKIPPED
    except KeyboardInterrupt:
        transcript.note("interrupted")
        return INTERRUPTED
    finally:
        bed.end()


if __name__ == "__main__":
    sys.exit(main())
