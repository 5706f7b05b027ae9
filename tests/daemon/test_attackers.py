"""Datagrams of attackers and strangers at a real daemon with a key: each is counted, and none
changes a state.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator

import pytest

from opensvc_openha.core.beat import Goodbye
from opensvc_openha.core.states import ServiceState
from opensvc_openha.formats.frame_seal import Key
from opensvc_openha.formats.key_file import parse_keys
from tests.cluster_dir import HERE, PEER, ClusterDir
from tests.peer_voice import PeerVoice

WRONG = Key(bytes(32))


def key_of(cluster: ClusterDir) -> Key:
    """The key that the cluster directory uses."""
    return parse_keys(cluster.path("conf/openha.key").read_text(), "key").current


@pytest.fixture
def voices() -> Iterator[Callable[..., PeerVoice]]:
    """Makes voices of the peer, and closes them."""
    made: list[PeerVoice] = []

    def make(cluster: ClusterDir, **changes: int) -> PeerVoice:
        key = key_of(cluster) if cluster.path("conf/openha.key").exists() else None
        made.append(PeerVoice(cluster, key, **changes))
        return made[-1]

    yield make
    for voice in made:
        voice.close()


@pytest.fixture
def guarded(cluster_dir: ClusterDir) -> ClusterDir:
    """A running daemon that enforces its key, with a service that runs here."""
    cluster_dir.ok("openha key generate")
    cluster_dir.path("conf/openha.conf").write_text(
        "[heartbeat]\nauthentication = enforced\ncluster = paris\n"
    )
    cluster_dir.add("registry")
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry force-start")
    return cluster_dir


def counts(cluster: ClusterDir) -> dict[str, int]:
    """Frames found wrong on the peer's network link, from the JSON of `hb -s`."""
    links = json.loads(cluster.ok("hb -s --json"))["links"]
    return next(
        dict(link["counts"])
        for link in links
        if link["kind"] == "unicast" and not link["is_sender"]
    )


def wait_count(cluster: ClusterDir, reason: str, number: int = 1) -> None:
    """Until that many frames were counted for a reason, as JSON and as text show it."""
    cluster.wait(lambda: counts(cluster).get(reason, 0) >= number, f"{number} {reason}")
    assert re.search(rf"\b{counts(cluster)[reason]} {reason}\b", cluster.ok("hb -s -v"))


def news(cluster: ClusterDir) -> list[str]:
    """Lines of the log; without the peer's comings and goings, which the load of this machine may
    bring about.
    """
    comings = (": UP: beat received", ": DOWN: no beat for", f" peer {PEER}: ")
    return [
        line for line in cluster.log().splitlines() if not any(text in line for text in comings)
    ]


def listener_line(cluster: ClusterDir) -> str:
    return next(
        line for line in cluster.ok("hb -s").splitlines() if line.startswith("unicast listener")
    )


def recorded(cluster: ClusterDir, voice: PeerVoice) -> list[bytes]:
    """Has the peer live, and five of its genuine frames on tape, each of which the daemon has
    heard.
    """
    voice.meet(cluster)
    tape = []
    for _ in range(5):
        voice.listen()
        tape.append(voice.frame())
        voice.throw(tape[-1])
    return tape


ATTACKS = {
    "unauthenticated": lambda voice: voice.frame(is_sealed=False),
    "unknown key": lambda voice: voice.frame(key=WRONG),
    "forged": lambda voice: _resealed(voice, voice.frame()),
    "truncated": lambda voice: voice.frame()[:-5],
    "oversized": lambda voice: voice.frame() + bytes(2000),
    "checksum": lambda voice: _flipped(voice.frame()),
    "alien": lambda voice: b"hello",
    "blank": lambda voice: bytes(64),
    "version": lambda voice: voice.frame()[:4] + b"\x09" + voice.frame()[5:],
    "own": lambda voice: voice.heard_bytes,
    "namesake": lambda voice: voice.frame(node=HERE),
    "node": lambda voice: voice.frame(node="someone.else.org"),
}


def _flipped(data: bytes) -> bytes:
    return data[:40] + bytes([data[40] ^ 1]) + data[41:]


def _resealed(voice: PeerVoice, data: bytes) -> bytes:
    """The peer's own frame with one field changed and the checksum made right again: only the tag
    reports.
    """
    import struct
    import zlib

    data = _flipped(data)[:-4]
    return data + struct.pack(">I", zlib.crc32(data))


def test_every_attack_is_counted_logged_once_and_changes_nothing(
    guarded: ClusterDir, voices: Callable[..., PeerVoice]
) -> None:
    """A live peer, then each kind of wrong frame five times: a counter each, one line each in the
    log, nothing else moves.
    """
    voice = voices(guarded)
    voice.meet(guarded)
    state_files = {path: path.read_bytes() for path in guarded.path("services/registry").iterdir()}
    voice.states = {"registry": ServiceState.STARTED}
    for reason, attack in ATTACKS.items():
        for _ in range(5):
            voice.throw(attack(voice))
        voice.listen()
        voice.states, states = {}, voice.states
        voice.send()
        voice.states = states
        wait_count(guarded, reason, 5)
    assert guarded.state("registry") == "STARTED"
    assert {path: path.read_bytes() for path in state_files} == state_files
    log = guarded.log()
    for reason in ATTACKS:
        assert log.count(f": {reason} (counted from now on)") == 1, reason


def test_frame_of_another_cluster_is_distinguished_from_an_attack(
    guarded: ClusterDir, voices: Callable[..., PeerVoice]
) -> None:
    """The right key, another cluster's name: counted as foreign, never live, and a warning reports
    what to do.
    """
    voice = voices(guarded)
    voice.cluster_name = "lyon"
    for _ in range(3):
        voice.listen()
        voice.send()
    wait_count(guarded, "foreign cluster", 3)
    shown = guarded.ok("hb -s -v")
    assert "another cluster sends here" in shown and "DOWN" in listener_line(guarded)
    voice.cluster_name = "paris"
    voice.meet(guarded)


def test_replayed_and_reordered_frames_are_counted_and_do_not_keep_the_peer_alive(
    guarded: ClusterDir, voices: Callable[..., PeerVoice]
) -> None:
    """Genuine frames of a peer that fell silent are sent again, in and out of order: the link goes
    down in its timeout.
    """
    voice = voices(guarded)
    tape = recorded(guarded, voice)
    order = random.Random(1)

    def is_refused() -> bool:
        order.shuffle(tape)
        for data in tape:
            voice.throw(data)
        return "DOWN" in listener_line(guarded) and counts(guarded).get("replayed", 0) >= 10

    guarded.wait(is_refused, "replays are counted and do not keep the link alive")
    wait_count(guarded, "replayed", 10)


def test_recorded_frames_prove_nothing_to_a_restarted_daemon(
    guarded: ClusterDir, voices: Callable[..., PeerVoice]
) -> None:
    """The daemon was killed and has forgotten the numbers: the tape is refused, the living peer is
    believed at once.
    """
    voice = voices(guarded)
    tape = recorded(guarded, voice)
    guarded.kill()
    guarded.ok("ezha start")
    for data in tape:
        voice.throw(data)
    wait_count(guarded, "unproven", 5)
    assert "DOWN" in listener_line(guarded) and guarded.state("registry") == "STARTED"
    voice.meet(guarded)
    assert counts(guarded)["unproven"] <= 7


def test_peer_that_lost_its_counter_is_believed_when_it_acknowledges_this_node(
    guarded: ClusterDir, voices: Callable[..., PeerVoice]
) -> None:
    """Boot counter 8 was seen, 7 comes back, alive and with the key: reported in the log, and
    believed without an operator.
    """
    voice = voices(guarded, counter=8)
    voice.meet(guarded)
    guarded.ok("ezha restart")
    voice.close()
    voices(guarded, counter=7).meet(guarded)
    guarded.wait(
        lambda: "its boot counter is lower than 8, seen before" in guarded.log(), "it is reported"
    )


def test_forged_goodbye_moves_nothing(
    guarded: ClusterDir, voices: Callable[..., PeerVoice]
) -> None:
    """Somebody without the key says goodbye for the peer: it stays live."""
    voice = voices(guarded)
    voice.meet(guarded)
    voice.listen()
    voice.throw(voice.frame(key=WRONG, goodbye=Goodbye.LEFT))
    voice.throw(voice.frame(is_sealed=False, goodbye=Goodbye.LEFT))
    wait_count(guarded, "unauthenticated")
    voice.meet(guarded)
    assert "-> LEFT" not in guarded.log()


def test_frame_of_another_link_is_forged_here(
    guarded: ClusterDir, voices: Callable[..., PeerVoice]
) -> None:
    """A genuine frame, made for another port: it has no worth on this link."""
    from dataclasses import replace

    voice = voices(guarded)
    voice.meet(guarded)
    voice.throw(voice.frame(link=replace(voice.link, port=voice.link.port + 1)))
    wait_count(guarded, "forged")


def test_flood_of_garbage_does_not_stop_the_daemon(
    guarded: ClusterDir, voices: Callable[..., PeerVoice]
) -> None:
    """Twenty thousand datagrams of noise: it answers, its peer is live, and the log has a line for
    each reason only.
    """
    voice = voices(guarded)
    voice.meet(guarded)
    dice = random.Random(2)
    lines = news(guarded)
    genuine = voice.frame()
    for number in range(20_000):
        noise = bytearray(genuine)
        noise[dice.randrange(len(noise))] ^= 1 << dice.randrange(8)
        voice.throw(bytes(noise[: dice.randrange(len(noise))]) if number % 2 else bytes(noise))
    voice.meet(guarded)
    assert guarded.state("registry") == "STARTED"
    assert len(news(guarded)) - len(lines) < 12


@pytest.mark.parametrize(
    ("goodbye", "reason"), [(Goodbye.NONE, "replayed"), (Goodbye.RESTART, "after goodbye")]
)
def test_single_forged_datagram_without_a_key_is_over_in_time(
    cluster_dir: ClusterDir, voices: Callable[..., PeerVoice], goodbye: Goodbye, reason: str
) -> None:
    """The highest number, or a goodbye, in the name of a peer that continues: refused for a
    timeout, then believed again.
    """
    cluster_dir.ok("ezha start")
    voice = voices(cluster_dir)
    voice.meet(cluster_dir)
    # The daemon may have waited for this one for longer than the timeout.
    before = len(cluster_dir.log())
    voice.listen()
    voice.throw(voice.frame(seq=2**64 - 1, goodbye=goodbye))
    voice.talk(cluster_dir, f" {reason}")

    def is_believed() -> bool:
        voice.listen()
        voice.send()
        return "UP" in listener_line(cluster_dir) and f"peer {PEER}: live" in cluster_dir.ok(
            "hb -s -v"
        )

    cluster_dir.wait(is_believed, "the true beats are believed again")
    assert "SILENT" not in cluster_dir.log()[before:]
