"""Reading what writers and watchers of a block print."""

from __future__ import annotations

import pytest

from tests.acceptance.blocks import Line, handover, landed_after, lines
from tests.acceptance.scenarios.relogin import came_back

WRITES = """\
10.000 begun 1
13.000 done 1
13.000 begun 2
13.500 failed 2 EIO
20.500 begun 3
20.600 failed 3 EBADE
20.700 begun 4
20.900 failed 4 EBADE
21.000 begun 5
21.300 done 5
"""


def test_lines_are_read_with_their_time() -> None:
    """Instant and text, and what kind of text."""
    seen = lines(WRITES)
    assert seen[0] == Line(10.0, "begun 1") and seen[0].is_begun
    assert [line.text for line in seen if line.is_failed] == [
        "failed 2 EIO",
        "failed 3 EBADE",
        "failed 4 EBADE",
    ]
    assert [line.at for line in seen if line.is_done] == [13.0, 21.3]
    assert lines("") == []


def test_what_landed_late_is_of_that_node_and_later() -> None:
    """Neither what landed before, nor the other node's writes, nor an empty block."""
    seen = lines("9.0 \n10.0 deb1 1\n12.0 deb2 1\n13.0 deb1 2\n14.0 deb11 1\n")
    assert landed_after(seen, "deb1", 10.0) == [Line(13.0, "deb1 2")]
    assert landed_after(seen, "deb1", 13.0) == []


def test_a_path_is_back_with_its_first_answer() -> None:
    """The first refusal is an answer; transport errors are none."""
    back = came_back(lines(WRITES), 20.0)
    assert back is not None
    assert [round(value, 3) for value in back] == [0.6, 0.7, 2]


def test_a_path_without_a_good_write_is_not_back() -> None:
    """Refused to the end."""
    assert came_back(lines(WRITES)[:-1], 20.0) is None


def test_a_path_that_nobody_refused_is_back_at_once() -> None:
    """A target that keeps registrations over sessions."""
    assert came_back(lines("20.5 begun 1\n20.75 done 1\n"), 20.0) == (0.75, 0.0, 0)


def test_a_takeover_is_read_from_what_the_disk_has_seen() -> None:
    """The last write before, the first one of the successor, and what came too late."""
    seen = lines("9.0 \n10.0 deb1 1\n10.5 deb1 2\n36.5 deb2 1\n36.6 deb2 2\n")
    found = handover(seen, "deb1", "deb2")
    assert (found.last.text, found.first.text, found.margin_s) == ("deb1 2", "deb2 1", 26.0)
    assert found.late == []
    late = handover([*seen, Line(36.7, "deb1 3"), Line(36.8, "deb2 3")], "deb1", "deb2")
    assert late.late == [Line(36.7, "deb1 3")] and late.last == found.last


@pytest.mark.parametrize("seen", ["10.0 deb1 1\n", "10.0 deb2 1\n10.1 deb1 1\n", ""])
def test_no_takeover_is_read_where_one_has_not_written(seen: str) -> None:
    """A watch that saw nothing shows nothing."""
    with pytest.raises(ValueError, match="has written nothing"):
        handover(lines(seen), "deb1", "deb2")
