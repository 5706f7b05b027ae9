"""A node whose peer promised to be dead: it starts the services by time alone, and not earlier."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opensvc_openha.core.events import Command, MediumQuiet
from opensvc_openha.core.model import FencePath, Policy, Profile
from opensvc_openha.core.promise import media_of
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.core.timing import LAST_CALL_S, LEASE_LAST_READ_S
from tests.core.pair import TIMEOUT_S
from tests.core.plans import IPMI, OUT_S, PDU
from tests.core.promised_pair import LEASE, PromisedPair

CALLED_S = TIMEOUT_S + LAST_CALL_S
"""From the last beat to the end of the last call: a promise says itself when it is over."""
DEATH_S = 11.4
SELF_FENCED = "self-fenced: promised to be dead 11.4 s after its last sign, slot of /dev/sda read"


def _until(pair: PromisedPair, state: S, limit_s: float = 60.0) -> float:
    """Run until the service has that state on deb2; return how long that took."""
    began = pair.now
    while pair.state("deb2") is not state:
        pair.run(0.05)
        assert pair.now < began + limit_s, f"deb2 is {pair.reason()}"
    return pair.now - began


def _fences(pair: PromisedPair) -> list[str]:
    return [each.reason for each in pair.deb2.records if each.new == "FENCE"]


def _dead_pair(*levels: tuple[FencePath, ...], **how: object) -> tuple[PromisedPair, float]:
    """deb1 ran the service, and has lost its power."""
    pair = PromisedPair(*levels, **how)  # type: ignore[arg-type]
    pair.start_both()
    pair.works.clear()
    return pair, pair.lose_power()


def test_a_peer_without_power_is_proved_out_by_its_promise_alone() -> None:
    """Within the promised time: nothing is run, nothing is asked, nothing is waited for on top."""
    pair, died_at = _dead_pair()
    pair.run(DEATH_S - 0.5)
    assert pair.state("deb2") is S.START_READY
    assert pair.reason().startswith("peer is silent: waits to fence it; lease: ends in 0.")
    assert pair.fence("deb2").lease_ends_at == pytest.approx(died_at + DEATH_S, abs=0.1)
    pair.run(1.6)
    assert pair.state("deb2") is S.STARTED
    assert died_at + DEATH_S <= pair.starts()[-1][0] <= died_at + DEATH_S + 0.3
    assert not pair.steps
    record = next(each for each in pair.deb2.records if each.new == "FENCE")
    over = "lease: the promised time is over; proof NODE"
    assert record.reason.startswith(f"{over}: {SELF_FENCED}") and record.is_alarm
    started = next(each for each in pair.deb2.records if "proved out" in each.reason)
    assert f"peer is silent, proved out: {SELF_FENCED}" in started.reason
    status = pair.fence("deb2")
    assert [(proof.kind, proof.scope) for proof in status.proofs] == [("self-fenced", "node")]
    assert status.lease.startswith(f"lease: {SELF_FENCED}")
    assert [(path.name, path.kind, path.state) for path in status.paths] == [
        ("lease", "lease", "armed")
    ]


def test_a_longer_promise_is_waited_for() -> None:
    """The service is START_READY meanwhile, since nothing destroys."""
    pair, died_at = _dead_pair(death_s=25.0)
    pair.run(24.9)
    assert pair.state("deb2") is S.START_READY
    assert pair.reason().startswith("peer is silent: waits to fence it; lease: ends in 0.")
    _until(pair, S.STARTED)
    assert died_at + 25.0 <= pair.starts()[-1][0] <= died_at + 25.3


def test_fast_profile_starts_after_the_promised_time() -> None:
    """Nothing is added where the timeout and the delay are short."""
    pair, died_at = _dead_pair(death_s=3.06, timeout_s=1.0, profile=Profile.FAST)
    _until(pair, S.STARTED)
    at = pair.starts()[-1][0]
    assert died_at + 3.06 <= at <= died_at + 3.35
    assert at > died_at + 1.0 + LAST_CALL_S


def test_while_a_peer_is_heard_its_promise_is_shown() -> None:
    """And what would be missing."""
    pair = PromisedPair()
    pair.start_both()
    path = pair.fence("deb2").paths[0]
    text = "deb1 promises: dead 11.4 s after its last sign"
    assert (path.state, path.text) == ("armed", text)
    assert pair.fence("deb2").lease == f"lease: {text}"
    engine = pair.deb2.engine
    assert engine is not None and engine.promised is not None
    promised = engine.promised
    assert promised.boot == pair.deb1.incarnation and promised.promise == pair.promise
    path = pair.fence("deb1").paths[0]
    assert (path.state, path.text) == ("untested", "deb2 made no promise")
    assert pair.promise is not None
    pair.promise = replace(pair.promise, is_virtual=True)
    pair.run(2)
    path = pair.fence("deb2").paths[0]
    assert (path.state, path.text) == ("unusable", "deb1 is a virtual machine")


def _renewing(pair: PromisedPair, seconds: int) -> None:
    """deb1 is not heard, and shows that it lives where it only renews its promise."""
    medium = media_of([pair.disk])[pair.disk]
    for _ in range(seconds):
        pair.run(1)
        pair.deb2.handle(pair.deb2.life, MediumQuiet(medium, pair.now, pair.now))


def test_a_peer_that_renews_what_it_promised_is_fenced_by_the_next_level() -> None:
    """Its promise proves nothing as long as it does: the round does not wait for ever."""
    pair, _ = _dead_pair((LEASE,), (IPMI,))
    pair.works.add("ipmi")
    _renewing(pair, 15)
    assert pair.state("deb2") is S.START_READY and not pair.steps
    _renewing(pair, 25)
    assert pair.order_of_steps("deb2") == ["ipmi"] and pair.state("deb2") is S.STARTED


def test_a_board_that_failed_is_tried_again_while_the_peer_renews_what_it_promised() -> None:
    """The lease behind it does not hold the round up either."""
    pair, _ = _dead_pair((IPMI,), (LEASE,))
    _renewing(pair, 60)
    assert len(pair.steps) >= 2


def test_where_nothing_but_the_promise_can_prove_anything_it_is_awaited() -> None:
    """No round fails that would have nothing else to try."""
    pair, _ = _dead_pair()
    _renewing(pair, 60)
    assert pair.state("deb2") is S.START_READY and "lease: ends in" in pair.reason()


def test_an_unread_slot_proves_nothing_until_it_is_read() -> None:
    """The round fails with the reason, and a read proves the peer out at any time."""
    pair, _ = _dead_pair()
    pair.is_readable = False
    took_s = _until(pair, S.START_FAILED)
    assert took_s == pytest.approx(DEATH_S + LEASE_LAST_READ_S, abs=0.2)
    missing = "not proved: lease: slot of /dev/sda: no successful read since then"
    assert pair.reason().startswith(missing)
    assert pair.fence("deb2").paths[0].state == "unreachable"
    pair.run(300)
    _until(pair, S.START_FAILED)
    assert not pair.starts()[1:] and pair.reason().startswith(missing)
    pair.is_readable = True
    assert _until(pair, S.STARTED) < 2.0


def test_a_peer_that_promised_nothing_is_not_waited_for() -> None:
    """The round fails at once, and says why."""
    pair = PromisedPair()
    pair.promise = None
    pair.start_both()
    pair.lose_power()
    assert _until(pair, S.START_FAILED) == pytest.approx(CALLED_S, abs=0.2)
    assert pair.reason().startswith("not proved: lease: deb1 made no promise")


def test_what_proves_first_wins_a_device_or_the_promise() -> None:
    """Steps are taken in order while the lease counts down beside them."""
    for works, by in ((True, "power: ipmi"), (False, "self-fenced")):
        pair = PromisedPair((IPMI,), (LEASE,), death_s=19.0)
        pair.start_both()
        pair.works = {"ipmi"} if works else set()
        died_at = pair.lose_power()
        pair.step_s = lambda step: 1.0
        _until(pair, S.STARTING)
        assert pair.reason().endswith("; lease: ends in 4.0 s")
        assert "fencing deb1: ipmi, begun 0.0 s ago; lease: " in pair.reason()
        pair.run(1.5)
        assert (len(pair.starts()) > 1) is works
        if not works:
            assert pair.state("deb2") is S.STARTING
            assert pair.reason().split("; ")[1:] == ["lease: ends in 2.5 s"]
        _until(pair, S.STARTED)
        assert f"proof NODE: {by}" in _fences(pair)[-1]
        assert pair.order_of_steps("deb2") == ["ipmi"]
        assert works or died_at + 19.0 <= pair.starts()[-1][0] <= died_at + 19.3


def test_the_promise_ends_while_a_device_hangs() -> None:
    """A dead board delays nothing."""
    pair = PromisedPair((IPMI,), (LEASE,), death_s=16.0)
    pair.start_both()
    pair.works.clear()
    pair.step_s = lambda step: 15.0
    died_at = pair.lose_power()
    _until(pair, S.STARTED)
    assert died_at + 16.0 <= pair.starts()[-1][0] <= died_at + 16.3
    pair.run(60)
    assert pair.state("deb2") is S.STARTED and pair.order_of_steps("deb2") == ["ipmi"]


def test_a_round_that_waited_for_the_lease_in_vain_names_all_that_failed() -> None:
    """And is made again."""
    pair, _ = _dead_pair((IPMI,), (LEASE,))
    pair.is_readable = False
    _until(pair, S.START_FAILED)
    assert pair.reason().startswith(
        "not proved: ipmi: no answer in 5.3 s; lease: slot of /dev/sda: no successful read since"
    )
    pair.run(17)
    assert pair.order_of_steps("deb2") == ["ipmi", "ipmi"]


def test_nothing_is_shot_while_a_lease_before_it_can_still_prove() -> None:
    """Levels behind it are begun once it cannot; where it has proved they are not."""
    pair, died_at = _dead_pair((LEASE,), (IPMI,), death_s=20.0)
    _until(pair, S.STARTED)
    assert not pair.steps and pair.starts()[-1][0] >= died_at + 20.0
    pair, died_at = _dead_pair((LEASE,), (IPMI,), death_s=20.0)
    pair.works, pair.is_readable = {"ipmi"}, False
    _until(pair, S.STARTED)
    assert pair.steps[0][0] == pytest.approx(died_at + 20.0 + LEASE_LAST_READ_S, abs=0.2)
    assert "proof NODE: power: ipmi" in _fences(pair)[-1]
    pair = PromisedPair((LEASE,), (IPMI,))
    pair.promise = None
    pair.start_both()
    died_at = pair.lose_power()
    _until(pair, S.STARTED)
    assert pair.steps[0][0] == pytest.approx(died_at + OUT_S, abs=0.1)


@pytest.mark.parametrize("level", [(IPMI, LEASE), (LEASE, IPMI)])
def test_a_level_of_both_takes_both(level: tuple[FencePath, ...]) -> None:
    """In either order; neither by itself is enough."""
    is_first = level[0] is LEASE
    pair = PromisedPair(level, death_s=20.0)
    pair.start_both()
    died_at = pair.lose_power()
    _until(pair, S.STARTED)
    assert pair.starts()[-1][0] >= died_at + 20.0
    assert pair.steps[0][0] == pytest.approx(died_at + (20.0 if is_first else OUT_S), abs=0.3)
    proof = pair.fence("deb2").proofs[0].text
    assert "self-fenced: " in proof and "power: ipmi" in proof
    # The device alone.
    pair = PromisedPair(level)
    pair.start_both()
    pair.is_readable = False
    pair.lose_power()
    _until(pair, S.START_FAILED)
    assert "lease: slot of /dev/sda: no successful read since then" in pair.reason()
    assert len(pair.steps) == (0 if is_first else 1)
    pair.run(100)
    assert pair.state("deb2") is not S.STARTED
    # The promise alone.
    pair, _ = _dead_pair(level)
    _until(pair, S.START_FAILED)
    assert "not proved: ipmi: no answer" in pair.reason()
    pair.run(100)
    assert pair.state("deb2") is not S.STARTED


def test_the_arbiter_is_not_asked_for_a_lease() -> None:
    """A claim takes the peer's right, and a promise needs none; a shot does."""
    pair, _ = _dead_pair(has_arbiter=True)
    _until(pair, S.STARTED)
    assert not pair.steps
    pair, _ = _dead_pair(has_arbiter=True)
    pair.is_readable = False
    _until(pair, S.START_FAILED)
    assert not pair.steps and "deb1" in pair.arbiter.registered
    pair, _ = _dead_pair((LEASE,), (PDU,), has_arbiter=True)
    pair.is_readable, pair.works = False, {"pdu"}
    _until(pair, S.STARTED)
    assert pair.order_of_steps("deb2") == ["claim", "pdu"]


def test_a_claim_that_ends_after_the_proof_is_followed_by_no_shot() -> None:
    """The promised time is over while the arbiter is asked: the service starts, and once."""
    pair, _ = _dead_pair((IPMI,), (LEASE,), has_arbiter=True, death_s=16.0)
    pair.step_s = lambda step: 8.0
    _until(pair, S.STARTED)
    assert pair.order_of_steps("deb2") == ["claim"] and not pair.fence("deb2").proofs[1:]
    pair.run(60)
    assert pair.order_of_steps("deb2") == ["claim"] and not pair.fenced
    assert [node for _, node in pair.starts()].count("deb2") == 1


def test_a_node_that_the_peer_has_ejected_starts_nothing_by_its_promise_either() -> None:
    """The peer won the claim and died then: its last order may still have an effect here."""
    pair, _ = _dead_pair((IPMI,), (LEASE,), has_arbiter=True)
    pair.arbiter.registered.discard("deb2")
    pair.run(90)
    assert pair.state("deb2") is S.STOPPED and not pair.steps
    assert pair.fence("deb2").proofs[0].kind == "self-fenced"
    assert "not started here: this node was ejected by deb1" in pair.reason()


def test_a_sign_that_is_not_believed_delays_the_proof() -> None:
    """A recorded beat: whoever sends in the peer's name may be the peer."""
    pair, _ = _dead_pair(death_s=14.0)
    pair.run(13.0)
    pair.sign()
    at = pair.now
    _until(pair, S.STARTED)
    assert pair.starts()[-1][0] >= at + 14.0


def test_a_disk_that_shows_a_former_life_alone_is_no_medium() -> None:
    """The present one was heard by the network, and has not written anything there."""
    pair = PromisedPair()
    pair.start_both()
    pair.keep_beat()
    pair.cut.add(("deb1", pair.disk))
    pair.deb1.kill_daemon()
    pair.deb1.boot_from_files()
    pair.run(5)
    pair.sign(1)
    pair.run(1)
    text = "lease: slot of /dev/sda has not shown the present life of deb1"
    assert pair.fence("deb2").lease == text
    pair.cut.clear()
    pair.run(2)
    assert pair.fence("deb2").lease.startswith("lease: deb1 promises")


def test_a_peer_that_is_dead_by_its_promise_is_not_fenced_to_defend_a_service() -> None:
    """It cannot fence back. Before that it may, and the plan is carried out."""
    pair = PromisedPair(is_duel=True, check="/opt/check", policy=Policy(is_defended=True))
    pair.start_both()
    pair.deb2.command(Command.FREEZE_STOP)
    pair.run(3)
    pair.lose_power()
    pair.run(40)
    assert pair.state("deb2", "files") is S.STARTED
    assert "check" not in [kind for _, node, kind, _ in pair.scripts if node == "deb2"]
    assert pair.fence("deb2").proofs[0].kind == "self-fenced"


def test_a_stalled_node_listens_for_a_timeout_first() -> None:
    """It asks for new reads, and keeps the last call after the new silence."""
    pair, _ = _dead_pair()
    pair.run(DEATH_S - 0.5)
    pair.deb2.is_stalled = True
    pair.run(5)
    at = pair.now
    pair.resume(pair.deb2)
    _until(pair, S.STARTED)
    assert pair.starts()[-1][0] >= at + CALLED_S - 0.01


def test_what_was_read_before_a_stall_proves_nothing_after_it() -> None:
    """The promised time is long over when the node stands still; then the slot cannot be read."""
    pair, _ = _dead_pair()
    pair.run(DEATH_S - 0.5)
    pair.deb2.is_stalled = True
    pair.run(5)
    pair.is_readable = False
    pair.resume(pair.deb2)
    _until(pair, S.START_FAILED)
    assert "slot of /dev/sda: no successful read since then" in pair.reason()
    assert not pair.starts()[1:]


def test_a_script_of_its_own_runs_after_the_proof() -> None:
    """Both must hold."""
    pair, _ = _dead_pair(check="/opt/check")
    _until(pair, S.STARTED)
    kinds = [kind for _, node, kind, _ in pair.scripts if node == "deb2"]
    assert kinds[-2:] == ["check", "start"]


def test_a_service_that_waits_later_uses_the_proof_at_once() -> None:
    """It holds for all services, as long as it holds."""
    pair = PromisedPair(names=("registry", "files"))
    pair.start_both()
    pair.deb2.command(Command.FREEZE_STOP, "files")
    pair.run(3)
    pair.works.clear()
    pair.lose_power()
    _until(pair, S.STARTED)
    assert pair.state("deb2", "files") is S.FROZEN_STOP
    pair.run(200)
    pair.deb2.command(Command.UNFREEZE, "files")
    pair.run(1.5)
    assert pair.state("deb2", "files") is S.STARTED


def test_a_peer_that_comes_back_ends_the_wait() -> None:
    """In a round that waits for the lease, too."""
    pair, _ = _dead_pair((IPMI,), (LEASE,), death_s=40.0)
    _until(pair, S.STARTING)
    pair.run(3)
    assert pair.state("deb2") is S.STARTING
    pair.deb1.boot_from_files()
    _until(pair, S.STOPPED)
    assert "deb1 promises" in pair.fence("deb2").lease


def test_an_older_version_of_the_peer_promises_nothing() -> None:
    """Its facts have no promise, or it has no facts at all."""
    pair = PromisedPair((LEASE,), (IPMI,))
    pair.speaks_facts = False
    pair.start_both()
    assert pair.fence("deb2").lease == "lease: deb1 made no promise"
    pair.lose_power()
    _until(pair, S.STARTED)
    assert pair.order_of_steps("deb2") == ["ipmi"]


def test_turns_are_not_longer_for_a_lease() -> None:
    """It has no steps, whatever its limit says."""
    slow = replace(LEASE, limit_s=500.0)
    pair = PromisedPair((slow,), (IPMI,))
    pair.start_both()
    assert pair.fence("deb2").fence_s == IPMI.limit_s
    pair = PromisedPair((slow,))
    pair.start_both()
    assert pair.fence("deb2").fence_s is None
