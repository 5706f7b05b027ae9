"""Count false verdicts of two healthy nodes with many services under load: the goal is none.

    python bench/busy_nodes.py [-n SERVICES ...] [-s PROFILE:TIMEOUT ...]

Real daemons on two nodes in namespaces, two multicast links. All services are unfrozen on one node,
then on the other, then stopped on the first, so that they move. Nothing fails meanwhile: each
verdict "peer silent", each start that is announced on such a verdict and each check-up script
called for a silent peer is a false one. With a real fence, a check-up would power off a healthy
node.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

from bench.node_commands import must
from opensvc_openha.core.model import Profile
from opensvc_openha.demo.nodes import Node, TwoNodes
from opensvc_openha.demo.player import prepare

EZ = "/usr/local/cluster"
COUNTS = (100, 300, 1_000)
SETTINGS = ("fast:0.3", "fast:1", "tutorial:2", "tutorial:10")
LIMIT_S = 120.0
CHECK = (
    "#!/bin/sh\n[ $OPENHA_PEER_STANDING = silent ] && echo $OPENHA_SERVICE >>"
    " /var/tmp/shots\nexit 0\n"
)
SCRIPT = "#!/bin/sh\nexit 0\n"
FAST_OPTIONS = "[timing]\nprofile = fast\nfence_time = 0.2\n"
HEAD = (
    "services",
    "profile",
    "link timeout, s",
    "false SILENT",
    "false START_READY",
    "false check-ups",
    "unfreeze here, s",
    "unfreeze there, s",
    "stop here to STARTED there, s",
    "datagrams a link",
    "beats at worst, ms: posted to sent",
    "kernel to read",
    "read to engine",
)
STAGES = ("posted -> sent", "kernel -> read", "read -> engine")


def states(node: Node) -> list[str]:
    """Return each service's state as reported by that node; empty while it does not answer."""
    done = node.run(f"{EZ}/bin/service -s --json")
    if done.returncode:
        return []
    return [svc["own_state"] for svc in json.loads(str(done.stdout))["services"]]


def took_until(node: Node, state: str, began_at: float) -> str:
    """Return the seconds from ``began_at`` until all services are in a state there, as text.

    After the limit: how many are.
    """
    while True:
        now = states(node)
        if now and set(now) == {state}:
            return f"{time.monotonic() - began_at:.1f}"
        if time.monotonic() - began_at > LIMIT_S:
            return f"{now.count(state)} after {LIMIT_S:g}"
        time.sleep(0.5)


def set_up(nodes: TwoNodes, count: int, profile: Profile, timeout_s: float) -> None:
    """Start both daemons with ``count`` frozen services each; return once they hear each other."""
    names = [node.name for node in nodes]
    monitor = "".join(
        f"{name}\tnet\teth{link}\t239.131.50.{10 + 2 * index + link}\t501{link}\t{timeout_s:g}\n"
        for index, name in enumerate(names)
        for link in (1, 2)
    )
    lines = "".join(
        f"svc{number:04} /opt/svc.sh {' '.join(names if number % 2 else names[::-1])}"
        " /opt/fence.sh\n"
        for number in range(count)
    )
    for node in nodes:
        prepare(node)
        must(node, "openha install --no-key")
        node.write(f"{EZ}/conf/nodes", "".join(f"{name}\n" for name in names))
        node.write(f"{EZ}/conf/monitor", monitor)
        if profile is Profile.FAST:
            node.write(f"{EZ}/conf/openha.conf", FAST_OPTIONS)
        node.write("/opt/fence.sh", CHECK, 0o755)
        node.write("/opt/svc.sh", SCRIPT, 0o755)
        node.write(f"{EZ}/conf/services", lines)
    for node in nodes:
        must(node, f"{EZ}/ezha start")
    for node in nodes:
        took_until(node, "FROZEN_STOP", time.monotonic())


def log(nodes: TwoNodes) -> str:
    """Return both daemons' logs, once their threads have written all pending lines."""
    time.sleep(1.0)
    return "".join(must(node, f"cat {EZ}/log/nmond.log*") for node in nodes)


def sent(node: Node) -> int:
    """Return the number of datagrams sent on links so far."""
    return int(
        must(
            node,
            "cat /sys/class/net/eth1/statistics/tx_packets || awk '/eth1:/ {print $11}'"
            " /proc/net/dev",
        ).split()[0]
    )


def worst_ms(nodes: TwoNodes) -> list[str]:
    """Return the longest time that each stage of beats took lately on either node."""
    worst = dict.fromkeys(STAGES, 0.0)
    for node in nodes:
        activity = json.loads(must(node, f"{EZ}/bin/hb -s --json"))["activity"]
        for each in activity["stages"]:
            if each["stage"] in worst:
                worst[each["stage"]] = max(worst[each["stage"]], each["most_s"])
    return [f"{worst[stage] * 1000:.1f}" for stage in STAGES]


def act(node: Node, action: str) -> None:
    """Run `service -A ACTION` for all services; refusals are ignored."""
    done = node.run(f"{EZ}/bin/service -A {action} > /dev/null", LIMIT_S)
    if done.returncode:
        print(
            f"  service -A {action} on {node.name}: exit code {done.returncode},"
            f" {len(str(done.stderr).splitlines())} lines, such as"
            f" {str(done.stderr)[:200].strip()}",
            file=sys.stderr,
        )


def measure(count: int, profile: Profile, timeout_s: float) -> list[str]:
    """Return one row of the table."""
    with TwoNodes() as nodes:
        set_up(nodes, count, profile, timeout_s)
        # The first daemon was alone until the second one started.
        sent_before = log(nodes)
        before = [sent(node) for node in nodes]
        moves = []
        for node, action, where, state in (
            (nodes[0], "unfreeze", nodes[0], "STARTED"),
            (nodes[1], "unfreeze", nodes[1], "STOPPED"),
            (nodes[0], "stop", nodes[1], "STARTED"),
        ):
            began_at = time.monotonic()
            act(node, action)
            moves.append(took_until(where, state, began_at))
        datagrams = max(sent(node) - first for node, first in zip(nodes, before))
        stages = worst_ms(nodes)
        text = log(nodes)
        shots = sum(
            len(must(node, "cat /var/tmp/shots 2> /dev/null || true").split()) for node in nodes
        )
    silent, ready = (
        text.count(words) - sent_before.count(words)
        for words in ("-> SILENT", "START_READY: peer is silent")
    )
    return [
        f"{count:,}",
        profile.value,
        f"{timeout_s:g}",
        str(silent),
        str(ready),
        str(shots),
        *moves,
        f"{datagrams:,}",
        *stages,
    ]


def main() -> None:
    """Print the table, row by row."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-n", type=int, nargs="+", default=list(COUNTS), metavar="SERVICES")
    parser.add_argument("-s", nargs="+", default=list(SETTINGS), metavar="PROFILE:TIMEOUT")
    options = parser.parse_args()
    print("| " + " | ".join(HEAD) + " |\n|" + "---|" * len(HEAD), flush=True)
    for setting in options.s:
        profile, _, timeout_s = setting.partition(":")
        for count in options.n:
            print(
                "| " + " | ".join(measure(count, Profile(profile), float(timeout_s))) + " |",
                flush=True,
            )


if __name__ == "__main__":
    main()
