"""The standing check with real processes: what it reports of a path, and when it looks again."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from opensvc_openha.core.events import FencePathsLooked, PathLook, PathState
from opensvc_openha.core.model import FencePath, FencingPolicy, PathKind
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.core.timing import FENCE_REFUSALS_MAX
from opensvc_openha.daemon.fence_watch import FenceWatch
from opensvc_openha.daemon.issues import ActiveIssues
from tests.daemon.fence_devices import OFF, ON, PEER, REFUSED, Device, policy
from tests.waiting import LIMIT_S, until

NEVER_S = 10_000.0
LIVE, SILENT = PeerStanding.LIVE, PeerStanding.SILENT
OFF_ALONE = "OFF; a look alone is no proof"


class Rig:
    """A watch of one device, started by the test."""

    def __init__(self, root: Path) -> None:
        self.device = Device(root)
        self.standing = LIVE
        self.is_fencing = False
        self.disks = PathLook("disk", PathState.ARMED, text="2 disk(s) of web")
        self.interval_s = NEVER_S
        self.wrong: set[str] = set()
        self.changes: list[tuple[str, str]] = []
        self.looks: queue.SimpleQueue[FencePathsLooked] = queue.SimpleQueue()
        self.issues = ActiveIssues("deb2", logging.getLogger("test"))
        self.watch = FenceWatch(
            self.device.program,
            self.device.plan,
            PEER,
            lambda: self.standing,
            lambda: self.is_fencing,
            self.looks.put,
            self.issues,
            lambda: self.interval_s,
            lambda: self.wrong,
            lambda name: self.disks,
            lambda name, problem: self.changes.append((name, problem)),
        )

    def next(self) -> PathLook:
        """The only path of the next report."""
        (look,) = self.looks.get(timeout=LIMIT_S).paths
        return look

    def start(self) -> PathLook:
        """Start; the first look."""
        self.watch.start()
        assert self.next() == PathLook("ipmi", PathState.UNTESTED, text="not looked at yet")
        return self.next()

    def again(self) -> PathLook:
        """What the next look reports."""
        self.watch.check_soon()
        return self.next()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """The peer is heard, and its device reports on."""
    made = Rig(tmp_path)
    yield made
    made.watch.stop()
    made.device.program.close()


def test_path_whose_device_reports_on_while_the_peer_is_heard_is_armed(rig: Rig) -> None:
    """The device is asked for its status alone."""
    look = rig.start()
    assert (look.state, look.power) == (PathState.ARMED, "on")
    assert look.text == f"ON, as it must be while {PEER} is heard"
    assert [request["do"] for request in rig.device.requests] == ["look"]
    assert rig.watch.known["ipmi"].looked_at is not None
    assert rig.issues.texts == ()


def test_device_that_reports_off_while_the_peer_is_heard_is_reported_so(rig: Rig) -> None:
    """What it means is the engine's to decide, which knows whether beats still come in."""
    rig.device.write(OFF)
    look = rig.start()
    assert (look.state, look.power) == (PathState.ARMED, "off")
    assert look.text == f"OFF, and {PEER} is heard"
    assert rig.issues.texts == ()
    rig.wrong = {"ipmi"}
    text = f"it said OFF while {PEER} was heard: this is not its power. Correct the address"
    until(lambda: rig.issues.texts == (f"fence path broken: ipmi: {text}",))
    rig.wrong = set()
    until(lambda: rig.issues.texts == ())


def test_look_while_the_peer_is_silent_reports_no_power(rig: Rig) -> None:
    """Whatever the device says then, it is not known to be the peer's."""
    rig.standing = SILENT
    look = rig.start()
    assert (look.state, look.power, look.text) == (PathState.ARMED, "", "ON")
    rig.device.write(OFF)
    look = rig.again()
    assert (look.state, look.power, look.text) == (PathState.ARMED, "", OFF_ALONE)


def test_each_change_of_the_peer_is_followed_by_a_look(rig: Rig) -> None:
    """Without waiting for the interval."""
    rig.start()
    rig.standing = SILENT
    assert rig.next().power == ""
    rig.standing = LIVE
    assert rig.next().power == "on"


def test_peer_that_falls_silent_during_the_look_was_not_heard(rig: Rig) -> None:
    """The answer is of a moment at which nothing is known."""
    rig.device.write(f"while [ ! -e {rig.device.root}/go ]; do sleep 0.02; done; {ON}")
    rig.watch.start()
    rig.next()
    until(lambda: len(rig.device.requests) == 1)
    rig.standing = SILENT
    (rig.device.root / "go").touch()
    assert rig.next().power == ""


@pytest.mark.parametrize(
    "body, text",
    [
        ('echo \'{"power": "unknown", "text": "no answer in 5.3 s"}\'', "no answer in 5.3 s"),
        ('echo \'{"power": "On"}\'', "no clear answer"),
        ('echo \'{"power": ["on"]}\'', "no clear answer"),
        ("echo broken >&2; exit 1", "the fence program ended with 1 without an answer: broken"),
    ],
)
def test_path_without_a_clear_answer_is_unreachable(rig: Rig, body: str, text: str) -> None:
    """The reason is shown, and is a problem until it answers."""
    rig.device.write(body)
    look = rig.start()
    assert (look.state, look.power, look.text) == (PathState.UNREACHABLE, "", text)
    until(lambda: rig.issues.texts == (f"fence path broken: ipmi: {text}",))


def test_problem_is_logged_once_although_its_words_change(rig: Rig) -> None:
    """A device that is down for days fills no log."""
    rig.interval_s = 0.01
    rig.device.write("""echo "{\\"power\\": \\"unknown\\", \\"text\\": \\"after $$ s\\"}" """)
    first = rig.start()
    second = rig.next()
    assert second.text != first.text
    until(lambda: rig.looks.qsize() > 2)
    assert rig.issues.texts == (f"fence path broken: ipmi: {first.text}",)


def test_device_that_refuses_the_login_is_asked_three_times_and_after_an_edit(rig: Rig) -> None:
    """A management board locks the account otherwise."""
    rig.interval_s = 0.01
    rig.device.write(REFUSED)
    rig.start()
    for _ in range(FENCE_REFUSALS_MAX - 1):
        look = rig.next()
    assert look.text == (
        "password refused; the login was refused 3 times: it is not asked any more, lest it locks"
        " the account. Correct that, then type openha fence test ipmi"
    )
    until(lambda: "openha fence test ipmi" in " ".join(rig.issues.texts))
    with pytest.raises(queue.Empty):
        rig.looks.get(timeout=1.2)  # Two more rounds.
    assert len(rig.device.requests) == FENCE_REFUSALS_MAX
    rig.device.write(ON)
    assert rig.watch.look_now(rig.device.policy.paths[0]).state is PathState.ARMED
    rig.next()
    until(lambda: rig.looks.qsize() > 1, bool, "it is asked from time to time again")


def test_a_login_that_is_accepted_in_between_starts_the_count_again(rig: Rig) -> None:
    """Three in a row."""
    rig.device.write(REFUSED)
    rig.start()
    rig.watch.look_now(rig.device.policy.paths[0])
    assert rig.watch.known["ipmi"].refusals == 1, "an operator's look starts it again, too"
    rig.device.write(ON)
    rig.watch.look_now(rig.device.policy.paths[0])
    assert rig.watch.known["ipmi"].refusals == 0


def test_no_look_while_this_node_fences(rig: Rig) -> None:
    """A board has few sessions."""
    rig.start()
    rig.is_fencing = True
    rig.watch.check_soon()
    with pytest.raises(queue.Empty):
        rig.looks.get(timeout=1.2)
    rig.is_fencing = False
    assert rig.next().state is PathState.ARMED


def test_device_that_hangs_is_killed_and_does_not_hold_the_end(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the limit of a look; an end of the daemon waits for nothing."""
    monkeypatch.setattr("opensvc_openha.daemon.fence_watch.POWER_LOOK_LIMIT_S", 0.3)
    rig.device.write("sleep 1000")
    assert rig.start().text == "no answer within 0.3 s: killed"
    monkeypatch.setattr("opensvc_openha.daemon.fence_watch.POWER_LOOK_LIMIT_S", LIMIT_S)
    rig.watch.check_soon()
    until(lambda: len(rig.device.requests) == 2)
    rig.watch.stop()
    rig.device.program.close()
    until(lambda: not any(each.name == "fence paths" for each in threading.enumerate()))


def test_edited_path_is_a_new_one(rig: Rig) -> None:
    """What was seen of the device at another address does not count."""
    assert rig.start().state is PathState.ARMED
    rig.device.write("exit 1")
    path = rig.device.policy.paths[0]
    rig.device.policy = policy(replace(path, mark="2"), FencePath("disk", PathKind.RESERVATION, 1))
    looks = {look.name: look for look in rig.looks.get(timeout=LIMIT_S).paths}
    assert {look.state for look in looks.values()} == {PathState.UNTESTED}
    found = [rig.next(), rig.next()]
    assert {look.name: look.state for look in found} == {
        "ipmi": PathState.UNREACHABLE,
        "disk": PathState.ARMED,
    }
    rig.device.policy = policy(FencePath("disk", PathKind.RESERVATION, 1))
    assert [look.name for look in rig.looks.get(timeout=LIMIT_S).paths] == ["disk"]
    rig.disks = PathLook("disk", PathState.WRONG, text="no disk")
    assert rig.next() == rig.disks
    until(lambda: rig.issues.texts == ("fence path broken: disk: no disk",))
    assert set(rig.watch.known) == {"disk"}


def test_failure_of_the_check_itself_is_reported_while_it_lasts(rig: Rig) -> None:
    """It continues."""
    rig.start()
    del rig.device.policy
    until(lambda: rig.issues.texts and "fence paths not looked at" in rig.issues.texts[0])
    rig.device.policy = policy(FencePath("ipmi", PathKind.POWER, 30.0, mark="1"))
    until(lambda: rig.issues.texts == ())


def test_path_that_breaks_and_is_repaired_is_reported_once_each(rig: Rig) -> None:
    """Not at each look, nor with each other word of it; one that is configured no more never."""
    rig.start()
    rig.device.write("exit 1")
    rig.again()
    until(lambda: len(rig.changes) == 1)
    rig.device.write("exit 2")
    rig.again()
    rig.wrong = {"ipmi"}
    rig.device.write(ON)
    rig.again()
    rig.wrong = set()
    until(lambda: len(rig.changes) == 2)
    assert rig.changes[0] == ("ipmi", "the fence program ended with 1 without an answer")
    assert rig.changes[1] == ("ipmi", "")
    rig.device.write("exit 1")
    rig.again()
    until(lambda: len(rig.changes) == 3)
    rig.device.policy = FencingPolicy()
    rig.watch.check_soon()
    until(lambda: not rig.issues.texts)
    assert len(rig.changes) == 3
