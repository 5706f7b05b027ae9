"""Faults that no change of one expression makes: an action forgotten, an order changed, a proof taken for another one.

They are listed in planted.txt, each with what a node then does wrong, the text that is there once, and what it becomes.
"""

from __future__ import annotations

from pathlib import Path

from tests.mutants.plant import Mutant, around

_LIST = Path(__file__).with_name("planted.txt")


def planted_in(path: Path) -> "list[Mutant]":
    """The mutants of the list in one file."""
    source = path.read_text(encoding="utf-8")
    return [_mutant(path.name, source, *item[1:]) for item in _listed() if item[0] == path.name]


def files() -> "set[str]":
    """The files that the list speaks of."""
    return {item[0] for item in _listed()}


def _listed() -> "list[tuple[str, str, str, str]]":
    """File, what it breaks, old text, new text."""
    found = []
    for piece in _LIST.read_text(encoding="utf-8").split("\n== ")[1:]:
        head, *lines = piece.rstrip("\n").split("\n")
        file, _, breaks = head.partition(": ")
        old, new = ("\n".join(line[2:] for line in lines if line.startswith(sign)) for sign in "-+")
        found.append((file, breaks, old, new))
    return found


def _mutant(file: str, source: str, breaks: str, old: str, new: str) -> Mutant:
    if source.count(old) != 1:
        raise ValueError(f"{_LIST.name}: {file}: {breaks}: must be there once, is there {source.count(old)} times:\n{old}")
    start = source.index(old)
    line = source.count("\n", 0, start) + 1
    function_line, where = around(source, line)
    return Mutant(file, line, f"by hand: {breaks}", start, start + len(old), old, new, not function_line, function_line, where,
                  is_by_hand=True)
