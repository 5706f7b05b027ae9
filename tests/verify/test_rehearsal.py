"""Rehearsals of events from present states, in simulated time; compared with reality in e2e."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opensvc_openha.core.events import ScriptKind
from opensvc_openha.core.model import (
    ClusterSpec,
    ConnectivityPolicy,
    FenceNeeds,
    FencePath,
    FencingPolicy,
    FrozenStorage,
    LeasePolicy,
    LinkSpec,
    PathKind,
    Policy,
    Profile,
    ServiceSpec,
    Wire,
)
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import (
    AuthStatus,
    ConnectivityStatus,
    FenceGroup,
    FencingStatus,
    LinkStatus,
    NodeStatus,
    PathStatus,
    PeerStanding,
    PredictedPart,
    ServiceStatus,
)
from opensvc_openha.errors import ConfigError, UsageError
from opensvc_openha.storage.durations import ServiceTimes
from opensvc_openha.storage.history_entry import Entry, EntryKind
from opensvc_openha.verify.rehearsal.happenings import Happening, read_happenings
from opensvc_openha.verify.rehearsal.present import MEASURED, Lasting, Present
from opensvc_openha.verify.rehearsal.rehearsal import Rehearsal, Rehearsed, ServiceOutcome
from opensvc_openha.verify.rehearsal.timeline import MomentKind
from opensvc_openha.whatif.measured import newest_durations, of_file, of_peer
from opensvc_openha.whatif.text import as_text

OWN, PEER = "deb2.opensvc.com", "deb1.opensvc.com"
STARTED, STOPPED = ServiceState.STARTED, ServiceState.STOPPED
IPMI = FencePath("ipmi", PathKind.POWER, 30.0, mark="ipmi")
PDU = FencePath("pdu", PathKind.POWER, 30.0, mark="pdu")
FENCE = "/opt/fence"


def links(timeout_s: float = 2.0) -> tuple[LinkSpec, ...]:
    """Return two network links and a disk in each direction."""
    return tuple(
        link
        for index, node in enumerate((PEER, OWN))
        for link in (
            LinkSpec(node, "net", "eth1", f"239.131.50.1{index}", 5010, 0, timeout_s),
            LinkSpec(node, "net", "eth2", f"239.131.50.2{index}", 5020, 0, timeout_s),
            LinkSpec(node, "dio", "/dev/sdb", "", 0, 10 * index, timeout_s),
        )
    )


def present(
    check: str = FENCE,
    own: ServiceState | None = STOPPED,
    peer: ServiceState | None = STARTED,
    fencing: FencingPolicy = FencingPolicy(),
    standing: PeerStanding = PeerStanding.LIVE,
    policy: Policy = Policy(),
) -> Present:
    """Return a cluster as the standby of one service sees it."""
    service = ServiceSpec("web", "/etc/web", PEER, OWN, check, policy=policy)
    spec = ClusterSpec(OWN, PEER, links(), (service,), Profile.TUTORIAL, 3.0, fencing)
    status = ServiceStatus("web", PEER, OWN, peer or STOPPED, own or STOPPED, own, peer)
    node = NodeStatus(
        OWN, PEER, 1, standing, "", (), (status,), fencing=FencingStatus(has_heard=True)
    )
    measured = {
        ("web", ScriptKind.START): Lasting(4.0, MEASURED),
        ("web", ScriptKind.STOP): Lasting(1.0, MEASURED),
    }
    return Present(spec, node, measured)


def with_paths(known: Present, *paths: PathStatus) -> Present:
    """Return the same with what the standing check knows."""
    fencing = replace(known.status.fencing, paths=paths)
    return replace(known, status=replace(known.status, fencing=fencing))


def unready(known: Present, why: str) -> Present:
    """Return the same, but the service could not be started here."""
    service = replace(known.status.services[0], unready=why)
    return replace(known, status=replace(known.status, services=(service,)))


def path(name: str, state: str = "armed") -> PathStatus:
    """Return a path as the standing check sees it."""
    return PathStatus(name, "power", 0, state, tested_s=4.0, is_seen_on=True)


def play(known: Present, *words: str) -> Rehearsed:
    """Rehearse events; the copy begins as the nodes are."""
    result = Rehearsal(known).play(read_happenings(words))
    assert result.unlike == ()
    return result


def web(result: Rehearsed) -> ServiceOutcome:
    """Return what becomes of the service."""
    return result.services[0]


def states(result: Rehearsed, node: str) -> list[str]:
    """Return the states that the service goes through on a node."""
    return [
        moment.new
        for moment in result.moments
        if moment.kind is MomentKind.SERVICE and moment.node == node
    ]


def up_on(result: Rehearsed) -> list[str]:
    """Return where the service runs at the end."""
    return [node.node for node in web(result).nodes if node.is_up]


# --- takeovers ------------------------------------------------------------------------------------


def test_a_peer_without_power_is_fenced_and_its_service_taken_over() -> None:
    """Timeout, last call, the declared 3 s of the fence, the measured 4 s of the start."""
    result = play(present(), "peer-dies")
    assert states(result, OWN) == ["START_READY", "STARTING", "STARTED"]
    assert up_on(result) == [OWN]
    assert result.fenced == (), "it has no power any more"
    assert web(result).away_s == pytest.approx(2 + 0.1 + 3 + 4, abs=0.3)
    assert "start script of web: 4.0 s (as measured here)" in result.assumed


def test_fence_waits_for_a_peer_that_does_not_report_its_times() -> None:
    """As it waits now: the whole start-ready delay, and the result says why."""
    known, why = present(), "deb1 does not report that it knows how long its fences take"
    fencing = replace(known.status.fencing, why_delay=why)
    result = play(replace(known, status=replace(known.status, fencing=fencing)), "peer-dies")
    assert web(result).away_s == pytest.approx(2 + 5 + 3 + 4, abs=0.3)
    assert f"a fence waits for the whole start-ready delay: {why}" in result.assumed


def test_a_killed_daemon_leaves_its_service_up_until_the_fence_cuts() -> None:
    """The peer's service runs until its power is cut: it is away for the rest of fence and start
    alone.
    """
    result = play(present(), "peer-daemon-dies")
    assert [moment.cuts for moment in result.fenced] == [PEER]
    assert up_on(result) == [OWN]
    assert web(result).away_s == pytest.approx(0.1 * 3 + 4, abs=0.1)
    assert web(result).twice_s == 0.0


def test_a_check_up_that_proves_nothing_runs_the_service_twice_after_a_cut() -> None:
    """/bin/true and all links down: both nodes run it, and the result shows for how long."""
    result = play(present("/bin/true"), "all-links", "down")
    assert up_on(result) == [OWN, PEER]
    assert web(result).twice_s > 0
    assert "on BOTH nodes" in as_text(present("/bin/true"), (), result)


def test_an_orderly_stop_hands_over_and_one_of_the_standby_changes_nothing() -> None:
    """`ezha stop` on the owner: stop, then start here; on the standby: nothing is away."""
    owner = play(present(), "peer-daemon-stops")
    assert (up_on(owner), states(owner, PEER)) == ([OWN], ["STOPPING", "STOPPED"])
    standby = play(present(), "daemon stops")
    assert (up_on(standby), web(standby).away_s) == ([PEER], 0.0)
    assert [node.after for node in web(standby).nodes] == ["no daemon", "STARTED"]


def test_a_daemon_that_is_restarted_moves_nothing() -> None:
    """The peer's daemon says goodbye, leaves the service, and is back within the hold."""
    result = play(present(), "peer-daemon-restarts")
    assert (up_on(result), web(result).away_s, result.fenced) == ([PEER], 0.0, ())


def test_a_machine_that_reboots_comes_back_as_standby() -> None:
    """The owner reboots: one interruption, and it does not take the service back."""
    result = play(present(), "peer-reboots")
    assert up_on(result) == [OWN]
    assert [node.after for node in web(result).nodes] == ["STARTED", "STOPPED"]
    assert result.lasted_s > 60, "its boot is part of it"


def test_one_link_is_no_reason_to_move_anything() -> None:
    """Both nodes report the link down, and that is all."""
    result = play(present(), "link eth1 down")
    down = [moment.node for moment in result.moments if moment.kind is MomentKind.LINK]
    assert sorted(down) == [PEER, OWN]
    assert states(result, OWN) == states(result, PEER) == []


def test_an_interface_that_goes_down_is_noticed_at_once() -> None:
    """The peer is told over the other links, and does not wait for the timeout."""
    result = play(present(), "interface eth1 down")
    assert all(moment.at_s < 1 for moment in result.moments if moment.node == PEER)


def test_events_follow_each_other() -> None:
    """With eth2 and the disk cut first the peer's loss is found on the last link alone."""
    words = ("link", "eth2", "down", "then", "20", "link /dev/sdb down", "then", "20", "peer-dies")
    result = play(present(), *words)
    times = [moment.at_s for moment in result.moments if moment.kind is MomentKind.EVENT]
    assert times == pytest.approx([0, 20, 40])
    assert up_on(result) == [OWN]


# --- orders ---------------------------------------------------------------------------------------


def test_a_switch_stops_there_and_starts_here() -> None:
    """The owner stops it, the standby starts it: away for both scripts."""
    result = play(present(), "service -A web switch")
    assert states(result, PEER) == ["STOPPING", "STOPPED"]
    assert states(result, OWN) == ["START_READY", "STARTING", "STARTED"]
    assert web(result).away_s == pytest.approx(1 + 4, abs=0.2)


def test_a_refused_order_changes_nothing_and_is_answered() -> None:
    """A start here while the peer runs it."""
    result = play(present(), "service -A web start")
    answers = [moment.text for moment in result.moments if moment.kind is MomentKind.ANSWER]
    assert answers == ["answer to start: refused (here STOPPED, on the peer STARTED)"]


def test_a_frozen_standby_takes_nothing_over() -> None:
    """FROZEN_STOP here, and the peer dies: the service runs nowhere, and the reason is shown."""
    result = play(present(own=ServiceState.FROZEN_STOP), "peer-dies")
    assert up_on(result) == [] and web(result).is_away
    text = as_text(present(), (), result)
    assert "DOES NOT RUN at the end" in text and "FROZEN_STOP" in text


# --- what is not ready ----------------------------------------------------------------------------


def test_a_standby_that_could_not_start_it_fails_to() -> None:
    """The reason of `unready` becomes that of the failed start."""
    result = play(unready(present(), "/etc/web is missing"), "peer-dies")
    assert states(result, OWN)[-1] == "START_FAILED"
    assert "could not start here: /etc/web is missing" in web(result).nodes[0].why_not


def test_a_fence_that_failed_the_last_time_is_rehearsed_to_fail_again() -> None:
    """The service is not started, again and again, and the rehearsal ends all the same."""
    known = present()
    group = FenceGroup("fence", FENCE, ("web",), failures=1)
    fencing = replace(known.status.fencing, groups=(group,))
    result = play(replace(known, status=replace(known.status, fencing=fencing)), "peer-dies")
    assert web(result).is_away and states(result, OWN).count("START_FAILED") >= 3


# --- fence plan and lease -------------------------------------------------------------------------


def test_a_plan_goes_on_to_the_next_level_and_the_owner_is_ejected() -> None:
    """The first path does not answer: the second one cuts, after the arbiter's claim."""
    policy = FencingPolicy(levels=((IPMI,), (PDU,)), has_arbiter=True)
    known = with_paths(present(fencing=policy), path("ipmi", "unreachable"), path("pdu"))
    result = play(known, "all-links down")
    texts = [moment.text for moment in result.moments if moment.kind is MomentKind.FENCE]
    order = ("claim begins", "claim: done", "ipmi begins", "ipmi: failed", "pdu begins", "by the")
    assert [next(i for i, text in enumerate(texts) if word in text) for word in order] == sorted(
        range(len(order))
    )
    assert [moment.cuts for moment in result.fenced] == [PEER]
    assert states(result, PEER)[:1] == ["STOPPING"], "the owner has lost its right to the data"


def test_a_plan_whose_only_path_is_broken_proves_nothing() -> None:
    """The reason is what the standing check has found."""
    known = present(fencing=FencingPolicy(levels=((IPMI,),)))
    result = play(with_paths(known, path("ipmi", "unreachable")), "peer-dies")
    assert web(result).is_away
    assert "not proved: ipmi: unreachable" in web(result).nodes[0].why_not


def test_a_reservation_serves_a_service_that_needs_no_more() -> None:
    """fence_needs = data: nobody loses its power."""
    disks = FencePath("reservation", PathKind.RESERVATION, 40.0)
    known = present(fencing=FencingPolicy(levels=((disks,),)))
    service = replace(known.spec.services[0], fence_needs=FenceNeeds.DATA, has_reserved_data=True)
    known = replace(known, spec=replace(known.spec, services=(service,)))
    result = play(known, "peer-dies")
    assert (up_on(result), result.fenced) == ([OWN], ())


def test_a_promise_is_waited_for_and_no_longer() -> None:
    """A lease: nothing is started before the promised time, and the owner's watchdog resets it."""
    lease = FencePath("lease", PathKind.LEASE, 60.0)
    policy = FencingPolicy(levels=((lease,),), lease=LeasePolicy("/dev/watchdog", 4.0, 1.0))
    known = present(fencing=policy)
    known = replace(
        known, status=replace(known.status, authentication=AuthStatus("on", sends="k1"))
    )
    died = play(known, "peer-dies")
    assert up_on(died) == [OWN]
    begun = next(moment.at_s for moment in died.moments if moment.new == "STARTING")
    assert begun > 11
    cut = play(known, "link eth1 down then 0 link eth2 down")
    assert (up_on(cut), cut.fenced) == ([PEER], ()), "the disk still shows that both live"
    killed = play(known, "peer-daemon-dies")
    assert any("reset by its watchdog" in moment.text for moment in killed.moments)
    assert (up_on(killed), web(killed).twice_s) == ([OWN], 0.0)


def test_a_frozen_disk_of_the_owner_is_given_up() -> None:
    """This node runs it with `give_up`; its disks hang here and answer on the peer."""
    policy = Policy(frozen_storage=FrozenStorage.GIVE_UP, frozen_after_s=15.0)
    known = present(own=STARTED, peer=STOPPED, policy=policy)
    known = replace(
        known, status=replace(known.status, authentication=AuthStatus("on", sends="k1"))
    )
    result = play(known, "disk web hangs")
    assert "STOPPING" in states(result, OWN)


def with_targets(known: Present, own: str = "reachable", peer: str = "reachable") -> Present:
    """Return the same with nodes that ask a target."""
    spec = replace(known.spec, connectivity=ConnectivityPolicy(("192.0.2.1",)))
    connectivity = ConnectivityStatus(own, peer_reach=peer)
    return replace(known, spec=spec, status=replace(known.status, connectivity=connectivity))


def test_an_owner_without_its_uplink_hands_its_service_over() -> None:
    """Not if its gateway has died, nor to a peer that reports nothing; without targets it is
    refused.
    """
    known = with_targets(present(own=STARTED, peer=STOPPED))
    assert up_on(play(known, "uplink down")) == [PEER]
    assert up_on(play(known, "uplink down then 60 uplink up")) == [PEER]
    assert states(play(known, "gateway down"), OWN) == []
    unknown = with_targets(present(own=STARTED, peer=STOPPED), peer="")
    assert states(play(unknown, "uplink down"), OWN) == []
    with pytest.raises(ConfigError, match="no targets are configured"):
        play(present(), "uplink down")


@pytest.mark.parametrize("own", ["reachable", "isolated", "not known"])
def test_an_isolated_standby_takes_nothing_over(own: str) -> None:
    """As long as a person confirms nothing; one that knows nothing of its targets does."""
    known = with_targets(present(), own)
    assert up_on(play(known, "peer-dies")) == ([] if own == "isolated" else [OWN])
    if own == "isolated":
        assert up_on(play(known, "peer-dies then 60 fence confirm")) == [OWN]


# --- what is not known ----------------------------------------------------------------------------


def test_a_silent_peer_is_taken_to_be_off() -> None:
    """What is assumed of it is said, and what waits for a proof now goes on."""
    known = present(own=STARTED, peer=ServiceState.UNKNOWN, standing=PeerStanding.SILENT)
    result = play(known, "link eth1 down")
    assert result.assumed[0] == f"{PEER}, which is not heard, has no power and runs nothing"
    assert up_on(result) == [OWN]


def test_a_device_that_was_seen_on_is_believed_though_the_peer_is_silent_by_now() -> None:
    """The peer is silent, and what waits here for an order is started on the device's OFF."""
    policy = FencingPolicy(levels=((IPMI,),))
    known = present(
        own=ServiceState.FROZEN_STOP, peer=None, fencing=policy, standing=PeerStanding.SILENT
    )
    result = play(with_paths(known, path("ipmi")), "service -A web unfreeze")
    assert up_on(result) == [OWN]


def test_a_state_on_its_way_is_taken_to_have_ended() -> None:
    """STARTING on the peer: the result names what was assumed."""
    result = Rehearsal(present(peer=ServiceState.STARTING)).play(read_happenings(["peer-dies"]))
    assert "STARTING on deb1.opensvc.com: taken to have become STARTED" in result.unlike[0]
    assert up_on(result) == [OWN]


def test_what_is_not_copied_is_listed() -> None:
    """Services of the peer alone, a C OpenHA, a confirmation that holds."""
    known = present()
    rows = tuple(replace(link, wire=Wire.LEGACY) for link in known.spec.links)
    fencing = replace(known.status.fencing, confirmed_by="alice")
    status = replace(known.status, peer_only=("mail",), fencing=fencing)
    spec = replace(known.spec, links=rows)
    result = play(replace(known, spec=spec, status=status), "peer-dies")
    for text in ("mail, which deb1", "not as a C OpenHA", "the confirmation of alice"):
        assert any(text in line for line in result.assumed)


def test_a_link_that_is_down_now_stays_down() -> None:
    """With eth2 alone left, its cut makes the peer silent: it is fenced."""
    known = present()
    rows = {link: link.device == "eth2" for link in known.spec.links}
    ends = tuple(LinkStatus(link, link.node == OWN, is_up) for link, is_up in rows.items())
    result = play(replace(known, status=replace(known.status, links=ends)), "link eth2 down")
    assert not any("eth1" in moment.text for moment in result.moments)
    assert any("/dev/sdb, eth1: down now" in line for line in result.assumed)
    assert ([moment.cuts for moment in result.fenced], up_on(result)) == ([PEER], [OWN])


def test_a_peer_that_has_left_is_rehearsed_as_gone() -> None:
    """Its daemon said goodbye: what runs here stays, and its return is heard."""
    known = present(own=STARTED, peer=STOPPED, standing=PeerStanding.DEPARTED)
    result = play(known, "peer-daemon-starts")
    assert up_on(result) == [OWN]
    assert any("LIVE" in moment.text for moment in result.moments)


def test_the_newest_script_that_succeeded_is_what_is_measured() -> None:
    """Failures and status scripts do not count."""

    def ended(old: str, new: str, took_s: float | None) -> Entry:
        return Entry(1.0, 1.0, EntryKind.SCRIPT, "web", old, new, "", took_s=took_s)

    entries = [
        ended("start", "ok", 3.0),
        ended("start", "ok", 4.0),
        ended("start", "failed", 9.0),
        ended("status", "up", 0.1),
        ended("stop", "ok", None),
    ]
    assert newest_durations(entries) == {("web", ScriptKind.START): Lasting(4.0, MEASURED)}


def test_starts_are_those_of_the_prediction_here_or_on_the_peer() -> None:
    """The median of the daemon's file, and what the status has from the peer."""
    known = of_file("web", ServiceTimes(starts=(3.0, 9.0, 4.0)))
    assert known == {("web", ScriptKind.START): Lasting(4.0, MEASURED)}
    parts = (PredictedPart("START_READY", 5.0), PredictedPart(f"start script, as on {PEER}", 7.0))
    status = present().status
    service = replace(status.services[0], predicted_parts=parts)
    found = of_peer(replace(status, services=(service,)))
    assert found == {("web", ScriptKind.START): Lasting(7.0, f"as measured on {PEER}")}


def test_what_a_check_has_found_is_shown_where_it_is_no_reason_to_fail() -> None:
    """ready: no, but the engine does not take the service for unready."""
    known = present()
    service = replace(known.status.services[0], ready="no", ready_text="web.env differs")
    result = play(replace(known, status=replace(known.status, services=(service,))), "peer-dies")
    assert up_on(result) == [OWN]
    assert any("takeover ready: no: web.env differs" in line for line in result.assumed)


# --- words ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("peer-dyes", "did you mean peer-dies?"),
        ("link eth1 gone", "expected down or up at the end"),
        ("link down", "the name is missing"),
        ("service web fly", "expected `service -A NAME ORDER`"),
        ("peer-dies then", "an event is missing"),
        ("", "an event is missing"),
    ],
)
def test_words_that_mean_nothing_are_refused(words: str, message: str) -> None:
    """The error says what to write."""
    with pytest.raises(UsageError, match=message.replace("?", r"\?")):
        read_happenings(words.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("link eth9 down", "no heartbeat link is named 'eth9'"),
        ("interface sdb down", "uses the interface 'sdb'"),
        ("service mail stop", "service mail does not exist on this node"),
    ],
)
def test_names_that_are_not_there_are_refused(words: str, message: str) -> None:
    """Before anything is simulated."""
    with pytest.raises(ConfigError, match=message):
        Rehearsal(present()).play(read_happenings([words]))


def test_words_of_nodes_may_be_joined_or_not() -> None:
    """`peer dies`, `this-node reboots`, `daemon stops`."""
    words = ["peer", "dies", "then", "5", "this-node", "reboots", "then", "daemon", "stops"]
    planned = read_happenings(words)
    assert [event.happening for event in planned] == [
        Happening.DIES,
        Happening.REBOOTS,
        Happening.DAEMON_STOPS,
    ]
    assert [event.after_s for event in planned] == [0.0, 5.0, 30.0]
    assert [event.is_peer for event in planned] == [True, False, False]


@pytest.mark.parametrize(("is_kept", "on_primary"), [(False, "STARTED"), (True, "STOPPED")])
def test_service_goes_back_to_a_primary_that_is_ready(is_kept: bool, on_primary: str) -> None:
    """With `failback`, unless an operator keeps it here."""
    known = present(own=STARTED, peer=STOPPED, policy=Policy(failback_after_s=60.0))
    service = replace(known.status.services[0], is_kept_here=is_kept)
    known = replace(known, status=replace(known.status, services=(service,)))
    result = play(known, "link", "eth1", "down", "then", "20", "link", "eth1", "up")
    assert [side.after for side in web(result).nodes if side.node == PEER] == [on_primary]
