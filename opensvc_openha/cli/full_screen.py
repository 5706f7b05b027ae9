"""Take the whole terminal, and restore it at any kind of exit."""

from __future__ import annotations

import curses
import os
import signal
import sys
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr
from types import FrameType

from opensvc_openha.errors import SystemFault, UsageError
from opensvc_openha.hints import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from curses import window as Window

KEY_WAIT_MS = 200
_ESCAPE_DELAY_MS = 50
_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


_PAGE = 10
STEPS = {
    **{curses.KEY_UP: -1, ord("k"): -1, curses.KEY_PPAGE: -_PAGE},
    **{curses.KEY_DOWN: 1, ord("j"): 1, curses.KEY_NPAGE: _PAGE},
}
"""By how many lines a key moves."""
QUIT = (ord("q"), ord("Q"))
ENTER = (ord("\n"), ord("\r"), curses.KEY_ENTER)
BACK = (27, curses.KEY_BACKSPACE, curses.KEY_LEFT, 127)


def draw(window: Window, lines: Iterable[tuple[str, int]]) -> None:
    """Show lines, each with its attributes, and nothing else."""
    window.erase()
    for row, (text, attributes) in enumerate(lines):
        try:
            window.addstr(row, 0, text, attributes)
        except curses.error:
            break  # The terminal has shrunk meanwhile: the next redraw fits.
    window.refresh()


def on_full_screen(what: str, instead: str, run: Callable[[Window], None]) -> None:
    """Call ``run`` with the terminal's window, whose keys come within ``KEY_WAIT_MS``.

    Without a terminal raise UsageError: ``what`` needs one, and ``instead`` is for a file or pipe.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(f"{what} needs a terminal; to a file or pipe: {instead}")
    os.environ.setdefault("ESCDELAY", str(_ESCAPE_DELAY_MS))
    former = {number: signal.signal(number, _end) for number in _ENDING}

    def begin(window: Window) -> None:
        if curses.tigetstr("civis"):
            curses.curs_set(0)
        window.timeout(KEY_WAIT_MS)
        run(window)

    try:
        # Further output of a status would break the screen.
        with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stderr(nowhere):
            curses.wrapper(begin)
    except curses.error as error:
        raise SystemFault(
            f"this terminal (TERM={os.environ.get('TERM', '')}) cannot show it: {error}"
        ) from error
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    """Exit through the same path as the key q, so that the terminal is restored."""
    sys.exit(0 if number == signal.SIGINT else 128 + number)
