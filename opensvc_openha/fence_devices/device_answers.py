"""Read what programs that talk to devices print: the telling line, without secrets."""

from __future__ import annotations

import re
from collections.abc import Iterable

from opensvc_openha.fence_devices.programs import ProgramEnd
from opensvc_openha.formats.one_line import one_line
from opensvc_openha.formats.secrets import MASK, mask_text

_TEXT_MAX = 200
_STAMP = re.compile(r"\A\d{4}-\d\d-\d\d [\d:,]+ (?:\w+: )?")
_NO_REASON = re.compile(r"DeprecationWarning|\A\s|\AUsage|\APlease use '-h'|\ATraceback")
_LOGIN = re.compile(
    r"invalid user ?name|unauthori[sz]ed|\b401\b|\b403\b|permission denied|login denied"
    r"|RAKP 2 (?:HMAC is invalid|message indicates an error)|Activate Session command failed"
    r"|invalid password|wrong password|authentication fail|insufficient privilege",
    re.IGNORECASE,
)


def telling_line(output: str, secrets: Iterable[str]) -> str:
    """Return the line that gives a reason, without secrets; empty if there is none.

    It is the last one, unless another one says that the login was refused.
    """
    lines = [_STAMP.sub("", line.rstrip()) for line in output.splitlines() if line.strip()]
    telling = [line for line in lines if not _NO_REASON.search(line)]
    if not telling:
        return ""
    refusal = next((line for line in telling if _LOGIN.search(line)), telling[-1])
    return masked(refusal, secrets)[:_TEXT_MAX]


def why_no_answer(end: ProgramEnd, secrets: Iterable[str] = ()) -> str:
    """Return how a program ended that gave no clear answer, with what it printed about that."""
    said = telling_line(end.output, secrets)
    how = end.problem or f"exit code {end.exit_code}"
    return f"{how}: {said}" if said else how


def masked(text: str, secrets: Iterable[str]) -> str:
    """Return a text as one line, without these secrets and what looks like one."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return one_line(mask_text(text))


def is_login_refused(output: str) -> bool:
    """Return whether the device refused the login: many of those lock an account."""
    return bool(_LOGIN.search(output))
