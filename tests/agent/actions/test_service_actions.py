"""Which actions are done here, which go to the cluster, which are refused: on resources in memory.

Real scripts, locks and signals are in test_dispatch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from opensvc_openha.agent.actions import service_actions as actions
from opensvc_openha.agent.actions.action_options import ActionOptions
from opensvc_openha.agent.actions.dispatch import all_actions, is_change, perform, shown_actions
from opensvc_openha.agent.actions.service_actions import FROZEN, GROUP_ACTIONS, SAFETY_NET
from opensvc_openha.agent.host.mounts import Mount
from opensvc_openha.agent.resources.base import ResourceSpec
from opensvc_openha.agent.service import caller_location
from opensvc_openha.agent.service.action_lock import action_lock
from opensvc_openha.agent.service.loaded_service import (
    ResourceSelector,
    Service,
    load_service,
    write_frozen_flag,
)
from opensvc_openha.agent.values.action_log import open_log
from opensvc_openha.agent.values.cluster_client import ClusterView
from opensvc_openha.agent.values.resource_status import Group, ResourceStatus
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.core.status import NodeStatus, PeerStanding, ServiceStatus
from opensvc_openha.errors import (
    ActionError,
    InterruptedAction,
    NotRunningError,
    RefusedError,
    UsageError,
)
from opensvc_openha.formats.layout import AgentLayout
from opensvc_openha.system.identity import node_name
from tests.agent.embedded import Agent
from tests.agent.service.parts import ORDER, Part, words

UP, DOWN = ResourceStatus.UP, ResourceStatus.DOWN
NODE, PEER = node_name().lower(), "peer1.opensvc.com"
HEARTBEAT = "[hb#0]\ntype = OpenHA\nname = webha\n"
AT_BOOT = f"[DEFAULT]\nautostart_node = {NODE}\n"

PLAIN = ActionOptions()
FORCED = ActionOptions(is_forced=True)
IN_CLUSTER = ActionOptions(is_cluster=True)
FORCED_IN_CLUSTER = ActionOptions(is_cluster=True, is_forced=True)
BY_RID = ActionOptions(ResourceSelector(rids=("app#1",)))
DRY = ActionOptions(is_dry_run=True)
REMOTE = ActionOptions(is_remote=True)

STARTS = words("start", *ORDER)
STOPS = words("stop", *reversed(ORDER))
STANDBY = "app#2"


def view(own: S, peer: S = S.STOPPED, standing: PeerStanding = PeerStanding.LIVE) -> ClusterView:
    """A daemon in these states; it refuses all commands."""
    service = ServiceStatus("webha", NODE, PEER, own, peer, own, peer)
    node = NodeStatus(NODE, PEER, 1, standing, "", (), (service,))
    return ClusterView(lambda: node)


def no_daemon(is_installed: bool = True) -> ClusterView:
    """Nothing answers on this node."""

    def fetch() -> NodeStatus:
        raise NotRunningError("nmond does not run here")

    return ClusterView(fetch, is_installed)


@dataclass
class Rig:
    """The service web, whose resources are those of the test."""

    agent: Agent
    service: Service
    parts: dict[str, Part]
    done: list[str]

    @property
    def err(self) -> str:
        return self.agent.capture.readouterr().err

    @property
    def out(self) -> list[str]:
        return self.agent.capture.readouterr().out.splitlines()

    def mark(self, rid: str, **flags: object) -> None:
        """Changes properties of one resource."""
        self.parts[rid].spec = self.parts[rid].spec._replace(**flags)  # type: ignore[arg-type]


Make = Callable[..., Rig]


@pytest.fixture
def make(agent: Agent) -> Iterator[Make]:
    """Makes the service of a file, with one resource of each group, or the kinds named, in a
    state.
    """
    with ExitStack() as opened:

        def made(
            text: str = "",
            cluster: ClusterView | None = None,
            state: ResourceStatus = DOWN,
            kinds: dict[str, str] | None = None,
        ) -> Rig:
            agent.write("web", text)
            layout = AgentLayout(*(str(agent.root / name) for name in ("etc", "var", "log", "bin")))
            log = opened.enter_context(open_log(layout.log_dir, "web"))
            loaded = load_service(layout, "web", log, cluster or no_daemon(is_installed=False))
            done: list[str] = []
            kinds = kinds or {f"{group.value}#1": group.value for group in ORDER}
            parts = {
                rid: Part(ResourceSpec(rid, Group(rid.partition("#")[0]), kind, rid), done, state)
                for rid, kind in kinds.items()
            }
            others = [res for res in loaded.resources if res.spec.rid not in parts]
            rig = Rig(agent, loaded, parts, done)
            rig.service = loaded._replace(resources=(*parts.values(), *others))
            return rig

        yield made


def with_standby(rig: Rig, state: ResourceStatus = DOWN) -> Rig:
    """Adds an application that is always on here."""
    spec = ResourceSpec(STANDBY, Group.APP, "app", STANDBY, is_always_on=True)
    rig.parts[STANDBY] = Part(spec, rig.done, state, start_rank=(2, ""), stop_rank=(2, ""))
    rig.service = rig.service._replace(resources=(*rig.service.resources, rig.parts[STANDBY]))
    return rig


# --- who decides --------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", HEARTBEAT])
def test_start_and_stop_of_the_nodes_own_or_asked_for_by_the_cluster_are_done_here(
    make: Make, text: str
) -> None:
    """Without a heartbeat, or with --cluster: all of it, in its order, with exit code 0."""
    rig = make(text)
    options = IN_CLUSTER if text else PLAIN
    assert actions.start(rig.service, options) == 0 and rig.done == STARTS
    rig.done.clear()
    assert actions.stop(rig.service, options) == 0 and rig.done == STOPS


def test_start_and_stop_of_a_clustered_service_go_to_the_cluster(make: Make) -> None:
    """Nothing is done here: the cluster has nothing left to do, which ends with 0."""
    rig = make(HEARTBEAT, view(S.STARTED))
    assert actions.start(rig.service, PLAIN) == 0
    assert "already started" in rig.err
    rig = make(HEARTBEAT, view(S.FROZEN_STOP, S.FROZEN_STOP), UP)
    assert actions.stop(rig.service, PLAIN) == 0
    assert "already frozen stop" in rig.err and rig.done == []


def test_selected_resources_of_a_clustered_service_are_the_operators_affair(make: Make) -> None:
    """--rid: done here, only that, and the cluster is not asked to do it."""
    rig = make(HEARTBEAT, view(S.STARTED))
    assert actions.start(rig.service, BY_RID) == 0
    assert actions.stop(rig.service, BY_RID) == 0
    assert actions.restart(rig.service, BY_RID) == 0
    assert rig.done == ["app#1 start", "app#1 stop", "app#1 stop", "app#1 start"]


@pytest.mark.parametrize("is_installed", [True, False])
def test_without_a_daemon_a_clustered_service_is_not_touched(
    make: Make, is_installed: bool
) -> None:
    """Neither started, stopped nor frozen; why the cluster cannot be asked is reported where there
    is one.
    """
    for name in ("start", "stop", "switch"):
        rig = make(HEARTBEAT, no_daemon(is_installed))
        assert getattr(actions, name)(rig.service, PLAIN) == 1
        err = rig.err
        assert SAFETY_NET in err and not rig.service.is_frozen and rig.done == []
        assert ("cannot be asked either: nmond does not run here" in err) is is_installed


def test_whole_service_of_a_cluster_is_not_restarted_nor_its_groups_changed(make: Make) -> None:
    """The agent's sentence and 1; with --cluster they are done."""
    for act in (actions.restart, GROUP_ACTIONS["startapp"], GROUP_ACTIONS["stopapp"]):
        rig = make(HEARTBEAT, view(S.STOPPED))
        assert act(rig.service, PLAIN) == 1 and rig.done == []
        assert SAFETY_NET in rig.err
        assert act(rig.service, IN_CLUSTER) == 0 and rig.done != []
        assert SAFETY_NET not in rig.err


# --- restart ------------------------------------------------------------------------------------


def test_restart_stops_all_and_then_starts_all(make: Make) -> None:
    """The nodes are not asked again in between: what was stopped here is started here."""
    rig = make("", state=UP)
    assert actions.restart(rig.service, PLAIN) == 0
    assert rig.done == STOPS + STARTS


def test_restart_that_could_not_start_again_stops_nothing(make: Make) -> None:
    """A resource that the agent cannot handle, a peer that runs the service."""
    rig = make("", state=UP)
    rig.parts["disk#1"].unhandled = "drbd is not handled"
    with pytest.raises(ActionError, match="drbd is not handled"):
        actions.restart(rig.service, PLAIN)
    assert rig.done == []
    rig = make(HEARTBEAT, view(S.STOPPED, S.STARTED), UP)
    with pytest.raises(RefusedError, match="webha is STARTED on the peer .*: restart refused"):
        actions.restart(rig.service, IN_CLUSTER)
    assert rig.done == []


def test_restart_that_is_only_rehearsed_lists_as_down_what_it_would_stop(make: Make) -> None:
    """Whatever it is now; nothing is done."""
    rig = make("", state=UP)
    assert actions.restart(rig.service, DRY) == 0
    lines = rig.out
    assert "  stop app#1 (app#1): is up" in lines and "  start app#1 (app#1): is down" in lines
    assert rig.done == []


# --- switch -------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [PLAIN, IN_CLUSTER], ids=["plain", "cluster"])
def test_switch_is_the_clusters_whoever_asks(make: Make, options: ActionOptions) -> None:
    """Refused without one; else it is asked, also with --cluster and for selected resources."""
    with pytest.raises(RefusedError, match="switch is for services that a cluster decides about"):
        actions.switch(make().service, options)
    for choice in (ResourceSelector(), BY_RID.choice):
        rig = make(HEARTBEAT, view(S.STARTED), UP)
        options = options._replace(to_node=NODE, choice=choice)
        assert actions.switch(rig.service, options) == 0
        assert f"webha runs on {NODE} already" in rig.err and rig.done == []


# --- start and end of the machine ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "options", "is_done"),
    [
        ("", PLAIN, True),
        ("", IN_CLUSTER, True),
        (HEARTBEAT, PLAIN, False),
        (HEARTBEAT, IN_CLUSTER, True),
    ],
    ids=["alone", "alone, --cluster", "clustered", "clustered, --cluster"],
)
def test_shutdown_stops_standby_resources_too_but_leaves_the_cluster_its_own(
    make: Make, text: str, options: ActionOptions, is_done: bool
) -> None:
    """Exit code 0 in each case; what is left is reported."""
    rig = with_standby(make(text, view(S.STARTED), UP), UP)
    assert actions.shutdown(rig.service, options) == 0
    assert rig.done == ([f"{STANDBY} stop", *STOPS] if is_done else [])
    assert ("shutdown action is not allowed" in rig.err) is not is_done


@pytest.mark.parametrize(
    ("text", "is_started", "is_warned"),
    [
        ("", False, False),
        (AT_BOOT, True, False),
        (HEARTBEAT, False, False),
        (AT_BOOT + HEARTBEAT, False, True),
    ],
    ids=["elsewhere", "here", "clustered", "clustered, here"],
)
def test_boot_starts_what_no_cluster_decides_about_where_it_is_wanted(
    make: Make, text: str, is_started: bool, is_warned: bool
) -> None:
    """Elsewhere the standby resources only."""
    rig = with_standby(make(text, view(S.STOPPED)))
    assert actions.boot(rig.service, PLAIN) == 0
    assert rig.done == ([*STARTS, f"{STANDBY} start"] if is_started else [f"{STANDBY} start"])
    assert ("should not be in autostart_node" in rig.err) is is_warned


def test_start_at_boot_that_fails_leaves_the_standby_resources_on(make: Make) -> None:
    """They are started for themselves, and the start is an error all the same."""
    rig = with_standby(make(AT_BOOT))
    rig.parts["ip#1"].fails["start"] = ActionError("no such interface")
    with pytest.raises(ActionError, match="no such interface"):
        actions.boot(rig.service, PLAIN)
    assert rig.done == ["ip#1 start", "ip#1 back", f"{STANDBY} start"]
    assert "start failed: starting the standby resources only" in rig.err


def test_standby_resources_are_started_under_a_cluster_as_well(make: Make) -> None:
    """Nothing else is; a service without any needs nothing, frozen or not."""
    rig = with_standby(make(HEARTBEAT, view(S.STOPPED)))
    assert actions.startstandby(rig.service, PLAIN) == 0 and rig.done == [f"{STANDBY} start"]
    rig = make()
    write_frozen_flag(rig.service, True)
    assert actions.startstandby(rig.service, PLAIN) == 0 and rig.done == []


@pytest.mark.parametrize("text", ["", HEARTBEAT])
@pytest.mark.parametrize("is_frozen", [True, False])
@pytest.mark.parametrize("options", [PLAIN, FORCED], ids=["plain", "forced"])
def test_standby_resources_of_a_frozen_service_are_started_by_force_only(
    make: Make, text: str, is_frozen: bool, options: ActionOptions
) -> None:
    """Also where a cluster decides about the service: it did not ask for them."""
    rig = with_standby(make(text, view(S.STOPPED)))
    write_frozen_flag(rig.service, is_frozen)
    is_refused = is_frozen and not options.is_forced
    assert actions.startstandby(rig.service, options) == (1 if is_refused else 0)
    assert rig.done == ([] if is_refused else [f"{STANDBY} start"])
    assert (FROZEN in rig.err) is is_refused


# --- frozen -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "cluster"),
    [("", view(S.STARTED)), ("", no_daemon(False)), (HEARTBEAT, no_daemon(False))],
    ids=["alone", "nothing installed", "clustered, nothing installed"],
)
def test_freeze_and_thaw_without_a_cluster_are_the_agents_own(
    make: Make, text: str, cluster: ClusterView
) -> None:
    """A rehearsal reports it and changes nothing."""
    rig = make(text, cluster)
    assert actions.freeze(rig.service, DRY) == 0
    assert rig.out == ["web: dry run, would be frozen for the agent of this node"]
    assert not rig.service.is_frozen
    assert actions.freeze(rig.service, PLAIN) == 0 and rig.service.is_frozen
    assert actions.thaw(rig.service, DRY) == 0
    assert rig.out == ["web: dry run, would be thawed for the agent of this node"]
    assert rig.service.is_frozen
    assert actions.thaw(rig.service, PLAIN) == 0 and not rig.service.is_frozen


def test_freeze_and_thaw_of_a_clustered_service_go_to_the_cluster(make: Make) -> None:
    """Frozen already, there and for the agent: no error, and neither is a thaw."""
    rig = make(HEARTBEAT, view(S.FROZEN_START, S.FROZEN_STOP))
    for _ in range(2):
        assert actions.freeze(rig.service, PLAIN) == 0 and rig.service.is_frozen
        assert "local already frozen" in rig.err
    rig = make(HEARTBEAT, view(S.STARTED))
    assert rig.service.is_frozen
    assert actions.thaw(rig.service, PLAIN) == 0 and not rig.service.is_frozen
    assert "local already unfrozen" in rig.err


def test_freeze_and_thaw_with_a_daemon_that_does_not_answer_are_half_done_and_an_error(
    make: Make,
) -> None:
    """The agent of this node heeds it; a rehearsal does not do even that."""
    rig = make(HEARTBEAT, no_daemon())
    for name, is_frozen in (("freeze", True), ("thaw", False)):
        for options, done in ((DRY, "would be"), (PLAIN, "is")):
            with pytest.raises(
                RefusedError,
                match=f"{name} {done} done for the agent of this node only, not in the cluster:"
                " nmond does not run here",
            ):
                getattr(actions, name)(rig.service, options)
            assert rig.service.is_frozen is (is_frozen is (options is PLAIN))


@pytest.mark.parametrize("is_frozen", [True, False])
@pytest.mark.parametrize("options", [PLAIN, FORCED, REMOTE], ids=["plain", "forced", "remote"])
def test_frozen_clustered_service_is_left_alone_unless_forced_or_asked_for_by_the_peer(
    make: Make, is_frozen: bool, options: ActionOptions
) -> None:
    """The peer's agent has checked that of the whole service."""
    rig = make(HEARTBEAT, view(S.STARTED))
    write_frozen_flag(rig.service, is_frozen)
    is_refused = is_frozen and options is PLAIN
    assert actions.start(rig.service, options) == (1 if is_refused else 0)
    err = rig.err
    assert (FROZEN in err, "already started" in err) == (is_refused, not is_refused)


@pytest.mark.parametrize("is_frozen", [True, False])
@pytest.mark.parametrize(
    "options",
    [PLAIN, FORCED, IN_CLUSTER, FORCED_IN_CLUSTER],
    ids=["plain", "forced", "cluster", "forced, cluster"],
)
@pytest.mark.parametrize("text", ["", HEARTBEAT])
def test_local_actions_on_a_frozen_service_are_forced_or_the_clusters(
    make: Make, text: str, options: ActionOptions, is_frozen: bool
) -> None:
    """The cluster's own call is done with a warning; without one --cluster means nothing."""
    rig = make(text, view(S.STOPPED))
    write_frozen_flag(rig.service, is_frozen)
    options = options._replace(choice=BY_RID.choice)
    is_clusters = bool(text) and options.is_cluster
    is_refused = is_frozen and not options.is_forced and not is_clusters
    assert actions.start(rig.service, options) == (1 if is_refused else 0)
    err = rig.err
    assert rig.done == ([] if is_refused else ["app#1 start"])
    assert (FROZEN in err) is is_refused
    assert ("it is the cluster that asks: start is done" in err) is (is_frozen and is_clusters)


# --- refused for other reasons ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "is_refused"),
    [
        ("", False),
        (f"[DEFAULT]\nnodes = {NODE} {PEER}\n", False),
        (f"[DEFAULT]\nnodes = {PEER} third\n", True),
    ],
    ids=["none named", "this one", "others"],
)
def test_nothing_is_started_on_a_node_that_is_not_named(
    make: Make, text: str, is_refused: bool
) -> None:
    """What runs there all the same can be stopped."""
    rig = make(text)
    if is_refused:
        with pytest.raises(
            RefusedError, match=f"is none of the nodes of web, {PEER}, third: start refused"
        ):
            actions.start(rig.service, PLAIN)
        with pytest.raises(RefusedError, match="restart refused"):
            actions.restart(rig.service, PLAIN)
        assert rig.done == []
    else:
        assert actions.start(rig.service, PLAIN) == 0 and rig.done == STARTS
    rig.done.clear()
    assert actions.stop(rig.service, PLAIN) == 0 and rig.done == STOPS


def test_actions_exclude_each_other_but_a_rehearsal_waits_for_none(make: Make) -> None:
    """Refused as long as the other one has the lock."""
    rig = make()
    with action_lock(rig.service.var_dir, "other"):
        with pytest.raises(RefusedError, match="waited 0 s for the action lock"):
            actions.start(rig.service, PLAIN._replace(wait_lock_s=0.0))
        assert actions.start(rig.service, DRY) == 0
    assert rig.done == []


@pytest.mark.parametrize("name", ["start", "stop"])
def test_rehearsal_lists_and_does_nothing(make: Make, name: str) -> None:
    """Of what is done here, and of what goes to the cluster."""
    rig = make("", state=UP if name == "stop" else DOWN)
    assert getattr(actions, name)(rig.service, DRY) == 0
    lines = rig.out
    assert lines[0] == f"web: dry run of {name} on {NODE}, nothing is done"
    assert len(lines) == 1 + len(ORDER) and rig.done == []
    rig = make(HEARTBEAT, view(S.STOPPED if name == "start" else S.STARTED))
    assert getattr(actions, name)(rig.service, DRY) == 0
    assert rig.out[1].startswith("  through the cluster: ")


@pytest.mark.parametrize("text", ["", HEARTBEAT])
@pytest.mark.parametrize("options", [IN_CLUSTER, FORCED_IN_CLUSTER], ids=["plain", "forced"])
def test_start_beside_a_peer_that_runs_the_service_needs_force(
    make: Make, text: str, options: ActionOptions
) -> None:
    """A service that is in no cluster has no peer."""
    rig = make(text, view(S.STOPPED, S.STARTED))
    if text and not options.is_forced:
        with pytest.raises(RefusedError, match="webha is STARTED on the peer .*: start refused"):
            actions.start(rig.service, options)
        assert rig.done == []
    else:
        assert actions.start(rig.service, options) == 0 and rig.done == STARTS


@pytest.mark.parametrize("text", ["", "[DEFAULT]\nrollback = false\n"])
@pytest.mark.parametrize("has_rollback", [True, False])
def test_start_that_fails_is_rolled_back_unless_the_file_or_the_operator_forbids_it(
    make: Make, text: str, has_rollback: bool
) -> None:
    """Either is enough."""
    rig = make(text)
    rig.parts["disk#1"].fails["start"] = ActionError("no disk")
    with pytest.raises(ActionError, match="no disk"):
        actions.start(rig.service, PLAIN._replace(has_rollback=has_rollback))
    taken_back = ["disk#1 back", "ip#1 back"] if has_rollback and not text else []
    assert rig.done == ["ip#1 start", "disk#1 start", *taken_back]


# --- the caller's own shell ---------------------------------------------------------------------


@pytest.fixture
def make_within(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """This process stands in the file system of fs#1, as the mount table shows it."""
    mounts = (Mount("0:99", "/", str(tmp_path), "tmpfs", "none"),)
    monkeypatch.setattr(caller_location, "read_mounts", lambda: mounts)
    monkeypatch.chdir(tmp_path)
    mounted = f"[fs#1]\ntype = tmpfs\ndev = none\nmnt = {tmp_path}\n"
    return lambda text="", *more: make(text + mounted, *more)


@pytest.mark.parametrize("options", [PLAIN, DRY, FORCED], ids=["plain", "dry", "forced"])
def test_stop_from_within_its_file_system_is_refused(
    make_within: Make, options: ActionOptions
) -> None:
    """So is its rehearsal; a stop of something else, or of one that is left alone, is not."""
    rig = make_within()
    with pytest.raises(RefusedError, match="which the stop unmounts"):
        actions.stop(rig.service, options)
    assert rig.done == []
    assert actions.start(rig.service, options) == 0
    assert actions.stop(rig.service, options._replace(choice=BY_RID.choice)) == 0
    rig.mark("fs#1", is_disabled=True)
    assert actions.stop(rig.service, options) == 0


@pytest.mark.parametrize("name", ["stop", "switch"])
def test_stop_through_the_cluster_from_within_is_refused_where_it_is_asked_for(
    make_within: Make, name: str
) -> None:
    """The peer's part of it is not, nor is a start."""
    rig = make_within(HEARTBEAT, view(S.FROZEN_STOP, S.FROZEN_STOP))
    with pytest.raises(RefusedError, match="which the stop unmounts"):
        getattr(actions, name)(rig.service, PLAIN)
    assert actions.stop(rig.service, REMOTE) == 0
    rig = make_within(HEARTBEAT, view(S.STARTED))
    assert actions.start(rig.service, PLAIN) == 0


# --- groups -------------------------------------------------------------------------------------

KINDS = {
    "ip#1": "ip",
    "disk#1": "disk.scsireserv",
    "disk#2": "disk.loop",
    "disk#3": "disk.zpool",
    "disk#4": "disk.vg",
    "fs#1": "fs.ext4",
    "share#1": "share.nfs",
    "container#1": "container.docker",
    "app#1": "app",
}
GROUPS = {
    "ip": ["ip#1"],
    "disk": ["disk#1", "disk#2", "disk#3", "disk#4"],
    "fs": ["fs#1"],
    "share": ["share#1"],
    "container": ["container#1"],
    "app": ["app#1"],
    "vg": ["disk#4"],
    "loop": ["disk#2"],
    "pool": ["disk#3"],
}


@pytest.mark.parametrize("name", GROUPS)
def test_group_action_touches_its_resources_only(make: Make, name: str) -> None:
    """In their order, and nothing else; pr does the same for reservations."""
    rig = make(kinds=KINDS)
    expected = GROUPS[name]
    assert GROUP_ACTIONS[f"start{name}"](rig.service, PLAIN) == 0
    assert rig.done == [f"{rid} start" for rid in expected]
    rig.done.clear()
    assert GROUP_ACTIONS[f"stop{name}"](rig.service, PLAIN) == 0
    assert rig.done == [f"{rid} stop" for rid in reversed(expected)]


def test_group_action_of_reservations_and_its_limits(make: Make) -> None:
    """prstart and prstop; none of that kind, and a choice within a group."""
    rig = make(kinds=KINDS)
    assert GROUP_ACTIONS["prstart"](rig.service, PLAIN) == 0
    assert GROUP_ACTIONS["prstop"](rig.service, PLAIN) == 0
    assert rig.done == ["disk#1 start", "disk#1 stop"]
    rig.done.clear()
    one = ActionOptions(ResourceSelector(rids=("disk#3", "app")))
    assert GROUP_ACTIONS["startdisk"](rig.service, one) == 0 and rig.done == ["disk#3 start"]
    rig = make()
    assert GROUP_ACTIONS["prstart"](rig.service, PLAIN) == 0 and rig.done == []
    assert "nothing to do: the service has no such resource" in rig.err


# --- what is handed on --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "targets"),
    [("syncnodes", [PEER]), ("syncdrp", ["far1"]), ("syncall", [PEER, "far1"])],
)
def test_synchronisation_goes_to_the_nodes_of_its_name(
    make: Make, tmp_path: Path, name: str, targets: list[str]
) -> None:
    """Listed by a rehearsal; with nothing to send it is no error."""
    text = f"[DEFAULT]\nnodes = {NODE} {PEER}\ndrpnodes = far1\n"
    text += f"[sync#1]\nsrc = {tmp_path}\ndst = /srv\ntarget = nodes drpnodes\n"
    rig = make(text)
    options = ActionOptions(ResourceSelector(rids=("sync#1",)), is_forced=True, is_dry_run=True)
    assert getattr(actions, name)(rig.service, options) == 0
    assert [line.split()[-1] for line in rig.out if " send sync#1" in line] == targets
    rig = make(text + "disable = true\n")
    options = options._replace(is_dry_run=False)
    assert getattr(actions, name)(rig.service, options) == 0
    assert "nothing to synchronise" in rig.err


def test_received_service_file_needs_no_further_step(make: Make) -> None:
    """postsync is called on each node that a file was sent to."""
    rig = make()
    assert actions.postsync(rig.service, PLAIN) == 0 and rig.done == []


@pytest.mark.parametrize("standing", [PeerStanding.LIVE, PeerStanding.SILENT])
def test_fencing_is_the_clusters_call(
    make: Make, monkeypatch: pytest.MonkeyPatch, standing: PeerStanding
) -> None:
    """An operator's is not looked into; the cluster's ends with 0 only where the peer is out, and
    so does that of a service without cluster.
    """
    for name in ("OPENHA_PEER_STATE", "OPENHA_PEER_STANDING"):
        monkeypatch.delenv(name, raising=False)
    rig = make(HEARTBEAT, view(S.STOPPED, S.STOPPED, standing))
    assert actions.stonith(rig.service, PLAIN) == 1
    err = rig.err
    assert SAFETY_NET in err and "fencing" not in err
    is_out = standing is PeerStanding.LIVE
    assert actions.stonith(rig.service, IN_CLUSTER) == (0 if is_out else 1)
    assert ("no fencing needed" if is_out else "no [stonith#N] section") in rig.err
    rig = make("", rig.service.cluster)
    for options in (PLAIN, IN_CLUSTER):
        assert actions.stonith(rig.service, options) == 1
        err = rig.err
        assert SAFETY_NET not in err and "no start" in err


def test_monitor_records_in_the_history_of_the_clusters_name(make: Make) -> None:
    """What is down and cannot be restarted is an alarm there."""
    noted: list[tuple[str, str]] = []
    daemon = view(S.STARTED)
    cluster = ClusterView(
        daemon.node_status,
        note=lambda name, word, reason, is_alarm: noted.append((name, f"{word} {reason}")),
    )
    rig = make(HEARTBEAT, cluster)
    rig.mark("app#1", is_monitored=True)
    assert actions.resource_monitor(rig.service, PLAIN) == 0
    assert noted == [("webha", "FAILED app#1 is down; monitor_action is not set")]


def test_command_of_the_container_engine_gets_images_and_names_of_the_service(
    make: Make, tmp_path: Path
) -> None:
    """Each image once; its exit code is ours."""
    program = tmp_path / "docker"
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/words\nexit 7\n')
    program.chmod(0o755)
    text = f"[DEFAULT]\ndocker_daemon_private = false\ndocker_exe = {program}\n"
    for number in (1, 2, 3):
        image = "proxy" if number == 3 else "site"
        text += f"[container#{number}]\ntype = docker\nrun_image = {image}\n"
    rig = make(text, kinds={"app#1": "app"})
    options = ActionOptions(docker_words=("pull", "%images%", "of", "%instances%"))
    assert actions.docker(rig.service, options) == 7
    names = " ".join(f"web.container.{number}" for number in (1, 2, 3))
    assert (tmp_path / "words").read_text() == f"pull site proxy of {names}\n"


# --- by its word --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("sync_all", "nothing to synchronise"),
        ("sync_nodes", "nothing to synchronise"),
        ("sync_drp", "nothing to synchronise"),
        ("postsync", ""),
        ("startloop", "no such resource"),
        ("resource_monitor", "nothing to monitor"),
    ],
)
def test_action_is_found_by_each_of_its_words(make: Make, word: str, shown: str) -> None:
    """Spellings of other agents, words of the nodes among themselves, groups of resources."""
    rig = make()
    assert perform(rig.service, word, PLAIN) == 0
    assert shown in rig.err and is_change(word)


def test_exit_code_of_an_action_is_that_of_the_command(make: Make) -> None:
    """An error ends with its own, and is in the log of the service."""
    rig = make(f"[DEFAULT]\nnodes = {PEER}\n")
    assert perform(rig.service, "status", PLAIN) == 1 and rig.out == ["down"]
    assert perform(rig.service, "start", PLAIN) == RefusedError.exit_code
    assert "ERROR   WEB" in (err := rig.err) and "is none of the nodes of web" in err


def test_resources_learn_who_asks_and_whether_it_is_forced(make: Make) -> None:
    """Again for each action."""
    rig = make()
    for options in (FORCED, IN_CLUSTER, PLAIN):
        assert perform(rig.service, "start", options) == 0
        seen = rig.service.view
        assert (seen.is_forced, seen.is_cluster) == (options.is_forced, options.is_cluster)


@pytest.mark.parametrize("word", ["docker", "resource_monitor", "stonith"], ids=[1, 2, 3])
def test_what_cannot_be_rehearsed_is_not_done(make: Make, word: str) -> None:
    """A usage error: it is raised, and no line in the log of the service."""
    rig = make()
    with pytest.raises(UsageError, match="^--dry-run is not for .*: nothing was done"):
        perform(rig.service, word, DRY)
    assert perform(rig.service, "start", DRY) == 0 and rig.err == ""


def test_word_that_is_no_action_is_named_and_one_that_is_missing_reported_as_such(
    make: Make,
) -> None:
    """As is a resource that is not there."""
    rig = make()
    with pytest.raises(UsageError, match="^starts is no action of the embedded agent, .*start"):
        perform(rig.service, "starts", PLAIN)
    with pytest.raises(UsageError, match="web has no resource app#7"):
        perform(rig.service, "start", ActionOptions(ResourceSelector(rids=("app#7",))))
    with pytest.raises(ActionError, match="^push is not handled by the embedded agent yet"):
        perform(rig.service, "push", PLAIN)
    assert rig.err == "" and rig.done == []


@pytest.mark.parametrize("word", ["start", "resource_monitor"])
def test_interruption_is_raised_and_in_the_log_unless_the_monitor_gives_way(
    make: Make, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    """Any other action interrupts the monitor."""
    rig = make(HEARTBEAT, view(S.STARTED))
    rig.mark("app#1", is_monitored=True)

    def interrupt() -> None:
        raise InterruptedAction("interrupted by SIGTERM", 15)

    monkeypatch.setattr(rig.parts["app#1"], "status", interrupt)
    with pytest.raises(InterruptedAction):
        perform(rig.service, word, BY_RID._replace(is_cluster=True))
    assert ("interrupted by SIGTERM" in rig.err) is (word == "start")


def test_actions_that_only_read_are_open_to_each_user() -> None:
    """All others change something; what is no action does not."""
    reading = {"docker", "frozen", "json_status", "print_config", "print_status", "prstatus"}
    reading |= {"status", "stonith_status"}
    named = {word.replace(" ", "_") for word in shown_actions()}
    words = {*named, *GROUP_ACTIONS, "postsync", "sync_all", "sync_drp", "sync_nodes"}
    assert {word for word in words if not is_change(word)} == reading
    assert not is_change("nonsense")
    shown = all_actions()
    assert shown == sorted(shown) and len(shown) == len(named) + len(GROUP_ACTIONS) + 1
    assert {"print status", "startapp", "validate config"} <= set(shown)
