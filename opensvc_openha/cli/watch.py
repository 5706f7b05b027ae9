"""``svcmon --watch``: refresh the table on the whole terminal, with keys to inspect a service.

Statuses are read in a thread of their own, so that keys work while a service is slow. The terminal
is restored at any kind of exit.
"""

from __future__ import annotations

import curses
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from opensvc_openha.agent.show.parallel_status import Look
from opensvc_openha.agent.show.watch_screen import View, chosen_service, screen
from opensvc_openha.cli.full_screen import on_full_screen
from opensvc_openha.system.clock import stamp, wall

if TYPE_CHECKING:
    from curses import window as Window

EVERY_S = 2.0
_PAGE = 10


def watch(read: Callable[[], Sequence[Look]]) -> int:
    """Show what ``read`` returns until the operator quits; return the exit code."""
    on_full_screen("svcmon: --watch", "svcmon", _Watch(read).run)
    return 0


class _Watch:
    def __init__(self, read: Callable[[], Sequence[Look]]) -> None:
        self._read = read
        self._looks: Sequence[Look] = ()
        self._stamp = "reading ..."
        self._wake = threading.Event()

    def run(self, window: Window) -> None:
        """Draw and read keys until q."""
        threading.Thread(target=self._keep_reading, name="watch", daemon=True).start()
        view: View | None = View()
        while view is not None:
            self._draw(window, view)
            view = self._moved(view, window.getch())

    def _keep_reading(self) -> None:
        while True:
            try:
                looks, problem = self._read(), ""
            except Exception as error:  # Top level of the thread: any error is shown on the screen.
                looks, problem = self._looks, f" (as it was: {type(error).__name__}: {error})"
            self._looks, self._stamp = looks, stamp(wall()) + problem
            self._wake.wait(EVERY_S)
            self._wake.clear()

    def _draw(self, window: Window, view: View) -> None:
        height, width = window.getmaxyx()
        looks = self._looks
        reports = [seen.report for seen in looks if seen.report is not None]
        problems = [str(seen.problem) for seen in looks if seen.problem is not None]
        window.erase()
        for row, line in enumerate(screen(reports, view, width, height, self._stamp, problems)):
            attributes = (
                curses.A_REVERSE
                if line.is_chosen
                else curses.A_BOLD
                if line.is_title
                else curses.A_NORMAL
            )
            try:
                window.addstr(row, 0, line.text, attributes)
            except curses.error:
                break  # The terminal has shrunk meanwhile: the next redraw fits.
        window.refresh()

    def _moved(self, view: View, key: int) -> View | None:
        """Return the view after a key; None to quit."""
        reports = [seen.report for seen in self._looks if seen.report is not None]
        steps = {curses.KEY_UP: -1, ord("k"): -1, curses.KEY_PPAGE: -_PAGE}
        steps.update({curses.KEY_DOWN: 1, ord("j"): 1, curses.KEY_NPAGE: _PAGE})
        if key in (ord("q"), ord("Q")):
            return None
        if key == ord("r"):
            self._wake.set()
        elif key in steps and view.shown:
            return replace(view, first_line=max(0, view.first_line + steps[key]))
        elif key in steps:
            return replace(view, chosen=max(0, min(view.chosen + steps[key], len(reports) - 1)))
        elif key in (ord("\n"), ord("\r"), curses.KEY_ENTER) and not view.shown:
            return replace(view, shown=chosen_service(reports, view) or "", first_line=0)
        elif key in (27, curses.KEY_BACKSPACE, curses.KEY_LEFT, 127):
            return replace(view, shown="")
        return view
