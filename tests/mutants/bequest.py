"""Child processes of the run, the hook for the programs that their tests start, and the end of all
of these.
"""

from __future__ import annotations

import os
import signal
import site
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_HOOK = Path(__file__).with_name("hook.py")
SPY, FAULT = "OPENHA_TEST_SPY", "OPENHA_TEST_FAULT"


def fork(work: Callable[[], str]) -> tuple[int, int]:
    """Has it done in a child, silently: where its one word can be read, and the pid."""
    read, write = os.pipe()
    child = os.fork()
    if child:
        os.close(write)
        return read, child
    os.close(read)
    os.setsid()
    sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")
    try:
        said = work()
    except BaseException as error:  # Whatever a fault breaks, it was found.
        said = type(error).__name__
    os.write(write, (said or "-").encode("utf-8")[:400])
    os._exit(0)


def end(read: int, child: int, mark: str) -> str:
    """What a child said; ends it, and every process with the mark in its environment that a broken
    test left behind.
    """
    said = os.read(read, 400).decode("utf-8")
    os.close(read)
    os.waitpid(child, 0)
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if mark and mark.encode() in (place / "environ").read_bytes():
                os.kill(int(place.name), signal.SIGKILL)
        except OSError:
            continue
    return said


@contextmanager
def hooked() -> Iterator[None]:
    """Meanwhile every Python of this virtual environment that finds one of the variables runs
    hook.py first.
    """
    line = (
        "import os; [exec(compile(open(p).read(), p, 'exec'), {'__file__': p, '__name__':"
        f" 'hook'}}) for p in [{str(_HOOK)!r}] if os.environ.get('{SPY}') or"
        f" os.environ.get('{FAULT}')]\n"
    )
    place = Path(site.getsitepackages()[0]) / "openha-planted-faults.pth"
    place.write_text(line, encoding="utf-8")
    try:
        yield
    finally:
        place.unlink(missing_ok=True)
