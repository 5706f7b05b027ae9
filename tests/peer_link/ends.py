"""Two ends of the peer link on loopback, and what may stand between them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from opensvc_openha.peer_link.channel import Channel, Secret, accept, connect

LIMIT_S = 60.0
"""Ends a test that hangs."""
KEY = Secret(b"k" * 32, label="k")


@contextmanager
def listening() -> Iterator[socket.socket]:
    """Yield a socket that listens on a port of its own."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(LIMIT_S)
        yield server


def in_thread(function: Callable[[], object]) -> Future[object]:
    """Run a function in a thread; its result or error is in the future."""
    future: Future[object] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


@contextmanager
def pair(key: Secret = KEY) -> Iterator[tuple[Channel, Channel]]:
    """Yield both ends of an open channel: connecting, accepting."""
    with listening() as server, ThreadPoolExecutor(1) as pool:
        accepted = pool.submit(lambda: accept(server.accept()[0], [key], "node2", limit_s=LIMIT_S))
        with (
            connect("127.0.0.1", port_of(server), key, "node1", "node2", LIMIT_S) as near,
            accepted.result(LIMIT_S) as far,
        ):
            yield near, far


def port_of(server: socket.socket) -> int:
    """Return the port that a socket listens on."""
    return int(server.getsockname()[1])
