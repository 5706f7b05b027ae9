"""What the check-up script of a real agent's service prints of a fence: it goes to logs, so without
the password.
"""

from __future__ import annotations

from typing import Any

import pytest

from opensvc_openha.agent.config.service_file import parse_service_text
from opensvc_openha.agent.resources.fence_plan import carry_out
from opensvc_openha.plugin import check_up


def test_password_of_a_fence_is_neither_printed_nor_part_of_the_error(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """[stonith#1] with a password on its command line, and it fails: what was run is shown without
    it.
    """
    text = (
        "[DEFAULT]\nnodes = a b\n[stonith#1]\ntype = callout\ncmd = false ipmitool -U admin -P"
        " s3cr3t chassis power off\n"
    )
    file = parse_service_text(text, "svc.env", "svc", "a")
    section = next(each for each in file.sections if each.group == "stonith")
    agent: Any = None  # A callout needs none.
    report = carry_out([check_up._step(agent, file, section)], 50, check_up._log("svc"))
    shown = capfd.readouterr().out + report.story
    assert "s3cr3t" not in shown and shown.count("ipmitool -U admin -P *** chassis power off") == 4
    assert report.level is None and report.exit_code == 1
