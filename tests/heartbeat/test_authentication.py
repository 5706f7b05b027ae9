"""Keys at work between two nodes' codecs: modes, rotation in every order, the file and the note on
disk.
"""

from __future__ import annotations

import itertools
import os
import random
import struct
import zlib
from pathlib import Path

import pytest

from opensvc_openha.core.beat import Beat, BootId
from opensvc_openha.core.incarnations import NOBODY
from opensvc_openha.core.model import LinkSpec
from opensvc_openha.errors import ConfigError, FrameError
from opensvc_openha.formats.frame_seal import TAG_BYTES, Key, link_binding, tag_of
from opensvc_openha.formats.key_file import KeyRing
from opensvc_openha.formats.layout import Layout, tree_layout
from opensvc_openha.formats.options_file import HeartbeatOptions
from opensvc_openha.formats.options_schema import AuthMode
from opensvc_openha.heartbeat.authentication import RETIRE_AFTER_S, Authentication
from opensvc_openha.heartbeat.codec.own import OwnCodec
from opensvc_openha.storage.configuration import read_options
from opensvc_openha.storage.key_store import (
    forget_use,
    is_key_wanted,
    read_incarnations,
    read_keys,
    read_settings,
    write_incarnations,
    write_keys,
)
from tests.decoding import heard

A, B, C = (Key(bytes([number] * 32)) for number in (1, 2, 3))
NAMES = ("deb1", "deb2")


class Station:
    """One node's end: its keys on file, its mode, and a codec each way on one link."""

    def __init__(
        self,
        index: int,
        ring: KeyRing | None = None,
        mode: AuthMode | None = None,
        cluster: str = "",
    ) -> None:
        self.name, self.other = NAMES[index], NAMES[1 - index]
        self.boot = BootId(1, index + 1)
        self.file, self.mode, self.cluster = ring, mode, cluster
        self.incarnations: dict[str, BootId] = {}
        self.seq = 0
        self.now = 0.0
        self.polled_at = 0.0
        self.restart()

    def restart(self) -> None:
        """A daemon that knows no more than its files."""
        self.auth = Authentication(self.name, self.boot, f"ssh {self.other} openha key install -")
        self.read()
        self.sender = OwnCodec(self.link(self.name), tuple, self.auth)
        self.listener = OwnCodec(self.link(self.other), tuple, self.auth, lambda: self.now)

    @staticmethod
    def link(node: str) -> LinkSpec:
        return LinkSpec(node, "net", "eth1", f"239.1.1.{NAMES.index(node)}", 5010, 0, 10)

    def read(self) -> None:
        self.auth.update(HeartbeatOptions(self.mode, self.cluster), self.file, self.incarnations)

    def send(self) -> bytes:
        self.seq += 1
        return self.sender.encode(Beat(self.name, self.boot, self.seq, None, {}), 1, False)

    def hear(self, data: bytes) -> str:
        """The key that a frame came with; as in the daemon, what is heard is noted."""
        decoded = heard(self.listener, data)
        if decoded.key_id:
            self.incarnations[decoded.key_id] = decoded.beat.boot
            self.auth.learn(self.incarnations)
        return decoded.key_id

    def poll(self, seconds: float = 2.0) -> None:
        """What the main thread does every two seconds."""
        self.now += seconds
        if self.now < self.polled_at + 2.0:
            return
        self.polled_at = self.now
        ring = self.auth.advance(self.now)
        if ring is not None:
            self.file = ring
        self.read()


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """An empty cluster directory."""
    made = tree_layout(str(tmp_path))
    os.makedirs(made.conf_dir)
    return made


def exchange(one: Station, two: Station) -> None:
    """A beat each way; both must be understood."""
    two.hear(one.send())
    one.hear(two.send())


@pytest.mark.parametrize("mode", [None, *AuthMode])
def test_two_nodes_with_the_same_key_understand_each_other(mode: AuthMode | None) -> None:
    """In every mode; authentic in all of them but off."""
    one, two = Station(0, KeyRing(A), mode), Station(1, KeyRing(A), mode)
    assert one.hear(two.send()) == ("" if mode is AuthMode.OFF else A.key_id)


ORDERS = list(itertools.permutations(["key 1", "key 2", "enforce 1", "enforce 2"]))


@pytest.mark.parametrize(
    "order",
    [
        order
        for order in ORDERS
        if all(order.index(f"key {n}") < order.index(f"enforce {m}") for n in "12" for m in "12")
    ],
)
def test_first_key_in_any_order_of_nodes_loses_no_beat(order: tuple[str, ...]) -> None:
    """Keys reach a running cluster one node after the other, then both enforce: every beat on the
    way is understood.
    """
    one, two = Station(0), Station(1)
    exchange(one, two)
    for step in order:
        what, number = step.split()
        station = (one, two)[int(number) - 1]
        if what == "key":
            station.file = KeyRing(A)
        else:
            station.mode = AuthMode.ENFORCED
        station.read()
        for _ in range(3):
            exchange(one, two)
    assert one.auth.status().mode == two.auth.status().mode == "enforced"


def test_default_becomes_strict_once_the_peer_has_shown_its_key_and_stays_so() -> None:
    """With a key and no option: beats without it pass until the peer is heard with one, and never
    again, restart or not.
    """
    one, two = Station(0, KeyRing(A)), Station(1)
    assert one.hear(two.send()) == "" and one.auth.status().mode == "permissive"
    two.file = KeyRing(A)
    two.read()
    one.hear(two.send())
    assert one.auth.status().mode == "enforced"
    one.restart()
    two.file = None
    two.read()
    with pytest.raises(FrameError) as caught:
        one.hear(two.send())
    assert caught.value.reason == "unauthenticated"


@pytest.mark.parametrize("seed", range(60))
def test_rotation_in_any_order_with_restarts_loses_no_beat(seed: int) -> None:
    """One node rotates, the other gets the file at some time, polls and daemon restarts fall
    anywhere: all is understood.

    In the end both have the new key alone.
    """
    dice = random.Random(seed)
    nodes = [Station(0, KeyRing(A), AuthMode.ENFORCED), Station(1, KeyRing(A), AuthMode.ENFORCED)]
    first = dice.randrange(2)
    exchange(*nodes)
    nodes[first].file = KeyRing(A, next=B)
    nodes[first].read()
    brought_at = dice.randrange(10)
    restarted_at = [0.0, 0.0]
    for number in range(60):
        if number == brought_at:
            source, target = nodes[first], nodes[1 - first]
            assert source.file is not None and target.file is not None
            target.file = target.file.merged_with(source.file)
            target.read()
        step_s = dice.choice([0.1, 0.5, 1.0])
        for index in dice.sample([0, 1], 2):
            nodes[index].poll(step_s)
            if dice.random() < 0.15 and nodes[index].now > restarted_at[index] + 3:
                restarted_at[index] = nodes[index].polled_at = nodes[index].now
                nodes[index].restart()
        order = nodes if dice.random() < 0.5 else nodes[::-1]
        exchange(*order)
    for _ in range(20):
        exchange(*nodes)
        nodes[0].poll()
        nodes[1].poll()
    assert [node.file for node in nodes] == [KeyRing(B), KeyRing(B)]


def test_rotation_waits_for_the_other_node() -> None:
    """Only one node has the next key: it continues with the current one for ever, and reports what
    is missing.
    """
    one, two = Station(0, KeyRing(A, next=B)), Station(1, KeyRing(A))
    for _ in range(100):
        exchange(one, two)
        one.poll()
        two.poll()
    assert two.hear(one.send()) == A.key_id and one.file == KeyRing(A, next=B)
    assert any(f"does not have the next key {B.key_id}" in text for text in one.auth.warnings())
    assert any(f"has key {B.key_id}, which is not here" in text for text in two.auth.warnings())


def test_former_key_is_refused_after_the_rotation() -> None:
    """That is what a rotation is for: beats under the key that is gone are unknown."""
    one, two = Station(0, KeyRing(A, next=B)), Station(1, KeyRing(A, next=B))
    recorded = Station(1, KeyRing(A)).send()
    for _ in range(20):
        exchange(one, two)
        one.poll(RETIRE_AFTER_S)
        two.poll(RETIRE_AFTER_S)
    with pytest.raises(FrameError) as caught:
        one.hear(recorded)
    assert caught.value.reason == "unknown key"


def test_two_clusters_each_with_a_key_of_their_own_find_together() -> None:
    """Both nodes generated a key by mistake: one installs the other's, and they understand each
    other, whichever it is.
    """
    one, two = Station(0, KeyRing(A), AuthMode.ENFORCED), Station(1, KeyRing(C), AuthMode.ENFORCED)
    with pytest.raises(FrameError):
        two.hear(one.send())
    assert two.file is not None and one.file is not None
    two.file = two.file.merged_with(one.file)
    two.read()
    two.hear(one.send())
    exchange(one, two)


def test_two_new_nodes_that_each_made_a_key_hear_each_other_and_report_what_to_do() -> None:
    """The default of an installation: understood as without a key, the command is named.

    Then one key is brought over.
    """
    one, two = Station(0, KeyRing(A)), Station(1, KeyRing(C))
    exchange(one, two)
    for node, strange in ((one, C), (two, A)):
        reported = " | ".join(node.auth.warnings())
        assert (
            f"the peer sends with key {strange.key_id}, which is not here, and is accepted all the"
            " same" in reported
        )
        assert f"`ssh {node.other} openha key install -`" in reported
    assert one.file is not None and two.file is not None
    two.file = two.file.merged_with(one.file)
    two.read()
    for _ in range(4):
        exchange(one, two)
        one.poll(RETIRE_AFTER_S)
        two.poll(RETIRE_AFTER_S)
    assert (one.file, two.file) == (KeyRing(A), KeyRing(A))
    for node in (one, two):
        assert node.auth.status().mode == "enforced" and node.auth.warnings() == ()


@pytest.mark.parametrize("is_note_lost", [False, True])
def test_stolen_key_that_was_replaced_opens_no_door(layout: Layout, is_note_lost: bool) -> None:
    """The documented replacement: the old file removed, a new one put there.

    The thief is refused from the first beat on.
    """
    write_keys(layout, KeyRing(A))
    write_incarnations(layout, {A.key_id: BootId(7, 1)})
    write_keys(layout, KeyRing(B))
    if is_note_lost:
        os.unlink(layout.peer_lives_file)
    node, thief = Station(0), Station(1, KeyRing(A))
    node.file, node.incarnations = settings(layout)
    node.restart()
    with pytest.raises(FrameError) as caught:
        node.hear(thief.send())
    assert caught.value.reason == "unknown key"
    with pytest.raises(FrameError):
        node.hear(Station(1).send())
    assert node.hear(Station(1, KeyRing(B)).send()) == B.key_id


def test_key_is_a_first_one_again_after_authentication_was_switched_off(layout: Layout) -> None:
    """Somebody went back to no key on purpose: what is known of its use is removed, and a later key
    begins permissive.
    """
    write_keys(layout, KeyRing(A))
    write_incarnations(layout, {A.key_id: BootId(7, 1)})
    assert not is_key_wanted(layout, read_options(layout))
    forget_use(layout)
    forget_use(layout)
    assert read_incarnations(layout, KeyRing(A)) == {}
    os.unlink(layout.key_file)
    assert settings(layout) == (None, {}) and is_key_wanted(layout, read_options(layout))


def test_permissive_lets_wrong_frames_pass_and_reports_it() -> None:
    """No key, an unknown key, a forged tag: used as if nothing authenticated them, each under its
    own name.
    """
    one = Station(0, KeyRing(A), AuthMode.PERMISSIVE)
    for stranger, remark in (
        (Station(1), "unauthenticated"),
        (Station(1, KeyRing(B)), "unknown key"),
    ):
        counted: list[str] = []
        decoded = heard(one.listener, stranger.send(), counted=counted)
        assert (decoded.key_id, counted) == ("", [remark])
    assert any("without the key are accepted" in text for text in one.auth.warnings())


@pytest.mark.parametrize(("key", "reason"), [(None, "unauthenticated"), (B, "unknown key")])
def test_fields_of_a_frame_are_not_decoded_before_its_tag(key: Key | None, reason: str) -> None:
    """An unknown flag, which makes a frame malformed, with a right checksum: refused for its tag.

    With the right key it is refused for the flag.
    """
    one = Station(0, KeyRing(A), AuthMode.ENFORCED)
    for sender, counted in (
        (Station(1, KeyRing(key) if key else None), reason),
        (None, "malformed"),
    ):
        data = bytearray((sender or Station(1, KeyRing(A))).send()[:-4])
        data[6] |= 0x80
        if sender is None:
            tag = tag_of(A, link_binding(one.link("deb2")), bytes(data[:-TAG_BYTES]))
            data[-TAG_BYTES:] = tag
        with pytest.raises(FrameError) as caught:
            heard(one.listener, bytes(data) + struct.pack(">I", zlib.crc32(data)))
        assert caught.value.reason == counted


def test_own_frames_and_those_of_a_namesake_are_distinguished() -> None:
    """What bears our name is ours by its boot identity, or another node's.

    No key is needed to see it.
    """
    for mode in AuthMode:
        one, twin = Station(0, KeyRing(A), mode), Station(0, KeyRing(A), mode)
        twin.boot = BootId(1, 99)
        for station, reason in ((one, "own"), (twin, "namesake")):
            with pytest.raises(FrameError) as caught:
                heard(one.listener, station.send())
            assert caught.value.reason == reason


def test_other_cluster_is_foreign_and_a_missing_name_is_none() -> None:
    """Two names that differ are refused with or without a key.

    Naming one node after the other loses no beat.
    """
    for ring in (None, KeyRing(A)):
        one, two = Station(0, ring, cluster="paris"), Station(1, ring, cluster="lyon")
        with pytest.raises(FrameError) as caught:
            one.hear(two.send())
        assert caught.value.reason == "foreign cluster"
        exchange(one, Station(1, ring))


# --- on disk --------------------------------------------------------------------------------------


def test_key_file_is_written_for_its_owner_alone(layout: Layout) -> None:
    """Mode 0600 from its first byte, whatever the umask; read again as it was."""
    old = os.umask(0)
    try:
        write_keys(layout, KeyRing(A, next=B))
    finally:
        os.umask(old)
    assert os.stat(layout.key_file).st_mode & 0o777 == 0o600
    assert read_keys(layout) == KeyRing(A, next=B)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660, 0o644, 0o601])
def test_more_open_key_file_is_refused_with_the_remedy(layout: Layout, mode: int) -> None:
    """Anybody else may read or write it: not used, and the message names chmod 600."""
    write_keys(layout, KeyRing(A))
    os.chmod(layout.key_file, mode)
    with pytest.raises(ConfigError, match=f"chmod 600 {layout.key_file}"):
        read_keys(layout)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_key_file_of_another_user_is_refused(layout: Layout) -> None:
    """Its owner could replace the key."""
    write_keys(layout, KeyRing(A))
    os.chown(layout.key_file, 65534, -1)
    with pytest.raises(ConfigError, match="chown root"):
        read_keys(layout)


def test_lives_are_remembered_and_damage_is_taken_the_strict_way(layout: Layout) -> None:
    """The note survives; without it nothing is known.

    A damaged or a lost one still reports that the peer has the key.
    """
    incarnations = {A.key_id: BootId(7, 2**63), B.key_id: BootId(1, 1)}
    assert read_incarnations(layout, KeyRing(A)) == {}
    write_incarnations(layout, incarnations)
    assert read_incarnations(layout, KeyRing(A)) == incarnations
    for damage in ("rubbish\n", "", "\xff"):
        Path(layout.peer_lives_file).write_bytes(f"{A.key_id} 7 zz\n{damage}".encode("latin-1"))
        assert read_incarnations(layout, KeyRing(A)) == {A.key_id: NOBODY}
    os.unlink(layout.peer_lives_file)
    assert read_incarnations(layout, KeyRing(A)) == {A.key_id: NOBODY}


def settings(layout: Layout) -> tuple[KeyRing | None, dict[str, BootId]]:
    """Keys and lives, under the options of the layout."""
    return read_settings(layout, read_options(layout))


def test_settings_that_do_not_go_together_are_refused(layout: Layout) -> None:
    """A mode that needs a key without one; a key file that vanished after it was used."""
    for mode in ("enforced", "permissive"):
        Path(layout.options_file).write_text(f"[heartbeat]\nauthentication = {mode}\n")
        with pytest.raises(ConfigError, match="needs a key"):
            settings(layout)
    os.unlink(layout.options_file)
    assert settings(layout) == (None, {})
    write_incarnations(layout, {A.key_id: BootId(7, 1)})
    with pytest.raises(ConfigError, match="the key file is gone"):
        settings(layout)
    Path(layout.options_file).write_text("[heartbeat]\nauthentication = off\n")
    assert settings(layout)[0] is None
