"""Faults that no change of one expression makes: an action forgotten, an order changed, a proof taken for another one.

They are listed in planted.txt, each with what a node then does wrong, the text that is there once, and what it becomes; and
for the rooms around core in planted_rooms.txt, where a fault is tied to a function, and to what stands there, not to its lines.
"""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path

from tests.mutants.plant import Mutant, around, named_functions
from tests.mutants.rooms import path_of

_LISTS = (Path(__file__).with_name("planted.txt"), Path(__file__).with_name("planted_rooms.txt"))


def planted_in(file: str) -> "list[Mutant]":
    """The mutants of the lists in one file."""
    source = path_of(file).read_text(encoding="utf-8")
    found = []
    for name, function, breaks, old, new in _listed():
        if name == file:
            found.append(_tied(file, source, function, breaks, old, new) if function else _mutant(file, source, breaks, old, new))
    return found


def files() -> "set[str]":
    """The files that the lists speak of."""
    return {item[0] for item in _listed()}


def _listed() -> "list[tuple[str, str, str, str, str]]":
    """File, function if it is tied to one, what it breaks, old text, new text."""
    found = []
    for path in _LISTS:
        for piece in path.read_text(encoding="utf-8").split("\n== ")[1:]:
            head, *lines = piece.rstrip("\n").split("\n")
            place, _, breaks = head.partition(": ")
            file, _, function = place.partition(" ")
            old, new = ("\n".join(line[2:] for line in lines if line.startswith(sign)) for sign in "-+")
            found.append((file, function, breaks, old, new))
    return found


def _mutant(file: str, source: str, breaks: str, old: str, new: str) -> Mutant:
    if source.count(old) != 1:
        raise ValueError(f"planted.txt: {file}: {breaks}: must be there once, is there {source.count(old)} times:\n{old}")
    start = source.index(old)
    line = source.count("\n", 0, start) + 1
    function_line, where = around(source, line)
    return Mutant(file, line, f"by hand: {breaks}", start, start + len(old), old, new, not function_line, function_line, where,
                  is_by_hand=True)


def _tied(file: str, source: str, function: str, breaks: str, old: str, new: str) -> Mutant:
    """In that function, what reads like the old text to Python: comments, line breaks and quotes do not count."""
    told = f"planted_rooms.txt: {file} {function}: {breaks}"
    body = named_functions(ast.parse(source)).get(function)
    if body is None:
        raise ValueError(f"{told}: there is no such function")
    places = _places(body, old, told)
    if len(places) != 1:
        raise ValueError(f"{told}: must be there once, is there {len(places)} times:\n{old}")
    first, last = places[0]
    lines = source.splitlines(keepends=True)
    start, end = _offset(lines, first.lineno, first.col_offset), _offset(lines, last.end_lineno or 0, last.end_col_offset or 0)
    text = new.replace("\n", "\n" + " " * first.col_offset) if isinstance(first, ast.stmt) else f"({new})"
    line, where = around(source, first.lineno)
    return Mutant(file, first.lineno, f"by hand: {breaks}", start, end, source[start:end], text or "pass", not line, line, where,
                  is_by_hand=True)


def _places(body: ast.AST, old: str, told: str) -> "list[tuple[ast.expr | ast.stmt, ast.expr | ast.stmt]]":
    """First and last node of each run of statements, or of each expression, that is the old text."""
    try:
        wanted = ast.parse(textwrap.dedent(old)).body
    except SyntaxError as error:
        raise ValueError(f"{told}: {error}") from None
    if len(wanted) == 1 and isinstance(wanted[0], ast.Expr):
        shape = ast.dump(wanted[0].value)
        whole = {id(node.value): node for node in ast.walk(body) if isinstance(node, ast.Expr)}
        same = [node for node in ast.walk(body) if isinstance(node, ast.expr) and ast.dump(node) == shape]
        return [(whole.get(id(node), node), whole.get(id(node), node)) for node in same]
    shapes, found = [ast.dump(statement) for statement in wanted], []
    for node in ast.walk(body):
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if not isinstance(block, list):
                continue
            for at in range(len(block) - len(shapes) + 1):
                if [ast.dump(statement) for statement in block[at:at + len(shapes)]] == shapes:
                    found.append((block[at], block[at + len(shapes) - 1]))
    return found


def _offset(lines: "list[str]", line: int, column: int) -> int:
    return sum(map(len, lines[:line - 1])) + len(lines[line - 1].encode("utf-8")[:column].decode("utf-8"))
