"""``svcmon --watch``: refresh the table on the whole terminal, with keys to inspect a service.

Statuses are read in a thread of their own, so that keys work while a service is slow. The terminal
is restored at any kind of exit.
"""

from __future__ import annotations

import curses
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from opensvc_openha.agent.show.parallel_status import Look
from opensvc_openha.agent.show.watch_screen import Line, View, chosen_service, screen
from opensvc_openha.cli.full_screen import BACK, ENTER, QUIT, STEPS, draw, on_full_screen
from opensvc_openha.hints import TYPE_CHECKING
from opensvc_openha.system.clock import stamp, wall

if TYPE_CHECKING:
    from curses import window as Window

EVERY_S = 2.0


def watch(read: Callable[[], Sequence[Look]]) -> int:
    """Show what ``read`` returns until the operator quits; return the exit code."""
    on_full_screen("svcmon: --watch", "svcmon", _Watch(read).run)
    return 0


def _attributes(line: Line) -> int:
    if line.is_chosen:
        return curses.A_REVERSE
    return curses.A_BOLD if line.is_title else curses.A_NORMAL


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
        lines = screen(reports, view, width, height, self._stamp, problems)
        draw(window, ((line.text, _attributes(line)) for line in lines))

    def _moved(self, view: View, key: int) -> View | None:
        """Return the view after a key; None to quit."""
        reports = [seen.report for seen in self._looks if seen.report is not None]
        if key in QUIT:
            return None
        if key == ord("r"):
            self._wake.set()
        elif key in STEPS and view.shown:
            return replace(view, first_line=max(0, view.first_line + STEPS[key]))
        elif key in STEPS:
            return replace(view, chosen=max(0, min(view.chosen + STEPS[key], len(reports) - 1)))
        elif key in ENTER and not view.shown:
            return replace(view, shown=chosen_service(reports, view) or "", first_line=0)
        elif key in BACK:
            return replace(view, shown="")
        return view
