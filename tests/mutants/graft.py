"""Put a fault into loaded modules, so that a trial costs a fork and the tests that reach it.

Functions get the code and the defaults of their mutated versions, in place: all importers run the
fault. Values of a module (rows, sets, tables) are computed again and replace the old ones wherever
those were imported. The structure of a class (its fields and members) cannot be changed after
loading.
"""

from __future__ import annotations

import ast
import sys
import types
from collections.abc import Iterator
from typing import Any

from tests.mutants.rooms import PACKAGE, ROOT

Codes = "dict[str, types.CodeType]"


def graft(module: types.ModuleType, source: str, where: str = "") -> bool:
    """Turn the module into what ``source`` defines.

    Returns False if that is impossible, or if nothing visible changed.

    ``where`` is the function with the fault, if any: a fault that cannot be reached there is not
    planted.
    """
    tree = ast.parse(source)
    codes = dict(_codes(compile(source, module.__file__ or "", "exec"), ""))
    has_changed = False
    functions = list(_functions(module))
    if where and where not in dict(functions):
        return False
    for name, function in functions:
        if function.__name__ == "<lambda>":
            continue  # A value of its class: the structure of that stays.
        code = codes.get(name)
        if code is not None and not code.co_freevars:
            # The fault dropped the only super().
            code = code.replace(co_freevars=function.__code__.co_freevars)
        if code is None or len(code.co_freevars) != len(function.__code__.co_freevars):
            return False
        if code != function.__code__ or code.co_consts != function.__code__.co_consts:
            function.__code__ = code
            has_changed = True
    # Values first: defaults may depend on them.
    has_changed = _values(module, tree) or has_changed
    return _defaults(module, tree) or has_changed


def _codes(code: types.CodeType, prefix: str) -> Iterator[tuple[str, types.CodeType]]:
    for item in code.co_consts:
        if isinstance(item, types.CodeType) and not item.co_name.startswith("<"):
            name = f"{prefix}{item.co_name}"
            yield name, item
            # The functions of a class; nested functions come with them.
            yield from _codes(item, f"{name}.")


def _functions(module: types.ModuleType) -> Iterator[tuple[str, types.FunctionType]]:
    for name, item in vars(module).items():
        if _is_function(item) and item.__module__ == module.__name__:
            yield name, _unwrapped(item)
        elif isinstance(item, type) and item.__module__ == module.__name__:
            for inner, value in vars(item).items():
                for function in _behind(value):
                    if function.__code__.co_filename == module.__file__:
                        yield f"{name}.{inner}", function


def _behind(value: Any) -> list[types.FunctionType]:
    if _is_function(value):
        return [_unwrapped(value)]
    if isinstance(value, property):
        return [item for item in (value.fget,) if isinstance(item, types.FunctionType)]
    if isinstance(value, (staticmethod, classmethod)):
        return [value.__func__] if isinstance(value.__func__, types.FunctionType) else []
    return []


def _is_function(value: Any) -> bool:
    return isinstance(value, types.FunctionType) or isinstance(
        getattr(value, "__wrapped__", None), types.FunctionType
    )


def _unwrapped(function: Any) -> types.FunctionType:
    """Return the function that a decorator such as contextmanager or lru_cache calls.

    The cache of the latter is from the code before.
    """
    while isinstance(getattr(function, "__wrapped__", None), types.FunctionType):
        getattr(function, "cache_clear", lambda: None)()
        function = function.__wrapped__
    assert isinstance(function, types.FunctionType)
    return function


def _defaults(module: types.ModuleType, tree: ast.Module) -> bool:
    """Replace default values of parameters."""
    functions, has_changed = dict(_functions(module)), False
    nodes = {item.name: item for item in tree.body if isinstance(item, ast.FunctionDef)}
    for outer in tree.body:
        if isinstance(outer, ast.ClassDef):
            nodes.update(
                {
                    f"{outer.name}.{item.name}": item
                    for item in outer.body
                    if isinstance(item, ast.FunctionDef)
                }
            )
    for name, node in nodes.items():
        function = functions.get(name)
        values = [
            eval(compile(ast.Expression(item), "default", "eval"), vars(module))
            for item in node.args.defaults
        ]
        if function is not None and values and tuple(values) != function.__defaults__:
            function.__defaults__ = tuple(values)
            has_changed = True
        named = {
            argument.arg: eval(compile(ast.Expression(item), "default", "eval"), vars(module))
            for argument, item in zip(node.args.kwonlyargs, node.args.kw_defaults)
            if item is not None
        }
        if function is not None and named and named != function.__kwdefaults__:
            function.__kwdefaults__ = named
            has_changed = True
    return has_changed


def _values(module: types.ModuleType, tree: ast.Module) -> bool:
    """Compute the values of the module again, with its own classes and functions.

    Returns True: whether they changed is unknown.
    """
    kept = [
        item
        for item in tree.body
        if not isinstance(item, (ast.ClassDef, ast.FunctionDef, ast.Import, ast.ImportFrom))
    ]
    scratch = dict(vars(module))
    exec(compile(ast.Module(kept, []), module.__file__ or "", "exec"), scratch)
    has_changed = False
    for name, value in scratch.items():
        old = vars(module).get(name)
        if name.startswith("__") or value is old:
            continue
        has_changed = True
        for other in list(sys.modules.values()):
            # Tests in a folder that is no package have a top-level name.
            if str(getattr(other, "__file__", None)).startswith(
                (str(PACKAGE), str(ROOT / "tests"))
            ):
                for known, item in list(vars(other).items()):
                    # Equal numbers may be the same object.
                    if item is old and (known == name or not isinstance(old, (int, float))):
                        setattr(other, known, value)
    return has_changed
