"""How long a look at, and a cut by, a power device takes: median and worst of some rounds.

    python -m bench.power_devices [--rounds 20]

Against an IPMI board (ipmi_sim) by our own driver, a Redfish service by Debian's fence_redfish, and
Debian's fence_dummy; as the daemon does it, with a program for each, and within one process. The
machine goes off at once, so that the times are those of the means, not of a machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import monotonic

from opensvc_openha.fence_devices.power_device import device_of
from tests.fence_devices.agents import secret_file
from tests.fence_devices.ipmi_board import IpmiBoard
from tests.fence_devices.redfish_board import Certificate, RedfishBoard

LIMIT_S = 120.0
Options = dict[str, str]


@contextmanager
def ipmi(folder: Path) -> Iterator[tuple[str, Options, Callable[[], None]]]:
    """Yield a board: agent, options, and what switches its machine on again."""
    board = IpmiBoard(folder / "board")
    try:
        yield "fence_ipmilan", board.options, lambda: _write(board.folder / "power", "1\n")
    finally:
        board.end()


@contextmanager
def redfish(folder: Path) -> Iterator[tuple[str, Options, Callable[[], None]]]:
    """Yield a Redfish service, likewise."""
    board = RedfishBoard(Certificate(folder))

    def switch_on() -> None:
        board.orders.clear()
        board.state, board.after_off = "On", ["Off"]

    try:
        yield "fence_redfish", {**board.options, "password_file": secret_file(folder)}, switch_on
    finally:
        board.close()


@contextmanager
def dummy(folder: Path) -> Iterator[tuple[str, Options, Callable[[], None]]]:
    """Yield a file that stands for a device, likewise."""
    state = folder / "state"
    _write(state, "on")
    yield "fence_dummy", {"status_file": str(state)}, lambda: _write(state, "on")


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Raw)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    print(f"seconds, median and worst of {rounds}")
    print(f"{'device':<14} {'look':>13} {'look, program':>15} {'cut':>13} {'cut, program':>15}")
    for device in (ipmi, redfish, dummy):
        with tempfile.TemporaryDirectory() as folder, device(Path(folder)) as (agent, options, on):
            power = device_of("x", agent, options, "deb1")

            def by_program(do: str, agent: str = agent, options: Options = options) -> None:
                _run_program(do, agent, options)

            def look() -> None:
                _expect(power.look(LIMIT_S).power.value == "on")

            def cut() -> None:
                _expect(power.cut(LIMIT_S).is_proved)

            cells = [
                _measured(rounds, on, look),
                _measured(rounds, on, lambda: by_program("look")),
                _measured(rounds, on, cut),
                _measured(rounds, on, lambda: by_program("cut")),
            ]
            print(f"{agent:<14} {cells[0]:>13} {cells[1]:>15} {cells[2]:>13} {cells[3]:>15}")


def _measured(rounds: int, switch_on: Callable[[], None], work: Callable[[], None]) -> str:
    took = []
    for _ in range(rounds):
        switch_on()
        began = monotonic()
        work()
        took.append(monotonic() - began)
    return f"{median(took):.2f}  {max(took):.2f}"


def _run_program(do: str, agent: str, options: Options) -> None:
    request = {
        "do": do,
        "path": "x",
        "peer": "deb1",
        "limit_s": LIMIT_S,
        "options": {"agent": agent, **options},
    }
    done = subprocess.run(
        [sys.executable, "-m", "opensvc_openha.fence_devices.run"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=True,
    )
    answer = json.loads(done.stdout)
    _expect(answer["power"] == "on" if do == "look" else answer["is_proved"])


def _expect(is_so: bool) -> None:
    if not is_so:
        raise SystemExit("the device did not do what it must: these times mean nothing")


def _write(path: Path, text: str) -> None:
    path.write_text(text)


class _Raw(argparse.RawDescriptionHelpFormatter):
    """Keep the layout of the description."""


if __name__ == "__main__":
    main()
