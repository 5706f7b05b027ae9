"""Start-up code of a Python started by a test during ``make mutants``.

It plants the fault, or records the functions that run. While ``make mutants`` runs, a line in the
virtual environment runs it in each Python that finds one of the variables.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import threading
from types import FrameType, ModuleType
from typing import Any

_SPY = os.environ.get("OPENHA_TEST_SPY", "")
"""A file that gets a line for each function of the package that runs: its file and first line."""
_FAULT = os.environ.get("OPENHA_TEST_FAULT", "")
"""MODULE=FILE: the source that stands in place of a module's."""
_PACKAGE = os.path.join(
    os.path.abspath(__file__).rpartition("/tests/mutants/")[0], "opensvc_openha"
)


def spy_on(path: str) -> None:
    """Record each function of the package when any thread first runs it."""
    seen = set()

    def trace(frame: FrameType, _event: str, _arg: object) -> None:
        code = frame.f_code
        if code not in seen:
            seen.add(code)
            if code.co_filename.startswith(_PACKAGE):
                # Opened each time: daemons close all their descriptors.
                with open(path, "a") as file:
                    file.write(f"{code.co_filename}:{code.co_firstlineno}\n")

    sys.settrace(trace)
    threading.settrace(trace)


class _Planter(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, module: str, path: str) -> None:
        self._module = module
        self._path = path

    def find_spec(
        self, name: str, path: Any = None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != self._module:
            return None
        sys.meta_path.remove(self)
        real = importlib.util.find_spec(name)
        assert real is not None and real.origin is not None
        self._origin = real.origin
        return importlib.util.spec_from_loader(name, self, origin=self._origin)

    def exec_module(self, module: ModuleType) -> None:
        with open(self._path, encoding="utf-8") as file:
            source = file.read()
        module.__file__ = self._origin
        exec(compile(source, self._origin, "exec"), module.__dict__)


if _FAULT:
    sys.meta_path.insert(0, _Planter(*_FAULT.split("=", 1)))
if _SPY:
    spy_on(_SPY)
