"""The texts of `openha fence` for a fence plan, and what it foretells."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from opensvc_openha.cli.fence import _expect_plan
from opensvc_openha.cli.fence_output import fence_report
from opensvc_openha.cli.fence_plan_output import (
    ALL_ARMED,
    NO_PROOF,
    SOME_BROKEN,
    armament,
    forecast,
    is_broken,
    look_ahead,
    order_of,
    path_lines,
)
from opensvc_openha.cli.json_views import fence_plan
from opensvc_openha.core.model import LinkSpec
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.core.status import (
    FenceGroup,
    FencingStatus,
    LinkStatus,
    NodeStatus,
    PathStatus,
    PeerStanding,
    ProofStatus,
    ServiceStatus,
)
from opensvc_openha.errors import RefusedError
from opensvc_openha.system import clock

NOW = clock.wall()
IPMI = PathStatus(
    "ipmi", "power", 0, "armed", "ON, as it must be while deb1 is heard", NOW - 14, 0.16,
    NOW - 86_400, 2.3, 30.0, True, "10.10.0.11",
)  # fmt: skip
PDU_A = PathStatus("pdu-a", "power", 1, "unreachable", "no answer", NOW - 3, 5.3, limit_s=20.0)
PDU_B = PathStatus("pdu-b", "power", 1, "armed", "ON", NOW - 3, 0.5, limit_s=10.0)


def link(node: str, timeout_s: float, is_up: bool = True) -> LinkStatus:
    spec = LinkSpec(node, "net", f"eth{timeout_s:g}", "239.1.1.1", 5000, 0, timeout_s)
    return LinkStatus(spec, node == "deb2", is_up)


def service(name: str, own: S, peer: S) -> ServiceStatus:
    return ServiceStatus(name, "deb1", "deb2", peer, own, own, peer)


STATUS = NodeStatus(
    "deb2",
    "deb1",
    1,
    PeerStanding.LIVE,
    "heard",
    (link("deb2", 50), link("deb1", 10), link("deb1", 60, is_up=False)),
    (service("web", S.STOPPED, S.STARTED), service("db", S.STARTED, S.STOPPED)),
    fencing=FencingStatus(plan=(("ipmi",), ("pdu-a", "pdu-b")), paths=(IPMI, PDU_A, PDU_B)),
)


@pytest.mark.parametrize(
    "states, code",
    [
        (("armed", "armed", "armed"), ALL_ARMED),
        (("armed", "unreachable", "armed"), SOME_BROKEN),
        (("wrong", "armed", "armed"), SOME_BROKEN),
        (("wrong", "armed", "untested"), NO_PROOF),
        (("untested", "untested", "untested"), NO_PROOF),
    ],
)
def test_exit_code_reports_whether_a_proof_is_possible(states: tuple[str, ...], code: int) -> None:
    """All paths of one level are needed, and the other levels are no matter for that."""
    paths = [
        replace(path, state=state) for path, state in zip((IPMI, PDU_A, PDU_B), states, strict=True)
    ]
    assert armament(paths) == code


def test_no_path_is_no_proof_and_an_arbiter_alone_is_none_either() -> None:
    """It decides who may fence."""
    assert armament([]) == NO_PROOF
    arbiter = PathStatus("arbiter", "arbiter", -1, "armed")
    assert armament([arbiter, replace(IPMI, state="wrong")]) == NO_PROOF
    assert armament([replace(arbiter, state="unreachable"), IPMI]) == NO_PROOF
    assert armament([arbiter, IPMI]) == ALL_ARMED


def test_line_of_a_path_reports_where_it_leads_what_it_showed_and_when_it_was_tried_out() -> None:
    """Names and devices stand below each other."""
    day = clock.date_stamp(NOW - 86_400)
    assert path_lines((IPMI, PDU_A), NOW) == [
        (
            "  ipmi   10.10.0.11  armed        ON, as it must be while deb1 is heard; looked at 14"
            f" s ago in 0.16 s; off tested {day}: 2.3 s"
        ),
        (
            "  pdu-a              unreachable  no answer; looked at 3 s ago in 5.30 s; off never"
            " tested"
        ),
    ]
    assert path_lines((PathStatus("disk", "reservation", 0),), NOW) == [
        "  disk    untested     not looked at yet"
    ]
    assert path_lines((), NOW) == []


def test_report_of_a_healthy_pair() -> None:
    """The paths, their order, and what becomes of each service."""
    lines = fence_report(STATUS, NOW).splitlines()
    assert lines[0] == "deb2 can prove that deb1 is out by:"
    assert lines[4:] == [
        "order: ipmi; if that fails, pdu-a and pdu-b",
        "peer: live (heard)",
        "when deb1 falls silent:",
        "  web: is started here, once the above has made sure that deb1 is out",
        "  db: runs here: nothing is done",
        "cut from each other, neither node has the right to fence first: they take turns by name",
    ]


def test_report_during_a_fence() -> None:
    """The step, proofs, hints, the next try, and what an operator may type."""
    fencing = replace(
        STATUS.fencing, step="ipmi", step_began_at=NOW - 1.2, hints=("eth2 without carrier",),
        next_try_at=NOW + 20, opens_at=NOW + 30,
    )  # fmt: skip
    silent = replace(STATUS, peer_standing=PeerStanding.SILENT, fencing=fencing)
    text = fence_report(silent, NOW)
    assert "\nfencing deb1: ipmi, begun 1.2 s ago\n" in text
    assert "\nhint: eth2 without carrier\n" in text
    assert "\nnext try in 20 s\n" in text
    assert "\nthis node's next turn to fence is in 30 s\n" in text
    assert text.endswith("runs nothing, type: openha fence confirm deb1\n")

    proof = ProofStatus("power", "node", NOW - 4, "power: ipmi off, then OFF twice", ("web",))
    proved = replace(silent, fencing=replace(fencing, step="", proofs=(proof,)))
    text = fence_report(proved, NOW)
    assert "\nproved (node): power: ipmi off, then OFF twice, 4 s ago; for web\n" in text
    assert "type: openha fence confirm" not in text

    confirmed = replace(fencing, confirmed_by="root", confirmed_at=NOW - 7)
    text = fence_report(replace(silent, fencing=confirmed), NOW)
    assert "\nconfirmed out 7 s ago by root: valid until a beat of deb1 arrives" in text
    assert "type: openha fence confirm" not in text


def test_report_names_check_up_scripts_that_are_run_as_well_the_arbiter_and_an_ejection() -> None:
    """A service's own script comes after the proof of the node."""
    fencing = replace(
        STATUS.fencing, has_arbiter=True, is_ejected_by="deb1",
        groups=(
            FenceGroup("", "/bin/true", ("db",)), FenceGroup("/own", "/own", ("web",)),
            FenceGroup("plan", "/usr/local/cluster/bin/fence", ("mail",)),
        ),
    )  # fmt: skip
    text = fence_report(replace(STATUS, fencing=fencing), NOW)
    assert text.count("and then, for each of these services, by:") == 1 and "mail" not in text
    assert "\nand then, for each of these services, by:\n  /own    for web\n" in text
    assert "/bin/true" not in text and "proves nothing" not in text
    assert "\ncut from each other, the arbiter decides who may fence\n" in text
    assert "\nejected by deb1: this node neither fences nor starts, and stops what it runs;" in text


def test_blocked_node_reports_what_it_waits_for() -> None:
    """As without a plan."""
    fencing = replace(STATUS.fencing, is_blocked=True)
    text = fence_report(replace(STATUS, fencing=fencing), NOW)
    assert (
        "deb1 has not answered since deb2 booted, which neither fences nor starts services before"
        in text
    )


@pytest.mark.parametrize(
    "plan, text",
    [
        ((("ipmi",), ("lease",)), "ipmi; beside that, lease"),
        ((("lease",), ("ipmi",)), "lease; if that fails, ipmi"),
        ((("ipmi",), ("a", "b"), ("lease",)), "ipmi; if that fails, a and b; beside that, lease"),
        ((("ipmi", "lease"),), "ipmi and lease"),
        ((("lease",),), "lease"),
    ],
)
def test_order_says_that_a_lease_is_looked_at_beside_the_levels_before_it(
    plan: tuple[tuple[str, ...], ...], text: str
) -> None:
    """Nothing waits for it but what comes after it."""
    assert order_of(plan) == text


def test_forecast_adds_up_measured_times_and_reports_where_there_is_none() -> None:
    """The longest timeout of the links that are up, START_READY, each level with what it took."""
    steps = look_ahead(STATUS, 5.0)
    assert forecast(STATUS, steps).splitlines() == [
        "if deb1 fell silent now, deb2 after:",
        "            10.0 s  deb1 is silent: no link has heard it for its timeout",
        "            15.0 s  START_READY ends: web waits for a proof",
        "            15.0 s  level 1: ipmi 10.10.0.11: off, then OFF twice; took 2.3 s when tested",
        "            17.3 s  start script of web",
        (
            "            17.3 s  if that fails, level 2: pdu-a: off, then OFF twice; never tested,"
            " at most 20 s; unreachable now: no answer"
        ),
        "  at most   37.3 s  and level 2: pdu-b: off, then OFF twice; never tested, at most 10 s",
        (
            "  at most   47.3 s  if all fail: START_FAILED, and all of it again after a pause,"
            " without end; or type openha fence confirm deb1, once you made sure that it is off"
        ),
        "nothing was run",
    ]
    found = json.loads(fence_plan(STATUS, steps).text())
    assert found["plan"] == [["ipmi"], ["pdu-a", "pdu-b"]] and found["standing"] == "live"
    rows = found["steps"]
    assert isinstance(rows, list)
    assert [row["what"] for row in rows] == [
        "silent", "ready", "shoot", "start", "shoot", "shoot", "failed",
    ]  # fmt: skip
    assert [row["latest_s"] for row in rows] == [10.0, 15.0, 15.0, 45.0, 45.0, 65.0, 75.0]


def test_start_is_foretold_only_after_a_level_that_is_armed() -> None:
    """The second one here; with none, no start at all."""
    paths = (replace(IPMI, state="wrong"), replace(PDU_A, state="armed"), PDU_B)
    fencing = replace(STATUS.fencing, paths=paths)
    steps = look_ahead(replace(STATUS, fencing=fencing), 5.0)
    assert [step.level for step in steps if step.what == "start"] == [1]
    paths = (replace(IPMI, state="wrong"), PDU_A, PDU_B)
    steps = look_ahead(replace(STATUS, fencing=replace(fencing, paths=paths)), 5.0)
    assert [step.what for step in steps if step.what == "start"] == []


@pytest.mark.parametrize(
    "change, text",
    [
        ({"is_ejected_by": "deb1"}, "nothing is fenced: this node was ejected by deb1"),
        ({"is_blocked": True}, "nothing is fenced: deb1 has not answered since this node booted"),
    ],
)
def test_forecast_of_a_node_that_may_not_fence(change: dict[str, object], text: str) -> None:
    """It reports why."""
    status = replace(STATUS, fencing=replace(STATUS.fencing, **change))  # type: ignore[arg-type]
    steps = look_ahead(status, 5.0)
    assert steps[-1].what == "nothing" and steps[-1].text.startswith(text)


def test_forecast_without_a_service_that_waits_and_of_a_silent_peer() -> None:
    """Nothing is fenced for services that run here; a silence that has begun is not waited for."""
    idle = replace(STATUS, services=(service("db", S.STARTED, S.STOPPED),))
    assert look_ahead(idle, 5.0)[-1].text == (
        "nothing is fenced: no service waits here to be started"
    )
    silent = replace(STATUS, peer_standing=PeerStanding.SILENT)
    steps = look_ahead(silent, 5.0)
    assert [step.at_s for step in steps[:2]] == [0.0, 5.0]
    assert forecast(silent, steps).startswith("deb1 is silent; deb2, from now on:\n")


def test_forecast_begins_with_the_claim_where_there_is_an_arbiter() -> None:
    """And the disks of a reservation are named."""
    disk = PathStatus("reservation", "reservation", 0, "armed", limit_s=30.0)
    callout = PathStatus("own", "callout", 1, "armed")
    fencing = FencingStatus(
        plan=(("reservation",), ("own",)), has_arbiter=True, paths=(disk, callout)
    )
    steps = look_ahead(replace(STATUS, fencing=fencing), 5.0)
    assert [step.what for step in steps[2:4]] == ["claim", "shoot"]
    assert "preempt and abort on the data disks; never tested, at most 30 s" in steps[3].text
    assert "own: the command of the operator; never tested" in steps[5].text


@pytest.mark.parametrize("plan", [(), STATUS.fencing.plan])
def test_fences_of_service_files_are_shown_by_service_and_section(
    plan: tuple[tuple[str, ...], ...],
) -> None:
    """With a plan and without one; nobody keeps when one was used last."""
    path = replace(IPMI, name="web stonith#1", tested_at=None)
    fencing = replace(STATUS.fencing, plan=plan, service_paths=(path,))
    lines = fence_report(replace(STATUS, fencing=fencing), NOW).splitlines()
    number = lines.index("the sections of these services:")
    assert lines[number + 1] == (
        "  web stonith#1  10.10.0.11  armed        ON, as it must be while deb1 is heard; looked at"
        " 14 s ago in 0.16 s"
    )
    assert not is_broken((path,)) and is_broken((path, replace(path, state="wrong")))
    assert is_broken((replace(path, state="unreachable"),))
    assert "sections" not in fence_report(STATUS, NOW)


def test_plan_shows_the_turns_of_two_nodes_without_an_arbiter() -> None:
    """The peer would fence first: all is later; in the silence it is known when."""
    held = replace(STATUS, fencing=replace(STATUS.fencing, peer_turn="held"))
    (turn,) = [step for step in look_ahead(held, 5.0) if step.what == "turn"]
    assert turn.text.startswith("deb1 would fence first: what follows waits for a turn")
    opens = replace(held.fencing, opens_at=clock.wall() + 30)
    silent = replace(held, peer_standing=PeerStanding.SILENT, fencing=opens)
    steps = look_ahead(silent, 5.0)
    (turn,) = [step for step in steps if step.what == "turn"]
    assert 20 < turn.at_s <= 30
    assert all(step.at_s >= turn.at_s for step in steps[steps.index(turn) :])
    arbiter = replace(held, fencing=replace(opens, has_arbiter=True))
    for status in (STATUS, arbiter, replace(arbiter, peer_standing=PeerStanding.SILENT)):
        assert not [step for step in look_ahead(status, 5.0) if step.what == "turn"]


def test_commands_say_why_the_plan_of_the_file_is_not_in_force() -> None:
    """A misspelt option leaves the former configuration in force, which may have no plan."""
    wrong = (
        "configuration not taken over: conf/openha.conf:8: status_fil: did you mean status_file?"
    )
    status = replace(STATUS, fencing=FencingStatus(), warnings=("another", wrong))
    with pytest.raises(RefusedError) as caught:
        _expect_plan(status)
    assert str(caught.value).endswith(f"check-up scripts); {wrong}")
    with pytest.raises(RefusedError) as caught:
        _expect_plan(replace(status, warnings=("another",)))
    assert str(caught.value).endswith("check-up scripts)")
    _expect_plan(replace(STATUS, warnings=(wrong,)))
