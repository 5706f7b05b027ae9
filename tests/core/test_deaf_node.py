"""A node that could open none of its links hears no peer: what it takes for silence is none."""

from __future__ import annotations

from opensvc_openha.core.actions import Record, RunScript
from opensvc_openha.core.beat import BootId
from opensvc_openha.core.engine import Engine
from opensvc_openha.core.events import Command, CommandReceived, Event, ListenerTried, Tick
from opensvc_openha.core.model import ClusterSpec
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.core.timing import START_READY_DELAY_S
from tests.core.pair import TIMEOUT_S, Pair, links, services

SPEC = ClusterSpec("deb1", "deb2", links(), services())
ETH1, ETH2 = SPEC.listeners


class Alone:
    """One engine that no peer speaks to, and its clock."""

    def __init__(self, *events: Event) -> None:
        self.now = 0.0
        self.engine = Engine(SPEC, BootId(1, 1), {}, 0.0)
        self.scripts: list[tuple[float, str]] = []
        self.recorded: list[tuple[str, bool]] = []
        for event in (Tick(), *events, CommandReceived(1, "registry", Command.UNFREEZE)):
            self.step(event)

    def step(self, event: Event) -> None:
        """One event now."""
        for action in self.engine.step(event, self.now):
            if isinstance(action, RunScript):
                self.scripts.append((self.now, action.kind.value))
            if isinstance(action, Record) and action.new in ("DEAF", "LISTENS"):
                self.recorded.append((action.new, action.is_alarm))

    def run(self, until: float) -> None:
        """Nothing happens but time."""
        while (at := min(self.engine.next_deadline(), until)) < until or self.now < until:
            self.now = max(at, self.now + 0.001)
            self.step(Tick())


def test_node_that_opened_no_link_takes_nothing_over() -> None:
    """Other names of interfaces after a boot, and /bin/true as check-up: the peer may run it, so
    nothing is started.
    """
    node = Alone(ListenerTried(ETH1, False), ListenerTried(ETH2, False))
    node.run(10 * TIMEOUT_S)
    status = node.engine.snapshot(node.now)
    assert (node.scripts, status.peer_standing) == ([], PeerStanding.UNKNOWN)
    assert node.engine.is_deaf
    assert (
        status.peer_reason == "no link of this node could be opened yet, so that it hears no peer"
    )
    assert node.recorded == [("DEAF", True)]


def test_link_that_opens_at_last_is_listened_to_for_a_full_timeout() -> None:
    """The interface appears after half a minute: silence counts from then, and the takeover comes a
    timeout and a delay later.
    """
    node = Alone(ListenerTried(ETH1, False), ListenerTried(ETH2, False))
    node.run(30)
    node.step(ListenerTried(ETH2, True))
    opened_at = node.now
    node.run(30 + TIMEOUT_S + START_READY_DELAY_S + 1)
    assert node.recorded == [("DEAF", True), ("LISTENS", False)]
    (began_at, kind), *_ = node.scripts
    assert kind == "check"
    assert (
        TIMEOUT_S + START_READY_DELAY_S
        <= began_at - opened_at
        <= TIMEOUT_S + START_READY_DELAY_S + 0.1
    )
    assert node.engine.snapshot(node.now).peer_reason == "not heard on any link for its timeout"


def test_one_link_of_two_that_cannot_be_opened_delays_nothing() -> None:
    """eth2 hears no peer for its timeout: that is silence, whatever becomes of eth1."""
    node = Alone(ListenerTried(ETH1, False))
    node.run(TIMEOUT_S + START_READY_DELAY_S + 1)
    assert node.recorded == []
    assert (
        TIMEOUT_S + START_READY_DELAY_S
        <= node.scripts[0][0]
        <= TIMEOUT_S + START_READY_DELAY_S + 0.1
    )


def test_second_link_that_opens_late_is_listened_to_before_a_verdict() -> None:
    """eth1 opens a second before the verdict: the peer may speak there, so its full timeout is
    waited for; but only once.
    """
    node = Alone(ListenerTried(ETH1, False))
    node.run(TIMEOUT_S - 1)
    node.step(ListenerTried(ETH1, True))
    node.run(2 * TIMEOUT_S - 2)
    node.step(ListenerTried(ETH1, True))
    node.run(2 * TIMEOUT_S - 1 + START_READY_DELAY_S + 1)
    assert abs(node.scripts[0][0] - (2 * TIMEOUT_S - 1 + START_READY_DELAY_S)) <= 0.1


def test_peer_heard_on_a_link_that_was_not_open_is_heard() -> None:
    """A beat came in before the news that the link is open: the node is deaf no more, and silence
    is found as ever.
    """
    pair = Pair()
    deb1, deb2 = pair.start_on_deb1()
    for link in SPEC.listeners:
        deb1.handle(deb1.life, ListenerTried(link, False))
    pair.run(2)
    deb2.crash()
    pair.run(TIMEOUT_S + 2)
    assert deb1.engine is not None
    assert deb1.engine.snapshot(pair.now).peer_standing is PeerStanding.SILENT


def test_news_of_a_link_that_is_gone_are_nothing() -> None:
    """The link was removed from the configuration meanwhile."""
    node = Alone()
    assert node.engine.step(ListenerTried(SPEC.senders[0], False), 0.0) == []
