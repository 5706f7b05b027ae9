"""S8: a fenced node that boots into the silence does not fence the survivor.

Exceptions:

* the configuration lets a node that never heard its peer fence it after some time, or beats are
  forged, which may stand for an answer (``may_fence_alone``)
* a beat of a C OpenHA acknowledges nothing: hearing it is enough
"""

from __future__ import annotations

from opensvc_openha.verify.invariants.observations import ScriptBegan, StepBegan
from opensvc_openha.verify.invariants.promise import Promise

S8 = Promise(
    "S8",
    "a node that was booted does not fence before its peer has answered it, or an operator"
    " confirmed that the peer is out",
)


def check_fence(seen: ScriptBegan, has_heard: bool) -> None:
    """Check that a node which fences has heard its peer since it was booted."""
    if seen.is_fence and not has_heard:
        text = "fences a peer that has not answered it since it booted"
        S8.fail(seen.at, seen.node, seen.service, text)


def check_step(seen: StepBegan, has_heard: bool) -> None:
    """Check the same for a step of the fence plan."""
    if not has_heard:
        S8.fail(seen.at, seen.node, "", "fences a peer that has not answered it since it booted")
