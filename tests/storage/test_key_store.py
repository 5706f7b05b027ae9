"""The key file and the incarnations of the peer heard under each key: what is believed."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from opensvc_openha.core.beat import BootId
from opensvc_openha.core.incarnations import NOBODY
from opensvc_openha.core.model import Wire
from opensvc_openha.errors import ConfigError, SystemFault
from opensvc_openha.formats.frame_seal import Key
from opensvc_openha.formats.key_file import KeyRing, format_keys
from opensvc_openha.formats.layout import Layout, tree_layout
from opensvc_openha.formats.options_file import HeartbeatOptions, Options, parse_options
from opensvc_openha.formats.options_schema import AuthMode
from opensvc_openha.storage.key_store import (
    copy_command,
    forget_use,
    is_key_wanted,
    is_peer_link_on,
    new_key,
    parse_key_data,
    read_incarnations,
    read_keys,
    read_settings,
    write_incarnations,
    write_keys,
)

KEY, OTHER = Key(bytes(range(32))), Key(bytes([7] * 32))
RING = KeyRing(KEY)
KNOWN = {KEY.key_id: BootId(12, 0xABC), OTHER.key_id: BootId(4_294_967_295, 2**64 - 1)}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """An empty place for a node's files."""
    made = tree_layout(str(tmp_path))
    Path(made.key_file).parent.mkdir(parents=True)
    return made


def test_keys_are_read_back_and_for_root_alone(layout: Layout) -> None:
    """None where there is no file; a link is followed and stays one."""
    assert read_keys(layout) is None
    elsewhere = Path(layout.key_file).with_name("elsewhere")
    os.symlink(elsewhere, layout.key_file)
    write_keys(layout, RING)
    assert read_keys(layout) == RING
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o600 and os.path.islink(layout.key_file)
    assert new_key() != new_key() and len(new_key().secret) == 32


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601])
def test_key_that_others_can_reach_is_refused(layout: Layout, mode: int) -> None:
    """For any of group and others, with the command that helps."""
    write_keys(layout, RING)
    os.chmod(layout.key_file, mode)
    text = f"mode {mode:04o} lets others at the key: chmod 600 {layout.key_file}"
    with pytest.raises(ConfigError, match=text):
        read_keys(layout)
    os.chmod(layout.key_file, 0o400)
    assert read_keys(layout) == RING


@pytest.mark.root
def test_key_of_another_user_is_refused(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who could replace it; root's is taken by any daemon, and one's own."""
    if os.geteuid() != 0:
        pytest.skip("gives a file to another user")
    write_keys(layout, RING)
    monkeypatch.setattr(os, "geteuid", lambda: 12)
    assert read_keys(layout) == RING
    os.chown(layout.key_file, 12, 12)
    assert read_keys(layout) == RING
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(ConfigError, match="belongs to user 12, who could replace the key: chown"):
        read_keys(layout)


def test_what_is_no_file_of_keys_is_refused_and_leaves_no_handle(layout: Layout) -> None:
    """A pipe without a writer, a directory, a link to itself, no text, more than keys."""
    path, before = Path(layout.key_file), len(os.listdir("/proc/self/fd"))
    os.mkfifo(path, 0o600)
    with pytest.raises(ConfigError, match="not a key file: it is no regular file"):
        read_keys(layout)
    path.unlink()
    path.mkdir(0o700)
    with pytest.raises(ConfigError, match="it is no regular file"):
        read_keys(layout)
    path.rmdir()
    path.symlink_to(path)
    with pytest.raises(SystemFault, match=f"cannot read {path}: Too many levels"):
        read_keys(layout)
    path.unlink()
    path.touch(0o600)
    path.write_bytes(b"\xff" * 64)
    with pytest.raises(ConfigError, match="not a key file: it is not plain text"):
        read_keys(layout)
    path.write_bytes(b"# " + b"x" * 5_000 + b"\n" + format_keys(RING).encode("ascii"))
    with pytest.raises(ConfigError):
        read_keys(layout)
    assert len(os.listdir("/proc/self/fd")) == before
    assert parse_key_data(format_keys(RING).encode("ascii"), "x") == RING


def test_key_file_that_fails_while_it_is_read_is_a_fault_of_the_system(
    layout: Layout, mocker: MockerFixture
) -> None:
    """A disk that gives errors."""
    write_keys(layout, RING)
    mocker.patch.object(os, "read", side_effect=OSError(5, os.strerror(5)))
    with pytest.raises(SystemFault, match=f"cannot read {layout.key_file}: Input/output error"):
        read_keys(layout)


def test_places_that_cannot_be_written_are_named(layout: Layout) -> None:
    """Keys, lives, the mark of use, and what is to be removed."""
    for path, call in (
        (layout.key_file, lambda: write_keys(layout, RING)),
        (layout.peer_lives_file, lambda: write_incarnations(layout, KNOWN)),
    ):
        Path(path).mkdir(parents=True)
        with pytest.raises(SystemFault, match=f"cannot write {path}: Is a directory"):
            call()
        Path(path).rmdir()
    conf = Path(layout.key_mark_file).parent
    conf.rename(f"{conf}.away")
    with pytest.raises(SystemFault, match=f"cannot write {layout.key_mark_file}: No such file"):
        write_incarnations(layout, KNOWN)
    Path(f"{conf}.away").rename(conf)
    Path(layout.key_mark_file).mkdir()
    with pytest.raises(SystemFault, match=f"cannot remove {layout.key_mark_file}: Is a directory"):
        forget_use(layout)


def test_lives_are_read_back_until_the_use_of_keys_is_forgotten(layout: Layout) -> None:
    """The mark reports what it is, for root alone, and is written once, with the first life."""
    assert read_incarnations(layout, RING) == {}
    write_incarnations(layout, {})
    assert read_incarnations(layout, RING) == {} and not os.path.exists(layout.key_mark_file)
    write_incarnations(layout, KNOWN)
    assert read_incarnations(layout, RING) == KNOWN
    mark = Path(layout.key_mark_file)
    assert "authentication = off" in mark.read_text() and stat.S_IMODE(mark.stat().st_mode) == 0o600
    mark.write_text("kept")
    write_incarnations(layout, KNOWN)
    assert mark.read_text() == "kept"
    forget_use(layout)
    assert read_incarnations(layout, RING) == {} and not mark.exists()
    forget_use(layout)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        b"\xff",
        b"0123456 1 1\n",
        b"012345678 1 1\n",
        b"01234567 12345678901 1\n",
        b"01234567 1 12345678901234567\n",
        b"01234567 1 g\n",
        b"01234567 1 1 \n",
        b"01234567 1 1\n\n01234567 1 1\n",
    ],
)
def test_damaged_lives_are_those_of_a_peer_with_our_keys(layout: Layout, content: bytes) -> None:
    """The strict way: its counters are lost, that it has keys is not. An empty note has none."""
    write_incarnations(layout, KNOWN)
    Path(layout.peer_lives_file).write_bytes(content)
    ring = KeyRing(KEY, OTHER)
    unknown = {KEY.key_id: NOBODY, OTHER.key_id: NOBODY}
    assert read_incarnations(layout, ring) == (unknown if content else {})
    assert read_incarnations(layout, None) == {}


def test_lost_lives_are_known_by_the_mark(layout: Layout) -> None:
    """Its file was removed, or its directory; one that cannot be read is an error."""
    write_incarnations(layout, KNOWN)
    os.unlink(layout.peer_lives_file)
    assert read_incarnations(layout, RING) == {KEY.key_id: NOBODY}
    os.rmdir(layout.proc_dir)
    Path(layout.proc_dir).write_text("")
    assert read_incarnations(layout, RING) == {KEY.key_id: NOBODY}
    os.unlink(layout.proc_dir)
    Path(layout.peer_lives_file).mkdir(parents=True)
    with pytest.raises(SystemFault, match=f"cannot read {layout.peer_lives_file}: Is a directory"):
        read_incarnations(layout, RING)


def options(mode: AuthMode | None = None, has_legacy: bool = False) -> Options:
    """What openha.conf states of authentication."""
    wire = Wire.LEGACY if has_legacy else Wire.OWN
    return replace(Options(), heartbeat=HeartbeatOptions(authentication=mode, wire=wire))


def test_key_is_wanted_where_none_ever_was_and_no_option_forbids_it(layout: Layout) -> None:
    """A key, a mark or a note of lives: one was there before."""
    assert is_key_wanted(layout, options()) and is_key_wanted(layout, options(AuthMode.ENFORCED))
    assert not is_key_wanted(layout, options(AuthMode.OFF))
    assert not is_key_wanted(layout, options(has_legacy=True))
    Path(layout.proc_dir).mkdir(parents=True)
    for path in (layout.key_file, layout.key_mark_file, layout.peer_lives_file):
        os.symlink("nowhere", path)
        assert not is_key_wanted(layout, options())
        os.unlink(path)
    assert is_key_wanted(layout, options())


def test_settings_are_keys_and_lives(layout: Layout) -> None:
    """Without a key nothing; with one what was heard under it, whatever the mode."""
    assert read_settings(layout, options()) == (None, {})
    write_keys(layout, RING)
    write_incarnations(layout, KNOWN)
    for mode in (None, *AuthMode):
        assert read_settings(layout, options(mode)) == (RING, KNOWN)


@pytest.mark.parametrize("mode", [AuthMode.ENFORCED, AuthMode.PERMISSIVE])
def test_mode_that_needs_a_key_is_refused_without_one(layout: Layout, mode: AuthMode) -> None:
    """With the commands that make one; `off` needs none."""
    with pytest.raises(ConfigError, match=f"authentication = {mode.value} needs a key"):
        read_settings(layout, options(mode))
    assert read_settings(layout, options(AuthMode.OFF)) == (None, {})


def test_key_that_is_gone_is_missed(layout: Layout) -> None:
    """The lives report that there was one, or the mark alone; not where authentication is off."""
    write_incarnations(layout, KNOWN)
    for _ in range(2):
        with pytest.raises(ConfigError, match="the key file is gone"):
            read_settings(layout, options())
        assert read_settings(layout, options(AuthMode.OFF))[0] is None
        if os.path.exists(layout.peer_lives_file):
            os.unlink(layout.peer_lives_file)
    write_incarnations(layout, KNOWN)
    os.unlink(layout.key_mark_file)
    with pytest.raises(ConfigError, match="the key file is gone"):
        read_settings(layout, options())


@pytest.mark.parametrize(
    ("mode", "is_refused"),
    [
        (None, True),
        (AuthMode.ENFORCED, True),
        (AuthMode.PERMISSIVE, False),
        (AuthMode.OFF, False),
    ],
)
def test_link_to_an_original_and_a_key_need_the_permissive_mode(
    layout: Layout, mode: AuthMode | None, is_refused: bool
) -> None:
    """The original proves nothing; without a key that is no contradiction."""
    write_keys(layout, RING)
    if is_refused:
        with pytest.raises(ConfigError, match="wire = legacy carries no proof of who sent it"):
            read_settings(layout, options(mode, True))
    else:
        assert read_settings(layout, options(mode, True)) == (RING, {})
    os.unlink(layout.key_file)
    if mode in (None, AuthMode.OFF):
        assert read_settings(layout, options(mode, True)) == (None, {})


@pytest.mark.parametrize(("words", "line"), [("", 2), ("authentication = enforced\n", 3)])
def test_option_that_contradicts_the_key_is_named(layout: Layout, words: str, line: int) -> None:
    """Its line: that of the wire, or of the mode where one is written."""
    write_keys(layout, RING)
    found = parse_options(f"[heartbeat]\nwire = legacy\n{words}", "openha.conf")
    with pytest.raises(ConfigError) as caught:
        read_settings(layout, found)
    assert caught.value.line == line


@pytest.mark.parametrize(
    ("words", "text", "line"),
    [
        ("[peer_link]\nenabled = yes\n", "enabled = yes needs a key", 2),
        ("[fencing]\n[[lease]]\n", "needs authenticated heartbeats", 2),
        ("[policy]\n[[web]]\nfrozen_storage = give_up\n", "needs authenticated heartbeats", 3),
        ("[policy]\nfrozen_storage = give_up\n", "needs authenticated heartbeats", 2),
    ],
)
def test_option_that_needs_a_key_is_refused_without_one(
    layout: Layout, words: str, text: str, line: int
) -> None:
    """With its line; and what needs beats that prove who sent them also where that is off."""
    off = "[heartbeat]\nauthentication = off\n"
    needs_proof = "authenticated" in text
    with pytest.raises(ConfigError, match=text) as caught:
        read_settings(layout, parse_options(words, "openha.conf"))
    assert caught.value.line == line
    write_keys(layout, RING)
    assert read_settings(layout, parse_options(words, "openha.conf")) == (RING, {})
    if needs_proof:
        with pytest.raises(ConfigError, match=text):
            read_settings(layout, parse_options(words + off, "openha.conf"))
    else:
        assert read_settings(layout, parse_options(words + off, "openha.conf"))[0] == RING


def test_first_service_that_needs_a_key_is_named(layout: Layout) -> None:
    """Where two do."""
    words = "[policy]\nfrozen_storage = give_up\n[[web]]\nfrozen_storage = give_up\n"
    with pytest.raises(ConfigError) as caught:
        read_settings(layout, parse_options(words, "openha.conf"))
    assert caught.value.line == 4


@pytest.mark.parametrize("has_key", [False, True])
@pytest.mark.parametrize(
    ("words", "is_on"),
    [
        ("", True),
        ("[heartbeat]\nauthentication = off\n", False),
        ("[peer_link]\nenabled = no\n", False),
        ("[peer_link]\nenabled = yes\n[heartbeat]\nauthentication = off\n", True),
        ("[heartbeat]\nauthentication = permissive\n", True),
    ],
)
def test_peer_link_is_on_where_there_is_a_key(
    layout: Layout, has_key: bool, words: str, is_on: bool
) -> None:
    """Unless an option sets another; without a key nothing can be proved."""
    if has_key:
        write_keys(layout, RING)
    assert is_peer_link_on(layout, parse_options(words, "openha.conf")) is (is_on and has_key)


def test_key_is_copied_by_a_command_of_the_peer(layout: Layout) -> None:
    """As an operator types it."""
    assert copy_command(layout, "deb2") == (
        f"ssh deb2 {layout.bin_dir}/openha key install - < {layout.key_file}"
    )
