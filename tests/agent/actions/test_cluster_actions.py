"""What a person's action asks of both nodes, and in which order: the agent's part, on a cluster of
two modelled daemons.

The model knows the commands of the daemons and what they lead to; the peer's agent is reached by a
modelled ssh, which runs the same code as the peer's own. Time passes when the agent pauses. Real
nodes and ssh are in tests/e2e/test_cluster_actions.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from opensvc_openha.agent.actions import cluster_actions, embedded_actions
from opensvc_openha.agent.actions.cluster_actions import CHANGE_LIMIT_S
from opensvc_openha.agent.actions.embedded_actions import LOCK_NAME, why_not_driven
from opensvc_openha.agent.host.commands import CommandResult
from opensvc_openha.agent.service.loaded_service import load_service
from opensvc_openha.agent.values.cluster_client import ClusterAnswer, ClusterView
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.core.status import NodeStatus
from opensvc_openha.errors import (
    ActionError,
    InterruptedAction,
    NoPeerLinkError,
    NotRunningError,
    OpenhaError,
    RefusedError,
    SystemFault,
    UnknownOutcomeError,
)
from tests.agent.actions.modelled_cluster import Model

RUNS = (S.STARTED, S.FROZEN_START)


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[S, S], Model]]:
    """Makes the cluster in a state."""

    def made(first: S, second: S) -> Model:
        model = Model(tmp_path, first, second)
        monkeypatch.setattr(embedded_actions, "run_command", model.ssh)
        monkeypatch.setattr(cluster_actions, "pause", model.pass_time)
        monkeypatch.setattr(cluster_actions, "monotonic", lambda: model.now)
        return model

    yield made


Make = Callable[[S, S], Model]


def frozen_flag(model: Model) -> bool:
    """Is the service frozen for the agent of deb1?"""
    return bool(model.service.is_frozen)


def test_start_freezes_the_peer_first_and_thaws_it_when_the_service_runs(make: Make) -> None:
    """Both stand by: deb2 may not start it meanwhile, and is standby again in the end."""
    model = make(S.STOPPED, S.STOPPED)
    assert model.ask("start") == 0
    assert model.states == {"deb1": S.STARTED, "deb2": S.STOPPED}
    assert model.done == [
        "deb2's agent: freeze",
        "deb2 freeze-stop",
        "deb1 start",
        "deb2's agent: thaw",
        "deb2 unfreeze",
    ]


def test_start_of_a_frozen_service_thaws_it_here_and_then_there(make: Make) -> None:
    """Both are frozen as stopped: deb2 stays so until deb1 runs it."""
    model = make(S.STOPPED, S.FROZEN_STOP)
    assert model.ask("freeze") == 0 and frozen_flag(model)
    model.done.clear()
    assert model.ask("start") == 0
    assert model.done == ["deb1 unfreeze", "deb1 start", "deb2's agent: thaw", "deb2 unfreeze"]
    assert model.states == {"deb1": S.STARTED, "deb2": S.STOPPED} and not frozen_flag(model)


@pytest.mark.parametrize("peer", RUNS)
def test_start_beside_a_peer_that_runs_it_is_refused_and_nothing_is_asked_for(
    make: Make, peer: S
) -> None:
    """No second copy, and deb2 is left alone."""
    model = make(S.STOPPED, peer)
    with pytest.raises(
        RefusedError, match=f"already {peer.name} on the peer deb2: switch moves it here"
    ):
        model.ask("start")
    assert model.done == [] and model.states["deb2"] is peer


@pytest.mark.parametrize(
    "peer", [S.STARTING, S.STOPPING, S.START_FAILED, S.STOP_FAILED, S.FORCE_STOP]
)
def test_start_beside_a_peer_in_trouble_is_refused(make: Make, peer: S) -> None:
    """It may run there in part: somebody has to look first."""
    model = make(S.STOPPED, peer)
    with pytest.raises(RefusedError, match=f"is {peer.name} on the peer deb2: find out why"):
        model.ask("start")
    assert model.done == []


@pytest.mark.parametrize("own", [S.START_FAILED, S.STOP_FAILED, S.UNKNOWN])
def test_start_of_what_failed_here_is_refused(make: Make, own: S) -> None:
    """Stop it first."""
    model = make(own, S.STOPPED)
    with pytest.raises(
        RefusedError, match=f"is {own.name} on this node and cannot be started now: stop it first"
    ):
        model.ask("start")
    assert model.done == []


@pytest.mark.parametrize("own", RUNS)
def test_start_of_what_runs_is_no_error_and_asks_for_nothing(make: Make, own: S) -> None:
    """0, and deb2 is not touched."""
    model = make(own, S.STOPPED)
    assert model.ask("start") == 0 and model.done == []


def test_start_without_a_peer_continues_alone(make: Make) -> None:
    """deb2 is silent: nothing is asked of it."""
    model = make(S.FROZEN_STOP, S.STOPPED)
    model.is_peer_heard = False
    assert model.ask("start") == 0
    assert model.done == ["deb1 unfreeze", "deb1 start"] and model.states["deb1"] is S.STARTED


def test_start_whose_peer_cannot_be_frozen_is_refused_before_anything_is_done(make: Make) -> None:
    """ssh does not work: deb2 could start it meanwhile."""
    model = make(S.FROZEN_STOP, S.STOPPED)
    model.is_ssh_there = False
    with pytest.raises(
        RefusedError,
        match=r"ssh key.*; the same can be done by hand on deb2: service -A webha freeze-stop",
    ):
        model.ask("start")
    assert model.done == ["deb2's agent: freeze"] and model.states["deb1"] is S.FROZEN_STOP


@pytest.mark.parametrize("is_awaited", [False, True])
def test_start_that_fails_is_an_error_and_leaves_the_peer_frozen(
    make: Make, is_awaited: bool
) -> None:
    """Parts of it may run here: deb2 must not start it.

    The same if the daemon answers when the start has ended.
    """
    model = make(S.STOPPED, S.STOPPED)
    model.is_start_failing, model.is_start_awaited = True, is_awaited
    with pytest.raises(
        ActionError,
        match="webha is START_FAILED on this node: so it is; when it is repaired: stop, then start",
    ):
        model.ask("start")
    assert model.states == {"deb1": S.START_FAILED, "deb2": S.FROZEN_STOP}


def test_stop_freezes_the_peer_before_it_stops_here(make: Make) -> None:
    """deb2 would take over what stops on deb1."""
    model = make(S.STARTED, S.STOPPED)
    assert model.ask("stop") == 0
    assert model.done == ["deb2's agent: stop", "deb2 freeze-stop", "deb1 freeze-stop"]
    assert model.states == {"deb1": S.FROZEN_STOP, "deb2": S.FROZEN_STOP}


def test_stop_of_what_runs_on_the_peer_freezes_this_node_first(make: Make) -> None:
    """deb1 is standby, and would take over what stops on deb2."""
    model = make(S.STOPPED, S.STARTED)
    assert model.ask("stop") == 0
    assert model.done == ["deb1 freeze-stop", "deb2's agent: stop", "deb2 freeze-stop"]
    assert model.states == {"deb1": S.FROZEN_STOP, "deb2": S.FROZEN_STOP}


def test_stop_whose_heard_peer_cannot_be_frozen_stops_nothing(make: Make) -> None:
    """ssh does not work: a stop here would only move it there."""
    model = make(S.STARTED, S.STOPPED)
    model.is_ssh_there = False
    with pytest.raises(RefusedError, match="service -A webha freeze-stop"):
        model.ask("stop")
    assert model.states["deb1"] is S.STARTED and model.done == ["deb2's agent: stop"]


def test_stop_without_a_peer_stops_here_and_reports_what_the_peer_may_do(make: Make) -> None:
    """deb2 is silent and out of reach: stopped on deb1, with a warning."""
    model = make(S.STARTED, S.STOPPED)
    model.is_peer_heard = model.is_ssh_there = False
    assert model.ask("stop") == 0
    assert model.states["deb1"] is S.FROZEN_STOP
    log = Path(model.service.layout.log_dir, "web.log").read_text()
    assert "the peer deb2 is silent, it is not frozen: when it is back it may start webha" in log


@pytest.mark.parametrize(
    "own, asked", [(S.FROZEN_STOP, []), (S.FROZEN_START, ["deb1 unfreeze", "deb1 freeze-stop"])]
)
def test_stop_of_a_frozen_service_leaves_it_frozen_as_stopped(
    make: Make, own: S, asked: list[str]
) -> None:
    """Nothing to do where it is; one that runs frozen is thawed for the stop."""
    model = make(own, S.FROZEN_STOP)
    assert model.ask("stop") == 0
    assert model.done == asked and model.states["deb1"] is S.FROZEN_STOP


def test_switch_hands_over_and_waits_for_the_peer(make: Make) -> None:
    """From deb1 to deb2: the daemon's own stop, which deb2 answers by starting it."""
    model = make(S.STARTED, S.STOPPED)
    assert model.ask("switch") == 0
    assert model.done == ["deb1 stop"] and model.states == {"deb1": S.STOPPED, "deb2": S.STARTED}


def test_switch_takes_what_runs_on_the_peer(make: Make) -> None:
    """From deb2 to here: the peer's agent hands it over."""
    model = make(S.STOPPED, S.STARTED)
    assert model.ask("switch") == 0
    assert model.done == ["deb2's agent: switch", "deb2 stop"]


def test_switch_that_fails_on_the_other_node_is_an_error(make: Make) -> None:
    """It runs nowhere: not started again here, where parts of it may still be there."""
    model = make(S.STARTED, S.STOPPED)
    model.is_start_failing = True
    with pytest.raises(ActionError, match="webha is START_FAILED on deb2, and is not started here"):
        model.ask("switch")


@pytest.mark.parametrize(
    "first, second, is_heard, to_node, message",
    [
        (
            S.STOPPED,
            S.STOPPED,
            True,
            "",
            "cannot switch in current state: STOPPED here, STOPPED on deb2",
        ),
        (S.STARTED, S.FROZEN_STOP, True, "", "thaw it first"),
        (S.FROZEN_START, S.STOPPED, True, "", "thaw it first"),
        (S.FROZEN_STOP, S.STARTED, True, "", "thaw it first"),
        (S.STARTED, S.STOPPED, False, "", "cannot switch: the peer deb2 is silent"),
        (S.STARTED, S.STOPPED, False, "deb2", "cannot switch: the peer deb2 is silent"),
        (S.STARTED, S.STOPPED, True, "deb3", "webha runs on deb1 or deb2 only"),
        (
            S.STARTED,
            S.START_FAILED,
            True,
            "",
            "cannot switch in current state: STARTED here, START_FAILED on deb2",
        ),
    ],
)
def test_switch_that_cannot_be_is_refused_and_nothing_moves(
    make: Make, first: S, second: S, is_heard: bool, to_node: str, message: str
) -> None:
    """Each with its reason, and no command is given to anybody."""
    model = make(first, second)
    model.is_peer_heard = is_heard
    with pytest.raises(RefusedError, match=message):
        model.ask("switch", to_node)
    assert model.done == [] and model.states == {"deb1": first, "deb2": second}


@pytest.mark.parametrize("to_node, moves", [("deb1", False), ("DEB2", True)])
def test_switch_to_a_node_moves_only_what_is_not_there(
    make: Make, to_node: str, moves: bool
) -> None:
    """`--to` the owner is done already; the name counts in any case."""
    model = make(S.STARTED, S.STOPPED)
    assert model.ask("switch", to_node) == 0
    assert bool(model.done) is moves and model.states["deb2" if moves else "deb1"] is S.STARTED


def test_freeze_begins_with_the_node_that_could_take_it_over(make: Make) -> None:
    """deb2 as stopped, then deb1 as started; the agent's own flag too."""
    model = make(S.STARTED, S.STOPPED)
    assert model.ask("freeze") == 0
    assert model.done == ["deb2's agent: freeze", "deb2 freeze-stop", "deb1 freeze-start"]
    assert model.states == {"deb1": S.FROZEN_START, "deb2": S.FROZEN_STOP} and frozen_flag(model)


@pytest.mark.parametrize("is_heard", [True, False])
def test_freeze_that_did_not_reach_the_peer_is_done_here_and_is_no_success(
    make: Make, is_heard: bool
) -> None:
    """An operator who is to work on the service must know that deb2 may still take it."""
    model = make(S.STARTED, S.STOPPED)
    model.is_peer_heard, model.is_ssh_there = is_heard, False
    with pytest.raises(RefusedError, match="frozen on this node only: "):
        model.ask("freeze")
    assert model.states["deb1"] is S.FROZEN_START and frozen_flag(model)


def test_thaw_begins_here_where_this_node_does_not_own_it_last(make: Make) -> None:
    """deb1 owns it: thawed before deb2 looks for something to take."""
    model = make(S.FROZEN_START, S.FROZEN_STOP)
    assert model.ask("thaw") == 0
    assert model.done == ["deb1 unfreeze", "deb2's agent: thaw", "deb2 unfreeze"]


def test_thaw_begins_with_the_peer_that_owns_it(make: Make) -> None:
    """deb2 owns it: thawed first."""
    model = make(S.FROZEN_STOP, S.FROZEN_START)
    assert model.ask("thaw") == 0
    assert model.done == ["deb2's agent: thaw", "deb2 unfreeze", "deb1 unfreeze"]


def test_thaw_that_did_not_reach_an_owner_that_is_heard_thaws_nothing(make: Make) -> None:
    """deb2 owns it: deb1 alone could take the service over in the middle of the work there."""
    model = make(S.FROZEN_STOP, S.FROZEN_START)
    model.is_ssh_there = False
    with pytest.raises(RefusedError, match="ssh key"):
        model.ask("thaw")
    assert model.states["deb1"] is S.FROZEN_STOP and model.done == ["deb2's agent: thaw"]


def test_thaw_beside_an_owner_that_left_is_done_here(make: Make) -> None:
    """deb2 left while it owned it: an operator of deb1 is not kept from it."""
    model = make(S.FROZEN_STOP, S.FROZEN_START)
    model.has_peer_left = True
    with pytest.raises(RefusedError, match="thawed on this node only"):
        model.ask("thaw")
    assert model.states["deb1"] is S.STOPPED


def test_thaw_that_did_not_reach_the_peer_is_no_success(make: Make) -> None:
    """Done on deb1, and reported."""
    model = make(S.FROZEN_START, S.FROZEN_STOP)
    model.is_ssh_there = False
    with pytest.raises(RefusedError, match="thawed on this node only: "):
        model.ask("thaw")
    assert model.states["deb1"] is S.STARTED


@pytest.mark.parametrize("action", ["freeze", "thaw"])
def test_freeze_and_thaw_of_what_is_so_already_ask_for_nothing(make: Make, action: str) -> None:
    """Both nodes are as wanted: 0."""
    states = (S.FROZEN_START, S.FROZEN_STOP) if action == "freeze" else (S.STARTED, S.STOPPED)
    model = make(*states)
    assert model.ask(action) == 0 and model.done == []


def test_action_waits_for_a_script_that_runs(make: Make) -> None:
    """deb1 is STARTING when it is asked to stop: it is stopped once it is STARTED."""
    model = make(S.STOPPED, S.FROZEN_STOP)
    model._begin("deb1")
    assert model.ask("stop") == 0
    assert model.states["deb1"] is S.FROZEN_STOP


def test_start_waits_for_a_stop_that_runs(make: Make) -> None:
    """deb1 is STOPPING when it is asked to start: it is started once it is STOPPED, and not
    refused.
    """
    model = make(S.STOPPING, S.FROZEN_STOP)
    model._due["deb1"] = S.STOPPED
    assert model.ask("start") == 0
    assert model.states["deb1"] is S.STARTED


def test_start_that_the_other_node_asks_for_leaves_that_one_alone(make: Make) -> None:
    """`start --remote`: the node that asks does its own part."""
    model = make(S.STOPPED, S.STOPPED)
    assert model._agents["deb1"]("start", True, "") == 0
    assert model.done == ["deb1 start"]


def test_peer_of_which_no_state_is_known_is_unknown(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon has none of it yet: a switch names it so."""
    model = make(S.STOPPED, S.STOPPED)
    known = model._status("deb1")
    services = (replace(known.services[0], peer_state=None),)
    monkeypatch.setattr(model, "_status", lambda node: replace(known, services=services))
    with pytest.raises(RefusedError, match="STOPPED here, UNKNOWN on deb2"):
        model.ask("switch")


def test_peer_that_was_not_frozen_by_a_start_is_not_thawed(make: Make) -> None:
    """deb2 is about to start what it may not: it is left to the daemons, before and after."""
    model = make(S.STOPPED, S.START_READY)
    assert model.ask("start") == 0
    assert model.done == ["deb1 start"] and model.states == {
        "deb1": S.STARTED,
        "deb2": S.START_READY,
    }


def test_last_word_of_a_peer_that_left_prevents_no_start(make: Make) -> None:
    """deb2 reported START_FAILED and goodbye: the daemon here knows best whether it may start, and
    its agent is not called.
    """
    model = make(S.STOPPED, S.START_FAILED)
    model.has_peer_left = True
    assert model.ask("start") == 0
    assert model.done == ["deb1 start"]


def test_script_that_runs_is_waited_for_as_long_as_it_runs(make: Make) -> None:
    """Ten times the limit for a change: it is STARTING, so it continues, and reports that every ten
    seconds.
    """
    model = make(S.STOPPED, S.FROZEN_STOP)
    model.is_slow = True
    assert model.ask("start") == 0 and model.now > 9 * CHANGE_LIMIT_S
    log = Path(model.service.layout.log_dir, "web.log").read_text()
    assert (
        9 * CHANGE_LIMIT_S / 10 - 2
        < log.count("webha is STARTING, for ")
        < 10 * CHANGE_LIMIT_S / 10 + 2
    )


def test_change_that_does_not_begin_is_given_up_with_the_state_as_it_is(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon reports that it is done, and nothing follows."""
    model = make(S.STOPPED, S.FROZEN_STOP)
    monkeypatch.setattr(model, "_begin", lambda node: None)
    with pytest.raises(
        ActionError, match="waited 20 seconds for local state .* it is STOPPED: so it is"
    ):
        model.ask("start")


def test_daemon_that_is_busy_for_a_moment_is_asked_again(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a change is waited for: no error."""
    model = make(S.STOPPED, S.FROZEN_STOP)

    def pass_busily(seconds: float) -> None:
        model.pass_time(seconds)
        model.unanswered = int(model.now < 1)

    monkeypatch.setattr(cluster_actions, "pause", pass_busily)
    model.is_slow = True
    assert model.ask("start") == 0


def test_daemon_that_does_not_answer_any_more_is_not_waited_for_without_end(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last answer was STARTING: it does not count as a script that runs."""
    model = make(S.STOPPED, S.FROZEN_STOP)

    def pass_in_silence(seconds: float) -> None:
        model.pass_time(seconds)
        model.unanswered = 1

    monkeypatch.setattr(cluster_actions, "pause", pass_in_silence)
    model.is_slow = True
    with pytest.raises(ActionError, match="waited 2. seconds .* STARTING: nmond does not answer"):
        model.ask("start")


def test_peer_that_leaves_meanwhile_is_not_waited_for_without_end(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """deb2 was STARTING when its daemon left: that state does not change any more."""
    model = make(S.STARTED, S.STOPPED)

    def pass_time(seconds: float) -> None:
        model.now += seconds
        model.states = {"deb1": S.STOPPED, "deb2": S.STARTING}
        model.has_peer_left = model.now > 1

    monkeypatch.setattr(cluster_actions, "pause", pass_time)
    with pytest.raises(ActionError, match="waited 2. seconds for remote state .* it is STARTING"):
        model.ask("switch")


def test_daemon_that_refuses_is_an_error_with_its_words(make: Make) -> None:
    """freeze of what is STOP_FAILED here: the refusal of the daemon is ours."""
    model = make(S.STOP_FAILED, S.FROZEN_STOP)
    with pytest.raises(RefusedError, match="Cannot freeze-stop: STOP_FAILED"):
        model.ask("freeze")


def test_service_that_the_daemon_does_not_know_is_not_driven(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was never added, or is another node's: refused, with how to add it."""
    model = make(S.STARTED, S.STOPPED)
    known = model._status("deb1")
    for services in ((), (replace(known.services[0], own_state=None),)):
        monkeypatch.setattr(
            model, "_status", lambda node, services=services: replace(known, services=services)
        )
        with pytest.raises(
            RefusedError, match="does not know the service webha on this node: service -a webha"
        ):
            model.ask("stop")
    assert model.done == []


def test_action_goes_through_the_cluster_only_where_its_daemon_answers(make: Make) -> None:
    """Else the reason is one that a person understands."""
    model = make(S.STARTED, S.STOPPED)
    model.ask("start")
    service = model.service

    def refuse() -> NodeStatus:
        raise NotRunningError("nmond is not running")

    assert why_not_driven(service) == ""
    assert why_not_driven(service._replace(cluster=ClusterView(refuse))) == "nmond is not running"
    assert (
        why_not_driven(service._replace(cluster=ClusterView(refuse, is_installed=False)))
        == "open-ha is not installed"
    )
    Path(service.layout.service_file("web")).write_text("[app#1]\nscript = /bin/true\n")
    alone = load_service(service.layout, "web", service.log, service.cluster)
    assert why_not_driven(alone) == "its heartbeat is not OpenHA"


def test_one_action_at_a_time(make: Make) -> None:
    """The lock of another action on this service is respected."""
    from opensvc_openha.agent.service.action_lock import action_lock

    model = make(S.STARTED, S.STOPPED)
    model.ask("freeze")
    with action_lock(model.service.var_dir, "start", 0, LOCK_NAME):
        with pytest.raises((RefusedError, SystemFault), match="is acting on this service"):
            model.ask("thaw")


def test_stop_that_fails_is_an_error_with_the_reason(make: Make) -> None:
    """The stop script fails: what is left runs here, and deb2 stays frozen."""
    model = make(S.STARTED, S.STOPPED)
    model.is_stop_failing = True
    with pytest.raises(ActionError, match="webha is STOP_FAILED on this node: so it is"):
        model.ask("stop")
    assert model.states == {"deb1": S.STOP_FAILED, "deb2": S.FROZEN_STOP}


def test_daemon_that_refuses_the_start_starts_it_by_itself_later(make: Make) -> None:
    """It holds back now: the refusal is reported, and the start is waited for."""
    model = make(S.STOPPED, S.FROZEN_STOP)
    model.refusal = "Cannot start webha: held back"
    assert model.ask("start") == 0 and model.states["deb1"] is S.STARTED
    assert (
        "Cannot start webha: held back" in Path(model.service.layout.log_dir, "web.log").read_text()
    )


@pytest.mark.parametrize(
    "code, output, message",
    [
        (255, "Connection refused", "deb2: no sshd listens there"),
        (127, "svcmgr: not found", "there is no svcmgr, on it run"),
        (5, "Abort", "deb2: 'freeze --remote' ended with exit code 5"),
    ],
)
def test_peer_that_does_not_do_its_part_is_named_with_the_reason(
    make: Make, monkeypatch: pytest.MonkeyPatch, code: int, output: str, message: str
) -> None:
    """And what can be done by hand there."""
    model = make(S.STOPPED, S.STOPPED)
    monkeypatch.setattr(
        embedded_actions, "run_command", lambda command, limit_s: CommandResult(code, output)
    )
    with pytest.raises(
        RefusedError,
        match=f"{message}.*the same can be done by hand on deb2: service -A webha freeze-stop",
    ):
        model.ask("start")


def log_of(model: Model) -> str:
    return Path(model.service.layout.log_dir, "web.log").read_text()


def test_state_is_read_five_times_a_second_and_reported_every_ten_seconds(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon limits the script, whatever its limit is."""
    model, pauses = make(S.STOPPED, S.FROZEN_STOP), set[float]()
    model.is_slow = True

    def pause(seconds: float) -> None:
        pauses.add(seconds)
        model.pass_time(seconds)

    monkeypatch.setattr(cluster_actions, "pause", pause)
    assert model.ask("start") == 0 and pauses == {0.2}
    assert "webha is STARTING, for 10 s now" in log_of(model)
    assert "webha is STARTING, for 20 s now" in log_of(model)


@pytest.mark.parametrize(
    ("own", "words"),
    [(S.STARTED, "already started"), (S.FROZEN_START, "already started and frozen")],
)
def test_start_of_what_runs_is_logged_as_such(make: Make, own: S, words: str) -> None:
    """Beside a peer that runs it as well it is refused: an operator must look."""
    model = make(own, S.STOPPED)
    assert model.ask("start") == 0
    assert [line for line in log_of(model).splitlines() if line.endswith(words)]
    model.states["deb2"] = S.STARTED
    with pytest.raises(RefusedError):
        model.ask("start")
    assert model.done == []


@pytest.mark.parametrize("peer", [S.STOPPED, S.FROZEN_STOP])
@pytest.mark.parametrize("is_remote", [True, False])
def test_agent_of_a_peer_that_left_or_that_asked_is_not_called(
    make: Make, peer: S, is_remote: bool
) -> None:
    """Neither before the start nor after it."""
    model = make(S.STOPPED, peer)
    model.has_peer_left = not is_remote
    assert model._agents["deb1"]("start", is_remote, "") == 0
    assert model.done == ["deb1 start"]


def test_service_that_is_frozen_while_the_peer_is_asked_is_thawed_all_the_same(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The peer's agent may take its time: what was seen before is of the past."""
    model = make(S.STOPPED, S.STOPPED)

    def ssh(command: list[str], limit_s: float) -> CommandResult:
        model.states["deb1"] = S.FROZEN_STOP
        return model.ssh(command, limit_s)

    with monkeypatch.context() as patch:
        patch.setattr(embedded_actions, "run_command", ssh)
        model.ask("start")
    assert "deb1 unfreeze" in model.done


def test_log_has_the_outcome_and_no_request_that_the_daemon_may_refuse(make: Make) -> None:
    """A start is asked for to skip a hold: the node starts by itself in any case."""
    model = make(S.STOPPED, S.FROZEN_STOP)
    assert model.ask("start") == 0
    lines = [line.split(None, 3)[-1].strip() for line in log_of(model).splitlines()]
    assert any(line.endswith("webha is STARTED on this node") for line in lines)
    assert not any("service -A webha start" in line for line in lines)


def test_peer_is_asked_over_the_link_and_not_by_ssh(make: Make) -> None:
    """With a link that works, ssh is not even tried; the log has what was printed there."""
    model = make(S.STOPPED, S.STOPPED)
    model.link_error, model.is_ssh_there = True, False
    assert model.ask("start") == 0
    assert model.done == [
        "link: freeze",
        "deb2 freeze-stop",
        "deb1 start",
        "link: thaw",
        "deb2 unfreeze",
    ]
    assert "deb2: done there" in log_of(model)
    assert "'thaw --remote' on node deb2 over the peer link: exit code 0" in log_of(model)


@pytest.mark.parametrize(
    ("error", "is_logged"),
    [
        (NoPeerLinkError("no key", "OFF"), False),
        (NoPeerLinkError("connection refused"), True),
        (NoPeerLinkError("the request is withdrawn", "WITHDRAWN"), True),
        (NoPeerLinkError("does not have the same secret", "PROOF"), True),
        (RefusedError("deb2: allow = none"), True),
        (SystemFault("deb2: cannot write"), True),
    ],
    ids=lambda value: str(value)[:20],
)
def test_order_that_was_surely_not_executed_goes_by_ssh(
    make: Make, error: OpenhaError, is_logged: bool
) -> None:
    """The log says why, unless this node has no link at all; the order is executed once."""
    model = make(S.STARTED, S.STOPPED)
    model.link_error = error
    assert model.ask("stop") == 0
    assert model.done == [
        "link: stop",
        "deb2's agent: stop",
        "deb2 freeze-stop",
        "deb1 freeze-stop",
    ]
    assert (f"{error}, so ssh is used" in log_of(model)) is is_logged


@pytest.mark.parametrize("action", ["stop", "start", "switch"])
def test_order_whose_outcome_is_unknown_is_never_repeated_by_ssh(make: Make, action: str) -> None:
    """It may still be executed: nothing else is done here, and the text says what to look at."""
    own, peer = (S.STARTED, S.STOPPED) if action == "stop" else (S.STOPPED, S.STOPPED)
    model = make(own, S.STARTED if action == "switch" else peer)
    model.link_error = UnknownOutcomeError("deb2 cannot be asked")
    before = dict(model.states)
    with pytest.raises(ActionError, match="whether deb2 did '.* --remote' is not known: deb2 cann"):
        model.ask(action)
    assert [word for word in model.done if "agent" in word] == []
    assert model.states == before


def test_order_that_fails_on_the_peer_is_a_failure_and_not_repeated_by_ssh(make: Make) -> None:
    """It was executed there, and ended with an error."""
    model = make(S.STARTED, S.STOPPED)
    model.link_error = True

    def fail(action: str, is_remote: bool, to_node: str) -> int:
        raise ActionError("the disk is gone")

    model._agents["deb2"] = fail
    with pytest.raises(RefusedError, match="deb2: 'stop --remote' ended with exit code 6"):
        model.ask("stop")
    assert model.done == ["link: stop"]
    assert "deb2: the disk is gone" in log_of(model)


def steps_of(model: Model) -> list[str]:
    """The texts in the log of deb1, without those of the way to the peer."""
    texts = [line.split(None, 4)[-1] for line in log_of(model).splitlines()]
    return [text for text in texts if "deb2" not in text]


def test_each_step_of_a_stop_is_logged(make: Make) -> None:
    """What the daemon is asked for, its answer, what is waited for, and the outcome."""
    model = make(S.STARTED, S.STOPPED)
    assert model.ask("stop") == 0
    assert steps_of(model) == [
        "service -A webha freeze-stop",
        "done",
        "waiting for local state to become either stop_failed or frozen_stop",
        "webha is FROZEN_STOP on this node",
    ]


@pytest.mark.parametrize("is_awaited", [True, False])
def test_start_is_waited_for_unless_the_daemon_has_ended_it(make: Make, is_awaited: bool) -> None:
    """The log has its outcome in both cases."""
    model = make(S.STOPPED, S.STOPPED)
    model.is_start_awaited, model.is_peer_heard = is_awaited, False
    assert model.ask("start") == 0
    wait = "waiting for local state to become either started or start_failed or frozen_start"
    assert steps_of(model) == [*([] if is_awaited else [wait]), "webha is STARTED on this node"]


@pytest.mark.parametrize("own", [S.STOPPED, S.START_READY])
def test_node_that_could_take_it_over_is_frozen_before_the_owner_stops(make: Make, own: S) -> None:
    """deb1 is standby, or about to start; its outcome is logged."""
    model = make(own, S.STARTED)
    assert model.ask("stop") == 0
    assert model.done == ["deb1 freeze-stop", "deb2's agent: stop", "deb2 freeze-stop"]
    assert steps_of(model) == [
        "service -A webha freeze-stop",
        "done",
        "webha is FROZEN_STOP on this node",
    ]


def test_freeze_and_thaw_from_the_standby_node_freeze_it_first_and_thaw_it_last(make: Make) -> None:
    """deb2 owns the service; for the agent of deb1 it is frozen and thawed, too."""
    model = make(S.STOPPED, S.STARTED)
    assert model.ask("freeze") == 0 and frozen_flag(model)
    assert model.done == ["deb1 freeze-stop", "deb2's agent: freeze", "deb2 freeze-start"]
    model.done.clear()
    assert model.ask("thaw") == 0 and not frozen_flag(model)
    assert model.done == ["deb2's agent: thaw", "deb2 unfreeze", "deb1 unfreeze"]


@pytest.mark.parametrize(
    ("is_second_refused", "error"), [(True, RefusedError), (False, ActionError)]
)
def test_command_that_was_tried_in_part_is_no_refusal(
    make: Make, monkeypatch: pytest.MonkeyPatch, is_second_refused: bool, error: type[OpenhaError]
) -> None:
    """Refused means that nothing was tried; the text has each problem."""
    model = make(S.STARTED, S.FROZEN_STOP)
    answers = [
        ClusterAnswer("no lock", False, is_refused=True),
        ClusterAnswer("no disk", False, is_refused=is_second_refused),
    ]
    monkeypatch.setattr(model, "_act", lambda node, command: answers)
    with pytest.raises(error, match="^no lock; no disk$") as caught:
        model.ask("stop")
    assert type(caught.value) is error


def test_script_of_the_peer_is_waited_for_as_long_as_it_runs(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """deb2 is heard and STARTING for ten times the limit of a change."""
    model = make(S.STARTED, S.STOPPED)

    def pass_time(seconds: float) -> None:
        model.now += seconds
        is_over = model.now > 10 * CHANGE_LIMIT_S
        model.states = {"deb1": S.STOPPED, "deb2": S.STARTED if is_over else S.STARTING}

    monkeypatch.setattr(cluster_actions, "pause", pass_time)
    assert model.ask("switch") == 0
    assert model.done == ["deb1 stop"] and model.now > 10 * CHANGE_LIMIT_S


def test_script_of_this_node_is_waited_for_beside_a_silent_peer(make: Make) -> None:
    """The daemon of this node knows its own state."""
    model = make(S.STOPPED, S.STOPPED)
    model.is_slow, model.is_peer_heard = True, False
    assert model.ask("start") == 0 and model.now > 9 * CHANGE_LIMIT_S


def test_agent_of_the_peer_waits_a_minute_for_its_lock(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An action may run there."""
    model = make(S.STARTED, S.STOPPED)
    asked: list[str] = []

    def ssh(command: list[str], limit_s: float) -> CommandResult:
        asked.append(command[-1])
        return model.ssh(command, limit_s)

    monkeypatch.setattr(embedded_actions, "run_command", ssh)
    assert model.ask("stop") == 0
    assert [text.partition("-s web ")[2] for text in asked] == ["--waitlock 60 stop --remote"]


def test_interrupted_action_says_what_continues(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemons carry out what they were asked for; the exit code is that of the signal."""
    model = make(S.STARTED, S.STOPPED)

    def interrupt(seconds: float) -> None:
        raise InterruptedAction("interrupted by SIGTERM", 15)

    monkeypatch.setattr(cluster_actions, "pause", interrupt)
    with pytest.raises(InterruptedAction) as caught:
        model.ask("switch")
    assert str(caught.value) == (
        "interrupted by SIGTERM: what the node daemons were asked for continues,"
        " see `service -s -c`"
    )
    assert caught.value.exit_code == 143 and model.done == ["deb1 stop"]


def test_switch_to_the_owner_needs_no_peer(make: Make) -> None:
    """Nothing is to be moved; the log has it."""
    model = make(S.STARTED, S.STOPPED)
    model.is_peer_heard = False
    assert model.ask("switch", "deb1") == 0 and model.done == []
    assert "webha runs on deb1 already" in log_of(model)


@pytest.mark.parametrize("to_node", ["", "deb1"])
def test_switch_away_from_a_peer_that_left_is_refused_and_nobody_is_asked(
    make: Make, to_node: str
) -> None:
    """Its daemon could hand nothing over."""
    model = make(S.STOPPED, S.STARTED)
    model.has_peer_left = True
    with pytest.raises(RefusedError, match="cannot switch: the peer deb2 is "):
        model.ask("switch", to_node)
    assert model.done == []


@pytest.mark.parametrize("own, peer", [(S.STOPPED, S.FROZEN_START), (S.START_FAILED, S.STARTED)])
def test_nothing_is_taken_that_is_frozen_or_failed_here(make: Make, own: S, peer: S) -> None:
    """The peer is not asked."""
    model = make(own, peer)
    with pytest.raises(RefusedError, match=f"{own.name} here, {peer.name} on deb2"):
        model.ask("switch")
    assert model.done == []


@pytest.mark.parametrize(
    "own, peer, where", [(S.STARTED, S.STOPPED, "deb2"), (S.STOPPED, S.STARTED, "this node")]
)
def test_switch_ends_with_the_start_on_the_other_node(
    make: Make, own: S, peer: S, where: str
) -> None:
    """Which the log has."""
    model = make(own, peer)
    assert model.ask("switch") == 0
    assert model.states == {"deb1": peer, "deb2": own}
    assert f"webha is STARTED on {where}" in log_of(model)


def test_switch_to_this_node_that_fails_here_is_an_error(make: Make) -> None:
    """With the reason of the daemon."""
    model = make(S.STOPPED, S.STARTED)
    model.is_start_failing = True
    with pytest.raises(ActionError, match="webha is START_FAILED on this node: so it is; stop"):
        model.ask("switch")
