"""A service that is started beside the cluster while its daemon runs: real status scripts, looked
at in a thread.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from opensvc_openha.core.events import ScriptOutcome
from opensvc_openha.core.model import ServiceSpec
from opensvc_openha.daemon.outside_starts import OutsideStarts
from opensvc_openha.daemon.script_runner import ScriptRunner
from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.system import clock
from tests.waiting import LIMIT_S, until

SCRIPT = """#!/bin/sh
echo "$@ $OPENHA_ACTION" >> {root}/asked
[ "$1" = status ] || exit 1
cat {root}/answer
exit $(cat {root}/ends)
"""


class Place:
    """One service, whose script answers what the test sets."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.found: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.layout = tree_layout(str(root))
        (root / "log").mkdir()
        self.script = root / "script"
        self.script.write_text(SCRIPT.format(root=root))
        self.script.chmod(0o755)
        runner = ScriptRunner(self.layout, "deb1", "deb2", lambda ended: None)
        self.service = ServiceSpec("registry", str(self.script), "deb1", "deb2", "/bin/true")
        self.looks = OutsideStarts(lambda: [self.service], runner.ask, self.found.put, every_s=0.05)

    def answer(self, word: str, code: int = 0) -> None:
        """What the script answers from now on."""
        (self.root / "answer").write_text(f"{word}\n")
        (self.root / "ends").write_text(f"{code}\n")

    def asked(self) -> list[str]:
        """Each call of the script."""
        path = self.root / "asked"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A service that is down."""
    made = Place(tmp_path)
    made.answer("down", 1)
    yield made
    made.looks.stop()


def test_a_start_is_found_by_a_look_and_the_log_of_the_service_has_nothing_of_it(
    place: Place,
) -> None:
    """Down at first, then started by somebody: reported, again and again until the engine knows."""
    place.looks.start()
    assert not place.looks.is_up(place.service)
    place.answer("up")
    assert [place.found.get(timeout=LIMIT_S) for _ in range(2)] == ["registry", "registry"]
    assert set(place.asked()) == {"status status"}
    assert not (place.root / "log" / "registry.log").exists()


@pytest.mark.parametrize(
    "word, code, is_up",
    [
        ("up", 0, True),
        ("warn", 2, True),
        ("down", 1, False),
        ("stdby up", 6, False),
        ("n/a", 3, False),
        ("up", 1, False),
    ],
)
def test_what_counts_as_up_is_what_a_daemon_that_starts_would_take_for_it(
    place: Place, word: str, code: int, is_up: bool
) -> None:
    """Up, or parts of it."""
    place.answer(word, code)
    assert place.looks.is_up(place.service) is is_up


def test_a_script_without_an_answer_is_left_alone_until_it_is_another_one(place: Place) -> None:
    """Many scripts do not know `status`: they are not run each minute for nothing."""
    place.answer("usage: script start|stop", 2)
    for _ in range(3):
        assert not place.looks.is_up(place.service)
    assert len(place.asked()) == 1
    place.script.write_text(place.script.read_text() + "# changed\n")
    place.answer("up")
    assert place.looks.is_up(place.service)


def test_a_script_without_an_answer_is_asked_again_after_an_hour(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have learned it without being another file: what it runs was replaced."""
    now = 5000.0
    monkeypatch.setattr(clock, "monotonic", lambda: now)
    place.answer("usage: script start|stop", 2)
    place.looks.is_up(place.service)
    place.answer("up")
    now += 3600.0 - 0.1
    assert not place.looks.is_up(place.service)
    now += 0.1
    assert place.looks.is_up(place.service)


class Waits(threading.Event):
    """Note each wait, and let none take time; set after some."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.times: list[float | None] = []
        self._count = count

    def wait(self, timeout: float | None = None) -> bool:
        """End the test's loop after the last one."""
        self.times.append(timeout)
        if len(self.times) == self._count:
            self.set()
        return self.is_set()


def test_looks_take_a_small_share_of_the_time(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script that takes 2 s is followed by a pause of 38 s; none is asked after the end."""
    now = 0.0
    asked: list[str] = []

    def ask(name: str, script: str) -> ScriptOutcome:
        nonlocal now
        now += 2.0
        asked.append(name)
        return ScriptOutcome.DOWN

    monkeypatch.setattr(clock, "monotonic", lambda: now)
    looks = OutsideStarts(lambda: [place.service] * 3, ask, place.found.put, every_s=7.0)
    over, wake = Waits(2), Waits(99)
    looks._is_over, looks._wake = over, wake
    wake.set()
    looks._run()
    assert not wake.is_set()
    assert [round(pause or 0, 6) for pause in over.times] == [38.0, 38.0]
    assert (asked, wake.times) == (["registry"] * 2, [7.0]) and place.found.empty()


def test_look_is_taken_soon_when_something_was_edited(place: Place) -> None:
    """Not after the minute; and the end is not waited for."""
    place.answer("up")
    looks = OutsideStarts(
        lambda: [place.service], lambda name, path: ScriptOutcome.UP,
        place.found.put, every_s=2 * LIMIT_S,
    )  # fmt: skip
    looks.start()
    (thread,) = [each for each in threading.enumerate() if each.name == "outside starts"]
    looks.check_soon()
    assert place.found.get(timeout=LIMIT_S) == "registry"
    looks.stop()
    thread.join(LIMIT_S)
    assert not thread.is_alive()


def test_looks_are_a_minute_apart_and_the_end_waits_for_none(place: Place) -> None:
    """The first one as well: the engine has asked when it began."""
    looks = OutsideStarts(list, lambda name, path: ScriptOutcome.UP, print)
    looks.stop()
    assert looks._wake.is_set()
    looks._is_over.clear()
    waits: list[float | None] = []

    class Turn(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout)
            looks._is_over.set()
            return True

    looks._wake = Turn()
    looks._run()
    assert waits == [60.0]


def test_thread_of_the_looks_has_a_name_and_keeps_no_daemon_from_ending(place: Place) -> None:
    """As shown by `ps -L`."""
    before = set(threading.enumerate())
    place.looks.start()
    (thread,) = set(threading.enumerate()) - before
    until(lambda: Path(f"/proc/self/task/{thread.native_id}/comm").read_text() == "outside\n")
    assert thread.daemon


def test_node_that_can_start_no_thread_looks_at_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And continues."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    place.looks.start()


def test_a_script_that_is_gone_or_cannot_run_is_no_start(place: Place) -> None:
    """That is reported elsewhere."""
    place.script.chmod(0o644)
    assert not place.looks.is_up(place.service)
    place.script.unlink()
    assert not place.looks.is_up(place.service)
