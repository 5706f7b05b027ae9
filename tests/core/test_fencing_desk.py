"""The fencing desk on its own: what proves the peer out, what is due when, and what is remembered.

Two nodes that decide with it are in test_fencing.py and test_plan_pair.py.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from opensvc_openha.core import timing
from opensvc_openha.core.actions import Record, RecordKind, RunFenceStep, RunScript, StepKind
from opensvc_openha.core.beat import LEGACY_INCARNATION, Ack, Beat, BootId, Goodbye
from opensvc_openha.core.events import (
    FencePathsLooked,
    FenceStepEnded,
    PathLook,
    PathState,
    ScriptExited,
    ScriptKind,
    ScriptOutcome,
    StepOutcome,
)
from opensvc_openha.core.facts import Facts, Turn
from opensvc_openha.core.fence_plan import PlanEnd
from opensvc_openha.core.fencing import Fencing, _rounded_up
from opensvc_openha.core.fencing_memory import FencingMemory, Turns
from opensvc_openha.core.lease_view import LeaseSight
from opensvc_openha.core.model import (
    ClusterSpec,
    FenceNeeds,
    FencePath,
    FencingPolicy,
    PathKind,
    ScriptLimits,
    ServiceSpec,
)
from opensvc_openha.core.peer_view import PeerView
from opensvc_openha.core.proof import Proof, ProofKind, Scope
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.core.status import PeerStanding
from tests.core.pair import links
from tests.core.plans import CALL, DISKS, IPMI

OWN, LIFE = BootId(5, 55), BootId(9, 99)
LEASE = FencePath("promise", PathKind.LEASE, 0.0)
DELAY_S = timing.START_READY_DELAY_S
BOOT = 50.0
"""When the desk begins, as a node that has just booted."""
CUT = 100.0


def service(name: str, check: str = "/etc/fence", **more: object) -> ServiceSpec:
    made = ServiceSpec(name, f"/etc/{name}", "deb1", "deb2", check)
    return replace(made, **more)  # type: ignore[arg-type]


WEB, DB, BARE = service("web"), service("db", "/etc/other"), service("bare", "/bin/true")
FOREIGN = replace(service("foreign", "/etc/foreign"), primary="deb8", secondary="deb9")


def spec(*services: ServiceSpec, fencing: FencingPolicy = FencingPolicy()) -> ClusterSpec:
    return ClusterSpec("deb1", "deb2", links(10.0), services or (WEB,), fencing=fencing)


def planned(*levels: tuple[FencePath, ...], has_arbiter: bool = False) -> FencingPolicy:
    return FencingPolicy(levels=levels or ((IPMI,),), has_arbiter=has_arbiter)


def desk(*services: ServiceSpec, memory: FencingMemory | None = None, **more: object) -> Fencing:
    """The desk of a node that has heard its peer since it booted."""
    policy = FencingPolicy(**more)  # type: ignore[arg-type]
    memory = FencingMemory(has_heard=True) if memory is None else memory
    return Fencing(spec(*services, fencing=policy), memory, BOOT)


def view(
    silent: float | None = CUT,
    facts: Facts | None = Facts(),
    ack: Ack | None = Ack(OWN, 7),
    goodbye: Goodbye = Goodbye.NONE,
    life: BootId = LIFE,
    states: dict[str, S] | None = None,
) -> PeerView:
    """A peer that was heard, and is silent since then; None: it is heard."""
    made = PeerView(OWN)
    made.take(Beat("deb2", life, 5, ack, states or {}, goodbye, facts=facts), 90.0)
    made.judge(silent is None, silent, 90.0 if silent is None else silent)
    return made


HEARD, SILENT = view(None), view()


def fenced(
    made: Fencing, svc: ServiceSpec = WEB, is_ok: bool | None = True, at: float = CUT
) -> None:
    """A fence of a service that takes 3.3 s."""
    made.begin_fence(svc, at)
    made.end_check(svc, is_ok, "as it ended", at + 3.3)


# --- what is remembered ---------------------------------------------------------------------------


def test_memory_is_what_the_next_daemon_must_know() -> None:
    """All of it comes back from the former one."""
    memory = FencingMemory(
        True, Turn.HELD, CUT, 33.0, (("b", 1.0), ("z", 2.0)), (), Turns(5.0, 2.0, 20.0), True,
        "", ("ipmi 10.10.0.11",), "deb2", "it won",
    )  # fmt: skip
    made = desk(memory=memory, levels=((IPMI,),))
    assert made.memory == memory and not made.has_news(CUT)
    fenced(made, DB)
    fenced(made, WEB, is_ok=False, at=200.0)
    made.confirm("root", 300.0)
    assert made.memory == replace(
        memory,
        measured_s=(("/etc/other", 3.5), ("b", 1.0), ("z", 2.0)),
        ended=(("/etc/fence", False, 203.3), ("/etc/other", True, 103.3)),
        confirmed_by="root",
    )
    again = Fencing(spec(), made.memory, 400.0)
    assert again.formerly_confirmed_by == "root" and again.end_confirmation() is None


def test_boot_is_remembered_from_the_first_daemon_on() -> None:
    """The machine has just booted."""
    assert desk().memory.booted_at == BOOT
    assert Fencing(spec(), FencingMemory(booted_at=7.0), BOOT).memory.booted_at == 7.0


def test_change_of_the_memory_is_news_once() -> None:
    """What is read from disk is none."""
    made = desk(memory=FencingMemory(booted_at=7.0))
    assert not made.has_news(BOOT)
    made.has_heard = True
    assert made.has_news(BOOT) and not made.has_news(BOOT)


def test_memory_that_could_not_be_written_is_news_again_from_time_to_time() -> None:
    """And before each fence, so that it is not begun without."""
    made = desk(memory=FencingMemory(True, booted_at=7.0), levels=((IPMI,),))
    made.record_stored(made.memory, False, 200.0)
    again = 200.0 + timing.STORE_RETRY_S
    assert [made.has_news(now) for now in (200.0, again - 0.1, again)] == [False, False, True]
    made.begin_fence(WEB, 205.0)
    assert [made.has_news(now) for now in (204.9, 205.0, 205.1)] == [False, True, False]
    made.end_check(WEB, None, "", 205.2)
    made.desk.plan.join(WEB)
    made.desk.plan.order_step(208.0)
    assert [made.has_news(now) for now in (207.9, 208.0)] == [False, True]
    made.record_stored(made.memory, True, 209.0)
    assert not made.has_news(300.0) and not made.has_news(208.0)


def test_right_counts_as_kept_once_it_is_on_disk() -> None:
    """Until then it is announced as the next daemon would read it."""
    made = desk(memory=FencingMemory(True, Turn.HELD))
    made.record_stored(FencingMemory(turn=Turn.NONE), False, 200.0)
    assert made.turns.kept_turn is Turn.HELD
    made.record_stored(FencingMemory(turn=Turn.NONE), True, 200.0)
    assert made.turns.kept_turn is Turn.NONE


# --- what is heard --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "heard, has_heard",
    [
        (view(None), True),
        (view(None, ack=None), False),
        (view(None, ack=Ack(BootId(4, 44), 7)), False),
        (view(None, goodbye=Goodbye.RESTART), False),
        (view(None, ack=None, life=LEGACY_INCARNATION), True),
        (
            view(None, ack=Ack(BootId(4, 44), 7), goodbye=Goodbye.LEFT, life=LEGACY_INCARNATION),
            True,
        ),
        (PeerView(OWN), False),
    ],
    ids=["ack", "no ack", "other ack", "goodbye", "legacy", "legacy goodbye", "nothing"],
)
def test_peer_is_heard_once_it_acknowledges_this_daemon(heard: PeerView, has_heard: bool) -> None:
    """A C OpenHA acknowledges nothing; a goodbye is no answer. What was heard once stays so."""
    made = desk(memory=FencingMemory())
    assert not made.has_heard_one_way
    made.record_heard(heard, CUT)
    assert made.has_heard is has_heard and made.has_heard_one_way is not has_heard
    assert made.facts({}, CUT).is_booting is not has_heard
    known = desk()
    known.record_heard(heard, CUT)
    assert known.has_heard and not known.has_heard_one_way
    assert not known.facts({}, CUT).is_booting


def test_beat_ends_all_that_relied_on_the_silence() -> None:
    """Proofs, failures, waits, turns, and what was in the air."""
    made = desk(WEB, DB, levels=((CALL,),))
    made.judge(SILENT)
    fenced(made)
    fenced(made, DB, is_ok=False)
    made.desk.plan.lost_to = "it won"
    failed = made.status(SILENT, CUT + 4).groups[1]
    assert made.is_peer_fenced and made.proved_out(CUT + 4)
    assert failed.failures == 1 and failed.retry_at is not None
    made.begin_fence(DB, CUT + 5)
    made.record_heard(HEARD, CUT + 6)
    assert not made.is_peer_fenced and not made.proved_out(CUT + 6) and not made.desk.ejector
    assert made.flight is not None and made.flight.is_void and made.turns.anchor is None
    group = made.status(HEARD, CUT + 6).groups[1]
    assert group.failures == 0 and group.retry_at is None
    made.end_check(DB, True, "it worked", CUT + 8)
    assert not made.is_peer_fenced and not made.proved_out(CUT + 8)
    assert made.memory.measured_s == (("/etc/fence", 3.5), ("/etc/other", 3.0))


def test_stall_voids_proofs_without_a_flight_as_well() -> None:
    """The peer may have been back meanwhile."""
    made = desk(levels=((CALL,),))
    made.desk.plan.proofs = (Proof(ProofKind.SCRIPT, Scope.NODE, None, CUT, "called"),)
    made.void_proofs()
    assert made.flight is None and not made.desk.plan.proofs
    made.power.record_question("web")
    made.void_proofs()
    made.power_answered(_power(), CUT)
    made.power.record_question("web")
    made.power_answered(_power(), CUT + 5)
    assert made.proved_out(CUT + 5) == "", "the first of the two was of before"


def _power(outcome: ScriptOutcome = ScriptOutcome.DOWN, service: str = "web") -> ScriptExited:
    return ScriptExited(service, ScriptKind.POWER, outcome)


def test_turns_are_computed_again_once_they_are_counted_from_a_silence() -> None:
    """In the same instant."""
    made = desk(memory=FencingMemory(True, Turn.HELD))
    assert made.turn_opens(SILENT, CUT) == CUT
    made.judge(HEARD)
    assert made.turn_opens(SILENT, CUT) == CUT
    made.judge(view(states={"web": S.STOPPED}))
    wanting = view(states={"web": S.STOPPED})
    assert made.turn_opens(wanting, CUT) == CUT + DELAY_S


ONE_WAY = "did not acknowledge this node since it"


@pytest.mark.parametrize("rows, is_waiting", [((BARE,), False), ((BARE, WEB), True)])
def test_node_that_was_not_answered_reports_what_it_waits_for(
    rows: tuple[ServiceSpec, ...], is_waiting: bool
) -> None:
    """Only if one of its services is fenced."""
    made = desk(*rows, memory=FencingMemory())
    text = (
        "deb2 was not heard since this node booted: what has a check-up script is not started; if"
        " that node runs nothing: openha fence confirm deb2"
    )
    record = Record(RecordKind.NODE, "deb1", "", "WAITS", text, is_alarm=True)
    assert made.boot_block_records(CUT) == ([record] if is_waiting else [])
    made.has_heard_one_way = True
    record = replace(record, reason=text.replace("was not heard since this node", ONE_WAY))
    assert made.boot_block_records(CUT) == ([record] if is_waiting else [])
    made.has_heard = True
    assert made.boot_block_records(CUT) == []


# --- an operator's word ---------------------------------------------------------------------------


def test_word_of_an_operator_proves_the_peer_out_for_all_services() -> None:
    """It ends every wait, and holds until it is ended."""
    made = desk(levels=((IPMI,),))
    fenced(made, is_ok=False)
    made.desk.plan.retry_at = 999.0
    made.desk.ejected_by = "deb2"
    assert made.ejector == "this node was ejected by deb2"
    made.confirm("root on tty1", CUT)
    word = Proof(ProofKind.WORD, Scope.NODE, None, CUT, "confirmed by root on tty1")
    assert made.proof_for(WEB, CUT + 9999) == word
    assert made.proved_out(CUT + 9999) == "confirmed by root on tty1"
    assert made.desk.plan.retry_at == -math.inf and made.ejector == ""
    ended = made.end_confirmation()
    assert ended is not None and (ended.who, ended.since) == ("root on tty1", CUT)
    assert made.end_confirmation() is None and made.proof_for(WEB, CUT) is None
    assert made.ejector != ""


@pytest.mark.parametrize("is_confirmed", [True, False])
def test_wait_for_the_next_fence_ends_on_request(is_confirmed: bool) -> None:
    """For that group; a confirmation ends it for all."""
    made = desk(WEB, DB)
    fenced(made, is_ok=False)
    fenced(made, DB, is_ok=False)
    made.desk.plan.retry_at = 999.0
    if is_confirmed:
        made.confirm("root", CUT)
        made.end_confirmation()
    else:
        made.retry_now(WEB)
    assert made.retry_at(WEB, CUT) == made.desk.plan.retry_at == -math.inf
    assert (made.retry_at(DB, CUT) == -math.inf) is is_confirmed
    assert [group.failures for group in made.status(SILENT, CUT).groups] == [1, 1]


# --- check-up scripts -----------------------------------------------------------------------------


def test_fence_that_succeeds_is_a_proof_for_its_group_for_a_minute() -> None:
    """And for no other one; the node is out for all that."""
    made = desk(WEB, DB, service("files"))
    made.begin_fence(WEB, CUT)
    assert made.flight is not None and made.flight.service == "web"
    made.end_check(WEB, True, "fine", CUT + 3.3)
    text = "the check-up script of web succeeded"
    proof = Proof(ProofKind.SCRIPT, Scope.NODE, None, CUT + 3.3, text)
    ends = CUT + 3.3 + timing.PROOF_LIFE_S
    assert made.proof_for(WEB, ends - 0.1) == made.proof_for(service("files"), CUT + 4) == proof
    assert made.proof_for(DB, CUT + 4) is None and made.proof_for(WEB, ends) is None
    assert made.proved_out(ends - 0.1) == text and made.proved_out(ends) == ""
    assert made.flight is None and made.is_peer_fenced


@pytest.mark.parametrize("is_ok", [True, False, None])
def test_check_up_that_is_no_fence_proves_nothing(is_ok: bool | None) -> None:
    """Its failure makes the next one wait all the same; one that never began does nothing."""
    for is_another_in_flight in (False, True):
        made = desk(WEB, DB)
        if is_another_in_flight:
            made.begin_fence(DB, CUT)
        made.end_check(WEB, is_ok, "text", CUT + 1)
        assert made.retry_at(WEB, CUT) == (CUT + 11 if is_ok is False else -math.inf)
        assert not made.is_peer_fenced and (made.flight is not None) is is_another_in_flight
        assert made.memory.ended == () == made.memory.measured_s


def test_fence_that_never_began_is_neither_a_failure_nor_a_proof() -> None:
    """It may begin again at once."""
    made = desk()
    fenced(made, is_ok=None)
    assert made.flight is None and not made.is_peer_fenced and made.memory.ended == ()
    assert made.retry_at(WEB, CUT) == -math.inf


def test_failures_in_a_row_double_the_wait_up_to_a_limit() -> None:
    """A success begins at the first wait again."""
    made = desk(retry_s=10.0)
    waits = []
    for _ in range(14):
        fenced(made, is_ok=False)
        waits.append(made.retry_at(WEB, CUT) - CUT - 3.3)
    longest = timing.FENCE_RETRY_MAX_S
    assert waits == pytest.approx([10.0, 20.0, 40.0] + 11 * [longest])
    fenced(made)
    assert made.retry_at(WEB, CUT) == -math.inf
    assert made.status(SILENT, CUT).groups[0].failures == 0
    fenced(made, is_ok=False)
    assert made.retry_at(WEB, CUT) == pytest.approx(CUT + 13.3)


def test_wait_stays_at_its_limit_from_the_tenth_doubling_on() -> None:
    """With the shortest wait, a thousand failures are as many as eleven."""
    made = desk(retry_s=0.001)
    waits = []
    for _ in range(13):
        fenced(made, is_ok=False)
        waits.append(made.retry_at(WEB, CUT) - CUT - 3.3)
    assert waits[9:] == pytest.approx([0.512, 1.024, 1.024, 1.024], abs=1e-6)


def test_longest_fence_counts_in_half_seconds() -> None:
    """A turn must outlast every one of them."""
    made = desk()
    for took_s, longest_s in ((0.4, 0.5), (3.3, 3.5), (2.0, 3.5)):
        made.begin_fence(WEB, CUT)
        made.end_check(WEB, True, "", CUT + took_s)
        assert made.fence_s == longest_s and made.memory.measured_s == (("/etc/fence", longest_s),)
    assert [_rounded_up(each) for each in (0.0, 1.0, 1.01, 1.5)] == [0.0, 1.0, 1.5, 1.5]


@pytest.mark.parametrize(
    "is_shared, groups",
    [(True, ["stonith", "stonith", "/etc/fence"]), (False, ["a", "b", "web"])],
)
def test_one_fence_serves_a_group(is_shared: bool, groups: list[str]) -> None:
    """Wrappers of an agent are one, each service where that is configured."""
    rows = service("a", "/etc/a.stonith"), service("b", "/etc/b.stonith"), WEB
    made = desk(*rows, is_shared=is_shared)
    assert [made.group_of(row) for row in rows] == groups


def test_last_words_of_a_fence_are_shown_with_its_group() -> None:
    """And when it may be tried again."""
    made = desk(WEB, BARE)
    fenced(made, is_ok=False)
    bare, group = made.status(SILENT, CUT).groups
    assert (group.name, group.services, group.detail) == ("/etc/fence", ("web",), "as it ended")
    assert (group.failures, group.retry_at) == (1, pytest.approx(CUT + 13.3))
    assert (bare.name, bare.services, bare.detail) == ("", ("bare",), "")


# --- the plan beside the scripts ------------------------------------------------------------------


def test_plan_and_own_script_must_both_hold() -> None:
    """A script that adds nothing is not asked for; of a power device the word alone is enough."""
    made = desk(WEB, BARE, levels=((IPMI,),))
    plan = Proof(ProofKind.POWER, Scope.NODE, None, CUT, "off")
    assert made.proof_for(WEB, CUT) is None and made.is_plan_due(WEB, CUT)
    made.desk.plan.proofs = (plan,)
    assert made.proof_for(BARE, CUT) == plan and made.proof_for(WEB, CUT) is None
    assert not made.is_plan_due(WEB, CUT) and not made.is_plan_due(BARE, CUT)
    fenced(made)
    both = made.proof_for(WEB, CUT + 4)
    assert both == replace(plan, text="off; the check-up script of web succeeded")
    assert not made.is_plan_due(WEB, CUT + 4)
    made.desk.plan.proofs = ()
    assert made.proof_for(WEB, CUT + 4) is None and made.is_plan_due(WEB, CUT + 4)
    assert made.proved_out(CUT + 4) == "the check-up script of web succeeded"


def test_proof_of_the_plan_alone_is_why_the_peer_is_out() -> None:
    """As long as it holds."""
    made = desk(levels=((IPMI,),))
    made.desk.plan.proofs = (Proof(ProofKind.POWER, Scope.NODE, None, CUT, "off"),)
    assert made.proved_out(CUT + 59) == "off" and made.proved_out(CUT + 60) == ""


def test_twice_off_by_the_script_of_a_service_needs_no_plan() -> None:
    """It is a proof of the node's power."""
    made = desk(levels=((IPMI,),))
    for now in (CUT, CUT + 5):
        made.power.record_question("web")
        made.power_answered(_power(), now)
    text = "the fence of web reports twice that it is off"
    proof = Proof(ProofKind.POWER, Scope.NODE, None, CUT + 5, text)
    assert made.proof_for(WEB, CUT + 6) == proof and not made.is_plan_due(WEB, CUT + 6)


@pytest.mark.parametrize(
    "row, levels, is_fenced", [(WEB, (), True), (BARE, (), False), (BARE, ((IPMI,),), True)]
)
def test_service_is_fenced_by_its_script_or_the_plan(
    row: ServiceSpec, levels: tuple[tuple[FencePath, ...], ...], is_fenced: bool
) -> None:
    """Without either nothing is due."""
    made = desk(row, levels=levels)
    assert made.is_fenced(row) is is_fenced and made.is_plan_due(row, CUT) is bool(levels)


# --- after a boot ---------------------------------------------------------------------------------


@pytest.mark.parametrize("alone_s, ends", [(None, None), (120.0, BOOT + 120.0)])
def test_node_that_was_not_answered_since_it_booted_does_not_fence(
    alone_s: float | None, ends: float | None
) -> None:
    """Until it is answered, a proof is there, or the configured time is over."""
    made = desk(WEB, BARE, memory=FencingMemory(), boot_alone_s=alone_s)
    assert made.is_boot_blocked(WEB, BOOT + 119.9) and not made.is_boot_blocked(BARE, BOOT)
    assert made.is_boot_blocked(WEB, BOOT + 120.0) is (alone_s is None)
    assert made.boot_block_ends(WEB) == ends and made.boot_block_ends(BARE) is None
    made.confirm("root", CUT)
    assert not made.is_boot_blocked(WEB, BOOT)
    made.end_confirmation()
    made.has_heard = True
    assert not made.is_boot_blocked(WEB, BOOT) and made.boot_block_ends(WEB) is None


def booted(*rows: ServiceSpec, **more: object) -> Fencing:
    """A node that was not answered since it booted, with services that want to start."""
    made = desk(*(rows or (WEB,)), memory=FencingMemory(), **more)
    made.power.answerable = frozenset(row.name for row in rows or (WEB,))
    made.update_turn(dict.fromkeys(made.power.answerable, S.STOPPED), SILENT, 1)
    return made


def test_fence_is_asked_about_the_peers_power_where_this_node_may_not_fence() -> None:
    """With what it reports of the peer; one question at a time."""
    made = booted()
    question = RunScript("web", ScriptKind.POWER, "/etc/fence", S.UNKNOWN, PeerStanding.SILENT)
    assert made.ask_for_power(SILENT, CUT) == [question]
    assert made.ask_for_power(SILENT, CUT) == [] and made.power_due_at(SILENT) is None
    made.power_answered(_power(), CUT)
    due = CUT + timing.POWER_GAP_S
    assert made.power_due_at(SILENT) == due and made.power_due_at(HEARD) is None
    assert made.ask_for_power(SILENT, due - 0.1) == []
    assert made.ask_for_power(HEARD, due) == []
    assert made.ask_for_power(SILENT, due) == [question]


@pytest.mark.parametrize("case", ["heard", "runs", "unknown", "confirmed", "no status", "foreign"])
def test_power_is_not_asked_for_where_nothing_waits(case: str) -> None:
    """Or no fence can answer."""
    made = booted(FOREIGN) if case == "foreign" else booted()
    if case == "heard":
        made.has_heard = True
        assert made.power_due_at(SILENT) is None
    elif case == "runs":
        made.update_turn({"web": S.STARTED}, SILENT, 2)
    elif case == "unknown":
        made.update_turn({}, SILENT, 2)
    elif case == "confirmed":
        made.confirm("root", CUT)
    elif case == "no status":
        made.power.answerable = frozenset({"db"})
    assert made.ask_for_power(SILENT, CUT) == []


def test_two_answers_of_off_are_a_proof_for_its_group_and_each_news_is_recorded() -> None:
    """The first word of an ordinary answer is no alarm."""
    made = booted(WEB, DB)

    def answer(outcome: ScriptOutcome, name: str = "web") -> list[Record]:
        made.power.record_question(name)
        found = made.power_answered(_power(outcome, name), CUT)
        return [each for each in found if isinstance(each, Record)]

    said = "the fence of web reports the peer's power: "
    on = Record(RecordKind.PEER, "deb2", "", "POWER", f"{said}on", is_alarm=False)
    off = Record(RecordKind.PEER, "deb2", "", "POWER", f"{said}off", is_alarm=True)
    assert answer(ScriptOutcome.UP) == [on]
    assert answer(ScriptOutcome.UP) == []
    assert answer(ScriptOutcome.DOWN) == [off] and not made.proved_out(CUT)
    assert answer(ScriptOutcome.UP) == [replace(on, is_alarm=True)]
    assert answer(ScriptOutcome.DOWN) == [off]
    twice = f"{said}off, twice: nothing runs there"
    assert answer(ScriptOutcome.DOWN) == [replace(off, reason=twice)]
    assert made.proof_for(DB, CUT) is None
    first = booted()
    first.power.record_question("web")
    [alarm] = first.power_answered(_power(), CUT)
    assert isinstance(alarm, Record) and alarm.is_alarm


def test_answer_about_a_service_that_is_gone_proves_nothing() -> None:
    """It was removed meanwhile, or is not of this node."""
    made = booted(WEB)
    for now in (CUT, CUT + 5):
        made.power.record_question("gone")
        assert isinstance(made.power_answered(_power(service="gone"), now), list)
    assert made.proved_out(CUT + 5) == ""
    assert made.power_answered(_power(service="db"), CUT + 6) == []


# --- when a fence may begin -----------------------------------------------------------------------


def test_service_without_a_plan_fences_in_its_turn() -> None:
    """Not beside another fence, not before the wait, not while it is blocked since the boot."""
    made = desk(WEB, DB)
    made.update_turn({"web": S.START_READY, "db": S.START_READY}, HEARD, 1)
    assert made.may_fence_now(WEB, SILENT, CUT)
    made.begin_fence(DB, CUT)
    assert not made.may_fence_now(WEB, SILENT, CUT)
    made.end_check(DB, True, "", CUT + 1)
    fenced(made, is_ok=False)
    retry_at = made.retry_at(WEB, CUT)
    made._flown.clear()
    assert [made.may_fence_now(WEB, SILENT, now) for now in (retry_at - 0.1, retry_at)] == [
        False, True,
    ]  # fmt: skip
    assert not booted().may_fence_now(WEB, SILENT, CUT)


def test_fence_waits_for_the_turn() -> None:
    """It begins with it."""
    made = desk(memory=FencingMemory(True, Turn.HELD, CUT, turns=Turns(5.0, 2.0, 20.0)))
    wanting = view(states={"web": S.STOPPED})
    assert [made.may_fence_now(WEB, wanting, now) for now in (CUT + 4.9, CUT + 5.0)] == [
        False,
        True,
    ]


def waiting_groups(*rows: ServiceSpec, **states: S) -> Fencing:
    """The fence of web was flown last."""
    made = desk(*rows)
    made.update_turn({"web": S.START_READY, **states}, HEARD, 1)
    made.begin_fence(WEB, CUT)
    made.end_check(WEB, None, "", CUT)
    return made


def test_fence_that_always_fails_lets_one_that_waits_begin() -> None:
    """Which was flown earlier, or never."""
    made = waiting_groups(WEB, DB, db=S.START_READY)
    assert not made.may_fence_now(WEB, SILENT, CUT + 1) and made.may_fence_now(DB, SILENT, CUT + 1)
    made.begin_fence(DB, CUT)
    made.end_check(DB, None, "", CUT)
    # In the same instant neither is earlier.
    assert made.may_fence_now(WEB, SILENT, CUT + 1) and made.may_fence_now(DB, SILENT, CUT + 1)
    made.begin_fence(DB, CUT + 2)
    made.end_check(DB, False, "", CUT + 3)
    assert made.may_fence_now(WEB, SILENT, CUT + 4)
    made.begin_fence(WEB, CUT + 5)
    made.end_check(WEB, None, "", CUT + 5)
    assert [made.may_fence_now(WEB, SILENT, now) for now in (CUT + 12.9, CUT + 13.0)] == [
        True, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "row, state",
    [(DB, S.STOPPED), (service("db", "/bin/true"), S.START_READY), (service("db"), S.START_READY)],
)
def test_only_another_group_that_is_ready_to_start_goes_first(row: ServiceSpec, state: S) -> None:
    """Not one that waits for nothing, has no fence, or is of the same group."""
    assert waiting_groups(WEB, row, db=state).may_fence_now(WEB, SILENT, CUT + 1)


def test_who_waits_is_looked_at_again_with_each_announcement() -> None:
    """A state has changed."""
    made = waiting_groups(WEB, DB, db=S.STOPPED)
    assert made.may_fence_now(WEB, SILENT, CUT + 1)
    made.update_turn({"web": S.START_READY, "db": S.START_READY}, HEARD, 2)
    assert not made.may_fence_now(WEB, SILENT, CUT + 1)


def test_one_of_several_that_wait_is_enough() -> None:
    """The others have been flown since."""
    files = service("files", "/etc/third")
    made = waiting_groups(WEB, DB, files, db=S.START_READY, files=S.START_READY)
    made.begin_fence(DB, CUT + 1)
    made.end_check(DB, None, "", CUT + 1)
    assert not made.may_fence_now(WEB, SILENT, CUT + 2)


@pytest.mark.parametrize("case", ["free", "flight", "retry", "lost", "turn", "boot", "serves"])
def test_service_begins_a_round_of_the_plan_where_nothing_forbids_it(case: str) -> None:
    """Each of these does."""
    levels = ((DISKS,),) if case == "serves" else ((IPMI,),)
    memory = FencingMemory(
        has_heard=case != "boot",
        silent_since=CUT if case == "turn" else None,
        lost_to="deb2" if case == "lost" else "",
    )
    made = desk(BARE, WEB, memory=memory, levels=levels)
    if case == "flight":
        made.begin_fence(WEB, CUT)
    made.desk.plan.retry_at = CUT + 1 if case == "retry" else CUT
    assert made.retry_at(BARE, CUT) == made.desk.plan.retry_at
    assert made.may_fence_now(BARE, SILENT, CUT) is (case == "free")
    assert made.retry_at(BARE, CUT) == made.desk.plan.retry_at


def test_service_joins_a_round_that_is_going_on() -> None:
    """Whatever the turn, and a flight beside it."""
    memory = FencingMemory(True, silent_since=CUT)
    made = desk(BARE, WEB, memory=memory, levels=((IPMI,),))
    made.begin_fence(WEB, CUT)
    assert not made.may_fence_now(BARE, SILENT, CUT)
    made.desk.plan.begin_round()
    assert made.may_fence_now(BARE, SILENT, CUT)
    made.desk.ejected_by = "deb2"
    assert not made.may_fence_now(BARE, SILENT, CUT)


def test_service_does_not_begin_a_round_that_would_only_wait_for_the_promise() -> None:
    """It would be STARTING for it."""
    made = desk(BARE, levels=((LEASE,), (IPMI,)))
    made.desk.plan.lease = LeaseSight("waits", is_open=True)
    assert not made.may_fence_now(BARE, SILENT, CUT)
    made.desk.plan.lease = LeaseSight("nothing")
    assert made.may_fence_now(BARE, SILENT, CUT)


def test_own_check_up_begins_once_the_plan_has_proved_its_part() -> None:
    """By the rules of scripts then."""
    made = desk(levels=((IPMI,),))
    made.desk.plan.proofs = (Proof(ProofKind.POWER, Scope.NODE, None, CUT, "off"),)
    made.desk.plan.retry_at = CUT + 99
    assert made.may_fence_now(WEB, SILENT, CUT + 1) and made.retry_at(WEB, CUT + 1) == -math.inf
    fenced(made, is_ok=False)
    assert made.retry_at(WEB, CUT + 4) == pytest.approx(CUT + 13.3)
    assert not made.may_fence_now(WEB, SILENT, CUT + 4)


# --- turns ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["turns", "fenced", "arbiter", "waits", "self-fenced"])
def test_turns_are_kept_by_two_that_may_shoot_each_other_alone(case: str) -> None:
    """A peer that is fenced cannot; an arbiter decides; nothing is shot by waiting."""
    levels = ((LEASE,),) if case in ("waits", "self-fenced") else ((IPMI,),)
    made = desk(
        memory=FencingMemory(True, silent_since=CUT),
        levels=levels,
        has_arbiter=case == "arbiter",
    )
    if case == "fenced":
        fenced(made)
    if case == "self-fenced":
        proof = Proof(ProofKind.SELF_FENCED, Scope.NODE, None, CUT, "silent")
        made.desk.plan.lease = LeaseSight("over", proof=proof)
    assert made.is_peer_fenced is (case in ("fenced", "self-fenced"))
    wanting = view(states={"web": S.STOPPED})
    assert (made.turn_opens(wanting, CUT + 1) == CUT + 1) is (case != "turns")


def test_turn_is_computed_for_each_instant_and_each_configuration() -> None:
    """What is known of an instant is not computed twice in it."""
    made = desk(memory=FencingMemory(True, Turn.HELD, CUT))
    wanting = view(states={"web": S.STOPPED})
    first = CUT + DELAY_S
    assert [made.turn_opens(wanting, now) for now in (CUT, CUT, first + 1)] == [
        first, first, first + 1,
    ]  # fmt: skip
    # The view has changed in the same instant: it is asked again with the next announcement.
    content = view(states={"web": S.FROZEN_STOP})
    assert made.turn_opens(content, first + 1) == first + 1
    assert made.turn_opens(wanting, CUT) == first and made.turn_opens(content, CUT) == first
    made.update_turn({}, SILENT, 1)
    assert made.turn_opens(content, CUT) == CUT
    assert made.turn_opens(wanting, CUT) == CUT
    made.reconfigure(spec())
    assert made.turn_opens(wanting, CUT) == first


def test_end_of_a_check_up_opens_the_turn_in_the_same_instant() -> None:
    """A fence that failed leaves it as it is."""
    made = desk(memory=FencingMemory(True, Turn.HELD, CUT))
    wanting, content = view(states={"web": S.STOPPED}), view(states={"web": S.FROZEN_STOP})
    assert made.turn_opens(wanting, CUT) == CUT + DELAY_S
    made.begin_fence(WEB, CUT)
    made.end_check(WEB, False, "", CUT)
    assert made.turn_opens(content, CUT) == CUT


@pytest.mark.parametrize(
    "declared_s, measured_s, longest_s",
    [
        (None, None, 90.0),
        (None, 3.0, 60.0),
        (20.0, None, 20.0),
        (20.0, 30.0, 30.0),
        (20.0, 3.0, 20.0),
    ],
)
def test_longest_fence_is_as_declared_or_measured_or_limited(
    declared_s: float | None, measured_s: float | None, longest_s: float
) -> None:
    """The longest of all services that are fenced."""
    rows = service("web", limits=ScriptLimits(check_s=90.0)), DB, BARE
    measured = () if measured_s is None else (("/etc/fence", measured_s),)
    made = Fencing(
        replace(spec(*rows), fence_time_s=declared_s),
        FencingMemory(True, measured_s=measured),
        BOOT,
    )
    assert made.fence_s == made.facts({}, CUT).fence_s == longest_s


def test_node_without_any_fence_has_no_longest_one() -> None:
    """And one with a plan has that of its paths, measured under their own names."""
    assert desk(BARE).fence_s is None
    measured = (("path ipmi", 7.0),)
    made = desk(BARE, memory=FencingMemory(measured_s=measured), levels=((IPMI,),))
    assert made.fence_s == 7.0
    assert desk(BARE, levels=((IPMI,),)).fence_s == IPMI.limit_s
    both = desk(service("web", limits=ScriptLimits(check_s=3.0)), levels=((IPMI,),))
    assert both.fence_s == IPMI.limit_s


def test_longest_fence_is_computed_again_with_another_configuration() -> None:
    """A declared time."""
    made = desk()
    assert made.fence_s == timing.CHECK_LIMIT_S
    made.reconfigure(replace(spec(), fence_time_s=5.0))
    assert made.fence_s == 5.0


def test_configuration_reaches_turns_and_plan() -> None:
    """Each by its own."""
    made = desk()
    made.reconfigure(spec(BARE, fencing=planned()))
    assert made.desk.is_configured and made.spec.services == (BARE,)
    made.turns.record_silence(SILENT, True)
    made.turns.turn = Turn.HELD
    wanting = view(states={"bare": S.STOPPED})
    assert made.turn_opens(wanting, CUT) == CUT + DELAY_S, "its services are fenced now"


def test_announcement_claims_the_right() -> None:
    """Of a peer that is heard."""
    made = desk()
    made.update_turn({"web": S.STOPPED}, HEARD, 7)
    assert made.turns.turn is Turn.CLAIMED and made.memory.turn is Turn.CLAIMED


# --- steps of the plan ----------------------------------------------------------------------------


def rounds(*levels: tuple[FencePath, ...], has_arbiter: bool = False) -> Fencing:
    """A service waits for the plan; the power device is the peer's."""
    made = Fencing(
        spec(BARE, fencing=planned(*levels, has_arbiter=has_arbiter)), FencingMemory(True), BOOT
    )
    look = PathLook("ipmi", PathState.ARMED, "on", "on", 0.1)
    made.desk.record_looks(FencePathsLooked((look,)), True, 60.0)
    made.desk.plan.join(BARE)
    return made


def step_of(made: Fencing, now: float = CUT) -> RunFenceStep:
    """Order the next step."""
    [step, _] = made.order_step(SILENT, now)
    assert isinstance(step, RunFenceStep)
    return step


def ended(
    made: Fencing, number: int, outcome: StepOutcome = StepOutcome.DONE, took_s: float = 3.3
) -> PlanEnd:
    end, _ = made.end_step(FenceStepEnded(number, outcome, "text", took_s=took_s), CUT + 4)
    return end


@pytest.mark.parametrize(
    "case", ["silent", "heard", "nobody", "in air", "ejected", "retry", "turn"]
)
def test_step_is_ordered_beside_a_silent_peer_in_this_nodes_turn(case: str) -> None:
    """For a service that waits, and one at a time."""
    made = rounds()
    if case == "nobody":
        made.desk.plan.leave("bare")
    elif case == "in air":
        step_of(made)
    elif case == "ejected":
        made.desk.ejected_by = "deb2"
    elif case == "retry":
        made.desk.plan.retry_at = CUT + 1
    elif case == "turn":
        made.turns.anchor = CUT
    found = made.order_step(HEARD if case == "heard" else SILENT, CUT)
    assert bool(found) is (case == "silent")
    assert found or found == []
    assert made.desk.plan.is_in_round is (case in ("silent", "in air", "turn"))


def test_round_goes_on_without_asking_whether_one_may_begin() -> None:
    """Its next step."""
    made = rounds((CALL,), (IPMI,))
    assert ended(made, step_of(made).step.number, StepOutcome.FAILED) is PlanEnd.CONTINUES
    made.desk.plan.retry_at = CUT + 99
    assert step_of(made, CUT + 5).step.path == "ipmi"


def test_step_begins_with_the_turn() -> None:
    """Not before."""
    made = rounds()
    made.turns.anchor, made.turns.turn = CUT, Turn.HELD
    wanting = view(states={"bare": S.STOPPED})
    opens = made.turn_opens(wanting, CUT)
    assert opens == CUT + DELAY_S
    assert [bool(made.order_step(wanting, now)) for now in (opens - 0.1, opens)] == [False, True]


def test_round_that_waits_for_a_turn_or_a_step_has_a_deadline() -> None:
    """One that is idle, or has not begun, has none."""
    made = rounds()
    assert made.step_due_at(SILENT, CUT) is None
    made.desk.plan.begin_round()
    assert made.step_due_at(SILENT, CUT) == CUT
    made.desk.plan.is_idle = True
    assert made.step_due_at(SILENT, CUT) is None
    made.desk.plan.is_idle = False
    step_of(made)
    assert made.step_due_at(SILENT, CUT) == CUT + IPMI.limit_s + timing.STEP_GRACE_S


def test_step_that_is_done_proves_the_node_out_and_is_measured() -> None:
    """In half seconds, the longest one; a turn opens at once."""
    made = rounds()
    made.turns.anchor = CUT - 50
    assert made.fence_s == IPMI.limit_s
    made.desk.plan.begin_round()
    made.desk.plan.order_step(CUT)
    assert made.turn_opens(SILENT, CUT + 4) > CUT + 4 and not made.is_peer_fenced
    assert ended(made, 1, took_s=0.4) is PlanEnd.CONTINUES
    assert made.is_peer_fenced and made.turn_opens(SILENT, CUT + 4) == CUT + 4
    assert made.fence_s == 0.5
    assert made.memory.ended == (("path ipmi", True, CUT + 4),)
    for took_s, longest_s in ((3.3, 3.5), (2.0, 3.5)):
        made.desk.plan.proofs = ()
        number = step_of(made, CUT + 5).step.number
        ended(made, number, took_s=took_s)
        assert made.fence_s == longest_s
        assert made.memory.measured_s == (("path ipmi", longest_s),)


def test_step_that_failed_is_remembered_and_not_measured() -> None:
    """It proves nothing."""
    made = rounds()
    assert ended(made, step_of(made).step.number, StepOutcome.FAILED) is PlanEnd.FAILED
    assert made.memory.ended == (("path ipmi", False, CUT + 4),)
    assert made.memory.measured_s == () and not made.is_peer_fenced


def test_end_of_a_step_lets_the_turn_be_computed_again() -> None:
    """In the same instant, as for a script."""
    made = rounds((CALL,))
    made.turns.anchor, made.turns.turn = CUT - 50, Turn.HELD
    number = step_of(made).step.number
    later = view(states={"bare": S.STOPPED})
    assert made.turn_opens(SILENT, CUT + 4) == CUT + 4
    assert made.turn_opens(later, CUT + 4) == CUT + 4
    ended(made, number, StepOutcome.FAILED)
    assert made.turn_opens(later, CUT + 4) > CUT + 4


def test_claim_is_no_fence() -> None:
    """Whatever it takes."""
    made = rounds(has_arbiter=True)
    claim = step_of(made).step
    assert claim.kind is StepKind.CLAIM
    assert ended(made, claim.number) is PlanEnd.CONTINUES
    assert made.memory.ended == () == made.memory.measured_s and not made.is_peer_fenced


def test_end_of_no_step_is_void() -> None:
    """It was given up, or is of another."""
    made = rounds()
    event = FenceStepEnded(9, StepOutcome.DONE, "off", took_s=9.0)
    assert made.end_step(event, CUT) == (PlanEnd.VOID, [])
    number = step_of(made).step.number
    assert made.end_step(replace(event, number=number + 1), CUT) == (PlanEnd.VOID, [])
    assert made.desk.plan.in_air is not None and made.memory.measured_s == ()


def test_disks_alone_do_not_fence_the_node() -> None:
    """A proof of data leaves it able to fence back; one of the node beside it does not."""
    row = service("bare", "/bin/true", fence_needs=FenceNeeds.DATA, has_reserved_data=True)
    for levels, is_fenced in ((((DISKS,),), False), (((DISKS, CALL),), True)):
        made = Fencing(spec(row, fencing=planned(*levels)), FencingMemory(True), BOOT)
        made.desk.plan.join(row)
        ended(made, step_of(made).step.number)
        if is_fenced:
            ended(made, step_of(made, CUT + 4).step.number)
        assert made.is_peer_fenced is is_fenced and made.proof_for(row, CUT + 5) is not None
        made.desk.plan.proofs = (
            Proof(ProofKind.RESERVATION, Scope.DATA, frozenset({"bare"}), CUT, "held"),
            *made.desk.plan.proofs,
        )
        made._note_fenced()
        assert made.is_peer_fenced is is_fenced
    made.desk.plan.proofs = ()
    made._note_fenced()
    assert made.is_peer_fenced, "until it is heard"


def test_round_that_waited_continues_with_what_became_of_the_promise() -> None:
    """A round with a step to take is left alone."""
    made = rounds((LEASE, CALL))
    made.desk.plan.lease = LeaseSight("waits", is_open=True)
    assert made.continue_round(CUT) is PlanEnd.CONTINUES
    assert made.order_step(SILENT, CUT) == [] and made.desk.plan.is_idle
    made.desk.plan.lease = LeaseSight("it is over")
    assert made.continue_round(CUT) is PlanEnd.FAILED
    made.desk.plan.retry_at = -math.inf
    made.desk.plan.lease = LeaseSight("waits", is_open=True)
    assert made.order_step(SILENT, CUT) == [] and made.desk.plan.is_idle
    proof = Proof(ProofKind.SELF_FENCED, Scope.NODE, None, CUT, "silent")
    made.desk.plan.proofs = (proof,)
    assert made.continue_round(CUT) is PlanEnd.CONTINUES and made.is_peer_fenced


# --- what is shown of the plan --------------------------------------------------------------------


def test_status_of_a_plan_is_shown_where_there_is_one() -> None:
    """The step in the air, since when, and who ejected this node."""
    assert desk().status(SILENT, CUT).plan == ()
    made = rounds((IPMI,), (CALL, DISKS))
    shown = made.status(SILENT, CUT)
    assert shown.plan == (("ipmi",), ("call", "reservation")) and not shown.has_arbiter
    assert (shown.step, shown.step_began_at, shown.is_ejected_by) == ("", None, "")
    step_of(made)
    shown = made.status(SILENT, CUT + 1)
    assert (shown.step, shown.step_began_at) == ("ipmi", CUT)
    made.desk.plan.lost_to = "it won"
    assert made.status(SILENT, CUT).is_ejected_by == "deb2"
    made.desk.ejected_by = "root@deb2"
    assert made.status(SILENT, CUT).is_ejected_by == "root@deb2"


def test_limit_of_a_group_is_the_longest_of_its_scripts() -> None:
    """As configured, else the default."""
    rows = service("web", limits=ScriptLimits(check_s=5.0)), DB
    shown = desk(*rows).status(SILENT, CUT).groups
    assert [group.limit_s for group in shown] == [5.0, timing.CHECK_LIMIT_S]


def test_word_that_ended_with_a_daemon_is_not_remembered_any_longer() -> None:
    """The daemon after the next one has nothing to report."""
    again = Fencing(spec(), FencingMemory(True, confirmed_by="root"), BOOT)
    assert again.formerly_confirmed_by == "root" and again.memory.confirmed_by == ""


def test_promise_that_is_over_is_why_the_peer_is_out() -> None:
    """Without any step of the plan."""
    made = desk(levels=((LEASE,),))
    proof = Proof(ProofKind.SELF_FENCED, Scope.NODE, None, CUT, "self-fenced")
    made.desk.plan.lease = LeaseSight("over", proof=proof)
    assert made.proved_out(CUT + 1) == "self-fenced"


def test_turns_know_which_services_a_plan_fences() -> None:
    """A peer that would start one of them is waited for from then on."""
    made = desk(BARE, memory=FencingMemory(True, Turn.HELD, CUT))
    wanting = view(states={"bare": S.STOPPED})
    assert made.turn_opens(wanting, CUT) == CUT
    made.reconfigure(spec(BARE, fencing=planned()))
    assert made.turn_opens(wanting, CUT) == CUT + DELAY_S


def test_beat_lets_every_group_begin_as_if_none_had() -> None:
    """Which one was flown last does not count in the next silence."""
    made = waiting_groups(WEB, DB, db=S.START_READY)
    assert not made.may_fence_now(WEB, SILENT, CUT + 1)
    made.record_heard(HEARD, CUT + 1)
    assert made.may_fence_now(WEB, SILENT, CUT + 20)


def test_declared_time_of_a_fence_may_be_below_a_second() -> None:
    """Nothing was measured."""
    assert Fencing(replace(spec(), fence_time_s=0.5), FencingMemory(), BOOT).fence_s == 0.5


def test_round_for_nobody_is_no_failure() -> None:
    """It does not begin."""
    made = rounds()
    made.desk.plan.leave("bare")
    assert made.order_step(SILENT, CUT) == []
    assert made.desk.plan.failures == 0 and made.desk.plan.may_begin(CUT)


def test_isolated_node_begins_nothing_that_proves_its_peer_out() -> None:
    """A round that has begun continues; the fence is not asked for the peer's power."""
    made = rounds((CALL,), (IPMI,))
    made.is_isolated = True
    assert made.order_step(SILENT, CUT) == [] and not made.desk.plan.is_in_round
    made.is_isolated = False
    assert ended(made, step_of(made).step.number, StepOutcome.FAILED) is PlanEnd.CONTINUES
    made.is_isolated = True
    assert step_of(made, CUT + 5).step.path == "ipmi"
    assert not desk().is_isolated


@pytest.mark.parametrize(
    "kind, is_deed", [(ProofKind.POWER, True), (ProofKind.SELF_FENCED, False), (None, False)]
)
def test_promise_is_no_deed(kind: ProofKind | None, is_deed: bool) -> None:
    """It proves the peer out without one."""
    made = desk(BARE, levels=((IPMI,), (LEASE,)))
    if kind is not None:
        made.desk.plan.proofs = (Proof(kind, Scope.NODE, None, CUT, "text"),)
    assert made.is_proved_by_deed(BARE, CUT) is is_deed


def test_one_service_that_may_not_be_fenced_for_blocks_the_node() -> None:
    """And none where the peer has answered."""
    made = desk(BARE, WEB, memory=FencingMemory())
    assert made.is_blocked(CUT) and not desk(BARE, memory=FencingMemory()).is_blocked(CUT)
    assert made.status(SILENT, CUT).is_blocked
    made.has_heard = True
    assert not made.is_blocked(CUT)


def test_node_that_ejected_this_one_is_named_where_there_is_a_plan() -> None:
    """The peer, if only the claim was lost."""
    for levels, by in (((), ""), (((IPMI,),), "root@deb2")):
        made = desk(levels=levels)
        assert made.is_ejected_by == ""
        made.desk.plan.lost_to = "it won"
        assert made.is_ejected_by == ("deb2" if by else "")
        made.desk.ejected_by = "root@deb2"
        assert made.is_ejected_by == by


def test_isolated_node_asks_no_fence_about_its_peer() -> None:
    """Until a target answers it."""
    made = booted()
    made.is_isolated = True
    assert made.power_due_at(SILENT) is None and made.ask_for_power(SILENT, CUT) == []
    made.is_isolated = False
    assert made.power_due_at(SILENT) == -math.inf and made.ask_for_power(SILENT, CUT) != []
