"""Two healthy nodes with many services, whose engines and disks take their time: neither misses the
other for its own work.
"""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from opensvc_openha.core.engine import Engine
from opensvc_openha.core.events import Command, Event
from opensvc_openha.daemon.action_executor import ActionExecutor
from opensvc_openha.daemon.inbox import Inbox
from opensvc_openha.verify.random.plan import Plan, scenario_from_seed
from opensvc_openha.verify.random.random_history import run_history
from opensvc_openha.verify.random.simulated_cluster import Cluster
from opensvc_openha.verify.random.trace import Trace

COUNT = 60
NAMES = tuple(f"svc{number:02}" for number in range(COUNT))
PLAN = Plan(
    services=NAMES,
    net_links=1,
    has_disk=False,
    timeouts_s=(2.0, 2.0),
    check_s=(0.05,),
    scripts_s=(0.2,),
)
FALSE = re.compile(r"-> SILENT|-> DOWN: no beat|peer is silent|STALLED|this node was stalled")


def falsely_announced(plan: Plan, is_faulty: bool = False) -> list[str]:
    """All are unfrozen on one node, then on the other, then stopped on the first: what was reported
    that is not so.
    """
    lines: list[str] = []
    cluster = Cluster(plan, Trace(lines.append))
    first, second = cluster.nodes
    for node in cluster.nodes:
        node.power_on()
    cluster.scheduler.run_until(5.0)
    for node, command, at in (
        (first, Command.UNFREEZE, 60.0),
        (second, Command.UNFREEZE, 80.0),
        (first, Command.STOP, 160.0),
    ):
        for name in plan.services:
            node.order(command, name)
        cluster.scheduler.run_until(at)
    assert is_faulty or all(
        name in second.running and name not in first.running for name in plan.services
    ), lines[-40:]
    return [line for line in lines if FALSE.search(line)]


@pytest.mark.parametrize(
    "step_s, write_s",
    [
        pytest.param(0.01, 0.0, id="slow engine"),
        pytest.param(0.0, 0.08, id="slow disk"),
        pytest.param(0.01, 0.05, id="both"),
    ],
)
def test_own_work_makes_no_silence(step_s: float, write_s: float) -> None:
    """Hundreds of steps and writes, together longer than the links' timeout: no link goes down, and
    all services move.
    """
    assert falsely_announced(replace(PLAN, step_s=step_s, write_s=write_s)) == []


def test_disk_that_is_slower_than_the_links_makes_no_silence() -> None:
    """Each state takes longer to write than a link's timeout."""
    assert falsely_announced(replace(PLAN, services=NAMES[:1], write_s=2.5)) == []


def test_beats_that_wait_behind_all_else_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted fault: one queue for all, and a verdict by the last beat that was processed."""

    def put(inbox: Inbox[Event], item: Event) -> None:
        inbox._others.append(item)

    monkeypatch.setattr(Inbox, "put", put)
    monkeypatch.setattr(Engine, "mark_busy_until", lambda engine, until: None)
    assert falsely_announced(replace(PLAN, step_s=0.01), is_faulty=True)


def test_node_that_is_mute_while_it_writes_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted fault: nothing is repeated while states are written."""
    monkeypatch.setattr(ActionExecutor, "speak_meanwhile", lambda node, now: False)
    assert falsely_announced(replace(PLAN, services=NAMES[:1], write_s=2.5), is_faulty=True)


def test_histories_of_busy_nodes_are_among_the_seeds() -> None:
    """Faults of all kinds meet engines and disks that take their time; no promise is broken."""
    seeds = [seed for seed in range(1, 120) if scenario_from_seed(seed).write_s]
    assert len(seeds) >= 6
    for seed in seeds[:6]:
        outcome = run_history(seed, 0.02)
        assert not outcome.failure, "\n".join(
            [f"seed {seed}: {outcome.failure}", *outcome.lines[-40:]]
        )
