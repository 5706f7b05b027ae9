"""What an evacuation hands over, and what stands against switching the node off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from opensvc_openha.cli import evacuate, ezha, installation
from opensvc_openha.cli.evacuate import build_parser, main, plan_of, ssh_words, why_not_safe
from opensvc_openha.cli.peer_node import evacuation_words
from opensvc_openha.control import client
from opensvc_openha.core.evacuation import NOT_EVACUATED, Evacuation
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.core.status import LeaseStatus, NodeStatus, PeerStanding, ServiceStatus
from opensvc_openha.errors import NotRunningError, OpenhaError, RefusedError, UsageError
from opensvc_openha.formats.layout import Layout, tree_layout
from opensvc_openha.peer_link.protocol import EvacuateRequest
from opensvc_openha.storage.evacuation_store import read_evacuation, write_evacuation


def service(own: S | None, peer: S | None = S.STOPPED, name: str = "web") -> ServiceStatus:
    """Return a service whose primary is this node."""
    return ServiceStatus(name, "deb1", "deb2", own or S.UNKNOWN, peer or S.UNKNOWN, own, peer)


def node(*services: ServiceStatus, standing: PeerStanding = PeerStanding.LIVE) -> NodeStatus:
    """Return the status of this node."""
    return NodeStatus("deb1", "deb2", 1, standing, "why", (), services)


@pytest.mark.parametrize(
    ("svc", "moves", "why"),
    [
        (service(S.STARTED), True, ""),
        (service(S.STOPPED, S.STARTED), False, ""),
        (service(S.FROZEN_STOP, S.STOPPED), False, ""),
        (service(None), False, ""),
        (service(S.STARTED, S.FROZEN_STOP), False, "it is FROZEN_STOP on deb2"),
        (service(S.STARTED, None), False, "it is not known on deb2"),
        (
            replace(service(S.STARTED), is_peer_unready=True),
            False,
            "deb2 reports that it could not start it",
        ),
        (service(S.FROZEN_START), False, "frozen as started here: service -A web unfreeze"),
        (service(S.START_FAILED), False, "it is START_FAILED here: service -A web freeze-stop"),
        (service(S.STOP_FAILED), False, "it is STOP_FAILED here"),
        (service(S.UNKNOWN), False, "it is UNKNOWN here"),
        (replace(service(S.STOPPED), has_parts_up=True), False, "parts of it are up here"),
    ],
)
def test_what_the_peer_can_take_is_handed_over_and_the_rest_is_named(
    svc: ServiceStatus, moves: bool, why: str
) -> None:
    """With what to do about it."""
    plan = plan_of(node(svc))
    assert (plan.moves == ["web"]) is moves and not plan.waits
    assert why in plan.stays.get("web", "") and bool(plan.stays) is bool(why)


@pytest.mark.parametrize("state", [S.START_READY, S.STARTING, S.STOPPING])
def test_what_is_being_moved_is_waited_for(state: S) -> None:
    """It may end in any state."""
    plan = plan_of(node(service(state), replace(service(S.STOPPED, name="db"), script="status")))
    assert plan.waits == ["web", "db"] and not plan.moves and not plan.stays


def test_nothing_is_handed_to_a_peer_that_is_not_heard() -> None:
    """No node would take it."""
    plan = plan_of(node(service(S.STARTED), standing=PeerStanding.SILENT))
    assert plan.stays == {"web": "deb2 is silent"}


LEASE = LeaseStatus("armed", death_s=11.0)


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (node(service(S.STOPPED, S.STARTED)), ""),
        (node(service(S.STOPPED, S.FROZEN_START)), ""),
        (node(service(S.FROZEN_STOP, S.FROZEN_STOP)), ""),
        (node(service(None, None)), ""),
        (node(standing=PeerStanding.SILENT), "deb2 is silent: why"),
        (node(service(S.STARTED)), "web is STARTED here"),
        (node(service(S.STOPPED, S.START_FAILED)), "web is START_FAILED on deb2"),
        (node(replace(service(S.STOPPED, S.STARTED), script="stop")), "web is STOPPED here"),
        (replace(node(), lease=LEASE), "may still believe in a promise"),
        (replace(node(), lease=replace(LEASE, death_s=None, is_withdrawing=True)), "may still"),
        (replace(node(), lease=replace(LEASE, death_s=None)), ""),
    ],
)
def test_it_is_safe_once_nothing_is_left_here_and_the_peer_runs_all(
    status: NodeStatus, why: str
) -> None:
    """And once the peer counts on nothing that this node has promised."""
    found = why_not_safe(status)
    assert bool(found) is bool(why) and why in "".join(found)


@pytest.mark.parametrize(
    "args",
    [["--wait", "0"], ["--wait", "86401"], ["--undo", "--force"], ["--undo", "--stop"], ["a", "b"]],
)
def test_words_that_mean_nothing_are_refused(args: list[str]) -> None:
    """Before anything is asked."""
    with pytest.raises((UsageError, SystemExit)):
        main(args)


def test_words_for_the_other_node_mean_the_same_there() -> None:
    """Without the name, which is its own."""
    for is_forced, is_off_limits, is_undo in (
        (False, False, True),
        (True, True, False),
        (False, False, False),
    ):
        request = EvacuateRequest("1", 5, is_forced, is_off_limits, is_undo)
        command, *words = evacuation_words(request)
        given = build_parser().read(words)
        assert (command, given.node) == ("evacuate", "")
        assert (given.force, given.off_limits) == (is_forced, is_off_limits)
        assert given.undo is is_undo and (is_undo or given.wait == 5)


@pytest.mark.parametrize("is_undo", [False, True])
def test_the_other_node_gets_the_reason_by_ssh_as_well(is_undo: bool) -> None:
    """ssh does not carry the variable."""
    request = EvacuateRequest("1", 5, False, False, is_undo, order_reason="CHG-12: memory")
    words = ssh_words(request)
    assert words == ["openha", *evacuation_words(request), "--reason", "CHG-12: memory"]
    assert ssh_words(replace(request, order_reason="")) == words[:-2]


class Desk:
    """A daemon whose status a test writes, beside a clock that moves by pauses alone."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.status = self.evacuated = node()
        self.now = 0.0
        self.on_pause: Callable[[], None] = lambda: None

    def fetch_status(self, layout: Layout) -> NodeStatus:
        """Return what the test wants."""
        return self.status

    def evacuate(self, layout: Layout, is_on: bool, is_off_limits: bool = False) -> None:
        """Have it on disk, as the daemon has."""
        found = read_evacuation(layout)
        write_evacuation(layout, found.ordered(Evacuation(is_on, is_off_limits, "by root")))
        self.status = self.evacuated

    def monotonic(self) -> float:
        """Return the time."""
        return self.now

    def pause(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.on_pause()


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """See Desk."""
    found = Desk(tree_layout(str(tmp_path)))
    monkeypatch.setattr(installation, "layout", lambda: found.layout)
    monkeypatch.setattr(
        "opensvc_openha.cli.shell_guard.refuse_stop_from_within", lambda layout: None
    )
    monkeypatch.setattr(client, "fetch_status", found.fetch_status)
    monkeypatch.setattr(client, "evacuate", found.evacuate)
    monkeypatch.setattr(evacuate, "clock", found)
    return found


STAYS = "deb1 stays evacuated"


def test_what_is_begun_in_the_moment_of_the_evacuation_is_named_with_what_stays(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is not over in time: the node is evacuated nevertheless."""
    desk.evacuated = node(service(S.STARTING))
    assert main(["--wait", "5"]) == 2
    shown = capsys.readouterr().err
    assert "not evacuated" not in shown and "web is STARTING here" in shown and STAYS in shown


@pytest.mark.parametrize("error", [KeyboardInterrupt(), NotRunningError("nmond is not running")])
def test_command_that_ends_early_reports_what_stays(
    desk: Desk, error: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    """By Ctrl-C, and by an error, while it waits for what was begun before."""

    def end() -> None:
        raise error

    desk.evacuated, desk.on_pause = node(service(S.STARTING)), end
    with pytest.raises(type(error)):
        main([])
    assert STAYS in capsys.readouterr().err and read_evacuation(desk.layout).is_on


def test_order_that_changed_nothing_does_not_claim_to_have_ended_an_evacuation(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """Refused before it: without an evacuation, and with one of before."""
    desk.status = node(service(S.STARTED), standing=PeerStanding.SILENT)
    with pytest.raises(RefusedError, match="^not evacuated: deb2"):
        main([])
    desk.evacuate(desk.layout, is_on=True, is_off_limits=True)
    desk.status = node(service(S.STARTED), standing=PeerStanding.SILENT)
    with pytest.raises(RefusedError, match="^nothing was changed: deb2"):
        main([])
    desk.status = node(service(S.STARTING))
    with pytest.raises(RefusedError, match="^nothing was changed: web is still being started"):
        main(["--wait", "5"])
    shown = capsys.readouterr().err
    assert shown.count(STAYS) == 2 and read_evacuation(desk.layout).is_off_limits
    desk.status = node(service(S.STARTED, S.FROZEN_STOP))
    assert main([]) == 1
    shown = capsys.readouterr().err
    assert "not evacuated" not in shown and "nothing was changed: deb2 cannot" in shown
    assert STAYS in shown


def test_second_look_keeps_off_limits(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """And does not claim that the node would take over from a dead peer."""
    assert main(["--off-limits"]) == 0
    assert main([]) == 0
    assert read_evacuation(desk.layout).is_off_limits
    assert "unless deb2 dies" not in capsys.readouterr().out
    assert main(["--undo"]) == 0 and read_evacuation(desk.layout) == NOT_EVACUATED
    assert main([]) == 0
    assert "unless deb2 dies" in capsys.readouterr().out


def test_daemon_that_ended_by_itself_has_not_said_goodbye(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its peer may fence the node."""
    stopped: list[list[str]] = []
    monkeypatch.setattr(ezha, "main", stopped.append)
    monkeypatch.setattr(client, "running_pid", lambda layout: 0)
    assert main(["--stop"]) == 1
    shown = capsys.readouterr()
    assert "is safe" not in shown.out and "without a goodbye" in shown.err and STAYS in shown.err
    monkeypatch.setattr(client, "running_pid", lambda layout: 4711)
    assert main(["--stop"]) == 0 and stopped == [["stop"]]
    assert "said goodbye" in capsys.readouterr().out


def test_output_of_the_other_node_is_shown_while_it_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By ssh: the next line comes once the one before was seen."""
    seen = tmp_path / "seen"
    script = f"echo handing over; until [ -e {seen} ]; do sleep 0.02; done; echo safe; exit 2"
    monkeypatch.setattr(
        "opensvc_openha.agent.host.ssh.remote_shell", lambda peer, words: ["sh", "-c", script]
    )

    def note(text: str) -> None:
        shown.append(text)
        seen.touch()

    shown: list[str] = []
    monkeypatch.setattr(evacuate, "_show", note)
    assert evacuate._by_ssh("deb2", ["openha", "evacuate"]) == 2
    assert shown == ["handing over\n", "safe\n"]
    unreachable = ["sh", "-c", "echo Connection refused >&2; exit 255"]
    monkeypatch.setattr(
        "opensvc_openha.agent.host.ssh.remote_shell", lambda peer, words: unreachable
    )
    with pytest.raises(OpenhaError, match="no sshd listens there"):
        evacuate._by_ssh("deb2", ["openha", "evacuate"])
