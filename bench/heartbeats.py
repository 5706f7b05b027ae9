"""Print the cost of heartbeats: bytes, packets and CPU per link, frame rates, timer lateness.

    python bench/heartbeats.py [seconds per timer run]

Frames are decoded and refused. Figures only: no slow machine makes it fail. CPU is process time, so
other load disturbs it little; the lateness of timers is that of the machine as it is.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from opensvc_openha.core.beat import Ack, Beat, BootId
from opensvc_openha.core.engine import Engine
from opensvc_openha.core.events import BeatReceived, Tick
from opensvc_openha.core.model import ClusterSpec, LinkSpec, ServiceSpec
from opensvc_openha.core.states import ServiceState
from opensvc_openha.errors import FrameError
from opensvc_openha.formats.frame_seal import Key
from opensvc_openha.formats.key_file import KeyRing
from opensvc_openha.formats.options_file import HeartbeatOptions
from opensvc_openha.formats.options_schema import AuthMode
from opensvc_openha.heartbeat.authentication import Authentication
from opensvc_openha.heartbeat.codec.own import OwnCodec
from opensvc_openha.links.base import Received

SERVICES = (2, 128, 1_000)
INTERVALS_S = (1.0, 0.1)
IP_UDP_BYTES = 28
MTU_BYTES = 1_500
TIMER_S = 0.1
BUSY_PROCESSES = 8
FIFO_PRIORITY = 10
ROUNDS_S = 0.4
"""CPU seconds spent on each figure."""

LINK = LinkSpec("deb2", "net", "eth1", "239.131.50.10", 5010, 0, 10)
KEY, OTHER_KEY = Key(bytes(range(32))), Key(bytes(32))
OURS, PEERS = BootId(7, 7_000), BootId(5, 5_000)


def row(*cells: object) -> None:
    print("| " + " | ".join(str(cell) for cell in cells) + " |")


def heading(*cells: str) -> None:
    row(*cells)
    row(*("---" for _ in cells))


def names(count: int) -> tuple[str, ...]:
    """Return names of usual length."""
    return tuple(f"service-{number:04}" for number in range(count))


def beat(count: int, seq: int) -> Beat:
    """Return a beat of the peer with that many services."""
    states = (ServiceState.STARTED, ServiceState.STOPPED)
    return Beat(
        "deb2",
        PEERS,
        seq,
        Ack(OURS, seq),
        {name: states[at % 2] for at, name in enumerate(names(count))},
        sent_at=1.8e9,
    )


def codec(node: str, boot: BootId, known: tuple[str, ...], key: Key | None) -> OwnCodec:
    """Return one end of the link."""
    authentication = Authentication(node, boot)
    ring = None if key is None else KeyRing(key)
    authentication.update(
        HeartbeatOptions(AuthMode.OFF if key is None else AuthMode.ENFORCED), ring, {}
    )
    return OwnCodec(LINK, lambda: known, authentication)


def cpu_us(call: Callable[[], object]) -> float:
    """Return the process time of one call in microseconds."""
    rounds = 1
    while True:
        began = time.process_time()
        for _ in range(rounds):
            call()
        spent_s = time.process_time() - began
        if spent_s >= ROUNDS_S:
            return spent_s / rounds * 1e6
        rounds = max(rounds * 2, int(rounds * ROUNDS_S / spent_s * 1.1) if spent_s > 0.01 else 0)


def packets(frame: int) -> int:
    """Return the IP packets of a datagram; fragments carry a multiple of 8 bytes."""
    return -(-(frame + 8) // ((MTU_BYTES - 20) // 8 * 8))


def print_links() -> None:
    """Print bytes, packets and CPU of one link in each direction."""
    print("\nOne link, one direction (names known to the peer; IPv4 and UDP headers included):\n")
    heading(
        "services",
        "key",
        "frame, bytes",
        "interval",
        "bytes/s",
        "packets/s",
        "encode, us",
        "decode, us",
        "CPU of one link, % of a core",
    )
    for count in SERVICES:
        for key in (None, KEY):
            sender, receiver = (
                codec("deb2", PEERS, names(count), key),
                codec("deb1", OURS, names(count), key),
            )
            spoken = beat(count, 5)
            frame = sender.encode(spoken, 55, False)
            encode_us, decode_us = (
                cpu_us(lambda: sender.encode(spoken, 55, False)),
                cpu_us(lambda: decode(receiver, frame)),
            )
            for interval_s in INTERVALS_S:
                number = packets(len(frame))
                rate = (len(frame) + 8 + 20 * number) / interval_s
                share = (encode_us + decode_us) / 1e6 / interval_s * 100
                row(
                    count,
                    "yes" if key else "no",
                    len(frame),
                    f"{interval_s:g} s",
                    f"{rate:,.0f}",
                    f"{number / interval_s:g}",
                    f"{encode_us:.0f}",
                    f"{decode_us:.0f}",
                    f"{share:.3f}",
                )


def decode(receiver: OwnCodec, data: bytes) -> BeatReceived:
    """Return the beat in a frame that has just come in."""
    return receiver.decode(Received(data, 100.0, ""), lambda reason, what, number: None)


def refusal_us(receiver: OwnCodec, data: bytes) -> tuple[float, str]:
    """Return the CPU time of refusing a frame in microseconds, and the counted reason."""

    def refuse() -> str:
        try:
            decode(receiver, data)
        except FrameError as error:
            return error.reason
        raise AssertionError("this frame was to be refused")

    return cpu_us(refuse), refuse()


def replay_us(count: int) -> float:
    """Return the CPU time of a replayed genuine frame, decoded and refused by the engine.

    In microseconds.
    """
    receiver, known = codec("deb1", OURS, names(count), KEY), names(count)
    frame = codec("deb2", PEERS, known, KEY).encode(beat(count, 5), 55, False)
    services = tuple(ServiceSpec(name, "/bin/true", "deb1", "deb2", "/bin/true") for name in known)
    engine, now = Engine(ClusterSpec("deb1", "deb2", (LINK,), services), OURS, {}, 100.0), 100.0
    while engine.seq < 5:  # What the beat acknowledges must have been sent.
        now += 1.0
        engine.step(Tick(), now)

    def hear() -> None:
        engine.step(decode(receiver, frame), now)

    for _ in range(5):
        hear()
    spent_us = cpu_us(hear)
    assert engine.snapshot(now).links[0].counts.get("replayed"), "replays are counted"
    return spent_us


def print_rates() -> None:
    """Print the frames decoded and refused per second of one core, with an enforced key."""
    print("\nFrames per second of one core, key enforced:\n")
    heading("services", "frame", "counted as", "us", "frames/s")
    for count in SERVICES:
        known = names(count)
        receiver = codec("deb1", OURS, known, KEY)
        frame = codec("deb2", PEERS, known, KEY).encode(beat(count, 5), 55, False)
        good_us = cpu_us(lambda: decode(receiver, frame))
        row(count, "genuine", "(decoded)", f"{good_us:.1f}", f"{1e6 / good_us:,.0f}")
        again_us = replay_us(count)
        row(
            count,
            "replay, through the engine",
            "replayed",
            f"{again_us:.1f}",
            f"{1e6 / again_us:,.0f}",
        )
        wrong = codec("deb2", PEERS, known, OTHER_KEY).encode(beat(count, 5), 55, False)
        other_link = OwnCodec(
            LinkSpec("deb2", "net", "eth1", "239.131.50.99", 5010, 0, 10),
            lambda: known,
            sender_authentication(),
        ).encode(beat(count, 5), 55, False)
        bad = {
            "wrong key": wrong,
            "of another link": other_link,
            "truncated": frame[:-5],
            "damaged": frame[:-1] + b"\0",
            "alien": b"x" * len(frame),
        }
        for what, data in bad.items():
            spent_us, reason = refusal_us(receiver, data)
            row(count, what, reason, f"{spent_us:.1f}", f"{1e6 / spent_us:,.0f}")


def sender_authentication() -> Authentication:
    """Return the peer's authentication, with the key of the cluster."""
    authentication = Authentication("deb2", PEERS)
    authentication.update(HeartbeatOptions(AuthMode.ENFORCED), KeyRing(KEY), {})
    return authentication


def lateness_ms(seconds: float, is_realtime: bool) -> tuple[list[float], str]:
    """Return the lateness of each wait of a thread with a period of 100 ms, in milliseconds.

    Second item: why it could not be measured; empty if it was.
    """
    late: list[float] = []
    problem: list[str] = []

    def run() -> None:
        if is_realtime:
            try:
                os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(FIFO_PRIORITY))
            except OSError as error:
                problem.append(f"not permitted: {error.strerror}")
                return
        gate = threading.Event()
        due = time.monotonic() + TIMER_S
        end = due + seconds
        while due < end:
            gate.wait(max(0.0, due - time.monotonic()))
            late.append((time.monotonic() - due) * 1000)
            due += TIMER_S

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return late, "".join(problem)


def spread(late: list[float]) -> tuple[float, float, float]:
    """Return median, 99th percentile and maximum."""
    return (
        statistics.median(late),
        statistics.quantiles(late, n=100, method="inclusive")[98],
        max(late),
    )


def print_lateness(seconds: float) -> None:
    """Print the lateness of a 100 ms timer, idle and loaded, with and without real-time class."""
    print(f"\nLateness of a {TIMER_S * 1000:.0f} ms timer over {seconds:g} s, ms:\n")
    heading("load", "class", "median", "p99", "max", "load average")
    for busy in (0, BUSY_PROCESSES):
        spinners = [
            subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)
        ]
        try:
            for is_realtime in (False, True):
                late, problem = lateness_ms(seconds, is_realtime)
                cells = [problem, "", ""] if problem else [f"{value:.2f}" for value in spread(late)]
                row(
                    f"{busy} busy processes" if busy else "none of ours",
                    f"SCHED_FIFO {FIFO_PRIORITY}" if is_realtime else "usual",
                    *cells,
                    f"{os.getloadavg()[0]:.1f}",
                )
        finally:
            for spinner in spinners:
                spinner.kill()
                spinner.wait()


def main() -> None:
    """Print all tables."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    print(
        f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores,"
        f" load average {os.getloadavg()[0]:.1f} at the beginning"
    )
    print_links()
    print_rates()
    print_lateness(seconds)


if __name__ == "__main__":
    main()
