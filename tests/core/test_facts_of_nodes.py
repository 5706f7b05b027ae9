"""What nodes report of themselves: services that they could not start, and marks of their
configuration.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from opensvc_openha.core.actions import Action, Record
from opensvc_openha.core.beat import Ack, Beat
from opensvc_openha.core.configuration_marks import marks_of
from opensvc_openha.core.events import BeatReceived, Command, ConfigChanged, ReadinessFound
from opensvc_openha.core.facts import Facts
from opensvc_openha.core.model import ClusterSpec, OnDualRun, Policy, Profile
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.formats.facts_block import pack_facts, unpack_facts
from tests.core.bench import LIFE, OWN, Bench, records
from tests.core.pair import links, services


def hear(bench: Bench, announced: S, facts: Facts, service: str = "registry") -> list[Action]:
    """A beat of the peer with facts."""
    bench.seq += 1
    beat = Beat(
        bench.peer, LIFE, bench.seq, Ack(OWN, bench.engine.seq), {service: announced}, facts=facts
    )
    return bench.step(BeatReceived(bench.link, beat, bench.now))


def spec_of(node: str, **changes: object) -> ClusterSpec:
    """A node's configuration."""
    both = links(count=1)
    peer = "deb2" if node == "deb1" else "deb1"
    return replace(ClusterSpec(node, peer, both, services("registry", "busybox")), **changes)  # type: ignore[arg-type]


def test_stop_is_refused_while_the_peer_reports_that_it_could_not_start_the_service() -> None:
    """It would be left to that peer. freeze-stop, which keeps it stopped, is not refused.

    Nor is a stop once the peer can.
    """
    bench = Bench().started()
    hear(bench, S.STOPPED, Facts(unready=frozenset({"registry"})))
    answer = bench.order(Command.STOP)[-1]
    assert not answer.is_ok and "could not start it" in answer.detail and bench.state is S.STARTED
    status = bench.engine.snapshot(bench.now)
    assert status.services[0].is_peer_unready
    assert any("deb2 could not start registry" in text for text in status.warnings)
    hear(bench, S.STOPPED, Facts())
    bench.order(Command.STOP)
    assert bench.state is S.STOPPING
    bench = Bench().started()
    hear(bench, S.STOPPED, Facts(unready=frozenset({"registry"})))
    bench.order(Command.FREEZE_STOP)
    assert bench.state is S.STOPPING


@pytest.mark.parametrize("announced", [S.FROZEN_STOP, S.STARTED])
def test_stop_is_not_refused_for_a_peer_that_would_not_take_the_service(announced: S) -> None:
    """Frozen there, or a second copy here: the peer's readiness is no matter."""
    bench = Bench().started()
    hear(bench, announced, Facts(unready=frozenset({"registry"})))
    assert bench.order(Command.STOP)[-1].is_ok
    assert bench.state is S.STOPPING


def test_own_problem_is_recorded_once_shown_and_reported_to_a_peer_that_understands_it() -> None:
    """A problem is an alarm, its end is none; services of other nodes are left out."""
    bench = Bench()
    hear(bench, S.STARTED, Facts())
    problems = {"registry": "there is no file /etc/registry", "other": "x"}
    done = bench.step(ReadinessFound(problems)) + bench.step(ReadinessFound(problems))
    assert [record.is_alarm for record in records(done, "not ready")] == [True]
    reported = bench.engine.beat().facts
    assert reported is not None and reported.unready == {"registry"}
    status = bench.engine.snapshot(bench.now)
    assert status.services[0].unready == "there is no file /etc/registry"
    assert any("there is no file /etc/registry" in text for text in status.warnings)
    done = bench.step(ReadinessFound({}))
    assert [record.is_alarm for record in records(done, "ready")] == [False]
    assert bench.engine.snapshot(bench.now).services[0].unready == ""


def test_both_nodes_have_the_same_marks_for_the_same_files() -> None:
    """Whatever the order of their lines, and whatever a device is called on each."""
    first, second = spec_of("deb1"), spec_of("deb2")
    moved = tuple(replace(link, device="eth9") for link in reversed(second.links))
    assert marks_of(first) == marks_of(replace(second, links=moved, services=second.services[::-1]))


SWAPPED = tuple(
    replace(svc, primary=svc.secondary, secondary=svc.primary)
    for svc in services("registry", "busybox")
)
ELSE: dict[str, tuple[dict[str, Any], str]] = {
    "links": (dict(links=links(timeout_s=5, count=1)), "links"),
    "missing link": (dict(links=links(count=2)), "links"),
    "roles": (dict(services=SWAPPED), "primary"),
    "policies": (
        dict(services=services("registry", "busybox", policy=Policy(OnDualRun.STOP_YOUNGEST))),
        "policies",
    ),
    "profile": (dict(profile=Profile.FAST), "profile"),
}


@pytest.mark.parametrize("what", list(ELSE))
def test_what_is_configured_differently_is_named_until_it_agrees(what: str) -> None:
    """One alarm and one warning that name the part.

    The end of it is recorded, and the warning is gone.
    """
    changes, word = ELSE[what]
    bench = Bench()
    here = bench.engine.spec
    there = replace(
        spec_of("deb2", **changes),
        services=tuple(
            svc for svc in spec_of("deb2", **changes).services if svc.name == "registry"
        ),
    )
    done = hear(bench, S.STOPPED, Facts(marks=marks_of(there)))
    found = records(done, "CONFIGURATION DIFFERS")
    assert len(found) == 1 and found[0].is_alarm and word in found[0].reason
    assert any(word in text for text in bench.engine.snapshot(bench.now).warnings)
    assert not records(
        hear(bench, S.STOPPED, Facts(marks=marks_of(there))), "CONFIGURATION DIFFERS"
    )
    done = bench.step(
        ConfigChanged(
            replace(here, links=there.links, services=there.services, profile=there.profile)
        )
    )
    bench.link = bench.engine.spec.listeners[0]
    agrees: list[Record] = records(
        done + hear(bench, S.STOPPED, Facts(marks=marks_of(there))), "CONFIGURATION AGREES"
    )
    assert len(agrees) == 1 and not agrees[0].is_alarm
    assert not any(
        "configured differently" in text for text in bench.engine.snapshot(bench.now).warnings
    )


def test_service_that_one_node_has_is_no_difference_of_roles_besides() -> None:
    """That has a warning of its own."""
    bench = Bench()
    there = spec_of("deb2")
    bench.seq += 1
    beat = Beat(
        "deb2",
        LIFE,
        bench.seq,
        Ack(OWN, bench.engine.seq),
        {"registry": S.STOPPED, "busybox": S.STOPPED},
        facts=Facts(marks=marks_of(there)),
    )
    done = bench.step(BeatReceived(bench.link, beat, bench.now))
    assert records(done, "SERVICES DIFFER") and not records(done, "CONFIGURATION DIFFERS")


def test_peer_that_sends_no_marks_is_not_called_different() -> None:
    """It is of an older version."""
    bench = Bench()
    assert not records(hear(bench, S.STOPPED, Facts()), "CONFIGURATION DIFFERS")


def test_marks_survive_the_frame_and_malformed_ones_are_refused() -> None:
    """Four bytes each; a part of one is an error of the frame."""
    facts = Facts(marks=marks_of(spec_of("deb1")))
    assert unpack_facts(pack_facts(facts, ()), 0).resolve({}) == facts
    for value in (b"abc", bytes(4 * 33)):
        with pytest.raises(ValueError):
            unpack_facts(b"\x03" + len(value).to_bytes(2, "big") + value, 0)
