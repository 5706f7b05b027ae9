"""Which networks two nodes share, and the files that are proposed for them."""

from __future__ import annotations

import pytest

from opensvc_openha.formats.nodes_file import parse_nodes
from opensvc_openha.links.monitor_file import parse_monitor
from opensvc_openha.setup.fence_words import FenceWords
from opensvc_openha.setup.networks import Address, SharedNetwork, compare, independent
from opensvc_openha.setup.proposal import (
    disk_links,
    monitor_text,
    network_links,
    nodes_text,
    weaknesses,
)

NODES = ("deb1.opensvc.com", "deb2.opensvc.com")
NO_WAY = ("", "")


def address(interface: str, text: str, prefix: int = 24, trunk: str = "") -> Address:
    return Address(interface, text, prefix, trunk or interface)


def shared(interface: str, number: int, trunk: str = "") -> SharedNetwork:
    found = compare(
        [address(interface, f"10.0.{number}.1", trunk=trunk)],
        [address(interface, f"10.0.{number}.2", trunk=trunk)],
        NO_WAY,
    )
    (network,) = found.shared
    return network


def test_networks_of_both_are_matched_by_their_numbers() -> None:
    own = [address("eth0", "10.0.0.1"), address("eth1", "10.0.1.1"), address("eth2", "10.0.2.1")]
    peer = [address("eth2", "10.0.2.2"), address("eth0", "10.0.0.2"), address("eth1", "10.9.1.2")]
    found = compare(own, peer, NO_WAY)
    assert [(each.interface, each.own, each.peer) for each in found.shared] == [
        ("eth0", "10.0.0.1", "10.0.0.2"),
        ("eth2", "10.0.2.1", "10.0.2.2"),
    ]
    assert found.remarks == ()


def test_another_length_of_the_prefix_is_another_network() -> None:
    found = compare([address("eth0", "10.0.0.1", 24)], [address("eth0", "10.0.0.2", 16)], NO_WAY)
    assert found.shared == ()


def test_the_same_address_on_both_is_no_network_but_a_mistake() -> None:
    """As 192.168.122.1 of every host with virtual machines."""
    found = compare([address("eth0", "10.0.0.1")], [address("eth0", "10.0.0.1")], NO_WAY)
    assert found.shared == () and "both nodes have the address 10.0.0.1" in found.remarks[0]


def test_an_interface_of_another_name_is_named_with_the_command_that_helps() -> None:
    found = compare([address("eth1", "10.0.0.1")], [address("ens4", "10.0.0.2")], NO_WAY)
    assert found.shared == ()
    assert "ip link property add dev ens4 altname eth1" in found.remarks[0]


def test_without_a_common_network_the_way_through_a_router_is_a_link() -> None:
    own, peer = [address("eth0", "10.0.0.1")], [address("eth0", "10.7.0.2")]
    found = compare(own, peer, ("10.0.0.1", "10.7.0.2"))
    assert [(each.own, each.peer) for each in found.shared] == [("10.0.0.1", "10.7.0.2")]
    # Behind an address translation the peer's address is none of its own.
    assert compare(own, peer, ("10.0.0.1", "10.0.0.254")).shared == ()


def test_vlans_of_one_cable_count_as_one() -> None:
    nets = [
        shared("eth0.1", 1, "eth0"),
        shared("eth0.2", 2, "eth0"),
        shared("eth1", 3),
        shared("eth1", 4),
        shared("eth2", 5),
    ]
    assert [each.interface for each in independent(nets, 4)] == ["eth0.1", "eth1", "eth2"]
    assert [each.interface for each in independent(nets, 2)] == ["eth0.1", "eth1"]


@pytest.mark.parametrize("is_multicast", [False, True])
def test_the_proposal_is_a_monitor_file_in_which_each_hears_the_other(is_multicast: bool) -> None:
    links = network_links(*NODES, [shared("eth0", 0), shared("eth1", 1)], is_multicast=is_multicast)
    links += disk_links(*NODES, "/dev/mapper/hb")
    read = parse_monitor(monitor_text(links), "monitor", parse_nodes(nodes_text(*NODES), "nodes"))
    assert list(read) == links
    assert [link.kind for link in read] == ["net" if is_multicast else "unicast"] * 4 + ["dio"] * 2
    for link in read[:4]:
        # The listener's own address: a beat to the sender itself would be heard by nobody.
        if not is_multicast:
            assert link.address.endswith(".2" if link.node == NODES[0] else ".1")


def test_clusters_in_one_network_have_different_groups() -> None:
    one = network_links("a", "b", [shared("eth0", 0)], is_multicast=True)
    other = network_links("c", "d", [shared("eth0", 0)], is_multicast=True)
    assert not {link.address for link in one} & {link.address for link in other}


def test_slots_are_whole_blocks_of_a_device_of_4_kib_blocks() -> None:
    for link in disk_links(*NODES, "/dev/mapper/hb"):
        assert link.offset * 512 % 4096 == 0


def test_one_link_and_no_fence_are_weaknesses() -> None:
    one = network_links(*NODES, [shared("eth0", 0)])
    found = weaknesses(one, FenceWords())
    assert any("one link only" in text for text in found)
    assert any("nothing fences" in text for text in found)
    both = one + disk_links(*NODES, "/dev/mapper/hb")
    assert not any("one link only" in text for text in weaknesses(both, FenceWords()))
