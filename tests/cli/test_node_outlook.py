"""What a node finds about itself: room, scripts, links and fences, and services of other agents."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from opensvc_openha.agent.service.readiness import PeerSight
from opensvc_openha.agent.values.cluster_client import ClusterView
from opensvc_openha.cli import node_outlook
from opensvc_openha.core.model import LinkSpec, ServiceSpec
from opensvc_openha.core.outlook import Finding
from opensvc_openha.core.status import (
    GAP_BOUNDS_S,
    BeatTiming,
    FenceGroup,
    FencingStatus,
    LinkStatus,
    NodeStatus,
    PathStatus,
    PeerStanding,
)
from opensvc_openha.errors import NotRunningError
from opensvc_openha.plugin import agent_1x, agent_2_1
from opensvc_openha.plugin.installed_agent import Agent
from opensvc_openha.system.identity import node_name
from tests.local_user import needs_root

WEB = ServiceSpec("web", "n1", "n2", "/w", "/fence")
ENV = f"""\
[DEFAULT]
nodes = {node_name().lower()} other

[ip#1]
ipname = 127.7.7.7
ipdev = eth77

[hb#0]
type = OpenHA
name = webha
"""


def status(*links: LinkStatus, fencing: FencingStatus | None = None) -> NodeStatus:
    """Return the status of a node with these links."""
    shown = fencing or FencingStatus()
    return NodeStatus("n1", "n2", 1, PeerStanding.LIVE, "heard", links, (), fencing=shown)


def link(device: str, timeout_s: float = 10.0, timing: BeatTiming | None = None) -> LinkStatus:
    """Return a listener on an interface, or on a disk."""
    address = "" if device.startswith("/") else "239.1.1.1"
    spec = LinkSpec("n2", "net", device, address, 1, 0, timeout_s)
    return LinkStatus(spec, False, True, timing=timing)


def lines(found: list[Finding]) -> list[str]:
    """Return the findings in short."""
    return [f"{each.severity.value} {each.check}: {each.text}" for each in found]


def of_links(*links: LinkStatus) -> list[str]:
    """Return what is found about links."""
    return lines(list(node_outlook._links("n1", status(*links))))


def test_one_link_or_one_interface_for_all_is_not_redundant() -> None:
    """A disk is another path; a label of an interface is not."""
    only = (
        "warning redundancy: net eth7:239.1.1.1 is the only heartbeat link: nothing else is heard"
    )
    assert of_links(link("eth7")) == [only]
    shared = ["warning redundancy: all heartbeat links go through eth7"]
    assert of_links(link("eth7"), link("eth7:1"), link("eth7")) == shared
    assert of_links(link("eth7"), link("eth8")) == []
    assert of_links(link("eth7"), link("/dev/no-such-disk")) == []


def timing(longest_s: float, *gaps_s: float) -> BeatTiming:
    """Return what a listener measured, by these gaps."""
    counts = [0] * (len(GAP_BOUNDS_S) + 1)
    for gap_s in (*gaps_s, longest_s):
        counts[sum(gap_s > bound for bound in GAP_BOUNDS_S)] += 1
    total_s = sum(gaps_s) + longest_s
    return BeatTiming(len(gaps_s) + 2, 0, 0.0, tuple(counts), total_s, longest_s)


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        (timing(1.1, *[1.0] * 50), ""),
        (timing(7.0, *[1.0] * 50), "7.0 s passed between two beats, and its timeout is 10 s"),
        # The link was down for a minute: what is near an alarm is what came before that.
        (timing(60.0, *[1.0] * 500), ""),
        (timing(60.0, 8.0, *[1.0] * 500), ""),
        (BeatTiming(), ""),
    ],
)
def test_gap_between_beats_that_was_near_a_false_alarm(measured: BeatTiming, said: str) -> None:
    """Usual gaps, and an outage, are none."""
    found = of_links(link("eth7", timing=measured), link("eth8"))
    assert found == ([f"warning timeouts: link net eth7:239.1.1.1: {said}"] if said else [])


def test_gap_within_a_class_below_the_timeout_is_known_after_an_outage() -> None:
    """By the lower bound of its class."""
    assert node_outlook._near_alarm(timing(60.0, 2.5, *[0.1] * 900), 3.5) == 2.0


def test_fence_that_was_never_tried_and_a_plan_that_cannot_prove() -> None:
    """A lease is no device; a check-up script that proves nothing is the daemon's warning."""
    ipmi = PathStatus("ipmi", "power", 0, "armed")
    plan = FencingStatus(plan=(("ipmi",),), paths=(ipmi,))

    def found(fencing: FencingStatus) -> list[str]:
        return lines(list(node_outlook._fences("n1", status(fencing=fencing), [WEB])))

    never = "warning fences: fence path ipmi was never tried out"
    assert found(plan) == [never]
    tested = replace(ipmi, tested_at=5.0, tested_s=3.0)
    assert found(replace(plan, paths=(tested,))) == []
    broken = replace(plan, paths=(replace(tested, state="unreachable"),))
    (said,) = found(broken)
    assert said.startswith("error proof: no level of the fence plan is armed")
    group = FenceGroup("/fence", "/fence", ("web",))
    (said,) = found(FencingStatus(groups=(group,)))
    assert said == "warning fences: the fence of its check-up script (/fence) has never been used"
    assert found(FencingStatus(groups=(replace(group, worked_at=1.0),))) == []
    assert found(FencingStatus(groups=(replace(group, name=""),))) == []


@needs_root
def test_script_that_others_can_change(tmp_path: Path) -> None:
    """By its owner or its mode; a missing one is another finding."""
    script = tmp_path / "web.sh"
    svc = replace(WEB, script=str(script), check="/bin/true")

    def found() -> list[str]:
        return [each.fix for each in node_outlook._scripts("n1", [svc])]

    assert found() == []
    script.touch()
    script.chmod(0o775)
    assert found() == [f"chmod go-w {script}"]
    os.chown(script, 4242, 0)
    assert found() == [f"chown root {script}"]
    os.chown(script, 0, 0)
    script.chmod(0o755)
    assert found() == []


def test_services_of_opensvc_agents(tmp_path: Path) -> None:
    """Of those with a file that is read here nothing is sure; others are unknown."""

    def fetch() -> NodeStatus:
        raise NotRunningError("no daemon")

    old = Agent(agent_1x.LINES[-1], str(tmp_path / "old"), "")
    new = Agent(agent_2_1.LINE, str(tmp_path / "new"), "")
    for agent in (old, new):
        os.makedirs(agent.etc_dir)
    Path(f"{old.etc_dir}/web.env").write_text(ENV)
    conf = ENV.replace("hb#0", f"{new.line.section}#0").replace("webha", "db")
    Path(f"{new.etc_dir}/db.conf").write_text(conf)
    names = {"webha", "db", "other"}
    found = list(
        node_outlook._of_real_agents("n1", names, PeerSight(), ClusterView(fetch), [old, new])
    )
    assert not any(each.stops_start for each in found)
    by_service = {each.service: each for each in found}
    assert by_service["webha"].text == "ip#1: interface eth77 not found"
    assert by_service["db"].severity is node_outlook.UNKNOWN and "db.conf" in by_service["db"].text
