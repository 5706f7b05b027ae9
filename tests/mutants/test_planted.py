"""The list of manually planted faults follows the code: each names code and makes a program."""

from __future__ import annotations

import pytest

from tests.mutants.__main__ import equivalents
from tests.mutants.plant import mutants_of
from tests.mutants.planted import files, planted_in
from tests.mutants.rooms import ALL_FILES, path_of


@pytest.mark.parametrize("name", ALL_FILES)
def test_every_fault_of_the_list_can_be_planted(name: str) -> None:
    """Otherwise the code there has changed, and the fault must be rewritten in its list."""
    source = path_of(name).read_text(encoding="utf-8")
    for mutant in planted_in(name):
        compile(mutant.plant(source), mutant.name, "exec")


def test_list_is_long_enough_and_speaks_of_known_files_only() -> None:
    """At least a hundred, none for a file that is not looked at, no two described alike."""
    found = [mutant.lasting_name for name in ALL_FILES for mutant in planted_in(name)]
    assert len(found) > 100 and len(set(found)) == len(found)
    assert files() <= set(ALL_FILES)


def test_what_is_listed_as_equivalent_is_still_in_the_code() -> None:
    """Each line of equivalent.txt is a mutant that can be planted today, and has a reason."""
    named = {name.partition(" ")[0] for name in equivalents()}
    reported = {
        mutant.lasting_name
        for name in named & set(ALL_FILES)
        for mutant in (*mutants_of(name), *planted_in(name))
    }
    assert all(equivalents().values())
    assert set(equivalents()) <= reported
