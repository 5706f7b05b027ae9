"""Namespaces in which links meet."""

from __future__ import annotations

import concurrent.futures
import ctypes
import subprocess
import uuid
from collections.abc import Callable
from typing import Any

from opensvc_openha.links.base import Received
from tests.waiting import LIMIT_S, until

CLONE_NEWNET = 0x40000000


def run(*argv: Any) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=LIMIT_S).stdout


class Place:
    """Where one node's link ends run: one thread, in its network namespace if it has one."""

    def __init__(self, namespace: str | None = None) -> None:
        self.namespace = namespace
        self._thread = concurrent.futures.ThreadPoolExecutor(1, initializer=self._enter)

    def _enter(self) -> None:
        if self.namespace:
            with open(f"/run/netns/{self.namespace}") as file:
                if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")

    def do(self, function: Callable[..., Any], *args: Any) -> Any:
        return self._thread.submit(function, *args).result(LIMIT_S)

    def ip(self, *argv: Any) -> str:
        return run("ip", "-n", self.namespace, *argv)

    def leave(self) -> None:
        self._thread.shutdown(wait=True)


def received(found: Received | None) -> Received:
    assert found is not None, "nothing was heard"
    return found


class Nodes:
    """Two namespaces joined by veth pairs eth1 and eth2, addresses 10.50.L.N and fd00:L::N."""

    def __init__(self) -> None:
        # Not by pid: another run may use the same in a container, or may have been killed with it.
        unique = uuid.uuid4().hex[:10]
        self.names = [f"ohl{unique}{letter}" for letter in "ab"]
        for name in self.names:
            run("ip", "netns", "add", name)
        self.a, self.b = (Place(name) for name in self.names)
        for place in (self.a, self.b):
            place.ip("link", "set", "lo", "up")
        for link in (1, 2):
            self.join(link)
        # IPv6 packets are lost until duplicate address detection is complete.
        for place in (self.a, self.b):
            until(lambda: "tentative" not in place.ip("-6", "addr"))

    def join(self, link: int) -> None:
        """Create the veth pair number ``link``."""
        name = f"eth{link}"
        run(
            "ip",
            "link",
            "add",
            name,
            "netns",
            self.names[0],
            "type",
            "veth",
            "peer",
            "name",
            name,
            "netns",
            self.names[1],
        )
        for number, place in enumerate((self.a, self.b), 1):
            place.ip("addr", "add", f"10.50.{link}.{number}/24", "dev", name)
            place.ip("addr", "add", f"fd00:{link}::{number}/64", "dev", name, "nodad")
            place.ip("link", "set", name, "up")

    def remove(self) -> None:
        for place in (self.a, self.b):
            place.leave()
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], check=False)
