"""A real daemon whose arbiter is a witness on a real etcd, and a peer that is played."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from opensvc_openha.fence_devices.arbiter_answers import ClaimOutcome
from opensvc_openha.fence_devices.etcd_arbiter import EtcdArbiter
from tests.cli.test_fence_plan import Planned
from tests.cluster_dir import HERE, PEER, ClusterDir
from tests.fence_devices.etcd_members import EtcdMembers, needs_etcd
from tests.waiting import until

pytestmark = needs_etcd


class Witnessed(Planned):
    """A daemon with two boards and a witness; ``arbiter`` is the peer's view of it."""

    def __init__(self, cluster: ClusterDir) -> None:
        self.members = EtcdMembers(cluster.path("etcd"))
        try:
            self.members.until_answers()
            section = f"[[etcd]]\nurls = {','.join(self.members.urls)}\nlimit = 30\n"
            super().__init__(cluster, "arbiter = etcd\n", section)
        except BaseException:
            self.members.end()
            raise
        self.arbiter = EtcdArbiter(self.members.options, PEER, HERE, own_life=lambda: "peer's")

    def close(self) -> None:
        """End all of it."""
        super().close()
        self.arbiter.close()
        self.members.end()


@pytest.fixture
def witnessed(cluster_dir: ClusterDir) -> Iterator[Witnessed]:
    """The peer is not heard yet."""
    made = Witnessed(cluster_dir)
    yield made
    made.close()


def test_node_that_wins_the_claim_takes_over_and_one_that_loses_it_stops(
    witnessed: Witnessed,
) -> None:
    """First the peer falls silent; then it claims in turn: what runs here is stopped, and the
    node stays out until an operator releases it.
    """
    cluster = witnessed.cluster
    url = witnessed.members.urls[0].removeprefix("http://")
    witnessed.until_shown("  arbiter  ")
    assert "no node registered on the witness" in witnessed.status()
    witnessed.speak()
    witnessed.until_shown(f"  arbiter  etcd {url}  armed        {HERE} registered on the witness")
    witnessed.until_shown("  spare    ")
    witnessed.arbiter.register_in_peace()
    witnessed.until_shown(f"{HERE} and {PEER} registered on the witness")
    until(lambda: cluster.quick("openha fence status").returncode == 0)
    found = json.loads(cluster.quick("openha fence test arbiter --json").stdout)["paths"]
    assert [path["state"] for path in found] == ["armed"]

    witnessed.fall_silent()
    witnessed.until_shown("peer: silent")
    cluster.ok("service -A web unfreeze")
    cluster.wait_state("web", "STARTED")
    assert witnessed.calls().count("off") == 1
    look = witnessed.arbiter.look()
    assert (look.is_registered, look.by) == (False, HERE)
    assert witnessed.arbiter.claim().outcome is ClaimOutcome.LOST

    witnessed.arbiter.register_in_peace(is_readmitted=True)
    assert witnessed.arbiter.claim().outcome is ClaimOutcome.WON
    witnessed.until_shown(f"ejected by {PEER}: this node neither fences nor starts")
    cluster.wait_state("web", "STOPPED")
    witnessed.until_shown(f"  arbiter  etcd {url}  wrong        {PEER} has ejected this node")
    cluster.ok("service -A web freeze-stop")
    cluster.wait_state("web", "FROZEN_STOP")
    cluster.ok(f"openha fence confirm {PEER}")
    assert cluster.ok("openha fence release").startswith(f"registered again: {HERE} and {PEER}")
    witnessed.until_shown("  armed        ")
    assert "ejected by" not in witnessed.status()
    assert witnessed.arbiter.look().by == ""


def test_witness_that_does_not_answer_lets_nobody_fence(witnessed: Witnessed) -> None:
    """With and without a daemon the operator sees why; whoever is heard continues to work."""
    cluster = witnessed.cluster
    witnessed.speak()
    witnessed.until_shown(f"  armed        {HERE} registered")
    witnessed.members.end()
    text = witnessed.until_shown("unreachable  no answer from the witness: ")
    assert f"{witnessed.members.urls[0]}: connection refused" in text
    assert cluster.quick("openha fence status").returncode == 2
    witnessed.fall_silent()
    witnessed.until_shown("peer: silent")
    cluster.ok("service -A web unfreeze")
    cluster.wait_state("web", "START_FAILED")
    assert "claim: no answer from the witness: " in cluster.ok("service -s -v")
    assert "off" not in witnessed.calls() + witnessed.calls("spare")
    cluster.ok("ezha kill")
    done = cluster.quick("openha fence test")
    assert done.returncode == 1
    assert "unreachable  no answer from the witness: " in done.stdout
