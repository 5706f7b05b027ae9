"""Why an order is given, in a person's words: ``--reason "CHG-12"``, or the variable OPENHA_REASON.

The variable carries it to the programs that a command runs, among them the drivers of real agents.
"""

from __future__ import annotations

import os

from opensvc_openha.formats.one_line import one_line

VARIABLE = "OPENHA_REASON"
REASON_CHARACTERS = 200
"""Longest reason."""


def check_reason(text: str) -> str:
    """Return the reason without outer blanks; raise ValueError for one that is no single line."""
    reason = text.strip()
    if not reason or not reason.isprintable() or len(reason) > REASON_CHARACTERS:
        raise ValueError(
            f"expected one line of at most {REASON_CHARACTERS} characters, as CHG-12;"
            f" found {one_line(repr(text)[:60])}"
        )
    return reason


def given_reason() -> str:
    """Return the reason of this process's orders; empty without one.

    One that is too long is cut: it never keeps an order from being carried out.
    """
    found = os.environ.get(VARIABLE, "").strip()
    return one_line(found[:REASON_CHARACTERS])[:REASON_CHARACTERS]


def drop_reason() -> None:
    """Keep the reason from what this process runs: it was for one order."""
    os.environ.pop(VARIABLE, None)
