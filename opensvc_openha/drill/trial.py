"""Carry out one drill: print what happens, keep what was measured, and record the end.

A trial that finds something that was not predicted raises; whatever it had changed is taken back by
the blocks that it leaves.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from opensvc_openha.control import client
from opensvc_openha.core.status import NodeStatus
from opensvc_openha.drill.cluster import Cluster
from opensvc_openha.drill.report import step_line
from opensvc_openha.errors import ActionError, OpenhaError, RefusedError
from opensvc_openha.storage.drills import (
    Begun,
    DrillKind,
    DrillResult,
    DrillStep,
    drill_name,
    read_drills,
    with_result,
    write_drills,
)
from opensvc_openha.system import clock
from opensvc_openha.system.order_reason import given_reason

POLL_S = 0.1


def say(text: str) -> None:
    """Print a line at once; a terminal that is gone ends no drill."""
    try:
        print(text, flush=True)
    except OSError:
        # What was changed has to be taken back all the same.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@dataclass
class Trial:
    """One drill that runs now."""

    cluster: Cluster
    began_at: float = field(default_factory=clock.monotonic)
    steps: list[DrillStep] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    has_begun: bool = False
    """True once a step was done: a refusal after that is how the drill ended."""

    def step(self, text: str) -> None:
        """Print what is done now, with the seconds since the drill began."""
        self.has_begun = True
        self.announce(text)

    def announce(self, text: str) -> None:
        """Print what is asked for now, and may be refused still."""
        say(f"{clock.monotonic() - self.began_at:9.1f} s  {text}")

    def measured(self, text: str, took_s: float, expected_s: float | None = None) -> None:
        """Keep and print a time."""
        step = DrillStep(text, round(max(0.0, took_s), 3), expected_s)
        self.steps.append(step)
        self.step(step_line(step))

    def remark(self, text: str) -> None:
        """Keep and print what is worth a look though the drill continues."""
        self.remarks.append(text)
        self.step(f"note: {text}")

    def expect_all_well(self) -> tuple[NodeStatus, NodeStatus]:
        """Return both statuses; raise RefusedError unless a drill may begin, or continue."""
        own, peer, problems = self.cluster.look()
        expect(problems)
        return own, peer

    def wait(
        self, is_so: Callable[[], bool], limit_s: float, what: str, poll_s: float = POLL_S
    ) -> None:
        """Wait until something is as predicted; raise ActionError if that takes too long."""
        if not clock.wait_until(is_so, limit_s, poll_s):
            raise ActionError(f"{what}: not within {limit_s:.0f} s")


def expect(problems: list[str]) -> None:
    """Raise RefusedError if anything speaks against a drill."""
    if problems:
        raise RefusedError("\n".join(problems))


def carry_out(
    cluster: Cluster, kind: DrillKind, subject: str, play: Callable[[Trial], None]
) -> DrillResult:
    """Run a drill and record its end.

    What it raises is its result, but for a refusal before anything was done.
    """
    trial, layout = Trial(cluster), cluster.layout
    name, at = drill_name(kind.value, subject), clock.wall()
    own = cluster.own()
    say(f"drill: {name}")
    write_drills(layout, replace(read_drills(layout), begun=Begun(name, at, os.getpid())))
    problem, interruption = "", None
    try:
        play(trial)
    except RefusedError as error:
        if not trial.has_begun:
            write_drills(layout, replace(read_drills(layout), begun=None))
            raise
        problem = str(error)
    except OpenhaError as error:
        problem = str(error)
    except KeyboardInterrupt as error:
        problem, interruption = "interrupted", error
    result = DrillResult(
        kind,
        subject,
        at,
        round(clock.monotonic() - trial.began_at, 3),
        own.node,
        own.peer,
        tuple(trial.steps),
        tuple(trial.remarks),
        problem,
        given_reason(),
    )
    _record(cluster, result)
    if interruption is not None:
        raise interruption
    return result


def _record(cluster: Cluster, result: DrillResult) -> None:
    trial_text = f"passed, in {result.took_s:.1f} s" if result.is_passed else result.problem
    say(f"  {'passed' if result.is_passed else 'NOT PASSED: ' + result.problem}")
    layout = cluster.layout
    write_drills(layout, replace(with_result(read_drills(layout), result), begun=None))
    try:
        word = result.name if result.is_passed else f"{result.name}: FAILED"
        client.note_drill(layout, word, trial_text, is_alarm=not result.is_passed)
    except OpenhaError as error:
        say(f"  not recorded in the history: {error}")
