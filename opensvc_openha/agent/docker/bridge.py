"""The network interface of one service's containers: a bridge with an unused subnet of its own.

Two daemons on docker's default bridge would give the same address to two containers. The bridge is
created before the daemon starts and removed, with the packet filter rules that name it, after it
ended.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import shlex
import shutil
from collections.abc import Iterable, Iterator, Sequence

from opensvc_openha.agent.host.commands import command_environment, run_command, run_or_fail
from opensvc_openha.agent.values.action_log import ActionLog
from opensvc_openha.errors import ActionError, SystemFault
from opensvc_openha.hints import Any

POOLS = ("172.31.0.0/16", "172.30.0.0/16", "10.213.0.0/16", "192.168.0.0/16")
"""Pools of subnets of 254 addresses, in order of preference."""

_LIMIT_S = 30.0
_FILTER_TABLES = ("filter", "nat")

Network = ipaddress.IPv4Network


def make_bridge(log: ActionLog, name: str, owner: str, wanted: str = "") -> None:
    """Create the bridge with address ``wanted``, or the first one of a free subnet."""
    address = wanted or gateway_of(free_subnet(owner, used_networks()))
    run_or_fail(log, ["ip", "link", "add", "name", name, "type", "bridge"], _LIMIT_S)
    run_or_fail(log, ["ip", "addr", "add", address, "dev", name], _LIMIT_S)
    run_or_fail(
        log, ["ip", "link", "set", "dev", name, "up", "alias", f"docker of {owner}"], _LIMIT_S
    )


def remove_bridge(log: ActionLog, name: str) -> None:
    """Remove the bridge and the rules that name it; do nothing if there is none."""
    for argv in _rules_naming(name):
        run_command(argv, _LIMIT_S)
    if run_command(["ip", "link", "show", "dev", name], _LIMIT_S).exit_code != 0:
        return
    result = run_command(["ip", "link", "del", "dev", name], _LIMIT_S)
    if result.exit_code != 0:
        log.warning(f"cannot remove the bridge {name}: {result.output.strip()}")


def free_subnet(owner: str, used: Sequence[Network]) -> Network:
    """Return the first free subnet of the pools.

    The search begins at a place derived from the owner's name: the same on both nodes.
    """
    start = int(hashlib.sha256(owner.encode("utf-8", "surrogateescape")).hexdigest()[:4], 16)
    for pool in POOLS:
        subnets = list(ipaddress.IPv4Network(pool).subnets(new_prefix=24))
        for offset in range(len(subnets)):
            subnet = subnets[(start + offset) % len(subnets)]
            if not any(subnet.overlaps(network) for network in used):
                return subnet
    raise ActionError(
        f"no subnet of {', '.join(POOLS)} is free for the containers of {owner}: "
        "add --bip ADDRESS/PREFIX to docker_daemon_args"
    )


def gateway_of(subnet: Network) -> str:
    """Return the address of the bridge in its subnet."""
    return f"{subnet.network_address + 1}/{subnet.prefixlen}"


def used_networks() -> list[Network]:
    """Return the networks in which this node has addresses or routes, except the default route."""
    routes = _ip_json("-4", "route", "show", "table", "all")
    addresses = _ip_json("-4", "addr", "show")
    return [*_routed(routes), *_addressed(addresses)]


def _routed(routes: Iterable[Any]) -> Iterator[Network]:
    for route in routes:
        destination = str(route.get("dst", "default"))
        if destination == "default" or route.get("type") in ("broadcast", "multicast"):
            continue
        try:
            network = ipaddress.IPv4Network(destination, strict=False)
        except ValueError:
            continue
        if network.prefixlen:
            yield network


def _addressed(interfaces: Iterable[Any]) -> Iterator[Network]:
    for interface in interfaces:
        for entry in interface.get("addr_info", []):
            if "local" in entry:
                yield ipaddress.IPv4Network(f"{entry['local']}/{entry['prefixlen']}", strict=False)


def _ip_json(*words: str) -> list[Any]:
    result = run_command(["ip", "-j", *words], _LIMIT_S)
    try:
        return list(json.loads(result.output or "[]")) if result.exit_code == 0 else []
    except ValueError as error:
        raise SystemFault(
            f"ip -j {' '.join(words)} prints no JSON, expected iproute2: {result.output[:100]}"
        ) from error


def _rules_naming(name: str) -> Iterator[list[str]]:
    """Yield the commands that delete the rules with this interface."""
    if not shutil.which("iptables", path=command_environment()["PATH"]):
        return
    for table in _FILTER_TABLES:
        result = run_command(["iptables", "-w", "5", "-t", table, "-S"], _LIMIT_S)
        for line in result.output.splitlines() if result.exit_code == 0 else []:
            words = shlex.split(line)
            if words[:1] == ["-A"] and name in words:
                yield ["iptables", "-w", "5", "-t", table, "-D", *words[1:]]
