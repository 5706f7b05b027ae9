"""What one node does between two of its beats: at the very instant at which time allows it, and not
with the next beat.
"""

from __future__ import annotations

from opensvc_openha.core.beat import Goodbye
from opensvc_openha.core.events import Command, LeaveRequested, Leaving
from opensvc_openha.core.timing import LEAVE_SCRIPT_WAIT_S
from tests.core.bench import Bench, beats


def test_restart_is_reported_at_the_instant_at_which_the_wait_for_a_script_ends() -> None:
    """A stop script hangs, the order to restart came between two beats: RESTART 10 s after that
    order, not with a beat.
    """
    bench = Bench().started()
    bench.order(Command.STOP)
    bench.run(0.35)
    bench.step(LeaveRequested(Leaving.KEEP_SERVICES))
    done = bench.run(LEAVE_SCRIPT_WAIT_S - 0.01)
    assert all(beat.goodbye is Goodbye.NONE for beat in beats(done))
    assert [beat.goodbye for beat in beats(bench.run(0.02))] == [Goodbye.RESTART]
