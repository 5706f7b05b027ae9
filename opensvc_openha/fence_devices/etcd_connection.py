"""Speak HTTP with one member of an etcd: each request ends at its deadline, whatever arrives.

A timeout of a socket is for one piece of data: a member that sends one byte from time to time could
keep a request for ever. Here each piece gets the time that is left. Redirections and proxies of the
environment are not followed.
"""

from __future__ import annotations

import http.client
import io
import json
import socket
import ssl
from collections.abc import Callable
from urllib.parse import urlsplit

from opensvc_openha.formats.etcd_messages import Body
from opensvc_openha.system.clock import monotonic

ANSWER_BYTES = 1 << 20
"""A longer answer is none."""


class EtcdConnection:
    """A connection to one member; made at the first request, and closed after any failure."""

    def __init__(
        self,
        url: str,
        context: Callable[[], ssl.SSLContext],
        now: Callable[[], float] = monotonic,
    ) -> None:
        """``context`` is called for `https` at each connecting: files may have been renewed."""
        parts = urlsplit(url)
        assert parts.hostname is not None and parts.port is not None, "checked when it was read"
        self.url = url
        self._host, self._port = parts.hostname, parts.port
        self._context = context if parts.scheme == "https" else None
        self._now = now
        self._http: _Http | None = None

    def close(self) -> None:
        """Close it; the next request connects again."""
        if self._http is not None:
            self._http.close()
            self._http = None

    def post(self, path: str, body: Body, token: str, deadline: float) -> tuple[int, bytes]:
        """Return status and body of the answer.

        Raises TimeoutError at the deadline, otherwise OSError or HTTPException. The request may
        have been carried out all the same.
        """
        is_used = self._http is not None
        try:
            return self._post(path, body, token, deadline)
        except (ConnectionError, ssl.SSLEOFError):
            self.close()
            # A member that restarts, or to which nothing was said for long, closes its connections.
            if not is_used:
                raise
        except BaseException:
            self.close()
            raise
        try:
            return self._post(path, body, token, deadline)
        except BaseException:
            self.close()
            raise

    def _post(self, path: str, body: Body, token: str, deadline: float) -> tuple[int, bytes]:
        if self._http is None:
            self._http = _Http(self._connect(deadline))
        self._http.timed.deadline = deadline
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = token
        self._http.request("POST", path, json.dumps(body), headers)
        response = self._http.getresponse()
        raw = response.read(ANSWER_BYTES + 1)
        if len(raw) > ANSWER_BYTES:
            raise http.client.HTTPException(f"an answer of more than {ANSWER_BYTES} bytes")
        if self._http.sock is None:
            # Whoever answered wants no other request on this connection.
            self._http = None
        return response.status, raw

    def _connect(self, deadline: float) -> _TimedSocket:
        left_s = deadline - self._now()
        if left_s <= 0:
            raise TimeoutError
        plain = socket.create_connection((self._host, self._port), left_s)
        try:
            # A request is one small packet that is waited for.
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is None:
                return _TimedSocket(plain, self._now)
            plain.settimeout(max(deadline - self._now(), 0.001))
            secure = self._context().wrap_socket(plain, server_hostname=self._host)
            return _TimedSocket(secure, self._now)
        except BaseException:
            plain.close()
            raise


class _Http(http.client.HTTPConnection):
    """HTTP over a socket that is connected already."""

    def __init__(self, timed: _TimedSocket) -> None:
        super().__init__("witness")
        self.timed = timed
        self.sock = timed
        self.auto_open = 0


class _TimedSocket:
    """As much of a socket as HTTP needs, with one deadline for all of it."""

    def __init__(self, connected: socket.socket, now: Callable[[], float]) -> None:
        self._socket = connected
        self._now = now
        self.deadline = 0.0

    def sendall(self, data: bytes) -> None:
        """Send all of it."""
        self._arm()
        self._socket.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return what arrives, as a file."""
        return io.BufferedReader(_TimedFile(self))

    def receive_into(self, buffer: memoryview) -> int:
        """Receive a piece."""
        self._arm()
        return self._socket.recv_into(buffer)

    def close(self) -> None:
        """Close it at once."""
        self._socket.close()

    def _arm(self) -> None:
        left_s = self.deadline - self._now()
        if left_s <= 0:
            raise TimeoutError
        self._socket.settimeout(left_s)


class _TimedFile(io.RawIOBase):
    """What a socket receives; closing it leaves the socket open for the next request."""

    def __init__(self, timed: _TimedSocket) -> None:
        super().__init__()
        self._timed = timed

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # a buffer, in fact
        """Receive a piece; 0 at the end."""
        return self._timed.receive_into(buffer)
