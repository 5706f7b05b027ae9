"""Child processes of the run, the hook for programs that tests start, and the end of both."""

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
    """Run ``work`` in a silent child; return the descriptor of its one-word result and its pid."""
    read, write = os.pipe()
    child = os.fork()
    if child:
        os.close(write)
        return read, child
    os.close(read)
    os.setsid()
    sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")
    try:
        result = work()
    except BaseException as error:  # Any error counts: the fault was detected.
        result = type(error).__name__
    os.write(write, (result or "-").encode("utf-8")[:400])
    os._exit(0)


def end(read: int, child: int, mark: str) -> str:
    """Return a child's result; kill it, and every process with the mark in its environment.

    A broken test may have left such processes behind.
    """
    result = os.read(read, 400).decode("utf-8")
    os.close(read)
    os.waitpid(child, 0)
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if mark and mark.encode() in (place / "environ").read_bytes():
                os.kill(int(place.name), signal.SIGKILL)
        except OSError:
            continue
    return result


@contextmanager
def hooked() -> Iterator[None]:
    """Within the context, every Python of this virtual environment runs hook.py at start.

    Only if one of the variables is set.
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
