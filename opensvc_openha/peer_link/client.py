"""Ask the other node for something over the peer link.

A request that changes something is sent once. If its answer is lost, the other node is asked what
became of it; by that question it is withdrawn if it has not arrived. So a caller can distinguish
three ends: it happened (``JobEnd``); it surely did not (any error but the next one: another way may
be tried); or the peer could not be asked (UnknownOutcomeError: no other way may be tried).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from opensvc_openha.errors import (
    NoPeerLinkError,
    OpenhaError,
    PeerLinkLostError,
    UnknownOutcomeError,
)
from opensvc_openha.formats.frame_seal import Key
from opensvc_openha.formats.layout import Layout
from opensvc_openha.formats.one_line import one_line
from opensvc_openha.hints import Any
from opensvc_openha.peer_link.channel import CONNECT_LIMIT_S, Channel, Refusal, Secret, connect
from opensvc_openha.peer_link.protocol import (
    AgentKind,
    FetchRequest,
    HistoryRequest,
    InspectRequest,
    JobRequest,
    OrderRequest,
    OutcomeRequest,
    Request,
    SharedFile,
    StatusRequest,
    error_of,
    request_to_json,
)
from opensvc_openha.storage import configuration
from opensvc_openha.storage.key_store import is_peer_link_on, read_keys
from opensvc_openha.system import clock
from opensvc_openha.system.order_reason import given_reason

ANSWER_LIMIT_S = 30.0
"""Seconds for an answer, or a sign of life of a request that is executed."""
ASK_LIMIT_S = 30.0
"""Seconds for which the other node is asked what became of a request."""
_ASK_AGAIN_S = 1.0
REFUSED_LIMIT_S = 10.0
"""Seconds for the peer server of a daemon that has just started."""
_REFUSED_AGAIN_S = 0.25


@dataclass(frozen=True)
class JobEnd:
    """How a request ended on the other node."""

    code: int
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Peer:
    """Where the other node is found, and what proves this one to it."""

    name: str
    own_name: str
    hosts: tuple[str, ...]
    port: int
    secrets: tuple[Secret, ...] = field(repr=False)
    is_heard: Callable[[], bool] = field(default=lambda: False, repr=False, compare=False)
    """Whether its daemon is heard: then a peer server that does not listen is waited for."""

    def channel(self, limit_s: float = CONNECT_LIMIT_S) -> Channel:
        """Return an open channel.

        Raises NoPeerLinkError with the reason of the address that came furthest.
        """
        give_up = clock.monotonic() + REFUSED_LIMIT_S
        while True:
            try:
                return self._connected(limit_s)
            except NoPeerLinkError as error:
                may_come = error.reason == Refusal.REFUSED.name and self.is_heard()
                if not may_come or clock.monotonic() >= give_up:
                    raise
            clock.pause(_REFUSED_AGAIN_S)

    def _connected(self, limit_s: float) -> Channel:
        problem: NoPeerLinkError | None = None
        for host in self.hosts:
            for secret in self.secrets:
                try:
                    return connect(
                        host, self.port, secret, self.own_name, self.name, limit_s=limit_s
                    )
                except NoPeerLinkError as error:
                    if problem is None or error.reason != "UNREACHABLE":
                        problem = error
                    if error.reason != "PROOF":
                        break  # Another key is accepted no better.
        assert problem is not None
        raise problem

    def ask(self, request: Request) -> dict[str, Any]:
        """Return the answer to a request that changes nothing; raise the error that it was."""
        with self.channel() as channel:
            return ask(channel, request)

    def status(self) -> dict[str, Any]:
        """Return the other node's status and version."""
        status: dict[str, Any] = _part(self.ask(StatusRequest()), "status", dict)
        return status

    def inspect(self, is_deep: bool = False, hardware: Sequence[str] = ()) -> dict[str, Any]:
        """Return what a check compares between the nodes; ``is_deep``: see InspectRequest."""
        request = InspectRequest(is_deep, tuple(hardware) if is_deep else ())
        found: dict[str, Any] = _part(self.ask(request), "inspect", dict)
        return found

    def fetch(self, file: SharedFile) -> str:
        """Return the text of a shared file of the other node; empty if there is none."""
        text: str = _part(self.ask(FetchRequest(file)), "text", str)
        return text

    def history(self, service: str, limit: int) -> list[dict[str, Any]]:
        """Return the newest entries of the other node's history, of a service or of all."""
        found: list[dict[str, Any]] = _part(
            self.ask(HistoryRequest(service, limit)), "history", list
        )
        return found

    def execute(
        self,
        request: JobRequest,
        on_line: Callable[[str], None] = lambda line: None,
        ask_limit_s: float = ASK_LIMIT_S,
    ) -> JobEnd:
        """Have the other node execute a request; return how it ended.

        ``on_line`` is called with each line that is printed there. Raises UnknownOutcomeError if it
        is not known whether it was executed. With any other error it surely was not:
        NoPeerLinkError, or the error with which the other node refused it.
        """
        followed = _Followed(on_line)
        with self.channel() as channel:
            try:
                channel.send(request_to_json(request))
                return followed.end(channel)
            except PeerLinkLostError as error:
                lost = error
        return self._outcome(request.job_id, followed, lost, ask_limit_s)

    def _outcome(
        self, job_id: str, followed: _Followed, lost: PeerLinkLostError, limit_s: float
    ) -> JobEnd:
        """Ask what became of a request whose answer was lost."""
        give_up = clock.monotonic() + limit_s
        problem: OpenhaError = lost
        while True:
            try:
                with self.channel() as channel:
                    channel.send(request_to_json(OutcomeRequest(job_id)))
                    return followed.end(channel)
            except NoPeerLinkError as error:
                if error.reason == _WITHDRAWN:
                    raise
                problem = error
            except UnknownOutcomeError:
                raise
            except OpenhaError as error:
                problem = error
            if clock.monotonic() >= give_up:
                raise UnknownOutcomeError(
                    f"the answer of {self.name} was lost, and it cannot be asked what happened:"
                    f" {problem}"
                )
            clock.pause(_ASK_AGAIN_S)


_WITHDRAWN = "WITHDRAWN"


class _Followed:
    """The lines of a request, of which each is shown once although they may come again."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._lines: list[str] = []

    def end(self, channel: Channel) -> JobEnd:
        """Return the end of the request whose answers come over this channel."""
        number = 0
        while True:
            answer = _expect_answer(channel)
            if "line" in answer:
                number += 1
                if number > len(self._lines):
                    self._lines.append(one_line(str(answer["line"])))
                    self._on_line(self._lines[-1])
            elif isinstance(answer.get("done"), int):
                return JobEnd(answer["done"], tuple(self._lines))
            elif answer.get("withdrawn"):
                raise NoPeerLinkError(
                    f"the request did not reach {channel.peer_name}, and is withdrawn", _WITHDRAWN
                )
            elif "unknown" in answer:
                raise UnknownOutcomeError(one_line(f"{channel.peer_name}: {answer['unknown']}"))


def ask(channel: Channel, request: Request) -> dict[str, Any]:
    """Return the answer to a request that changes nothing, over a channel that stays open.

    Raises the error that the answer is, or PeerLinkLostError.
    """
    channel.send(request_to_json(request))
    while (answer := _expect_answer(channel)).get("alive") is True:
        pass
    return answer


def find_peer(layout: Layout) -> Peer:
    """Return how the other node of this cluster is reached.

    Raises NoPeerLinkError if this node has no peer link, ConfigError for a wrong file, SystemFault
    for a key that this user may not read.
    """
    options = configuration.read_options(layout)
    if not is_peer_link_on(layout, options):
        raise NoPeerLinkError(
            f"this node has no peer link: there is no key in {layout.key_file}, or openha.conf"
            " does not enable it",
            "OFF",
        )
    own, peer = configuration.both_names(layout)
    ring = read_keys(layout)
    if ring is None:
        raise NoPeerLinkError(f"there is no key in {layout.key_file}", "OFF")
    return Peer(
        peer.lower(),
        own.lower(),
        _hosts(layout, own, peer),
        options.peer_link.port,
        secrets_of(ring.keys),
    )


def order_peer(
    layout: Layout, service: str, action: str, agent: AgentKind, on_line: Callable[[str], None]
) -> JobEnd:
    """Have the other node's agent run its part of an action; raises as ``Peer.execute``."""
    request = OrderRequest(new_job_id(), service, action, agent, order_reason=given_reason())
    return find_peer(layout).execute(request, on_line)


def secrets_of(keys: Sequence[Key]) -> tuple[Secret, ...]:
    """Return the secrets of the keys that beats may come with."""
    return tuple(Secret(key.secret, label=key.key_id) for key in keys)


def new_job_id() -> str:
    """Return an id for one request."""
    return secrets.token_hex(16)


def _hosts(layout: Layout, own: str, peer: str) -> tuple[str, ...]:
    """Return where the peer may be reached: its addresses in unicast links, then its name."""
    return tuple(dict.fromkeys([*peer_addresses(layout, own), peer]))


def peer_addresses(layout: Layout, own: str) -> Iterator[str]:
    """Yield the addresses of the other node in unicast links; none from a wrong file."""
    try:
        options = configuration.read_options(layout)
        with open(layout.monitor_file, encoding="utf-8") as file:
            links = configuration.parse_links(file.read(), layout, options, need_both_ways=False)
    except (OSError, ValueError, OpenhaError):
        return  # The name is left, and the daemon reports the file.
    for link in links:
        if link.kind == "unicast" and link.node == own:
            yield link.address


def _expect_answer(channel: Channel) -> dict[str, Any]:
    """Return the next answer; raise PeerLinkLostError without one, and the error that it is."""
    answer = channel.receive(ANSWER_LIMIT_S)
    if answer is None:
        raise PeerLinkLostError(f"{channel.peer_name} closed the peer link without an answer")
    if "error" in answer:
        raise error_of(answer.get("code"), one_line(f"{channel.peer_name}: {answer['error']}"))
    return answer


def _part(answer: dict[str, Any], name: str, kind: type[Any]) -> Any:
    value = answer.get(name)
    if not isinstance(value, kind):
        raise PeerLinkLostError(f"the other node gave an answer of another version: no {name}")
    return value
