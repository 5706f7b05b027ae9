"""Real echo requests on the loopback interface, and what a node makes of strange answers."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Sequence

import pytest

from opensvc_openha.core.events import PingResult, TargetLook, TargetsAsked
from opensvc_openha.core.model import ConnectivityPolicy
from opensvc_openha.daemon.targets import Targets
from opensvc_openha.formats.icmp_echo import pack_request
from opensvc_openha.system import echo_requests
from opensvc_openha.system.echo_requests import ask
from tests.generated import ROOT
from tests.local_user import needs_root
from tests.waiting import until

NO_HOST = "192.0.2.77"
"""An address that no host has (RFC 5737)."""


_PROGRAM = """
from opensvc_openha.system.echo_requests import ask
print([look.result.name for look in ask(["127.0.0.1", "::1"], 30.0)])
"""
_IN_A_NETWORK_OF_ITS_OWN = """
ip link set lo up && echo "$2" > /proc/sys/net/ipv4/ping_group_range &&
exec setpriv --reuid 65534 --regid 65534 --clear-groups "$0" -c "$1"
"""


@needs_root
@pytest.mark.parametrize(("groups", "result"), [("0 65535", "ANSWERED"), ("1 0", "UNABLE")])
def test_user_without_rights_asks_where_the_system_lets_it(groups: str, result: str) -> None:
    """By a socket for datagrams; a node that must not ask knows nothing."""
    shell = ["unshare", "--net", "sh", "-c", _IN_A_NETWORK_OF_ITS_OWN]
    done = subprocess.run(
        [*shell, sys.executable, _PROGRAM, groups],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.stdout == f"['{result}', '{result}']\n", done.stderr


@needs_root
def test_targets_are_asked_together() -> None:
    """Both families, in the order of the configuration."""
    looks = ask(["127.0.0.1", "::1", "127.0.0.9"], 30.0)
    assert [look.result for look in looks] == [PingResult.ANSWERED] * 3
    assert [look.address for look in looks] == ["127.0.0.1", "::1", "127.0.0.9"]
    assert all(look.took_s is not None for look in looks)


@needs_root
def test_address_that_does_not_answer_is_missed_after_the_limit() -> None:
    """The others are answered all the same; an interface that is not there reaches no target."""
    first, second = ask(["127.0.0.1", NO_HOST], 0.2)
    assert (first.result, second.result) == (PingResult.ANSWERED, PingResult.MISSED)
    (look,) = ask(["127.0.0.1"], 30.0, "no-such-nic")
    assert (look.result, look.text) == (PingResult.MISSED, "No such device")
    (look,) = ask(["fe80::1%no-such-nic"], 30.0)
    assert (look.result, look.text) == (PingResult.MISSED, "no such interface")


@pytest.mark.parametrize(
    ("number", "result"),
    [
        (errno.ENETUNREACH, PingResult.MISSED),
        (errno.EHOSTUNREACH, PingResult.MISSED),
        (errno.ENETDOWN, PingResult.MISSED),
        (errno.EPERM, PingResult.UNABLE),
        (errno.ENOBUFS, PingResult.UNABLE),
        (errno.EAFNOSUPPORT, PingResult.UNABLE),
        (errno.EMFILE, PingResult.UNABLE),
    ],
)
def test_error_is_told_from_a_miss(number: int, result: PingResult) -> None:
    """A network that is not there is as good as no answer; a fault of this node proves nothing."""
    request = echo_requests._Request("127.0.0.1", "")
    request.end(OSError(number, "why"))
    assert request.look == TargetLook("127.0.0.1", result, "why")


def test_answer_counts_from_who_was_asked_and_with_what_was_sent_alone() -> None:
    """Another address, number, identifier or payload is foreign, or forged."""
    request = echo_requests._Request("192.0.2.1", "")
    request._is_raw = True
    own = pack_request(4, request._identifier, request._sequence, request._payload)
    header = bytes([0x45]) + bytes(19)

    def is_answer(message: bytes, source: str = "192.0.2.1") -> bool:
        return request._is_answer(header + b"\x00" + message[1:], source)

    assert is_answer(own)
    assert not is_answer(own, "192.0.2.2")
    assert not request._is_answer(header + own, "192.0.2.1")
    other = (request._sequence + 1) % 65536
    assert not is_answer(pack_request(4, request._identifier, other, request._payload))
    assert not is_answer(own[:-1] + bytes([own[-1] ^ 1]))
    foreign = (request._identifier + 1) % 65536
    message = pack_request(4, foreign, request._sequence, request._payload)
    assert not is_answer(message)
    request._is_raw = False
    assert request._is_answer(b"\x00" + message[1:], "192.0.2.1"), "the kernel has chosen that one"


_RAW = """
import select
from opensvc_openha.system import echo_requests
for asked, other in ("127.0.0.9", "127.0.0.5"), ("::1", "fd00::5"):
    own, foreign = (echo_requests._Request(each, "") for each in (asked, other))
    own.send(), foreign.send()
    for request in own, foreign:
        assert request._is_raw and request.look is None, request.look
        select.select([request.socket], [], [])
    found = 0
    try:
        while own.socket.recv(2048):
            found += 1
    except BlockingIOError:
        print(found)
"""
_WITH_RAW_SOCKETS = """
ip link set lo up && ip address add fd00::5/128 dev lo &&
echo 1 0 > /proc/sys/net/ipv4/ping_group_range && exec "$0" -c "$1"
"""


@needs_root
def test_raw_socket_gets_the_replies_of_who_was_asked_alone() -> None:
    """A flood of others would fill it, and drop the answer."""
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", _WITH_RAW_SOCKETS, sys.executable, _RAW],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "1\n1\n", done


# --- the thread of the daemon -------------------------------------------------------------------


class Gateway:
    """Answers requests of the thread, one after the other."""

    def __init__(self) -> None:
        self.policy: ConnectivityPolicy | None = ConnectivityPolicy(("192.0.2.1",), 0.01, 0.01)
        self.rounds: list[TargetsAsked] = []
        self.asked = threading.Event()
        self.error: Exception | None = None
        self.targets = Targets(lambda: self.policy, self._take, self._ask)

    def _ask(
        self, addresses: Sequence[str], limit_s: float, interface: str
    ) -> tuple[TargetLook, ...]:
        if self.error is not None:
            raise self.error
        return tuple(TargetLook(each, PingResult.ANSWERED) for each in addresses)

    def _take(self, event: TargetsAsked) -> None:
        self.rounds.append(event)
        self.asked.set()

    def next(self) -> TargetsAsked:
        """Return a round that ends from now on."""
        self.asked.clear()
        assert self.asked.wait(60)
        return self.rounds[-1]


def test_targets_are_asked_again_and_again() -> None:
    """Also after an error, which is reported as something that nothing is known of."""
    gateway = Gateway()
    gateway.targets.check_soon()
    gateway.targets.start()
    first, second = gateway.next(), gateway.next()
    assert first.began_at < second.began_at
    assert second.looks == (TargetLook("192.0.2.1", PingResult.ANSWERED),)
    gateway.error = RuntimeError("out of memory")
    gateway.next()
    text = "RuntimeError: out of memory"
    assert gateway.next().looks == (TargetLook("192.0.2.1", PingResult.UNABLE, text),)
    gateway.error = None
    gateway.policy = ConnectivityPolicy(("192.0.2.2",), 0.01, 0.01)
    gateway.next()
    assert gateway.next().looks == (TargetLook("192.0.2.2", PingResult.ANSWERED),)
    gateway.targets.stop()


def test_nobody_is_asked_without_targets() -> None:
    """No thread; one comes with the section, and ends with it."""
    gateway = Gateway()
    policy, gateway.policy = gateway.policy, None
    gateway.targets.start()
    assert not gateway.targets._has_thread
    gateway.policy = policy
    gateway.targets.check_soon()
    gateway.next()
    gateway.policy = None
    until(lambda: not gateway.targets._has_thread)
    count = len(gateway.rounds)
    gateway.targets.check_soon()
    assert not gateway.targets._has_thread and len(gateway.rounds) == count


def test_daemon_continues_where_no_thread_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with its other watches; the next configuration tries it again."""
    gateway = Gateway()

    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refused)
        gateway.targets.start()
    assert not gateway.targets._has_thread
    gateway.targets.check_soon()
    gateway.next()
    gateway.targets.stop()


def test_section_that_comes_back_while_the_thread_ends_has_a_thread() -> None:
    """It is not taken for one that is still asked for."""
    gateway = Gateway()
    gateway.targets.start()
    gateway.next()
    policy, helpers = gateway.policy, []

    def put_back() -> None:
        gateway.policy = policy
        gateway.targets.check_soon()

    def removed() -> ConnectivityPolicy | None:
        if gateway.policy is None and threading.current_thread().name == "targets":
            if gateway.targets._lock.locked():
                helpers.append(threading.Thread(target=put_back))
                helpers[0].start()  # Waits for the lock.
            else:
                put_back()
            return None
        return gateway.policy

    gateway.targets._policy = removed
    gateway.policy = None
    until(lambda: gateway.policy is not None)
    gateway.next()
    for helper in helpers:
        helper.join()
    gateway.targets.stop()
