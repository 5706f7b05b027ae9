"""Load modules of the standard library at their first use, not when another one imports them.

``dataclasses`` imports ``inspect`` for classes without a docstring, ``subprocess`` ``locale`` for
text without an encoding, ``logging`` ``traceback`` and ``pickle`` for errors and for sockets; the
daemon draws at random only to spread its looks at fences. With what those import in turn they are a
tenth of what a daemon keeps in memory, and a good part of the time that a command takes.
``LazyLoader`` of importlib would load them as soon as they are imported.
"""

from __future__ import annotations

import _thread
import sys
import types
from importlib.machinery import PathFinder

_DEFERRED = ("inspect", "locale", "pickle", "random", "traceback")


class _Deferred(types.ModuleType):
    """A module that is loaded when something is looked up in it, by one thread at a time."""

    _LOCK = _thread.RLock()

    def __getattr__(self, name: str) -> object:
        with self._LOCK:
            if type(self) is _Deferred:
                assert self.__spec__ is not None and self.__spec__.loader is not None
                self.__spec__.loader.exec_module(self)
                self.__class__ = types.ModuleType  # type: ignore[assignment]
        return object.__getattribute__(self, name)


def defer_modules() -> None:
    """Defer them, but for those that are imported already; before the first thread."""
    for name in _DEFERRED:
        spec = None if name in sys.modules else PathFinder.find_spec(name)
        if spec is not None:
            sys.modules[name] = module = _Deferred(name)
            module.__spec__, module.__loader__ = spec, spec.loader
            module.__file__ = spec.origin
