"""What `openha setup` refuses before it waits for anybody, and what it would do."""

from __future__ import annotations

from pathlib import Path

import pytest

from opensvc_openha.errors import OpenhaError, RefusedError, SystemFault, UsageError
from opensvc_openha.formats.layout import Layout, tree_layout
from opensvc_openha.setup.fence_words import read_fence_words
from opensvc_openha.setup.files import FileChanges
from opensvc_openha.setup.first_node import FirstNode, Wishes, clock_remarks
from opensvc_openha.setup.messages import Tried, to_message
from opensvc_openha.setup.networks import Address
from opensvc_openha.setup.node import Hooks, facts, read_secret_files, write_all
from opensvc_openha.setup.proposal import options_text
from opensvc_openha.setup.talk import Talk
from opensvc_openha.system.identity import node_name
from tests.peer_link.ends import pair

ADDRESSES = (Address("eth0", "10.0.0.1", 24, "eth0"), Address("eth1", "10.0.1.1", 24, "eth1"))
PEER = "peer-of-this-node"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    (tmp_path / "conf").mkdir()
    return tree_layout(str(tmp_path))


def make(layout: Layout, wishes: Wishes, addresses: tuple[Address, ...] = ADDRESSES) -> FirstNode:
    hooks = Hooks(lambda: layout, lambda _: [], lambda _: None, lambda _: False, lambda _: None)
    return FirstNode(layout, wishes, hooks, "the embedded agent", addresses)


def configure(layout: Layout, peer: str = PEER, options: str = "") -> None:
    own = node_name()
    Path(layout.nodes_file).write_text(f"# Ours.\n{own}\n{peer}\n")
    Path(layout.monitor_file).write_text(
        f"{own} unicast eth0 10.0.0.2 5010 10\n{peer} unicast eth0 10.0.0.1 5010 10\n"
    )
    if options:
        Path(layout.options_file).write_text(options)


def fence(*words: str, witness: str = "") -> Wishes:
    return Wishes(PEER, fence=read_fence_words(words, witness))


@pytest.mark.parametrize(
    ("wishes", "kind", "what"),
    [
        (Wishes(node_name()), UsageError, "is this node"),
        (Wishes(node_name().partition(".")[0]), UsageError, "is this node"),
        (Wishes(PEER, interfaces=("eth9",)), UsageError, "there are: eth0, eth1"),
        (fence("ipmi:1,2,admin,/nowhere/secret"), SystemFault, "/nowhere/secret cannot be read"),
        (fence("lease", witness="etcd:2379"), UsageError, "--witness: urls: expected"),
        (fence("lease"), UsageError, "needs --disk"),
        (fence("agent:fence_virsh,plug@deb9=x"), UsageError, "deb9: the nodes are"),
    ],
)
def test_wishes_that_cannot_come_true(
    layout: Layout, wishes: Wishes, kind: type[OpenhaError], what: str
) -> None:
    with pytest.raises(kind, match=what):
        make(layout, wishes)
    assert list(Path(layout.conf_dir).iterdir()) == []


def test_a_node_without_a_network_is_refused(layout: Layout) -> None:
    with pytest.raises(RefusedError, match="no interface"):
        make(layout, Wishes(PEER), ())


def test_a_disk_that_holds_something_is_refused_and_stays_as_it_is(
    layout: Layout, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    content = b"XFSB" + bytes(4 << 20)
    disk.write_bytes(content)
    node = make(layout, Wishes(PEER, disk=str(disk)))
    with pytest.raises(RefusedError, match="an XFS file system.*nothing was changed"):
        node.check_disk()
    assert disk.read_bytes() == content


def test_a_blank_disk_is_accepted_and_not_yet_written(layout: Layout, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(4 << 20))
    make(layout, Wishes(PEER, disk=str(disk))).check_disk()
    assert not disk.read_bytes().strip(b"\0")


def test_what_will_be_done_is_said_before(layout: Layout) -> None:
    wishes = Wishes(PEER, disk="/dev/sdz", fence=read_fence_words(["lease"], ""))
    text = "\n".join(make(layout, wishes).preview())
    for what in ("eth0: 10.0.0.1", "eth1: 10.0.1.1", "/dev/sdz", "fencing: lease", "openha.conf"):
        assert what in text


def test_a_configured_node_keeps_what_it_has(layout: Layout) -> None:
    configure(layout)
    node = make(layout, Wishes(PEER, interfaces=("eth0",)))
    assert node.is_configured and "nothing of that is changed" in "\n".join(node.preview())


@pytest.mark.parametrize(
    ("wishes", "what"),
    [
        (Wishes(PEER, interfaces=("eth0", "eth1")), "--link eth1"),
        (Wishes(PEER, disk="/dev/sdz"), "--disk /dev/sdz"),
        (Wishes(PEER, is_multicast=True), "--multicast"),
        (fence("lease"), "another fence plan"),
        (Wishes("somebody-else"), "has the nodes"),
    ],
)
def test_a_wish_that_a_kept_configuration_does_not_fulfil_is_named(
    layout: Layout, wishes: Wishes, what: str
) -> None:
    configure(layout)
    with pytest.raises(RefusedError, match=what):
        make(layout, wishes)


def test_the_same_wishes_again_are_fulfilled_already(layout: Layout) -> None:
    wishes = fence("command:/opt/cut", "reservation")
    configure(layout, options=options_text(wishes.fence, node_name(), PEER))
    assert make(layout, wishes).is_configured


def test_an_option_file_that_is_there_is_kept_and_a_plan_beside_it_refused(layout: Layout) -> None:
    Path(layout.options_file).write_text("[heartbeat]\ncluster = production\n")
    assert not make(layout, Wishes(PEER)).is_configured
    with pytest.raises(RefusedError, match="is there already, and that is kept"):
        make(layout, fence("command:/opt/cut"))


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_private_option_file_is_proposed_and_written_as_private(
    layout: Layout, mode: int, tmp_path: Path
) -> None:
    """The passwords in it are not opened to all on the node that joins."""
    configure(layout, options="[scripts]\nparallel = 3\n")
    Path(layout.options_file).chmod(mode)
    with pair() as (near, far):
        near.send(to_message(Tried((), ())))
        proposal = make(layout, Wishes(PEER))._proposal(
            Talk(far), facts(layout, "", "the embedded agent"), PEER
        )

    blank = tree_layout(str(tmp_path / "blank"))
    for folder in (blank.conf_dir, blank.services_dir, blank.proc_dir):
        Path(folder).mkdir(parents=True)
    write_all(blank, proposal, "", {}, FileChanges())
    assert Path(blank.options_file).read_text() == "[scripts]\nparallel = 3\n"
    assert Path(blank.options_file).stat().st_mode & 0o777 == mode
    assert Path(blank.nodes_file).stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("data", "what"), [(b"x" * 16_385, "is longer than"), (b"\xff\n", "is no text")]
)
def test_a_secret_file_that_cannot_be_brought_whole_is_refused(
    tmp_path: Path, data: bytes, what: str
) -> None:
    """A part of it would be another secret."""
    secret = tmp_path / "secret"
    secret.write_bytes(data)
    secret.chmod(0o600)
    with pytest.raises(SystemFault, match=what):
        read_secret_files((str(secret),))


@pytest.mark.parametrize(
    ("ahead_s", "said"),
    [(0.0, ""), (4.9, ""), (-4.9, ""), (90.4, "90 s ahead"), (-7, "7 s behind")],
)
def test_wall_clocks_that_differ_are_a_remark(ahead_s: float, said: str) -> None:
    remarks = clock_remarks("deb2", ahead_s)
    assert len(remarks) == (1 if said else 0)
    assert all(f"the clock of deb2 is {said}" in each for each in remarks)
