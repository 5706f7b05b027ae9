"""What `openha why` concludes from the history alone, without a daemon and without files."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opensvc_openha.core.model import ServiceSpec
from opensvc_openha.core.peer_view import Evidence
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import NodeStatus, PeerStanding, ServiceStatus, Sight
from opensvc_openha.core.transitions import TABLE
from opensvc_openha.storage.explanation import explain
from opensvc_openha.storage.history_entry import Entry, EntryKind
from opensvc_openha.storage.outlook import Circumstances
from opensvc_openha.system.kernel_log import RefusedWrites

SIGHT = Sight(100.0, (), PeerStanding.LIVE, 0.0, None)
STARTS = [
    row.reason
    for row in TABLE
    if row.next is ServiceState.START_READY and "{evidence}" in row.reason
]


def ruled_out(reason: str) -> str:
    """What explains a service that is START_READY for this reason."""
    entry = Entry(
        100.0, 100.0, EntryKind.SERVICE, "web", "STOPPED", "START_READY", reason, sight=SIGHT
    )
    facts = Circumstances(
        *("web", "deb1", "deb2", None, (entry,), (), None, "nmond is not running", "", "", ""), 5.0
    )
    return " ".join(explain(facts).ruled_out)


@pytest.mark.parametrize("text", STARTS)
@pytest.mark.parametrize(
    "evidence, words",
    [
        (Evidence.OUT_ACKED, "acknowledged our START_READY"),
        (Evidence.DEPARTED_STOPPED, "said goodbye"),
        (Evidence.OUT, ""),
        (Evidence.RUNS, ""),
    ],
)
def test_evidence_of_a_start_is_recognised_in_the_reason_of_its_rule(
    text: str, evidence: Evidence, words: str
) -> None:
    """Each rule that leads to START_READY, with each evidence: named only if it rules something
    out.
    """
    shown = ruled_out(text.format(evidence=evidence.value, proof=""))
    assert words in shown if words else "the peer running it" not in shown


def test_there_are_rules_that_name_their_evidence() -> None:
    """Without any the test above would prove nothing."""
    assert len(STARTS) >= 3


def test_missing_acknowledgement_is_no_evidence() -> None:
    """A reason that has the word, and means the opposite."""
    assert "running it" not in ruled_out("the peer has not acknowledged this node since it booted")


def plan_facts(has_plan: bool, *reasons: str) -> Circumstances:
    """A service that was started after steps of the fence plan, recorded with these reasons."""
    start = Entry(
        100.0, 100.0, EntryKind.SERVICE, "web", "STOPPED", "START_READY", "silent", number=5
    )
    steps = tuple(
        Entry(101.0, 101.0, EntryKind.PEER, "deb2", "", "FENCE", reason, number=number)
        for number, reason in enumerate(reasons, 4)
    )
    spec = ServiceSpec("web", "/web.sh", "deb1", "deb2", "/bin/true")
    known = ("web", "deb1", "deb2", spec, (start,), (start, *steps), None, "nmond is not running")
    return Circumstances(*known, "STARTED", "", "", 5.0, has_plan)


def test_proofs_of_the_fence_plan_are_named_and_nothing_else_is_one() -> None:
    """Only those of the way to the present state; what failed is among its steps."""
    facts = plan_facts(
        True,
        "ipmi: done: off; proof NODE: power: ipmi, of a silence before",
        "ipmi: failed: no answer",
        "pdu: done: off; proof NODE: power: pdu off, then OFF twice; hint: no proof yet",
    )
    assert explain(facts).proofs == ("NODE: power: pdu off, then OFF twice",)


def test_check_up_script_that_proves_nothing_is_advised_against_without_a_plan_only() -> None:
    """With one, the plan fences."""
    assert "configure fencing" in explain(plan_facts(False)).advice[-1]
    assert not any("configure fencing" in text for text in explain(plan_facts(True)).advice)
    assert explain(plan_facts(True)).proofs == ()


def tried(*rounds: str) -> tuple[Entry, ...]:
    """A service that was started in a silence, after rounds that failed for these reasons."""
    retry = next(row for row in TABLE if row.reason.startswith("nothing was started: next try"))
    moves = [("STOPPED", "START_READY", "peer is silent", "")]
    for reason in rounds:
        moves.append(("START_READY", "STARTING", "peer is silent: it is fenced", ""))
        moves.append(("STARTING", "START_FAILED", reason, ""))
        again = "nothing was started: next try, peer is silent"
        moves.append(("START_FAILED", "START_READY", again, retry.name))
    moves.append(("START_READY", "STARTING", "peer is silent: it is fenced", ""))
    moves.append(("STARTING", "STARTED", "start script succeeded", ""))
    return tuple(
        Entry(10.0 * at, 10.0 * at, EntryKind.SERVICE, "web", *move, number=at)
        for at, move in enumerate(moves)
    )


@pytest.mark.parametrize(
    "rounds, cause",
    [
        ((), "peer is silent"),
        (("not proved: a",), "peer is silent; one try failed: not proved: a"),
        (
            ("not proved: a", "not proved: b"),
            "peer is silent; 2 tries failed, the last one: not proved: b",
        ),
    ],
)
def test_start_after_tries_that_failed_has_the_cause_of_the_first(
    rounds: tuple[str, ...], cause: str
) -> None:
    """The silence, and what the last of them said."""
    entries = tried(*rounds)
    known = ("web", "deb1", "deb2", None, entries, entries, None, "nmond is not running")
    explained = explain(Circumstances(*known, "STARTED", "", "", 5.0))
    assert explained.cause == cause and explained.reason == "start script succeeded"


def test_start_whose_first_try_the_history_does_not_have_any_more() -> None:
    """The oldest try that it has is named."""
    entries = tried("not proved: a")[3:]
    known = ("web", "deb1", "deb2", None, entries, entries, None, "nmond is not running")
    explained = explain(Circumstances(*known, "STARTED", "", "", 5.0))
    assert explained.cause == "nothing was started: next try, peer is silent"


def test_writes_that_a_reserved_disk_refused_are_a_warning() -> None:
    """Those on the way to the present state; none of an older story."""
    facts = replace(
        plan_facts(True),
        refused=(RefusedWrites("sda", 34, 170.0), RefusedWrites("sdb", 2, 39.0)),
    )
    (warning,) = explain(facts).warnings
    assert warning.startswith("writes of this node to sda were refused 34 time(s), last at 1970-")
    assert "(EBADE)" in warning
    (first, second) = explain(replace(facts, entries=())).warnings
    assert "sda" in first and "sdb" in second


@pytest.mark.parametrize("state", [ServiceState.STOPPED, ServiceState.START_FAILED])
@pytest.mark.parametrize("standing", [PeerStanding.SILENT, PeerStanding.LIVE])
def test_operator_is_asked_for_a_word_about_a_silent_peer(
    state: ServiceState, standing: PeerStanding
) -> None:
    """Nothing can be typed on a peer that is silent, so it is no advice to do that."""
    unknown = ServiceState.UNKNOWN
    service = ServiceStatus("web", "deb1", "deb2", state, unknown, state, unknown)
    status = NodeStatus("deb1", "deb2", 1, standing, "", (), (service,))
    known = ("web", "deb1", "deb2", None, (), (), status, "")
    advice = " ".join(explain(Circumstances(*known, state.name, "", "", 5.0)).advice)
    is_silent = standing is PeerStanding.SILENT
    assert ("openha fence confirm deb2" in advice) is is_silent
    assert ("freeze-stop on deb2" in advice) is (not is_silent and state is ServiceState.STOPPED)
