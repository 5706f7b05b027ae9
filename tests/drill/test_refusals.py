"""What speaks against a drill, by what both nodes report: no process, no socket."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from opensvc_openha.core.model import LinkSpec
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import (
    ConnectivityStatus,
    FencingStatus,
    LeaseStatus,
    LinkStatus,
    NodeStatus,
    PathStatus,
    PeerStanding,
    ServiceStatus,
)
from opensvc_openha.daemon import link_cut
from opensvc_openha.drill.cables import cables_of, chosen, unpaired
from opensvc_openha.drill.offers import offers_of
from opensvc_openha.drill.peer_part import why_not_dead
from opensvc_openha.drill.power import why_no_power, why_no_watchdog
from opensvc_openha.drill.refusals import difference, states_of, why_no_cut, why_no_switch, why_not
from opensvc_openha.drill.takeover import seconds_of, why_no_takeover
from opensvc_openha.errors import UsageError
from opensvc_openha.storage.drills import DrillKind

pytestmark = pytest.mark.fast

STATES = ServiceState
ETH1, ETH2 = "net eth1", "net eth2"


def specs() -> list[LinkSpec]:
    found = [
        LinkSpec(node, "net", f"eth{n}", f"239.131.50.{10 * i + n}", 5010, 0, 2.0)
        for i, node in enumerate(("deb1", "deb2"))
        for n in (1, 2)
    ]
    return found + [
        LinkSpec(node, "dio", "/dev/hb", "", 0, offset, 4.0)
        for node, offset in (("deb1", 0), ("deb2", 10))
    ]


def node(name: str, state: ServiceState = STATES.STOPPED, down: tuple[str, ...] = ()) -> NodeStatus:
    """A node with three links and a service; ``down`` are devices whose listener is down."""
    peer = "deb2" if name == "deb1" else "deb1"
    links = tuple(
        LinkStatus(spec, spec.node == name, spec.node == name or spec.device not in down)
        for spec in specs()
    )
    svc = ServiceStatus("web", "deb1", "deb2", state, STATES.UNKNOWN, state, STATES.UNKNOWN)
    return NodeStatus(name, peer, 7, PeerStanding.LIVE, "heard", links, (svc,))


def both() -> tuple[NodeStatus, NodeStatus]:
    return node("deb1", STATES.STARTED), node("deb2")


def service(status: NodeStatus, **changes: Any) -> NodeStatus:
    return replace(status, services=(replace(status.services[0], **changes),))


def test_links_are_paired_and_chosen_by_any_of_their_names() -> None:
    """Both directions by type and device; a line alone is left out; several are numbered."""
    own, _ = both()
    eth1, eth2, disk = cables_of(own)
    assert (eth1.name, eth1.sends, eth1.hears) == (
        ETH1, "net eth1:239.131.50.1", "net eth1:239.131.50.11",
    )  # fmt: skip
    assert (disk.name, disk.is_disk, disk.timeout_s) == ("dio /dev/hb", True, 4.0)
    cables = (eth1, eth2, disk)
    assert chosen(cables, "") == cables
    for word in ("net eth2", "eth2", eth2.sends, eth2.hears):
        assert chosen(cables, word) == (eth2,)
    with pytest.raises(UsageError, match="no link eth3: did you mean|no link eth3"):
        chosen(cables, "eth3")
    alone = replace(own, links=own.links[:1])
    assert cables_of(alone) == () and unpaired(alone) == (eth1.sends,)
    more = LinkSpec("deb1", "net", "eth1", "239.131.50.99", 5099, 0, 2.0)
    twice = replace(own, links=(*own.links, LinkStatus(more, True, True)))
    assert unpaired(twice) == (more.link_id,)


def test_nothing_speaks_against_a_drill_where_all_is_well() -> None:
    """Neither in general, nor against a link, nor against a switch."""
    own, peer = both()
    assert why_not(own, peer, [700.0]) == []
    assert all(why_no_cut(own, peer, cable) == [] for cable in cables_of(own))
    assert why_no_switch(own, peer, "web") == [] == why_no_switch(peer, own, "web")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"peer_standing": PeerStanding.SILENT}, "deb2 does not hear deb1, which is silent"),
        ({"age_s": 3.0}, "nmond on deb2 does not answer: its status is 3 s old"),
        ({"drill": "a drill has cut x"}, "deb2: a drill has cut x: wait for its end"),
        ({"fencing": FencingStatus(step="ipmi")}, "deb2 fences deb1 at the moment"),
        ({"fencing": FencingStatus(flight="web")}, "deb2 fences deb1 at the moment"),
        ({"fencing": FencingStatus(is_ejected_by="deb1")}, "deb2 was ejected by the arbiter"),
        ({"connectivity": ConnectivityStatus("isolated", text="why")}, "deb2 is isolated: why"),
        ({"own_only": ("db",)}, "the nodes do not have the same services"),
    ],
)
def test_a_node_in_trouble_is_no_node_for_a_drill(change: dict[str, Any], text: str) -> None:
    """Either of them, with what is wrong there."""
    own, peer = both()
    assert [found for found in why_not(own, replace(peer, **change)) if text in found]
    assert why_not(replace(own, **change), peer)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"is_dual_run": True}, "both nodes run web"),
        ({"own_state": STATES.STARTING}, "web is STARTING on deb2: wait"),
        ({"own_state": STATES.START_READY}, "web is START_READY on deb2: wait"),
        ({"script": "start"}, "its start script runs"),
        ({"own_state": STATES.UNKNOWN}, "what web is on deb2 is not known"),
        ({"has_parts_up": True}, "what web is on deb2 is not known"),
    ],
)
def test_a_service_on_its_way_or_in_doubt_speaks_against_every_drill(
    change: dict[str, Any], text: str
) -> None:
    """On either node."""
    own, peer = both()
    assert [found for found in why_not(own, service(peer, **change)) if text in found]


def test_a_stall_within_ten_minutes_speaks_against_a_drill() -> None:
    """Of either node; not one that was before that."""
    own, peer = both()
    assert "stalled within the last 10 minutes" in why_not(own, peer, [3000.0, 599.0])[0]
    assert why_not(own, peer, [601.0]) == []


def test_the_only_link_is_never_cut() -> None:
    """Neither by the drill, nor by the daemon, whatever a drill believes; nor one that is down."""
    own, peer = both()
    eth1, eth2, disk = cables_of(own)
    deaf = node("deb1", STATES.STARTED, ("eth2", "/dev/hb"))
    assert "no other link than net eth1 is up in both directions" in why_no_cut(deaf, peer, eth1)[0]
    peer_deaf = node("deb2", down=("eth2", "/dev/hb"))
    assert "no other link than net eth1" in why_no_cut(own, peer_deaf, eth1)[0]
    assert f"{eth2.sends} is down already on deb2" in why_no_cut(own, peer_deaf, eth2)[0]
    assert f"{eth2.hears} is down already on deb1" in why_no_cut(deaf, peer, eth2)[0]
    # The only other link that the peer hears, and the only one that this node hears.
    one_each = node("deb1", down=("eth2",)), node("deb2", down=("/dev/hb",))
    assert why_no_cut(*one_each, eth1)

    assert link_cut.why_no_cut(own, eth1.links) == ""
    assert "no other link is up on which this node hears" in link_cut.why_no_cut(deaf, eth1.links)
    both_nets = (*eth1.links, *eth2.links)
    assert link_cut.why_no_cut(own, both_nets) == ""
    assert "a cut would be a silence" in link_cut.why_no_cut(own, (*both_nets, *disk.links))
    assert "net x is no link" in link_cut.why_no_cut(own, ("net x",))
    assert "nothing is no link" in link_cut.why_no_cut(own, ())
    mute = replace(own, links=tuple(link for link in own.links if not link.is_sender))
    assert "on which this node sends" in link_cut.why_no_cut(mute, (eth1.hears,))
    silent = replace(own, peer_standing=PeerStanding.SILENT)
    assert "deb2 is silent" in link_cut.why_no_cut(silent, eth1.links)


@pytest.mark.parametrize(
    ("here", "there", "text"),
    [
        (STATES.FROZEN_START, STATES.STOPPED, "does not run, or is frozen"),
        (STATES.STOPPED, STATES.STOPPED, "does not run, or is frozen"),
        (STATES.STARTED, STATES.FROZEN_STOP, "deb2 would not start web"),
        (STATES.STARTED, STATES.START_FAILED, "deb2 would not start web"),
    ],
)
def test_a_service_is_switched_from_started_to_stopped_alone(
    here: ServiceState, there: ServiceState, text: str
) -> None:
    """Whatever is frozen is an operator's."""
    assert text in why_no_switch(node("deb1", here), node("deb2", there), "web")[0]


def test_a_standby_that_could_not_start_it_gets_nothing() -> None:
    """By its engine or by its last check; a service of one node alone is no service to switch."""
    own, peer = both()
    for change in ({"unready": "no device"}, {"ready": "no", "ready_text": "no device"}):
        found = why_no_switch(own, service(peer, **change), "web")
        assert "web could not start on deb2: no device" in found[0]
    assert "not a service of both nodes" in why_no_switch(own, peer, "db")[0]


def test_power_is_cut_of_a_node_that_runs_nothing_by_an_armed_path_alone() -> None:
    """The daemon refuses the same; here it is known before a name is typed."""
    own, peer = both()
    assert "there is no fence plan" in why_no_power(own, peer, "ipmi")[0]
    path = PathStatus("ipmi", "power", 0, "armed")
    plan = replace(own, fencing=FencingStatus(plan=(("ipmi",),), paths=(path,)))
    assert why_no_power(plan, peer, "ipmi") == []
    assert "pdu is no path" in why_no_power(plan, peer, "pdu")[0]
    assert "deb2 runs web" in why_no_power(plan, node("deb2", STATES.STARTED), "ipmi")[0]
    wrong = replace(path, state="wrong", text="OFF")
    broken = replace(own, fencing=FencingStatus(plan=(("ipmi",),), paths=(wrong,)))
    assert "ipmi is wrong: OFF" in why_no_power(broken, peer, "ipmi")[0]
    assert "no [[lease]]" in why_no_watchdog(own)[0]
    leased = replace(own, lease=LeaseStatus("off", "softdog"))
    assert "deb1 runs web" in why_no_watchdog(leased)[0]
    assert why_no_watchdog(replace(leased, services=peer.services)) == []


def test_what_changed_is_named() -> None:
    """A state, and a service that came or went."""
    before = states_of(node("deb1", STATES.STARTED))
    assert difference(before, before) == ""
    assert difference(before, {"web": "STOPPED"}) == "web STARTED -> STOPPED"
    assert difference(before, {}) == "web STARTED -> not there"


def test_offers_have_everything_with_what_speaks_against_it() -> None:
    """Links, services, paths that cut power, the watchdog; what is general is in each."""
    own, peer = both()
    path = PathStatus("ipmi", "power", 0, "armed")
    disks = PathStatus("reservation", "reservation", 0, "armed")
    own = replace(
        own,
        fencing=FencingStatus(plan=(("ipmi",),), paths=(path, disks)),
        lease=LeaseStatus("off", "softdog"),
    )
    offers = offers_of(own, peer, ["in trouble"], [])
    assert [(each.kind, each.subject) for each in offers if each.kind is not DrillKind.LINK] == [
        (DrillKind.SWITCH, "web"),
        (DrillKind.POWER, "ipmi"),
        (DrillKind.WATCHDOG, "softdog"),
    ]
    assert all(each.refused[0] == "in trouble" and each.steps and each.risks for each in offers)
    assert [each.refused[1:] for each in offers if each.kind is DrillKind.POWER] == [()]


def test_takeover_is_of_everything_that_the_other_node_runs_and_of_nothing_here() -> None:
    """What else runs there would be run twice; a watchdog would take part."""
    own, peer = node("deb1"), node("deb2", STATES.STARTED)
    assert why_no_takeover(own, peer, ["web"]) == []
    assert "web runs here" in why_no_takeover(peer, own, ["web"])[0]
    assert "not a service of both" in why_no_takeover(own, peer, ["db"])[0]
    db = replace(peer.services[0], name="db")
    two = replace(peer, services=(*peer.services, db))
    assert "deb2 runs db as well" in why_no_takeover(own, two, ["web"])[0]
    assert "one order to the other node has at most 100" in "".join(
        why_no_takeover(own, peer, [f"web{number}" for number in range(101)])
    )
    frozen = replace(own, services=(*own.services, replace(own.services[0], name="db")))
    assert why_no_takeover(frozen, two, ["web", "db"]) == []
    for leased in (replace(own, lease=LeaseStatus("off")), own):
        other = peer if leased.lease else replace(peer, lease=LeaseStatus("off"))
        assert "[[lease]] is configured" in why_no_takeover(leased, other, ["web"])[0]
    assert [each.kind for each in offers_of(own, peer, [], [])].count(DrillKind.TAKEOVER) == 1


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (replace(node("deb2"), peer_standing=PeerStanding.SILENT), "deb1 is silent"),
        (node("deb2"), "web: not STARTED on deb2"),
        (service(node("deb2", STATES.STARTED), script="status"), "a script runs on deb2"),
        (service(node("deb2", STATES.STARTED), name="db"), "web: no service of deb2"),
    ],
)
def test_node_that_plays_dead_looks_at_itself_once_more(status: NodeStatus, text: str) -> None:
    """Whatever the other node believes of it."""
    assert why_not_dead(status, ["web"]) == text


def test_node_plays_dead_long_enough_for_silence_and_stop() -> None:
    """By the longest timeout, and no longer than a drill may last."""
    own = node("deb1")
    assert seconds_of(own, 5.0) == 100.0
    slow = tuple(
        replace(link, spec=replace(link.spec, timeout_s=150.0 if link.is_sender else 100.0))
        for link in own.links
    )
    assert seconds_of(replace(own, links=slow), 5.0) == 157.0
    late = tuple(replace(link, spec=replace(link.spec, timeout_s=900.0)) for link in own.links)
    assert seconds_of(replace(own, links=late), 5.0) == 300.0
