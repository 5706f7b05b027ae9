"""`python -m tests.acceptance`: build the nodes, play the story in namespaces, clean up.

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
from tests.acceptance.transcript import Transcript

SKIPPED = 77
INTERRUPTED = 130


def main() -> int:
    """Parse arguments, build the nodes, play the story; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.acceptance", description="Two nodes with kernels of their own."
    )
    parser.add_argument(
        "--work", metavar="DIR", help="build in this directory and keep it: the next run is faster"
    )
    parser.add_argument("--memory", type=int, default=768, metavar="MB", help="memory of each node")
    parser.add_argument("--inside", type=float, metavar="BEGIN", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside is not None:
        return _play(Path(options.work), options.memory, options.inside)
    reason = image.why_not_here()
    if reason:
        print(f"SKIPPED: the acceptance run {reason}")
        return SKIPPED
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    work = Path(options.work or tempfile.mkdtemp(prefix="openha-acceptance-")).resolve()
    work.mkdir(parents=True, exist_ok=True)
    try:
        return _build_and_play(work, options.memory)
    except CannotRun as error:
        print(f"SKIPPED: {error}")
        return SKIPPED
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        if not options.work:
            shutil.rmtree(work, ignore_errors=True)


def _build_and_play(work: Path, memory_mb: int) -> int:
    begin = time.monotonic()
    transcript = Transcript(sys.stdout, begin)
    transcript.title(
        "Two machines", "Debian with a User-Mode Linux kernel each, built from packages."
    )
    image.build(work, transcript.note)
    # No child may outlive this process, however it ends.
    argv = ["setpriv", "--pdeathsig", "KILL", "--"]
    argv += [
        "unshare",
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child=SIGKILL",
        "--mount-proc",
        "--",
    ]
    argv += [
        sys.executable,
        "-m",
        "tests.acceptance",
        "--work",
        str(work),
        "--memory",
        str(memory_mb),
        "--inside",
        str(begin),
    ]
    return subprocess.run(argv, env={**os.environ, "PYTHONPATH": str(image.REPOSITORY)}).returncode


def _play(work: Path, memory_mb: int, begin: float) -> int:
    from tests.acceptance.machines import HOST_ADDRESS, Machine, make_network
    from tests.acceptance.player import Player
    from tests.acceptance.power import PowerSwitch
    from tests.acceptance.story import tell

    transcript = Transcript(sys.stdout, begin)
    machines = [Machine(work, number, memory_mb) for number in (1, 2)]
    player = Player(machines, transcript)
    try:
        make_network()
        PowerSwitch(HOST_ADDRESS, {machine.name: machine for machine in machines}, transcript.note)
        tell(player)
        transcript.note("ACCEPTED: every step came out as it must")
        return 0
    except NotAccepted as error:
        transcript.note(f"NOT ACCEPTED: {error}")
        player.last_words()
        return 1
    except KeyboardInterrupt:
        transcript.note("interrupted")
        return INTERRUPTED
    finally:
        for machine in machines:
            machine.cut_power()


if __name__ == "__main__":
    sys.exit(main())
