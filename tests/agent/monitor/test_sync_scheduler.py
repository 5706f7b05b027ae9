"""Scheduled synchronisations: what is due at a given time is sent, only where the service runs and
nobody acts on it.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable

import pytest

from opensvc_openha.agent.monitor.sync_scheduler import RETRY, SendOutcome, SyncRounds, send_due
from opensvc_openha.agent.service.action_lock import action_lock
from opensvc_openha.agent.service.loaded_service import Service, load_service
from opensvc_openha.agent.values.action_log import open_log
from opensvc_openha.cli.agent_services import node_view
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import NodeStatus, PeerStanding, ServiceStatus
from opensvc_openha.formats.layout import agent_layout
from tests.agent.embedded import Agent
from tests.waiting import until

NODE = os.uname().nodename.lower()
NIGHT = datetime.datetime(2014, 6, 19, 4, 30)
NOON = datetime.datetime(2014, 6, 19, 12, 0)


class Bench:
    """Rounds over the services of an agent, at the time that is set.

    What was sent is noted in a file.
    """

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.layout = agent_layout("", os.environ)
        self.now = NIGHT
        self.state = ServiceState.STARTING
        self.sent = agent.root / "sent"
        self.rounds = SyncRounds(self._files, self.load, self._ask, self._send, lambda: self.now)

    def load(self, name: str) -> Service:
        with open_log(self.layout.log_dir, name) as log:
            return load_service(self.layout, name, log, node_view())

    def run(self, now: datetime.datetime) -> list[str]:
        """One round at this time, waited for: what it sent."""
        self.now = now
        self.sent.write_text("")
        self.rounds.run()

        def is_over() -> bool:
            self.rounds.reap()
            return self.rounds.is_idle

        until(is_over)
        return sorted(self.sent.read_text().split())

    def note_success(
        self, name: str, rid: str, when: datetime.datetime, node: str = "peer1"
    ) -> None:
        path = os.path.join(self.layout.var_dir, "sync", node, f"{name}!{rid}")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="ascii") as file:
            file.write(when.strftime("%Y-%m-%d %H:%M:%S.%f\n"))

    def _ask(self) -> NodeStatus:
        service = ServiceStatus(
            "a", NODE, "peer1", self.state, ServiceState.STOPPED, self.state, ServiceState.STOPPED
        )
        return NodeStatus(NODE, "peer1", 1, PeerStanding.LIVE, "", (), (service,))

    def _files(self) -> dict[str, str]:
        return {"a": self.layout.service_file("a")}

    def _send(self, name: str, rids: tuple[str, ...]) -> None:
        with open(self.sent, "a", encoding="ascii") as file:
            file.write("".join(f"{name}:{rid}\n" for rid in rids))


@pytest.fixture
def bench(agent: Agent) -> Bench:
    """A service on two nodes with its own data to send."""
    return Bench(agent)


def write(bench: Bench, more: str = "") -> None:
    service = f"[DEFAULT]\nnodes = {NODE} peer1\n[app#1]\ncheck = /bin/true\n"
    bench.agent.write("a", f"{service}[sync#1]\nsrc = /etc/hosts\ndst = /tmp\n{more}")


def test_what_is_due_is_sent_in_its_hours(bench: Bench) -> None:
    """By default at night; at noon only what asks for it.

    Never again before the interval has gone by since the last success.
    """
    write(bench, "[sync#2]\nsrc = /etc/hosts\ndst = /tmp\nschedule = @60\n")
    assert bench.run(NOON) == ["a:sync#2"]
    assert bench.run(NIGHT) == ["a:sync#1", "a:sync#2", "a:sync#i0"]
    for rid in ("sync#1", "sync#2", "sync#i0"):
        bench.note_success("a", rid, NIGHT)
    assert bench.run(NIGHT + datetime.timedelta(minutes=59)) == []
    assert bench.run(NIGHT + datetime.timedelta(minutes=61)) == ["a:sync#2"]
    assert bench.run(NIGHT + datetime.timedelta(days=1)) == ["a:sync#1", "a:sync#2", "a:sync#i0"]


def test_one_that_failed_is_tried_again_after_a_while_only(bench: Bench) -> None:
    """No success was noted: not in the next round, but ten minutes later.

    At once when the service file was changed.
    """
    write(bench)
    assert bench.run(NIGHT) == ["a:sync#1", "a:sync#i0"]
    assert bench.run(NIGHT + RETRY / 2) == []
    assert bench.run(NIGHT + RETRY) == ["a:sync#1", "a:sync#i0"]
    write(bench, "timeout = 30\n")
    assert bench.run(NIGHT + RETRY) == ["a:sync#1", "a:sync#i0"]
    assert bench.run(NIGHT - RETRY) == ["a:sync#1", "a:sync#i0"], "the clock was set back"


@pytest.mark.parametrize(
    "more",
    [
        "disable = true\n",
        "schedule = @0\n",
        "schedule = at night\n",
        "target = drpnodes\n",
        "tags = noaction\n",
    ],
)
def test_what_has_no_time_or_nowhere_to_go_is_not_sent(bench: Bench, more: str) -> None:
    """Disabled, never, not understood, no node of its target: the others are sent all the same."""
    write(bench, more)
    assert bench.run(NIGHT) == ["a:sync#i0"]


def test_schedule_that_is_not_understood_is_a_warning(bench: Bench) -> None:
    """The service starts; validate config names the section."""
    write(bench, "schedule = at night\n")
    outcome = bench.agent.svcmgr("-s", "a", "validate", "config")
    assert outcome.exit_code == 1
    assert (
        "a.env:5: [sync#1] 'at' is no time of the day, expected 04:00-06:00@121: it is never sent"
        " by itself" in outcome.out
    )


def test_broken_service_file_is_no_reason_to_end(bench: Bench) -> None:
    """Nothing is sent, and once it is corrected it is."""
    bench.agent.write("a", "[fs#1\n")
    assert bench.run(NIGHT) == []
    write(bench)
    assert bench.run(NIGHT) == ["a:sync#1", "a:sync#i0"]


def test_service_of_a_cluster_is_sent_as_soon_as_it_is_started_here(bench: Bench) -> None:
    """While it starts nothing is sent, and that is no try that has to wait."""
    write(bench, "[hb#0]\ntype = OpenHA\nname = a\n")
    assert bench.run(NIGHT) == []
    bench.state = ServiceState.STARTED
    assert bench.run(NIGHT) == ["a:sync#1", "a:sync#i0"]


@pytest.mark.parametrize(
    "arrange, reason",
    [
        (lambda bench: bench.agent.svcmgr("-s", "a", "freeze"), "the service is frozen"),
        (lambda bench: write(bench, "[app#2]\ncheck = /bin/false\n"), "the service is warn here"),
        (
            lambda bench: bench.agent.write("a", f"[DEFAULT]\nnodes = p\ndrpnodes = {NODE}\n"),
            "a drp node does not send",
        ),
    ],
)
def test_nothing_is_sent_by_itself(
    bench: Bench, arrange: Callable[[Bench], object], reason: str
) -> None:
    """Frozen, not up here, a drp node: the reason is given."""
    write(bench)
    arrange(bench)
    result = send_due(bench.load("a"), ("sync#i0",))
    assert result.outcome is SendOutcome.NOT_NOW and result.reason.startswith(reason)


def test_nothing_is_sent_while_somebody_acts_on_the_service(bench: Bench) -> None:
    """The action lock is held: not now."""
    write(bench)
    service = bench.load("a")
    with action_lock(service.var_dir, "stop"):
        result = send_due(service, ("sync#i0",))
        assert result.outcome is SendOutcome.NOT_NOW
        assert "is acting on this service" in result.reason
