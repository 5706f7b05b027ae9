"""Modules that others import for nothing: loaded once something is looked up in them."""

from __future__ import annotations

import subprocess
import sys

_BEGIN = """
import sys
from opensvc_openha.system.deferred_modules import defer_modules
"""


def _run(program: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", _BEGIN + program], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_nothing_of_them_is_loaded_until_it_is_used() -> None:
    """Neither by importing them nor by what imports them; then they are what they always are."""
    program = """
for name in ("inspect", "ast", "locale", "pickle", "traceback"):
    sys.modules.pop(name, None)
defer_modules()
import dataclasses, subprocess
import inspect, traceback
@dataclasses.dataclass(frozen=True)
class Point:
    "With a docstring."
    x: int
print("ast" in sys.modules, hasattr(type(inspect), "__getattr__"))
print(inspect.signature(Point), inspect.__file__.endswith("inspect.py"), "ast" in sys.modules)
print(type(inspect).__name__, hasattr(inspect, "nothing"), sys.modules["inspect"] is inspect)
try:
    Point("1").x = 2
except dataclasses.FrozenInstanceError as error:
    print(traceback.format_exception_only(error)[0].strip())
"""
    assert _run(program) == [
        "False True",
        "(x: int) -> None True True",
        "module False True",
        "dataclasses.FrozenInstanceError: cannot assign to field 'x'",
    ]


def test_each_of_them_works_as_ever_for_whoever_uses_it() -> None:
    """Also by `from`, for a subclass, for what looks through all modules, and to be reloaded."""
    program = """
for name in ("inspect", "locale", "pickle", "random", "traceback"):
    sys.modules.pop(name, None)
defer_modules()
from random import Random
import importlib, inspect, locale, pickle, random, traceback
print(pickle.loads(pickle.dumps({"x": [1]})), Random(1).random() == random.Random(1).random())
class Own(pickle.Pickler):
    pass
print(inspect.isclass(Own), inspect.getmodule(inspect.signature) is inspect)
print(locale.getpreferredencoding(False) != "", importlib.reload(traceback) is traceback)
print([name for name, module in sys.modules.items() if not hasattr(module, "__name__")])
"""
    assert _run(program) == ["{'x': [1]} True", "True True", "True True", "[]"]


def test_threads_that_use_one_at_the_same_moment_all_find_it_whole() -> None:
    """None of them meets a module that another one is still loading."""
    program = """
for name in ("inspect", "pickle"):
    sys.modules.pop(name, None)
defer_modules()
import inspect, threading
gate, found = threading.Barrier(8), []
def use():
    gate.wait()
    found.append(str(inspect.signature(use)))
sys.setswitchinterval(1e-6)
threads = [threading.Thread(target=use) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(found == ["()"] * 8)
"""
    assert _run(program) == ["True"]


def test_what_is_imported_already_stays() -> None:
    """Nothing is taken away from what uses it."""
    program = "import inspect\ndefer_modules()\nprint(sys.modules['inspect'] is inspect)\n"
    assert _run(program + "print(type(inspect).__name__)") == ["True", "module"]
