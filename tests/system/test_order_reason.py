"""Why an order is given: as an option, and in the environment."""

from __future__ import annotations

import os

import pytest

from opensvc_openha.cli.parsing import Parser
from opensvc_openha.errors import UsageError
from opensvc_openha.system.order_reason import VARIABLE, drop_reason, given_reason


@pytest.fixture(autouse=True)
def _no_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "before")
    drop_reason()


def parser() -> Parser:
    found = Parser("openha order", "Order.")
    found.add_reason()
    return found


def test_option_gives_the_reason_of_what_the_process_asks() -> None:
    """Without outer blanks; without the option there is none."""
    parser().read([])
    assert given_reason() == ""
    parser().read(["--reason", " CHG-12: Kühlung, Saal 3 "])
    assert given_reason() == "CHG-12: Kühlung, Saal 3"


@pytest.mark.parametrize("text", ["", "  ", "two\nlines", "\x1b[2J", "x" * 201])
def test_option_that_is_no_line_is_refused(text: str) -> None:
    """With what is expected; 200 characters are."""
    with pytest.raises(UsageError, match="--reason: expected one line of at most 200 characters"):
        parser().read(["--reason", text])
    assert VARIABLE not in os.environ
    parser().read(["--reason", "x" * 200])


@pytest.mark.parametrize(
    ("text", "found"),
    [("a\nb\x1b", "a\\nb\\e"), ("x" * 300, "x" * 200), (" \n", ""), ("CHG-12", "CHG-12")],
)
def test_environment_never_keeps_an_order_from_being_carried_out(
    monkeypatch: pytest.MonkeyPatch, text: str, found: str
) -> None:
    """It is cut, and control characters are written out."""
    monkeypatch.setenv(VARIABLE, text)
    assert given_reason() == found
