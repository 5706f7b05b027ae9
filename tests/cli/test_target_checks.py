"""What `openha check` reports of targets that prove nothing."""

from __future__ import annotations

import pytest

from opensvc_openha.cli.target_checks import Interfaces, interfaces_here, problems_of
from opensvc_openha.core.model import ClusterSpec, ConnectivityPolicy, LinkSpec

LINKS = (
    LinkSpec("deb1", "unicast", "eth1", "10.1.0.2", 5010, 0, 10.0),
    LinkSpec("deb2", "unicast", "eth1", "10.1.0.1", 5010, 0, 10.0, peer_address="10.9.0.2"),
    LinkSpec("deb1", "dio", "/dev/sda", "", 0, 0, 10.0),
)
HERE = {"192.0.2.10": "eth0", "10.1.0.1": "eth1", "127.0.0.1": "lo", "2001:db8::a": "eth0"}


class Routes(Interfaces):
    """What is below 10. is behind eth1, all others behind the default route."""

    default = "eth0"

    def leading_to(self, address: str) -> str:
        """Return the interface by which packets leave."""
        return "eth1" if address.startswith("10.") else self.default


def _found(*targets: str, interface: str = "", here: dict[str, str] = HERE) -> list[str]:
    policy = ConnectivityPolicy(targets, interface=interface)
    spec = ClusterSpec("deb1", "deb2", LINKS, (), connectivity=policy)
    return list(problems_of(spec, Routes(here)))


def test_gateway_of_clients_is_in_order() -> None:
    """Nothing is found of it, nor without targets."""
    assert _found("192.0.2.1", "2001:db8::1", "fe80::1%eth0") == []
    assert list(problems_of(ClusterSpec("deb1", "deb2", LINKS, ()), Routes(HERE))) == []


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("192.0.2.10", "is an address of this node itself"),
        ("2001:db8:0::a", "is an address of this node itself"),
        ("10.1.0.2", "is deb2, which is heard anyway"),
        ("10.9.0.2", "is deb2, which is heard anyway"),
        ("10.1.0.9", "is reached by eth1, which carries heartbeats"),
    ],
)
def test_target_that_proves_nothing_is_reported(target: str, words: str) -> None:
    """It answers whatever is cut."""
    (problem,) = _found("192.0.2.1", target)
    assert problem.startswith(f"target {target} {words}")


def test_interface_that_is_asked_for_counts() -> None:
    """Whatever the routes are."""
    (problem,) = _found("192.0.2.1", interface="eth1")
    assert "reached by eth1" in problem
    assert _found("10.1.0.9", interface="eth0") == []


def test_network_that_carries_all_is_in_order() -> None:
    """There is no other way to clients."""
    assert _found("10.1.0.9", here={"10.1.0.1": "eth1"}) == []


def test_addresses_of_this_machine_are_known() -> None:
    """And the way to one of them."""
    here = interfaces_here()
    assert here.by_address["127.0.0.1"] == "lo" == here.leading_to("127.0.0.1")
