"""The power switch of the acceptance run: each manner is what it says, and the truth is kept."""

from __future__ import annotations

import pytest

from tests.acceptance.power import Manner, Outlets


class Lamp:
    """Something that can lose its power."""

    def __init__(self) -> None:
        self.is_on = True

    def cut_power(self) -> None:
        """Lose it."""
        self.is_on = False


def switch(lamp: Lamp, manner: Manner = Manner.HONEST) -> Outlets:
    """A switch with one outlet, which is treated like that."""
    outlets = Outlets({"deb1": lamp}, lambda _: None)
    outlets.behave("deb1", manner)
    return outlets


def test_an_honest_switch_cuts_and_says_so() -> None:
    """On, then off by an order; a cut is noted once."""
    lamp = Lamp()
    outlets = switch(lamp)
    assert outlets.answer("status deb1", "me") == "on"
    assert outlets.answer("off deb1", "me") == "off"
    assert not lamp.is_on and outlets.answer("status deb1", "me") == "off"
    outlets.answer("off deb1", "me")
    assert [name for _, name in outlets.cuts] == ["deb1"]


def test_a_deaf_switch_does_nothing_and_says_so() -> None:
    """The order is taken, the status is the truth."""
    lamp = Lamp()
    outlets = switch(lamp, Manner.DEAF)
    assert outlets.answer("off deb1", "me") == "on"
    assert lamp.is_on and outlets.answer("status deb1", "me") == "on" and not outlets.cuts


def test_a_lying_switch_does_nothing_and_says_off() -> None:
    """Off from the order on, until it is made to behave again."""
    lamp = Lamp()
    outlets = switch(lamp, Manner.LYING)
    assert outlets.answer("status deb1", "me") == "on"
    assert outlets.answer("off deb1", "me").startswith("off")
    assert lamp.is_on and outlets.answer("status deb1", "me") == "off" and not outlets.cuts
    outlets.behave("deb1", Manner.HONEST)
    assert outlets.answer("status deb1", "me") == "on"


@pytest.mark.parametrize("line", ["", "on deb1", "off deb9", "status", "off"])
def test_other_lines_are_errors(line: str) -> None:
    """Nothing is switched by a line that is not understood."""
    lamp = Lamp()
    assert switch(lamp).answer(line, "me").startswith("error") and lamp.is_on
