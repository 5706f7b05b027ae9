#!/usr/bin/python3
"""Write or watch one block of 512 bytes; each line of output begins with a time.

blocks.py write DEVICE BLOCK SECONDS   one write after the other: `begun N`, then `done N` or
                                       `failed N ERROR`; the next one after an error follows 0.1 s
                                       later. What is written is node and N.
blocks.py watch DEVICE BLOCK SECONDS   what the block holds, whenever that changed; the time is the
                                       begin of the last look that did not show it yet
"""

import errno
import mmap
import os
import socket
import sys
import time

SIZE = 512
STAMP = 16
PAUSE_S = 0.1
LOOK_S = 0.02


def say(text: str, at: float | None = None) -> None:
    """Print with the time, now if no other is given."""
    print(f"{time.time() if at is None else at:.3f} {text}", flush=True)


def write(device: str, block: int, until: float) -> None:
    """Write past all caches until the time is over."""
    node = socket.gethostname().partition(".")[0]
    file = os.open(device, os.O_RDWR | os.O_DIRECT)
    memory = mmap.mmap(-1, SIZE)
    number = 0
    while time.time() < until:
        number += 1
        memory[:STAMP] = f"{node} {number}".encode().ljust(STAMP)
        say(f"begun {number}")
        try:
            os.pwritev(file, [memory], block * SIZE)
        except OSError as error:
            say(f"failed {number} {errno.errorcode.get(error.errno or 0, '?')}")
            time.sleep(PAUSE_S)
        else:
            say(f"done {number}")


def watch(device: str, block: int, until: float) -> None:
    """Read past all caches until the time is over."""
    file = os.open(device, os.O_RDONLY | os.O_DIRECT)
    memory = mmap.mmap(-1, SIZE)
    before = b""
    looked_at = time.time()
    while looked_at < until:
        previous_at, looked_at = looked_at, time.time()
        os.preadv(file, [memory], block * SIZE)
        if memory[:STAMP] != before:
            before = memory[:STAMP]
            say(before.strip(b"\0 ").decode("ascii", "replace"), previous_at)
        time.sleep(LOOK_S)


{"write": write, "watch": watch}[sys.argv[1]](
    sys.argv[2], int(sys.argv[3]), time.time() + float(sys.argv[4])
)
