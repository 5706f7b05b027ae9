"""What an operator reads of a service that waits, and of a confirmation: one line for each case."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opensvc_openha.core.beat import BootId
from opensvc_openha.core.engine import Engine
from opensvc_openha.core.events import Command, Leaving, ScriptKind
from opensvc_openha.core.explanations import (
    BOOT_BLOCKED,
    explain_confirmed,
    explain_standby,
    explain_wait,
)
from opensvc_openha.core.model import ClusterSpec, Role
from opensvc_openha.core.peer_view import Evidence
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.core.transitions import Situation
from tests.core.bench import Bench
from tests.core.fences import Fences
from tests.core.pair import links, services

_SILENT = Situation(Role.PRIMARY, Evidence.SILENT)


@pytest.mark.parametrize(
    "situation, expected",
    [
        (replace(_SILENT, is_put_off=True), "tried again within seconds"),
        (_SILENT, "peer is silent: start-ready delay"),
        (replace(_SILENT, is_delay_over=True), "peer is silent: waits to fence it"),
        (replace(_SILENT, evidence=Evidence.BUSY), "waits for its acknowledgement"),
    ],
)
def test_start_ready_names_what_it_waits_for(situation: Situation, expected: str) -> None:
    """A script that could not begin comes before the peer's standing."""
    assert explain_wait(S.START_READY, situation).endswith(expected)
    assert explain_wait(S.STOPPED, situation) == ""


@pytest.mark.parametrize(
    "situation, standing, expected",
    [
        (replace(_SILENT, is_boot_blocked=True), PeerStanding.SILENT, BOOT_BLOCKED),
        (replace(_SILENT, evidence=Evidence.BUSY), PeerStanding.LIVE, "in use on the peer"),
        (replace(_SILENT, evidence=Evidence.RUNS), PeerStanding.DEPARTED, "frozen by an operator"),
        (replace(_SILENT, evidence=Evidence.UNHEARD), PeerStanding.DEPARTED, "back soon"),
        (replace(_SILENT, evidence=Evidence.UNHEARD), PeerStanding.UNKNOWN, "a full timeout"),
        (replace(_SILENT, is_held=True), PeerStanding.LIVE, "so that the peer may go first"),
        (_SILENT, PeerStanding.LIVE, ""),
    ],
)
def test_standby_names_why_it_does_not_start(
    situation: Situation, standing: PeerStanding, expected: str
) -> None:
    """Nothing is written of a standby that is one for the usual reason."""
    text = explain_standby(situation, standing)
    assert text.endswith(expected) and bool(text) is bool(expected)


@pytest.mark.parametrize(
    "state, situation, expected",
    [
        (S.STOPPED, replace(_SILENT, running=ScriptKind.CHECK), "however it ends"),
        (S.STARTED, _SILENT, "runs here already"),
        (S.STOPPED, replace(_SILENT, leaving=Leaving.KEEP_SERVICES), "daemon is leaving"),
        (S.STOPPED, replace(_SILENT, evidence=Evidence.RUNS), "service -A NAME force-start"),
        (S.START_READY, replace(_SILENT, evidence=Evidence.UNHEARD), "is back within 30 s"),
        (S.STOPPED, replace(_SILENT, is_held=True), "is started here in some seconds"),
        (S.START_FAILED, replace(_SILENT, was_never_started=True), "is started here now"),
    ],
)
def test_confirmation_names_what_becomes_of_a_service(
    state: S, situation: Situation, expected: str
) -> None:
    """What runs, what leaves and what the peer left running comes before the start."""
    assert explain_confirmed(state, situation).endswith(expected)


def test_service_of_two_other_nodes_is_shown_without_a_state() -> None:
    """This node is neither primary nor secondary."""
    foreign = replace(services("files")[0], primary="deb7", secondary="deb8")
    spec = ClusterSpec("deb1", "deb2", links(), (*services(), foreign))
    status = Engine(spec, BootId(1, 1), {}, 0.0).snapshot(0.0).services[-1]
    assert (status.name, status.own_state, status.primary_state) == ("files", None, S.UNKNOWN)
    assert status.reason == "this node is neither primary nor secondary"


def test_status_script_keeps_a_stopped_service_from_being_announced() -> None:
    """Until it ends the service may be in use here."""
    bench = Bench(S.STOPPED, must_probe=True)
    reason = bench.engine.snapshot(bench.now).services[0].reason
    assert "its status script runs, and until that ends it is not announced" in reason


def test_services_that_wait_name_the_one_whose_script_fences_the_peer() -> None:
    """One check-up script at a time: the others wait for its end."""
    pair = Fences(names=("registry", "web", "files"))
    pair.boot()
    for host in (pair.deb1, pair.deb2):
        for name in ("registry", "files", "web"):
            pair.run(3)
            host.command(Command.UNFREEZE, name)
    pair.run(6)
    pair.deb1.crash()
    while not pair.checks():
        pair.run(0.5)
    engine = pair.deb2.engine
    assert engine is not None
    [fences] = [svc.name for svc in engine.snapshot(pair.now).services if svc.script == "check"]
    text = f"the peer is being fenced by the check-up script of {fences}"
    reasons = [svc.reason for svc in engine.snapshot(pair.now).services if svc.name != fences]
    assert [text in reason for reason in reasons] == [True, True]
