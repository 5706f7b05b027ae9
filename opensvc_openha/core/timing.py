"""Hold every duration that decisions use, in seconds, and the relations between them.

Link timeouts are not here: they are a column of the monitor file.
"""

from __future__ import annotations

from collections.abc import Sequence

from opensvc_openha.core.model import Profile
from opensvc_openha.records import dataclass

BEAT_INTERVAL_S = 1.0
"""Longest time between beats; a state change is sent at once."""

FIRST_BEAT_LIMIT_S = 1.2
"""Longest wait of a starting daemon for a first beat of the peer before it reports that it is
ready.
"""

ACK_GAP_S = 0.02
"""Shortest time between two beats that answer a request for an acknowledgement."""

NEWS_GAP_S = 0.02
"""Shortest time between two beats sent only because states changed.

What a script does is announced before it begins, without this wait.
"""

START_READY_DELAY_S = 5.0
"""Time in START_READY when the peer is silent: its last chance to be heard. Not used with a live
peer."""

FAST_BEAT_INTERVAL_S = 0.1
FAST_START_READY_DELAY_S = 0.2
"""The same in the profile ``fast``."""

BALANCED_BEAT_INTERVAL_S = 0.25
BALANCED_START_READY_DELAY_S = 0.5
"""The same in the profile ``balanced``, in which a service that has no fence keeps the delay of
``tutorial``: there nothing else keeps a cut apart from the peer's death."""

LAST_CALL_S = 0.1
"""Where both nodes know how long their fences take, a silent peer has so long to answer
START_READY, in place of the start-ready delay; see ``last_call_s``.

The fence is the proof. The wait is for what this node has not read yet, and for the answer to the
beat that announces START_READY.
"""

TURN_OPEN_S = 2.0
BALANCED_TURN_OPEN_S = 1.0
FAST_TURN_OPEN_S = 0.5
"""If both nodes may want to fence, they take turns.

A fence may begin within this time after its turn began.
"""

TURN_DRIFT = 0.13
"""The nodes' clocks may differ by half this part of the elapsed time, so turns get longer
accordingly.
"""

PROOF_LIFE_S = 60.0
"""A proof that the peer is out is used within this time, or obtained again."""

FENCE_RETRY_MAX_S = 50.0
"""Longest wait after a failed fence.

Together with the start-ready delay the next one begins within a minute.
"""

CLAIM_LIMIT_S = 15.0
"""Longest time of a claim: the arbiter aborts what the peer has in flight on its disk."""

STEP_GRACE_S = 10.0
"""A step of the fence plan whose end is not reported so long after its limit counts as failed."""

LEASE_LAST_READ_S = 3.0
"""Once the time that the peer promised is over, a round waits for so long for the last reads."""

STEP_AGAIN_S = 1.0
"""A round of the fence plan that could not begin, since this node stood still, waits for so long.
"""

SOLO_FENCING_S = 300.0
SOLO_GROWTH = 4.0
"""Where its peer has nothing to start, the holder of the right to fence first may fence at any
time, but for turns that are left to that peer: the first one after so long, then each so many times
as late as the one before."""

BOOT_PATIENCE_S = 30.0
"""A peer that announced a recent boot and fell silent is not fenced for this time.

A switch's spanning tree takes as long to forward frames of a new port.
"""

DRILL_DEAD_MAX_S = 300.0
"""Longest time for which a node plays dead in a drill."""

DRILL_REQUEST_MAX_S = 600
"""Longest time for which a drill may change anything by one request."""

DRILL_WORD_PART = 0.8
"""The word that a node which plays dead has stopped everything holds for this part of that time."""

DRILL_HOLD_MORE_S = 30.0
"""The other node holds its fences back for so much longer."""

DRILL_SPEAK_EARLIER_S = 10.0
"""A node that plays dead speaks again so long before the reported end of that hold at the latest.
"""


def hold_s(dead_s: float) -> float:
    """Return for how long fences are held back for a peer that plays dead for ``dead_s``."""
    return dead_s * (1.0 + TURN_DRIFT) + DRILL_HOLD_MORE_S


PUT_OFF_MAX_S = 10.0
"""Longest wait before a postponed script is decided again.

The first wait is a beat interval, then doubled.
"""


BALANCED_TIMEOUT_MIN_S = 1.0
"""Shortest link timeout with profile = balanced: four of its beats."""
FAST_TIMEOUT_MIN_S = 0.3
"""Shortest link timeout with profile = fast: three of its beats."""


@dataclass(frozen=True)
class Pace:
    """The durations that a time profile sets, in seconds."""

    beat_interval_s: float
    start_ready_delay_s: float
    turn_open_s: float
    """A fence may begin within this time after its turn began."""
    unfenced_delay_s: float
    """The start-ready delay of a service whose check-up script fences nobody."""
    least_timeout_s: float = 0.0
    """Shortest link timeout."""

    def __post_init__(self) -> None:
        assert self.start_ready_delay_s >= 2 * self.beat_interval_s, (
            "a returning peer must be heard before START_READY ends"
        )


PACES = {
    Profile.TUTORIAL: Pace(BEAT_INTERVAL_S, START_READY_DELAY_S, TURN_OPEN_S, START_READY_DELAY_S),
    Profile.BALANCED: Pace(
        BALANCED_BEAT_INTERVAL_S,
        BALANCED_START_READY_DELAY_S,
        BALANCED_TURN_OPEN_S,
        START_READY_DELAY_S,
        BALANCED_TIMEOUT_MIN_S,
    ),
    # A service without a fence is refused with it.
    Profile.FAST: Pace(
        FAST_BEAT_INTERVAL_S,
        FAST_START_READY_DELAY_S,
        FAST_TURN_OPEN_S,
        FAST_START_READY_DELAY_S,
        FAST_TIMEOUT_MIN_S,
    ),
}

PATIENCE_BEATS = 2
"""A link is not down before this many of the intervals that the peer announces have passed,
whatever its timeout.
"""

WORD_LIFE_MAX_S = START_READY_DELAY_S - BEAT_INTERVAL_S
"""A peer said that it is out: it starts nothing within the start-ready delay, unless it has fenced
this node. A word that is older proves nothing once the start script may begin.
"""
WORD_WAIT_S = PATIENCE_BEATS * BEAT_INTERVAL_S
"""A start beside a peer that is heard waits so long for its next word, if the last one is old once
its script may begin; then it is decided on again.
"""

SLOWING_DOWN_S = 2.0
"""A node configured to beat more slowly keeps its interval for this time while its beats announce
the new one.
"""

LEGACY_FRESH_S = 3.0
"""A C OpenHA not heard for longer proves nothing by earlier beats, even while its link is still up.
"""

LEGACY_STRAGGLER_S = 3.0
"""A beat with an earlier clock than the last one is late or repeated.

If no other comes for this time, the clock was set back.
"""

LEGACY_ECHO_S = 2.0
"""For this time after a goodbye in our own format, a beat in the original's format is still from
the daemon that left.
"""

STOP_HOLD_S = 5.0
"""After an operator's stop here, the peer has this long to take the service before this node may
start it again.
"""

STUCK_S = 15.0
"""If both nodes stay in START_READY for this long, both take themselves for the primary.

The last name yields.
"""

STORE_RETRY_S = 10.0
"""After a state could not be written, no start of that service is tried for this long."""

DUAL_RUN_STEP_BEATS = 3
"""Of two copies of a service, the second candidate for a stop waits this many beats for the first
to end.
"""

START_FAILURES_MAX = 2
START_FAILURES_WINDOW_S = 600.0
"""More failures of the start script than the limit, within this time on this node, leave the
service START_FAILED here.
"""

START_FAILURE_HOLD_S = 30.0
"""After a hand-over for a failed start, this node does not try the service again for this time."""

RESTART_HOLD_S = 30.0
"""After a goodbye that left services running, none of those is taken over for this time.

The daemon is restarting.
"""

GOODBYE_REPEATS = 3
GOODBYE_GAP_S = 0.05
"""Time between the copies of a goodbye, which is repeated since datagrams get lost."""

MUTE_REPEATS = 3
"""Number of notices of a node that cannot send on a link, alternating with ordinary beats."""

MUTE_READS = 1.2
"""Each notice stays in a disk slot for this many reading intervals.

Without a disk, for ``GOODBYE_GAP_S``.
"""

MUTE_REST_S = 1.0
"""An interface that goes down again within this time is announced only after it.

Flapping does not flood the peer.
"""

SLOT_READ_S = 0.25
SLOT_READ_LEAST_S = 0.05
SLOT_READS = 10
"""A disk slot is read so often in its link's timeout, at least and at most at these intervals: a
read late is a verdict late."""

LEAVE_SCRIPT_WAIT_S = 10.0
"""A daemon that leaves services running waits this long for running scripts."""

ENGINE_FAILURES_MAX = 5
"""A failed engine restarts this many times within the next duration.

Then this node falls silent.
"""

ENGINE_FAILURES_WINDOW_S = 600.0

ENGINE_AGAIN_S = 1.0
"""Wait before another attempt to restart an engine that could not even begin."""

STALL_FRACTION = 0.25
"""A step that is late by this part of the shortest link timeout means that this node was stalled.
"""

WORK_NOTED_S = 0.01
"""Shortest own work of the engine, such as writing states, that is distinguished from a stall of
the whole node.
"""

GATHER_S = 0.02
"""Longest wait of the end of a script for those of others, with which it shares a step."""

BACKLOG_S = 0.05
"""After such work, beats in the inbox are handled before a link is called down."""

STATE_WRITE_LIMIT_S = 10.0
"""While states are written the last beat is repeated, until nothing was written for this time.

A hung disk silences a node.
"""

CHECK_LIMIT_S = 60.0
START_LIMIT_S = 600.0
STOP_LIMIT_S = 600.0
PROBE_LIMIT_S = 60.0
"""Time limits of the scripts; beyond them the process group is killed."""

POWER_LOOK_LIMIT_S = 10.0
"""Limit of one question to a power device: a lost answer must not take the time of the next."""
POWER_CUT_LIMIT_S = 30.0
"""Limit of a cut of the peer's power with all its readings, if the device has none of its own."""
RESERVATION_LIMIT_S = 30.0
"""Limit of a preempt on all data disks of the services that wait, with all its readings."""
POWER_OFF_GAP_S = 1.0
"""Least time between the two readings that must both be off."""
AGENT_LOGIN_S = 3.0
AGENT_SHELL_S = 3.0
AGENT_POWER_S = 10.0
"""What a fence agent gets for its login, for each answer, and for the power to go off."""

KILL_GRACE_S = 5.0
"""Time between SIGTERM and SIGKILL for a script beyond its limit."""

FENCE_TIME_MAX_S = 2.0
"""Slowest fence for which profile = fast is accepted."""

FIRST_STATUS_LIMIT_S = 10.0
"""Longest wait of a command that started the daemon, or added a service, for the wrappers'
`status`.
"""

POWER_GAP_S = 5.0
"""A fence that reported the peer off is asked again after this time: two reports are a proof."""

POWER_AGAIN_S = 30.0
"""A fence that reported anything else is asked again after this time."""

READINESS_LOOK_S = 60.0
"""Interval of checking whether this node could start its services.

Scripts, and their wrappers' validation.
"""

OUTLOOK_FIRST_S = 20.0
"""Time from the start of the daemon to the first check of what this node could start."""
OUTLOOK_SOON_S = 5.0
"""After an edit, or a service that came to a stop here, it is checked again so soon."""
OUTLOOK_AGAIN_S = 60.0
"""While some service could not be started it is checked so often, at least."""
OUTLOOK_LIMIT_S = 180.0
"""Longest time of such a check."""
OUTLOOK_LOOK_S = 2.0
"""Interval of looking whether another check has left its findings."""
OUTLOOK_OLD_S = 900.0
"""Findings of a daemon before are shown until they are so old, or twice the interval."""

OUTSIDE_LOOK_S = 60.0
"""Interval of checking whether a stopped service was started outside the cluster."""

OUTSIDE_LOOK_SHARE = 0.05
"""Largest part of the time spent on these checks, however many services there are."""

OUTSIDE_LOOK_AGAIN_S = 3600.0
"""A wrapper that does not report whether its service runs is asked again after this time."""

PROBE_AGAIN_S = 30.0
"""A stopped service with parts up is queried again after this time."""

PROOF_PATIENCE_S = 3.0
"""A peer heard for this long without acknowledging this incarnation of ours is reported."""

SUSPICION_S = 30.0
"""Time for which a suspicion about the peer's identity is shown after its last sign."""

LINK_RETRY_S = 1.0
"""Time between two attempts to open a failed link."""

CONFIG_POLL_S = 2.0
"""Interval of checking whether a configuration file was edited by hand."""

INBOX_LIMIT = 10_000
"""Events that may wait for the engine; more beats than that are dropped and counted."""

HISTORY_INBOX_LIMIT = 50_000
"""Entries that may wait to be written to the history; more are lost and counted."""

HISTORY_ENTRIES = 50_000
"""Entries that the history keeps at least; the oldest are dropped first."""

RESERVED_LOOK_S = 1.0
"""Time between two looks at the reserved disks of services that run here.

An owner whose path came back without its registration writes again within two seconds.
"""

SERVICE_FENCES_LIMIT_S = 120.0
"""Longest time in which all devices of the sections of services are asked, one after the other."""

RESERVED_FIND_LIMIT_S = 30.0
"""Longest time in which the reserved disks are found."""

FENCE_LOOK_JITTER = 0.1
"""Part by which the time between two looks is longer or shorter.

Two nodes, and many clusters, then do not ask at the same moments.
"""

FENCE_REFUSALS_MAX = 3
"""Logins that a device may refuse in a row before the standing check stops."""

LEASE_WAIT_S = 5.0
"""A start waits at most so long for the watchdog and the confirmed promise."""

LEASE_CONFIRM_S = 5.0
"""A medium that takes nothing for so long does not keep a promise from being withdrawn, if another
one that the promise names has taken the withdrawal."""

LEASE_SETTLE_S = 6.0
"""A daemon that leaves waits at most so long for what it has to promise or to withdraw."""

LEASE_RETRY_S = 10.0
"""A watchdog that could not be armed is tried again after this time."""

LEASE_TAKEOVER_S = 10.0
"""A daemon that finds the watchdog armed has so long to hear a peer that takes promises."""

LEASE_MARGIN_S = 86400.0
"""The least margin of a permit is shown of the last day, and of the one before."""

DISK_LOOK_S = 2.0
"""Time between two reads of a disk whose freeze is to be noticed."""

DISK_ANSWER_S = 1.0
"""A read that takes longer has not been answered, until it is."""

DISK_LOOK_OLD_S = 5.0
"""What this node saw of its disks is not known any more after this time without a look."""

DISK_FACTS_OLD_S = 4.0
"""What the peer reports of its disks counts for so long after its beat."""

FROZEN_LOOK_S = 0.5
"""... and between two looks at one that has not answered."""

DATA_DISKS_FIND_S = 60.0
"""Time between two searches for the disks of services."""

FROZEN_REPORT_S = 5.0
"""A disk that has not answered for so long is recorded; a slow one is not."""

FROZEN_AFTER_LEAST_S = 15.0
"""Least time without an answer after which a service may be given up."""

FROZEN_STOP_S = 15.0
"""A stop that hangs on disks which do not answer has so long, before the node falls silent."""

FAILBACK_SETTLE_S = 60.0
"""With `failback = yes`: time for which the cluster must have been settled."""

FAILBACK_LOOK_S = 1.0
"""Time between two looks at whether a service may go back to its primary."""

FAILBACK_TRIAL_S = 600.0
"""A service that comes back so soon after it went to its primary has failed there."""

FAILBACK_AGAIN_S = 3600.0
"""Then it does not go there again for this time, or until an order."""

ORDER_LIFE_S = 10.0
"""A start within this time after an operator unfroze the service is by that order."""

GIVE_UPS_MAX = 2
GIVE_UPS_WINDOW_S = 600.0
"""A node gives a service up at most so often within this time: disks that freeze now here, now
there, do not pass it to and fro."""

PING_EVERY_LEAST_S = 0.2
"""Least time between two rounds of requests to the targets."""

PING_MISSES = 3
"""A node is isolated once none of its targets has answered in so many rounds in a row."""

PING_ANSWERS = 3
"""... and is not any more once one has in so many."""

PING_SLACK_S = 2.0
"""Rounds that are late by more than this are not awaited any more: nothing is known then."""

PEER_ANSWERS = 2
"""So many answers to the peer, later than its first report that it knows of the isolation of this
node: one of them at least was asked for since."""

CONNECTIVITY_FACTS_OLD_S = 4.0
"""What the peer reports of its targets counts for so long after its beat."""

ISOLATED_HOLD_S = 30.0
"""After a hand-over by an isolated node the peer has this long to take the service."""

ISOLATED_MOVES_MAX = 2
ISOLATED_MOVES_WINDOW_S = 600.0
"""A node hands a service over for its isolation once each time that it is isolated, and at most so
often within this time."""

SCRIPTS_AT_ONCE = 64
"""Scripts that may run at the same time on one node."""


def slot_read_s(timeout_s: float) -> float:
    """Return the seconds between two reads of the slot of a link with that timeout."""
    return min(SLOT_READ_S, max(SLOT_READ_LEAST_S, timeout_s / SLOT_READS))


assert WORD_LIFE_MAX_S * (1 + TURN_DRIFT) < START_READY_DELAY_S, "whichever clock is fast"
assert LEGACY_FRESH_S < WORD_LIFE_MAX_S and BEAT_INTERVAL_S < WORD_WAIT_S < WORD_LIFE_MAX_S, (
    "a peer in good health gives its word in time"
)
assert NEWS_GAP_S <= ACK_GAP_S, "an acknowledgement that is due says what is new as well"


def last_call_s(disk_timeouts_s: Sequence[float], has_network: bool) -> float:
    """Return how long the last call is, in seconds.

    Where disks are the only links, question and answer have to be read there.
    """
    read_s = 0.0 if has_network else slot_read_s(max(disk_timeouts_s, default=0.0))
    return max(LAST_CALL_S, 2 * read_s)


assert ACK_GAP_S + BACKLOG_S < LAST_CALL_S, (
    "the answer to START_READY comes in time, and what waits to be read is read"
)
assert ACK_GAP_S < FAST_BEAT_INTERVAL_S / 4, "an acknowledgement must not wait for the next beat"
assert all(
    pace.least_timeout_s > PATIENCE_BEATS * pace.beat_interval_s
    for profile, pace in PACES.items()
    if profile is not Profile.TUTORIAL
), "one lost beat is no silence"
assert min(pace.start_ready_delay_s for pace in PACES.values()) > LAST_CALL_S, "it is shorter"
assert 2 * BEAT_INTERVAL_S <= LEGACY_FRESH_S < START_READY_DELAY_S, (
    "one lost beat is none, a silent delay is no proof"
)
assert LEGACY_STRAGGLER_S >= 2 * BEAT_INTERVAL_S, "a disk is read a beat late"
assert LEGACY_ECHO_S > GOODBYE_REPEATS * GOODBYE_GAP_S + BEAT_INTERVAL_S, (
    "a disk is read a beat late"
)
assert STOP_HOLD_S >= 2 * BEAT_INTERVAL_S, "the peer must hear of the stop before the hold ends"
assert GOODBYE_REPEATS * GOODBYE_GAP_S < BEAT_INTERVAL_S, (
    "a goodbye is over before the next beat would be due"
)
assert STOP_HOLD_S < FAILBACK_LOOK_S + ORDER_LIFE_S < FAILBACK_SETTLE_S, "an order ends before"
assert START_FAILURES_WINDOW_S <= FAILBACK_TRIAL_S < FAILBACK_AGAIN_S, "a failure is noticed"
assert MUTE_READS > 1, "a disk is read while a notice is in its slot"
assert MUTE_READS * SLOT_READ_LEAST_S >= GOODBYE_GAP_S, (
    "a notice beside a disk stays as long as one without"
)
assert 3 * MUTE_READS / SLOT_READS + 1 / 4 < 1, (
    "a reader that knows no notice, four times in a timeout, hears enough"
)
assert MUTE_READS * SLOT_READ_S < BEAT_INTERVAL_S / 2, "notices do not slow down a beat a second"
assert START_FAILURE_HOLD_S > STOP_HOLD_S, "the peer goes first"
assert START_FAILURES_WINDOW_S > START_FAILURES_MAX * START_FAILURE_HOLD_S, (
    "the window must see the failures it counts"
)
assert ISOLATED_HOLD_S > STOP_HOLD_S, "the peer goes first"
assert ISOLATED_MOVES_WINDOW_S > ISOLATED_MOVES_MAX * ISOLATED_HOLD_S, (
    "the window must see the hand-overs it counts"
)
assert STUCK_S > START_READY_DELAY_S, "the roles decide first"
assert 0 < STALL_FRACTION < 1
assert LEASE_LAST_READ_S > 4 * SLOT_READ_S, "a slot that can be read was read by then"
assert WORK_NOTED_S < STALL_FRACTION * FAST_TIMEOUT_MIN_S, (
    "work that would pass for a stall is noted"
)
assert GATHER_S < FAST_BEAT_INTERVAL_S, "a state is announced no later than with the next beat"
assert BACKLOG_S < FAST_TIMEOUT_MIN_S, "no verdict is late by more than a link timeout for it"
assert PROOF_PATIENCE_S > 2 * BEAT_INTERVAL_S, "two lost beats are no reason to report anything"
assert FIRST_BEAT_LIMIT_S > BEAT_INTERVAL_S, "a peer in good health speaks once in that time"
assert LEAVE_SCRIPT_WAIT_S < RESTART_HOLD_S, (
    "a restart that waits for a script must fit into the peer's patience"
)
assert FENCE_RETRY_MAX_S + START_READY_DELAY_S < 60, (
    "a fence that failed is tried again within a minute"
)
assert BOOT_PATIENCE_S < PROOF_LIFE_S, "a peer that boots and dies is taken over within a minute"
assert 0 < PUT_OFF_MAX_S <= STORE_RETRY_S, (
    "a script that could not be begun waits no longer than a state"
)
assert DRILL_WORD_PART * (1 + TURN_DRIFT) < 1.0, "no word outlasts what it is about"
assert SOLO_GROWTH > (1 + TURN_DRIFT) ** 2, "turns that are left to the peer are few"
assert LEASE_CONFIRM_S < LEASE_SETTLE_S < RESTART_HOLD_S, "a broken medium delays a leave only"
assert PROOF_LIFE_S >= CHECK_LIMIT_S, "a proof outlives the wait for a place to run a script"
assert all(pace.turn_open_s > pace.beat_interval_s for pace in PACES.values()), (
    "a turn is not missed for one late step"
)
assert AGENT_LOGIN_S + AGENT_SHELL_S < POWER_LOOK_LIMIT_S, "a slow answer comes within the limit"
assert AGENT_LOGIN_S + AGENT_SHELL_S + AGENT_POWER_S + POWER_OFF_GAP_S < POWER_CUT_LIMIT_S, (
    "an agent that uses its whole time leaves time for the readings"
)
assert POWER_CUT_LIMIT_S < CHECK_LIMIT_S, "a cut fits into a check-up"
assert DISK_LOOK_S + DISK_ANSWER_S < DISK_LOOK_OLD_S, "one late look is no reason to know nothing"
assert BEAT_INTERVAL_S + PATIENCE_BEATS < DISK_FACTS_OLD_S, "nor are two lost beats"
assert (
    DISK_ANSWER_S + DISK_LOOK_OLD_S + DISK_FACTS_OLD_S + BEAT_INTERVAL_S
) * 1.09 < FROZEN_AFTER_LEAST_S * 0.91 - DISK_ANSWER_S, (
    "of an array that freezes for both, no answer is left that the peer reported before"
)
assert DISK_ANSWER_S < FROZEN_REPORT_S < FROZEN_AFTER_LEAST_S, "it is recorded before it counts"
assert GIVE_UPS_WINDOW_S > GIVE_UPS_MAX * (FROZEN_AFTER_LEAST_S + FROZEN_STOP_S), (
    "the last of them is noticed within the time"
)
