"""``openha key``: generate, install, rotate and show the key that authenticates heartbeats."""

from __future__ import annotations

import os
import sys

from opensvc_openha.cli import installation, output
from opensvc_openha.cli.parsing import Parser
from opensvc_openha.control import client
from opensvc_openha.core.incarnations import NOBODY
from opensvc_openha.errors import NotAnsweringError, NotRunningError, RefusedError, SystemFault
from opensvc_openha.formats.key_file import KeyRing
from opensvc_openha.formats.layout import Layout
from opensvc_openha.storage import configuration
from opensvc_openha.storage.key_store import (
    new_key,
    parse_key_data,
    read_incarnations,
    read_keys,
    read_settings,
    write_incarnations,
    write_keys,
)


def build_parser() -> Parser:
    """Return the parser of ``openha key``."""
    parser = Parser(
        "openha key",
        "Generate, install, rotate and show the key that authenticates heartbeats.",
        epilog="A running daemon takes a key over by itself, and no beat is lost on the way,"
        " whichever node comes first:\n"
        "  openha key rotate && ssh PEER openha key install - <"
        " /usr/local/cluster/conf/openha.key",
    )
    parser.add_verb("generate", "make the first key of a cluster, on one of its nodes")
    install = parser.add_verb("install", "take over the other node's key file")
    install.add_argument("file", metavar="FILE", help="its path, or - for standard input")
    parser.add_verb("rotate", "make the next key; then install this node's key file on the other")
    parser.add_verb("status", "show which keys are here, and what the peer was heard with")
    parser.add_verb(
        "forget-peer", "accept a lower boot counter of the peer, which was reinstalled or restored"
    )
    return parser


def main(args: list[str]) -> int:
    """Run ``openha key``; return the exit code."""
    options = build_parser().read(args)
    layout = installation.layout()
    if options.verb == "install":
        return _install(layout, options.file)
    verbs = {
        "generate": _generate,
        "rotate": _rotate,
        "status": _status,
        "forget-peer": _forget_peer,
    }
    return verbs[options.verb](layout)


def _generate(layout: Layout) -> int:
    with configuration.edit_lock(layout):
        if os.path.lexists(layout.key_file):
            raise RefusedError(
                f"there is a key already in {layout.key_file}: `openha key rotate` makes the"
                " next one"
            )
        ring = KeyRing(new_key())
        write_keys(layout, ring)
    sys.stdout.write(output.key_generated(ring, layout.key_file))
    client.reload_if_running(layout)
    return 0


def _install(layout: Layout, source: str) -> int:
    brought = _read_source(source)
    with configuration.edit_lock(layout):
        ours = read_keys(layout)
        ring = brought if ours is None else ours.merged_with(brought)
        if ring != ours:
            write_keys(layout, ring)
    sys.stdout.write(output.key_installed(ring, layout.key_file, is_new=ring != ours))
    client.reload_if_running(layout)
    return 0


def _read_source(source: str) -> KeyRing:
    if source == "-":
        return parse_key_data(sys.stdin.buffer.read(), "standard input")
    try:
        with open(source, "rb") as file:
            return parse_key_data(file.read(), source)
    except OSError as error:
        raise SystemFault(f"cannot read {source}: {error.strerror}") from error


def _rotate(layout: Layout) -> int:
    with configuration.edit_lock(layout):
        ring = read_keys(layout)
        if ring is None:
            raise RefusedError(
                f"there is no key in {layout.key_file}: `openha key generate` makes the first one"
            )
        if ring.next is not None:
            raise RefusedError(
                f"next key {ring.next.key_id} is already here and waits for the peer: install"
                f" {layout.key_file} there"
            )
        if ring.previous is not None:
            raise RefusedError(
                "the last rotation is not over: the peer was not heard with key"
                f" {ring.current.key_id} yet"
            )
        ring = KeyRing(ring.current, next=new_key())
        write_keys(layout, ring)
    sys.stdout.write(output.key_rotated(ring, layout.key_file))
    client.reload_if_running(layout)
    return 0


def _status(layout: Layout) -> int:
    ring, incarnations = read_settings(layout, configuration.read_options(layout))
    status = installation.status_if_running(layout)
    sys.stdout.write(
        output.key_status(
            ring, layout.key_file, incarnations, None if status is None else status.authentication
        )
    )
    return 0


def _forget_peer(layout: Layout) -> int:
    try:
        client.forget_peer(layout)
    except NotRunningError as error:
        if isinstance(error, NotAnsweringError):
            raise
        incarnations = read_incarnations(layout, read_keys(layout))
        write_incarnations(layout, dict.fromkeys(incarnations, NOBODY))
    print("peer forgotten: its next beat is accepted whatever its boot counter")
    return 0
