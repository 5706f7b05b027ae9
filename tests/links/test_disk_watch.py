"""Reports of a place that is watched: when a thread is woken, and when one of them is overdue."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace

import pytest

from opensvc_openha.links.base import LinkFault
from opensvc_openha.links.disk_watch import DiskWatch, Look, Note
from opensvc_openha.system import clock


class Scene:
    """A watch with a pause of 0.25 s and a limit of 2 s, in simulated time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.waits: list[float] = []
        self.due: list[tuple[float, Callable[[], object]]] = []
        """What happens at an instant, while somebody waits."""
        self.is_behind = self.is_owed = False
        self.owed = self.left = 0
        monkeypatch.setattr(clock, "monotonic", lambda: self.now)
        self.note: Note | None = None
        self.reads = self.news = 0
        self.watch = DiskWatch(
            "/dev/x",
            0.25,
            2.0,
            lambda: self.note,
            lambda: self.is_behind,
            self._owe,
            self._leave,
        )
        monkeypatch.setattr(self.watch._condition, "wait", self._wait)
        monkeypatch.setattr(self.watch._condition, "notify", lambda: setattr(self, "woken", True))
        self.woken = False

    def _owe(self, watch: DiskWatch) -> bool:
        assert watch is self.watch
        self.owed += watch.is_overdue
        return watch.is_overdue

    def _leave(self, watch: DiskWatch) -> None:
        self.left += 1

    def _wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        assert len(self.waits) < 1000, "it waits for ever"
        ends_at, self.woken = self.now + seconds, False
        while self.due and self.due[0][0] <= ends_at and not self.woken:
            self.now, happens = self.due.pop(0)
            happens()
        if not self.woken:
            self.now = ends_at

    def report(self, ended_at: float, data: bytes | None = None, took_s: float = 0.0) -> None:
        """The process has read at that instant."""
        self.due.append((ended_at, lambda: self.read(Look(ended_at - took_s, ended_at, data))))

    def read(self, look: Look) -> None:
        """A read, which the process reports if it showed something new, and notes."""
        self.reads += 1
        is_news = look.data is not None
        if is_news:
            self.news += 1
            self.watch.put(replace(look, number=self.reads))
        self.note = Note(self.reads, self.news, is_news, look.began_at, look.ended_at)

    def begin(self) -> None:
        """The first content has been taken."""
        self.report(100.0, b"first")
        first = self.watch.next_news(0.0)
        assert first is not None and first.data == b"first"
        self.waits.clear()


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


def test_first_read_is_waited_for_and_has_the_limit(scene: Scene) -> None:
    """Whatever time there is for news; the limit counts from the request on."""
    scene.report(101.5, b"first")
    assert scene.watch.next_news(0.0) == Look(101.5, 101.5, b"first")
    assert scene.watch.next_news(0.0) is None


def test_first_read_that_never_ends_is_a_fault(scene: Scene) -> None:
    """As one that was asked for."""
    with pytest.raises(LinkFault, match="^hung: no answer to the read of /dev/x within 2 s$"):
        scene.watch.next_news(60.0)
    assert scene.now == pytest.approx(102.005) and scene.owed == 1


def test_thread_is_woken_by_news_alone(scene: Scene) -> None:
    """Reads that show nothing new put the deadline off, which it notices when that is over."""
    scene.begin()
    for number in range(1, 20):
        scene.report(100.0 + number / 4)
    scene.report(105.0, b"second")
    assert scene.watch.next_news(60.0) == Look(105.0, 105.0, b"second")
    assert scene.waits == [2.25, 2.25, 2.25] and scene.watch.reads == 21


@pytest.mark.parametrize("last", [100.0, 100.25, 100.5])
def test_process_that_hangs_is_noticed_as_if_it_had_been_asked(scene: Scene, last: float) -> None:
    """The next read is begun a pause after the last one, and has the limit from then on."""
    scene.begin()
    for number in range(1, 3):
        if 100.0 + number / 4 <= last:
            scene.report(100.0 + number / 4)
    with pytest.raises(LinkFault, match="^hung: no answer to the read"):
        scene.watch.next_news(60.0)
    assert scene.now == pytest.approx(last + 2.25 + 0.005)
    with pytest.raises(LinkFault, match="^hung: no answer to the read"):
        scene.watch.next_news(60.0)


def test_time_without_news_is_over_when_it_is(scene: Scene) -> None:
    """Before anything is overdue."""
    scene.begin()
    scene.report(100.25)
    assert scene.watch.next_news(0.5) is None and scene.now == 100.5 and scene.owed == 0


def test_daemon_that_was_stopped_takes_the_reports_first(scene: Scene) -> None:
    """Its thread is late itself, for an hour: the process has gone on, and its report waits."""
    scene.begin()
    scene.now = 3700.0
    scene.is_behind = True

    def taken() -> None:
        scene.is_behind = False
        scene.read(Look(3699.9, 3699.9, None))

    scene.due.append((3700.012, taken))
    assert scene.watch.next_news(0.0) is None and scene.owed == 0


def test_report_that_comes_at_the_last_moment_counts(scene: Scene) -> None:
    """It was taken while the thread gave the other one time to run, or between two looks."""
    scene.begin()
    scene.report(102.252)
    assert scene.watch.next_news(2.3) is None and scene.owed == 0
    scene.read(Look(102.3, 102.3, b"news"))
    scene.now = 200.0
    assert scene.watch.next_news(0.0) == Look(102.3, 102.3, b"news"), "news is news"


def test_news_of_a_read_that_took_too_long_is_a_fault(scene: Scene) -> None:
    """The beat in it may be as old as the beginning of that read. Of an unchanged slot it is no
    matter: that read is dated when it began.
    """
    scene.begin()
    scene.report(102.2, b"old", took_s=2.0)
    with pytest.raises(LinkFault, match="the read of /dev/x took 2.0 s, more than 2 s"):
        scene.watch.next_news(10.0)
    scene.report(102.4, b"new", took_s=1.999)
    assert scene.watch.next_news(10.0) is not None


def test_place_that_cannot_be_read_is_a_fault(scene: Scene) -> None:
    """With the system's words; what was read before is taken first."""
    scene.begin()
    scene.read(Look(100.25, 100.25, b"second"))
    scene.due.append((100.5, lambda: scene.watch.fail(errno.EIO)))
    assert scene.watch.next_news(1.0) is not None
    for _ in range(2):
        with pytest.raises(LinkFault, match="^the read of /dev/x: Input/output error$"):
            scene.watch.next_news(1.0)


def test_place_is_unchanged_only_if_all_news_was_taken(scene: Scene) -> None:
    """A quiet read behind a beat that waits proves nothing about that beat."""
    assert scene.watch.unchanged is None
    scene.begin()
    assert scene.watch.unchanged is None, "the first content was just news"
    quiet = Look(100.2, 100.25, None)
    scene.read(quiet)
    assert scene.watch.unchanged == quiet
    scene.read(Look(100.5, 100.5, b"second"))
    assert scene.watch.unchanged is None
    later = Look(100.7, 100.75, None)
    scene.read(later)
    assert scene.watch.unchanged is None
    assert scene.watch.next_news(0.0) is not None
    assert scene.watch.unchanged == later


def test_quiet_read_behind_a_report_that_is_on_its_way_proves_nothing(scene: Scene) -> None:
    """The process notes a read of what it has reported, and the report is still in its pipe."""
    scene.begin()
    scene.note = Note(3, 2, False, 100.7, 100.75)
    assert scene.watch.unchanged is None and scene.watch.reads == 3
    scene.watch.put(Look(100.5, 100.5, b"second", 2))
    assert scene.watch.unchanged is None
    assert scene.watch.next_news(0.0) is not None
    assert scene.watch.unchanged == Look(100.7, 100.75, None) and scene.watch.reads == 3


def test_note_that_cannot_be_told_for_a_moment_changes_nothing(scene: Scene) -> None:
    """The process is writing it; what was known before holds."""
    scene.begin()
    scene.read(Look(101.0, 101.0, None))
    assert scene.watch.reads == 2 and scene.watch.expected_at == 101.25
    scene.note = None
    assert (scene.watch.reads, scene.watch.expected_at) == (2, 101.25)
    assert scene.watch.unchanged is None
    scene.note = Note(1, 1, True, 100.0, 100.0)
    assert (scene.watch.reads, scene.watch.expected_at) == (2, 101.25), "the same read, or a former"


def test_thread_that_is_roused_waits_no_longer_once(scene: Scene) -> None:
    """It waits already, or is about to; news that is there comes first."""
    scene.begin()
    scene.due.append((100.5, scene.watch.rouse))
    assert scene.watch.next_news(60.0) is None and scene.now == 100.5
    scene.watch.rouse()
    scene.read(Look(100.5, 100.5, b"second"))
    assert scene.watch.next_news(60.0) is not None
    assert scene.watch.next_news(60.0) is None and scene.now == 100.5
    assert scene.watch.next_news(0.5) is None and scene.now == 101.0


def test_newest_news_is_kept(scene: Scene) -> None:
    """A thread that is late loses the oldest, as if it had read less often."""
    scene.begin()
    for number in range(20):
        scene.read(Look(101.0, 101.0, b"%d" % number))
    taken = [scene.watch.next_news(0.0) for _ in range(17)]
    assert [look and look.data for look in taken] == [b"%d" % n for n in range(4, 20)] + [None]


def test_closed_watch_is_left(scene: Scene) -> None:
    """Without waiting."""
    scene.watch.close()
    assert scene.left == 1 and scene.waits == []
