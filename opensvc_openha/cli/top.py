"""``openha top``: both nodes, services, links and the newest events on the whole terminal, live."""

from __future__ import annotations

import curses
import os
import threading
from collections.abc import Mapping
from dataclasses import replace

from opensvc_openha.cli import installation
from opensvc_openha.cli.full_screen import BACK, ENTER, QUIT, STEPS, draw, on_full_screen
from opensvc_openha.cli.history import newest_entries
from opensvc_openha.cli.parsing import Parser
from opensvc_openha.cli.why import explanation_lines
from opensvc_openha.errors import OpenhaError
from opensvc_openha.formats.layout import Layout
from opensvc_openha.hints import TYPE_CHECKING
from opensvc_openha.live.observer import Observer
from opensvc_openha.live.picture import Level, Picture, picture
from opensvc_openha.live.top_screen import Line, Mode, View, chosen_service, last_line, screen
from opensvc_openha.system import clock

if TYPE_CHECKING:
    from curses import window as Window

_EVENTS = 100
_REDRAW = 12
"""Control-L, after something else has written on the terminal."""
_COLOURS = {
    Level.OK: curses.COLOR_GREEN,
    Level.BUSY: curses.COLOR_CYAN,
    Level.PAUSED: curses.COLOR_MAGENTA,
    Level.WARNING: curses.COLOR_YELLOW,
    Level.BAD: curses.COLOR_RED,
}
"""Only repeat the marks."""


def build_parser() -> Parser:
    """Return the parser of ``openha top``."""
    return Parser(
        "openha top",
        "Show both nodes, services, heartbeat links and the newest events, live, on the whole"
        " terminal.",
        epilog="Keys: up and down choose a service, w shows why it is where it is, e the events,"
        " r looks now,\ncontrol-L draws the screen again, q quits. Marks: + up, - stopped, ~ on its"
        " way, = frozen, ! warning,\nX problem, ? not known.",
    )


def main(args: list[str]) -> int:
    """Run ``openha top``; return the exit code."""
    build_parser().read(args)
    layout = installation.layout()
    observer = Observer(
        lambda: installation.shown_status(layout), lambda: newest_entries(layout, _EVENTS)
    )
    on_full_screen("openha top", "service -s -v", _Top(layout, observer).run)
    return 0


def is_unicode(environment: Mapping[str, str]) -> bool:
    """Return whether the terminal can show more than ASCII, by its locale."""
    names = (environment.get(name, "") for name in ("LC_ALL", "LC_CTYPE", "LANG"))
    locale = next((name for name in names if name), "")
    return "utf" in locale.lower()


class _Top:
    def __init__(self, layout: Layout, observer: Observer) -> None:
        self._layout = layout
        self._observer = observer
        self._is_unicode = is_unicode(os.environ)
        self._text: tuple[str, ...] = ()
        self._asked = 0
        self._colours: dict[str, int] = {}

    def run(self, window: Window) -> None:
        """Draw and read keys until q."""
        if curses.has_colors():
            curses.use_default_colors()
            for number, (level, colour) in enumerate(_COLOURS.items(), start=1):
                curses.init_pair(number, colour, -1)
                self._colours[level.value] = curses.color_pair(number)
        self._observer.start()
        view: View | None = View()
        while view is not None:
            shown = picture(self._observer.seen(), clock.wall(), clock.monotonic())
            self._draw(window, view, shown)
            view = self._moved(window, view, shown, window.getch())
        self._observer.stop()

    def _draw(self, window: Window, view: View, shown: Picture) -> None:
        height, width = window.getmaxyx()
        lines = screen(shown, view, width, height, self._text, self._is_unicode)
        draw(window, ((line.text, self._attributes(line, view)) for line in lines))

    def _attributes(self, line: Line, view: View) -> int:
        attributes = self._colours.get(line.level, curses.A_NORMAL)
        if line.is_title or line.level == Level.BAD.value:
            attributes |= curses.A_BOLD
        if line.is_chosen and view.mode is Mode.ALL:
            attributes |= curses.A_REVERSE
        return attributes

    def _moved(self, window: Window, view: View, shown: Picture, key: int) -> View | None:
        """Return the view after a key; None to quit."""
        if key in QUIT:
            return None
        if key in (ord("r"), ord("R")):
            self._observer.look_now()
        elif key == _REDRAW:
            window.clearok(True)
        elif key in STEPS and view.mode is Mode.ALL:
            last = max(0, len(shown.services) - 1)
            return replace(view, chosen=max(0, min(view.chosen + STEPS[key], last)))
        elif key in STEPS:
            last = max(0, last_line(shown, view, self._text) - 1)
            return replace(view, first_line=max(0, min(view.first_line + STEPS[key], last)))
        elif key in (ord("w"), ord("W"), *ENTER):
            name = chosen_service(shown, view)
            if name and view.mode is Mode.ALL:
                self._ask_why(name)
                return replace(view, mode=Mode.WHY, first_line=0)
        elif key in (ord("e"), ord("E")):
            return replace(view, mode=Mode.EVENTS, first_line=0)
        elif key in BACK:
            return replace(view, mode=Mode.ALL)
        return view

    def _ask_why(self, name: str) -> None:
        """Have the answer read by a thread of its own: keys and screen do not wait for it."""
        self._asked += 1
        number = self._asked
        self._text = (f"{name}: reading ...",)

        def read() -> None:
            try:
                text = tuple(explanation_lines(self._layout, name))
            except OpenhaError as error:
                text = (str(error),)
            except Exception as error:  # Top level of the thread: shown.
                text = (f"{type(error).__name__}: {error}",)
            if number == self._asked:
                self._text = text

        threading.Thread(target=read, name="why", daemon=True).start()
