"""Open a channel between two nodes that hold the same secret, and carry JSON messages over it.

    connecting end                         accepting end
      TLS 1.2, anonymous Diffie-Hellman (RFC 7919, ffdhe3072): secret to others, nobody proven
      hello: versions, names, proof  ---->
                                     <----  answer: version, name, proof      or a refusal
      one JSON object per line, both ways

A proof is an HMAC of the secret over both names and over what identifies this one TLS connection
(tls-unique, RFC 5929): it is worth nothing on any other connection, so a man in the middle, who has
one connection with either end, can pass on none. Nothing of a request is parsed before both proofs
were right. The size and layout of hello and answer are the same in all versions.

Must not know: what is asked over it, files, configuration.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import hmac
import json
import os
import random
import socket
import ssl
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from opensvc_openha.errors import (
    NoPeerLinkError,
    PeerLinkLostError,
    SystemFault,
    UsageError,
)
from opensvc_openha.hints import Any, NoReturn
from opensvc_openha.system import clock

LOWEST_VERSION = 1
VERSION = 1
"""Versions of the messages that this end speaks; the higher one of both ends is used."""
MESSAGE_BYTES = 1_048_576
"""Longest message, as a line of JSON."""
CONNECT_LIMIT_S = 20.0
"""Seconds for the connecting end until both proofs are there."""
REACH_LIMIT_S = 4.0
"""Seconds of these for the system of the other end to answer: a node without power never does."""
PROOF_LIMIT_S = 5.0
"""Seconds that the accepting end gives a connection to prove itself."""
SEND_LIMIT_S = 30.0
RESERVED_PORTS = range(512, 1024)
"""Ports that root alone can connect from."""
_PORTS_TRIED = 32
NAME_BYTES = 255
SECRET_MIN_BYTES = 16

_CIPHERS = "ADH-AES256-GCM-SHA384:@SECLEVEL=0"
"""Level 0 allows anonymous ends; the one suite of the list is as strong as any of TLS 1.2."""
_GROUP_FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "ffdhe3072.pem")
_MAGIC = b"OHPL"
_CONTEXT = b"opensvc_openha peer link 1 "
_HELLO = struct.Struct(">4sBB256p256p32s")
_ANSWER = struct.Struct(">4sBB256p32s")
_PROOF_BYTES = 32
_PART_BYTES = 16_384
_UNSENT_LIMIT_MS = 30_000
"""Milliseconds after which the system gives up a peer that acknowledges nothing."""


class Refusal(enum.Enum):
    """Why there is no channel; its value is the byte on the wire."""

    NONE = 0
    PROOF = 1
    """The secrets differ."""
    VERSION = 2
    """No version of the messages is common to both ends."""
    NODE = 3
    """It is another node than the one that was asked for."""
    BUSY = 4
    UNREACHABLE = 5
    """Nobody answered, or not as the peer link does; never on the wire."""
    REFUSED = 6
    """No program listens there, at the moment; never on the wire."""


@dataclass(frozen=True)
class Secret:
    """What both ends know; a proof for one ``purpose`` is worth nothing for another one.

    ``label`` identifies it to the caller and in logs, and reveals nothing of it.
    """

    value: bytes = field(repr=False)
    purpose: str = "cluster key"
    label: str = ""

    def __post_init__(self) -> None:
        if len(self.value) < SECRET_MIN_BYTES:
            raise ValueError(f"a secret has at least {SECRET_MIN_BYTES} bytes")

    def proof(self, role: bytes, binding: bytes, said: bytes) -> bytes:
        """Return the proof of one end over what was said on the connection of that binding."""
        key = hmac.digest(self.value, _CONTEXT + self.purpose.encode("utf-8"), "sha256")
        return hmac.digest(key, role + struct.pack(">H", len(binding)) + binding + said, "sha256")


class Channel:
    """An open channel: both ends have proven the same secret. For one thread at a time.

    Every error ends it: then only ``close`` is of use. Other threads may call ``abort`` alone.
    """

    def __init__(
        self, connection: ssl.SSLSocket, peer_name: str, address: str, version: int, secret: Secret
    ) -> None:
        """Take over an authenticated connection."""
        self._connection = connection
        self.peer_name = peer_name
        """The name that the other end has given itself, which its proof covers."""
        self.address = address
        self.version = version
        self.secret = secret
        """The one of the given secrets that the other end proved."""
        self._received = bytearray()

    def send(self, message: Mapping[str, Any], limit_s: float = SEND_LIMIT_S) -> None:
        """Send a message within ``limit_s`` seconds; return once the system has taken it.

        Raises UsageError if it is too long, PeerLinkLostError if the channel ended.
        """
        line = json.dumps(message, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"
        if len(line) > MESSAGE_BYTES:
            raise UsageError(f"a message of {len(line)} bytes is too long for the peer link")
        deadline = clock.monotonic() + limit_s
        with self._losing():
            _send_all(self._connection, line, deadline)

    def receive(self, limit_s: float) -> dict[str, Any] | None:
        """Return the next message, which must be here within ``limit_s`` seconds.

        None if the other end closed the channel between messages. Raises PeerLinkLostError if that
        takes longer, the channel breaks, or it is no message.
        """
        deadline = clock.monotonic() + limit_s
        searched = 0
        while (end := self._received.find(b"\n", searched)) < 0:
            searched = len(self._received)
            if searched >= MESSAGE_BYTES:
                self._lose(f"a message is longer than {MESSAGE_BYTES} bytes")
            with self._losing():
                self._connection.settimeout(_time_left(deadline))
                part = self._connection.recv(_PART_BYTES)
            if not part:
                if self._received:
                    self._lose("the channel ended within a message")
                return None
            self._received += part
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        try:
            return message_of(line)
        except ValueError as error:
            self._lose(str(error))

    def close(self) -> None:
        """Close the channel; does not wait for the other end."""
        with contextlib.suppress(OSError, ValueError):
            self._connection.settimeout(0.0)
            self._connection.unwrap()  # Sends the end of the data, and would then wait for theirs.
        with contextlib.suppress(OSError):
            self._connection.close()

    def abort(self) -> None:
        """End what the channel's own thread waits for; any thread may call it."""
        with contextlib.suppress(OSError):
            # Not the method of the TLS socket, which would change what the other thread reads.
            socket.socket.shutdown(self._connection, socket.SHUT_RDWR)

    def __enter__(self) -> Channel:
        """Return the channel, which is closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the channel."""
        self.close()

    @contextlib.contextmanager
    def _losing(self) -> Any:
        try:
            yield
        except TimeoutError:
            self._lose("no answer in time")
        except (OSError, ValueError) as error:
            self._lose(_reason(error))

    def _lose(self, why: str) -> NoReturn:
        self.close()
        raise PeerLinkLostError(f"the peer link to {self.peer_name} ended: {why}") from None


def message_of(line: bytes) -> dict[str, Any]:
    """Return the message of a line without its end; raise ValueError for anything else."""
    try:
        message = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not a message: {error}") from None
    if not isinstance(message, dict):
        raise ValueError("not a message: no JSON object")
    return message


def connect(
    host: str,
    port: int,
    secret: Secret,
    own_name: str,
    peer_name: str = "",
    limit_s: float = CONNECT_LIMIT_S,
    is_from_reserved_port: bool = False,
) -> Channel:
    """Connect to the peer link at ``host`` and prove that this node has the secret.

    ``peer_name``: the node that must answer, empty if any node with the secret will do.
    ``is_from_reserved_port``: show to the other end that root connects. Raises
    NoPeerLinkError, with the reason, if that was not achieved: then nothing was asked for.
    """
    where = (
        f"{peer_name or host} (port {port} of {host})"
        if peer_name != host
        else (f"{host} (port {port})")
    )
    deadline = clock.monotonic() + limit_s
    with _no_link(where):
        raw = _connected(host, port, min(limit_s, REACH_LIMIT_S), is_from_reserved_port)
    try:
        with _no_link(where):
            _set_up(raw)
            address = str(raw.getpeername()[0])
            connection = _context(is_server=False).wrap_socket(
                raw, do_handshake_on_connect=False, suppress_ragged_eofs=False
            )
        try:
            with _no_link(where):
                said = _HELLO.pack(
                    *(_MAGIC, LOWEST_VERSION, VERSION),
                    *(_name_bytes(own_name), _name_bytes(peer_name, may_be_empty=True), b""),
                )[:-_PROOF_BYTES]
                binding = _shake_hands(connection, deadline)
                _send_all(connection, said + secret.proof(b"connect", binding, said), deadline)
                answer = _receive_exactly(connection, _ANSWER.size, deadline)
            name, version = _proven_answer(answer, secret, binding, said, where)
            if peer_name and name != peer_name:
                raise NoPeerLinkError(
                    f"{where} is the node {name}, not {peer_name}", Refusal.NODE.name
                )
            return Channel(connection, name, address, version, secret)
        except BaseException:
            connection.close()
            raise
    except BaseException:
        raw.close()
        raise


def _connected(host: str, port: int, limit_s: float, is_from_reserved_port: bool) -> socket.socket:
    if not is_from_reserved_port:
        return socket.create_connection((host, port), timeout=limit_s)
    ports = random.sample(RESERVED_PORTS, _PORTS_TRIED)
    for number, own in enumerate(ports, 1):
        try:
            return socket.create_connection((host, port), limit_s, source_address=("", own))
        except OSError as error:
            is_taken = error.errno in (errno.EADDRINUSE, errno.EADDRNOTAVAIL)
            if not is_taken or number == len(ports):
                raise
    raise AssertionError("unreachable")


def accept(
    raw: socket.socket,
    secrets: Sequence[Secret],
    own_name: str,
    limit_s: float = PROOF_LIMIT_S,
    may_open: Callable[[], bool] = lambda: True,
) -> Channel:
    """Prove a connection that was accepted; any of the secrets will do.

    Takes over ``raw`` and closes it on an error. ``may_open`` is asked once the other end has
    proven itself. Raises NoPeerLinkError.
    """
    deadline = clock.monotonic() + limit_s
    try:
        address = str(raw.getpeername()[0])
        _set_up(raw)
        connection = _context(is_server=True).wrap_socket(
            raw, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=False
        )
    except (OSError, ValueError) as error:
        raw.close()
        raise NoPeerLinkError(f"a connection ended: {_reason(error)}") from error
    except BaseException:
        raw.close()
        raise
    try:
        with _no_link(address):
            binding = _shake_hands(connection, deadline)
            hello = _receive_exactly(connection, _HELLO.size, deadline)
            refusal, secret, name, version = _judge(hello, secrets, binding, own_name)
            if refusal is Refusal.NONE and not may_open():
                refusal = Refusal.BUSY
            said = _ANSWER.pack(_MAGIC, refusal.value, version, _name_bytes(own_name), b"")
            said = said[:-_PROOF_BYTES]
            proof = secret.proof(b"accept", binding, hello + said) if secret else b""
            _send_all(connection, said + proof.ljust(_PROOF_BYTES, b"\0"), deadline)
        if refusal is not Refusal.NONE or secret is None:
            raise NoPeerLinkError(f"{address}: {_OWN_TEXTS[refusal]}", refusal.name)
        return Channel(connection, name, address, version, secret)
    except BaseException:
        # Sends the end of the data: without it the system may drop the refusal.
        with contextlib.suppress(OSError, ValueError):
            connection.settimeout(0.0)
            connection.unwrap()
        connection.close()
        raise


_OWN_TEXTS = {
    Refusal.NONE: "",
    Refusal.PROOF: "it has not the same secret",
    Refusal.VERSION: "it speaks no version of the peer link that this node speaks",
    Refusal.NODE: "it looks for another node",
    Refusal.BUSY: "too many channels are open",
}
_THEIR_TEXTS = {
    Refusal.PROOF: "does not have the same secret",
    Refusal.VERSION: "speaks no version of the peer link that this node speaks",
    Refusal.NODE: "is another node",
    Refusal.BUSY: "has too many connections",
}


def _judge(
    hello: bytes, secrets: Sequence[Secret], binding: bytes, own_name: str
) -> tuple[Refusal, Secret | None, str, int]:
    """Return refusal, proven secret, name of the other end and version for its hello."""
    said, proof = hello[:-_PROOF_BYTES], hello[-_PROOF_BYTES:]
    right = [
        secret
        for secret in secrets
        if hmac.compare_digest(secret.proof(b"connect", binding, said), proof)
    ]
    if not right:
        return Refusal.PROOF, None, "", 0
    magic, lowest, highest, name, wanted, _ = _HELLO.unpack(hello)
    version = min(highest, VERSION)
    if magic != _MAGIC or version < max(lowest, LOWEST_VERSION):
        return Refusal.VERSION, right[0], "", 0
    if wanted and wanted != _name_bytes(own_name):
        return Refusal.NODE, right[0], "", 0
    return Refusal.NONE, right[0], _name_of(name), version


def _proven_answer(
    answer: bytes, secret: Secret, binding: bytes, hello_said: bytes, where: str
) -> tuple[str, int]:
    """Return name and version of the accepting end; raise NoPeerLinkError for a wrong answer."""
    said, proof = answer[:-_PROOF_BYTES], answer[-_PROOF_BYTES:]
    magic, status, version, name, _ = _ANSWER.unpack(answer)
    if magic != _MAGIC:
        raise NoPeerLinkError(f"{where} answers, but not as a peer link", "UNREACHABLE")
    # A refusal is believed without a proof: all that it can do is to end this attempt.
    if status != Refusal.NONE.value:
        refusal = Refusal(status) if status in _KNOWN else Refusal.UNREACHABLE
        text = _THEIR_TEXTS.get(refusal, f"refuses for an unknown reason ({status})")
        raise NoPeerLinkError(f"{where} {text}", refusal.name)
    hello = hello_said + secret.proof(b"connect", binding, hello_said)
    if not hmac.compare_digest(secret.proof(b"accept", binding, hello + said), proof):
        raise NoPeerLinkError(f"{where} {_THEIR_TEXTS[Refusal.PROOF]}", Refusal.PROOF.name)
    if not LOWEST_VERSION <= version <= VERSION:
        raise NoPeerLinkError(f"{where} {_THEIR_TEXTS[Refusal.VERSION]}", Refusal.VERSION.name)
    return _name_of(name), version


_KNOWN = {refusal.value for refusal in _THEIR_TEXTS}


def _shake_hands(connection: ssl.SSLSocket, deadline: float) -> bytes:
    """Complete the TLS handshake; return what identifies this connection alone."""
    connection.settimeout(_time_left(deadline))
    connection.do_handshake()
    binding = connection.get_channel_binding("tls-unique")
    if not binding or connection.session_reused:
        # What identifies a resumed session identifies it on other connections as well.
        raise ssl.SSLError("the TLS connection cannot be identified")
    return binding


@cache
def _context(is_server: bool) -> ssl.SSLContext:
    """Return the settings of one end."""
    kind = ssl.PROTOCOL_TLS_SERVER if is_server else ssl.PROTOCOL_TLS_CLIENT
    context = ssl.SSLContext(kind)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    try:
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(_CIPHERS)
        if is_server:
            context.load_dh_params(_GROUP_FILE)
    except (OSError, ValueError) as error:
        raise SystemFault(
            f"the TLS library of this system allows no peer link ({_reason(error)}), {_GROUP_FILE}"
        ) from error
    return context


def _set_up(raw: socket.socket) -> None:
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNSENT_LIMIT_MS)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def _time_left(deadline: float) -> float:
    left = deadline - clock.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _send_all(connection: ssl.SSLSocket, data: bytes, deadline: float) -> None:
    view = memoryview(data)
    while view:
        connection.settimeout(_time_left(deadline))
        view = view[connection.send(view[:_PART_BYTES]) :]


def _receive_exactly(connection: ssl.SSLSocket, length: int, deadline: float) -> bytes:
    data = b""
    while len(data) < length:
        connection.settimeout(_time_left(deadline))
        part = connection.recv(length - len(data))
        if not part:
            raise ConnectionError("it closed the connection")
        data += part
    return data


@contextlib.contextmanager
def _no_link(where: str) -> Any:
    """Raise what prevents a channel as NoPeerLinkError."""
    try:
        yield
    except TimeoutError:
        raise NoPeerLinkError(f"no peer link to {where}: no answer in time") from None
    except (OSError, ValueError) as error:
        is_refused = isinstance(error, ConnectionRefusedError)
        reason = Refusal.REFUSED if is_refused else Refusal.UNREACHABLE
        raise NoPeerLinkError(f"no peer link to {where}: {_reason(error)}", reason.name) from error


def _reason(error: Exception) -> str:
    """Return what went wrong, without the library's own places."""
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return "the other end closed the connection"
    if isinstance(error, ssl.SSLError):
        return f"no TLS as expected ({(error.reason or str(error)).replace('_', ' ').lower()})"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return str(error)


def _name_bytes(name: str, may_be_empty: bool = False) -> bytes:
    data = name.encode("utf-8", "strict")
    if len(data) > NAME_BYTES or not (name.isprintable() and (name or may_be_empty)):
        raise ValueError(f"not the name of a node: {name!r}")
    return data


def _name_of(data: bytes) -> str:
    name = data.decode("utf-8", "strict")
    if not name or not name.isprintable() or " " in name:
        raise ValueError("not the name of a node")
    return name


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")
