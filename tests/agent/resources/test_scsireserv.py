"""Reservations of disks as resources: which ones there are, what they show, do and refuse."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from opensvc_openha.agent.host import reservation_key
from opensvc_openha.agent.resources import scsireserv
from opensvc_openha.agent.service import reservation_facts
from opensvc_openha.agent.service.loaded_service import load_service
from opensvc_openha.agent.values.action_log import ActionLog
from opensvc_openha.agent.values.cluster_client import ClusterView
from opensvc_openha.agent.values.readiness import Surroundings
from opensvc_openha.core.status import NodeStatus
from opensvc_openha.errors import ActionError, ConfigError, NotRunningError, SystemFault
from opensvc_openha.fence_devices import multipath_keys
from opensvc_openha.fence_devices.block_devices import DiskAddress
from opensvc_openha.fence_devices.shared_disk import SharedDisk
from opensvc_openha.formats.layout import AgentLayout, agent_layout
from opensvc_openha.system.identity import node_name
from tests.agent.embedded import Agent, Outcome
from tests.fence_devices.simulated_disk import SimulatedNode, SimulatedUnit

OURS, PEERS = 0xDEB1, 0xDEB2
VG = "[vg#1]\nvgname = data\nscsireserv = true\n"
DEFAULT = f"[DEFAULT]\nnodes = {node_name()}\nprkey = 0xdeb1\n"
HB = "[hb#0]\ntype = OpenHA\n"


class Disks:
    """The disks below each section, seen by this node and by its peer."""

    def __init__(self, paths: int = 1) -> None:
        self.units = {"/dev/sda": SimulatedUnit(serial="a"), "/dev/sdb": SimulatedUnit(serial="b")}
        self.below: dict[str, tuple[str, ...]] = {"vg#1": ("/dev/sda", "/dev/sdb")}
        self.node = SimulatedNode("deb1", self.units, paths)
        self.peer = SimulatedNode("deb2", self.units)

    def address(self, name: str) -> DiskAddress:
        """As this node names it."""
        return self.node.address(name)

    def theirs(self, name: str) -> SharedDisk:
        """As the peer sees it."""
        return SharedDisk(self.peer.address(name), self.peer.open, lambda seconds: None)

    def keys(self) -> dict[str, set[int]]:
        """Who is registered where."""
        return {name: set(unit.keys.values()) for name, unit in self.units.items()}


@pytest.fixture
def disks(monkeypatch: pytest.MonkeyPatch) -> Disks:
    """In place of those of this machine."""
    made = Disks()
    monkeypatch.setattr(
        scsireserv,
        "disks_below",
        lambda owner, groups: tuple(map(made.address, made.below.get(owner.name, ()))),
    )
    monkeypatch.setattr(
        scsireserv,
        "SharedDisk",
        lambda address: SharedDisk(address, made.node.open, lambda seconds: None),
    )
    return made


def act(agent: Agent, *words: str) -> Outcome:
    """One action on the service."""
    return agent.svcmgr("-s", "a", *words)


def tree(agent: Agent) -> dict[str, tuple[str, str, str]]:
    """Status, label and remarks of the reservations, by resource."""
    report = json.loads(act(agent, "json", "status").out)
    (service,) = [report] if "resources" in report else report.values()
    return {
        rid: (found["status"], found["label"], found["log"])
        for rid, found in service["resources"].items()
        if rid.endswith("pr")
    }


# What there is -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[vg#1]\nvgname = v\nscsireserv = true\n", ["vg#1pr"]),
        ("[vg#1]\nvgname = v\nscsi_reserve = yes\n", ["vg#1pr"]),
        ("[vg#1]\nvgname = v\nscsireserv = false\nscsi_reserve = true\n", []),
        ("[disk#2]\ntype = lvm\nvgname = v\nscsireserv = true\n", ["disk#2pr"]),
        ("[loop#1]\nfile = /x\nscsireserv = true\n", []),
        ("[fs#1]\ntype = ext4\ndev = /dev/x\nmnt = /m\nscsireserv = true\n", ["fs#1pr"]),
        ("[fs#1]\ntype = directory\npath = /m\nscsireserv = true\n", []),
        ("[ip#1]\nipdev = lo\nipname = 127.0.0.9\nscsireserv = true\n", []),
        ("[vg#1]\nvgname = v\n", []),
    ],
)
def test_reservation_belongs_to_what_asks_for_it(
    agent: Agent, disks: Disks, text: str, expected: list[str]
) -> None:
    """In the section itself; of the kinds that agents know."""
    agent.write("a", DEFAULT + text)
    assert sorted(tree(agent)) == expected


def test_default_asks_for_all_and_a_section_may_decline(agent: Agent, disks: Disks) -> None:
    """The section's own word counts, in either spelling."""
    sections = "[vg#1]\nvgname = v\n[vg#2]\nvgname = w\nscsireserv = false\n"
    agent.write("a", f"{DEFAULT}scsireserv = true\n{sections}")
    assert sorted(tree(agent)) == ["vg#1pr"]
    agent.write("a", f"{DEFAULT}scsireserv = false\n[vg#1]\nvgname = v\nscsi_reserve = true\n")
    assert sorted(tree(agent)) == ["vg#1pr"]


def test_reservation_is_shown_behind_its_owner(agent: Agent, disks: Disks) -> None:
    """In the group of the disks, with the label of the agents: its paths, sorted."""
    disks.node.paths = 2
    more = "[vg#2]\nvgname = w\n[fs#1]\ntype = ext4\ndev = /dev/x\nmnt = /m\nscsireserv = true\n"
    agent.write("a", DEFAULT + VG + more)
    shown = re.findall(r"(?:vg|fs)#\w+", act(agent, "print", "status").out)
    assert shown == ["fs#1pr", "vg#1", "vg#1pr", "vg#2", "fs#1"]
    assert tree(agent)["vg#1pr"][1] == "/dev/sda-0, /dev/sda-1, /dev/sdb-0, /dev/sdb-1"
    assert tree(agent)["fs#1pr"][:2] == ("undef", "preserv 0 scsi disk")


def test_long_label_is_cut_as_agents_do() -> None:
    """248 characters, with a word before and dots behind."""
    many = tuple(DiskAddress(f"/dev/sd{n:03}", (f"/dev/sd{n:03}",)) for n in range(40))
    label = scsireserv.label_of(many)
    assert label.startswith("preserv /dev/sd000, /dev/sd001") and label.endswith(" ...")
    assert len(label) == len("preserv ") + 248 + len(" ...")
    exact = (DiskAddress("x", ("x" * 248,)),)
    assert scsireserv.label_of(exact) == "x" * 248


def test_flags_come_from_the_owner_and_from_a_section_of_its_own(
    agent: Agent, disks: Disks
) -> None:
    """optional, disable, monitor, tags of [vg#1]; [vg#1pr] overrides, and is no resource."""
    own = "[vg#1pr]\noptional = false\ntags = more\nprkey = 0xabc\n"
    flags = "optional = true\nmonitor = true\ntags = one\nrestart = 3\npre_start = false\n"
    agent.write("a", DEFAULT + VG + flags + own)
    report = json.loads(act(agent, "json", "status").out)
    (service,) = [report] if "resources" in report else report.values()
    found = service["resources"]
    assert list(found) == ["vg#1", "vg#1pr"]
    assert found["vg#1pr"]["monitor"] and not found["vg#1pr"]["optional"]
    assert act(agent, "prstart", "--tags", "one+more").exit_code == 0
    assert disks.keys() == {"/dev/sda": {0xABC}, "/dev/sdb": {0xABC}}
    agent.write("a", DEFAULT + VG + "disable = true\n")
    assert tree(agent)["vg#1pr"][0] == "n/a"


# Status ------------------------------------------------------------------------------------------


def test_status_follows_the_disks(agent: Agent, disks: Disks) -> None:
    """Down, up with both, a warning with one of both; another node's is down without a word."""
    agent.write("a", DEFAULT + VG)
    assert tree(agent)["vg#1pr"] == ("down", "/dev/sda-0, /dev/sdb-0", "")
    assert act(agent, "prstatus") == Outcome(1, "down\n", "")
    assert act(agent, "prstart").exit_code == 0
    assert tree(agent)["vg#1pr"][0] == "up"
    assert act(agent, "prstatus") == Outcome(0, "up\n", "")
    disks.theirs("/dev/sdb").take(PEERS)
    status, _, log = tree(agent)["vg#1pr"]
    assert status == "warn" and log == ""
    disks.theirs("/dev/sda").take(PEERS)
    assert tree(agent)["vg#1pr"][::2] == ("down", "")


def test_disk_that_cannot_be_asked_is_a_warning(agent: Agent, disks: Disks) -> None:
    """With what is wrong."""
    agent.write("a", DEFAULT + VG)
    act(agent, "prstart")
    disks.node.ports["/dev/sda-0"].is_dead = True
    status, _, log = tree(agent)["vg#1pr"]
    assert status == "warn" and "hung: no answer" in log


def test_missing_path_is_a_warning_until_the_next_start(agent: Agent, disks: Disks) -> None:
    """One path was not there at the start; a start registers over it."""
    disks.node.paths = 2
    agent.write("a", DEFAULT + VG)
    disks.node.open("/dev/sda-1").is_dead = True
    started = act(agent, "prstart")
    assert "/dev/sda: 1/2 paths registered (not /dev/sda-1)" in started.err
    status, _, log = tree(agent)["vg#1pr"]
    assert status == "warn" and "/dev/sda: 1/2 paths registered" in log
    disks.node.ports["/dev/sda-1"].is_dead = False
    act(agent, "prstart")
    assert tree(agent)["vg#1pr"][0] == "up"


def test_path_that_reconnected_is_not_up_and_the_next_start_registers(
    agent: Agent, disks: Disks
) -> None:
    """After a reboot the entry of the old connection is there, but writes are refused."""
    agent.write("a", DEFAULT + VG)
    act(agent, "prstart")
    disks.units["/dev/sda"].reconnect(("deb1", "/dev/sda-0"))
    status, _, log = tree(agent)["vg#1pr"]
    assert status == "warn" and "/dev/sda: 0/1 paths registered" in log
    assert "reservation acquired for disk /dev/sda" in act(agent, "prstart").err
    assert tree(agent)["vg#1pr"][::2] == ("up", "")
    assert disks.units["/dev/sda"].keys == {("deb1", "/dev/sda-0"): OURS}


# Start and stop ----------------------------------------------------------------------------------


def test_start_reserves_and_stop_removes_all_keys(agent: Agent, disks: Disks) -> None:
    """With the messages of the agents; a second start or stop has nothing to do."""
    agent.write("a", DEFAULT + VG)
    started = act(agent, "prstart")
    assert "reservation acquired for disk /dev/sda" in started.err and started.exit_code == 0
    assert disks.keys() == {"/dev/sda": {OURS}, "/dev/sdb": {OURS}}
    assert all(unit.type == 5 for unit in disks.units.values())
    assert "already started" in act(agent, "prstart").err
    disks.units["/dev/sda"].keys[("deb3", "x")] = 0x99
    assert act(agent, "prstop").exit_code == 0
    assert disks.keys() == {"/dev/sda": set(), "/dev/sdb": set()}
    assert act(agent, "prstop").exit_code == 0


def test_disk_of_another_node_is_refused_before_anything_is_changed(
    agent: Agent, disks: Disks
) -> None:
    """A registration alone would already let this node write."""
    agent.write("a", DEFAULT + VG)
    disks.theirs("/dev/sdb").take(PEERS)
    refused = act(agent, "prstart")
    assert refused.exit_code == ActionError.exit_code
    assert "/dev/sdb is already reserved. use --force to override this safety net" in refused.err
    assert disks.keys() == {"/dev/sda": set(), "/dev/sdb": {PEERS}}
    forced = act(agent, "prstart", "--force")
    assert forced.exit_code == 0 and "preempted 0xdeb2" in forced.err
    assert disks.keys() == {"/dev/sda": {OURS}, "/dev/sdb": {OURS}}


def test_cluster_may_eject_where_no_daemon_decides(agent: Agent, disks: Disks) -> None:
    """A service without a heartbeat: --cluster is what agents take it for."""
    agent.write("a", DEFAULT + VG)
    disks.theirs("/dev/sda").take(PEERS)
    assert act(agent, "prstart", "--cluster").exit_code == 0
    assert disks.keys()["/dev/sda"] == {OURS}


def test_cluster_ejects_only_in_a_start_by_the_daemon(agent: Agent, disks: Disks) -> None:
    """It is the daemon that has the proof; an operator who writes --cluster has none."""
    agent.write("a", DEFAULT.replace(node_name(), f"{node_name()} peer1") + VG + HB)
    disks.theirs("/dev/sda").take(PEERS)
    refused = act(agent, "prstart", "--cluster")
    assert refused.exit_code == ActionError.exit_code
    assert "(--cluster ejects another node only in a start by the node daemon)" in refused.err
    assert disks.keys()["/dev/sda"] == {PEERS}


def test_start_by_the_daemon_ejects(
    agent: Agent, disks: Disks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon runs it with its proof in hand."""
    monkeypatch.setattr(
        "opensvc_openha.agent.values.cluster_client.ClusterView.is_daemons_call", lambda self: True
    )
    agent.write("a", DEFAULT.replace(node_name(), f"{node_name()} peer1") + VG + HB)
    disks.theirs("/dev/sda").take(PEERS)
    assert act(agent, "prstart", "--cluster").exit_code == 0
    assert disks.keys()["/dev/sda"] == {OURS}


def test_registered_peer_on_a_free_disk_is_another_node_too(agent: Agent, disks: Disks) -> None:
    """It could write beside this node."""
    agent.write("a", DEFAULT + VG)
    disks.theirs("/dev/sda").register(PEERS)
    assert "is already reserved" in act(agent, "prstart").err


def test_own_disk_with_another_registered_node_is_already_started(
    agent: Agent, disks: Disks
) -> None:
    """Without the right to eject it; with it, it is ejected."""
    agent.write("a", DEFAULT + VG)
    act(agent, "prstart")
    disks.theirs("/dev/sda").register(PEERS)
    assert "already started" in act(agent, "prstart").err
    assert "0xdeb1, 0xdeb2 registered" in tree(agent)["vg#1pr"][2]
    act(agent, "prstart", "--force")
    assert disks.keys()["/dev/sda"] == {OURS}


def test_writes_without_abort_are_waited_for(agent: Agent, disks: Disks) -> None:
    """Where the target has no abort, and where the file forbids it; and it is said."""
    disks.units["/dev/sda"].knows_abort = False
    agent.write("a", DEFAULT + VG + "drain = 0.1\n")
    disks.theirs("/dev/sda").take(PEERS)
    assert "no abort: 0.1 s were waited for writes to land" in act(agent, "prstart", "--force").err
    disks.theirs("/dev/sdb").take(PEERS)
    agent.write("a", DEFAULT + VG + "drain = 0.1\nno_preempt_abort = true\n")
    assert "no abort: 0.1 s were waited" in act(agent, "prstart", "--force").err
    log = [name for nexus, name in disks.units["/dev/sdb"].log if nexus[0] == "deb1"]
    assert "PREEMPT" in log and "PREEMPT_AND_ABORT" not in log


def test_disk_without_reservations_makes_the_start_fail(agent: Agent, disks: Disks) -> None:
    """It would protect nothing; an optional one is only reported."""
    agent.write("a", DEFAULT + VG)
    disks.node.open("/dev/sdb-0").is_dead = True
    failed = act(agent, "prstart")
    assert failed.exit_code == ActionError.exit_code and "hung: no answer" in failed.err
    agent.write("a", DEFAULT + VG + "[vg#1pr]\noptional = true\n")
    assert act(agent, "prstart").exit_code == 0


def test_failed_start_releases_what_it_has_reserved(agent: Agent, disks: Disks) -> None:
    """And leaves alone what was refused before it began."""
    agent.write("a", DEFAULT + VG + "blocking_post_start = false\n[vg#1pr]\n")
    agent.write("a", DEFAULT + VG + "[vg#1pr]\nblocking_post_start = false\n")
    assert act(agent, "prstart").exit_code != 0
    assert disks.keys() == {"/dev/sda": set(), "/dev/sdb": set()}
    disks.theirs("/dev/sda").take(PEERS)
    assert act(agent, "prstart").exit_code != 0
    assert disks.keys() == {"/dev/sda": {PEERS}, "/dev/sdb": set()}


def test_stop_leaves_the_disk_of_another_node_alone(agent: Agent, disks: Disks) -> None:
    """This node was ejected: a clear would take the peer's reservation."""
    agent.write("a", DEFAULT + VG)
    act(agent, "prstart")
    disks.theirs("/dev/sda").take(PEERS)
    assert act(agent, "prstop").exit_code == 0
    assert disks.keys() == {"/dev/sda": {PEERS}, "/dev/sdb": set()}


def test_stop_that_fails_on_one_disk_tries_the_others(agent: Agent, disks: Disks) -> None:
    """And fails in the end."""
    agent.write("a", DEFAULT + VG)
    act(agent, "prstart")
    disks.node.ports["/dev/sda-0"].is_dead = True
    failed = act(agent, "prstop")
    assert failed.exit_code == ActionError.exit_code
    assert "failed to clear reservation on disk /dev/sda" in failed.err
    assert disks.keys()["/dev/sdb"] == set()


def test_nothing_below_is_a_warning_and_no_failure(agent: Agent, disks: Disks) -> None:
    """As with agents."""
    disks.below = {}
    agent.write("a", DEFAULT + VG)
    started = act(agent, "prstart")
    assert started.exit_code == 0 and "vg#1 is on no SCSI disk: nothing is reserved" in started.err
    assert act(agent, "prstatus") == Outcome(3, "n/a\n", "")


# Keys --------------------------------------------------------------------------------------------


def test_key_comes_from_the_section_then_default_then_node_conf(agent: Agent, disks: Disks) -> None:
    """Compared as a number: other spellings of one key are one key."""
    (agent.etc / "node.conf").write_text("[node]\nprkey = 0xC0\n")
    agent.write("a", DEFAULT.replace("prkey = 0xdeb1\n", "") + VG)
    act(agent, "prstart")
    assert disks.keys()["/dev/sda"] == {0xC0}
    agent.write("a", DEFAULT.replace("0xdeb1", "0x00C0") + VG)
    assert tree(agent)["vg#1pr"][0] == "up"
    agent.write("a", DEFAULT.replace("0xdeb1", "0x00C0") + VG + "prkey = 0xdd\n")
    assert tree(agent)["vg#1pr"][0] == "down"


def test_key_of_the_mac_address_is_written_down_at_the_first_start(
    agent: Agent, disks: Disks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its decimal digits, as agents make it; a status writes nothing."""
    monkeypatch.setattr("uuid.getnode", lambda: 90520045138885)
    agent.write("a", DEFAULT.replace("prkey = 0xdeb1\n", "") + VG)
    assert tree(agent)["vg#1pr"][0] == "down" and not (agent.etc / "node.conf").exists()
    act(agent, "prstart")
    assert (agent.etc / "node.conf").read_text() == "[node]\nprkey = 0x90520045138885\n"
    assert disks.keys()["/dev/sda"] == {0x90520045138885}
    monkeypatch.setattr("uuid.getnode", lambda: 1)
    assert tree(agent)["vg#1pr"][0] == "up"


def test_bad_key_is_a_warning_in_the_words_of_agents(agent: Agent, disks: Disks) -> None:
    """And fails a start."""
    (agent.etc / "node.conf").write_text("[node]\nprkey = deb1\n")
    agent.write("a", DEFAULT.replace("prkey = 0xdeb1\n", "") + VG)
    status, _, log = tree(agent)["vg#1pr"]
    words = "prkey in node.conf must have 16 significant hex digits max (ex: 0x90520a45138e85)"
    assert status == "warn" and words in log
    failed = act(agent, "prstart")
    assert failed.exit_code != 0 and words in failed.err


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "[node]\nprkey = 0x1\n"),
        ("[sym]\na = b", "[sym]\na = b\n[node]\nprkey = 0x1\n"),
        ("[node]\nenv = PRD\n[x]\n", "[node]\nprkey = 0x1\nenv = PRD\n[x]\n"),
        ("# mine\n[ node ]\n\nenv = PRD\n", "# mine\n[ node ]\nprkey = 0x1\nenv = PRD\n"),
    ],
)
def test_key_is_added_to_node_conf(tmp_path: Path, before: str, after: str) -> None:
    """The rest of the file stays as it is."""
    path = tmp_path / "node.conf"
    if before:
        path.write_text(before)
    reservation_key.write_node_key(str(tmp_path), "0x1")
    assert path.read_text() == after
    assert reservation_key.read_node_key(str(tmp_path)) == 1


def test_key_of_another_section_is_none_of_the_node(tmp_path: Path) -> None:
    """Only [node] counts; an empty one is none."""
    path = tmp_path / "node.conf"
    assert reservation_key.read_node_key(str(tmp_path)) is None
    path.write_text("[other]\nprkey = 0x5\n[node]\nenv = PRD\nprkey =\n[more]\nprkey = 0x6\n")
    assert reservation_key.read_node_key(str(tmp_path)) is None
    path.write_text("[node]\nprkey = 0x0\n")
    with pytest.raises(ConfigError, match="prkey in node.conf must have 16"):
        reservation_key.read_node_key(str(tmp_path))
    path.unlink()
    path.mkdir()
    with pytest.raises(SystemFault, match="Is a directory"):
        reservation_key.read_node_key(str(tmp_path))


def test_machine_without_a_mac_address_has_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number drawn by lot would be another one at each start."""
    monkeypatch.setattr("uuid.getnode", lambda: 1 << 40 | 5)
    with pytest.raises(SystemFault, match="no MAC address to make a prkey of"):
        reservation_key.key_of_machine()


# What is checked, what the daemon gets -----------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (VG + "prkey = deb1\n", "[vg#1] prkey is 'deb1', expected a reservation key (0x and"),
        (VG + "prkey = 0x00DEB1\n", "[vg#1] prkey is 0x00DEB1, which OpenSVC agents never"),
        ("[loop#1]\nfile = /x\nscsireserv = true\n", "[loop#1] scsireserv has no effect: this"),
        (VG + "[vg#1pr]\nvgname = x\n", "[vg#1pr] vgname is no keyword of [vg#1pr]"),
        (VG + "[vg#1pr]\nprkey = x\n", "[vg#1pr] prkey is 'x'"),
        ("fence_needs = data\n[vg#1]\nvgname = v\n", "but no reservation covers [vg#1]: expected"),
        ("fence_needs = data\n[ip#1]\nipdev = lo\nipname = 127.0.0.9\n", "the service has no disk"),
        ("fence_needs = peer\n" + VG, "fence_needs is 'peer', expected node or data"),
    ],
)
def test_mistakes_are_named(agent: Agent, disks: Disks, text: str, said: str) -> None:
    """Before a start finds them."""
    agent.write("a", DEFAULT + text)
    assert said in act(agent, "validate", "config").out


def test_address_of_a_service_that_needs_data_alone_is_warned_about(agent: Agent) -> None:
    """It may be up twice."""
    agent.write("a", f"{DEFAULT}fence_needs = data\n{VG}[ip#1]\nipdev = lo\nipname = 127.0.0.9\n")
    assert "[ip#1] may be up on both nodes for some seconds" in act(agent, "validate", "config").out


COVERED = f"{VG}[fs#1]\ntype = ext4\ndev = /dev/mapper/data-root\nmnt = /m\n"


@pytest.mark.parametrize(
    ("text", "is_reserved"),
    [
        (COVERED, True),
        (COVERED.replace("/dev/mapper/data-root", "/dev/data/root"), True),
        (COVERED.replace("/dev/mapper/data-root", "/dev/mapper/data--root"), False),
        (COVERED.replace("/dev/mapper/data-root", "/dev/other/root"), False),
        (COVERED.replace("vgname = data", "vgname = a-b").replace("data-", "a--b-"), True),
        (COVERED + "[fs#2]\ntype = nfs\ndev = server:/x\nmnt = /n\n", False),
        (COVERED + "[fs#2]\ntype = tmpfs\ndev = none\nmnt = /n\n", True),
        (COVERED + "[vg#2]\nvgname = other\n", False),
        (COVERED + "[disk#3]\ntype = md\n", False),
        (COVERED + "[loop#3]\nfile = /m/x\n", True),
        ("[vg#1]\nvgname = data\n", False),
    ],
)
def test_facts_for_the_daemon(
    agent: Agent,
    disks: Disks,
    capsys: pytest.CaptureFixture[str],
    text: str,
    is_reserved: bool,
) -> None:
    """All shared disks reserved, or not: then a proof about disks alone would not be enough."""
    agent.write("a", DEFAULT + "fence_needs = data\ndrain = 7\n" + text + HB)
    facts = reservation_facts.facts_of(AgentLayout(str(agent.etc)), ["a"])["a"]
    assert facts["has_reserved_data"] is is_reserved and facts["fence_needs"] == "data"
    if is_reserved:
        assert facts["drain_s"] == 7 and facts["problems"] == []
        assert facts["disks"] == [
            {"name": name, "paths": [f"{name}-0"], "key": "0xdeb1", "may_abort": True}
            for name in ("/dev/sda", "/dev/sdb")
        ]


def test_default_covers_what_is_on_a_reserved_group(agent: Agent, disks: Disks) -> None:
    """Its volumes are not even there on a passive node; what is no shared data has no disks."""
    sections = (
        "[vg#1]\nvgname = data\n"
        "[fs#1]\ntype = ext4\ndev = /dev/mapper/data-root\nmnt = /m\n"
        "[fs#2]\ntype = tmpfs\ndev = none\nmnt = /n\n"
        "[fs#3]\ntype = bind\ndev = /m/a\nmnt = /o\n"
    )
    agent.write("a", f"{DEFAULT}scsireserv = true\n{sections}{HB}")
    facts = reservation_facts.facts_of(AgentLayout(str(agent.etc)), ["a"])["a"]
    assert facts["has_reserved_data"] is True and facts["problems"] == []
    more = "[fs#4]\ntype = nfs\ndev = server:/x\nmnt = /p\n"
    agent.write("a", f"{DEFAULT}scsireserv = true\n{sections}{more}{HB}")
    facts = reservation_facts.facts_of(AgentLayout(str(agent.etc)), ["a"])["a"]
    assert facts["has_reserved_data"] is False
    assert facts["problems"] == ["fs#4pr: no SCSI disk was found below it"]


def test_refused_start_leaves_what_was_reserved_before(agent: Agent, disks: Disks) -> None:
    """One disk is ours, the other one the peer's: refused, and the first one stays ours."""
    agent.write("a", DEFAULT + VG)
    act(agent, "prstart")
    disks.theirs("/dev/sdb").take(PEERS)
    assert act(agent, "prstart").exit_code == ActionError.exit_code
    assert disks.keys() == {"/dev/sda": {OURS}, "/dev/sdb": {PEERS}}


def test_map_whose_keys_multipathd_keeps_is_refused_before_it_is_needed(
    agent: Agent, disks: Disks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The start fails with the reason before any registration; status and daemon show it."""
    conf = agent.etc / "multipath.conf"
    monkeypatch.setattr(
        scsireserv, "problem_of", lambda found: multipath_keys.problem_of(found, str(conf))
    )
    disks.node.paths = 2
    agent.write("a", DEFAULT + "fence_needs = data\n" + VG + HB)
    conf.write_text("defaults {\n reservation_key file\n}\n")
    outcome = act(agent, "prstart", "--cluster")
    assert outcome.exit_code == ActionError.exit_code
    assert "/dev/sda: " in outcome.err and "reservation_key file: multipathd would" in outcome.err
    assert disks.keys() == {"/dev/sda": set(), "/dev/sdb": set()}
    status, _, log = tree(agent)["vg#1pr"]
    assert status == "warn" and f"{conf}:2: reservation_key file" in log
    facts = reservation_facts.facts_of(AgentLayout(str(agent.etc)), ["a"])["a"]
    assert facts["has_reserved_data"] is False and "vg#1pr: /dev/sda: " in str(facts["problems"])
    conf.write_text("defaults {\n reservation_key 0xdeb1\n}\n")
    assert act(agent, "prstart", "--cluster").exit_code == 0
    assert tree(agent)["vg#1pr"][0] == "up"
    facts = reservation_facts.facts_of(AgentLayout(str(agent.etc)), ["a"])["a"]
    assert facts["problems"] == [] and facts["has_reserved_data"] is True


def test_wait_that_no_fence_makes_is_a_problem_beforehand(agent: Agent, disks: Disks) -> None:
    """Not in the middle of a takeover: the request would be refused there."""
    text = "fence_needs = data\n{}[vg#1]\nvgname = data\nscsireserv = true\n" + HB
    for drain, problems in (
        ("drain = 600\n", []),
        ("drain = 601\n", ["vg#1pr: drain = 601: a fence waits at most 600 s"]),
    ):
        agent.write("a", DEFAULT + text.format(drain))
        facts = reservation_facts.facts_of(AgentLayout(str(agent.etc)), ["a"])["a"]
        assert facts["problems"] == problems and facts["has_reserved_data"] is not bool(problems)


def test_facts_of_a_service_with_problems(agent: Agent, disks: Disks) -> None:
    """What the daemon reports: no disk found, no key, a file that cannot be read."""
    disks.below = {}
    agent.write("a", DEFAULT + VG + HB)
    agent.write("b", "[DEFAULT]\nnodes = x\n[vg#1\n")
    agent.write("c", DEFAULT + VG)
    facts = reservation_facts.facts_of(AgentLayout(str(agent.etc)), ["a", "b", "c"])
    assert facts["a"]["problems"] == ["vg#1pr: no SCSI disk was found below it"]
    assert facts["a"]["has_reserved_data"] is False
    assert isinstance(facts["b"]["problems"], list) and facts["b"]["problems"]
    assert "c" not in facts


# Before a start ----------------------------------------------------------------------------------


def remarks(agent: Agent) -> list[str]:
    """What the reservation of the first volume group says about a start now."""
    layout = agent_layout(env=os.environ)
    service = load_service(layout, "a", ActionLog.silent(), ClusterView(_no_daemon))
    (own,) = (each for each in service.resources if each.spec.kind == scsireserv.KIND)
    found = own.readiness(Surroundings(runs_on_peer=True))
    return [f"{each.severity.value} {each.check}: {each.text}" for each in found]


def _no_daemon() -> NodeStatus:
    raise NotRunningError("no daemon")


def test_standby_reads_disks_that_the_peer_has_reserved(
    agent: Agent, disks: Disks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is against a start, and nothing is written; a disk that cannot be read is against it,
    and no disk at all would leave the data unprotected.
    """
    agent.write("a", DEFAULT + VG)
    for name in disks.units:
        disks.theirs(name).take(PEERS)
    assert remarks(agent) == []
    assert disks.keys() == {"/dev/sda": {PEERS}, "/dev/sdb": {PEERS}}

    def refuse(address: DiskAddress) -> SharedDisk:
        raise SystemFault("no answer")

    monkeypatch.setattr(scsireserv, "SharedDisk", refuse)
    assert remarks(agent) == [
        "error reservations: /dev/sda: no answer",
        "error reservations: /dev/sdb: no answer",
    ]
    disks.below = {}
    none = "warning reservations: vg#1 is on no SCSI disk of this node: nothing would be reserved"
    assert remarks(agent) == [none]
