"""The line that gives a reason, among what programs print, without secrets."""

from __future__ import annotations

import pytest

from opensvc_openha.fence_devices.device_answers import is_login_refused, telling_line

LIBRARY = """\
/usr/sbin/fence_x:5: DeprecationWarning: 'pipes' is deprecated
  from pipes import quote
2026-11-29 05:02:11,034 ERROR: Unable to get PowerState: https://127.0.0.1:8/x

2026-11-29 05:02:11,034 ERROR: Please use '-h' for usage

"""


@pytest.mark.parametrize(
    "output, line",
    [
        ("", ""),
        ("\n \n", ""),
        (LIBRARY, "Unable to get PowerState: https://127.0.0.1:8/x"),
        ("first\nlast\n", "last"),
        ("> RAKP 2 HMAC is invalid\nError: Unable to establish\n", "> RAKP 2 HMAC is invalid"),
        ("Traceback (most recent call last):\n  File x\nValueError: y\n", "ValueError: y"),
        ("Failed: bad\x1b[2J\n", "Failed: bad\\e[2J"),
        ("it is s3cr3t here\n", "it is *** here"),
        ("it is s3cr3t-longer here\n", "it is *** here"),
        ("password=other\n", "password=***"),
        (f"{'x' * 999}\n", "x" * 200),
    ],
)
def test_telling_line_is_found(output: str, line: str) -> None:
    """The last one, but for what gives no reason; a refused login before any other."""
    assert telling_line(output, ["s3cr3t", "s3cr3t-longer", ""]) == line


@pytest.mark.parametrize(
    "output, expected",
    [
        ("> RAKP 2 HMAC is invalid", True),
        ("RAKP 2 message indicates an error : unauthorized name", True),
        ("Activate Session command failed", True),
        ("Permission denied (publickey,password).", True),
        ("HTTP/1.1 401 Unauthorized", True),
        ("Error: Unable to establish IPMI v2 / RMCP+ session", False),
        ("Unable to connect/login to fencing device", False),
        ("port 4010 is closed", False),
        ("", False),
    ],
)
def test_refused_login_is_distinguished_from_an_answer_that_did_not_come(
    output: str, expected: bool
) -> None:
    """Many refused logins lock an account; lost answers do not."""
    assert is_login_refused(output) is expected
