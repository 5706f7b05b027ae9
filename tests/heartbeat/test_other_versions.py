"""The commands beside a daemon of another version: they read what they can, within their limit, and
never crash.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from opensvc_openha.control import client
from opensvc_openha.core.events import Command
from opensvc_openha.core.states import ServiceState
from opensvc_openha.errors import NotAnsweringError, NotRunningError
from opensvc_openha.formats.layout import Layout, tree_layout

SERVICE = {
    "name": "registry",
    "primary": "a",
    "secondary": "b",
    "primary_state": "STARTED",
    "secondary_state": "STOPPED",
    "own_state": "STARTED",
    "peer_state": "STOPPED",
}
LINK = {"kind": "net", "label": "eth1:239.1.1.1", "is_sender": True, "is_up": True}
OLD = {
    "node": "a",
    "peer": "b",
    "pid": 7,
    "peer_standing": "live",
    "links": [LINK],
    "services": [SERVICE],
}


class Speaker:
    """Sends the same to each client, in pieces of a size with pauses between them."""

    def __init__(self, path: str) -> None:
        self.reply = b""
        self.piece = 1 << 20
        self.pause_s = 0.0
        self.is_done = False
        self._is_over = threading.Event()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(path)
        self._socket.listen(4)
        threading.Thread(target=self._speak, daemon=True).start()

    def _speak(self) -> None:
        while not self._is_over.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                try:
                    connection.recv(4096)
                    for begin in range(0, len(self.reply), self.piece):
                        connection.sendall(self.reply[begin : begin + self.piece])
                        if self._is_over.wait(self.pause_s):
                            return
                    self.is_done = True
                except OSError:
                    continue

    def close(self) -> None:
        """Ends it."""
        self._is_over.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A layout in which no daemon runs."""
    found = tree_layout(str(tmp_path))
    Path(found.control_socket).parent.mkdir(parents=True)
    return found


@pytest.fixture
def speaker(layout: Layout) -> Iterator[Speaker]:
    """Something that answers on the control socket."""
    made = Speaker(layout.control_socket)
    yield made
    made.close()


def test_a_daemon_that_reports_less_is_read(layout: Layout, speaker: Speaker) -> None:
    """An older daemon: no authentication, warnings or reasons in its status.

    The states are shown.
    """
    speaker.reply = json.dumps({"status": OLD}).encode() + b"\n"
    status = client.fetch_status(layout)
    found = status.service("registry")
    assert found is not None and found.own_state is ServiceState.STARTED
    assert status.links[0].is_up and status.authentication.mode == "off"


def test_a_daemon_that_reports_more_is_read(layout: Layout, speaker: Speaker) -> None:
    """A newer daemon: fields that this command does not know, everywhere; the states are shown."""
    more = {
        **OLD,
        "colour": 1,
        "links": [{**LINK, "speed": 9}],
        "services": [{**SERVICE, "cost": 2}],
        "authentication": {"mode": "enforced", "accepts": ["1a2b3c4d"], "suite": "x"},
    }
    speaker.reply = json.dumps({"version": 9, "status": more}).encode() + b"\n"
    status = client.fetch_status(layout)
    assert status.services[0].peer_state is ServiceState.STOPPED
    assert status.authentication.accepts == ("1a2b3c4d",)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        5,
        [1, 2],
        "STARTED",
        {"hello": 9},
        {"status": None},
        {"status": {**OLD, "services": [{**SERVICE, "own_state": "PAUSED"}]}},
    ],
)
def test_an_answer_that_cannot_be_read_is_a_daemon_of_another_version(
    layout: Layout, speaker: Speaker, answer: Any
) -> None:
    """No object, no status, a state that is not known: one error that reports it, and no other
    exception.
    """
    speaker.reply = json.dumps(answer).encode() + b"\n"
    with pytest.raises(NotAnsweringError, match="another version"):
        client.fetch_status(layout)


@pytest.mark.parametrize(
    "reply", [b"HTTP/1.0 400\r\n", b"[" * 200_000 + b"\n", b"\xff\xfe\n", b"{\n", b"\n", b""]
)
def test_what_is_no_answer_is_an_error_of_ours(
    layout: Layout, speaker: Speaker, reply: bytes
) -> None:
    """Something that is not JSON, nested without end, or nothing: an error for the operator, not a
    crash.
    """
    speaker.reply = reply
    with pytest.raises(NotRunningError):
        client.fetch_status(layout)


def test_an_answer_that_trickles_is_waited_for_no_longer_than_the_limit(
    layout: Layout, speaker: Speaker
) -> None:
    """One byte in 20 ms, which never is a silence: given up after the limit for the whole
    answer.
    """
    speaker.reply, speaker.piece, speaker.pause_s = b" " * 4096, 1, 0.02
    with pytest.raises(NotAnsweringError):
        client.fetch_status(layout, timeout_s=0.4)
    assert not speaker.is_done, "the whole answer takes 80 s: it was not waited for"


def test_an_answer_without_end_is_given_up(layout: Layout, speaker: Speaker) -> None:
    """More than a line may have: an error, long before memory is a question."""
    speaker.reply = b"x" * 20_000_000
    with pytest.raises(NotRunningError):
        client.fetch_status(layout)


@pytest.mark.parametrize(
    "ask",
    [
        lambda layout: client.reload(layout),
        lambda layout: client.record_observation(
            layout, "registry", "RESTARTED", "app#1 was down", is_alarm=False
        ),
        lambda layout: client.forget_peer(layout),
        lambda layout: client.confirm_peer_out(layout, "b"),
        lambda layout: list(client.act(layout, Command.UNFREEZE, None)),
    ],
    ids=["reload", "note", "forget peer", "confirm", "act"],
)
@pytest.mark.parametrize("is_held", [True, False])
def test_a_connection_that_ends_without_a_word_is_no_success(
    layout: Layout, speaker: Speaker, ask: Callable[[Layout], object], is_held: bool
) -> None:
    """The daemon took the request and answers nothing: an error, which reports whether a daemon
    runs now.
    """
    with open(layout.lock_file, "w", encoding="ascii") as lock:
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        if is_held:
            fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(NotRunningError, match="nmond ended before") as caught:
            ask(layout)
    assert isinstance(caught.value, NotAnsweringError) is is_held
