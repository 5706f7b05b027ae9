"""Records on a witness: writings that come late do no harm, and what the survivor may conclude.

The clock is the test's; the members are real.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from opensvc_openha.fence_devices.etcd import EtcdClient, EtcdFault
from opensvc_openha.fence_devices.witness import Witness
from opensvc_openha.formats import etcd_messages as etcd
from opensvc_openha.formats.lease_config import EtcdConfig
from tests.fence_devices.etcd_members import EtcdMembers, needs_etcd
from tests.waiting import LIMIT_S, until

pytestmark = needs_etcd


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdMembers]:
    """An etcd of one member."""
    made = EtcdMembers(tmp_path_factory.mktemp("one"))
    try:
        made.until_answers()
        yield made
    finally:
        made.end()


class Lossy(EtcdClient):
    """A client whose next writings end as the test wants."""

    def __init__(self, options: EtcdConfig) -> None:
        super().__init__(options)
        self.late: list[Callable[[], etcd.TransactionEnd]] = []
        """Writings that were given up, and can still be carried out."""
        self.gives_up = False
        self.loses_answers = False

    def transact(self, *arguments: object) -> etcd.TransactionEnd:
        """Carry one out; conditions come with writings alone."""

        def act() -> etcd.TransactionEnd:
            return super(Lossy, self).transact(*arguments)  # type: ignore[arg-type]  # as they came

        if arguments[0] and self.gives_up:
            self.late.append(act)
            raise EtcdFault("given up")
        end = act()
        if arguments[0] and self.loses_answers:
            raise EtcdFault("the answer is lost")
        return end


class Rig:
    """The owner deb1, and the survivor deb2 who looks by a clock of its own."""

    def __init__(self, options: EtcdConfig) -> None:
        self.options = options
        self.time = 100.0
        self.client = Lossy(options)
        self.owner = Witness(options, "deb1", "deb2", self.client)
        self.survivor = Witness(options, "deb2", "deb1", now=lambda: self.time)

    def since(self, life: str = "7.a", seq: int = 1) -> float | None:
        """What the survivor finds."""
        return self.survivor.quiet_since(life, seq)

    def record(self) -> object:
        """What is stored of the owner."""
        with closing(EtcdClient(replace(self.options, limit_s=LIMIT_S))) as client:
            (found,) = client.transact([], [etcd.find(f"{self.options.prefix}/life/deb1")]).found
        return json.loads(found[0].value) if found else None

    def close(self) -> None:
        """Release both."""
        self.owner.close()
        self.survivor.close()


@pytest.fixture
def rig(one: EtcdMembers, request: pytest.FixtureRequest) -> Iterator[Rig]:
    """Records of its own for each test."""
    made = Rig(replace(one.options, prefix=f"openha/{request.node.name}"))
    yield made
    made.close()


def test_record_is_quiet_since_it_was_first_seen_as_it_is(rig: Rig) -> None:
    """By the survivor's clock, from the end of that look; each renewal begins anew."""
    assert rig.since() is None, "no record proves nothing: the peer may use another witness"
    assert rig.survivor.why_not == "it has no record of deb1"
    rig.owner.renew("7.a", 1, 1)
    assert rig.record() == {"life": "7.a", "seq": 1, "since": 1}
    assert rig.since() == 100.0
    rig.time = 105.0
    assert rig.since() == 100.0
    rig.owner.renew("7.a", 2, 1)
    assert rig.since() == 105.0
    # The same beat again is a sign of life all the same.
    rig.owner.renew("7.a", 2, 1)
    rig.time = 107.0
    assert rig.since() == 107.0


def test_record_of_another_life_and_a_withdrawn_one_prove_nothing(rig: Rig) -> None:
    """However long they stay; a renewal takes the withdrawal back."""
    rig.owner.renew("6.b", 9, 1)
    assert rig.since() is None
    assert rig.survivor.why_not == "its record is of another life of deb1"
    rig.owner.renew("7.a", 1, 1)
    rig.owner.withdraw("7.a")
    rig.time = 900.0
    assert rig.since() is None
    assert rig.survivor.why_not == "deb1 has withdrawn its promise there"
    assert rig.record() == {"life": "7.a", "seq": 0, "withdrawn": True}
    rig.owner.renew("7.a", 2, 1)
    assert rig.since() == 900.0


def test_record_of_a_promise_that_did_not_come_in_proves_nothing(rig: Rig) -> None:
    """The end of the one that is known was missed; nor does one that promises nothing."""
    rig.owner.renew("7.a", 9, 7)
    assert rig.since(seq=6) is None
    assert rig.survivor.why_not == "deb1 renews a promise there that did not come in here"
    assert rig.since(seq=7) == 100.0
    rig.owner.renew("7.a", 12, None)
    assert rig.since(seq=12) is None
    assert rig.survivor.why_not == "deb1 has withdrawn its promise there"
    with closing(EtcdClient(rig.options)) as client:
        value = '{"life": "7.a", "seq": 13}'
        client.transact([], [etcd.put(f"{rig.options.prefix}/life/deb1", value)])
    assert rig.since(seq=13) is None
    assert rig.survivor.why_not.endswith("its version is older")


def test_renewal_that_comes_late_undoes_no_withdrawal(rig: Rig) -> None:
    """It was given up, its promise is withdrawn, and then it reaches the witness."""
    rig.owner.renew("7.a", 1, 1)
    rig.client.gives_up = True
    with pytest.raises(EtcdFault):
        rig.owner.renew("7.a", 2, 1)
    rig.client.gives_up = False
    rig.owner.withdraw("7.a")
    assert not rig.client.late.pop()().is_done
    assert rig.since() is None


def test_renewal_whose_answer_was_lost_is_found(rig: Rig) -> None:
    """The next one replaces it, though it did not know of it; so does that of the next daemon."""
    rig.client.loses_answers = True
    with pytest.raises(EtcdFault):
        rig.owner.renew("7.a", 1, 1)
    rig.client.loses_answers = False
    rig.owner.renew("7.a", 2, 1)
    assert rig.record() == {"life": "7.a", "seq": 2, "since": 1}
    with closing(Witness(rig.options, "deb1", "deb2")) as next_one:
        next_one.renew("8.c", 1, 1)
    rig.owner.renew("7.a", 3, 1)
    assert rig.record() == {"life": "7.a", "seq": 3, "since": 1}


def test_witness_that_lost_its_data_gets_a_new_record(rig: Rig) -> None:
    """The owner just continues; the survivor counts from the new one, whatever its revision is."""
    rig.owner.renew("7.a", 1, 1)
    assert rig.since() == 100.0
    with closing(EtcdClient(rig.options)) as client:
        client.transact([], [etcd.delete(f"{rig.options.prefix}/life/deb1")])
        rig.time = 200.0
        assert rig.since() is None
        rig.owner.renew("7.a", 2, 1)
        assert rig.since() == 200.0
        for value in (
            "",
            "[]",
            "{",
            '{"life": "7.a"}',
            '{"life": "7.a", "seq": 1, "since": 1, "withdrawn": 1}',
            '{"life": "7.a", "seq": 1, "since": "1"}',
        ):
            client.transact([], [etcd.put(f"{rig.options.prefix}/life/deb1", value)])
            assert rig.since() is None


def test_somebody_else_who_writes_all_the_time_is_reported(rig: Rig) -> None:
    """Two nodes of one name."""

    class Other(EtcdClient):
        def transact(self, *arguments: object) -> etcd.TransactionEnd:
            if arguments[0]:
                rig.owner.renew("7.a", 1, 1)
            return super().transact(*arguments)  # type: ignore[arg-type]  # as they came

    with closing(Witness(rig.options, "deb1", "deb2", Other(rig.options))) as other:
        with pytest.raises(EtcdFault, match="is written by somebody else, too"):
            other.renew("8.c", 1, 1)
    assert rig.survivor.look().endswith(": 1 record")


def test_without_a_majority_nothing_is_renewed_and_nothing_concluded(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Of three members one may be away; with two, neither node gets an answer."""
    members = EtcdMembers(tmp_path_factory.mktemp("three"), count=3)
    try:
        members.until_answers()
        rig = Rig(replace(members.options, limit_s=1.0))
        with closing(rig):
            until(lambda: renewed(rig, 1))
            members.signal(0, signal.SIGSTOP)
            until(lambda: renewed(rig, 2))
            members.signal(1, signal.SIGSTOP)
            until(lambda: not renewed(rig, 3))
            with pytest.raises(EtcdFault):
                rig.since()
            members.signal(0, signal.SIGCONT)
            members.signal(1, signal.SIGCONT)
            until(lambda: renewed(rig, 4))
            assert rig.record() == {"life": "7.a", "seq": 4, "since": 1}
    finally:
        members.end()


def renewed(rig: Rig, seq: int) -> bool:
    """Whether a renewal succeeds by now."""
    try:
        rig.owner.renew("7.a", seq, 1)
    except EtcdFault:
        return False
    return True
