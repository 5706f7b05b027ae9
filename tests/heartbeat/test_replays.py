"""Genuine frames of the past at a real daemon with a key: other lives, other keys, older slots of
the disk; and floods.
"""

from __future__ import annotations

import json
import multiprocessing
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from opensvc_openha.core.beat import BootId
from opensvc_openha.core.model import LinkSpec
from opensvc_openha.core.states import ServiceState
from opensvc_openha.formats.disk_slot import encode_slot
from opensvc_openha.formats.frame_seal import Key
from opensvc_openha.formats.key_file import parse_keys
from opensvc_openha.links.monitor_file import parse_monitor
from tests.cluster_dir import HERE, PEER, ClusterDir
from tests.peer_voice import PeerVoice

SLOT_BYTES = 10 * 512
LINK_TIMEOUT_S = 2


@pytest.fixture
def guarded(cluster_dir: ClusterDir) -> ClusterDir:
    """A running daemon that enforces its key, with a service that runs here."""
    cluster_dir.ok("openha key generate")
    cluster_dir.path("conf/openha.conf").write_text("[heartbeat]\nauthentication = enforced\n")
    cluster_dir.add("registry")
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry force-start")
    return cluster_dir


@pytest.fixture
def voice(guarded: ClusterDir) -> Iterator[PeerVoice]:
    """The peer, live."""
    made = PeerVoice(guarded, key_of(guarded))
    made.meet(guarded)
    yield made
    made.close()


def key_of(cluster: ClusterDir) -> Key:
    """The key that the cluster directory uses."""
    return parse_keys(cluster.path("conf/openha.key").read_text(), "key").current


def links(cluster: ClusterDir) -> dict[str, dict[str, object]]:
    """Kind and end of each link: what JSON shows of it."""
    found = json.loads(cluster.ok("hb -s --json"))["links"]
    return {
        f"{link['kind']} {'sender' if link['is_sender'] else 'listener'}": link for link in found
    }


def count(cluster: ClusterDir, end: str, reason: str) -> int:
    """So many frames were found wrong for that reason."""
    counts = links(cluster)[end]["counts"]
    assert isinstance(counts, dict)
    return int(counts.get(reason, 0))


def record(voice: PeerVoice, number: int = 5) -> list[bytes]:
    """Frames that the daemon took, and that somebody kept."""
    tape = []
    for _ in range(number):
        voice.listen()
        tape.append(voice.frame())
        voice.throw(tape[-1])
    return tape


def play(cluster: ClusterDir, voice: PeerVoice, tape: list[bytes], reason: str) -> None:
    """The tape, until it was counted for that reason and no longer keeps the link up."""

    def is_refused() -> bool:
        for data in tape:
            voice.throw(data)
        return (
            count(cluster, "unicast listener", reason) >= len(tape)
            and not links(cluster)["unicast listener"]["is_up"]
        )

    cluster.wait(is_refused, f"{reason}, and the link is down")


def test_frames_of_the_life_before_a_reboot_of_the_peer_are_old(
    guarded: ClusterDir, voice: PeerVoice
) -> None:
    """The peer's machine reboots.

    What it reported before is played, to this daemon and to a restarted one: worth nothing.
    """
    tape = record(voice)
    voice.boot = BootId(voice.boot.counter + 1, 77)
    voice.seq = 0
    voice.meet(guarded)
    play(guarded, voice, tape, "old life")
    guarded.kill()
    guarded.ok("ezha start")
    play(guarded, voice, tape, "old life")
    voice.meet(guarded)
    assert guarded.state("registry") == "STARTED"


def test_frames_of_a_former_key_are_unknown_after_a_rotation(
    guarded: ClusterDir, voice: PeerVoice
) -> None:
    """A rotation goes all its way, and frames from before it are played, also to a restarted
    daemon: their key is unknown.
    """
    tape = record(voice)
    guarded.ok("openha key rotate")
    ring = parse_keys(guarded.path("conf/openha.key").read_text(), "key")
    assert ring.next is not None
    voice.key = ring.next

    def is_over() -> bool:
        voice.listen()
        voice.send()
        return parse_keys(guarded.path("conf/openha.key").read_text(), "key").keys == (ring.next,)

    guarded.wait(is_over, "the former key is dropped")
    play(guarded, voice, tape, "unknown key")
    guarded.ok("ezha restart")
    play(guarded, voice, tape, "unknown key")
    voice.meet(guarded)


def disk_links(cluster: ClusterDir) -> tuple[LinkSpec, LinkSpec]:
    """Our slot and the peer's."""
    found = parse_monitor(cluster.path("conf/monitor").read_text(), "monitor", (HERE, PEER))
    ours, theirs = (
        next(link for link in found if link.is_disk and link.node == node) for node in (HERE, PEER)
    )
    return ours, theirs


def put_slot(link: LinkSpec, content: bytes) -> None:
    """What `dd conv=notrunc` does."""
    with open(link.device, "r+b") as file:
        file.seek(link.offset * 512)
        file.write(content)


def get_slot(link: LinkSpec) -> bytes:
    """What `dd` reads."""
    with open(link.device, "rb") as file:
        file.seek(link.offset * 512)
        return file.read(SLOT_BYTES)


def write_beats(cluster: ClusterDir, voice: PeerVoice, link: LinkSpec) -> list[bytes]:
    """The peer beats on its disk until it is heard there; the slots it wrote."""
    written = []

    def is_heard() -> bool:
        voice.listen()
        written.append(encode_slot(voice.frame(link=link), SLOT_BYTES).ljust(SLOT_BYTES, b"\0"))
        put_slot(link, written[-1])
        voice.send()
        return bool(links(cluster)["dio listener"]["is_up"])

    cluster.wait(is_heard, "heard on the disk")
    return written


def test_older_slot_put_back_by_hand_is_replayed_and_keeps_no_link_up(
    guarded: ClusterDir, voice: PeerVoice
) -> None:
    """Two older images of the peer's slot are put back in turn for seconds: counted, the disk link
    goes down in its timeout.
    """
    _, theirs = disk_links(guarded)
    written = write_beats(guarded, voice, theirs)
    while len(written) < 3:
        written += write_beats(guarded, voice, theirs)
    turn = 0

    def is_down() -> bool:
        nonlocal turn
        turn += 1
        put_slot(theirs, written[turn % 2])
        voice.listen()
        voice.send()
        return not links(guarded)["dio listener"]["is_up"]

    guarded.wait(is_down, "the disk link is down")
    guarded.wait(lambda: is_down() and count(guarded, "dio listener", "replayed") > 0, "counted")

    def is_heard_otherwise() -> bool:
        voice.listen()
        voice.send()
        return bool(links(guarded)["unicast listener"]["is_up"])

    guarded.wait(is_heard_otherwise, "the network link is no worse for it")
    write_beats(guarded, voice, theirs)


def test_swapped_slots_are_found_on_both_sides_and_put_right(
    guarded: ClusterDir, voice: PeerVoice
) -> None:
    """Both nodes' slots are exchanged: ours in the peer's place is not heard, the peer's in ours is
    written over.
    """
    ours, theirs = disk_links(guarded)
    write_beats(guarded, voice, theirs)
    voice.states = {"registry": ServiceState.STARTED}
    held = get_slot(ours), get_slot(theirs)
    put_slot(ours, held[1])
    put_slot(theirs, held[0])
    guarded.wait(lambda: count(guarded, "dio listener", "own") > 0, "own frame in the peer's slot")

    def is_noticed() -> bool:
        if count(guarded, "dio sender", "overwritten") > 0:
            return True
        # What is put there between the sender's look and its write leaves no trace.
        put_slot(ours, held[1])
        return False

    guarded.wait(is_noticed, "our slot was overwritten")
    guarded.wait(lambda: not links(guarded)["dio listener"]["is_up"], "the disk link is down")
    shown = guarded.ok("hb -s -v")
    assert (
        "this node hears its own heartbeats" in shown
        and "something else writes to this node's slot" in shown
    )
    guarded.wait(lambda: bool(links(guarded)["dio sender"]["is_up"]), "the sender continues")
    guarded.wait(lambda: get_slot(ours) != held[1], "our slot is written again")
    assert guarded.state("registry") == "STARTED"
    voice.states = {}
    write_beats(guarded, voice, theirs)


def _flood(port: int, frames: list[bytes]) -> None:
    """As many datagrams a second as this process can send, at most some 12,000, until it is
    killed.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    begin, sent = time.monotonic(), 0
    while True:
        for _ in range(60):
            sock.sendto(frames[sent % len(frames)], ("127.0.0.1", port))
            sent += 1
        time.sleep(max(0.0, begin + sent / 12_000 - time.monotonic()))


def _beat_on_disk(voice: PeerVoice, link: LinkSpec, is_over: threading.Event) -> None:
    """The peer's own threads: a beat now and then, whatever the test does meanwhile."""
    while not is_over.wait(0.4):
        put_slot(link, encode_slot(voice.frame(link=link), SLOT_BYTES).ljust(SLOT_BYTES, b"\0"))


def resident_kib(pid: int) -> int:
    """Memory that a process holds."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


@pytest.mark.parametrize("kind", ["garbage", "replays", "forgeries"])
def test_flood_delays_no_decision_and_fills_neither_memory_nor_log(
    guarded: ClusterDir, voice: PeerVoice, kind: str
) -> None:
    """Thousands of frames a second on one link, the peer is live on the disk: commands are carried
    out, all is bounded.
    """
    _, theirs = disk_links(guarded)
    write_beats(guarded, voice, theirs)
    frames = {
        "garbage": [b"hello" * 30, bytes(64), b"x"],
        "replays": record(voice, 8),
        "forgeries": [
            voice.frame(is_sealed=False),
            voice.frame(node=HERE),
            voice.frame()[:-4] + b"abcd",
        ],
    }[kind]
    before_kib, lines = resident_kib(guarded.pid()), guarded.log().count("\n")
    flood = multiprocessing.get_context("spawn").Process(
        target=_flood, args=(voice.link.port, frames), daemon=True
    )
    flood.start()
    is_over = threading.Event()
    peer = threading.Thread(target=_beat_on_disk, args=(voice, theirs, is_over))
    peer.start()
    try:
        # The flood ends after the commands: one that waited for its end would never return.
        began = time.monotonic()
        while time.monotonic() < began + 5:
            for action in ("freeze-start", "unfreeze"):
                guarded.ok(f"service -A registry {action}")
            assert links(guarded)["dio listener"]["is_up"], "the disk link lives"
    finally:
        is_over.set()
        peer.join()
        flood.kill()
        flood.join()
    grown = resident_kib(guarded.pid()) - before_kib
    print(f"\n{kind}:  {grown} KiB more, {links(guarded)['unicast listener']['counts']}")
    assert grown < 20_000
    assert "LIVE -> SILENT" not in guarded.log()
    states = [line for line in guarded.log().splitlines()[lines:] if "service registry" not in line]
    assert len(states) < 12, states
