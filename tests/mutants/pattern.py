"""Find code by its syntax tree: comments, line breaks, quotes and parentheses do not count.

Annotations do not count either. In a pattern, a name such as ``guard__`` matches any expression,
and ``**rest__`` at the end of a call all its further named arguments. The new code may use what
they matched.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Node = ast.expr | ast.stmt


@dataclass(frozen=True)
class Place:
    """First and last node of a match, which may be one, and the matches of the pattern's names."""

    first: Node
    last: Node
    captured: dict[str, Any]


def places(symbol: ast.stmt, pattern: str) -> list[Place]:
    """Return each expression, or run of statements, in the symbol that matches the pattern.

    Raises SyntaxError.
    """
    wanted = ast.parse(textwrap.dedent(pattern)).body
    if len(wanted) == 1 and isinstance(wanted[0], ast.Expr):
        return list(_expressions(symbol, wanted[0].value))
    return list(_runs(symbol, wanted))


def filled(new: str, place: Place) -> str:
    """Return the new code with the matched parts inserted."""
    if not place.captured:
        return new
    tree = ast.parse(textwrap.dedent(new))
    return ast.unparse(ast.fix_missing_locations(_Filling(place.captured).visit(tree)))


def canonical(text: str) -> str:
    """Return code in Python's own formatting; an incomplete piece without line breaks."""
    for attempt in (f"({text})", textwrap.dedent(text)):
        try:
            return ast.unparse(ast.parse(attempt))
        except SyntaxError:
            pass
    return " ".join(text.split())


def _expressions(symbol: ast.stmt, wanted: ast.expr) -> Iterator[Place]:
    statements = {id(node.value): node for node in ast.walk(symbol) if isinstance(node, ast.Expr)}
    for node in ast.walk(symbol):
        captured: dict[str, Any] = {}
        if isinstance(node, ast.expr) and _matches(wanted, node, captured):
            whole = statements.get(id(node), node)
            yield Place(whole, whole, captured)


def _runs(symbol: ast.stmt, wanted: Sequence[ast.stmt]) -> Iterator[Place]:
    blocks = [[symbol]]
    for node in ast.walk(symbol):
        blocks += [
            block
            for name in ("body", "orelse", "finalbody")
            if isinstance(block := getattr(node, name, None), list)
        ]
    for block in blocks:
        for at in range(len(block) - len(wanted) + 1):
            captured: dict[str, Any] = {}
            if all(_matches(one, other, captured) for one, other in zip(wanted, block[at:])):
                yield Place(block[at], block[at + len(wanted) - 1], captured)


def _matches(wanted: Any, found: Any, captured: dict[str, Any]) -> bool:
    if isinstance(wanted, ast.Name) and _is_hole(wanted.id) and isinstance(found, ast.expr):
        known = captured.setdefault(wanted.id, found)
        return known is found or ast.dump(known) == ast.dump(found)
    if type(wanted) is not type(found):
        return False
    if isinstance(wanted, list):
        return len(wanted) == len(found) and all(
            _matches(one, other, captured) for one, other in zip(wanted, found)
        )
    if not isinstance(wanted, ast.AST):
        return bool(wanted == found)
    rest = _rest(wanted)
    if isinstance(wanted, ast.Call) and rest:
        named = {word.arg for word in wanted.keywords}
        captured[rest] = [word for word in found.keywords if word.arg not in named]
        wanted, found = (
            ast.Call(
                call.func,
                call.args,
                [word for word in call.keywords if word.arg and word.arg in named],
            )
            for call in (wanted, found)
        )
    return all(
        _matches(getattr(wanted, name, None), getattr(found, name, None), captured)
        for name in wanted._fields
        if name not in ("kind", "type_comment", "annotation")
    )


def _rest(node: ast.AST) -> str:
    """Return the name of ``**rest__`` in a call; empty if there is none."""
    last = node.keywords[-1] if isinstance(node, ast.Call) and node.keywords else None
    if (
        last is not None
        and last.arg is None
        and isinstance(last.value, ast.Name)
        and _is_hole(last.value.id)
    ):
        return last.value.id
    return ""


def _is_hole(name: str) -> bool:
    return name.endswith("__") and not name.startswith("_")


class _Filling(ast.NodeTransformer):
    """Replaces names by what they matched."""

    def __init__(self, captured: dict[str, Any]) -> None:
        self._captured = captured

    def visit_Name(self, node: ast.Name) -> Any:
        return self._captured.get(node.id, node)

    def visit_Call(self, node: ast.Call) -> Any:
        rest = _rest(node)
        if rest:
            node.keywords[-1:] = self._captured[rest]
        return self.generic_visit(node)
