"""``openha config``: edit the cluster's files once, see what differs, bring them to the other node.

A file is taken over by a node only after that node has checked it; what was there is kept.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import partial

from opensvc_openha.cli import check, installation
from opensvc_openha.cli.asking import confirm, show_of
from opensvc_openha.cli.patient_peer import patient_peer
from opensvc_openha.cli.shared_files import (
    check_texts,
    digest_of,
    mode_of,
    read_seen,
    read_shared,
    replace_shared,
    shared_path,
    write_seen,
)
from opensvc_openha.errors import (
    ActionError,
    ConfigError,
    NotAnsweringError,
    OpenhaError,
    RefusedError,
    SystemFault,
    UnknownOutcomeError,
    UsageError,
)
from opensvc_openha.formats.layout import Layout
from opensvc_openha.hints import TYPE_CHECKING
from opensvc_openha.peer_link.client import Peer, new_job_id
from opensvc_openha.peer_link.protocol import (
    FILE_CHARACTERS,
    SharedFile,
    TakeRequest,
    parse_request,
)
from opensvc_openha.system.atomic_files import read_text, write_atomically
from opensvc_openha.system.order_reason import given_reason

if TYPE_CHECKING:
    from opensvc_openha.cli.parsing import Parser

Texts = dict[SharedFile, str]
EXIT_DIFFERENT = 1
_REJECTED_SUFFIX = ".rejected"
_REQUEST_CHARACTERS = 8 * FILE_CHARACTERS
_NAMES = {file.value: file for file in SharedFile}


def build_parser() -> Parser:
    """Return the parser of ``openha config``."""
    from opensvc_openha.cli.parsing import Parser

    parser = Parser(
        "openha config",
        f"The files that are the same on both nodes: {', '.join(_NAMES)}.",
        epilog="Nothing is taken over by a node before it has checked it. The file that was there"
        " is kept as FILE.before.",
    )
    edit = parser.add_verb(
        "edit", "edit a file in $EDITOR, check it on both nodes, then take it over on both"
    )
    edit.add_argument("file", metavar="FILE", choices=tuple(_NAMES), help=f"{', '.join(_NAMES)}")
    edit.add_reason()
    edit.add_flag("--here", help="on this node alone, without asking the other one")
    edit.add_flag("--force", help="even if the other node has changes not seen here")
    parser.add_verb("diff", "show what differs between the nodes; exit code 1 if anything does")
    push = parser.add_verb("push", "bring the files of this node to the other one")
    push.add_reason()
    push.add_flag("--force", help="even if the other node has changes not seen here")
    push.add_flag("--yes", help="do not ask")
    push.add_flag("--dry-run", help="only check on both nodes, and show what would change there")
    return parser


def main(args: list[str]) -> int:
    """Run ``openha config``; return the exit code."""
    if args == ["take"]:
        check.expect_root("config take", "it changes the cluster")
        return _take(installation.layout())
    options = build_parser().read(args)
    check.expect_root(f"config {options.verb}", "it reads the key")
    layout = installation.layout()
    if options.verb == "diff":
        return _diff(layout)
    return _push(layout, options) if options.verb == "push" else _edit(layout, options)


def _ours(layout: Layout) -> Texts:
    return {file: read_shared(layout, file) for file in SharedFile}


def _theirs(peer: Peer) -> Texts:
    return {file: peer.fetch(file) for file in SharedFile}


def _diff(layout: Layout) -> int:
    peer = patient_peer(layout)
    ours, theirs = _ours(layout), _theirs(peer)
    lines = _difference(theirs, ours, peer)
    sys.stdout.write("".join(lines))
    write_seen(layout, theirs)
    if not lines:
        print(f"{', '.join(_NAMES)}: the same on both nodes")
    return EXIT_DIFFERENT if lines else 0


def _difference(
    old: Mapping[SharedFile, str], new: Mapping[SharedFile, str], peer: Peer
) -> list[str]:
    """Return the lines that would bring the other node's texts to those of this one."""
    lines: list[str] = []
    for file in new:
        lines += difflib.unified_diff(
            _lines_of(old[file]),
            _lines_of(new[file]),
            f"{peer.name}:{file.value}",
            f"{peer.own_name}:{file.value}",
        )
    return lines


def _lines_of(text: str) -> list[str]:
    return [line if line.endswith("\n") else f"{line}\n" for line in text.splitlines(keepends=True)]


def _push(layout: Layout, options: argparse.Namespace) -> int:
    ours = _ours(layout)
    check_texts(layout, ours)
    peer = patient_peer(layout)
    theirs = _theirs(peer)
    changed = {file: text for file, text in ours.items() if text != theirs[file]}
    if not changed:
        print("nothing to do: the same on both nodes")
        write_seen(layout, theirs)
        return 0
    _expect_seen(layout, peer, theirs, changed, options.force)
    sys.stdout.write("".join(_difference(theirs, changed, peer)))
    sys.stdout.flush()
    _tried(peer, changed, theirs)
    if options.dry_run:
        return 0
    confirm(f"Replace {_named(changed)} on {peer.name}?", options.yes)
    _taken_by(peer, changed, theirs)
    write_seen(layout, ours)
    return 0


def _edit(layout: Layout, options: argparse.Namespace) -> int:
    file = _NAMES[options.file]
    peer = None if options.here else patient_peer(layout)
    theirs = {} if peer is None else _theirs(peer)
    old = read_shared(layout, file)
    if peer is not None and theirs[file] != old:
        _expect_seen(layout, peer, theirs, {file: old}, options.force)
    with tempfile.TemporaryDirectory(prefix="openha-edit-") as folder:
        new = _edited(layout, file, f"{folder}/{file.value}", old)
    if new == old and (peer is None or theirs[file] == new):
        print("nothing changed")
        return 0
    change = {file: new}
    try:
        if peer is not None:
            _tried(peer, change, theirs)
        written = replace_shared(layout, change, {file: digest_of(old)})
    except NotAnsweringError:
        raise  # The text is in the file.
    except OpenhaError as error:
        kept = f"{shared_path(layout, file)}{_REJECTED_SUFFIX}"
        _keep(kept, new)
        raise type(error)(f"{error}; your text is {kept}") from error
    for path in written:
        print(f"{path} written")
    if peer is not None:
        _taken_by(peer, change, theirs)
        write_seen(layout, change)
    return 0


def _edited(layout: Layout, file: SharedFile, path: str, text: str) -> str:
    """Return the text that the operator made and that is valid.

    Raises ConfigError for a wrong one where nobody can edit it again.
    """
    with open(path, "w", encoding="utf-8") as scratch:
        scratch.write(text)
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    while True:
        try:
            code = subprocess.run([*shlex.split(editor), path]).returncode
        except (OSError, ValueError) as error:
            raise SystemFault(f"cannot run the editor {editor!r} ($EDITOR): {error}") from error
        if code != 0:
            raise RefusedError(f"the editor ended with exit code {code}: nothing was done")
        new = read_text(path)
        try:
            if len(new) > FILE_CHARACTERS:
                raise ConfigError(f"longer than {FILE_CHARACTERS} characters", file.value)
            check_texts(layout, {file: new})
            return new
        except ConfigError as error:
            kept = f"{shared_path(layout, file)}{_REJECTED_SUFFIX}"
            _keep(kept, new)
            if not sys.stdin.isatty():
                raise ConfigError(f"{error}; nothing was done, your text is {kept}") from None
            sys.stderr.write(f"{error}\nYour text is kept as {kept}.\n")
            confirm("Edit it again?", is_yes=False)


def _keep(path: str, text: str) -> None:
    try:
        write_atomically(path, text.encode("utf-8"), 0o600)
    except OSError as error:
        raise SystemFault(f"cannot write {path}: {error.strerror}") from error


def _expect_seen(
    layout: Layout,
    peer: Peer,
    theirs: Mapping[SharedFile, str],
    changed: Mapping[SharedFile, str],
    is_forced: bool,
) -> None:
    """Raise RefusedError if the other node has a change that nobody has seen on this one."""
    seen = read_seen(layout)
    unseen = [
        file.value for file in changed if theirs[file] and seen.get(file) != digest_of(theirs[file])
    ]
    if unseen and not is_forced:
        raise RefusedError(
            f"{', '.join(unseen)} on {peer.name} has changes that were not seen on this node:"
            " nothing was done. `openha config diff` shows them, --force overwrites them"
        )


def _request(
    changed: Mapping[SharedFile, str], theirs: Mapping[SharedFile, str], is_trial: bool
) -> TakeRequest:
    seen = {file: digest_of(theirs[file]) for file in changed}
    layout = installation.layout()
    private = frozenset(
        file for file in changed if not mode_of(shared_path(layout, file), 0o644) & 0o004
    )
    return TakeRequest(new_job_id(), changed, seen, private, is_trial, order_reason=given_reason())


def _tried(peer: Peer, changed: Mapping[SharedFile, str], theirs: Mapping[SharedFile, str]) -> None:
    end = peer.execute(_request(changed, theirs, is_trial=True), partial(show_of, peer.name))
    if end.code != 0:
        raise RefusedError(f"{peer.name} does not take {_named(changed)}: nothing was done")


def _taken_by(
    peer: Peer, changed: Mapping[SharedFile, str], theirs: Mapping[SharedFile, str]
) -> None:
    again = "look at `openha config diff`, then `openha config push`"
    try:
        end = peer.execute(_request(changed, theirs, is_trial=False), partial(show_of, peer.name))
    except UnknownOutcomeError as error:
        raise UnknownOutcomeError(
            f"whether {peer.name} has {_named(changed)} is not known: {error}; {again}"
        ) from error
    except OpenhaError as error:
        raise ActionError(f"{_named(changed)} is not on {peer.name}: {error}; {again}") from error
    if end.code != 0:
        raise ActionError(f"{_named(changed)} is not on {peer.name}: {again}")


def _named(files: Mapping[SharedFile, str]) -> str:
    return " and ".join(file.value for file in files)


def _take(layout: Layout) -> int:
    """Do the part of this node for a request of the other one, which is on standard input."""
    request = parse_request(json.loads(sys.stdin.read(_REQUEST_CHARACTERS)))
    if not isinstance(request, TakeRequest):
        raise UsageError("not a request to replace files")
    if request.is_trial:
        check_texts(layout, request.texts)
        for file in request.texts:
            print(f"{shared_path(layout, file)} is valid here")
        return 0
    for path in replace_shared(layout, request.texts, request.seen, request.private):
        print(f"{path} written")
    return 0
