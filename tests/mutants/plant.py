"""Faults planted in the code, one at a time: in comparisons, conditions, rows and constants.

Every statement is covered too. A mutant is a piece of source text and its replacement; the pieces
follow from the syntax tree, so that new code gets its mutants without a list.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from tests.mutants.pattern import canonical
from tests.mutants.rooms import path_of

_OTHER = {
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
}
_TEXT = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.In: "in",
    ast.NotIn: "not in",
}
_CALLS = {"max": "min", "min": "max", "any": "all", "all": "any"}
_NEVER = 'Row(S.FORCE_STOP, Trigger.PROBE_UNSURE, lambda s: False, S.FORCE_STOP, "never")'
_SHOWN_ONLY = {
    "reason",
    "text",
    "detail",
    "words",
    # Parts of timing.py that only set the shell's waits and decide nothing.
    "FIRST_BEAT_LIMIT_S",
    "MUTE_REST_S",
    "SLOT_READ_S",
    "SLOT_READ_LEAST_S",
    "SLOT_READS",
    "WORK_NOTED_S",
    "KILL_GRACE_S",
    "LINK_RETRY_S",
    "CONFIG_POLL_S",
    "INBOX_LIMIT",
    "HISTORY_INBOX_LIMIT",
    "HISTORY_ENTRIES",
    "SCRIPTS_AT_ONCE",
}
_SHOWING = {
    "explain_wait",
    "explain",
    "status",
    "snapshot",
    "_rival_text",
    "suspicions",
    "_standing_reason",
    "_link_status",
    "sights",
    "sight",
    "_dual_advice",
}
"""Names of texts for operators and their makers: this suite does not test wording."""


@dataclass(frozen=True)
class Mutant:
    """One planted fault: in ``file``, the text from ``start`` to ``end`` becomes ``after``."""

    file: str
    line: int
    kind: str
    start: int
    end: int
    before: str
    after: str
    is_at_load: bool = False
    """Outside of functions: it takes effect when the module is loaded, for all users."""
    function_line: int = 0
    """First line of the function around it, decorators included."""
    where: str = ""
    """Name of that function."""
    is_by_hand: bool = False
    number: int = 1
    """Number among mutants of the same description within one function."""

    @property
    def name(self) -> str:
        """Description: place, old and new text."""
        return f"{self.file}:{self.line} {self.lasting_name[len(self.file) + 1 :]}"

    @property
    def lasting_name(self) -> str:
        """Description without the line: stable when lines are added above or code is formatted."""
        place = f"{self.file} {self.where or 'module'}"
        if self.is_by_hand:
            return f"{place} {self.kind}"
        before, after = canonical(self.before), canonical(self.after)
        again = f" ({self.number})" if self.number > 1 else ""
        return f"{place} {self.kind}: {before[:70]} -> {after[:70] or '(nothing)'}{again}"

    def plant(self, source: str) -> str:
        """Return the source with the fault in it."""
        assert source[self.start : self.end] == self.before, (
            f"{self.name}: the source is another one"
        )
        return source[: self.start] + self.after + source[self.end :]


def mutants_of(file: str) -> list[Mutant]:
    """Return all mutants of one file, in the order of its text."""
    source = path_of(file).read_text(encoding="utf-8")
    found = {
        (mutant.start, mutant.end, mutant.after): mutant for mutant in _Planter(file, source).all()
    }
    seen: dict[str, int] = {}
    numbered = []
    for _, mutant in sorted(found.items()):
        seen[mutant.lasting_name] = number = seen.get(mutant.lasting_name, 0) + 1
        numbered.append(replace(mutant, number=number))
    return numbered


def around(source: str, line: int) -> tuple[int, str]:
    """Return first line, decorators included, and name of the function around a line.

    0 and an empty text outside of functions.
    """
    return max(
        (first, name)
        for first, last, name in [(0, line, ""), *_spans(source)]
        if first <= line <= last
    )


@lru_cache(maxsize=4)
def _spans(source: str) -> tuple[tuple[int, int, str], ...]:
    return tuple(_functions(ast.parse(source), ""))


def first_lines(source: str) -> dict[int, str]:
    """Return the name of each function by its first line, decorators included."""
    return {first: name for first, _, name in _spans(source)}


def text_around(source: str, mutant: Mutant) -> str:
    """Return the text of the function around a fault, or of the module."""
    spans = [span for span in _spans(source) if span[0] == mutant.function_line]
    lines = source.splitlines()
    return "\n".join(lines[spans[0][0] - 1 : spans[0][1]] if spans else lines)


def named_functions(tree: ast.Module) -> dict[str, ast.FunctionDef]:
    """Return functions and methods by their names, ``Class.method``."""
    found = {item.name: item for item in tree.body if isinstance(item, ast.FunctionDef)}
    for outer in tree.body:
        if isinstance(outer, ast.ClassDef):
            found.update(
                {
                    f"{outer.name}.{item.name}": item
                    for item in outer.body
                    if isinstance(item, ast.FunctionDef)
                }
            )
    return found


def _functions(node: ast.AST, prefix: str) -> Iterator[tuple[int, int, str]]:
    for item in ast.iter_child_nodes(node):
        if isinstance(item, ast.ClassDef):
            yield from _functions(item, f"{item.name}.")
        elif isinstance(item, ast.FunctionDef):
            first = min([item.lineno, *(decorator.lineno for decorator in item.decorator_list)])
            yield first, item.end_lineno or 0, f"{prefix}{item.name}"


class _Planter:
    def __init__(self, file: str, source: str) -> None:
        self._file = file
        self._source = source
        self._lines = [0]
        for line in source.encode("utf-8").splitlines(keepends=True):
            self._lines.append(self._lines[-1] + len(line.decode("utf-8")))
        self._tree = ast.parse(source)
        self._bodies = list(_functions(self._tree, ""))

    def all(self) -> Iterator[Mutant]:
        skipped = {
            id(inner)
            for node in ast.walk(self._tree)
            if self._is_shown_only(node)
            for inner in ast.walk(node)
        }
        for node in ast.walk(self._tree):
            for decorator in getattr(node, "decorator_list", []):
                skipped |= {id(inner) for inner in ast.walk(decorator)}
        words = {
            id(item)
            for node in ast.walk(self._tree)
            if isinstance(node, ast.ClassDef)
            for item in node.body
            if any(isinstance(base, ast.Attribute) and base.attr == "Enum" for base in node.bases)
        }
        for node in ast.walk(self._tree):
            if isinstance(node, ast.ClassDef):
                # The structure of a class cannot be changed in a process that has loaded it.
                fields = [item for item in node.body if not isinstance(item, ast.FunctionDef)]
                words |= {id(inner) for item in fields for inner in ast.walk(item)}
        for node in ast.walk(self._tree):
            if id(node) not in skipped and id(node) not in words:
                yield from self._conditions(node)
                yield from self._values(node)
                yield from self._rows(node)
                yield from self._statements(node)
                yield from self._handlers(node)

    def _is_log_line(self, node: ast.AST) -> bool:
        """Return whether only an operator reads the node's text."""
        return (
            "/" in self._file
            and isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Call)
            and ("log" in self._text(node.value.func).lower())
        )

    @staticmethod
    def _is_shown_only(node: ast.AST) -> bool:
        """Return whether the node is an annotation, docstring, assertion or text for operators."""
        if isinstance(
            node, (ast.Assert, ast.JoinedStr, ast.AnnAssign, ast.arg, ast.Import, ast.ImportFrom)
        ):
            return not (isinstance(node, ast.AnnAssign) and node.value is not None)
        if isinstance(node, ast.FunctionDef) and node.name in _SHOWING:
            return True
        return isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id in _SHOWN_ONLY for target in node.targets
        )

    def _at(self, line: int, column: int) -> int:
        text = self._source[self._lines[line - 1] :]
        return self._lines[line - 1] + len(text.encode("utf-8")[:column].decode("utf-8", "ignore"))

    def _span(self, node: Any) -> tuple[int, int]:
        start = self._at(node.lineno, node.col_offset)
        return start, self._at(node.end_lineno, node.end_col_offset)

    def _make(self, node: Any, kind: str, after: str) -> Mutant:
        start, end = self._span(node)
        line = node.lineno
        first, where = max(
            ((first, name) for first, last, name in self._bodies if first <= line <= last),
            default=(0, ""),
        )
        return Mutant(
            self._file,
            line,
            kind,
            start,
            end,
            self._source[start:end],
            after,
            not first,
            first,
            where,
        )

    def _text(self, node: ast.AST) -> str:
        start, end = self._span(node)
        return self._source[start:end]

    def _conditions(self, node: ast.AST) -> Iterator[Mutant]:
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            left, right = self._text(node.left), self._text(node.comparators[0])
            yield self._make(node, "comparison", f"({left} {_OTHER[type(node.ops[0])]} {right})")
        elif isinstance(node, ast.Compare):
            pieces = [self._text(item) for item in (node.left, *node.comparators)]
            for number, _ in enumerate(node.ops):
                ops = [
                    _OTHER[type(op)] if at == number else _TEXT[type(op)]
                    for at, op in enumerate(node.ops)
                ]
                text = " ".join(
                    [pieces[0], *(f"{op} {piece}" for op, piece in zip(ops, pieces[1:]))]
                )
                yield self._make(node, "comparison", f"({text})")
        elif isinstance(node, ast.BoolOp):
            other = " or " if isinstance(node.op, ast.And) else " and "
            same = " and " if isinstance(node.op, ast.And) else " or "
            parts = [f"({self._text(value)})" for value in node.values]
            yield self._make(node, "and/or", f"({other.join(parts)})")
            for number in range(len(parts)):
                kept = same.join(part for at, part in enumerate(parts) if at != number)
                yield self._make(node, f"without condition {number + 1}", f"({kept})")
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield self._make(node, "not", f"({self._text(node.operand)})")
        elif isinstance(node, (ast.If, ast.IfExp, ast.While)):
            yield self._make(node.test, "condition", f"not ({self._text(node.test)})")
        elif isinstance(node, ast.comprehension):
            for test in node.ifs:
                yield self._make(test, "filter", "True")

    def _values(self, node: ast.AST) -> Iterator[Mutant]:
        if isinstance(node, ast.Constant) and isinstance(node.value, bool):
            yield self._make(node, "constant", str(not node.value))
        elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
            yield self._make(node, "constant", repr(node.value + 1))
        elif isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)):
            sign = "-" if isinstance(node.op, ast.Add) else "+"
            yield self._make(
                node, "sign", f"({self._text(node.left)} {sign} {self._text(node.right)})"
            )
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in _CALLS
        ):
            yield self._make(node.func, "call", _CALLS[node.func.id])
        elif isinstance(node, (ast.Name, ast.Attribute)) and self._is_duration(node):
            yield self._make(node, "timing", f"({self._text(node)} * 2)")
            yield self._make(node, "timing", f"({self._text(node)} / 2)")
        elif isinstance(node, ast.Set):
            yield from self._members(node, "{", "}")
        elif isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.In, ast.NotIn)):
            if isinstance(node.comparators[0], ast.Tuple):
                yield from self._members(node.comparators[0], "(", ",)")
        elif (
            isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Tuple)
            and isinstance(node.targets[0], ast.Name)
        ):
            yield from self._members(node.value, "(", ",)")

    def _members(self, node: ast.Set | ast.Tuple, start: str, end: str) -> Iterator[Mutant]:
        for number in range(len(node.elts) if len(node.elts) > 1 else 0):
            kept = ", ".join(self._text(item) for at, item in enumerate(node.elts) if at != number)
            yield self._make(node, f"without member {number + 1}", f"{start}{kept}{end}")

    @staticmethod
    def _is_duration(node: ast.Name | ast.Attribute) -> bool:
        name = node.id if isinstance(node, ast.Name) else node.attr
        return (
            name.isupper()
            and name.endswith("_S")
            and len(name) > 2
            and isinstance(node.ctx, ast.Load)
        )

    def _rows(self, node: ast.AST) -> Iterator[Mutant]:
        if not (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Row"
        ):
            return
        yield self._make(node, "row dropped", _NEVER)
        if len(node.args) > 3:
            before = self._text(node.args[3])
            yield from (
                self._make(node.args[3], "next", other)
                for other in ("S.STOPPED", "S.STARTED")
                if other != before
            )
        if len(node.args) > 2:
            yield self._make(node.args[2], "guard", "lambda s: True")
        for keyword in node.keywords:
            if keyword.arg in ("run", "frozen_target", "ready", "done"):
                yield self._make(keyword.value, f"no {keyword.arg}", "None")

    def _handlers(self, node: ast.AST) -> Iterator[Mutant]:
        """Yield mutants that do not catch an expected error; the decision code expects none."""
        if isinstance(node, ast.ExceptHandler) and not isinstance(node.body[0], ast.Raise):
            yield self._make(node.body[0], "not handled", "raise")

    def _statements(self, node: Any) -> Iterator[Mutant]:
        is_statement = isinstance(
            node, (ast.Assign, ast.AugAssign, ast.Delete, ast.Raise, ast.Continue, ast.Break)
        ) or (isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant))
        if is_statement and node.col_offset and not self._is_log_line(node):
            # Without the word a function would need no closure any more, and could not be put into
            # a class that is loaded.
            yield self._make(
                node, "statement dropped", "super()" if "super()" in self._text(node) else "pass"
            )
        elif (
            isinstance(node, ast.Return)
            and node.value is not None
            and not isinstance(node.value, ast.Constant)
        ):
            yield self._make(node.value, "returns nothing", "None")
