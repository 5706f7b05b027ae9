"""`openha top`: what fits where, and a real terminal beside a real daemon that hangs and goes."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from opensvc_openha.cli.top import is_unicode
from opensvc_openha.live.observer import Seen, end_of
from opensvc_openha.live.picture import Level, Picture, picture
from opensvc_openha.live.top_screen import (
    MARKS,
    Mode,
    View,
    chosen_service,
    last_line,
    screen,
    sparkline,
)
from tests.cluster_dir import ClusterDir
from tests.live.stage import S, entry, healthy, service
from tests.terminal import Terminal
from tests.waiting import LIMIT_S, until

WALL = 1_000_000.0


def seen(number: int = 3) -> Picture:
    services = tuple(service(f"svc{index:02}", S.STOPPED, S.STARTED) for index in range(number))
    status = replace(healthy(), services=services, warnings=("a warning " * 20, "two", "three"))
    kept: tuple[float | None, ...] = (*[0.5] * 200, None, 9.0)
    samples = {end_of(link): kept for link in status.links}
    events = tuple(entry(f"reason {index}", "svc00", index % 2 == 0) for index in range(40))
    found = Seen(1, 0.0, False, status, WALL, "", None, events, samples)
    return picture(found, WALL, 1.0)


@pytest.mark.parametrize("width, height", [(80, 24), (40, 10), (200, 60), (10, 3), (1, 1)])
@pytest.mark.parametrize(
    "view", [View(), View(chosen=55), View(Mode.EVENTS, first_line=30), View(Mode.WHY)]
)
def test_screen_never_exceeds_its_terminal(width: int, height: int, view: View) -> None:
    """Many services, long texts, terminals of any size."""
    lines = screen(seen(60), view, width, height, ["a long line " * 30] * 50)
    assert len(lines) == height
    assert max(len(line.text) for line in lines) <= max(0, width - 1)


def test_screen_of_a_usual_terminal_has_everything() -> None:
    """80x24: nodes, states with marks, readiness, links with a plot, warnings, events, keys."""
    shown = seen()
    texts = [line.text for line in screen(shown, View(chosen=1), 80, 24)]
    assert texts[1].startswith("! a warning")
    assert texts[2:4] == ["+ deb1: answers", "+ deb2: heard"]
    row = next(text for text in texts if "svc01" in text)
    assert "- STOPPED" in row and "+ STARTED" in row and "ready; takeover 7.3 s" in row
    link = next(text for text in texts if "eth1:239.131.50.10" in text)
    assert "listens up" in link and "9.0 s / 10 s" in link and "█" in link
    assert "  and 1 more" not in texts and any("reason 38" in text for text in texts)
    assert texts[-1].startswith("q quit")
    chosen = [line for line in screen(shown, View(chosen=1), 80, 24) if line.is_chosen]
    assert ["svc01" in line.text for line in chosen] == [True]
    assert chosen_service(shown, View(chosen=1)) == "svc01"
    assert chosen_service(seen(0), View()) == ""
    assert last_line(shown, View(Mode.EVENTS), ()) == 40


def test_terminal_without_unicode_gets_ascii() -> None:
    """By the locale; whatever a text has."""
    assert is_unicode({"LANG": "en_US.UTF-8"}) and is_unicode({"LC_ALL": "", "LANG": "C.utf8"})
    assert not is_unicode({}) and not is_unicode({"LC_ALL": "C", "LANG": "en_US.UTF-8"})
    lines = screen(seen(), View(Mode.WHY), 80, 24, ["gr\u00fc\u00df \x1b[31m"], is_unicode=False)
    assert all(line.text.isascii() and line.text.isprintable() for line in lines)
    assert sparkline((0.0, 5.0, None, 20.0), 10.0, is_unicode=False) == ".+ #"
    assert sparkline((0.0, 5.0, None, 20.0), 10.0) == "▁▅ █"


def test_each_level_has_a_mark_of_its_own() -> None:
    """Without colours they differ."""
    assert {level.value for level in Level} == set(MARKS)
    assert len(set(MARKS.values())) == len(MARKS)


@pytest.fixture
def terminal(cluster_dir: ClusterDir) -> Iterator[Terminal]:
    """`openha top` beside a daemon that runs a service."""
    cluster_dir.add("registry")
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry force-start")
    env = {
        **cluster_dir.env,
        "EZ": str(cluster_dir.root),
        "TERM": "xterm",
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    opened = Terminal([sys.executable, "-m", "opensvc_openha", "top"], env)
    try:
        yield opened
    finally:
        opened.close()


def test_top_shows_a_service_and_a_daemon_that_is_stopped_and_gone(
    cluster_dir: ClusterDir, terminal: Terminal
) -> None:
    """States, `why` and the events at a key; SIGSTOP and SIGKILL are reported; q restores the
    terminal.
    """

    def shows(text: bytes) -> None:
        # Each time drawn as a whole: else only what differs from the screen before is written.
        def look() -> bytes:
            terminal.press(b"\x0c")
            return terminal.read()

        until(look, lambda seen: text in seen, repr(text))

    shows(b"STARTED")
    terminal.press(b"w")
    shows(b"registry: STARTED on")
    terminal.press(b"\x1b")
    shows(b"Heartbeat link")
    terminal.press(b"e")
    shows(b"command force-start for registry")
    terminal.press(b"\x1b")
    shows(b"Heartbeat link")
    cluster_dir.kill(signal.SIGSTOP)
    shows(b"does not answer")
    cluster_dir.kill()
    shows(b"is not running")
    terminal.press(b"q")
    assert terminal.process.wait(LIMIT_S) == 0
    terminal.until(b"\x1b[?1049l")


def test_top_needs_a_terminal(cluster_dir: ClusterDir) -> None:
    """Into a pipe: what to call instead."""
    done = cluster_dir.quick("openha top")
    assert done.returncode == 2 and "service -s -v" in done.stderr
