"""Without a key one datagram can speak for a node.

What it does must not last, and no node is called silent for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opensvc_openha.core.actions import Announce
from opensvc_openha.core.beat import Ack, Beat, BootId, Goodbye
from opensvc_openha.core.events import BeatReceived, Command
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.verify.simulated_node import NODES
from tests.core.pair import Host, Pair

HUGE = 2**64 - 1
TOP_LIFE = BootId(2**32 - 1, 666)


class Forger:
    """Somebody who reads what the nodes send, and sends single datagrams in their names, on some of
    the links.
    """

    def __init__(self, pair: Pair) -> None:
        self.pair = pair

    def send(self, name: str, links: int = 2, **changes: Any) -> None:
        """What that node sent last, changed."""
        pair = self.pair
        speaker, victim = (pair.deb1, pair.deb2) if name == NODES[0] else (pair.deb2, pair.deb1)
        assert speaker.engine is not None
        beat: Beat = replace(speaker.engine.beat(), **changes)
        for link in [link for link in pair.links if link.node == name][:links]:
            victim.handle(victim.life, BeatReceived(link, beat, pair.now))

    def both(self, **changes: Any) -> None:
        """In each name, to the other node."""
        for name in NODES:
            self.send(name, **changes)


def _standing(host: Host) -> PeerStanding:
    assert host.engine is not None
    return host.engine.snapshot(host.pair.now).peer_standing


def _heals(pair: Pair) -> None:
    """Both believe the true states again, no script ran for it, and each acknowledges the other."""
    for host in (pair.deb1, pair.deb2):
        assert _standing(host) is PeerStanding.LIVE
        assert host.shown == ("STARTED", "STOPPED")
        announced = host.engine.beat() if host.engine is not None else None
        other = pair.deb2 if host is pair.deb1 else pair.deb1
        assert announced is not None and announced.ack is not None and other.engine is not None
        assert (announced.ack.boot, other.engine.seq - announced.ack.seq) in (
            (other.engine.boot, 0),
            (other.engine.boot, 1),
        )
    assert [node for _, node in pair.starts()] == ["deb1"]
    assert not any(
        record.new == "SILENT" for host in (pair.deb1, pair.deb2) for record in host.records
    )


def _acks(pair: Pair, name: str, seq: int) -> Ack:
    other = pair.deb2 if name == NODES[0] else pair.deb1
    assert other.engine is not None
    return Ack(other.engine.boot, seq)


@pytest.mark.parametrize("links", [1, 2])
@pytest.mark.parametrize("names", [NODES[:1], NODES[1:], NODES])
def test_sequence_number_at_the_top_is_forgotten_when_its_life_continues_below(
    names: tuple[str, ...], links: int
) -> None:
    """2**64 - 1 under the true identity, on one link or on all: true beats are refused for a
    timeout, then believed again.
    """
    pair = Pair()
    pair.start_on_deb1()
    for name in names:
        Forger(pair).send(name, links, seq=HUGE, ack=_acks(pair, name, HUGE))
    pair.run(25)
    _heals(pair)


def test_second_forged_number_does_not_hide_the_life_that_continues_below() -> None:
    """The highest number but one, twice: the first is believed, the second refused, true beats are
    still signs of life.
    """
    pair = Pair()
    pair.start_on_deb1()
    for links in (2, 1, 2):
        Forger(pair).send("deb1", links, seq=HUGE - 1)
    pair.run(25)
    _heals(pair)


@pytest.mark.parametrize("names", [NODES[:1], NODES[1:], NODES])
def test_number_at_the_top_is_forgotten_on_each_link_when_its_life_comes_back(
    names: tuple[str, ...],
) -> None:
    """The number comes on both links, then another life on the first alone: the true life comes
    back there, and is believed on the second link as well.
    """
    pair = Pair()
    pair.start_on_deb1()
    for name in names:
        Forger(pair).send(name, seq=HUGE - 1, ack=None)
        Forger(pair).send(name, 1, boot=TOP_LIFE, seq=0, ack=None)
    pair.run(60)
    for host in (pair.deb1, pair.deb2):
        assert host.engine is not None
        links = host.engine.snapshot(pair.now).links
        assert [link.is_up for link in links] == [True, True]
    _heals(pair)


def test_acknowledgement_above_what_was_sent_proves_nothing() -> None:
    """deb2 wants to start what the owner runs not: a forged beat that acknowledges everything to
    come does not start it.
    """
    pair = Pair()
    deb1, deb2 = pair.start_on_deb1()
    Forger(pair).send("deb1", ack=_acks(pair, "deb1", HUGE))
    assert deb2.engine is not None
    counts = [link.counts for link in deb2.engine.snapshot(pair.now).links]
    assert {"impossible": 1}.items() <= counts[0].items()
    assert deb2.engine._peer.view.acked_seq <= deb2.engine.seq


@pytest.mark.parametrize("goodbye", [Goodbye.RESTART, Goodbye.LEFT])
@pytest.mark.parametrize("seq", [0, HUGE])
@pytest.mark.parametrize("names", [NODES[:1], NODES])
def test_forged_goodbye_is_forgotten_when_the_node_continues(
    goodbye: Goodbye, seq: int, names: tuple[str, ...]
) -> None:
    """A single goodbye in the name of a node that lives: its beats are refused for a timeout, then
    believed again.
    """
    pair = Pair()
    pair.start_on_deb1()
    pair.deb2.command(Command.FREEZE_STOP)
    pair.run(2)
    states = {
        "registry": ServiceState.STARTED if goodbye is Goodbye.RESTART else ServiceState.STOPPED
    }
    for name in names:
        engine = (pair.deb1 if name == NODES[0] else pair.deb2).engine
        assert engine is not None
        Forger(pair).send(name, seq=seq or engine.seq + 1, goodbye=goodbye, states=states)
    pair.run(25)
    for host in (pair.deb1, pair.deb2):
        assert _standing(host) is PeerStanding.LIVE
    assert pair.deb1.shown == pair.deb2.shown == ("STARTED", "FROZEN_STOP")
    assert [node for _, node in pair.starts()] == ["deb1"]


@pytest.mark.parametrize("ack", [None, 1, HUGE])
@pytest.mark.parametrize("names", [NODES[:1], NODES[1:], NODES])
def test_life_with_the_highest_counter_does_not_lock_the_living_one_out(
    names: tuple[str, ...], ack: int | None
) -> None:
    """Boot identity 2**32 - 1 in one name or in each: the lives that continue are believed again,
    and no node starts anything.
    """
    pair = Pair()
    pair.start_on_deb1()
    for name in names:
        Forger(pair).send(
            name, boot=TOP_LIFE, seq=HUGE, ack=None if ack is None else _acks(pair, name, ack)
        )
    pair.run(25)
    _heals(pair)


def test_interface_that_is_down_by_a_forged_word_comes_up_again() -> None:
    """The notice has a number that the peer never reaches: forgotten with it."""
    pair = Pair()
    pair.start_on_deb1()
    muted = next(link for link in pair.links if link.node == "deb1")
    second = [link for link in pair.links if link.node == "deb1"][1]
    assert pair.deb1.engine is not None
    beat = replace(pair.deb1.engine.beat(), seq=HUGE, mute=frozenset({muted.mark}))
    pair.deb2.handle(pair.deb2.life, BeatReceived(second, beat, pair.now))
    pair.run(25)
    assert pair.deb2.engine is not None
    assert all(link.is_up for link in pair.deb2.engine.snapshot(pair.now).links)
    _heals(pair)


def test_what_was_believed_is_not_displaced_while_it_continues() -> None:
    """A stray copy of an old life that plays its recorded beats beside the living peer: refused as
    long as the peer is heard.
    """
    pair = Pair()
    deb1, deb2 = pair.deb1, pair.deb2
    recorded: list[Beat] = []
    send = pair.send

    def record(host: Host, action: Announce) -> None:
        if host is deb1:
            recorded.append(action.beat)
        send(host, action)

    pair.send = record  # type: ignore[method-assign,assignment]
    pair.boot()
    pair.run(30)
    former = list(recorded)
    deb1.crash()
    pair.run(1)
    deb1.boot()
    pair.run(3)
    link = next(link for link in pair.links if link.node == "deb1")
    assert deb1.engine is not None and deb2.engine is not None
    for beat in former:
        pair.run(1)
        deb2.handle(deb2.life, BeatReceived(link, beat, pair.now))
        assert (
            deb2.engine._peer.view.newest is not None
            and deb2.engine._peer.view.newest.boot == deb1.engine.boot
        )


def test_recording_that_is_stretched_does_not_keep_the_dead_from_being_silent() -> None:
    """Old beats of a life that is over, one each nine seconds: too slow for somebody who beats each
    second.
    """
    pair = Pair()
    deb1, deb2 = pair.start_on_deb1()
    assert deb1.engine is not None
    beat = deb1.engine.beat()
    deb1.crash()
    link = next(link for link in pair.links if link.node == "deb1")
    for number in range(1, 20):
        old = replace(beat, boot=BootId(0, 5), seq=number)
        pair.schedule_at(
            pair.now + 9 * number,
            deb2.handle,
            deb2.life,
            BeatReceived(link, old, pair.now + 9 * number),
        )
    pair.run(80)
    assert deb2.state == "STARTED"


_SEQS = st.sampled_from((0, 1, HUGE - 1, HUGE))
_GAPS_S = st.sampled_from((0.0, 0.4, 3.0, 9.9, 11.0))


@st.composite
def _forgeries(draw: Callable[..., Any]) -> list[dict[str, Any]]:
    """Up to three datagrams: in whose name, on how many links, after which pause, and what is not
    as the node sends it.
    """
    return [
        {
            "name": draw(st.sampled_from(NODES)),
            "links": draw(st.integers(1, 2)),
            "gap_s": draw(_GAPS_S),
            "boot": draw(st.sampled_from((None, TOP_LIFE, BootId(2**32 - 1, 667), BootId(0, 1)))),
            "seq": draw(_SEQS),
            "ack": draw(st.sampled_from(("none", "true", "old", "highest"))),
            "goodbye": draw(st.sampled_from(Goodbye)),
            "state": draw(st.sampled_from(ServiceState)),
            "is_mute": draw(st.booleans()),
            "interval_s": draw(st.sampled_from((0.001, 1.0, 4e6))),
        }
        for _ in range(draw(st.integers(1, 3)))
    ]


@pytest.mark.exhaustive
@given(_forgeries())
@settings(max_examples=25, deadline=None)
def test_whatever_a_few_datagrams_claim_in_the_names_of_two_nodes_is_over_in_time(
    forgeries: list[dict[str, Any]],
) -> None:
    """Both nodes continue, their services frozen: each believes the other's true words again, and
    neither is called silent.
    """
    pair = Pair()
    pair.start_on_deb1()
    pair.deb1.command(Command.FREEZE_START)
    pair.deb2.command(Command.FREEZE_STOP)
    pair.run(2)
    for forged in forgeries:
        speaker = pair.deb1 if forged["name"] == NODES[0] else pair.deb2
        assert speaker.engine is not None
        true_ack, seq = speaker.engine.beat().ack, {"highest": HUGE, "old": 1}.get(forged["ack"])
        ack = (
            None
            if forged["ack"] == "none"
            else true_ack
            if seq is None
            else _acks(pair, forged["name"], seq)
        )
        mute = {link.mark for link in pair.links if link.node == forged["name"]}
        Forger(pair).send(
            forged["name"],
            forged["links"],
            boot=forged["boot"] or speaker.engine.boot,
            seq=forged["seq"],
            ack=ack,
            goodbye=forged["goodbye"],
            states={"registry": forged["state"]},
            interval_s=forged["interval_s"],
            mute=frozenset(sorted(mute)[:1] if forged["is_mute"] else ()),
        )
        pair.run(forged["gap_s"])
    pair.run(60)
    for host in (pair.deb1, pair.deb2):
        assert _standing(host) is PeerStanding.LIVE and host.shown == (
            "FROZEN_START",
            "FROZEN_STOP",
        )
        assert host.engine is not None and all(
            link.is_up for link in host.engine.snapshot(pair.now).links
        )
        assert not any(record.new == "SILENT" for record in host.records)


def test_what_was_authentic_is_not_displaced_by_what_is_not() -> None:
    """Permissive: the peer was heard with its key and has died.

    Beats without one continue under its name, below its number.
    """
    pair = Pair()
    pair.key_id = "aabbccdd"
    deb1, deb2 = pair.start_on_deb1()
    pair.run(60)
    assert deb1.engine is not None and deb2.engine is not None
    last = deb1.engine.beat()
    deb1.crash()
    link = next(link for link in pair.links if link.node == "deb1")
    for number in range(1, 40):
        pair.run(1)
        deb2.handle(deb2.life, BeatReceived(link, replace(last, seq=number), pair.now))
        assert deb2.engine._peer.view.newest == last


def test_authentic_beats_are_believed_at_once_beside_what_is_not() -> None:
    """Permissive: somebody without the key has forged the highest number.

    The next beat with the key is the newest one.
    """
    pair = Pair()
    pair.key_id = "aabbccdd"
    deb1, deb2 = pair.start_on_deb1()
    Forger(pair).send("deb1", seq=HUGE)
    assert deb1.engine is not None and deb2.engine is not None
    assert deb2.engine._peer.view.newest is not None and deb2.engine._peer.view.newest.seq == HUGE
    pair.run(1.1)
    assert deb2.engine._peer.view.newest.seq == deb1.engine.seq
