"""The page on a real port of loopback, showing statuses that a test makes up."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping
from typing import Any

import uvicorn

from opensvc_openha.core.model import LinkSpec
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import (
    FencingStatus,
    LinkStatus,
    NodeStatus,
    PathStatus,
    PeerStanding,
    ServiceStatus,
)
from opensvc_openha.errors import OpenhaError
from opensvc_openha.live.access import Access
from opensvc_openha.live.observer import Observer
from opensvc_openha.live.order_desk import OrderDesk, Run
from opensvc_openha.live.web_app import Site, build
from opensvc_openha.live.web_server import open_socket
from opensvc_openha.storage.history_entry import Entry, EntryKind
from opensvc_openha.system import clock
from tests.waiting import until

S = ServiceState


def link(label: str, is_sender: bool, is_up: bool = True, age_s: float = 0.2) -> LinkStatus:
    device, _, address = label.partition(":")
    spec = LinkSpec("deb1" if is_sender else "deb2", "net", device, address, 5010, 0, 10.0)
    reason = "" if is_up else "nothing heard for 10 s"
    return LinkStatus(spec, is_sender, is_up, 7, clock.wall() - age_s, reason)


def service(name: str, own: ServiceState, peer: ServiceState, **more: Any) -> ServiceStatus:
    found = ServiceStatus(
        name,
        "deb1",
        "deb2",
        own,
        peer,
        own,
        peer,
        "operator: start",
        clock.wall() - 3600,
        predicted_s=7.3,
        last_takeover_s=6.9,
        last_takeover_at=clock.wall() - 86_400,
        ready="yes" if own is S.STOPPED else "",
    )
    return dataclasses.replace(found, **more)


def healthy() -> NodeStatus:
    """Two services, one on each node, two links."""
    return NodeStatus(
        node="deb1",
        peer="deb2",
        pid=4711,
        peer_standing=PeerStanding.LIVE,
        peer_reason="heard on all links",
        links=tuple(
            link(label, is_sender)
            for label in ("eth1:239.131.50.10", "eth2:239.131.50.11")
            for is_sender in (False, True)
        ),
        services=(
            service("web", S.STARTED, S.STOPPED),
            service("registry", S.STOPPED, S.STARTED),
        ),
        checked_at=clock.wall() - 120,
        fencing=FencingStatus(
            plan=(("ipmi",),),
            paths=(PathStatus("ipmi", "power", 0, "armed", "ON", tested_at=clock.wall() - 9000),),
        ),
    )


def entry(text: str, service_name: str = "web", is_alarm: bool = False) -> Entry:
    return Entry(
        at=clock.wall(),
        mono=1.0,
        kind=EntryKind.SERVICE,
        name=service_name,
        old="STOPPED",
        new="STARTED",
        reason=text,
        rule="",
        is_alarm=is_alarm,
        took_s=None,
        sight=None,
        machine="m",
        number=1,
    )


class Stage:
    """A page that shows ``status``, or why there is none; a test changes both."""

    def __init__(self, token: str = "", run: Run | None = None) -> None:
        self.status: NodeStatus | OpenhaError = healthy()
        self.events: tuple[Entry, ...] = (entry("as before"),)
        self.observer = Observer(self.read, lambda: self.events, every_s=0.1)
        self.access = Access(token, frozenset({"127.0.0.1", "localhost"}))
        self.orders = OrderDesk(run, self.read) if run is not None else None
        self.explain: Callable[[str], Mapping[str, Any]] = lambda name: {"lines": [f"why {name}"]}

    def read(self) -> NodeStatus:
        if isinstance(self.status, OpenhaError):
            raise self.status
        return self.status

    def site(self, is_ending: Callable[[], bool] = lambda: False) -> Site:
        """Return what the application shows."""
        return Site(
            self.observer,
            self.access,
            False,
            lambda name: self.explain(name),
            lambda text: text.replace("secret output", "(for root)"),
            self.orders,
            is_ending,
        )


class Served:
    """A stage behind a port, until ``close``."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._socket = open_socket("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/"
        app = build(stage.site(lambda: self._server.should_exit))
        config = uvicorn.Config(app, log_level="error", lifespan="off", http="h11", ws="none")
        self._server = uvicorn.Server(config)
        stage.observer.start()
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True
        )
        self._thread.start()
        until(lambda: self._server.started, what="the page is served")

    def close(self) -> None:
        """End the server and its threads."""
        self.stage.observer.stop()
        self._server.should_exit = True
        self._thread.join(20)
