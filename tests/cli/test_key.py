"""`openha key` and its daemon: from no key to a rotated one, without a lost beat.

And what is refused on the way.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from collections.abc import Iterator

import pytest

from opensvc_openha.formats.frame_seal import Key
from opensvc_openha.formats.key_file import KeyRing, format_keys, parse_keys
from tests.cluster_dir import HERE, PEER, ClusterDir
from tests.peer_voice import PeerVoice

STRANGE = Key(bytes([9] * 32))


def ring_of(cluster: ClusterDir) -> KeyRing:
    return parse_keys(cluster.path("conf/openha.key").read_text(), "key")


@pytest.fixture
def voice(cluster_dir: ClusterDir) -> Iterator[PeerVoice]:
    """The peer, without a key so far."""
    made = PeerVoice(cluster_dir)
    yield made
    made.close()


def authentication(cluster: ClusterDir) -> dict[str, object]:
    found: dict[str, object] = json.loads(cluster.ok("hb -s --json"))["authentication"]
    return found


def test_generate_makes_a_secret_and_refuses_to_replace_it(cluster_dir: ClusterDir) -> None:
    """Mode 0600, its path and what to do next are reported, the secret is not.

    A second time it is refused.
    """
    message = cluster_dir.ok("openha key generate")
    path, ring = cluster_dir.path("conf/openha.key"), ring_of(cluster_dir)
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert (
        str(path) in message and ring.current.key_id in message and "openha key install" in message
    )
    assert ring.current.secret.hex() not in message + cluster_dir.ok("openha key status")
    assert "openha key rotate" in cluster_dir.fails("openha key generate", 5)
    assert ring_of(cluster_dir) == ring


def test_install_takes_a_file_or_standard_input(cluster_dir: ClusterDir) -> None:
    """The peer's file from a path, the same from a pipe (nothing new), rubbish from neither."""
    source = cluster_dir.path("peer.key")
    source.write_text(format_keys(KeyRing(STRANGE)))
    assert STRANGE.key_id in cluster_dir.ok(f"openha key install {source}")
    assert ring_of(cluster_dir) == KeyRing(STRANGE)
    openha = str(cluster_dir.path("bin/openha"))
    done = subprocess.run(
        [openha, "key", "install", "-"],
        input=source.read_bytes(),
        capture_output=True,
        env=cluster_dir.env,
    )
    assert (done.returncode, done.stdout[:11], done.stderr) == (0, b"nothing new", b"")
    done = subprocess.run(
        [openha, "key", "install", "-"],
        input=b"\x7fELF\0",
        capture_output=True,
        env=cluster_dir.env,
    )
    assert done.returncode == 3 and b"standard input: not a key file" in done.stderr
    assert "cannot read" in cluster_dir.fails("openha key install /nowhere", 7)


@pytest.mark.parametrize("words", ["", "rotate now", "install", "delete", "generate me"])
def test_wrong_words_are_a_usage_error(cluster_dir: ClusterDir, words: str) -> None:
    """One line that names the help, exit code 2."""
    assert "--help" in cluster_dir.fails(f"openha key {words}", 2)


def test_rotate_needs_a_key_and_one_rotation_at_a_time(cluster_dir: ClusterDir) -> None:
    """Without a key, and while a next one waits: refused, and the reason reports what to do."""
    assert "openha key generate" in cluster_dir.fails("openha key rotate", 5)
    cluster_dir.ok("openha key generate")
    cluster_dir.ok("openha key rotate")
    ring = ring_of(cluster_dir)
    assert ring.next is not None and ring.next.key_id in cluster_dir.fails("openha key rotate", 5)


def test_open_key_file_stops_the_start_and_is_not_taken_over_by_a_running_daemon(
    cluster_dir: ClusterDir,
) -> None:
    """Mode 0644: `ezha start` and `key status` name chmod 600.

    A running daemon continues as before and reports it.
    """
    cluster_dir.ok("openha key generate")
    path = cluster_dir.path("conf/openha.key")
    path.chmod(0o644)
    for command in ("ezha start", "openha key status", "openha key rotate"):
        assert f"chmod 600 {path}" in cluster_dir.fails(command, 3)
    path.chmod(0o600)
    cluster_dir.ok("ezha start")
    path.chmod(0o640)
    cluster_dir.wait(
        lambda: f"chmod 600 {path}" in cluster_dir.ok("hb -s -v"), "the open file is reported"
    )
    assert authentication(cluster_dir)["sends"] == ring_of(cluster_dir).current.key_id
    path.chmod(0o600)
    cluster_dir.wait(
        lambda: "chmod" not in cluster_dir.ok("hb -s -v"), "the closed file is taken over"
    )


def test_without_a_key_the_start_reports_that_nothing_is_authenticated(
    cluster_dir: ClusterDir,
) -> None:
    """As in the tutorial, and reported: in the log, in `hb -s -v`, in JSON and by `key status`."""
    cluster_dir.ok("ezha start")
    assert "heartbeats are not authenticated" in cluster_dir.log()
    assert "authentication: off" in cluster_dir.ok("hb -s -v")
    assert authentication(cluster_dir)["mode"] == "off"
    assert "none" in cluster_dir.ok("openha key status")


def test_enforced_without_a_key_does_not_start(cluster_dir: ClusterDir) -> None:
    """A safeguard that cannot work is an error."""
    cluster_dir.path("conf/openha.conf").write_text("[heartbeat]\nauthentication = enforced\n")
    assert "openha key generate" in cluster_dir.fails("ezha start", 3)


def test_running_cluster_gets_its_key_and_rotates_it_without_a_lost_beat(
    cluster_dir: ClusterDir, voice: PeerVoice
) -> None:
    """A live peer all along: no key, the key here, then there, next key here, then there, the old
    one gone. Never down.
    """
    cluster_dir.ok("ezha start")
    voice.meet(cluster_dir)

    with voice.speaking():
        cluster_dir.ok("openha key generate")
    first = ring_of(cluster_dir).current
    voice.talk(cluster_dir, "authentication: permissive")
    cluster_dir.wait(
        lambda: (voice.listen(), voice.send(), voice.heard_key)[2] == first.key_id,
        "this node uses the key",
    )
    assert "until the peer is heard with a key of ours" in cluster_dir.ok("hb -s -v")

    voice.key = first
    voice.talk(
        cluster_dir,
        f"authentication: enforced, this node sends with key {first.key_id}, the peer with"
        f" {first.key_id}",
    )

    with voice.speaking():
        cluster_dir.ok("openha key rotate")
    second = ring_of(cluster_dir).next
    assert second is not None
    for _ in range(30):
        voice.listen()
        voice.send()
    assert voice.heard_key == first.key_id, "the peer has not shown the next key"
    assert f"does not have the next key {second.key_id}" in cluster_dir.ok("hb -s -v")

    voice.key = second
    voice.talk(
        cluster_dir, f"this node sends with key {second.key_id}, the peer with {second.key_id}"
    )
    cluster_dir.wait(
        lambda: (voice.listen(), voice.send(), ring_of(cluster_dir))[2] == KeyRing(second),
        "the first key is gone",
    )
    with voice.speaking():
        assert f"current {second.key_id}" in cluster_dir.ok("openha key status")
    assert oct(cluster_dir.path("conf/openha.key").stat().st_mode & 0o777) == "0o600"
    log = cluster_dir.log()
    link = "link unicast lo:127.0.0.1: DOWN"
    assert link not in log and "LIVE -> " not in log, log
    assert f"key rotation: key {second.key_id} in use, former key dropped" in log

    voice.key = first
    voice.listen()
    voice.send()
    cluster_dir.wait(
        lambda: "unknown key" in cluster_dir.ok("hb -s -v"), "the former key is refused"
    )


@pytest.mark.parametrize("kind", ["directory", "pipe", "device", "loop"])
def test_key_file_that_is_no_file_is_reported_and_the_daemon_continues(
    cluster_dir: ClusterDir, kind: str
) -> None:
    """A directory, a pipe, /dev/zero, a link to itself in its place: each command reports it at
    once; beats keep the old key.
    """
    cluster_dir.ok("openha key generate")
    cluster_dir.ok("ezha start")
    pid, path = cluster_dir.pid(), cluster_dir.path("conf/openha.key")
    sends = ring_of(cluster_dir).current.key_id
    good = path.rename(path.with_suffix(".kept"))
    {
        "directory": path.mkdir,
        "pipe": lambda: os.mkfifo(path, 0o600),
        "device": lambda: path.symlink_to("/dev/zero"),
        "loop": lambda: path.symlink_to(path),
    }[kind]()
    for command in ("openha key status", "openha key rotate"):
        assert str(path) in cluster_dir.fails(command, 7 if kind == "loop" else 3)

    def warnings_about_file() -> list[str]:
        lines = cluster_dir.ok("hb -s -v").splitlines()
        # The hint how to copy the key to the peer names the file too.
        return [line for line in lines if str(path) in line and "key install" not in line]

    cluster_dir.wait(lambda: bool(warnings_about_file()), "the warning about the file")
    assert (cluster_dir.pid(), authentication(cluster_dir)["sends"]) == (pid, sends)
    (path.rmdir if kind == "directory" else path.unlink)()
    good.rename(path)
    cluster_dir.wait(lambda: not warnings_about_file(), "the file is back")
    assert cluster_dir.pid() == pid


def test_editor_that_hangs_blocks_no_command_without_a_limit(cluster_dir: ClusterDir) -> None:
    """A stopped command holds the lock of the configuration: the next one gives up with the reason,
    and nothing is written.
    """
    cluster_dir.ok("openha key generate")
    before = cluster_dir.path("conf/openha.key").read_bytes()
    lock = cluster_dir.path("services/.proc/edit.lock")
    with open(lock, "a", encoding="ascii") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "another command edits the configuration" in cluster_dir.fails(
            "openha key rotate", 7
        )
    assert cluster_dir.path("conf/openha.key").read_bytes() == before
    cluster_dir.ok("openha key rotate")


def test_key_file_that_vanishes_does_not_open_the_door(
    cluster_dir: ClusterDir, voice: PeerVoice
) -> None:
    """A key was in use and its file is gone: beats stay authenticated, it is reported, and a
    restart is refused.
    """
    cluster_dir.ok("openha key generate")
    cluster_dir.ok("ezha start")
    voice.key = ring_of(cluster_dir).current
    voice.meet(cluster_dir)
    cluster_dir.path("conf/openha.key").unlink()
    voice.talk(cluster_dir, "the key file is gone")
    assert authentication(cluster_dir)["mode"] == "enforced"
    cluster_dir.ok("ezha kill")
    assert "authentication = off" in cluster_dir.fails("ezha start", 3)


def test_forget_peer_without_a_daemon_resets_the_note(cluster_dir: ClusterDir) -> None:
    """The counter is forgotten, that the peer has the key is not."""
    cluster_dir.ok("openha key generate")
    key_id = ring_of(cluster_dir).current.key_id
    note = cluster_dir.path("services/.proc/peer-lives")
    note.write_text(f"{key_id} 57 abc\n")
    assert "boot counter 57" in cluster_dir.ok("openha key status")
    cluster_dir.ok("openha key forget-peer")
    assert note.read_text() == f"{key_id} 0 0\n"


def test_disk_link_on_someone_elses_data_is_refused_and_forced_once(
    cluster_dir: ClusterDir,
) -> None:
    """`hb -a` on a used device: refused, nothing changed.

    With --force it is added; `hb --force` alone takes a slot.
    """
    disk = cluster_dir.path("data")
    disk.write_bytes(b"precious " * 3000)
    add = f"hb -a -n {HERE} -t dio -i {disk} -d 0 -T 10"
    assert "--force" in cluster_dir.fails(add, 5)
    assert disk.read_bytes() == b"precious " * 3000
    assert str(disk) not in cluster_dir.path("conf/monitor").read_text()
    cluster_dir.ok(f"{add} --force")
    assert str(disk) in cluster_dir.path("conf/monitor").read_text()
    with cluster_dir.path("conf/monitor").open("a") as monitor:
        monitor.write(f"{HERE} dio {disk} 20 10\n")
    cluster_dir.ok("ezha start")
    slot = f"-n {HERE} -t dio -i {disk} -d 20"
    cluster_dir.wait(
        lambda: f"hb --force {slot}" in cluster_dir.ok("hb -s -v"),
        "the daemon refuses the second slot",
    )
    assert cluster_dir.ok("hb -s").count(f"dio sender {disk}:0 pid") == 1
    cluster_dir.ok(f"hb --force {slot}")
    cluster_dir.wait(
        lambda: f"dio sender {disk}:20 pid" in cluster_dir.ok("hb -s"), "the second slot is used"
    )


def test_peer_gets_a_word_about_its_missing_key(cluster_dir: ClusterDir, voice: PeerVoice) -> None:
    """The peer sends under a key that is not here, this node is permissive: live, counted, and the
    remedy is reported.
    """
    cluster_dir.ok("openha key generate")
    cluster_dir.ok("ezha start")
    voice.key = STRANGE
    voice.talk(cluster_dir, f"peer {PEER}: live")
    shown = cluster_dir.ok("hb -s -v")
    assert "unknown key" in shown
    assert f"the peer sends with key {STRANGE.key_id}, which is not here" in shown
    assert (
        f"ssh {PEER} {cluster_dir.path('bin/openha')} key install - <"
        f" {cluster_dir.path('conf/openha.key')}" in shown
    )
    cluster_dir.path("peer.key").write_text(format_keys(KeyRing(STRANGE)))
    cluster_dir.ok(f"openha key install {cluster_dir.path('peer.key')}")
    voice.talk(
        cluster_dir, f"this node sends with key {STRANGE.key_id}, the peer with {STRANGE.key_id}"
    )


def test_refused_beats_are_the_reason_of_the_link_and_a_warning(
    cluster_dir: ClusterDir, voice: PeerVoice
) -> None:
    """Enforced, and the peer has another key: the link is down, its reason reports what comes in,
    and the remedy is reported.
    """
    cluster_dir.ok("openha key generate")
    cluster_dir.path("conf/openha.conf").write_text("[heartbeat]\nauthentication = enforced\n")
    cluster_dir.ok("ezha start")
    voice.key = STRANGE
    voice.talk(cluster_dir, "never heard; refused: unknown key")
    shown = cluster_dir.ok("hb -s -v")
    assert f"the peer sends with key {STRANGE.key_id}, which is not here, and is refused" in shown
    voice.key = None
    voice.talk(cluster_dir, "frames in the peer's name come without a key, and are refused")
