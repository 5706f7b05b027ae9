"""Answer the requests of the peer on one channel after the other.

What they do on this node is behind ``PeerNode``: this module only checks the permission, runs what
changes something as a job of its own, and streams its output. The engine is never asked but through
the control socket, as by any command of root.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass

from opensvc_openha.errors import OpenhaError, PeerLinkLostError
from opensvc_openha.formats.one_line import one_line
from opensvc_openha.formats.options_schema import Allowed
from opensvc_openha.hints import Any, Protocol
from opensvc_openha.peer_link.channel import Channel
from opensvc_openha.peer_link.jobs import Job, Jobs
from opensvc_openha.peer_link.permissions import expect_allowed
from opensvc_openha.peer_link.protocol import (
    ALIVE_S,
    DrillRequest,
    EvacuateRequest,
    FetchRequest,
    HistoryRequest,
    InspectRequest,
    JobRequest,
    OrderRequest,
    OutcomeRequest,
    Request,
    SharedFile,
    StatusRequest,
    error_to_json,
    parse_request,
)

IDLE_LIMIT_S = 60.0
"""Seconds for which an open channel is kept without a request."""


@dataclass(frozen=True)
class Program:
    """What a job runs, and what it gets as its input."""

    argv: Sequence[str]
    given: str = ""


class PeerNode(Protocol):
    """What requests need of this node."""

    def status(self) -> dict[str, Any]:
        """Return the status of this node's daemon, and its version."""

    def inspect(self, request: InspectRequest) -> dict[str, Any]:
        """Return what a check compares between the nodes."""

    def fetch(self, file: SharedFile) -> str:
        """Return the text of a shared file; empty if there is none."""

    def history(self, service: str, limit: int, has_output: bool) -> list[dict[str, Any]]:
        """Return the newest entries of this node's history, of a service or of all.

        ``has_output``: with what scripts printed.
        """

    def program(self, request: JobRequest) -> Program:
        """Return the program that does what is asked for."""


class RequestHandler:
    """Handle the requests of channels, each in the channel's own thread."""

    def __init__(
        self,
        node: PeerNode,
        jobs: Jobs,
        allow: Callable[[], Set[Allowed]],
        log: Callable[[str], None],
    ) -> None:
        self._node, self._jobs, self._allow, self._log = node, jobs, allow, log

    def handle(self, channel: Channel) -> None:
        """Answer the requests of a channel until the other end closes it."""
        while True:
            message = channel.receive(IDLE_LIMIT_S)
            if message is None:
                return
            try:
                request = parse_request(message)
                expect_allowed(request, self._allow())
                self._answer(channel, request)
            except PeerLinkLostError:
                raise
            except OpenhaError as error:
                self._log(one_line(f"{channel.peer_name}: refused: {error}"))
                channel.send(error_to_json(error))

    def _answer(self, channel: Channel, request: Request) -> None:
        match request:
            case StatusRequest():
                channel.send({"status": self._node.status()})
            case InspectRequest():
                channel.send({"inspect": self._inspect(channel, request)})
            case FetchRequest():
                channel.send({"text": self._node.fetch(request.file)})
            case HistoryRequest():
                entries = self._node.history(
                    request.service, request.limit, Allowed.FILES in self._allow()
                )
                channel.send({"history": entries})
            case OutcomeRequest():
                self._report(channel, request.job_id)
            case _:
                program = self._node.program(request)
                self._log(f"{channel.peer_name}: {_described(request)}")
                job = self._jobs.begin(
                    request.job_id, program.argv, program.given, request.order_reason
                )
                channel.send({"accepted": request.job_id})
                _stream(channel, job)

    def _inspect(self, channel: Channel, request: InspectRequest) -> dict[str, Any]:
        """Return what is found; a deep look takes a while, with signs of life meanwhile."""
        if not request.is_deep:
            return self._node.inspect(request)
        with ThreadPoolExecutor(1) as pool:
            found = pool.submit(self._node.inspect, request)
            while not wait([found], ALIVE_S).done:
                channel.send({"alive": True})
            return found.result()

    def _report(self, channel: Channel, job_id: str) -> None:
        found = self._jobs.outcome(job_id)
        if isinstance(found, Job):
            channel.send({"accepted": job_id})
            _stream(channel, found)
            return
        word, _, code = found.partition(" ")
        if word == "withdrawn":
            channel.send({"withdrawn": True})
        elif word == "done" and code.isdigit():
            channel.send({"done": int(code)})
        else:
            channel.send({"unknown": "it began, and its end was not recorded"})


def _stream(channel: Channel, job: Job) -> None:
    for line in job.follow(ALIVE_S):
        channel.send({"alive": True} if line is None else {"line": line})
    channel.send({"done": job.code})


def _described(request: JobRequest) -> str:
    what = request_word = type(request).__name__.removesuffix("Request").lower()
    if isinstance(request, OrderRequest):
        what = f"{request.action} {request.service}"
    elif isinstance(request, DrillRequest):
        what = f"drill: {request.word.value} {' '.join(request.services)}".rstrip()
    elif isinstance(request, EvacuateRequest):
        what = "end of the evacuation" if request.is_undo else "evacuation"
    elif hasattr(request, "service"):
        what = f"{request_word} {request.service}"
    trial = ", only checked" if getattr(request, "is_trial", False) else ""
    return f"request {request.job_id[:8]}: {what}{trial}"
