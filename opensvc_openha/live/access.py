"""Decide who may read the page and give orders: hosts, tokens, sessions, attempts.

Knows nothing of HTTP but names: ``now`` is given by the caller.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import secrets
import stat
from collections import deque
from dataclasses import dataclass

from opensvc_openha.errors import ConfigError, SystemFault

TOKEN_LEAST = 20
"""Characters of a token."""
SESSION_S = 12 * 3600.0
_SESSIONS = 64
_FAILURES = 5
"""Wrong tokens of one address within the time below, after which all of it are refused."""
_FAILURES_OF_ALL = 100
_FAILURES_IN_S = 60.0
_ADDRESSES = 1024


def read_token(path: str) -> str:
    """Return the token in a file. Raises ConfigError if others may read it, or it is too short."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            mode = os.fstat(handle).st_mode
            if not stat.S_ISREG(mode):
                raise ConfigError(f"{path}: no regular file")
            if mode & 0o007:
                raise ConfigError(f"{path}: all users may read it: chmod 600 {path}")
            token = file.read(4096).decode("ascii").strip()
    except FileNotFoundError:
        make = f"(umask 077; openssl rand -hex 32 > {path})"
        raise ConfigError(f"{path}: there is no such file; make a token: {make}") from None
    except OSError as error:
        raise SystemFault(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: a token is one line of ASCII characters") from None
    if len(token) < TOKEN_LEAST or len(token.split()) != 1:
        raise ConfigError(f"{path}: a token is one word of at least {TOKEN_LEAST} characters")
    return token


def is_loopback(address: str) -> bool:
    """Return whether only this machine can reach an address."""
    return address == "localhost" or _is_loopback_number(address)


def _is_loopback_number(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def host_of(header: str) -> str:
    """Return the name in a Host header, without port and brackets, in lower case."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower().rstrip(".")


@dataclass(frozen=True)
class Session:
    """A browser that has shown the token; ``guard`` comes back with each order."""

    guard: str
    ends_at: float


class Access:
    """Hosts by which the page may be called, and sessions of those who have the token.

    An empty ``token`` lets everybody read who reaches the page.
    """

    def __init__(self, token: str, hosts: frozenset[str]) -> None:
        self._digest = _digest(token) if token else b""
        self._hosts = hosts
        self._sessions: dict[str, Session] = {}
        self._failures: dict[str, deque[float]] = {}
        self._failures_of_all: deque[float] = deque(maxlen=_FAILURES_OF_ALL)

    @property
    def needs_token(self) -> bool:
        """True if nothing is shown without the token."""
        return bool(self._digest)

    def is_host(self, header: str) -> bool:
        """Return whether a browser may have meant this server: a foreign name may be rebound."""
        return host_of(header) in self._hosts

    def is_refused(self, address: str, now: float) -> bool:
        """Return whether this address, or all, gave too many wrong tokens lately."""
        own = self._failures.get(address, deque())
        return _lately(own, now) >= _FAILURES or (
            _lately(self._failures_of_all, now) >= _FAILURES_OF_ALL
        )

    def is_token(self, given: str, address: str, now: float) -> bool:
        """Return whether the token is right; a wrong one counts. Ask ``is_refused`` first."""
        if self._digest and hmac.compare_digest(_digest(given), self._digest):
            return True
        if address not in self._failures and len(self._failures) >= _ADDRESSES:
            self._failures.pop(next(iter(self._failures)))
        self._failures.setdefault(address, deque(maxlen=_FAILURES)).append(now)
        self._failures_of_all.append(now)
        return False

    def begin_session(self, now: float) -> str:
        """Return the secret of a new session; the oldest one ends if there are too many."""
        self._drop_ended(now)
        while len(self._sessions) >= _SESSIONS:
            self._sessions.pop(next(iter(self._sessions)))
        secret = secrets.token_urlsafe(32)
        self._sessions[_key(secret)] = Session(secrets.token_urlsafe(32), now + SESSION_S)
        return secret

    def session(self, secret: str, now: float) -> Session | None:
        """Return the session of a cookie; None if there is none, or it has ended."""
        self._drop_ended(now)
        return self._sessions.get(_key(secret)) if secret else None

    def end_session(self, secret: str) -> None:
        """Forget a session."""
        self._sessions.pop(_key(secret), None)

    def _drop_ended(self, now: float) -> None:
        for key in [key for key, one in self._sessions.items() if one.ends_at <= now]:
            del self._sessions[key]


def is_same(first: str, second: str) -> bool:
    """Compare two secrets in constant time."""
    return hmac.compare_digest(first.encode(), second.encode())


def _key(secret: str) -> str:
    # Looked up by its digest: the time of a look-up tells nothing of the secret.
    return hashlib.sha256(secret.encode()).hexdigest()


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _lately(failures: deque[float], now: float) -> int:
    return sum(at > now - _FAILURES_IN_S for at in failures)
