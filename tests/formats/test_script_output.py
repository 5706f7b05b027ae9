"""Which line of a failed script's output is its reason."""

from __future__ import annotations

import pytest

from opensvc_openha.formats.script_output import with_output

OUTPUTS = {
    "1.7": (
        (
            "INFO    web.app#1   exec /opt/app.sh start as user root\n"
            "ERROR   web.app#1   start done in 0:00:00.02 - ret 1\n"
            "ERROR   web         'start' action stopped on execution error\n"
            "INFO    web         skip rollback start: no resource activated\n"
        ),
        "ERROR   web.app#1   start done in 0:00:00.02 - ret 1",
    ),
    "1.6": (
        (
            "19:29:20 INFO    WEB.APP#1   exec\n19:29:20 ERROR   WEB.APP#1   ret 1\n19:29:20 INFO  "
            "  WEB   skip\n"
        ),
        "19:29:20 ERROR   WEB.APP#1   ret 1",
    ),
    "1.8": (
        (
            "20:14:49,8 app#1   INFO    exec\n20:14:49,8 app#1   ERROR   ret 1\n20:14:49,8        "
            " INFO    skip\n"
        ),
        "20:14:49,8 app#1   ERROR   ret 1",
    ),
    "2.1": (
        "W warned\nE start aborted due to resource app#hb\n  more\n",
        "E start aborted due to resource app#hb",
    ),
    "none": ("first\nErrors are counted: 0\nbusy: /data\n", "busy: /data"),
}


@pytest.mark.parametrize("output,shown", OUTPUTS.values(), ids=OUTPUTS)
def test_the_reason_is_the_first_error_of_an_agent_or_else_the_last_line(
    output: str, shown: str
) -> None:
    """Agents continue after an error, with a rollback for instance.

    Any other script reports at the end what it failed for.
    """
    assert with_output("exited with 1", output) == f"exited with 1 ({shown})"


def test_a_script_that_prints_nothing_has_no_reason() -> None:
    """Only how it ended."""
    assert with_output("exited with 1", " \n") == "exited with 1"
