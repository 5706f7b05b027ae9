"""Keep a process with many threads and a long life small.

The C library gives each thread that allocates a heap of its own, which only grows; the daemon's
threads hold the interpreter's lock while they allocate, so one heap is as fast. OpenSSL is loaded
by ``hashlib`` although Python has the digests itself. Sources: mallopt(3), malloc_trim(3), and
Python's Lib/hashlib.py, which takes its own digests where ``_hashlib`` cannot be imported.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys

_M_ARENA_MAX = -8
_FIPS = "/proc/sys/crypto/fips_enabled"
_OWN_DIGESTS = ("_sha256", "_sha2")


def keep_one_heap() -> None:
    """Let all threads that begin from now on share one heap; nothing where the C library cannot."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Give memory that is free back to the system; nothing where the C library cannot."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def use_own_digests() -> None:
    """Have ``hashlib`` and ``hmac`` use Python's digests, if they are not imported yet.

    Not where the system demands validated cryptography, nor with a Python built without them.
    """
    if "_hashlib" in sys.modules or _is_fips() or importlib.util.find_spec("_blake2") is None:
        return
    if any(importlib.util.find_spec(name) is not None for name in _OWN_DIGESTS):
        sys.modules["_hashlib"] = None  # type: ignore[assignment]


def _is_fips() -> bool:
    try:
        with open(_FIPS, encoding="ascii") as file:
            return file.read().strip() == "1"
    except OSError:
        return False
