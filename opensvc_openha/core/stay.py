"""Define why a service stays on the node that runs it, although its primary could run it.

The note is written with the state of the service, so that the next daemon knows it as well.
"""

from __future__ import annotations

from opensvc_openha.core.state_marks import state_marks
from opensvc_openha.core.timing import FAILBACK_AGAIN_S
from opensvc_openha.records import dataclass


@state_marks(memory_s={"returned_at": FAILBACK_AGAIN_S + 1})
@dataclass(frozen=True)
class Stay:
    """Why a service stays where it is; nothing of it says that it may go back.

    ``is_ordered``: an operator brought it here, or took it from here. ``returned_at``: in seconds
    of the monotonic clock, when it was handed to its primary last, or came back from there; None if
    that is long ago.
    """

    is_ordered: bool = False
    returned_at: float | None = None


FREE = Stay()
ORDERED = Stay(is_ordered=True)
