"""Twenty links of all types between two nodes, cut one after the other while a service is moved."""

import time

import pytest
from cabled_cluster import CabledCluster, lay_cables, pairs

pytestmark = pytest.mark.e2e

TIMEOUT_S = 2
GAP_S = 0.25
DOWN_FOR_S = 4.0
SLACK_S = 1.5
"""A beat interval, or the retry of a link, and the time a busy machine takes to tell."""
MOVED_S = 2.0


@pytest.fixture
def cluster(two_nodes):
    """All links up on both nodes, the service runs on the first."""
    lay_cables(two_nodes)
    made = CabledCluster(two_nodes, pairs(two_nodes, TIMEOUT_S), {"registry": "/bin/true"})
    made.run_on_first()
    for node in two_nodes:
        made.until(lambda: made.down(node), lambda seen: not seen, 5, "all links are up")
    return made


def test_each_cut_takes_down_its_own_link_only_and_delays_nothing(cluster):
    """Each of 20 links is cut for 4 s in its turn: down in its timeout, or when it is told of, up by itself, others untouched.

    Meanwhile the service is moved to and fro: that never takes longer than with all links whole.
    """
    first, second = cluster.nodes
    before = {link: [len(cluster.log_of(second, each)) for each in link.ids] for link in cluster.links}
    begin = time.monotonic()
    steps = ((0, cluster.cut), (DOWN_FOR_S, cluster.heal))
    plan = sorted(((n * GAP_S + later_s, do, link) for n, link in enumerate(cluster.links) for later_s, do in steps),
                  key=lambda step: step[0])
    cut_at, healed_at, seen_down = {}, {}, set()
    owner, moves = first, 0
    while plan or cluster.down(second):
        while plan and time.monotonic() - begin >= plan[0][0]:
            _, do, link = plan.pop(0)
            # A beat may come in until the cut is done.
            if do == cluster.heal:
                healed_at[link] = time.monotonic()
            do(link)
            (cut_at if do == cluster.cut else healed_at)[link] = time.monotonic()
        asked = time.monotonic()
        down, answered = cluster.down(second), time.monotonic()
        for link in cluster.links:
            heard = link.ids[0]
            if link not in cut_at:
                assert heard not in down, f"{heard} was not cut"
                continue
            since = answered - cut_at[link]
            if heard in down:
                seen_down.add(heard)
                assert since > TIMEOUT_S - 1 - SLACK_S or link.device.startswith("h"), "the cut of a cable is told"
                if link in healed_at:
                    assert asked < healed_at[link] + 1 + SLACK_S, f"{heard} does not come back"
            elif link not in healed_at:
                assert asked - cut_at[link] < TIMEOUT_S + SLACK_S, f"{heard} is cut and still up"
        if moves < 4 and time.monotonic() - begin > 2 + 2 * moves:
            owner, moves = _move(cluster, owner), moves + 1
        assert time.monotonic() < begin + 30, cluster.story()
    assert seen_down == {link.ids[0] for link in cluster.links}
    assert moves == 4 and cluster.calls("start") == ["deb1", "deb2", "deb1", "deb2", "deb1"]
    for link in cluster.links:
        news = [cluster.log_of(second, each)[had:] for each, had in zip(link.ids, before[link])]
        heard = [line.partition(f"{link.ids[0]}: ")[2] for line in news[0]]
        why = f"the peer says that its {link.device} is down" if link.device.startswith("h") else f"no beat for {TIMEOUT_S} s"
        assert heard == [f"DOWN: {why}", "UP: beat received"], heard
        assert all("DOWN" not in line for line in news[1]), news[1]
        for each in link.ids:
            own = [line for line in cluster.log_of(first, each) if "WARNING" in line]
            ends = ["DOWN: " in line for line in own]
            assert ends.count(True) <= 1 and ends.count(False) <= 1, own
    for node in cluster.nodes:
        assert "LIVE -> SILENT" not in cluster.must(node, "cat /usr/local/cluster/log/nmond.log")


def _move(cluster, owner):
    """freeze-stop and unfreeze on the owner; the new owner. Fails if it takes longer than it should."""
    begin = time.monotonic()
    cluster.act(owner, "registry", "freeze-stop")
    other = next(node for node in cluster.nodes if node is not owner)
    is_first = other is cluster.first
    cluster.wait(other, {"registry": "STARTED/FROZEN_STOP" if is_first else "FROZEN_STOP/STARTED"}, MOVED_S)
    cluster.act(owner, "registry", "unfreeze")
    cluster.wait(other, {"registry": "STARTED/STOPPED" if is_first else "STOPPED/STARTED"}, MOVED_S)
    assert time.monotonic() - begin < 2 * MOVED_S
    return other
