"""UDP ports for tests, each handed out once per machine while the test that uses it runs.

Asking the kernel for a free port and releasing it is a race between all tests on the machine, and
with the kernel's own choice of ports for outgoing traffic. So ports come from below that range,
each is locked by a file, and the lock ends with the process.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile

_FIRST, _LAST = 12_000, 32_000
_TRIES = 1_000
_held: list[int] = []
"""Handles of the locks, open until this process ends."""


def free_port() -> int:
    """Return a UDP port that no other test and no program uses now, on any address of this host."""
    folder = os.path.join(tempfile.gettempdir(), f"openha-test-ports-{os.geteuid()}")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    families = [(socket.AF_INET, "0.0.0.0")] + [(socket.AF_INET6, "::")] * os.path.exists(
        "/proc/net/if_inet6"
    )
    for _ in range(_TRIES):
        port = random.SystemRandom().randrange(_FIRST, _LAST)
        handle = os.open(
            os.path.join(folder, str(port)), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for family, anywhere in families:
                with socket.socket(family, socket.SOCK_DGRAM) as probe:
                    probe.bind((anywhere, port))
        except OSError:
            os.close(handle)
            continue
        _held.append(handle)
        return port
    raise RuntimeError(
        f"no free port between {_FIRST} and {_LAST}, or no right to lock files in {folder}"
    )
