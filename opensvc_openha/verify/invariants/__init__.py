"""The promises of two nodes, and their check against what really happened.

One module for each: its statement, its check, its exceptions. `InvariantChecker` does not know how
the engine decides: it observes what was announced, heard, run and ordered.
"""

from opensvc_openha.verify.invariants.checker import InvariantChecker
from opensvc_openha.verify.invariants.l1_liveness import L1, fence_wait_bound_s, liveness_bound_s
from opensvc_openha.verify.invariants.l2_settles import L2, SETTLE_MOVES
from opensvc_openha.verify.invariants.l3_rounds import L3
from opensvc_openha.verify.invariants.observations import (
    Adopted,
    Announced,
    Arrived,
    Asked,
    Barred,
    Confirmed,
    DaemonBegan,
    DaemonEnded,
    Disturbed,
    DrillNoted,
    FellSilent,
    Fenced,
    Forged,
    Found,
    Heard,
    Logged,
    MediumRead,
    Moved,
    NodeLost,
    Observation,
    Ordered,
    Petted,
    PowerReported,
    RightLost,
    ScriptBegan,
    ScriptEnded,
    StartedByHand,
    StateLost,
    StepBegan,
    StepEnded,
    WriteLanded,
)
from opensvc_openha.verify.invariants.promise import InvariantBroken, Promise
from opensvc_openha.verify.invariants.s1_one_copy import S1
from opensvc_openha.verify.invariants.s2_evidence import S2
from opensvc_openha.verify.invariants.s3_frozen import S3
from opensvc_openha.verify.invariants.s4_shots import S4
from opensvc_openha.verify.invariants.s5_survivor import S5
from opensvc_openha.verify.invariants.s6_watchdog import S6
from opensvc_openha.verify.invariants.s7_barrier import S7
from opensvc_openha.verify.invariants.s8_booted import S8
from opensvc_openha.verify.invariants.s9_silence import S9
from opensvc_openha.verify.invariants.s10_isolated import S10
from opensvc_openha.verify.invariants.s11_drills import S11

PROMISES = (S1, S2, S3, S4, S5, S6, S7, S8, S9, S10, S11, L1, L2, L3)

__all__ = [
    "PROMISES",
    "SETTLE_MOVES",
    "Adopted",
    "Arrived",
    "Asked",
    "Barred",
    "Confirmed",
    "DaemonBegan",
    "DaemonEnded",
    "Disturbed",
    "DrillNoted",
    "FellSilent",
    "Fenced",
    "Forged",
    "Found",
    "Heard",
    "MediumRead",
    "InvariantBroken",
    "InvariantChecker",
    "Moved",
    "NodeLost",
    "Observation",
    "Ordered",
    "Petted",
    "Promise",
    "Announced",
    "ScriptBegan",
    "ScriptEnded",
    "StartedByHand",
    "Logged",
    "StateLost",
    "RightLost",
    "StepBegan",
    "StepEnded",
    "WriteLanded",
    "PowerReported",
    "fence_wait_bound_s",
    "liveness_bound_s",
]
