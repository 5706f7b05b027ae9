"""Is a decision still good when its script begins?

Asked of a daemon with a clock of its own, before its threads run.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator

import pytest

from opensvc_openha.core.actions import Announce, RunScript
from opensvc_openha.core.beat import Beat, BootId, Goodbye
from opensvc_openha.core.events import ScriptKind
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.core.timing import RESTART_HOLD_S
from opensvc_openha.daemon.daemon import Daemon
from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.system import clock
from tests.cluster_dir import HERE, PEER, ClusterDir

TIMEOUT_S = 2.0
"""Of both links: after that long without a word of ours the peer may take what we were about to
start."""
OUT = {"registry": ServiceState.STOPPED}
START = RunScript(
    "registry", ScriptKind.START, "/opt/registry", ServiceState.STOPPED, PeerStanding.LIVE
)


class Bench:
    """A daemon that decides when the test asks for it, and the question that its script runner
    would ask.
    """

    def __init__(self, cluster: ClusterDir, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(clock, "monotonic", lambda: self.now)
        layout = tree_layout(str(cluster.root))
        os.makedirs(layout.proc_dir, exist_ok=True)
        self.daemon = Daemon(layout, logging.getLogger("test"), lock_handle=-1)
        self._asked: list[Callable[[], str]] = []
        monkeypatch.setattr(
            self.daemon._incarnation.runner,
            "run",
            lambda action, is_overtaken: self._asked.append(is_overtaken),
        )
        self.ports = self.daemon._incarnation.ports
        self.gaps = self.daemon._process.stall_detector._gaps
        self._heard = 0
        self.beat()

    def at(self, now: float) -> None:
        """Later, with all threads in good health."""
        self.now = now
        self.daemon._process.stall_detector._last = now

    def beat(self) -> None:
        """The engine posts a beat, and takes one of the peer."""
        self.ports.announce(Announce(Beat(HERE, BootId(1, 1), 1, None, {}), with_names=False))
        self.hear()

    def hear(self) -> None:
        """A beat of the peer comes in and is taken: it is out of the service."""
        view = self.ports._engine._peer.view
        self._heard += 1
        view.take(Beat(PEER, BootId(1, 2), self._heard, None, OUT), self.now)
        view.judge(True, None, self.now)

    def decide(self) -> Callable[[], str]:
        """The engine decides on a start now; the question whether that is over."""
        self.ports.begin_step(self.now)
        self.ports.run_script(START)
        return self._asked[-1]


@pytest.fixture
def bench(cluster_dir: ClusterDir, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A node that has just sent a beat."""
    yield Bench(cluster_dir, monkeypatch)


def test_decision_of_a_node_that_continues_beating_is_good_for_ever(bench: Bench) -> None:
    """Its script waits behind others for a minute, a beat each second: nothing has happened
    meanwhile.
    """
    is_overtaken = bench.decide()
    for second in range(1, 60):
        bench.at(1000.0 + second)
        assert not is_overtaken()
        bench.beat()


def test_decision_is_over_when_nothing_was_sent_for_the_peers_patience(bench: Bench) -> None:
    """No beat for the timeout, to the instant."""
    is_overtaken = bench.decide()
    bench.at(1000.0 + TIMEOUT_S - 0.001)
    assert not is_overtaken()
    bench.at(1000.0 + TIMEOUT_S)
    assert is_overtaken()


def test_decision_stays_over_when_a_beat_is_repeated(bench: Bench) -> None:
    """Mute for the timeout, then a beat: how long it had been is measured before that beat
    counts.
    """
    is_overtaken = bench.decide()
    bench.at(1000.0 + TIMEOUT_S)
    bench.beat()
    assert is_overtaken()
    bench.at(1001.0 + TIMEOUT_S)
    bench.beat()
    assert is_overtaken()


def test_silence_before_a_decision_does_not_end_it(bench: Bench) -> None:
    """Mute, a beat, and the decision after it: the engine knew of the silence."""
    bench.at(1000.0 + 2 * TIMEOUT_S)
    bench.beat()
    is_overtaken = bench.decide()
    assert not is_overtaken()


def test_standstill_after_a_decision_ends_it_and_one_before_does_not(bench: Bench) -> None:
    """The process was stopped between the decision and the beginning of its script, which another
    step of the engine followed.
    """
    before = bench.decide()
    bench.gaps.append((1000.5, 1001.0))
    bench.at(1001.2)
    bench.beat()
    after = bench.decide()
    assert before() and not after()


def test_moment_of_a_decision_is_that_of_its_event_not_of_its_script(bench: Bench) -> None:
    """The process is stopped while the step is carried out: the event was taken at 1000, the script
    comes to the runner later.
    """
    bench.ports.begin_step(1000.0)
    bench.gaps.append((1000.2, 1000.9))
    bench.at(1001.0)
    bench.ports.run_script(START)
    bench.ports.begin_step(1001.5)
    assert bench._asked[-1]()


def test_standstill_that_lasts_is_seen_before_its_end(bench: Bench) -> None:
    """The thread that watches has missed its turns itself."""
    is_overtaken = bench.decide()
    bench.now = 1000.0 + 0.25 * TIMEOUT_S
    assert is_overtaken()


def test_check_up_of_a_peer_that_said_goodbye_and_did_not_come_back_is_not_put_off(
    bench: Bench,
) -> None:
    """Its standing stays `left`, and the rules take it for silent after the hold."""
    view = bench.ports._engine._peer.view
    view.take(
        Beat(PEER, BootId(1, 2), 9, None, {"registry": ServiceState.STARTED}, Goodbye.RESTART),
        bench.now,
    )
    view.judge(False, None, bench.now)
    bench.ports.begin_step(bench.now)
    bench.ports.run_script(
        RunScript(
            "registry", ScriptKind.CHECK, "/bin/true", ServiceState.UNKNOWN, PeerStanding.SILENT
        )
    )
    assert bench._asked[-1](), "the hold is not over"
    view.judge(False, None, bench.now + RESTART_HOLD_S)
    assert view.standing is PeerStanding.DEPARTED and not bench._asked[-1]()
