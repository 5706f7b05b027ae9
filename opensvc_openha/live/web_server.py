"""Serve the page with uvicorn, until a signal."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp

from opensvc_openha.errors import ConfigError, SystemFault

_CONNECTIONS = 128
_KEEP_ALIVE_S = 10


@dataclass(frozen=True)
class Tls:
    """Files of the certificate, with those between it and the root, and of its key."""

    certificate: str
    key: str


def open_socket(address: str, port: int) -> socket.socket:
    """Return a socket that listens. Raises SystemFault."""
    try:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return socket.create_server((address, port), family=family, backlog=128)
    except OSError as error:
        raise SystemFault(
            f"cannot listen on {address}, port {port}: {error.strerror or error}"
        ) from error


def serve(
    listening: socket.socket, tls: Tls | None, build: Callable[[Callable[[], bool]], ASGIApp]
) -> None:
    """Serve until a signal; ``build`` gets a function that is true once the end has begun."""
    server: uvicorn.Server
    app = build(lambda: server.should_exit)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        # A header that any client can send would change the address that attempts are counted for.
        proxy_headers=False,
        server_header=False,
        lifespan="off",
        http="h11",
        ws="none",
        loop="asyncio",
        limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=_KEEP_ALIVE_S,
        ssl_certfile=tls.certificate if tls else None,
        ssl_keyfile=tls.key if tls else None,
    )
    server = uvicorn.Server(config)
    try:
        config.load()
    except OSError as error:  # ssl.SSLError is one.
        files = f"{tls.certificate}, {tls.key}" if tls else ""
        raise ConfigError(f"{files}: cannot be used for TLS: {error}") from error
    server.run(sockets=[listening])
