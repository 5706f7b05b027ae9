"""Leases of two real nodes: a watchdog that kills its node, and a survivor that only waits."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from opensvc_openha.demo.nodes import TwoNodes
from tests.e2e.leased_cluster import LeasedCluster
from tests.e2e.two_node_cluster import EZ
from tests.watchdog.simulated_watchdog import OPEN, PET, STOP

pytestmark = pytest.mark.e2e
LONG_S = 60
"""Timeout of a watchdog that is to bite nobody, whatever the load."""


@pytest.fixture
def make_leased(two_nodes: TwoNodes) -> Iterator[Callable[[int], LeasedCluster]]:
    """Returns a function that makes a cluster of a watchdog's timeout, where the service runs.

    It takes further options of `[[lease]]` as well.
    """
    made: list[LeasedCluster] = []

    def make(timeout_s: int, options: str = "") -> LeasedCluster:
        cluster = LeasedCluster(two_nodes, timeout_s, options)
        made.append(cluster)
        cluster.run_on_first()
        cluster.until_promised(cluster.first)
        return cluster

    yield make
    for cluster in made:
        cluster.close()


def start_of(cluster: LeasedCluster) -> dict[str, Any]:
    """The entry of the survivor's start, from its history."""
    # Looked at from outside: a command in the node each time would cost more than all the rest.
    runs = f"{cluster.second.root}/run/registry.runs"
    cluster.until(lambda: os.path.exists(runs), bool, "the survivor runs the service")
    cluster.wait(cluster.second, {"registry": "UNKNOWN/STARTED"})
    return next(each for each in cluster.entries(cluster.second) if each["new"] == "STARTING")


def test_owner_without_power_is_proved_out_by_the_end_of_its_promise(
    make_leased: Callable[[int], LeasedCluster],
) -> None:
    """Nothing was configured that could switch it off; `why` names the proof."""
    cluster = make_leased(6)
    plan = cluster.patiently(cluster.second, f"{EZ}/bin/openha fence plan").stdout
    assert "18.5 s  level 1: lease: nothing is done: the promise ends\n" in plan
    cluster.first.kill()
    start = start_of(cluster)
    found = re.search(r"to be dead ([0-9.]+) s after .* read ([0-9.]+) s after it", start["reason"])
    assert found is not None, start
    promised_s, read_s = map(float, found.groups())
    assert promised_s == 18.5 and read_s >= promised_s
    why = cluster.must(cluster.second, f"{EZ}/bin/openha why registry")
    assert "FENCE: lease: the promised time is over; proof NODE: self-fenced: promised" in why
    assert "\n  proof: NODE: self-fenced: promised to be dead 18.5 s" in why


def test_owner_that_is_cut_off_is_dead_before_the_survivor_starts(
    make_leased: Callable[[int], LeasedCluster],
) -> None:
    """Neither network nor disk: nothing confirms its beats, so its watchdog ends it."""
    cluster = make_leased(8)
    watchdog = cluster.watchdog(cluster.first)
    for link in ("eth1", "eth2"):
        cluster.first.cut(link)
    cluster.first.cut_disk()
    start = start_of(cluster)
    assert watchdog.bitten_at is not None
    assert not cluster.first.is_alive
    assert watchdog.bitten_at < start["mono"]


def test_owner_that_is_cut_off_stops_its_services_and_lives(
    make_leased: Callable[..., LeasedCluster],
) -> None:
    """Its watchdog is stopped though no peer knows; what it stopped is started by that one then."""
    cluster = make_leased(LONG_S, "on_lost = stop\n")
    owner, watchdog = cluster.first, cluster.watchdog(cluster.first)
    for link in ("eth1", "eth2"):
        owner.cut(link)
    owner.cut_disk()
    cluster.until(watchdog.words, lambda words: words[-1] == STOP, "the watchdog stands still")
    assert cluster.calls("stop") == ["deb1"] and cluster.calls("start") == ["deb1"]
    promise = cluster.until(
        lambda: cluster.promise(owner), lambda found: found.get("cut_off"), "it shows that"
    )
    assert promise["stops"] and promise["is_withdrawing"] and promise["death_s"] is None
    for link in ("eth1", "eth2"):
        owner.heal(link)
    cluster.wait(cluster.second, {"registry": "STOPPED/STARTED"})
    assert watchdog.bitten_at is None and owner.is_alive


def test_daemon_that_ends_or_dies_resets_nobody(
    make_leased: Callable[[int], LeasedCluster],
) -> None:
    """Restarted, killed and started, and stopped with its services: the last disarms."""
    cluster = make_leased(LONG_S)
    owner, watchdog = cluster.first, cluster.watchdog(cluster.first)

    def is_petted_on() -> None:
        cluster.until_promised(owner)
        seen = len(watchdog.words())
        cluster.until(watchdog.words, lambda words: words[seen:].count(PET) > 2, "further pets")

    is_petted_on()
    cluster.must(owner, f"{EZ}/ezha restart")
    is_petted_on()
    lock = owner.read(f"{EZ}/services/.proc/nmond.lock")
    cluster.must(owner, f"kill -9 {lock.split()[0]}")
    cluster.start(owner)
    is_petted_on()
    cluster.wait(owner, {"registry": "STARTED/STOPPED"})
    assert cluster.calls("start") == ["deb1"] and watchdog.words().count(OPEN) == 1
    cluster.must(owner, f"{EZ}/ezha stop")
    cluster.until(watchdog.words, lambda words: words[-1] == STOP, "the watchdog stands still")
    assert watchdog.bitten_at is None and owner.is_alive
