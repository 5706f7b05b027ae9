"""Watch the command lines of all descendants of this process, as any user of the machine can."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class CommandLines:
    """Command lines that were seen; each once."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self._is_over = threading.Event()

    def watch(self) -> None:
        """Look until it is over."""
        while not self._is_over.is_set():
            for pid in _descendants(os.getpid()):
                try:
                    with open(f"/proc/{pid}/cmdline", "rb") as file:
                        raw = file.read()
                except OSError:
                    continue
                self.seen.add(raw.replace(b"\0", b" ").decode("utf-8", "replace").strip())

    def end(self) -> None:
        """Look no more."""
        self._is_over.set()


@contextmanager
def watched_commands() -> Iterator[CommandLines]:
    """Watch during a block."""
    lines = CommandLines()
    thread = threading.Thread(target=lines.watch, daemon=True)
    thread.start()
    try:
        yield lines
    finally:
        lines.end()
        thread.join()


def _descendants(pid: int) -> Iterator[int]:
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return
    for task in tasks:
        try:
            with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
                children = [int(word) for word in file.read().split()]
        except OSError:
            continue
        for child in children:
            yield child
            yield from _descendants(child)
