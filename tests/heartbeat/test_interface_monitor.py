"""What the kernel reports of interfaces, and which senders count as mute for it."""

from __future__ import annotations

import math
import os
import queue
import struct
import subprocess
import sys
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensvc_openha.core.model import LinkSpec
from opensvc_openha.core.timing import MUTE_REST_S
from opensvc_openha.formats.netlink import InterfaceNews, ask_for_all, read_news
from opensvc_openha.heartbeat.interface_monitor import InterfaceWatch, MuteSenders
from tests.waiting import LIMIT_S

FIRST = LinkSpec("deb1", "net", "eth1", "239.131.50.10", 5010, 0, 10.0)
SECOND = LinkSpec("deb1", "unicast", "eth2", "10.50.2.2", 5010, 0, 10.0)
DISK = LinkSpec("deb1", "dio", "/dev/sdb", "", 0, 0, 10.0)
UP = 0x1 | 0x40
INDEXES = {"eth1": 2, "eth2": 3}


def message(kind: int, index: int, flags: int, family: int = 0, tail: bytes = b"") -> bytes:
    """One message as the kernel of this machine writes it, with some attribute behind."""
    body = (
        bytes([family, 0, 1, 0])
        + index.to_bytes(4, sys.byteorder)
        + flags.to_bytes(4, sys.byteorder)
        + bytes(4)
        + tail
    )
    head = (16 + len(body)).to_bytes(4, sys.byteorder) + kind.to_bytes(2, sys.byteorder) + bytes(10)
    return (head + body).ljust((16 + len(body) + 3) & ~3, b"\0")


def test_all_interfaces_are_asked_for_whatever_they_are() -> None:
    """RTM_GETLINK as a request for all (flags 0x301), of no family, kind, number or state."""
    assert ask_for_all(7) == struct.pack("=IHHII", 32, 18, 0x301, 7, 0) + bytes(16)


def test_messages_of_the_kernel_are_read_and_others_left_out() -> None:
    """Up, no carrier, off, gone.

    A bridge's word on its port, an end of a list and a cut message report nothing.
    """
    data = (
        message(16, 2, UP, tail=b"\x06\0\3\0ab")
        + message(16, 3, 0x1)
        + message(16, 4, 0x40)
        + message(17, 5, UP)
        + message(17, 6, UP, family=7)
        + message(3, 7, UP)
        + message(16, 8, UP)[:-1]
    )
    assert read_news(data) == [
        InterfaceNews(2, True, False),
        InterfaceNews(3, False, False),
        InterfaceNews(4, False, False),
        InterfaceNews(5, True, True),
    ]


def test_message_of_a_head_alone_hides_nothing_behind_it() -> None:
    """A list's end or news cut by the kernel to 16 bytes: passed over, the next one is read.

    Its length of 256 begins with a zero, as a message on an interface does behind its head.
    """
    assert read_news(message(16, 2, UP)) == [InterfaceNews(2, True, False)]
    for kind in (3, 16, 17):
        head = struct.pack("=IHHII", 16, kind, 0, 0, 0)
        follower = message(16, 2, UP, tail=bytes(224))
        assert read_news(head + follower) == [InterfaceNews(2, True, False)]


@pytest.mark.parametrize("length", [0, 15, 41, 1 << 31])
def test_message_of_an_impossible_length_ends_the_reading(length: int) -> None:
    """Shorter than its head, or longer than what arrived: neither it nor what follows is read."""
    broken = struct.pack("=I", length) + message(16, 3, UP, tail=bytes(8))[4:]
    assert read_news(message(16, 2, UP) + broken) == [InterfaceNews(2, True, False)]


@given(st.binary(max_size=200), st.lists(st.integers(0, 40), max_size=3))
def test_any_bytes_are_read_or_left_out(data: bytes, cuts: list[int]) -> None:
    """Whatever comes in, nothing is raised, and no endless loop begins."""
    read_news(data)
    for cut in cuts:
        read_news(message(16, 1, UP)[:cut] + data)


def seeing(*senders: LinkSpec) -> MuteSenders:
    """All interfaces are up."""
    mute = MuteSenders(lambda name: INDEXES.get(name, 0))
    mute.use(senders or (FIRST, SECOND, DISK))
    mute.learn([InterfaceNews(2, True, False), InterfaceNews(3, True, False)])
    assert mute.changed(100.0) is None
    return mute


def test_interface_that_goes_down_and_up_is_reported_at_once_each_way() -> None:
    """One change, one set; what does not concern a link is not announced."""
    mute = seeing()
    mute.learn([InterfaceNews(2, False, False), InterfaceNews(99, False, False)])
    assert mute.changed(200.0) == {FIRST}
    assert mute.changed(200.1) is None
    mute.learn([InterfaceNews(3, True, True)])
    assert mute.changed(200.2) is None
    mute.learn([InterfaceNews(2, True, False)])
    assert mute.changed(200.3) == frozenset()


def test_interface_that_flaps_is_reported_once_a_rest() -> None:
    """Down again 0.1 s after it was announced: again only after the rest, and only if down then;
    eth2 is announced at once.
    """
    mute = seeing()
    mute.learn([InterfaceNews(2, False, False)])
    assert mute.changed(200.0) == {FIRST}
    announced = 0
    for step in range(1, 10):
        mute.learn([InterfaceNews(2, step % 2 == 1, False)])
        announced += mute.changed(200.0 + 0.1 * step) == {FIRST}
    assert announced == 0
    mute.learn([InterfaceNews(2, False, False), InterfaceNews(3, False, False)])
    assert mute.changed(200.95) == {SECOND}
    assert mute.changed(200.0 + MUTE_REST_S) == {FIRST, SECOND}


def test_end_of_a_rest_is_known_and_nothing_else_is_waited_for() -> None:
    """Of the first of those that are down and not announced."""
    mute = seeing()
    assert mute.rests_until() == math.inf
    for at, index in ((200.0, 2), (200.5, 3)):
        mute.learn([InterfaceNews(index, False, False)])
        assert mute.changed(at) and mute.rests_until() == math.inf
    mute.learn([InterfaceNews(2, True, False), InterfaceNews(3, True, False)])
    assert mute.changed(200.6) == frozenset() and mute.rests_until() == math.inf
    mute.learn([InterfaceNews(3, False, False)])
    assert mute.changed(200.7) is None and mute.rests_until() == 200.5 + MUTE_REST_S
    mute.learn([InterfaceNews(2, False, False)])
    assert mute.changed(200.8) is None and mute.rests_until() == 200.0 + MUTE_REST_S
    assert mute.changed(mute.rests_until()) == {FIRST}


def test_missing_interface_is_down_and_a_new_one_is_not_before_it_is_known() -> None:
    """No interface of that name: mute. One that the kernel has not reported yet: not."""
    mute = MuteSenders({"eth1": 0, "eth2": 9}.__getitem__)
    mute.use((FIRST, SECOND))
    assert mute.changed(100.0) is None
    mute.learn([])
    assert mute.changed(100.0) == {FIRST}


def test_kernel_that_cannot_be_heard_makes_nothing_mute() -> None:
    """What was known may be wrong: nothing counts as down, until there is news again."""
    mute = seeing()
    mute.learn([InterfaceNews(2, False, False)])
    assert mute.changed(200.0) == {FIRST}
    mute.forget()
    assert mute.changed(205.0) == frozenset()


WATCHED = """
import queue, subprocess, sys
from opensvc_openha.core.model import LinkSpec
from opensvc_openha.heartbeat.interface_monitor import InterfaceWatch

def ip(line):
    subprocess.run(["ip", *line.split()], check=True)

def announced(wanted):
    got = news.get(timeout=10)
    assert {link.device for link in got} == wanted, got

senders = tuple(
    LinkSpec("deb1", "net", name, "239.131.50.10", 5010 + at, 0, 10.0)
    for at, name in enumerate(("h1", "h3"))
)
ip("link add h1 type veth peer name h2")
ip("link set h1 up")
ip("link set h2 up")
news = queue.Queue()
watch = InterfaceWatch(news.put)
watch.use(senders)
watch.start(lambda: None)
announced({"h3"})
ip("link set h1 down")
announced({"h1", "h3"})
ip("link set h1 up")
announced({"h3"})
ip("link add h3 type veth peer name h4")
ip("link set h4 up")
ip("link set h3 up")
announced(set())
import time
time.sleep(1.1)
ip("link set h2 down")
announced({"h1"})
ip("link set h2 up")
announced(set())
time.sleep(1.1)
ip("link del h1")
announced({"h1"})
# Again within its rest: the thread wakes when that is over, without any news.
ip("link add h1 type veth peer name h2")
ip("link set h2 up")
ip("link set h1 up")
announced(set())
ip("link set h1 down")
announced({"h1"})
watch.use(senders[1:])
announced(set())
watch.stop()
assert not watch._thread.is_alive() and news.empty()
print("all announced")
"""


def test_real_interfaces_are_watched() -> None:
    """Missing, off, without a carrier, deleted, made: each is announced.

    The thread ends when it is asked to.
    """
    if os.geteuid() != 0:
        if os.environ.get("CI") == "true":
            pytest.fail("needs root, which CI has")
        pytest.skip("needs root for a network namespace")
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", textwrap.dedent(WATCHED)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "all announced\n"), done.stderr


def test_system_without_netlink_has_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another operating system: nothing is announced, and the end of the daemon does not wait."""
    monkeypatch.delattr("socket.AF_NETLINK")
    news: queue.SimpleQueue[object] = queue.SimpleQueue()
    watch = InterfaceWatch(news.put)
    watch.use((FIRST,))
    watch.start(lambda: None)
    watch.stop()
    assert news.empty() and not watch._thread.is_alive()


def test_watch_that_has_ended_leaves_no_handle_behind() -> None:
    """An engine that failed is followed by another daemon in the same process."""
    before = len(os.listdir("/proc/self/fd"))
    watch = InterfaceWatch(lambda links: None)
    watch.start(lambda: None)
    watch.stop(LIMIT_S)
    assert len(os.listdir("/proc/self/fd")) == before
    watch.use(())
    watch.stop()


def test_request_is_a_dump_of_all_links() -> None:
    """The bytes are those of `ip link`: RTM_GETLINK, with the flags of a dump, for every family."""
    data = ask_for_all(7)
    assert len(data) == 32 and int.from_bytes(data[:4], sys.byteorder) == 32
    assert (
        int.from_bytes(data[4:6], sys.byteorder) == 18
        and int.from_bytes(data[6:8], sys.byteorder) == 0x301
    )
