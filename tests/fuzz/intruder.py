"""Check that one hostile input has no effect but a log line. Used by the fuzzer and by the tests.

``take`` passes one input to a parser, or, as a frame, slot or record, to a node that enforces its
key and hears its peer. It fails if anything but the documented error is raised, if a state of this
node or of its peer changed, if the node requests any action but the log line of a refused beat, or
if a file, socket or process was opened meanwhile. Data from another address than the peer's must
leave no trace: the same bytes from the right address are accepted as before.
"""

from __future__ import annotations

import itertools
import re
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace

import configobj  # noqa: F401 - the parsers import it late, which opens files

from opensvc_openha.core.actions import Action, Record
from opensvc_openha.core.beat import Ack, Beat, BootId
from opensvc_openha.core.engine import Engine
from opensvc_openha.core.events import BeatReceived, Tick
from opensvc_openha.core.model import ClusterSpec, LinkSpec, ServiceSpec, Wire
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.errors import ConfigError, FrameError
from opensvc_openha.formats import state_file
from opensvc_openha.formats.beat_frame import MAGIC, encode_beat
from opensvc_openha.formats.disk_slot import HEAD_BYTES, decode_slot, encode_slot
from opensvc_openha.formats.frame_seal import Key, Seal, link_binding
from opensvc_openha.formats.key_file import KeyRing, format_keys, parse_keys
from opensvc_openha.formats.legacy_frame import (
    DISK_BYTES,
    RECORD_BYTES,
    LegacyRecord,
    encode_disk_record,
    encode_record,
)
from opensvc_openha.formats.nodes_file import parse_nodes
from opensvc_openha.formats.options_file import HeartbeatOptions, parse_options
from opensvc_openha.formats.options_schema import AuthMode
from opensvc_openha.formats.services_file import format_service, parse_services
from opensvc_openha.heartbeat.authentication import Authentication
from opensvc_openha.heartbeat.beat_intake import BeatIntake
from opensvc_openha.heartbeat.codec.base import Codec
from opensvc_openha.heartbeat.codec.legacy import LegacyCodec
from opensvc_openha.heartbeat.codec.own import OwnCodec
from opensvc_openha.heartbeat.repeat_filter import RepeatFilter
from opensvc_openha.links.base import Received
from opensvc_openha.links.monitor_file import format_link, parse_monitor
from tests.decoding import heard
from tests.fuzz.disk_answers import GENUINE, take_answer
from tests.fuzz.local import REQUESTS, DamagedHistory, take_request
from tests.fuzz.peer_wire import (
    ANSWER,
    HELLO,
    PEER_REQUESTS,
    take_answer_of_peer,
    take_hello,
    take_peer_request,
)

OURS, PEER = "deb1", "deb2"
RIGHT, WRONG = "10.11.1.2", "10.11.1.66"
NOW = 100.0
NAMES = ("mail", "registry", "web.1")
KEY, WRONG_KEY = Key(bytes(range(32))), Key(bytes(32))
OUR_LIFE, PEER_LIFE, OLD_PEER_LIFE = BootId(7, 7000), BootId(5, 5000), BootId(4, 4000)
NET = tuple(
    LinkSpec(node, "net", "eth1", f"239.131.50.1{index}", 5010, 0, 10)
    for index, node in enumerate((OURS, PEER))
)
DISK = tuple(
    LinkSpec(node, "dio", "/dev/hb", "", 0, 10 * index, 10)
    for index, node in enumerate((OURS, PEER))
)
OLD_NET, OLD_DISK = (
    replace(pair[1], device=pair[1].device + "c", wire=Wire.LEGACY) for pair in (NET, DISK)
)
LINKS = (*NET, *DISK, OLD_NET, OLD_DISK)
SERVICES = tuple(ServiceSpec(name, f"/etc/{name}", OURS, PEER, "/bin/true") for name in NAMES)
PEER_SENDS = dict(
    zip(NAMES, (ServiceState.STARTED, ServiceState.STOPPED, ServiceState.FROZEN_STOP))
)


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_KEPT_OUT = frozenset({"unauthenticated", "unknown key", "forged"})


class Touched(AssertionError):
    """The input made the program access something outside."""


class _Watch:
    """Refuses files, sockets and processes while an input is processed."""

    _PREFIXES = ("open", "os.", "socket.", "subprocess.", "shutil.", "tempfile.", "import")

    def __init__(self) -> None:
        self.is_on = False
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[object, ...]) -> None:
        if self.is_on and event.startswith(self._PREFIXES):
            self.is_on = False
            raise Touched(f"{event} {args}")


def beat_of(boot: BootId, seq: int, states: dict[str, ServiceState], node: str = PEER) -> Beat:
    """Return a beat that acknowledges the incarnation of the node under attack."""
    return Beat(node, boot, seq, Ack(OUR_LIFE, 1), states, wants_ack=True, sent_at=1.8e9)


def sealed(beat: Beat, link: LinkSpec, key: Key | None = KEY) -> bytes:
    """Return a frame of that beat, authenticated on a link with a key, or unauthenticated."""
    seal = None if key is None else Seal(key, key.key_id, link_binding(link))
    return encode_beat(beat, pid=55, interval_s=1.0, with_names=True, seal=seal)


def _recorded() -> Iterator[bytes]:
    """Yield genuine frames that an attacker could have recorded: all are old, or of other links."""
    for link in (NET[1], DISK[1]):
        yield sealed(beat_of(PEER_LIFE, 3, PEER_SENDS), link)
        yield sealed(beat_of(OLD_PEER_LIFE, 900, dict.fromkeys(NAMES, ServiceState.STOPPED)), link)
    yield sealed(beat_of(PEER_LIFE, 50, dict.fromkeys(NAMES, ServiceState.STOPPED)), OLD_NET_AS_OWN)
    yield sealed(beat_of(OUR_LIFE, 60, dict.fromkeys(NAMES, ServiceState.STARTED), OURS), NET[0])
    yield sealed(
        beat_of(PEER_LIFE, 70, dict.fromkeys(NAMES, ServiceState.STOPPED)), NET[1], WRONG_KEY
    )
    yield sealed(beat_of(PEER_LIFE, 80, dict.fromkeys(NAMES, ServiceState.STOPPED)), NET[1], None)
    for named in ((NET[1],), (NET[1], DISK[1])):
        marks = frozenset(link.mark for link in named)
        yield sealed(replace(beat_of(PEER_LIFE, 3, PEER_SENDS), mute=marks), DISK[1])
        yield sealed(replace(beat_of(PEER_LIFE, 85, PEER_SENDS), mute=marks), DISK[1], WRONG_KEY)
        yield sealed(replace(beat_of(PEER_LIFE, 86, PEER_SENDS), mute=marks), NET[1], None)
    many = {f"svc{number:04}": ServiceState.STOPPED for number in range(1_100)}
    yield sealed(beat_of(PEER_LIFE, 90, many), NET[1], None)


OLD_NET_AS_OWN = replace(NET[1], address="239.131.50.99")
"""Another link of the same cluster: its recorded frames are invalid here."""
RECORDED = tuple(_recorded())


def _legacy_records() -> Iterator[bytes]:
    stopped = tuple((name, ServiceState.STOPPED) for name in NAMES)
    yield encode_record(LegacyRecord(PEER, stopped, 1_800_000_000, 55, 1, 5010, "239.131.50.11"))
    yield encode_record(
        LegacyRecord(PEER, tuple((f"s{number}", ServiceState.STARTED) for number in range(128)), 5)
    )
    yield encode_record(LegacyRecord(PEER, (), 5))


RECORDS = tuple(_legacy_records())
TEXTS = {
    "key": format_keys(KeyRing(KEY, next=WRONG_KEY)),
    "monitor": "".join(f"{format_link(link)}\n" for link in (*NET, *DISK)),
    "nodes": f"# both\n{OURS}\n{PEER}\n",
    "services": "".join(f"{format_service(service)}\n" for service in SERVICES),
    "options": "[heartbeat]\nauthentication = enforced\ncluster = paris\nwire = own\n"
    "[[net eth1:239.131.50.11]]\nwire = legacy\npeer_address = 10.11.1.2\n"
    "[timing]\nprofile = fast\nfence_time = 0.8\n[scripts]\nstart_timeout = 5\nparallel = 8\n"
    "[[web]]\nstop_timeout = 9\n"
    "[policy]\non_dual_run = stop-youngest\n[[web]]\non_start_failure = hand-over\n",
}
_PARSERS: dict[str, Callable[[str], object]] = {
    "key": lambda text: parse_keys(text, "F"),
    "monitor": lambda text: parse_monitor(text, "F", (OURS, PEER), need_both_ways=False),
    "nodes": lambda text: parse_nodes(text, "F"),
    "services": lambda text: parse_services(text, "F"),
    "options": lambda text: parse_options(text, "F"),
}


def read_text(kind: str, text: str) -> object:
    """Parse a text as a configuration file of some kind; None for a ConfigError.

    Any other exception is raised.
    """
    try:
        return _PARSERS[kind](text)
    except ConfigError:
        return None


def patched(data: bytes, patches: bytes) -> bytes:
    """Replace single bytes of the data.

    ``patches`` holds place (2 bytes, modulo the length) and value of each; an odd byte at the end
    truncates.
    """
    changed = bytearray(data)
    for at in range(0, len(patches) - 2, 3):
        changed[int.from_bytes(patches[at : at + 2], "big") % len(changed)] = patches[at + 2]
    return bytes(changed[: len(changed) - patches[-1]] if len(patches) % 3 == 1 else changed)


def repaired(frame: bytes) -> bytes:
    """Return the frame with correct length and checksum, which every attacker can compute."""
    if len(frame) < 14:
        return frame
    frame = frame[:8] + struct.pack(">H", min(len(frame), 0xFFFF)) + frame[10:-4]
    return frame + struct.pack(">I", zlib.crc32(frame))


class Target:
    """A node that enforces its key and hears its peer on a network and a disk.

    An intruder must not change it.
    """

    def __init__(self, mode: AuthMode = AuthMode.ENFORCED) -> None:
        self.counts: dict[str, int] = {}
        authentication = Authentication(OURS, OUR_LIFE)
        authentication.update(HeartbeatOptions(mode), KeyRing(KEY), {KEY.key_id: PEER_LIFE})
        self.codecs: dict[LinkSpec, Codec] = {
            link: OwnCodec(link, lambda: NAMES, authentication, lambda: NOW)
            for link in (NET[1], DISK[1])
        }
        self.repeats: dict[LinkSpec, RepeatFilter] = {}
        for link in (OLD_NET, OLD_DISK):
            self.codecs[link] = LegacyCodec(link, lambda: NAMES)
            self.repeats[link] = RepeatFilter(link)
        self.engine = Engine(
            ClusterSpec(OURS, PEER, LINKS, SERVICES), OUR_LIFE, {}, NOW, {KEY.key_id: PEER_LIFE}
        )
        self._seq = itertools.count(100)
        self.engine.step(Tick(), NOW)
        self._hear_peer()
        for _ in range(5):
            self.engine.step(Tick(), NOW)
        self.before, self.sent = self.face(), self.engine.beat()
        assert self.engine.snapshot(NOW).peer_standing is PeerStanding.LIVE

    def _hear_peer(self) -> None:
        for link in (NET[1], DISK[1]):
            data = sealed(beat_of(PEER_LIFE, next(self._seq), PEER_SENDS), link)
            self.engine.step(heard(self.codecs[link], data, NOW), NOW)

    def face(self) -> object:
        """Return all that this node believes, sends and shows.

        Counters and the state of the legacy links are left out.
        """
        status = self.engine.snapshot(NOW)
        links = tuple(
            replace(link, counts={}) for link in status.links if not link.spec.device.endswith("c")
        )
        return replace(status, links=links), self.engine.beat(), self.engine.seq

    def hear(self, link: LinkSpec, data: bytes) -> str:
        """Receive the bytes on a link; fail if they do more than increment a counter.

        Returns the reason under which they are counted.
        """
        received, repeats = Received(data, NOW, ""), self.repeats.get(link)
        try:
            reason = repeats.rejection(received) if repeats is not None else ""
            event = None if reason else heard(self.codecs[link], data, NOW)
        except FrameError as error:
            reason, event = error.reason, None
        if event is not None:
            reason = "decoded"
            done = self.engine.step(event, NOW)
            if repeats is not None:
                repeats.record(received, event)
            for action in done:
                assert _is_harmless(action, link), f"the node wants to do this: {action}"
            # Only a step can change what is shown; what is sent is checked after every input.
            assert self.face() == self.before, "the node was moved"
        assert self.engine.beat() == self.sent, "the node sends something else"
        self.counts[reason] = self.counts.get(reason, 0) + 1
        return reason


def _is_harmless(action: Action, link: LinkSpec) -> bool:
    """Return whether the action is a permitted log line.

    Either a beat was refused, or a legacy link is up, which proves nothing while a better one is
    heard.
    """
    return isinstance(action, Record) and (
        action.new == "REFUSED" or (link.wire is Wire.LEGACY and action.new == "UP")
    )


class FrozenTarget(Target):
    """A node without a key, with frozen services: it accepts beats and still moves no service."""

    def __init__(self) -> None:
        super().__init__(AuthMode.OFF)

    def hear(self, link: LinkSpec, data: bytes) -> str:
        """Receive the bytes.

        Fails if a service of this node moves or the peer gets an impossible service.
        """
        try:
            event = heard(self.codecs[link], data, NOW)
        except FrameError as error:
            return error.reason
        assert all(_NAME.fullmatch(name) for name in event.beat.states)
        self.engine.step(event, NOW)
        assert self.engine.beat().states == self.sent.states, "a frozen service was moved"
        return "decoded"


class SourceTarget:
    """Listeners that accept only the peer's address, on a link of each format."""

    def __init__(self) -> None:
        self._authentication = Authentication(OURS, OUR_LIFE)

    def hear(self, link: LinkSpec, data: bytes) -> None:
        """Check that bytes from elsewhere, and then from the peer, act as from the peer alone."""
        assert self._taken(link, data, (WRONG, RIGHT)) == [
            False,
            *self._taken(link, data, (RIGHT,)),
        ], "a wrong address was heard"

    def _taken(self, link: LinkSpec, data: bytes, sources: tuple[str, ...]) -> list[bool]:
        own, taken = replace(link, peer_address=RIGHT), []
        codec: Codec = OwnCodec(own, lambda: NAMES, self._authentication, lambda: NOW)
        if link.wire is Wire.LEGACY:
            codec = LegacyCodec(own, lambda: NAMES)
        heard: list[BeatReceived] = []
        intake = BeatIntake(
            own, codec, lambda event: not heard.append(event), lambda reason, what, number: None
        )
        for source in sources:
            before = len(heard)
            intake.take(Received(data, NOW, f"{source}:5010"))
            taken.append(len(heard) > before)
        return taken


class Intruder:
    """Turns each input into an attack on one of the parsers or on a node."""

    def __init__(self) -> None:
        self._watch = _Watch()
        self.target, self.frozen, self.sources = Target(), FrozenTarget(), SourceTarget()
        self._kinds = tuple(TEXTS)
        self.asked = FrozenTarget()
        self.requests: dict[str, int] = {}
        self.history = DamagedHistory()

    def take(self, data: bytes) -> None:
        """Process one input: byte 1 selects the attack, byte 2 the genuine bytes it starts from."""
        self._watch.is_on = True
        try:
            if len(data) >= 2:
                self._take(data[0] % 21, data[1], data[2:])
        finally:
            self._watch.is_on = False

    def _take(self, kind: int, choice: int, payload: bytes) -> None:
        if kind < 6:
            self._frame(kind, choice, payload)
        elif kind == 6:
            self._slot(choice, payload)
        elif kind == 7:
            self._record(choice, payload)
        elif kind == 8:
            self._state_file(payload)
        elif kind < 9 + len(self._kinds):
            read_text(self._kinds[kind - 9], payload.decode("utf-8", "replace"))
        elif kind == 16:
            self._request(choice, payload)
        elif kind == 20:
            take_wire(choice, payload)
        elif kind == 19:
            genuine = GENUINE[(choice >> 1) % len(GENUINE)]
            take_answer(patched(genuine, payload) if choice & 1 else payload)
        elif kind > 16:
            self._watch.is_on = False  # This attack concerns a file.
            if kind == 17:
                if choice % 3 == 2:
                    self.history.take_former(payload)
                else:
                    genuine = self.history.genuine
                    self.history.take_bytes(patched(genuine, payload) if choice % 3 else payload)
            else:
                self.history.take_value(choice, payload)
        else:
            text = TEXTS[self._kinds[choice % len(self._kinds)]].encode("utf-8")
            read_text(
                self._kinds[choice % len(self._kinds)],
                patched(text, payload).decode("utf-8", "replace"),
            )

    def _request(self, choice: int, payload: bytes) -> None:
        """Send a line to the control protocol: arbitrary, or a genuine one with changes."""
        genuine = REQUESTS[(choice >> 2) % len(REQUESTS)]
        line = (payload, patched(genuine, payload), genuine[: choice >> 2] + payload, genuine)[
            choice & 3
        ]
        became = take_request(line, self.asked.engine, NOW)
        self.requests[became] = self.requests.get(became, 0) + 1

    def _frame(self, kind: int, choice: int, payload: bytes) -> None:
        link = (NET[1], DISK[1])[choice & 1]
        genuine = RECORDED[(choice >> 1) % len(RECORDED)]
        if kind == 0:
            frame = payload
        elif kind == 1:
            frame = repaired(MAGIC + b"\1" + bytes([choice >> 7]) + payload)
        elif kind == 2:
            frame = patched(genuine, payload)
        elif kind == 3:
            frame = repaired(patched(genuine, payload))
        elif kind == 4:
            # A forged tail after a genuine head: states, pages of names, tags.
            frame = repaired(genuine[: 74 + (choice >> 5)] + payload)
        else:
            frame = repaired(payload)
        self._hear(link, frame)

    def _hear(self, link: LinkSpec, frame: bytes) -> None:
        """Receive a frame; one refused for its key alone also goes to the node without a key.

        That node reads all fields.
        """
        if self.target.hear(link, frame) in _KEPT_OUT:
            self.frozen.hear(link, frame)
        self.sources.hear(NET[1], frame)

    def _slot(self, choice: int, payload: bytes) -> None:
        """Read a disk slot: arbitrary, or a whole one with changes in the envelope or its frame."""
        genuine = RECORDED[(choice >> 2) % (len(RECORDED) - 1)]
        if choice & 3 == 0:
            slot = payload
        elif choice & 3 == 1:
            slot = patched(encode_slot(genuine, 5_120), payload)
        elif choice & 3 == 2:
            slot = encode_slot(payload[: 5_120 - HEAD_BYTES], 5_120)
        else:
            slot = encode_slot(repaired(patched(genuine, payload))[: 5_120 - HEAD_BYTES], 5_120)
        try:
            frame = decode_slot(slot)
        except FrameError:
            return
        self._hear(DISK[1], frame)

    def _record(self, choice: int, payload: bytes) -> None:
        """Read a record of the original: arbitrary after zeros, or a genuine one with changes."""
        is_disk = bool(choice & 1)
        genuine = RECORDS[(choice >> 2) % len(RECORDS)]
        data = patched(genuine, payload) if choice & 2 else payload.ljust(RECORD_BYTES, b"\0")
        data = data.ljust(DISK_BYTES, b"\0") if is_disk else data
        link = OLD_DISK if is_disk else OLD_NET
        (self.frozen if choice & 128 else self.target).hear(link, data)
        self.sources.hear(link if not is_disk else OLD_NET, data[:RECORD_BYTES])

    def _state_file(self, payload: bytes) -> None:
        try:
            stored = state_file.decode(payload)
        except ValueError:
            return
        assert state_file.decode(state_file.encode(stored)) == stored


def take_wire(choice: int, payload: bytes) -> None:
    """Hand a hello, an answer or a request to the peer link; or a genuine one, patched."""
    what, is_proven = choice % 4, bool(choice & 4)
    if what == 0:
        take_hello(patched(HELLO, payload) if choice & 8 else payload, is_proven)
    elif what == 1:
        take_answer_of_peer(patched(ANSWER, payload) if choice & 8 else payload, is_proven)
    elif choice & 8:
        take_peer_request(patched(PEER_REQUESTS[(choice >> 4) % len(PEER_REQUESTS)], payload))
    else:
        take_peer_request(payload)


def seeds() -> Iterator[bytes]:
    """Yield initial inputs: each kind of attack on each genuine piece."""
    for kind in range(8):
        for choice in range(0, 20):
            yield bytes([kind, choice])
            yield bytes([kind, choice, 0, 9, 5])
    for frame in (RECORDED[0], RECORDED[2], RECORDED[7]):
        yield b"\0\0" + frame
        yield b"\1\0" + frame[6:]
        yield b"\4\1" + frame[74:]
        yield b"\5\0" + frame
        yield b"\6\0" + encode_slot(frame, 5_120)
    yield b"\7\0" + RECORDS[0][:300]
    yield b"\7\1" + encode_disk_record(LegacyRecord(PEER, (), 5))[:200]
    for state in ServiceState:
        yield b"\x08\0" + state_file.encode(state_file.StoredState(state))
    for kind, text in enumerate(TEXTS.values(), 9):
        yield bytes([kind, 0]) + text.encode("utf-8")
        yield bytes([15, kind - 9, 0, 3, 65])
    for choice, request in enumerate(REQUESTS):
        yield bytes([16, choice << 2 | 3])
        yield b"\x10\0" + request
        yield bytes([16, choice << 2 | 1, 0, 20, 91])
    for request in (
        b'{"do":"act","command":"stop","services":[{}]}',
        b'{"do":"leave","how":[]}',
        b"[" * 590,
        b"9" * 590,
    ):
        yield b"\x10\0" + request
    for choice in range(4):
        yield bytes([17, choice, 0, 100, 7, 0x10, 20, 0xFF])
    for choice in range(24):
        seen = b'{"at":1,"standing":"silent","late_s":0,"stall_limit_s":1,"links":[["net a",1,2]]}'
        yield bytes([18, choice, choice % 7]) + seen
    for choice in range(len(GENUINE)):
        yield bytes([19, choice << 1 & 0xFF]) + GENUINE[choice]
        yield bytes([19, choice << 1 & 0xFF | 1, 0, 7, 200])
    for choice in range(16):
        yield bytes([20, choice])
        yield bytes([20, choice, 0, 4, 2])
    for request in PEER_REQUESTS:
        yield b"\x14\2" + request
