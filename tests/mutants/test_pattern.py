"""Code is found by its syntax tree."""

from __future__ import annotations

import ast

import pytest

from tests.mutants.pattern import canonical, filled, places

SOURCE = """
def decide(self, now: float) -> None:
    # Why.
    rows = (
        Row('stopped', idle, "text that may change", holds=True, done=1),
        Row("stopped", busy, "another text"),
    )
    if (self.is_ready
            and now > 1.0):
        count: 'int' = 0
        self.start(now)
"""
SYMBOL = ast.parse(SOURCE).body[0]


@pytest.mark.parametrize(
    "pattern, times",
    [
        ("self.is_ready and (now > 1.0)", 1),
        ('Row("stopped", guard__, text__, **rest__)', 2),
        ('Row("stopped", guard__, text__)', 1),
        ('Row("stopped", guard__, text__, done=1, **rest__)', 1),
        ('Row("stopped", same__, same__)', 0),
        ("count = 0", 0),
        ("count: int = 0\nself.start(now)", 1),
        ("self.start(now)\ncount: int = 0", 0),
        ("self.stop(now)", 0),
    ],
)
def test_is_found_so_many_times(pattern: str, times: int) -> None:
    """Line breaks, quotes, parentheses and annotations do not count; order, names and values do."""
    assert len(places(SYMBOL, pattern)) == times


def test_new_code_has_what_the_old_one_matched() -> None:
    """The guard and the further named arguments go where the new code names them."""
    (place,) = places(SYMBOL, "Row(state__, guard__, text__, done=1, **rest__)")
    assert (
        filled("Row(state__, not guard__, done=2, **rest__)", place)
        == "Row('stopped', not idle, done=2, holds=True)"
    )


def test_statement_of_its_own_is_replaced_as_a_whole() -> None:
    """What is found is the statement, not only the call in it, so that it can become several."""
    (place,) = places(SYMBOL, "self.start(now)")
    assert isinstance(place.first, ast.Expr) and place.first is place.last


@pytest.mark.parametrize("text", ["a and (b or c)", "(a and\n   (b or c))", "a and ((b) or\nc)"])
def test_text_is_described_the_same_however_it_is_formatted(text: str) -> None:
    """The lines of equivalent.txt outlive a formatter."""
    assert canonical(text) == "a and (b or c)"


def test_what_is_no_whole_piece_of_code_is_reported_in_one_line() -> None:
    """Nothing is raised for it."""
    assert canonical("if a:\n   b c") == "if a: b c"
