"""Claims on a witness: one winner of each duel, with one real member and with three of them."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from opensvc_openha.errors import UsageError
from opensvc_openha.fence_devices import claim_program
from opensvc_openha.fence_devices.arbiter_answers import ArbiterLook, Claim, ClaimOutcome
from opensvc_openha.fence_devices.etcd import EtcdClient, EtcdFault
from opensvc_openha.fence_devices.etcd_arbiter import EtcdArbiter
from opensvc_openha.fence_devices.run import answer_to
from opensvc_openha.formats import etcd_messages as etcd
from opensvc_openha.formats.lease_config import EtcdConfig
from tests.fence_devices.etcd_members import EtcdMembers, needs_etcd
from tests.waiting import LIMIT_S, until

pytestmark = needs_etcd
WON, LOST, UNABLE = ClaimOutcome.WON, ClaimOutcome.LOST, ClaimOutcome.UNABLE
DUELS = 20


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdMembers]:
    """An etcd of one member."""
    made = EtcdMembers(tmp_path_factory.mktemp("one"))
    try:
        made.until_answers()
        yield made
    finally:
        made.end()


@pytest.fixture
def options(one: EtcdMembers, request: pytest.FixtureRequest) -> EtcdConfig:
    """Keys of its own for each test."""
    return replace(one.options, prefix=f"openha/{request.node.name.split('[')[0]}")


class Pair:
    """Both nodes as their arbiters."""

    def __init__(self, options: EtcdConfig) -> None:
        self.options = options
        self.deb1 = EtcdArbiter(options, "deb1", "deb2", own_life=lambda: "a1")
        self.deb2 = EtcdArbiter(options, "deb2", "deb1", own_life=lambda: "b1")

    def __enter__(self) -> Pair:
        return self

    def __exit__(self, *_: object) -> None:
        self.deb1.close()
        self.deb2.close()

    def register(self) -> None:
        """Both, in peace."""
        self.deb1.register_in_peace()
        self.deb2.register_in_peace()

    def keys(self) -> dict[str, object]:
        """What is stored, without the prefix."""
        with closing(EtcdClient(self.options)) as client:
            (rows,) = client.transact([], [etcd.find_below(f"{self.options.prefix}/")]).found
        begin = len(self.options.prefix) + 1
        return {row.key[begin:]: json.loads(row.value) for row in rows}

    def duel(self) -> list[Claim]:
        """Both claim at once."""
        gate = threading.Barrier(2)
        claims: dict[str, Claim] = {}

        def claim(name: str, arbiter: EtcdArbiter) -> None:
            gate.wait(LIMIT_S)
            claims[name] = arbiter.claim()

        threads = [
            threading.Thread(target=claim, args=each, daemon=True)
            for each in (("deb1", self.deb1), ("deb2", self.deb2))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT_S)
        return [claims["deb1"], claims["deb2"]]

    def duels(self, count: int) -> list[str]:
        """The winner of each; the loser is registered again between two of them."""
        winners = []
        for _ in range(count):
            first, second = self.duel()
            winner, loser = ("deb1", self.deb2) if first.outcome is WON else ("deb2", self.deb1)
            assert {first.outcome, second.outcome} == {WON, LOST}, (first, second)
            assert (second if winner == "deb1" else first).by == winner
            assert loser.watch().by == winner
            loser.register_in_peace(is_readmitted=True)
            winners.append(winner)
        return winners


@pytest.fixture
def pair(options: EtcdConfig) -> Iterator[Pair]:
    """Both nodes on an empty witness."""
    with Pair(options) as made:
        yield made


def test_claim_names_the_life_that_lost(pair: Pair) -> None:
    """And who has the right. The loser may not claim; it learns both from the witness."""
    pair.register()
    assert pair.deb1.watch() == ArbiterLook(
        True, "", True, "deb1 and deb2 registered on the witness"
    )
    assert pair.deb1.claim() == Claim(WON, "deb1 has the right to fence deb2 on the witness")
    assert pair.keys() == {
        "member/deb1": {"life": "a1"},
        "fence/deb2/b1": {"by": "deb1", "life": "a1"},
    }
    text = "deb1 has the right to fence deb2 on the witness"
    assert pair.deb2.claim() == Claim(LOST, text, "deb1")
    assert pair.deb2.watch() == ArbiterLook(False, "deb1", True, text)
    assert pair.deb1.watch() == ArbiterLook(True, "", False, text)
    # The answer may have been lost: whoever has the right has it at the next try, too.
    assert pair.deb1.claim().outcome is WON


def test_loser_comes_back_in_peace_only(pair: Pair) -> None:
    """Once its services are down; then both have the same right as before."""
    pair.register()
    pair.deb1.claim()
    with pytest.raises(EtcdFault, match="deb1 has the right, and deb2 stays out"):
        pair.deb2.register_in_peace()
    text = "deb2 and deb1 registered on the witness"
    assert pair.deb2.register_in_peace(is_readmitted=True) == text
    assert pair.deb2.claim().outcome is WON
    assert pair.deb1.claim().by == "deb2"


def test_node_that_never_was_in_peace_claims_nothing(pair: Pair) -> None:
    """Nor after the witness has lost its data; its peer, which was, may."""
    claim = pair.deb1.claim()
    assert claim.outcome is UNABLE
    assert "no node registered" in claim.text
    assert "nodes register only while they hear each other" in claim.text
    pair.deb2.register_in_peace()
    assert pair.deb1.claim().outcome is UNABLE
    assert pair.deb2.claim().outcome is WON
    assert pair.keys()["fence/deb1/unknown"] == {"by": "deb2", "life": "b1"}
    assert pair.deb1.watch().by == "deb2"


def test_reboot_takes_no_right_and_gives_none(pair: Pair) -> None:
    """A registration follows the life of its machine; a claim outlives the life that it names."""
    pair.register()
    reborn = EtcdArbiter(pair.options, "deb2", "deb1", own_life=lambda: "b2")
    with closing(reborn):
        assert reborn.watch().is_registered
        assert pair.keys()["member/deb2"] == {"life": "b2"}
        assert pair.deb1.claim().outcome is WON
        assert "fence/deb2/b2" in set(pair.keys())
    again = EtcdArbiter(pair.options, "deb2", "deb1", own_life=lambda: "b3")
    with closing(again):
        assert again.watch().by == "deb1"
        assert again.claim().outcome is LOST
        again.register_in_peace(is_readmitted=True)
        assert again.watch().is_registered


def test_claim_that_comes_while_a_node_registers_is_not_lost(pair: Pair) -> None:
    """It deletes the claims that it saw, no others, and has no right before it looked again."""
    pair.register()

    class Late(EtcdClient):
        """The peer claims right before this node's first writing."""

        def transact(self, *arguments: object) -> etcd.TransactionEnd:
            if arguments[0]:
                pair.deb1.claim()
            return super().transact(*arguments)  # type: ignore[arg-type]  # as they came

    late = EtcdArbiter(pair.options, "deb2", "deb1", Late(pair.options), lambda: "b1")
    with closing(late):
        with pytest.raises(EtcdFault, match="deb1 has the right to fence deb2"):
            late.register_in_peace(is_readmitted=True)
        assert late.claim().outcome is LOST


def test_values_of_others_are_no_reason_to_win(pair: Pair) -> None:
    """A claim counts whatever its value is; the peer is taken for who made it."""
    pair.register()
    with closing(EtcdClient(pair.options)) as client:
        for value in ("", "[", '{"by": 1}', '["x"]'):
            client.transact([], [etcd.put(f"{pair.options.prefix}/fence/deb1/x", value)])
            assert pair.deb1.claim().by == pair.deb1.watch().by == "deb2"
            assert not pair.deb1.watch().is_registered


def test_twenty_duels_on_one_member(pair: Pair) -> None:
    """Exactly one winner in each."""
    pair.register()
    assert len(pair.duels(DUELS)) == DUELS


def test_claim_goes_through_the_program_of_the_daemon(pair: Pair) -> None:
    """As the daemon asks; a witness that does not answer is no loss of the right."""
    pair.register()
    options = pair.options.as_options()
    request = {"do": "claim", "node": "deb1", "peer": "deb2", "options": {"etcd": options}}
    won = answer_to(request)
    assert (won["outcome"], won["by"], won["hints"]) == ("won", "", [])
    lost = answer_to({**request, "node": "deb2", "peer": "deb1"})
    assert (lost["outcome"], lost["by"]) == ("lost", "deb1")
    secret = {**options, "username": "openha", "password_file": "/nowhere"}
    unable = answer_to({**request, "options": {"etcd": secret}})
    text = "the secret /nowhere cannot be read: No such file or directory"
    assert (unable["outcome"], unable["text"]) == ("unable", text)
    away = {**options, "urls": ["http://127.0.0.1:1"]}
    unable = answer_to({**request, "options": {"etcd": away}})
    assert unable["outcome"] == "unable"
    in_vain = answer_to({**request, "options": {"etcd": away}, "limit_s": 0.04})
    assert "not asked, since no time was left" in str(in_vain["text"])
    assert "no answer from the witness: http://127.0.0.1:1: connection refused" in str(
        unable["text"]
    )


@pytest.mark.parametrize(
    "change",
    [
        {"node": ""},
        {"peer": 1},
        {"options": {"etcd": []}},
        {"options": {"etcd": {"urls": []}}},
        {"options": {"etcd": {"urls": ["http://127.0.0.1:1"], "colour": "red"}}},
        {"options": {}},
    ],
)
def test_request_that_cannot_be_used_is_refused(change: dict[str, object]) -> None:
    """Before anything is asked."""
    options: object = {"etcd": {"urls": ["http://127.0.0.1:1"]}}
    request = {"do": "claim", "node": "deb1", "peer": "deb2", "options": options, **change}
    with pytest.raises(UsageError):
        claim_program.answer(request)


# --- three members --------------------------------------------------------------------------------


def until_unable(claim: Callable[[], Claim]) -> Claim:
    """Claim until the witness gives no answer: a leader without followers notices it late."""
    return until(claim, lambda end: end.outcome is UNABLE)


def test_three_members(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Duels while members are there, killed and paused; without a majority nobody gets the right,
    and nobody who has it loses it.
    """
    members = EtcdMembers(tmp_path_factory.mktemp("three"), count=3)
    try:
        members.until_answers()
        # Each node asks another member first.
        options = replace(members.options, limit_s=LIMIT_S)
        with Pair(options) as pair:
            pair.deb2 = EtcdArbiter(
                replace(options, urls=options.urls[::-1]), "deb2", "deb1", own_life=lambda: "b1"
            )
            pair.register()
            pair.duels(DUELS // 2)

            members.signal(0, signal.SIGKILL)
            pair.duels(DUELS // 2)

        with Pair(replace(options, limit_s=1.0)) as pair:
            members.signal(1, signal.SIGSTOP)
            before = until_unable(pair.deb1.claim)
            assert "no answer from the witness" in before.text
            assert pair.deb2.claim().outcome is UNABLE
            with pytest.raises(EtcdFault):
                pair.deb1.watch()
            members.signal(1, signal.SIGCONT)
            members.until_answers()

        with Pair(options) as pair:
            # A try without an answer may have been carried out by now: then it is found.
            first, second = pair.duel()
            assert {first.outcome, second.outcome} == {WON, LOST}
    finally:
        members.end()
