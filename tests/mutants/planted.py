"""Faults that need more than one changed expression: a forgotten action, a changed order.

They are listed in planted.txt, and for the rooms around core in planted_rooms.txt: "== FILE SYMBOL:
what a node then does wrong", the code that occurs once in that symbol (-), and its replacement (+).
A symbol is a function, a method as ``Class.method``, or the name of a value of the module. Code is
compared as Python reads it (tests/mutants/pattern.py), so that a fault survives new line breaks,
comments and neighbours.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from tests.mutants.pattern import Place, filled, places
from tests.mutants.plant import Mutant, around, named_functions
from tests.mutants.rooms import path_of

_LISTS = (Path(__file__).with_name("planted.txt"), Path(__file__).with_name("planted_rooms.txt"))


@dataclass(frozen=True)
class _Entry:
    """One fault as listed."""

    list_name: str
    file: str
    symbol: str
    breaks: str
    old: str
    new: str

    def error(self, reason: str) -> ValueError:
        return ValueError(f"{self.list_name}: {self.file} {self.symbol}: {self.breaks}: {reason}")


def planted_in(file: str) -> list[Mutant]:
    """Return the listed mutants of one file."""
    source = path_of(file).read_text(encoding="utf-8")
    return [_mutant(source, entry) for entry in _listed() if entry.file == file]


def files() -> set[str]:
    """Return the files that the lists name."""
    return {entry.file for entry in _listed()}


@cache
def _listed() -> tuple[_Entry, ...]:
    found = []
    for path in _LISTS:
        for piece in path.read_text(encoding="utf-8").split("\n== ")[1:]:
            head, *lines = piece.rstrip("\n").split("\n")
            place, _, breaks = head.partition(": ")
            file, _, symbol = place.partition(" ")
            old, new = (
                "\n".join(line[2:] for line in lines if line.startswith(sign)) for sign in "-+"
            )
            found.append(_Entry(path.name, file, symbol, breaks, old, new))
    return tuple(found)


def _mutant(source: str, entry: _Entry) -> Mutant:
    """Replace the only match of the old code in the symbol by the new code."""
    symbol = _symbols(source).get(entry.symbol)
    if symbol is None:
        raise entry.error("no function, method or value of the module has this name")
    try:
        found = places(symbol, entry.old)
    except SyntaxError as error:
        raise entry.error(str(error)) from None
    if len(found) != 1:
        raise entry.error(f"must be there once, is there {len(found)} times:\n{entry.old}")
    return _planted_at(source, entry, found[0])


def _planted_at(source: str, entry: _Entry, place: Place) -> Mutant:
    lines = source.splitlines(keepends=True)
    first, last = place.first, place.last
    start = _offset(lines, first.lineno, first.col_offset)
    end = _offset(lines, last.end_lineno or 0, last.end_col_offset or 0)
    new = filled(entry.new, place)
    text = (
        new.replace("\n", "\n" + " " * first.col_offset)
        if isinstance(first, ast.stmt)
        else f"({new})"
    )
    line, where = around(source, first.lineno)
    return Mutant(
        entry.file,
        first.lineno,
        f"by hand: {entry.breaks}",
        start,
        end,
        source[start:end],
        text or "pass",
        not line,
        line,
        where,
        is_by_hand=True,
    )


@lru_cache(maxsize=4)
def _symbols(source: str) -> dict[str, ast.stmt]:
    """Return functions, methods and values of the module by their names."""
    tree = ast.parse(source)
    found: dict[str, ast.stmt] = dict(named_functions(tree))
    for item in tree.body:
        targets = (
            item.targets
            if isinstance(item, ast.Assign)
            else [item.target]
            if isinstance(item, ast.AnnAssign)
            else []
        )
        for target in targets:
            for name in target.elts if isinstance(target, ast.Tuple) else [target]:
                if isinstance(name, ast.Name):
                    found[name.id] = item
    return found


def _offset(lines: list[str], line: int, column: int) -> int:
    return sum(map(len, lines[: line - 1])) + len(
        lines[line - 1].encode("utf-8")[:column].decode("utf-8")
    )
