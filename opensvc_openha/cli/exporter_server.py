"""Serve metrics over HTTP, by prometheus-client; each request in a thread, with limits."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from typing import Any, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, generate_latest, make_wsgi_app
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from opensvc_openha.cli import exporter_metrics
from opensvc_openha.cli.exporter import Endpoint
from opensvc_openha.cli.status_source import StatusSource
from opensvc_openha.errors import SystemFault
from opensvc_openha.formats.addresses import before_port

_FRESH_S = 0.02
"""Longest wait of a scrape for a fresh status: the whole answer takes less than 50 ms."""
_CONNECTIONS = 16
_CLIENT_LIMIT_S = 5.0
_BUSY_S = 1.0


class _StatusCollector:
    """A Collector: what prometheus-client asks for the metrics at each scrape."""

    def __init__(self, source: StatusSource) -> None:
        self._source = source

    def collect(self) -> Iterator[Metric]:
        """Return the metrics of the newest status."""
        seen = self._source.newest(_FRESH_S)
        yield from exporter_metrics.of_daemon(seen.is_up, seen.age_s)
        if seen.status is not None:
            yield from exporter_metrics.of_status(seen.status)

    def describe(self) -> list[Metric]:
        """Return nothing: the registry need not ask the daemon when it is made."""
        return []


def metrics_text(source: StatusSource) -> bytes:
    """Return the metrics as the text that Prometheus reads."""
    text: bytes = generate_latest(_registry(source))
    return text


def serve(source: StatusSource, listen: Endpoint, report: Callable[[str], None]) -> int:
    """Serve until the process is ended; raises SystemFault if the place is taken."""
    kind = _ServerV6 if ":" in listen.address else _Server
    try:
        server = kind((listen.address, listen.port), _Handler)
    except OSError as error:
        raise SystemFault(
            f"cannot listen on {listen.address}:{listen.port}: {error.strerror or error}"
        ) from error
    with server:
        server.set_app(make_wsgi_app(_registry(source)))
        source.start()
        report(f"metrics at http://{before_port(listen.address)}:{server.server_port}/metrics")
        server.serve_forever()
    return 0


def _registry(source: StatusSource) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(cast(Collector, _StatusCollector(source)))
    return registry


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    """At most so many requests at a time: one more waits a moment, and is dropped."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, *args: Any) -> None:
        self._places = threading.BoundedSemaphore(_CONNECTIONS)
        super().__init__(*args)

    def server_bind(self) -> None:
        # The one of HTTPServer asks a name server for the name of the host.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(timeout=_BUSY_S):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:
            self._places.release()
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Do nothing: a client that went away, or is too slow, is no news."""


class _ServerV6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    """One request; a client that sends nothing is hung up on."""

    timeout = _CLIENT_LIMIT_S

    def log_message(self, format: str, *args: Any) -> None:
        """Log no scrape."""
