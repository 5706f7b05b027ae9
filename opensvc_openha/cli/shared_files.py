"""Read, check and replace the files that are the same on both nodes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Collection, Mapping

from opensvc_openha.control import client
from opensvc_openha.errors import (
    ConfigError,
    NotAnsweringError,
    OpenhaError,
    RefusedError,
    SystemFault,
)
from opensvc_openha.formats.layout import Layout
from opensvc_openha.peer_link.protocol import NO_FILE, SharedFile
from opensvc_openha.storage import configuration
from opensvc_openha.storage.key_store import read_settings
from opensvc_openha.system.atomic_files import make_dir, read_text, write_atomically

BACKUP_SUFFIX = ".before"


def shared_path(layout: Layout, file: SharedFile) -> str:
    """Return where a shared file is on this node."""
    return {
        SharedFile.NODES: layout.nodes_file,
        SharedFile.MONITOR: layout.monitor_file,
        SharedFile.OPTIONS: layout.options_file,
    }[file]


def read_shared(layout: Layout, file: SharedFile) -> str:
    """Return the text of a shared file; empty if there is none."""
    path = shared_path(layout, file)
    return read_text(path) if os.path.exists(path) else ""


def digest_of(text: str) -> str:
    """Return what identifies a text; an empty file and none are the same."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest() if text else NO_FILE


def check_texts(layout: Layout, texts: Mapping[SharedFile, str]) -> None:
    """Raise ConfigError, with file and line, if a daemon would not start with these texts.

    The files that are not among them are taken as they are.
    """
    with tempfile.TemporaryDirectory(prefix="openha-check-") as folder:
        staged = layout._replace(
            conf_dir=folder,
            nodes_file=f"{folder}/nodes",
            monitor_file=f"{folder}/monitor",
            services_file=f"{folder}/services",
        )
        for file in SharedFile:
            text = texts[file] if file in texts else read_shared(layout, file)
            if text:
                _write_staged(shared_path(staged, file), text)
        if os.path.exists(layout.services_file):
            _write_staged(staged.services_file, read_text(layout.services_file))
        for there, here in (
            (staged.key_file, layout.key_file),
            (staged.key_mark_file, layout.key_mark_file),
        ):
            os.symlink(here, there)
        try:
            options = configuration.read_options(staged)
            configuration.read_cluster(staged, options)
            configuration.check_devices(options)
            read_settings(staged, options)
        except ConfigError as error:
            raise ConfigError(_with_real_paths(str(error), staged, layout)) from None


def _write_staged(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def _with_real_paths(text: str, staged: Layout, layout: Layout) -> str:
    for file in SharedFile:
        text = text.replace(shared_path(staged, file), shared_path(layout, file))
    text = text.replace(staged.services_file, layout.services_file)
    return text.replace(staged.conf_dir, layout.conf_dir)


def replace_shared(
    layout: Layout,
    texts: Mapping[SharedFile, str],
    seen: Mapping[SharedFile, str],
    private: Collection[SharedFile] = (),
) -> list[str]:
    """Replace these files, all or none, and have the daemon take them over; return the changed.

    What was there is kept beside each. ``seen`` are the digests that they must have now; another
    one is a RefusedError. A new file that is ``private`` is for root only. Raises ConfigError if
    the texts are wrong, or the daemon refuses them: then the files are as they were.
    """
    check_texts(layout, texts)
    with configuration.edit_lock(layout):
        old = {file: read_shared(layout, file) for file in texts}
        for file in texts:
            if file in seen and digest_of(old[file]) != seen[file]:
                raise RefusedError(
                    f"{shared_path(layout, file)} was changed meanwhile: nothing was done"
                )
        changed = [file for file, text in texts.items() if text != old[file]]
        done: list[SharedFile] = []
        try:
            for file in changed:
                path = shared_path(layout, file)
                mode = mode_of(path, 0o600 if file in private else 0o644)
                if old[file]:
                    _write(path + BACKUP_SUFFIX, old[file], mode)
                done.append(file)
                _write(path, texts[file], mode)
        except OpenhaError:
            _restore(layout, old, done)
            raise
    if changed:
        try:
            client.reload_if_running(layout)
        except NotAnsweringError:
            raise  # It takes the files over by itself, as soon as it can.
        except OpenhaError:
            with configuration.edit_lock(layout):
                _restore(layout, old, changed)
            with contextlib.suppress(OpenhaError):
                client.reload_if_running(layout)
            raise
    return [shared_path(layout, file) for file in changed]


def _restore(layout: Layout, old: Mapping[SharedFile, str], files: list[SharedFile]) -> None:
    for file in files:
        with contextlib.suppress(OpenhaError):
            path = shared_path(layout, file)
            _write(path, old[file], mode_of(path, 0o600))


def mode_of(path: str, usual: int) -> int:
    """Return the permissions of a file; ``usual`` without one."""
    return os.stat(path).st_mode & 0o777 if os.path.exists(path) else usual


def _write(path: str, text: str, mode: int) -> None:
    target = os.path.realpath(path)
    try:
        make_dir(os.path.dirname(target))
        write_atomically(target, text.encode("utf-8"), mode)
    except OSError as error:
        raise SystemFault(f"cannot write {path}: {error.strerror}") from error


def read_seen(layout: Layout) -> dict[SharedFile, str]:
    """Return the digests of the other node's files that an operator of this node has last seen."""
    try:
        found = json.loads(read_text(layout.peer_seen_file))
    except (OpenhaError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {file: str(found[file.value]) for file in SharedFile if file.value in found}


def write_seen(layout: Layout, texts: Mapping[SharedFile, str]) -> None:
    """Remember that these texts of the other node's files were seen here."""
    seen = {**read_seen(layout), **{file: digest_of(text) for file, text in texts.items()}}
    text = json.dumps({file.value: digest for file, digest in seen.items()}) + "\n"
    make_dir(layout.proc_dir)
    try:
        write_atomically(layout.peer_seen_file, text.encode("ascii"), 0o600)
    except OSError as error:
        raise SystemFault(f"cannot write {layout.peer_seen_file}: {error.strerror}") from error
