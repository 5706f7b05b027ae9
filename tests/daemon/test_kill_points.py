"""A real daemon, killed at each system call of its state writes: nothing is announced or answered
that is not on disk.

Each point is a call of fchmod, pwrite and fdatasync (of the log of states), rename or sendto, and
the kill comes before or after it. What the daemon announced is read from its datagrams, what it
answered from its control socket.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from opensvc_openha.control import client
from opensvc_openha.core.events import Command
from opensvc_openha.core.states import ServiceState
from opensvc_openha.errors import OpenhaError
from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.formats.state_file import StoredState, decode, encode
from opensvc_openha.storage.state_store import clean_up
from tests.cluster_dir import ClusterDir
from tests.peer_voice import PeerVoice
from tests.waiting import until

_S = ServiceState
PROGRAM = str(Path(__file__).with_name("killed_daemon.py"))
PACKAGE_ROOT = str(Path(__file__).parents[2])
STORIES = (
    (
        (Command.UNFREEZE, (_S.STOPPED,)),
        (Command.FORCE_START, (_S.STARTED,)),
        (Command.FREEZE_STOP, (_S.STOPPING, _S.FROZEN_STOP)),
    ),
    ((Command.FORCE_START, (_S.STARTED,)), (Command.FREEZE_START, (_S.FROZEN_START,))),
    ((Command.FORCE_START, (_S.STARTED,)), (Command.STOP, (_S.STOPPING, _S.STOPPED))),
)
"""Commands for a service that is FROZEN_STOP, and the states that each leads through."""
CALLS = {
    ("fchmod", "before"): 1,
    ("pwrite", "before"): 1,
    ("fdatasync", "before"): 1,
    ("rename", "before"): 1,
    ("sendto", "before"): 1,
    ("sendto", "after"): 1,
}
"""The calls of one write, in their order; after one of them is before the next."""


@dataclass(frozen=True)
class Point:
    """Where in a story the daemon is killed."""

    story: int
    name: str
    number: int
    side: str

    @property
    def path(self) -> tuple[ServiceState, ...]:
        """The states of the story."""
        return _path(self.story)

    def __str__(self) -> str:
        return f"story {self.story + 1}, {self.side} {self.name} {self.number}"


def _path(story: int) -> tuple[ServiceState, ...]:
    return (_S.FROZEN_STOP, *(state for _, states in STORIES[story] for state in states))


POINTS = [
    Point(story, name, number, side)
    for story in range(len(STORIES))
    for (name, side), count in CALLS.items()
    for number in range(1, count * (len(_path(story)) - 1) + 1)
]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterDir]:
    """Links whose timeouts are never reached: what happens is what is ordered."""
    cluster = ClusterDir(tmp_path_factory.mktemp("killed") / "cluster", timeout_s=600)
    cluster.add("registry", "[ $1 != status ] || echo down")
    yield cluster
    cluster.close()


@pytest.fixture
def story_dir(installed: ClusterDir) -> ClusterDir:
    """As at the beginning of the story."""
    installed.state_file("registry").write_bytes(encode(StoredState(_S.FROZEN_STOP)))
    return installed


def play(cluster: ClusterDir, voice: PeerVoice, point: Point) -> tuple[list[ServiceState], int]:
    """Runs the story until the daemon is killed: the states it announced, one after the other, and
    how far it answered.
    """
    announced: list[ServiceState] = []

    def listen() -> None:
        while True:
            frame = voice.next_frame()
            if frame is None:
                return
            states = [state for state in frame.states if state is not _S.UNKNOWN]
            if states and announced[-1:] != states:
                announced.extend(states)

    daemon = subprocess.Popen(
        [sys.executable, PROGRAM, point.name, str(point.number), point.side],
        env={**cluster.env, "EZ": str(cluster.root), "PYTHONPATH": PACKAGE_ROOT},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    answered = 0
    try:
        layout = tree_layout(str(cluster.root))
        until(
            lambda: listen() or announced == [_S.FROZEN_STOP],
            bool,
            "the first beat",
            lambda: f"{announced} {cluster.log()}",
        )
        cluster.path("armed").touch()
        with contextlib.suppress(OpenhaError):
            for command, states in STORIES[point.story]:
                if all(answer.is_ok for answer in client.act(layout, command, ["registry"])):
                    answered += len(states)
        until(
            lambda: listen() or daemon.poll() is not None, bool, f"killed at {point}", cluster.log
        )
        assert daemon.returncode == -signal.SIGKILL
    finally:
        daemon.kill()
        daemon.wait()
        cluster.path("armed").unlink(missing_ok=True)
    listen()
    return announced, answered


@pytest.mark.parametrize("point", POINTS, ids=str)
def test_nothing_is_announced_or_answered_that_is_not_on_disk(
    story_dir: ClusterDir, point: Point
) -> None:
    """What was reported is what the file holds, or older.

    The file is whole; and the next start takes away what is left beside it.
    """
    voice = PeerVoice(story_dir)
    try:
        announced, answered = play(story_dir, voice, point)
    finally:
        voice.close()
    stored = decode(story_dir.state_file("registry").read_bytes()).state
    reached = max(how_far(announced, point.path), answered)
    # Only the first and the last state of a story may be the same.
    kept = max(
        place
        for place, state in enumerate(point.path)
        if state is stored and (reached or place < len(point.path) - 1)
    )
    assert kept >= reached, (
        f"announced {[state.name for state in announced]}, answered {answered} steps, file:"
        f" {stored.name}"
    )
    folder = story_dir.path("services/registry")
    clean_up(tree_layout(str(story_dir.root)))
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]


def how_far(announced: list[ServiceState], path: tuple[ServiceState, ...]) -> int:
    """The first place on the path at which all of this was reported, in this order."""
    place = 0
    for state in announced:
        place = path.index(state, place)
    return place


def test_the_points_are_those_of_nine_writes() -> None:
    """Six of each: a write that has more or fewer is met in the stories, which then end nowhere."""
    assert len(POINTS) == 54 and len(set(POINTS)) == 54
