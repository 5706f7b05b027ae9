"""The channel: proofs of both ends, and what an end survives that has proven nothing."""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import ssl
import struct
from collections.abc import Callable
from decimal import Decimal, getcontext

import pytest

from opensvc_openha.errors import (
    NoPeerLinkError,
    PeerLinkLostError,
    SystemFault,
    UsageError,
)
from opensvc_openha.peer_link import channel as channels
from opensvc_openha.peer_link.channel import MESSAGE_BYTES, Channel, Secret, accept, connect
from opensvc_openha.peer_link.listener import PROVEN, UNPROVEN, UNPROVEN_OF_ONE, Listener
from tests.peer_link.ends import KEY, LIMIT_S, in_thread, listening, pair, port_of
from tests.waiting import until

OTHER_KEY = Secret(b"o" * 32)


# --- both ends have the secret --------------------------------------------------------------------


def test_messages_pass_both_ways() -> None:
    """Both ends know the name that the other one proved, and messages arrive whole, in order."""
    with pair() as (near, far):
        near.send({"do": "status", "text": "ä\n" * 40_000})
        near.send({"n": 2})
        assert far.receive(LIMIT_S) == {"do": "status", "text": "ä\n" * 40_000}
        assert far.receive(LIMIT_S) == {"n": 2}
        far.send({"ok": True})
        assert near.receive(LIMIT_S) == {"ok": True}
        assert (near.peer_name, far.peer_name) == ("node2", "node1")
        assert near.version == far.version == channels.VERSION


@pytest.mark.parametrize("label", ["old", "new"])
def test_each_of_several_secrets_is_accepted_and_known(label: str) -> None:
    """While a key is replaced both the old and the new one open a channel."""
    known = {"old": Secret(b"1" * 32, label="old"), "new": Secret(b"2" * 32, label="new")}
    with listening() as server:
        accepted = in_thread(
            lambda: accept(server.accept()[0], list(known.values()), "node2", LIMIT_S)
        )
        with connect("127.0.0.1", port_of(server), known[label], "node1"):
            far = accepted.result(LIMIT_S)
            assert isinstance(far, Channel)
            assert far.secret.label == label
            far.close()


def test_end_of_the_other_side_between_messages_is_no_error() -> None:
    """A channel that was closed in order ends with None, not with an error."""
    with pair() as (near, far):
        near.send({"n": 1})
        near.close()
        assert far.receive(LIMIT_S) == {"n": 1}
        assert far.receive(LIMIT_S) is None


# --- an end without the secret --------------------------------------------------------------------


@pytest.mark.parametrize(
    "secret", [OTHER_KEY, Secret(KEY.value, purpose="token")], ids=["other key", "other purpose"]
)
def test_wrong_secret_opens_no_channel(secret: Secret) -> None:
    """Neither end gets a channel, and both report the secret as the reason."""
    assert _reasons([KEY], lambda port: connect("127.0.0.1", port, secret, "node1")) == (
        "PROOF",
        "PROOF",
    )


def test_other_node_than_asked_for_opens_no_channel() -> None:
    """An address that leads to another node of the same key is found out before any request."""
    assert _reasons([KEY], lambda port: connect("127.0.0.1", port, KEY, "node1", "node3")) == (
        "NODE",
        "NODE",
    )


def test_man_in_the_middle_can_pass_on_no_proof() -> None:
    """Someone with one TLS connection to either end passes on hello and answer: no channel."""
    with listening() as server, listening() as middle:
        accepted = in_thread(lambda: accept(server.accept()[0], [KEY], "node2", LIMIT_S))

        def pass_on() -> None:
            with (
                _tls(middle.accept()[0], is_server=True) as near,
                _tls(socket.create_connection(server.getsockname()), is_server=False) as far,
            ):
                far.sendall(_exactly(near, channels._HELLO.size))
                near.sendall(_exactly(far, channels._ANSWER.size))

        passed_on = in_thread(pass_on)
        with pytest.raises(NoPeerLinkError) as connecting:
            connect("127.0.0.1", port_of(middle), KEY, "node1", limit_s=LIMIT_S)
        with pytest.raises(NoPeerLinkError) as accepting:
            accepted.result(LIMIT_S)
        passed_on.result(LIMIT_S)
        assert (connecting.value.reason, accepting.value.reason) == ("PROOF", "PROOF")


def test_relay_of_bytes_sees_neither_secret_nor_message() -> None:
    """Someone who only passes on the bytes of the connection reads nothing of it."""
    seen = bytearray()
    with listening() as server, listening() as middle:
        accepted = in_thread(lambda: accept(server.accept()[0], [KEY], "node2", LIMIT_S))

        def relay() -> None:
            near, _ = middle.accept()
            far = socket.create_connection(server.getsockname())
            back = in_thread(lambda: _copy(far, near, seen))
            _copy(near, far, seen)
            back.result(LIMIT_S)

        relayed = in_thread(relay)
        with connect("127.0.0.1", port_of(middle), KEY, "node1", limit_s=LIMIT_S) as near:
            far = accepted.result(LIMIT_S)
            assert isinstance(far, Channel)
            near.send({"do": "well-known words"})
            assert far.receive(LIMIT_S) == {"do": "well-known words"}
            far.close()
        relayed.result(LIMIT_S)
    assert len(seen) > 1000
    assert not any(word in seen for word in (b"well-known", b"node1", KEY.value[:8]))


def test_recorded_proof_is_worth_nothing_on_another_connection() -> None:
    """The hello of one connection, sent once more on a new one, is refused."""
    with listening() as server:
        recorded = in_thread(lambda: _hello_of_a_client(server))
        with pytest.raises(NoPeerLinkError):
            connect("127.0.0.1", port_of(server), KEY, "node1", limit_s=LIMIT_S)
        hello = recorded.result(LIMIT_S)
        assert isinstance(hello, bytes)
        accepted = in_thread(lambda: accept(server.accept()[0], [KEY], "node2", LIMIT_S))
        with _tls(socket.create_connection(server.getsockname()), is_server=False) as client:
            client.sendall(hello)
            assert _exactly(client, channels._ANSWER.size)[4] == channels.Refusal.PROOF.value
        with pytest.raises(NoPeerLinkError):
            accepted.result(LIMIT_S)


def test_own_proof_sent_back_is_no_proof() -> None:
    """An accepting end without the secret answers with the proof of the connecting one."""
    with listening() as server:

        def reflect() -> None:
            with _tls(server.accept()[0], is_server=True) as near:
                hello = _exactly(near, channels._HELLO.size)
                said = channels._ANSWER.pack(b"OHPL", 0, 1, b"node2", b"")[:-32]
                near.sendall(said + hello[-32:])

        reflected = in_thread(reflect)
        with pytest.raises(NoPeerLinkError) as raised:
            connect("127.0.0.1", port_of(server), KEY, "node1", limit_s=LIMIT_S)
        reflected.result(LIMIT_S)
        assert raised.value.reason == "PROOF"


@pytest.mark.parametrize(
    ("lowest", "highest", "is_accepted"), [(1, 1, True), (1, 200, True), (2, 200, False)]
)
def test_version_common_to_both_is_used(lowest: int, highest: int, is_accepted: bool) -> None:
    """A newer end that still speaks version 1 gets that; one that does not is refused."""
    with listening() as server:
        accepted = in_thread(lambda: accept(server.accept()[0], [KEY], "node2", LIMIT_S))
        with _tls(socket.create_connection(server.getsockname()), is_server=False) as client:
            said = channels._HELLO.pack(b"OHPL", lowest, highest, b"node1", b"", b"")[:-32]
            binding = client.get_channel_binding("tls-unique")
            assert binding is not None
            client.sendall(said + KEY.proof(b"connect", binding, said))
            status, version = _exactly(client, channels._ANSWER.size)[4:6]
        if is_accepted:
            far = accepted.result(LIMIT_S)
            assert isinstance(far, Channel)
            assert (status, version, far.version) == (0, 1, 1)
            far.close()
        else:
            with pytest.raises(NoPeerLinkError) as raised:
                accepted.result(LIMIT_S)
            assert (status, raised.value.reason) == (channels.Refusal.VERSION.value, "VERSION")


@pytest.mark.parametrize(
    "speak",
    [
        lambda raw: None,
        lambda raw: raw.sendall(b"SSH-2.0-OpenSSH_9.2\r\n"),
        lambda raw: raw.sendall(b"\x16\x03\x01\xff\xff" + b"x" * 4_000),
        lambda raw: raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)),
        lambda raw: ssl._create_unverified_context().wrap_socket(raw),
        lambda raw: _tls(raw, is_server=False),
        lambda raw: _tls(raw, is_server=False).sendall(b"OHPL" + b"\xff" * 100),
        lambda raw: _tls(raw, is_server=False).sendall(b"\xff" * 10_000),
    ],
    ids=["nothing", "ssh", "bad record", "reset", "certificates", "no hello", "short", "garbage"],
)
def test_connection_that_speaks_otherwise_opens_no_channel(
    speak: Callable[[socket.socket], object],
) -> None:
    """Whatever a stranger sends before it ends, the accepting end reports no channel."""
    with listening() as server:
        accepted = in_thread(lambda: accept(server.accept()[0], [KEY], "node2", LIMIT_S))
        with socket.create_connection(server.getsockname()) as raw:
            with contextlib.suppress(OSError):
                spoken = speak(raw)
            if isinstance(locals().get("spoken"), ssl.SSLSocket):
                spoken.close()  # type: ignore[attr-defined]  # one of the table
        with pytest.raises(NoPeerLinkError):
            accepted.result(LIMIT_S)


def test_silent_connection_ends_with_its_limit() -> None:
    """A client that is half open, or sends a byte at a time, is given up at the limit."""
    with listening() as server, socket.create_connection(server.getsockname()) as raw:
        raw.sendall(b"\x16")
        with pytest.raises(NoPeerLinkError, match="no answer in time"):
            accept(server.accept()[0], [KEY], "node2", limit_s=0.2)


def test_silent_server_ends_the_attempt_with_its_limit() -> None:
    """A port that accepts and says nothing is no peer link, and nothing was asked for."""
    with listening() as server, pytest.raises(NoPeerLinkError, match="no answer in time"):
        connect("127.0.0.1", port_of(server), KEY, "node1", "node2", limit_s=0.2)


def test_nobody_listening_is_refused() -> None:
    """It is not what a node without power is: a server may come up there."""
    with listening() as server:
        port = port_of(server)
    with pytest.raises(NoPeerLinkError, match="refused") as raised:
        connect("127.0.0.1", port, KEY, "node1", "node2")
    assert raised.value.reason == "REFUSED"


# --- an end with the secret that errs -------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"no json\n", "not a message"),
        (b"[1]\n", "no JSON object"),
        (b'{"a": NaN}\n', "not a message"),
        (b"[" * 100_000 + b"\n", "not a message"),
        (b'{"a": ' + b"9" * 5_000 + b"}\n", "not a message"),
        (b"\xff\xfe\n", "not a message"),
        (b"x" * (MESSAGE_BYTES + 20_000), "longer than"),
    ],
    ids=["text", "list", "nan", "nested", "number", "encoding", "oversized"],
)
def test_what_is_no_message_ends_the_channel(data: bytes, expected: str) -> None:
    """A line that is no JSON object, or has no end, is an error, and nothing is kept of it."""
    with pair() as (near, far):
        sent = in_thread(lambda: near._connection.sendall(data))
        with pytest.raises(PeerLinkLostError, match=expected):
            far.receive(LIMIT_S)
        with contextlib.suppress(OSError):
            sent.result(LIMIT_S)


def test_end_within_a_message_is_an_error() -> None:
    """Half a message is never handed over, whether the connection was closed or cut."""
    for is_cut in (True, False):
        with pair() as (near, far):
            near._connection.sendall(b'{"do": "sto')
            near.abort() if is_cut else near.close()
            with pytest.raises(PeerLinkLostError):
                far.receive(LIMIT_S)


def test_cut_between_messages_is_an_error() -> None:
    """A connection that was cut by somebody else is no orderly end."""
    with pair() as (near, far):
        near.abort()
        with pytest.raises(PeerLinkLostError, match="closed the connection"):
            far.receive(LIMIT_S)


def test_answer_that_does_not_come_ends_the_channel() -> None:
    """Waiting has a limit."""
    with pair() as (near, _), pytest.raises(PeerLinkLostError, match="in time"):
        near.receive(0.1)


def test_peer_that_does_not_read_ends_the_channel() -> None:
    """A message that cannot be delivered within the limit is an error."""
    with pair() as (near, _), pytest.raises(PeerLinkLostError, match="in time"):
        while True:
            near.send({"text": "x" * 500_000}, limit_s=0.2)


def test_message_that_is_too_long_is_not_sent() -> None:
    """The sender refuses what the other end would not take; the channel stays usable."""
    with pair() as (near, far):
        with pytest.raises(UsageError, match="too long"):
            near.send({"text": "x" * MESSAGE_BYTES})
        near.send({"n": 1})
        assert far.receive(LIMIT_S) == {"n": 1}


@pytest.mark.parametrize("name", ["", "a" * 256, "node\n1", "\x00"])
def test_name_that_is_none_opens_no_channel(name: str) -> None:
    """A node without a usable name connects to nobody."""
    with listening() as server, pytest.raises(NoPeerLinkError, match="not the name"):
        connect("127.0.0.1", port_of(server), KEY, name)


def test_secret_must_not_be_short_and_is_not_shown() -> None:
    """A short secret could be guessed; none appears in logs by way of its repr."""
    with pytest.raises(ValueError, match="at least"):
        Secret(b"short")
    assert "kkkk" not in repr(KEY)


def test_group_is_the_one_of_the_standard() -> None:
    """The packaged Diffie-Hellman group is ffdhe3072 of RFC 7919, computed from its definition."""
    with open(channels._GROUP_FILE, encoding="ascii") as file:
        body = "".join(line.strip() for line in file if not line.startswith("-"))
    getcontext().prec = 1_000
    e_bits = int(Decimal(1).exp() * (Decimal(2) ** 2942))
    prime = 2**3072 - 2**3008 + (e_bits + 2_625_351) * 2**64 - 1
    data = prime.to_bytes(385, "big")
    expected = b"\x30\x82\x01\x88\x02\x82\x01\x81" + data + b"\x02\x01\x02"
    assert base64.b64decode(body) == expected


# --- the listener ---------------------------------------------------------------------------------


def test_half_open_clients_keep_out_only_their_own_address() -> None:
    """Four silent connections are all an address may have; the peer still gets its channel."""
    with _Serving(proof_limit_s=LIMIT_S) as serving:
        silent = [_client("127.0.0.9", serving.port) for _ in range(UNPROVEN_OF_ONE)]
        until(lambda: serving.listener._places._taken["127.0.0.9"], lambda n: n == UNPROVEN_OF_ONE)
        with _client("127.0.0.9", serving.port) as fifth:
            fifth.settimeout(LIMIT_S)
            assert fifth.recv(1) == b""  # Closed at once, unread.
        with connect("127.0.0.1", serving.port, KEY, "node1", limit_s=LIMIT_S) as channel:
            channel.send({"n": 1})
            assert channel.receive(LIMIT_S) == {"n": 1}
        for raw in silent:
            raw.close()
        until(lambda: serving.listener._places._taken.total(), lambda n: n == 0)


def test_machine_with_many_addresses_does_not_keep_out_the_peer() -> None:
    """Its connections take all places but those of the peer's address."""
    with _Serving(proof_limit_s=LIMIT_S) as serving, contextlib.ExitStack() as stack:
        for number in range(UNPROVEN):
            raw = _client(f"127.0.1.{number // UNPROVEN_OF_ONE}", serving.port)
            stack.enter_context(raw)
        until(lambda: serving.listener._places._taken.total(), lambda n: n == UNPROVEN)
        with _client("127.0.0.9", serving.port) as another:
            another.settimeout(LIMIT_S)
            assert another.recv(1) == b""
        with connect("127.0.0.1", serving.port, KEY, "node1", limit_s=LIMIT_S) as channel:
            channel.send({"n": 1})
            assert channel.receive(LIMIT_S) == {"n": 1}


def test_places_of_silent_clients_are_free_again_after_the_limit() -> None:
    """An address that was full is served again once its silent connections were given up."""
    with _Serving(proof_limit_s=0.3) as serving:
        silent = [_client("127.0.0.1", serving.port) for _ in range(UNPROVEN_OF_ONE)]
        for raw in silent:
            raw.settimeout(LIMIT_S)
            assert raw.recv(1) == b""
            raw.close()
        until(lambda: serving.listener._places._taken.total(), lambda n: n == 0)
    assert any("refused: " in line for line in serving.lines)


def test_too_many_channels_are_refused_before_anything_is_asked() -> None:
    """One channel over the limit is told so in the proof, not cut after it; others stay."""
    with _Serving(proof_limit_s=LIMIT_S) as serving, contextlib.ExitStack() as stack:
        for _ in range(PROVEN):
            stack.enter_context(connect("127.0.0.1", serving.port, KEY, "node1", limit_s=LIMIT_S))
        with pytest.raises(NoPeerLinkError, match="too many connections") as raised:
            connect("127.0.0.1", serving.port, KEY, "node1", limit_s=LIMIT_S)
        assert raised.value.reason == "BUSY"
        stack.close()
        until(lambda: serving.listener._open, lambda n: n == 0)
        connect("127.0.0.1", serving.port, KEY, "node1", limit_s=LIMIT_S).close()


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_listener_for_root_takes_no_connection_of_another_user() -> None:
    """A port from 1024 on is refused unread; one below is of root."""
    with _Serving(LIMIT_S, is_for_root=True) as serving:
        port = serving.port
        with pytest.raises(NoPeerLinkError):
            connect("127.0.0.1", port, KEY, "node1")
        with connect("127.0.0.1", port, KEY, "node1", is_from_reserved_port=True) as channel:
            channel.send({"say": "root"})
            assert channel.receive(LIMIT_S) == {"say": "root"}
    assert any("any user may use" in text for text in serving.lines)


def test_failed_request_does_not_end_the_listener() -> None:
    """An error in the handling of one channel is logged; the next channel is served."""
    with _Serving(proof_limit_s=LIMIT_S) as serving:
        for _ in range(2):
            with connect("127.0.0.1", serving.port, KEY, "node1", limit_s=LIMIT_S) as channel:
                channel.send({"fail": True})
                assert channel.receive(LIMIT_S) is None
        until(lambda: len([line for line in serving.lines if "KeyError" in line]), lambda n: n == 2)


def test_end_of_the_listener_ends_its_channels() -> None:
    """A closed listener leaves no channel open that waits for a message."""
    with _Serving(proof_limit_s=LIMIT_S) as serving:
        channel = connect("127.0.0.1", serving.port, KEY, "node1", limit_s=LIMIT_S)
        channel.send({"n": 1})
        assert channel.receive(LIMIT_S) == {"n": 1}
    with pytest.raises(PeerLinkLostError):
        channel.receive(LIMIT_S)


def test_address_that_is_not_of_this_node_is_reported() -> None:
    """An address or port that cannot be used is an error with its name."""
    with pytest.raises(SystemFault, match=r"192\.0\.2\.1 port 1"):
        Listener(["192.0.2.1"], 1, lambda: [KEY], "node2", lambda channel: None, lambda text: None)


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_addresses_that_one_machine_can_have_count_as_one(address: str, group: str) -> None:
    """A whole IPv6 network is one client."""
    from opensvc_openha.peer_link.listener import _group_of

    assert _group_of(address) == group


class _Serving:
    """A listener whose channels answer each message with itself."""

    def __init__(self, proof_limit_s: float, is_for_root: bool = False) -> None:
        self.lines: list[str] = []
        self.listener = Listener(
            *(["127.0.0.1"], 0, lambda: [KEY], "node2", self._echo, self.lines.append),
            *(proof_limit_s, ("127.0.0.1", "a-name")),
            is_for_root=is_for_root,
        )
        self.port = self.listener.port

    @staticmethod
    def _echo(channel: Channel) -> None:
        while message := channel.receive(LIMIT_S):
            if "fail" in message:
                raise KeyError("fail")
            channel.send(message)

    def __enter__(self) -> _Serving:
        self._served = in_thread(self.listener.serve)
        return self

    def __exit__(self, *_: object) -> None:
        with self.listener:
            self.listener.close()
            self._served.result(LIMIT_S)


def _client(source: str, port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), source_address=(source, 0))


def _reasons(secrets: list[Secret], connecting: Callable[[int], Channel]) -> tuple[str, str]:
    """Return why neither end got a channel: connecting, accepting."""
    with listening() as server:
        accepted = in_thread(lambda: accept(server.accept()[0], secrets, "node2", LIMIT_S))
        with pytest.raises(NoPeerLinkError) as near:
            connecting(port_of(server))
        with pytest.raises(NoPeerLinkError) as far:
            accepted.result(LIMIT_S)
    return near.value.reason, far.value.reason


def _hello_of_a_client(server: socket.socket) -> bytes:
    with _tls(server.accept()[0], is_server=True) as near:
        return _exactly(near, channels._HELLO.size)


def _tls(raw: socket.socket, is_server: bool) -> ssl.SSLSocket:
    """Complete a handshake as one without the secret can."""
    raw.settimeout(LIMIT_S)
    return channels._context(is_server).wrap_socket(raw, server_side=is_server)


def _exactly(connection: ssl.SSLSocket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        part = connection.recv(length - len(data))
        assert part
        data += part
    return data


def _copy(source: socket.socket, target: socket.socket, seen: bytearray) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            seen.extend(data)
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
