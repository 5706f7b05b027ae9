"""The client of an etcd: real members that are away, restart, want a login; and played bad ones."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from opensvc_openha.errors import SystemFault
from opensvc_openha.fence_devices.etcd import EtcdClient, EtcdFault
from opensvc_openha.fence_devices.etcd_connection import ANSWER_BYTES
from opensvc_openha.formats.etcd_messages import KeyValue, find, is_at, put
from opensvc_openha.formats.lease_config import EtcdConfig
from tests.fence_devices.etcd_members import PASSWORD, EtcdMembers, needs_etcd
from tests.ports import free_port
from tests.waiting import LIMIT_S


def reading(options: EtcdConfig, key: str = "openha/x") -> KeyValue | None:
    """What a new client reads."""
    with closing(EtcdClient(options)) as client:
        return value_of(client, key)


def value_of(client: EtcdClient, key: str = "openha/x") -> KeyValue | None:
    """What a client reads."""
    return next(iter(client.transact([], [find(key)]).found[0]), None)


def refusal(options: EtcdConfig) -> str:
    """The message of a client that gets no answer."""
    with pytest.raises(SystemFault) as caught:
        reading(options)
    assert PASSWORD not in str(caught.value)
    return str(caught.value)


# --- members that are no good ---------------------------------------------------------------------


@contextmanager
def played(act: Callable[[socket.socket], object]) -> Iterator[str]:
    """Somebody who listens; the address. ``act`` gets each connection, after a whole request."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)

        def serve() -> None:
            while not over.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                with connection:
                    connection.settimeout(LIMIT_S)
                    heard = b""
                    while not heard.rstrip().endswith(b"}"):
                        heard += connection.recv(65_536)
                    try:
                        act(connection)
                    except OSError:
                        continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            over.set()
            thread.join(LIMIT_S)


def saying(answer: bytes, status: str = "200 OK") -> Callable[[socket.socket], object]:
    """Answer with a body."""
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(answer)}\r\n\r\n".encode()
    return lambda connection: connection.sendall(head + answer)


def dribble(connection: socket.socket) -> None:
    """Answer one header after the other, for as long as somebody listens."""
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    pause = threading.Event()
    while not pause.wait(0.02):
        connection.sendall(b"X: y\r\n")


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (dribble, "no answer in "),
        (lambda connection: connection.recv(1), "no answer in "),
        (lambda connection: None, "Remote end closed connection without response"),
        (saying(b"<html>"), "what answers there is no etcd, or one that is older than 3.4"),
        (saying(b"[" * 100_000), "what answers there is no etcd, or one that is older than 3.4"),
        (saying(b"{}"), "what answers there is no etcd, or one that is older than 3.4"),
        (saying(b" " * (ANSWER_BYTES + 1)), f"an answer of more than {ANSWER_BYTES} bytes"),
        (saying(b"nothing", "404 Not Found"), "what answers there is no etcd"),
        (lambda at: at.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"), "is no etcd"),
        (saying(b"", "503 Service Unavailable"), "HTTP status 503"),
        (saying(b"no leader", "503 Service Unavailable"), "no leader"),
        (saying(b"", "302 Found"), "it refuses: HTTP status 302"),
        (saying(b'{"code": 8, "error": "database space exceeded"}', "429 X"), "etcdctl compact"),
        (saying(b'{"code": 8, "error": "too many"}', "429 X"), "it refuses: too many"),
        (saying(b'{"code": 7, "error": "denied"}', "403 X"), "it wants a login: write username"),
    ],
)
def test_member_that_gives_no_answer_is_reported(
    act: Callable[[socket.socket], object], message: str
) -> None:
    """Within the limit, whatever it sends, with its address and the reason."""
    with played(act) as url:
        text = refusal(EtcdConfig((url,), limit_s=0.5 if message.startswith("no ans") else LIMIT_S))
    assert url in text
    assert message in text


def test_nobody_answers() -> None:
    """Each address is named with its own reason; none is asked when no time is left."""
    urls = tuple(f"http://127.0.0.1:{free_port()}" for _ in range(2))
    assert refusal(EtcdConfig(urls, limit_s=LIMIT_S)) == (
        f"no answer from the witness: {urls[0]}: connection refused; {urls[1]}: connection refused"
    )
    assert refusal(EtcdConfig(urls, limit_s=0.001)).count("not asked, since no time was left") == 2


def test_member_that_wants_a_connection_for_each_request_gets_it() -> None:
    """As an old proxy in front of it may."""
    body = b'{"header": {}, "responses": [{"response_range": {}}]}'
    head = f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with played(lambda connection: connection.sendall(head + body)) as url:
        with closing(EtcdClient(EtcdConfig((url,), limit_s=LIMIT_S))) as client:
            assert value_of(client) is None
            assert value_of(client) is None


# --- one real member ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdMembers]:
    """A member without login and TLS."""
    made = EtcdMembers(tmp_path_factory.mktemp("one"))
    try:
        made.until_answers()
        yield made
    finally:
        made.end()


@needs_etcd
def test_address_that_answered_last_is_asked_first(one: EtcdMembers) -> None:
    """Those that do not answer leave the others their share of the time, once."""
    with played(lambda connection: connection.recv(1)) as hung:
        nobody = f"http://127.0.0.1:{free_port()}"
        options = replace(one.options, urls=(hung, nobody, *one.urls), limit_s=15.0)
        with closing(EtcdClient(options)) as client:
            assert value_of(client) is None
            assert [member.url for member in client._members] == [*one.urls, hung, nobody]
            assert value_of(client) is None


@needs_etcd
def test_connection_is_kept_and_made_again(one: EtcdMembers) -> None:
    """A member that was killed and started between two requests costs none of them."""
    with closing(EtcdClient(one.options)) as client:
        assert client.transact([is_at("openha/x", 0)], [put("openha/x", "1")]).is_done
        kept = client._members[0]._http
        found = value_of(client)
        assert found is not None and found.value == "1"
        assert client._members[0]._http is kept
        one.signal(0, signal.SIGKILL)
        one.begin(0)
        one.until_answers()
        assert value_of(client) == found


@needs_etcd
def test_what_speaks_no_tls(one: EtcdMembers) -> None:
    """It answers in the clear, or hangs up."""
    url = one.urls[0].replace("http:", "https:")
    assert f"no answer from the witness: {url}: " in refusal(replace(one.options, urls=(url,)))


@needs_etcd
def test_login_where_there_is_none(one: EtcdMembers, tmp_path: Path) -> None:
    """The witness says so, and the message what to remove."""
    secret = tmp_path / "secret"
    secret.write_text(PASSWORD)
    secret.chmod(0o600)
    options = replace(one.options, username="openha", password_file=str(secret))
    assert "it has no authentication: remove username and password_file" in refusal(options)


# --- TLS and a login ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EtcdMembers, EtcdConfig]]:
    """A member that wants a certificate and a login, and the options of a user who has both."""
    made = EtcdMembers(tmp_path_factory.mktemp("secure"), is_secure=True)
    try:
        made.until_answers()
        yield made, made.enable_login("openha/")
    finally:
        made.end()


@needs_etcd
def test_login_that_is_no_good(secure: tuple[EtcdMembers, EtcdConfig], tmp_path: Path) -> None:
    """Each message says what to correct; no password is in any of them."""
    _, options = secure
    assert reading(options) is None

    wrong = tmp_path / "wrong"
    wrong.write_text(f"{PASSWORD}x")
    wrong.chmod(0o600)
    of_others = replace(options, password_file=str(wrong))
    assert "it refuses the login of openha: correct username or password_file" in refusal(of_others)
    wrong.chmod(0o644)
    assert f"chmod 600 {wrong}" in refusal(of_others)
    nobody = replace(options, username="", password_file="")
    assert "it wants a login: write username and password_file" in refusal(nobody)
    with closing(EtcdClient(replace(options, prefix="other"))) as client:
        with pytest.raises(EtcdFault, match="user openha may not read and write other/: etcdctl"):
            client.transact([], [find("other/x")])


@needs_etcd
def test_certificates_that_are_no_good(
    secure: tuple[EtcdMembers, EtcdConfig], tmp_path: Path
) -> None:
    """Of another authority, none of our own, one with a name, and files that are not there."""
    members, options = secure
    unknown = replace(options, ca_file="")
    assert "its certificate is not trusted: " in refusal(unknown)
    assert ": see ca_file" in refusal(unknown)
    assert options.urls[0] in refusal(replace(options, cert_file="", key_file=""))
    named = replace(
        options, cert_file=members.file("member.pem"), key_file=members.file("member.key")
    )
    assert "it wants a cert_file without a common name (CN)" in refusal(named)
    absent = replace(options, ca_file=str(tmp_path / "no.pem"))
    assert f"the certificate {tmp_path / 'no.pem'} cannot be used: No such file" in refusal(absent)
    open_key = tmp_path / "open.key"
    open_key.write_bytes(Path(options.key_file).read_bytes())
    open_key.chmod(0o644)
    assert f"chmod 600 {open_key}" in refusal(replace(options, key_file=str(open_key)))


@needs_etcd
def test_login_that_expired_is_repeated(secure: tuple[EtcdMembers, EtcdConfig]) -> None:
    """The member does not know it any more."""
    _, options = secure
    with closing(EtcdClient(options)) as client:
        assert client.transact([], [put("openha/y", "1")]).is_done
        client._token = "Expired.1"
        found = value_of(client, "openha/y")
        assert found is not None and found.value == "1"
        assert client._token not in ("", "Expired.1")
