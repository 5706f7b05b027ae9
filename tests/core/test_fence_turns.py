"""Who may fence first, and when: the right, the turns, and what is announced of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from opensvc_openha.core.beat import LEGACY_INCARNATION, Ack, Beat, BootId
from opensvc_openha.core.facts import Facts, Turn
from opensvc_openha.core.fence_turns import FenceTurns
from opensvc_openha.core.fencing_memory import FencingMemory, Turns
from opensvc_openha.core.model import ClusterSpec, FencingPolicy, Policy, Profile, ServiceSpec
from opensvc_openha.core.peer_view import PeerView
from opensvc_openha.core.states import ServiceState as S
from tests.core.pair import links
from tests.core.plans import IPMI

OWN, LIFE = BootId(5, 55), BootId(9, 99)
NONE, CLAIMED, HELD = Turn.NONE, Turn.CLAIMED, Turn.HELD
AGREED = Turns(5.0, 2.0, 20.0)
ANCHOR = 100.0
FIRST = ANCHOR + 5.0
AFTER = [0.0, 20.0]
"""Seconds from turn 0 to each of the turns that were agreed on."""
for _ in range(20):
    AFTER.append(AFTER[-1] * 1.13 + 20.0)


def begin(index: int) -> float:
    """When a turn begins."""
    return FIRST + AFTER[index]


def service(
    name: str, check: str = "/etc/fence", primary: str = "deb1", **policy: object
) -> ServiceSpec:
    made = ServiceSpec(name, "/etc/x", primary, "deb2", check)
    return replace(made, policy=Policy(**policy))  # type: ignore[arg-type]


def spec(
    node: str = "deb1",
    *services: ServiceSpec,
    profile: Profile = Profile.TUTORIAL,
    timeout_s: float = 10.0,
    fencing: FencingPolicy = FencingPolicy(),
) -> ClusterSpec:
    peer = "deb2" if node == "deb1" else "deb1"
    rows = services or (service("web"),)
    return ClusterSpec(node, peer, links(timeout_s), rows, profile=profile, fencing=fencing)


def peer(
    facts: Facts | None = Facts(),
    states: Mapping[str, S] | None = None,
    acked: int = -1,
    silent: float | None = None,
    life: BootId = LIFE,
) -> PeerView:
    """A peer that is heard, or is silent since then."""
    view = PeerView(OWN)
    view.take(Beat("deb2", life, 5, Ack(OWN, acked), states or {}, facts=facts), 90.0)
    view.judge(silent is None, silent, 90.0)
    return view


UNHEARD = PeerView(OWN)
UNHEARD.judge(False, ANCHOR, 120.0)


def cut(turn: Turn = NONE, node: str = "deb1", is_wary: bool = False) -> FenceTurns:
    """A node whose peer is silent since ANCHOR."""
    memory = FencingMemory(silent_since=ANCHOR, turns=AGREED, is_wary=is_wary)
    turns = FenceTurns(spec(node), memory)
    turns.turn = turn
    return turns


@pytest.mark.parametrize(
    "own_s, theirs_s, timeout_s, profile, length_s",
    [
        (None, None, 10.0, Profile.TUTORIAL, 10 * 1.13 + 4),
        (6.0, None, 10.0, Profile.TUTORIAL, 16 * 1.13 + 4),
        (6.0, 4.0, 10.0, Profile.TUTORIAL, 16 * 1.13 + 4),
        (4.0, 6.0, 20.0, Profile.TUTORIAL, 26 * 1.13 + 4),
        (None, 0.5, 10.0, Profile.FAST, 10.5 * 1.13 + 0.7),
    ],
)
def test_turn_outlasts_the_slowest_fence_of_both_and_the_silence(
    own_s: float | None,
    theirs_s: float | None,
    timeout_s: float,
    profile: Profile,
    length_s: float,
) -> None:
    """Of either node, with the drift of their clocks, the beats and the time to begin."""
    turns = FenceTurns(spec(profile=profile, timeout_s=timeout_s), FencingMemory())
    assert turns.length_s(peer(Facts(fence_s=theirs_s)), own_s) == pytest.approx(length_s)
    # The next daemon, and a cut, keep what both had agreed on.
    kept = FenceTurns(spec(profile=profile), FencingMemory(turns=AGREED))
    assert kept.length_s(peer(), own_s) == AGREED.length_s


def test_turns_without_links_or_facts_have_a_length_too() -> None:
    """A node whose configuration lost its links."""
    bare = replace(spec(), links=())
    assert FenceTurns(bare, FencingMemory()).length_s(UNHEARD, None) == pytest.approx(4.0)


@pytest.mark.parametrize("profile, first_s", [(Profile.TUTORIAL, 5.0), (Profile.FAST, 0.2)])
def test_first_turn_begins_with_the_delay_of_the_profile(profile: Profile, first_s: float) -> None:
    """Nothing was agreed on."""
    turns = FenceTurns(spec(profile=profile), FencingMemory(silent_since=ANCHOR, turn=HELD))
    opens = turns.opens(peer(states={"web": S.STOPPED}), ANCHOR, None)
    assert opens == pytest.approx(ANCHOR + first_s)


WANTING = {"web": S.STOPPED}
"""A peer with something to start."""


@pytest.mark.parametrize(
    "node, own, theirs, now, opens",
    [
        # The holder: turn 0, then those by name.
        ("deb1", HELD, NONE, 100.0, begin(0)),
        ("deb1", HELD, NONE, 106.9, 106.9),
        ("deb1", HELD, NONE, 107.0, begin(3)),
        ("deb2", HELD, NONE, 107.0, begin(2)),
        ("deb2", HELD, NONE, begin(2) + 1.9, begin(2) + 1.9),
        ("deb2", HELD, NONE, begin(2) + 2.0, begin(4)),
        # The peer holds it, or did when it was heard last: turn 1 as well.
        ("deb1", NONE, HELD, 100.0, begin(1)),
        ("deb2", NONE, HELD, 100.0, begin(1)),
        ("deb2", CLAIMED, HELD, 126.0, 126.0),
        ("deb1", NONE, HELD, 127.0, begin(3)),
        ("deb2", NONE, HELD, 127.0, begin(2)),
        # Neither, or both: only turns by name, later than turn 1.
        ("deb1", NONE, CLAIMED, 100.0, begin(3)),
        ("deb1", CLAIMED, NONE, 100.0, begin(3)),
        ("deb2", NONE, NONE, 100.0, begin(2)),
        ("deb1", HELD, HELD, 107.0, begin(3)),
    ],
)
def test_turns_are_taken_by_right_and_then_by_name(
    node: str, own: Turn, theirs: Turn, now: float, opens: float
) -> None:
    """Never by both nodes at once."""
    view = peer(Facts(turn=theirs), WANTING, silent=ANCHOR)
    assert cut(own, node).opens(view, now, None) == pytest.approx(opens)


def test_no_turn_is_kept_beside_a_peer_that_is_heard() -> None:
    """A fence that an operator wants then."""
    turns = FenceTurns(spec(), FencingMemory(turns=AGREED))
    assert turns.opens(peer(states=WANTING), 103.0, None) == 103.0


@pytest.mark.parametrize("node, index", [("deb1", 9), ("deb2", 10)])
def test_wary_node_fences_only_in_turns_that_the_holder_leaves_to_it(node: str, index: int) -> None:
    """The first of its name after five minutes, then each four times as late."""
    assert AFTER[index - 2] < 300.0 <= AFTER[index]
    turns = cut(node=node, is_wary=True)
    view = peer(Facts(turn=HELD), WANTING, silent=ANCHOR)
    assert turns.opens(view, 100.0, None) == pytest.approx(begin(index))
    later = next(
        each
        for each in range(index + 1, len(AFTER))
        if AFTER[each] >= 4 * AFTER[index] and each % 2 == index % 2
    )
    assert turns.opens(view, begin(index) + 2.0, None) == pytest.approx(begin(later))


@pytest.mark.parametrize(
    "now, opens",
    [
        (100.0, 100.0),
        (106.0, 106.0),
        (120.0, 120.0),
        (begin(9) - 3.0, begin(9) - 3.0),
        (begin(9) + 1.9, begin(9) + 1.9),
        (begin(9) + 2.0, begin(11)),
        (begin(10) + 1.0, begin(11)),
        (begin(11) + 9.0, begin(11) + 9.0),
    ],
)
def test_holder_whose_peer_has_nothing_to_start_fences_at_any_time(
    now: float, opens: float
) -> None:
    """But for the turns that it leaves to the peer, and not so late that its fence reaches them."""
    view = peer(Facts(), {"web": S.FROZEN_STOP}, silent=ANCHOR)
    assert cut(HELD).opens(view, now, None) == pytest.approx(opens)


@pytest.mark.parametrize(
    "facts, states, is_content",
    [
        (Facts(), {"web": S.FROZEN_STOP}, True),
        (Facts(is_defending=True), {"web": S.FROZEN_STOP}, False),
        (Facts(), {"web": S.START_FAILED}, False),
        (Facts(), {"bare": S.STOPPED}, True),
        (Facts(), {"bare": S.STOPPED, "web": S.STOPPED}, False),
    ],
)
def test_peer_that_defends_or_would_fence_is_not_content(
    facts: Facts, states: dict[str, S], is_content: bool
) -> None:
    """A service without a fence makes no node fence, unless the node has a plan for all."""
    rows = service("web"), service("bare", "/bin/true")
    memory = FencingMemory(turn=HELD, silent_since=ANCHOR, turns=AGREED)
    turns = FenceTurns(spec("deb1", *rows), memory)
    view = peer(facts, states, silent=ANCHOR)
    assert turns.opens(view, 110.0, None) == pytest.approx(110.0 if is_content else begin(3))
    turns.reconfigure(spec("deb1", *rows, fencing=FencingPolicy(levels=((IPMI,),))))
    is_content = is_content and S.STOPPED not in states.values()
    assert turns.opens(view, 110.0, None) == pytest.approx(110.0 if is_content else begin(3))


@pytest.mark.parametrize("own", [HELD, NONE])
def test_peer_of_which_nothing_is_known_is_not_content(own: Turn) -> None:
    """The daemon began in the cut; it does not know that the peer holds the right either."""
    assert cut(own).opens(UNHEARD, 110.0, None) == pytest.approx(begin(3))


@pytest.mark.parametrize("own, opens", [(S.STARTED, begin(1)), (S.STOPPED, 101.0)])
def test_peer_without_facts_is_given_the_time_of_one_fence_where_something_runs(
    own: S, opens: float
) -> None:
    """It knows no turns, and fences at once if it has something to start."""
    turns, view = cut(), peer(None, WANTING, silent=ANCHOR, life=LEGACY_INCARNATION)
    turns.update({"web": own}, view, 1, None)
    assert turns.opens(view, 101.0, None) == pytest.approx(opens)
    assert turns.opens(view, 140.0, None) == 140.0


@pytest.mark.parametrize("now, opens", [(101.0, 130.0), (131.0, 131.0)])
def test_peer_that_was_booting_is_given_time(now: float, opens: float) -> None:
    """Half a minute from the silence on."""
    view = peer(Facts(is_booting=True), {"web": S.FROZEN_STOP}, silent=ANCHOR)
    assert cut(HELD).opens(view, now, None) == pytest.approx(opens)


# --- the silence ----------------------------------------------------------------------------------


def test_beat_ends_the_turns_and_a_peer_without_facts_the_right() -> None:
    """Such a peer does not take part in the agreement."""
    for facts, kept in ((Facts(), HELD), (None, NONE)):
        turns = cut(HELD, is_wary=True)
        turns.record_heard(peer(facts), 110.0)
        assert turns.anchor is None and not turns.is_wary and turns.turn is kept


@pytest.mark.parametrize(
    "silent_s, heard_at, anchor",
    [(None, 110.0, 120.0), (4.0, 110.0, 106.0), (0.0, 110.0, 110.0), (4.0, 130.0, 120.0)],
)
def test_turns_are_counted_from_the_earlier_of_the_two_silences(
    silent_s: float | None, heard_at: float, anchor: float
) -> None:
    """Of that which the peer had reported while it was heard; once for each silence."""
    turns = FenceTurns(spec(), FencingMemory())
    turns.record_heard(peer(Facts(silent_s=silent_s)), heard_at)
    assert not turns.record_silence(peer(), True) and turns.anchor is None
    view = peer(silent=120.0)
    assert turns.record_silence(view, True) and turns.anchor == anchor
    assert not turns.record_silence(peer(silent=150.0), True) and turns.anchor == anchor


@pytest.mark.parametrize(
    "own, view, has_heard, is_wary",
    [
        (NONE, UNHEARD, True, True),
        (NONE, UNHEARD, False, False),
        (HELD, UNHEARD, True, False),
        (NONE, peer(Facts(turn=HELD), acked=7, silent=120.0), True, True),
        (NONE, peer(Facts(turn=CLAIMED), acked=6, silent=120.0), True, True),
        (NONE, peer(Facts(turn=HELD), acked=8, silent=120.0), True, False),
        (NONE, peer(Facts(turn=NONE), acked=7, silent=120.0), True, False),
        (NONE, peer(None, acked=7, silent=120.0), True, False),
        (CLAIMED, peer(Facts(turn=HELD), acked=7, silent=120.0), True, True),
        (HELD, peer(Facts(turn=HELD), acked=7, silent=120.0), True, False),
    ],
)
def test_node_is_wary_of_a_peer_that_may_take_it_for_idle(
    own: Turn, view: PeerView, has_heard: bool, is_wary: bool
) -> None:
    """The peer may hold the right, and the newest beat that it had was of an idle node."""
    turns = FenceTurns(spec(), FencingMemory(is_wary=not is_wary))
    turns.update({"web": S.STARTED}, PeerView(OWN), 7, None)
    turns.update({"web": S.STOPPED}, PeerView(OWN), 8, None)
    turns.turn = own
    turns.record_silence(view, has_heard)
    assert turns.is_wary is is_wary


def test_owner_that_defends_is_not_idle() -> None:
    """It fences a silent peer although it has nothing to start."""
    turns = FenceTurns(spec("deb1", service("web", is_defended=True)), FencingMemory())
    turns.update({"web": S.STARTED}, PeerView(OWN), 7, None)
    turns.record_silence(peer(Facts(turn=HELD), acked=7, silent=120.0), True)
    assert not turns.is_wary


# --- the right ------------------------------------------------------------------------------------

IDLE, RUNNING = {"web": S.STOPPED}, {"web": S.STARTED}


@pytest.mark.parametrize(
    "node, own, facts, states, announced, turn",
    [
        # By name, where all else is equal.
        ("deb1", NONE, Facts(), IDLE, IDLE, CLAIMED),
        ("deb2", HELD, Facts(), IDLE, IDLE, NONE),
        ("deb2", NONE, Facts(), IDLE, IDLE, NONE),
        # Who runs nothing goes first.
        ("deb1", HELD, Facts(), IDLE, RUNNING, NONE),
        ("deb2", NONE, Facts(), RUNNING, IDLE, CLAIMED),
        ("deb1", HELD, Facts(), IDLE, {"web": S.STARTED, "db": S.STOPPED}, NONE),
        # By priority, where both run something.
        ("deb2", NONE, Facts(priority=1), RUNNING, RUNNING, CLAIMED),
        ("deb1", HELD, Facts(priority=4), RUNNING, RUNNING, NONE),
        ("deb1", NONE, Facts(priority=3), RUNNING, RUNNING, CLAIMED),
        ("deb2", HELD, Facts(priority=3), RUNNING, RUNNING, NONE),
        # Who defends goes first, whatever runs.
        ("deb1", HELD, Facts(is_defending=True), RUNNING, IDLE, NONE),
        # The peer claims it too: the last name withdraws, the holder does not.
        ("deb1", NONE, Facts(turn=CLAIMED), IDLE, IDLE, NONE),
        ("deb1", CLAIMED, Facts(turn=CLAIMED), IDLE, IDLE, CLAIMED),
        ("deb2", CLAIMED, Facts(turn=CLAIMED), RUNNING, IDLE, NONE),
        ("deb2", HELD, Facts(turn=CLAIMED), RUNNING, IDLE, HELD),
        # The peer holds it.
        ("deb1", NONE, Facts(turn=HELD), IDLE, IDLE, NONE),
        ("deb1", CLAIMED, Facts(turn=HELD), IDLE, IDLE, NONE),
        ("deb1", HELD, Facts(turn=HELD), IDLE, IDLE, HELD),
        ("deb2", HELD, Facts(turn=HELD), RUNNING, IDLE, NONE),
        ("deb1", HELD, Facts(), IDLE, IDLE, HELD),
    ],
)
def test_right_goes_to_the_node_that_should_be_first(
    node: str,
    own: Turn,
    facts: Facts,
    states: dict[str, S],
    announced: dict[str, S],
    turn: Turn,
) -> None:
    """Given up first, taken later."""
    turns = FenceTurns(spec(node, service("web", priority=3)), FencingMemory())
    turns.turn = own
    turns.update(announced, peer(facts, states), 7, None)
    assert turns.turn is turn


def test_defended_service_outranks_what_runs() -> None:
    """And two of them do not: then the rest decides."""
    for facts, turn in ((Facts(priority=9), CLAIMED), (Facts(is_defending=True, priority=9), NONE)):
        turns = FenceTurns(spec("deb2", service("web", is_defended=True)), FencingMemory())
        turns.update(RUNNING, peer(facts, RUNNING), 7, None)
        assert turns.turn is turn
    turns = FenceTurns(spec("deb1", service("web", is_defended=True)), FencingMemory())
    turns.update(IDLE, peer(Facts(is_defending=True), RUNNING), 7, None)
    assert turns.turn is NONE, "it is not defended where it does not run"


def test_claim_becomes_the_right_once_the_very_beat_is_acknowledged() -> None:
    """With the peer's newest beat."""
    turns = FenceTurns(spec(), FencingMemory())
    turns.update(IDLE, peer(states=IDLE, acked=99), 7, None)
    assert turns.turn is CLAIMED
    for next_seq, acked, turn in ((8, 6, CLAIMED), (9, 7, HELD)):
        turns.update(IDLE, peer(states=IDLE, acked=acked), next_seq, None)
        assert turns.turn is turn


@pytest.mark.parametrize("view", [peer(None), peer(silent=120.0), PeerView(OWN)])
@pytest.mark.parametrize("own", [HELD, CLAIMED])
def test_right_changes_only_beside_a_peer_that_is_heard_with_facts(
    own: Turn, view: PeerView
) -> None:
    """A silence takes it from no node."""
    turns = FenceTurns(spec("deb2"), FencingMemory())
    turns.turn = own
    turns.update(RUNNING, view, 7, None)
    assert turns.turn is own


@pytest.mark.parametrize(
    "kept, turn", [(NONE, NONE), (CLAIMED, NONE), (HELD, HELD)], ids=["none", "claimed", "held"]
)
def test_claim_of_the_former_daemon_is_none(kept: Turn, turn: Turn) -> None:
    """The right is kept."""
    turns = FenceTurns(spec(), FencingMemory(turn=kept))
    assert turns.turn is turn and turns.kept_turn is kept


# --- what both can compute ------------------------------------------------------------------------


def test_other_turns_count_once_the_peer_can_compute_them() -> None:
    """From the beat on that it has acknowledged; what does not change is counted from its first."""
    turns = FenceTurns(spec(), FencingMemory(turns=AGREED))
    new = Turns(5.0, 2.0, 16 * 1.13 + 4)
    for next_seq, acked, agreed in ((7, 6, AGREED), (8, 6, AGREED), (9, 7, new)):
        turns.update(IDLE, peer(acked=acked), next_seq, 6.0)
        assert turns.agreed == agreed
    turns.update(IDLE, peer(acked=9), 10, 8.0)
    assert turns.agreed == new
    turns.update(IDLE, peer(acked=10), 11, 8.0)
    assert turns.agreed == Turns(5.0, 2.0, 18 * 1.13 + 4)


def test_first_turns_count_as_well_only_when_they_are_acknowledged() -> None:
    """A peer without facts acknowledges none: it computes nothing."""
    turns = FenceTurns(spec(), FencingMemory())
    turns.update(IDLE, peer(acked=6), 7, None)
    assert turns.agreed is None
    turns.update(IDLE, peer(None), 8, None)
    assert turns.agreed == Turns(5.0, 2.0, 10 * 1.13 + 4)


@pytest.mark.parametrize("case", ["silence", "called silent", "unheard"])
def test_nothing_is_agreed_on_in_a_cut(case: str) -> None:
    """It changes nothing about one that has begun."""
    turns = FenceTurns(spec(), FencingMemory(turns=AGREED))
    view = peer(acked=50)
    if case == "silence":
        turns.record_silence(peer(silent=ANCHOR), True)
    elif case == "called silent":
        turns.record_heard(peer(Facts(silent_s=3.0)), ANCHOR)
    else:
        view = PeerView(OWN)
    turns.update(IDLE, view, 7, None)
    assert turns.agreed == AGREED


# --- what is announced ----------------------------------------------------------------------------


def test_facts_are_those_of_what_runs_here() -> None:
    """Priorities and `defend` count where the service runs, on a node of it."""
    rows = (
        service("web", priority=3),
        service("db", priority=10, is_defended=True),
        service("files", priority=30),
        service("other", priority=100, is_defended=True, primary="deb9"),
    )
    turns = FenceTurns(spec("deb1", *rows), FencingMemory())
    running = {"web": S.STARTED, "files": S.STOP_FAILED, "db": S.STOPPED, "other": S.STARTED}
    assert turns.facts(running, 100.0) == Facts(priority=33)
    assert turns.facts({"db": S.STARTING}, 100.0) == Facts(is_defending=True, priority=10)
    assert turns.facts({}, 100.0) == Facts()


def test_right_is_announced_as_held_while_the_next_daemon_would_have_it() -> None:
    """It was given up, and that is not on disk yet."""
    turns = FenceTurns(spec(), FencingMemory(turn=HELD))
    turns.turn = NONE
    assert turns.facts({}, 100.0).turn is HELD
    turns.kept_turn = CLAIMED
    assert turns.facts({}, 100.0).turn is NONE
    turns.turn = CLAIMED
    assert turns.facts({}, 100.0).turn is CLAIMED


def test_silence_is_announced_with_its_length() -> None:
    """Never less than none."""
    turns = cut()
    assert turns.facts({}, 104.5).silent_s == 4.5 and turns.facts({}, 99.0).silent_s == 0.0


def test_turns_of_the_former_daemon_that_are_planned_again_hold_at_once() -> None:
    """Nothing has changed: the peer need not acknowledge them again."""
    planned = Turns(5.0, 2.0, 10 * 1.13 + 4)
    turns = FenceTurns(spec(), FencingMemory(turns=planned))
    turns.update(IDLE, peer(acked=-1), 7, None)
    assert turns.agreed == planned


def test_node_that_always_had_something_to_start_is_not_taken_for_idle() -> None:
    """Not with its first beat either."""
    turns = FenceTurns(spec(), FencingMemory())
    turns.update(IDLE, PeerView(OWN), 1, None)
    turns.record_silence(peer(Facts(turn=HELD), acked=1, silent=120.0), True)
    assert not turns.is_wary


def test_node_without_the_right_waits_for_its_turn_beside_a_content_peer_too() -> None:
    """The peer may fence by an operator's order."""
    view = peer(Facts(turn=HELD), {"web": S.FROZEN_STOP}, silent=ANCHOR)
    assert cut().opens(view, 100.0, None) == pytest.approx(begin(1))


def test_first_turn_that_is_left_is_the_one_after_five_minutes() -> None:
    """Not one before, and that one if it begins in that very instant."""
    memory = FencingMemory(silent_since=ANCHOR, turns=Turns(5.0, 2.0, 300.0), is_wary=True)
    turns = FenceTurns(spec(), memory)
    assert turns.opens(peer(Facts(turn=HELD), WANTING, silent=ANCHOR), 100.0, None) == 405.0


def test_slowest_link_counts() -> None:
    """The peer is silent once the last of them is."""
    mixed = replace(spec(), links=(*links(10.0), *links(20.0)))
    assert FenceTurns(mixed, FencingMemory()).length_s(UNHEARD, None) == pytest.approx(26.6)
