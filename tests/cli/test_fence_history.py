"""The lines of `openha fence status --history`."""

from __future__ import annotations

import json

from opensvc_openha.cli.fence_history import lines_of
from opensvc_openha.cli.json_views import fence_history
from opensvc_openha.storage.fence_history import FenceEvent, PathHistory
from opensvc_openha.system import clock

STEP = FenceEvent(100.0, "begins, for web", True)
PROVED = FenceEvent(103.0, "done: off", True, "NODE: power: ipmi off")
REPAIRED = FenceEvent(104.0, "in order again", False)


def test_each_path_has_its_last_proof_and_its_newest_events() -> None:
    """Older ones are counted; a path of the plan that proved nothing says so, no other does."""
    paths = (
        PathHistory("ipmi", (STEP, PROVED, REPAIRED), True),
        PathHistory("spare", (), True),
        PathHistory("arbiter", (), True),
        PathHistory("web stonith#1", (REPAIRED,)),
    )
    at = [clock.precise_stamp(event.at) for event in (STEP, PROVED, REPAIRED)]
    assert lines_of(paths, shown=2) == [
        f"ipmi: last proved {at[1]}: NODE: power: ipmi off",
        "  ... 1 older (--json has them)",
        f"  {at[1]} ! done: off",
        f"  {at[2]}   in order again",
        "spare: never proved anything, as far as the history goes back",
        "arbiter",
        "web stonith#1",
        f"  {at[2]}   in order again",
    ]
    ipmi, spare, *_ = json.loads(fence_history(paths).text())["paths"]
    assert (ipmi["proved_at"], ipmi["proof"]) == (103.0, "NODE: power: ipmi off")
    assert ipmi["events"] == [vars(STEP), vars(PROVED), vars(REPAIRED)]
    assert spare == {"path": "spare", "proved_at": None, "proof": "", "events": []}


def test_node_that_never_fenced_says_so() -> None:
    """An empty output would look like a failure."""
    assert lines_of(()) == [
        "nothing was ever fenced or confirmed here, as far as the history goes back"
    ]
