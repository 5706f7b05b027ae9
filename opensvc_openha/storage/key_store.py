"""Hold the key file, readable for root only, and the peer incarnations heard under each key.

The incarnations outlive the daemon, so that an old one is recognized after a restart of either
side. They are no secret.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping

from opensvc_openha.core.beat import BootId
from opensvc_openha.core.incarnations import NOBODY
from opensvc_openha.errors import ConfigError, SystemFault
from opensvc_openha.formats.frame_seal import SECRET_BYTES, Key
from opensvc_openha.formats.key_file import KeyRing, format_keys, parse_keys
from opensvc_openha.formats.layout import Layout
from opensvc_openha.formats.options_file import Options
from opensvc_openha.formats.options_schema import AuthMode
from opensvc_openha.system.atomic_files import make_dir, write_atomically

_FILE_BYTES = 4_096
_MARK = (
    "The other node was heard with a heartbeat key: beats without one of the keys of this node are"
    " refused, also\nafter the key was replaced. authentication = off in openha.conf removes this"
    " file.\n"
)
_LIFE = re.compile(r"([0-9a-f]{8}) ([0-9]{1,10}) ([0-9a-f]{1,16})\Z")


def new_key() -> Key:
    """Return a new random key."""
    return Key(os.urandom(SECRET_BYTES))


def read_keys(layout: Layout) -> KeyRing | None:
    """Return the keys of this node; None without a key file.

    Raises ConfigError if others could read or replace it.
    """
    path = layout.key_file
    try:
        # Without O_NONBLOCK, opening a named pipe would block forever.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SystemFault(f"cannot read {path}: {error.strerror}") from error
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise ConfigError("not a key file: it is no regular file", path)
        mode = stat.S_IMODE(found.st_mode)
        if mode & 0o077:
            raise ConfigError(f"mode {mode:04o} lets others at the key: chmod 600 {path}", path)
        if found.st_uid not in (0, os.geteuid()):
            raise ConfigError(
                f"belongs to user {found.st_uid}, who could replace the key: chown root {path}",
                path,
            )
        data = os.read(handle, _FILE_BYTES)
    except OSError as error:
        raise SystemFault(f"cannot read {path}: {error.strerror}") from error
    finally:
        os.close(handle)
    return parse_key_data(data, path)


def parse_key_data(data: bytes, path: str) -> KeyRing:
    """Parse the keys in the bytes of a file."""
    try:
        return parse_keys(data.decode("ascii"), path)
    except UnicodeDecodeError:
        raise ConfigError("not a key file: it is not plain text", path) from None


def write_keys(layout: Layout, ring: KeyRing) -> None:
    """Replace the key file atomically, never readable for others. Raises SystemFault."""
    try:
        write_atomically(
            os.path.realpath(layout.key_file), format_keys(ring).encode("ascii"), 0o600
        )
    except OSError as error:
        raise SystemFault(f"cannot write {layout.key_file}: {error.strerror}") from error


def read_incarnations(layout: Layout, ring: KeyRing | None) -> dict[str, BootId]:
    """Return the newest incarnation of the peer under each key.

    A damaged or lost note has lost the counters: then the peer is assumed to have our keys, which
    is the strict way.
    """
    unknown = dict.fromkeys([key.key_id for key in ring.keys] if ring else [], NOBODY)
    try:
        with open(layout.peer_lives_file, encoding="ascii") as file:
            lines = file.read(_FILE_BYTES).splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return unknown if os.path.exists(layout.key_mark_file) else {}
    except OSError as error:
        raise SystemFault(f"cannot read {layout.peer_lives_file}: {error.strerror}") from error
    except UnicodeDecodeError:
        lines = [""]
    incarnations = {}
    for line in lines:
        match = _LIFE.match(line)
        if match is None:
            return unknown
        incarnations[match.group(1)] = BootId(int(match.group(2)), int(match.group(3), 16))
    return incarnations


def write_incarnations(layout: Layout, incarnations: Mapping[str, BootId]) -> None:
    """Replace the note and mark the key as used by the peer; on disk on return.

    Raises SystemFault.
    """
    text = "".join(
        f"{key_id} {boot.counter} {boot.nonce:x}\n" for key_id, boot in sorted(incarnations.items())
    )
    try:
        make_dir(layout.proc_dir)
        write_atomically(layout.peer_lives_file, text.encode("ascii"))
    except OSError as error:
        raise SystemFault(f"cannot write {layout.peer_lives_file}: {error.strerror}") from error
    if incarnations and not os.path.exists(layout.key_mark_file):
        try:
            write_atomically(layout.key_mark_file, _MARK.encode("ascii"), 0o600)
        except OSError as error:
            raise SystemFault(f"cannot write {layout.key_mark_file}: {error.strerror}") from error


def forget_use(layout: Layout) -> None:
    """Clear the mark that the peer uses a key, since authentication = off was configured.

    A key used later is treated as a first one. Raises SystemFault.
    """
    for path in (layout.key_mark_file, layout.peer_lives_file):
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise SystemFault(f"cannot remove {path}: {error.strerror}") from error


def is_key_wanted(layout: Layout, options: Options) -> bool:
    """Return True if a node without a key should get one.

    No option forbids it, and no key has existed before.
    """
    heartbeat = options.heartbeat
    had_one = any(
        os.path.lexists(path)
        for path in (layout.key_file, layout.key_mark_file, layout.peer_lives_file)
    )
    return not had_one and heartbeat.authentication is not AuthMode.OFF and not heartbeat.has_legacy


def is_peer_link_on(layout: Layout, options: Options) -> bool:
    """Return True if requests between the nodes go over the peer link: it needs a key."""
    is_enabled = options.peer_link.is_enabled
    if is_enabled is None:
        is_enabled = options.heartbeat.authentication is not AuthMode.OFF
    return is_enabled and os.path.exists(layout.key_file)


def copy_command(layout: Layout, peer: str) -> str:
    """Return the command with which an operator gives the peer the key of this node."""
    return f"ssh {peer} {layout.bin_dir}/openha key install - < {layout.key_file}"


def read_settings(layout: Layout, options: Options) -> tuple[KeyRing | None, dict[str, BootId]]:
    """Return keys, and the peer incarnations heard under them.

    Raises ConfigError if these and the options contradict each other.
    """
    mode, ring = options.heartbeat.authentication, read_keys(layout)
    incarnations = read_incarnations(layout, ring)
    if ring is None and mode in (AuthMode.ENFORCED, AuthMode.PERMISSIVE):
        raise options.error(
            f"authentication = {mode.value} needs a key: `openha key generate` makes one,"
            " `openha key install` takes the peer's",
            "heartbeat",
            "authentication",
        )
    if ring is None and options.peer_link.is_enabled:
        raise options.error(
            "[peer_link] enabled = yes needs a key, which both ends prove: `openha key generate`"
            " makes one, `openha key install` takes the peer's",
            "peer_link",
            "enabled",
        )
    is_open = ring is None or mode is AuthMode.OFF
    lease = options.fence_plan.lease
    if lease is not None and is_open:
        raise lease.error(
            "needs authenticated heartbeats: anybody could keep a dead node alive, or promise in"
            " its name. Write authentication = enforced in [heartbeat]; `openha key generate` makes"
            " a key, `openha key install` takes the peer's"
        )
    given_up = options.policy.given_up
    if given_up and is_open:
        raise options.frozen_storage_error(
            "needs authenticated heartbeats: anybody could report in the peer's name that it reads"
            " the disks. Write authentication = enforced in [heartbeat]; `openha key generate`"
            " makes a key, `openha key install` takes the peer's",
            given_up[0],
        )
    if ring is None and mode is None and (incarnations or os.path.exists(layout.key_mark_file)):
        raise ConfigError(
            "the key file is gone, although the peer was heard with a key: bring it back, or write"
            f" authentication = off in {layout.options_file}",
            layout.key_file,
        )
    if options.heartbeat.has_legacy and ring is not None and mode in (None, AuthMode.ENFORCED):
        raise options.error(
            "wire = legacy carries no proof of who sent it, and there is a key: write"
            " authentication = permissive for as long as a link speaks it",
            "heartbeat",
            "wire" if mode is None else "authentication",
        )
    return ring, incarnations
