"""When the peer is fenced before a takeover, and what comes out."""

from __future__ import annotations

import pytest

from opensvc_openha.agent.fencing import PeerKnowledge, Verdict, decide, knowledge_of
from opensvc_openha.core.states import PEER_OUT, ServiceState
from opensvc_openha.core.status import PeerStanding


@pytest.mark.parametrize("state", [None, *ServiceState])
@pytest.mark.parametrize("standing", [None, *PeerStanding])
def test_every_knowledge_of_the_peer_has_one_safe_verdict(standing, state):
    """Silent or unknowable: fence. Live or left and out: nothing to do. Anything else: refuse."""
    verdict = decide(PeerKnowledge(standing, state))
    if standing in (None, PeerStanding.SILENT):
        assert verdict is Verdict.FENCE
    elif standing is not PeerStanding.UNHEARD and state in PEER_OUT:
        assert verdict is Verdict.PEER_IS_OUT
    else:
        assert verdict is Verdict.REFUSE


def test_environment_without_a_known_standing_says_nothing():
    """Absent, empty or misspelt variables are no knowledge; a state that is no state is none."""
    assert knowledge_of({}) is None
    assert knowledge_of({"OPENHA_PEER_STANDING": "sleeping"}) is None
    odd = knowledge_of({"OPENHA_PEER_STANDING": "live", "OPENHA_PEER_STATE": "ODD"})
    assert odd == PeerKnowledge(PeerStanding.LIVE, None)


@pytest.mark.parametrize(
    "standing, state, section, exit_code, fenced",
    [
        ("silent", "UNKNOWN", "[stonith#1]\ntype = callout\ncmd = {mark}; exit 0\n", 0, True),
        ("silent", "UNKNOWN", "[stonith#1]\ntype = callout\ncmd = {mark}; exit 7\n", 7, True),
        ("silent", "UNKNOWN", "[stonith#1]\ntype = callout\ncmd = {mark}; sleep 60\ntimeout = 0.3\n", 1, True),
        ("silent", "UNKNOWN", "", 1, False),
        ("silent", "UNKNOWN", "[stonith#1]\ntype = ilo\ntarget = x\n", 1, False),
        ("live", "STOPPED", "[stonith#1]\ntype = callout\ncmd = {mark}; exit 7\n", 0, False),
        ("left", "FROZEN_STOP", "[stonith#1]\ntype = callout\ncmd = {mark}; exit 7\n", 0, False),
        ("live", "STARTED", "[stonith#1]\ntype = callout\ncmd = {mark}; exit 0\n", 1, False),
        ("unheard", "UNKNOWN", "[stonith#1]\ntype = callout\ncmd = {mark}; exit 0\n", 1, False),
        ("", "", "[stonith#1]\ntype = callout\ncmd = {mark}; exit 0\n", 0, True),
    ],
)
def test_stonith_action_fences_and_tells_the_truth(agent, monkeypatch, standing, state, section, exit_code, fenced):
    """The fence runs only where it must, and 0 comes out only if the peer is out or was fenced."""
    mark = agent.root / "fenced"
    agent.write("a", "[hb#0]\ntype = OpenHA\n" + section.format(mark=f"touch {mark}"))
    for name, value in (("OPENHA_PEER_STANDING", standing), ("OPENHA_PEER_STATE", state)):
        monkeypatch.setenv(name, value)
    outcome = agent.svcmgr(called_as="a.stonith")
    assert (outcome.exit_code, mark.exists()) == (exit_code, fenced)
    assert outcome.err


def test_stonith_by_hand_under_a_cluster_needs_the_cluster_option(agent):
    """svcmgr stonith without --cluster is refused by the safety net."""
    agent.write("a", "[hb#0]\ntype = OpenHA\n[stonith#1]\ntype = callout\ncmd = true\n")
    assert agent.svcmgr("-s", "a", "stonith").exit_code == 1
    assert agent.svcmgr("-s", "a", "stonith", "-c").exit_code == 0
