"""Every duration the decisions use, in seconds, and the relations between them.

Link timeouts are not here: they are a column of the monitor file.
"""

from __future__ import annotations

from dataclasses import dataclass

from opensvc_openha.core.model import Profile

BEAT_INTERVAL_S = 1.0
"""A beat at least this often; a state change is sent at once."""

FIRST_BEAT_LIMIT_S = 1.2
"""A starting daemon waits this long for a first beat of the peer before it says that it is
ready."""

ACK_GAP_S = 0.02
"""Shortest time between two beats sent only to acknowledge."""

NEWS_GAP_S = 0.02
"""Shortest time between two beats sent only because states changed; before a script begins they are
announced at once."""

START_READY_DELAY_S = 5.0
"""Time in START_READY when the peer is silent: its last chance to be heard. Not used with a live
peer."""

FAST_BEAT_INTERVAL_S = 0.1
FAST_START_READY_DELAY_S = 0.2
"""The same in the profile ``fast``."""

TURN_OPEN_S = 2.0
FAST_TURN_OPEN_S = 0.5
"""Where both nodes may want to fence, they take turns: a fence may begin so long after its turn
began."""

TURN_DRIFT = 0.13
"""Clocks of the two nodes may differ by half as much of the time that has passed: turns get longer
accordingly."""

PROOF_LIFE_S = 60.0
"""A proof that the peer is out is used within that time, or sought again."""

FENCE_RETRY_MAX_S = 50.0
"""Longest wait after a failed fence; with the start-ready delay the next one begins within a
minute."""

SOLO_FENCING_S = 300.0
SOLO_GROWTH = 4.0
"""Where its peer has nothing to start, the holder of the right to fence first may fence at any
time, but for turns that are left to that peer: the first one after so long, then each so many times
as late as the one before."""

BOOT_PATIENCE_S = 30.0
"""A peer that announced that it has just booted and fell silent is not fenced before so long: a
switch's spanning tree takes that until it forwards what a new port sends."""

PUT_OFF_MAX_S = 10.0
"""Longest wait before a script that was decided on and not begun is decided on again; the first one
is a beat, then doubled."""


@dataclass(frozen=True)
class Pace:
    """The durations that a time profile sets, in seconds."""

    beat_interval_s: float
    start_ready_delay_s: float
    turn_open_s: float
    """A fence may begin so long after its turn began."""

    def __post_init__(self) -> None:
        assert self.start_ready_delay_s >= 2 * self.beat_interval_s, (
            "a returning peer must be heard before START_READY ends"
        )


PACES = {
    Profile.TUTORIAL: Pace(BEAT_INTERVAL_S, START_READY_DELAY_S, TURN_OPEN_S),
    Profile.FAST: Pace(FAST_BEAT_INTERVAL_S, FAST_START_READY_DELAY_S, FAST_TURN_OPEN_S),
}

PATIENCE_BEATS = 2
"""A link is not down before so many of the intervals that the peer's beats announce have passed,
whatever its timeout."""

SLOWING_DOWN_S = 2.0
"""A node that was told to beat slower keeps its pace for so long while its beats announce the new
one."""

LEGACY_FRESH_S = 3.0
"""A C OpenHA that was not heard for longer proves nothing by what it said before, even while its
link is still up."""

LEGACY_STRAGGLER_S = 3.0
"""A beat with an earlier clock than the last one is late or repeated; if no other comes for so
long, the clock was set back."""

LEGACY_ECHO_S = 2.0
"""After a goodbye in our own format, a beat in the original's format is still one of the daemon
that left."""

STOP_HOLD_S = 5.0
"""After an operator stopped a service here, the peer has this long to take it before this node may
start it again."""

STUCK_S = 15.0
"""Both nodes in START_READY for this long take themselves for the primary: the one whose name sorts
last yields."""

STORE_RETRY_S = 10.0
"""After a state could not be written, no start of that service is tried for this long."""

DUAL_RUN_STEP_BEATS = 3
"""Of two copies of a service, the second candidate for a stop waits so many beats for the first one
to go."""

START_FAILURES_MAX = 2
START_FAILURES_WINDOW_S = 600.0
"""A service whose start script failed more often than this, in this time, on this node stays
START_FAILED here."""

START_FAILURE_HOLD_S = 30.0
"""After a service was handed over for a failed start, this node does not try it again for so
long."""

RESTART_HOLD_S = 30.0
"""After a goodbye that left services running, no takeover of those for this long: the daemon is
being restarted."""

GOODBYE_REPEATS = 3
GOODBYE_GAP_S = 0.05
"""A goodbye is said this often, this far apart, since datagrams get lost."""

MUTE_REPEATS = 3
"""A node that cannot send on a link says so this often, in turns with ordinary beats."""

MUTE_READS = 1.2
"""Each of these beats stays in a disk slot for so many of the reads' intervals; without a disk,
``GOODBYE_GAP_S``."""

MUTE_REST_S = 1.0
"""An interface that goes down again within that time is told of only then: one that flaps does not
flood the peer."""

SLOT_READ_S = 0.25
SLOT_READ_LEAST_S = 0.05
SLOT_READS = 10
"""A disk slot is read so often in its link's timeout, at least and at most at these intervals: a
read late is a verdict late."""

LEAVE_SCRIPT_WAIT_S = 10.0
"""A daemon that leaves without stopping services waits this long for scripts that run."""

ENGINE_FAILURES_MAX = 5
"""So many times within the next duration an engine that failed begins again; then this node falls
silent."""

ENGINE_FAILURES_WINDOW_S = 600.0

ENGINE_AGAIN_S = 1.0
"""An engine that could not even begin again is tried once more after this time."""

STALL_FRACTION = 0.25
"""A step later than this part of the shortest link timeout means that this node was stalled."""

WORK_NOTED_S = 0.01
"""What the engine's own work must take, writing states say, to be told from a stall of the whole
node."""

BACKLOG_S = 0.05
"""After such work, what waits in the inbox is taken before a link is called down."""

STATE_WRITE_LIMIT_S = 10.0
"""While states are written the last beat is repeated, until nothing was written for so long: a hung
disk makes a node silent."""

CHECK_LIMIT_S = 60.0
START_LIMIT_S = 600.0
STOP_LIMIT_S = 600.0
PROBE_LIMIT_S = 60.0
"""Time limits of the scripts; the process group is killed when one is passed."""

KILL_GRACE_S = 5.0
"""Between SIGTERM and SIGKILL of a script that passed its limit."""

FENCE_TIME_MAX_S = 2.0
"""Slowest fence that profile = fast is offered with."""

FAST_TIMEOUT_MIN_S = 0.3
"""Shortest link timeout with profile = fast: three of its beats."""

FIRST_STATUS_LIMIT_S = 10.0
"""A command that started the daemon, or added a service, waits so long for what the wrappers'
`status` tells."""

POWER_GAP_S = 5.0
"""A fence that was asked and said that the peer is off is asked again after so long: twice is a
proof."""

POWER_AGAIN_S = 30.0
"""One that said anything else is asked again after so long."""

READINESS_LOOK_S = 60.0
"""How often a node looks whether it could start its services: scripts, and what their wrappers
validate."""

OUTSIDE_LOOK_S = 60.0
"""How often a node looks whether a service that it takes for stopped was started beside the
cluster."""

OUTSIDE_LOOK_SHARE = 0.05
"""At most this part of the time goes into those looks, however many services there are."""

OUTSIDE_LOOK_AGAIN_S = 3600.0
"""A wrapper that does not tell whether its service runs is asked again after so long."""

PROBE_AGAIN_S = 30.0
"""A stopped service of which parts were found up is asked about again after so long."""

PROOF_PATIENCE_S = 3.0
"""A peer heard that long without acknowledging this life of ours is reported."""

SUSPICION_S = 30.0
"""How long a suspicion about the peer's identity is shown after its last sign."""

LINK_RETRY_S = 1.0
"""Between two attempts to open a link that failed."""

CONFIG_POLL_S = 2.0
"""How often the daemon looks whether a configuration file was edited by hand."""

INBOX_LIMIT = 10_000
"""Events that may wait for the engine; more beats than that are dropped and counted."""

HISTORY_INBOX_LIMIT = 50_000
"""Entries that may wait to be written to the history; more are lost and counted."""

HISTORY_ENTRIES = 50_000
"""Entries the history keeps at least; the oldest go first."""

SCRIPTS_AT_ONCE = 64
"""Scripts that may run at the same time on one node."""


def slot_read_s(timeout_s: float) -> float:
    """Time between two reads of the slot of a link with that timeout."""
    return min(SLOT_READ_S, max(SLOT_READ_LEAST_S, timeout_s / SLOT_READS))


assert NEWS_GAP_S <= ACK_GAP_S, "an acknowledgement that is due says what is new as well"
assert ACK_GAP_S < FAST_BEAT_INTERVAL_S / 4, "an acknowledgement must not wait for the next beat"
assert FAST_TIMEOUT_MIN_S > PATIENCE_BEATS * FAST_BEAT_INTERVAL_S, "one lost beat is no silence"
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
assert STUCK_S > START_READY_DELAY_S, "the roles decide first"
assert 0 < STALL_FRACTION < 1
assert WORK_NOTED_S < STALL_FRACTION * FAST_TIMEOUT_MIN_S, (
    "work that would pass for a stall is noted"
)
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
assert SOLO_GROWTH > (1 + TURN_DRIFT) ** 2, "turns that are left to the peer are few"
assert PROOF_LIFE_S >= CHECK_LIMIT_S, "a proof outlives the wait for a place to run a script"
assert FAST_TURN_OPEN_S > FAST_BEAT_INTERVAL_S and TURN_OPEN_S > BEAT_INTERVAL_S, (
    "a turn is not missed for one late step"
)
