"""The standing check turn by turn, without a device: when it looks at a path, and what it makes of
the answer.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from opensvc_openha.core.events import FencePathsLooked, PathLook, PathState
from opensvc_openha.core.fence_paths import wrong_text
from opensvc_openha.core.model import FencePath, FencingPolicy, PathKind
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.daemon import fence_watch as module
from opensvc_openha.daemon.fence_program import FenceAnswer
from opensvc_openha.daemon.fence_watch import FenceWatch, WatchedPath, after_look
from opensvc_openha.daemon.issues import Issue
from tests.simulated_clock import SimulatedClock

IPMI = FencePath("ipmi", PathKind.POWER, 30.0, mark="1")
PDU = FencePath("pdu", PathKind.POWER, 4.0, mark="1")
DISKS = FencePath("disks", PathKind.RESERVATION, 30.0, mark="1")
LEASE = FencePath("lease", PathKind.LEASE, 12.0, mark="1")
LIVE, SILENT, UNKNOWN = PeerStanding.LIVE, PeerStanding.SILENT, PeerStanding.UNKNOWN
ON = FenceAnswer({"power": "on", "text": "on"}, "", 0.5)
DOWN = FenceAnswer({}, "no answer", 3.0)
REFUSED = FenceAnswer({"power": "unknown", "text": "password refused", "is_refused": True}, "", 0.5)
UNTESTED = "not looked at yet"


class Rig:
    """A watch whose program, plan, engine and problems are this object."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.time = SimulatedClock(monkeypatch)
        self.time.now = 100.0
        self.jitter: list[tuple[float, float]] = []
        monkeypatch.setattr(random, "uniform", self._uniform)
        self.configured: tuple[FencePath, ...] = (IPMI,)
        self.answer: FenceAnswer | Exception = ON
        self.during: Callable[[], None] = lambda: None
        self.standing = LIVE
        self.is_fencing = False
        self.wrong: set[str] = set()
        self.disks = PathLook("disks", PathState.ARMED, text="2 disks of web")
        self.asked: list[tuple[object, ...]] = []
        self.looks: list[FencePathsLooked] = []
        self.changes: list[tuple[str, str]] = []
        self.issues: list[tuple[object, ...]] = []
        self.watch = FenceWatch(
            cast(Any, self),
            lambda: (
                FencingPolicy(levels=tuple((path,) for path in self.configured)),
                cast(Any, self),
            ),
            "deb1",
            lambda: self.standing,
            lambda: self.is_fencing,
            self.looks.append,
            cast(Any, self),
            lambda: 60.0,
            lambda: self.wrong,
            lambda name: self.disks,
            lambda *change: self.changes.append(change),
        )

    def _uniform(self, low: float, high: float) -> float:
        self.jitter.append((low, high))
        return 1.0

    # the plan, the program and the problems

    def request(self, *given: object) -> Mapping[str, object]:
        return {str(number): value for number, value in enumerate(given)}

    def ask(self, request: Mapping[str, object], limit_s: float) -> FenceAnswer:
        self.asked.append((*request.values(), limit_s))
        self.during()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def report(self, issue: Issue, text: str) -> None:
        self.issues.append((issue, text))

    def solve(self, issue: Issue) -> None:
        self.issues.append((issue,))

    # what a test does

    def turn(self) -> list[object]:
        """One turn of the thread; the paths that were asked."""
        self.asked.clear()
        self.looks.clear()
        cast(Any, self.watch)._look_at_all()
        return [asked[1] for asked in self.asked]

    def after(self, seconds: float) -> list[object]:
        self.time.now += seconds
        return self.turn()

    @property
    def known(self) -> WatchedPath:
        return self.watch.known["ipmi"]


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    """The peer is heard, and its device reports on."""
    return Rig(monkeypatch)


# --- when -----------------------------------------------------------------------------------------


def test_each_path_is_looked_at_at_once_and_after_its_interval(rig: Rig) -> None:
    """With up to a tenth more or less; a path without a device is known by others."""
    rig.configured = (IPMI, PDU, LEASE)
    assert rig.turn() == ["ipmi", "pdu"]
    assert rig.asked == [
        ("look", "ipmi", "deb1", 10.0, 10.0),
        ("look", "pdu", "deb1", 4.0, 4.0),
    ]
    first, *looks = rig.looks
    assert [(look.name, look.state, look.text) for look in first.paths] == [
        (name, PathState.UNTESTED, UNTESTED) for name in ("ipmi", "pdu", "lease")
    ]
    assert [look.paths[0].name for look in looks] == ["ipmi", "pdu"]
    assert rig.jitter == [(0.9, 1.1)] * 2
    assert (rig.known.looked_at, rig.known.next_at) == (100.0, 160.0)
    assert rig.after(59.9) == [] and rig.looks == []
    assert rig.after(0.1) == ["ipmi", "pdu"] and len(rig.looks) == 2


def test_look_that_takes_long_is_dated_when_it_ended(rig: Rig) -> None:
    """So is the next one."""

    def take() -> None:
        rig.time.now += 7.0

    rig.during = take
    rig.turn()
    assert (rig.known.looked_at, rig.known.next_at) == (107.0, 167.0)


@pytest.mark.parametrize("standing", list(PeerStanding))
def test_peer_that_is_heard_or_falls_silent_is_looked_at_at_once(
    rig: Rig, standing: PeerStanding
) -> None:
    """Any other change is none."""
    rig.standing = UNKNOWN if standing is LIVE else LIVE
    rig.turn()
    rig.standing = standing
    is_due = standing in (LIVE, SILENT) and rig.standing is not cast(Any, rig.watch)._seen
    assert rig.after(1.0) == (["ipmi"] if is_due else [])
    assert rig.after(1.0) == [], "once"


def test_no_device_is_asked_while_this_node_fences(rig: Rig) -> None:
    """A board has few sessions; disks are looked at by others."""
    rig.configured = (IPMI, DISKS)
    rig.is_fencing = True
    assert rig.turn() == [] and rig.watch.known["disks"].look == rig.disks
    rig.is_fencing = False
    assert rig.turn() == ["ipmi"]


def test_watch_that_ends_asks_nothing_more(rig: Rig) -> None:
    """The look in progress is the last one; nothing is reported of it."""
    rig.configured = (IPMI, PDU)
    rig.during = rig.watch.stop
    rig.answer = DOWN
    assert rig.turn() == ["ipmi"] and rig.issues == [] and rig.changes == []
    assert cast(Any, rig.watch)._wake.is_set()


def test_edit_has_all_looked_at_again(rig: Rig) -> None:
    """Also where logins were refused."""
    rig.configured = (IPMI, PDU)
    rig.turn()
    rig.watch.check_soon()
    assert cast(Any, rig.watch)._wake.is_set() and rig.turn() == ["ipmi", "pdu"]
    rig.answer = REFUSED
    for _ in range(4):
        rig.after(60.0)
    assert rig.known.refusals == 3
    rig.watch.check_soon()
    assert rig.known.refusals == 0 and rig.turn() == ["ipmi", "pdu"]


def test_path_that_was_edited_is_a_new_one(rig: Rig) -> None:
    """All paths are reported then, and after one was added or taken away; the others are kept."""
    rig.configured = (IPMI, PDU)
    rig.turn()
    rig.configured = (replace(IPMI, mark="2"), PDU)
    assert rig.after(1.0) == ["ipmi"]
    first, second = rig.looks
    assert [(look.name, look.state) for look in first.paths] == [
        ("ipmi", PathState.UNTESTED),
        ("pdu", PathState.ARMED),
    ]
    assert second.paths[0].name == "ipmi" and rig.known.path.mark == "2"
    rig.configured = (PDU,)
    assert rig.after(1.0) == [] and [look.paths[0].name for look in rig.looks] == ["pdu"]
    assert rig.after(1.0) == [] and rig.looks == []


def test_path_that_an_edit_takes_away_during_a_look_stays_away(rig: Rig) -> None:
    """An operator's look at it is answered."""
    rig.turn()
    rig.configured = ()
    rig.during = cast(Any, rig.watch)._take_plan
    look = rig.watch.look_now(IPMI)
    assert (look.name, look.state) == ("ipmi", PathState.ARMED) and rig.watch.known == {}


def test_operator_may_look_whatever_was_refused_before(rig: Rig) -> None:
    """The refusals are counted from the beginning then; a path that is not known is looked at."""
    rig.answer = REFUSED
    for _ in range(3):
        rig.after(60.0)
    assert rig.known.refusals == 3 and rig.after(60.0) == []
    assert rig.watch.look_now(IPMI).state is PathState.UNREACHABLE and rig.known.refusals == 1
    assert rig.watch.look_now(PDU).name == "pdu" and "pdu" not in rig.watch.known


# --- what -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "is_heard"),
    [(LIVE, LIVE, True), (SILENT, LIVE, False), (LIVE, SILENT, False), (SILENT, SILENT, False)],
)
def test_peer_is_heard_if_it_is_all_the_time(
    rig: Rig, before: PeerStanding, after: PeerStanding, is_heard: bool
) -> None:
    """Otherwise nothing is known of its power."""
    rig.standing = before
    rig.during = lambda: setattr(rig, "standing", after)
    rig.turn()
    assert rig.known.look.power == ("on" if is_heard else "")


@pytest.mark.parametrize(
    ("answer", "is_heard", "state", "power", "text"),
    [
        (ON, True, PathState.ARMED, "on", "ON, as it must be while deb1 is heard"),
        (ON, False, PathState.ARMED, "", "ON"),
        (FenceAnswer({"power": "off"}), True, PathState.ARMED, "off", "OFF, and deb1 is heard"),
        (
            FenceAnswer({"power": "off"}),
            False,
            PathState.ARMED,
            "",
            "OFF; a look alone is no proof",
        ),
        (DOWN, True, PathState.UNREACHABLE, "", "no answer"),
        (FenceAnswer({"power": "on"}, "late"), True, PathState.UNREACHABLE, "", "late"),
        (FenceAnswer({"power": "?"}), True, PathState.UNREACHABLE, "", "no clear answer"),
        (FenceAnswer({"power": "?", "text": "t"}), True, PathState.UNREACHABLE, "", "t"),
        (FenceAnswer({}), True, PathState.UNREACHABLE, "", "no clear answer"),
    ],
)
def test_answer_of_a_device(
    answer: FenceAnswer, is_heard: bool, state: PathState, power: str, text: str
) -> None:
    """Its problem is the text of a path that is not reached."""
    known = WatchedPath(PathLook("ipmi", PathState.UNTESTED), IPMI)
    found = after_look(known, answer, "deb1", is_heard)
    assert found.look == PathLook("ipmi", state, power, text, answer.took_s)
    assert found.problem == (text if state is PathState.UNREACHABLE else "")


def test_refused_logins_are_counted_in_a_row() -> None:
    """The third reports that it is not asked any more, and what an operator does then; another
    answer ends the row.
    """
    known = WatchedPath(PathLook("ipmi", PathState.UNTESTED), IPMI)
    texts = []
    for _ in range(3):
        known = after_look(known, REFUSED, "deb1", True)
        texts.append(known.look.text)
    assert texts[:2] == ["password refused"] * 2 and known.refusals == 3
    assert "refused 3 times" in texts[2] and texts[2].endswith("then type openha fence test ipmi")
    assert known.problem == texts[2]
    again = after_look(replace(known, refusals=2), REFUSED, "deb1", True, "edit it")
    assert again.look.text.endswith("then edit it")
    assert after_look(known, ON, "deb1", True).refusals == 0
    odd = FenceAnswer({"power": "?", "is_refused": 1})
    assert after_look(known, odd, "deb1", True).refusals == 0


def test_problem_keeps_the_words_in_which_it_began() -> None:
    """But for the first refused login, and the last; after it was reached it is another one."""
    known = WatchedPath(PathLook("ipmi", PathState.UNTESTED), IPMI)
    known = after_look(known, DOWN, "deb1", True)
    known = after_look(known, replace(DOWN, problem="timed out"), "deb1", True)
    assert (known.problem, known.look.text) == ("no answer", "timed out")
    known = after_look(known, REFUSED, "deb1", True)
    assert known.problem == "password refused"
    other = replace(REFUSED, values={**REFUSED.values, "text": "no such user"})
    known = after_look(known, other, "deb1", True)
    assert known.problem == "password refused"
    known = after_look(after_look(known, ON, "deb1", True), DOWN, "deb1", True)
    assert known.problem == "no answer"


def test_path_of_disks_is_what_another_thread_knows(rig: Rig) -> None:
    """Each news of it, with the instant; a problem unless it is armed."""
    rig.configured = (DISKS,)
    rig.turn()
    assert rig.asked == [] and rig.looks[1] == FencePathsLooked((rig.disks,))
    found = rig.watch.known["disks"]
    assert (found.look, found.looked_at, found.problem) == (rig.disks, 100.0, "")
    assert rig.after(1.0) == [] and rig.looks == []
    assert rig.watch.known["disks"].looked_at == 100.0
    rig.disks = PathLook("disks", PathState.UNUSABLE, text="no disk of web")
    rig.turn()
    assert rig.looks == [FencePathsLooked((rig.disks,))]
    assert rig.watch.known["disks"].problem == "no disk of web"
    unknown = replace(rig.watch.known["disks"], path=replace(DISKS, name="other"))
    cast(Any, rig.watch)._take_look(replace(unknown, look=PathLook("other", PathState.ARMED)))
    assert "other" not in rig.watch.known


# --- what is reported -----------------------------------------------------------------------------


def test_path_that_breaks_is_reported_once_and_so_is_its_repair(rig: Rig) -> None:
    """As a problem for as long as it lasts, with all that are broken."""
    rig.configured = (IPMI, PDU)
    rig.turn()
    assert rig.changes == [] and rig.issues == [(Issue.FENCE_PATH,)]
    rig.answer = DOWN
    rig.issues.clear()
    rig.after(60.0)
    rig.after(1.0)
    assert rig.changes == [("ipmi", "no answer"), ("pdu", "no answer")]
    assert rig.issues == [(Issue.FENCE_PATH, "ipmi: no answer; pdu: no answer")] * 2
    rig.answer = ON
    rig.changes.clear()
    rig.after(60.0)
    assert rig.changes == [("ipmi", ""), ("pdu", "")] and rig.issues[-1] == (Issue.FENCE_PATH,)
    rig.wrong = {"pdu"}
    rig.changes.clear()
    rig.after(1.0)
    text = wrong_text("deb1")
    assert rig.changes == [("pdu", text)] and rig.issues[-1] == (Issue.FENCE_PATH, f"pdu: {text}")
    # A path that is taken away is no repaired one.
    rig.configured = (IPMI,)
    rig.changes.clear()
    rig.after(1.0)
    assert rig.changes == [] and rig.issues[-1] == (Issue.FENCE_PATH,)


def test_failure_of_the_check_is_a_problem_while_it_lasts(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks every half second whether something is due, or when it is woken."""
    names, waits = list[str](), list[float]()
    monkeypatch.setattr(module, "name_thread", names.append)
    cleared = list[int]()

    def wait(limit_s: float) -> None:
        waits.append(limit_s)
        rig.answer = ON
        rig.watch.check_soon()
        if len(waits) == 2:
            rig.watch.stop()

    watch = cast(Any, rig.watch)
    watch._wake = SimpleNamespace(
        wait=wait, clear=lambda: cleared.append(len(waits)), set=lambda: None
    )
    rig.answer = ValueError("what now")
    watch._run()
    assert rig.issues == [
        (Issue.FENCE_WATCH, "ValueError: what now"),
        (Issue.FENCE_PATH,),
        (Issue.FENCE_WATCH,),
    ]
    assert names == ["fence paths"] and waits == [0.5, 0.5] and cleared == [1, 2]


def test_watch_has_a_thread_that_ends_with_the_program(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that hangs keeps no daemon from ending."""
    started = list[threading.Thread]()

    class Thread(threading.Thread):
        def start(self) -> None:
            started.append(self)

    monkeypatch.setattr(module, "threading", SimpleNamespace(Thread=Thread))
    monkeypatch.setattr(module, "name_thread", lambda name: None)
    rig.watch.start()
    (thread,) = started
    assert thread.daemon and thread.name == "fence paths"
    rig.watch.stop()
    thread.run()
