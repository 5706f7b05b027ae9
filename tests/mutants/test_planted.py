"""The list of faults planted by hand follows the code: what it names is there, and what it makes of it is a program."""

from __future__ import annotations

import pytest

from tests.mutants.__main__ import equivalents
from tests.mutants.plant import DECISIONS, mutants_of
from tests.mutants.planted import files, planted_in
from tests.mutants.watch import CORE


@pytest.mark.parametrize("name", DECISIONS)
def test_every_fault_of_the_list_can_be_planted(name: str) -> None:
    """A line of the code was changed: the fault that was planted there is to be written anew in planted.txt."""
    source = (CORE / name).read_text(encoding="utf-8")
    for mutant in planted_in(CORE / name):
        compile(mutant.plant(source), mutant.name, "exec")


def test_list_is_long_enough_and_speaks_of_the_decision_code_only() -> None:
    """At least a hundred, none for a file that nobody looks at, no two told alike."""
    found = [mutant.lasting_name for name in DECISIONS for mutant in planted_in(CORE / name)]
    assert len(found) > 100 and len(set(found)) == len(found)
    assert files() <= set(DECISIONS)


def test_what_is_said_to_change_nothing_is_still_in_the_code() -> None:
    """Each line of equivalent.txt is a mutant that can be planted today, and has a reason."""
    told = {mutant.lasting_name for name in DECISIONS for mutant in (*mutants_of(CORE / name), *planted_in(CORE / name))}
    assert all(equivalents().values())
    assert set(equivalents()) <= told
