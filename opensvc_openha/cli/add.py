"""``openha add FILE.env``: a service file becomes a service of both nodes."""

from __future__ import annotations

import argparse
import json
import os
import sys
from functools import partial

from opensvc_openha.cli import check, installation
from opensvc_openha.cli.asking import confirm, show_of
from opensvc_openha.cli.patient_peer import expected_peer
from opensvc_openha.cli.service_files import (
    NewService,
    check_service,
    take_service,
    what_would_change,
)
from opensvc_openha.errors import (
    ActionError,
    OpenhaError,
    RefusedError,
    UnknownOutcomeError,
    UsageError,
)
from opensvc_openha.formats.layout import Layout
from opensvc_openha.hints import TYPE_CHECKING
from opensvc_openha.peer_link.client import Peer, new_job_id
from opensvc_openha.peer_link.protocol import FILE_CHARACTERS, AddRequest, parse_request
from opensvc_openha.system.atomic_files import read_text
from opensvc_openha.system.order_reason import given_reason

if TYPE_CHECKING:
    from opensvc_openha.cli.parsing import Parser

_SUFFIX = ".env"
_REQUEST_CHARACTERS = 4 * FILE_CHARACTERS
_NOTHING = "nothing to do"
_INSTEAD = "--here adds the service on this node alone"


def build_parser() -> Parser:
    """Return the parser of ``openha add``."""
    from opensvc_openha.cli.parsing import Parser

    parser = Parser(
        "openha add",
        "Add a service to both nodes: checks its file on both, copies it to the other node, makes"
        " the wrappers, adds\nthe service to the cluster in state FROZEN_STOP, and ends with"
        " `openha check`. What is there already is left\nalone, so that it can be run again.",
        epilog="The service is named as the file without .env. Exit code 0, or 2 if the check finds"
        " errors.",
    )
    parser.add_argument("file", metavar="FILE.env", nargs="?", default="", help="the service file")
    parser.add_argument(
        "--primary",
        metavar="NODE",
        default="",
        help="the preferred node; by default the first of autostart_node or nodes of the file",
    )
    parser.add_argument(
        "--check",
        metavar="PATH",
        default="",
        help="the check-up script; by default SERVICE.stonith if the file has a [stonith#] section,"
        " else $EZ_BIN/fence: the fence plan alone",
    )
    parser.add_flag("--here", help="on this node alone, without asking the other one")
    parser.add_flag("--yes", help="replace a different file of that service without asking")
    parser.add_flag("--dry-run", help="only check, and print what would be done")
    parser.add_reason()
    parser.add_flag("--from-peer", help=argparse.SUPPRESS)
    return parser


def main(args: list[str]) -> int:
    """Run ``openha add``; return the exit code."""
    parser = build_parser()
    options = parser.read(args)
    check.expect_root("add", "it changes the cluster")
    layout = installation.layout()
    if options.from_peer:
        return _for_peer(layout)
    if not options.file:
        parser.error("expected FILE.env")
    new = _checked(layout, options)
    here = what_would_change(layout, new)
    peer = None if options.here else expected_peer(layout, _INSTEAD)
    for problem in new.warnings:
        sys.stderr.write(f"{problem}\n")
    there = [] if peer is None else _tried(peer, new)
    if options.dry_run:
        for line in here or [_NOTHING]:
            print(f"this node: {line}")
        return 0
    if any(line.startswith("replace ") for line in (*here, *there)):
        confirm(
            f"{new.service}{_SUFFIX} differs from the one that is there. Replace it?", options.yes
        )
    take_service(layout, new)
    if peer is not None:
        _taken_by(peer, new)
    if not here and not there:
        print(f"{new.service}: {_NOTHING}")
    code = check.report(layout)
    if here:
        print(f"next: svcmgr -s {new.service} start")
    return code if code == check.EXIT_ERRORS else 0


def _checked(layout: Layout, options: argparse.Namespace) -> NewService:
    name = os.path.basename(options.file)
    if not name.endswith(_SUFFIX):
        raise UsageError(f"{options.file}: expected a service file, named SERVICE{_SUFFIX}")
    text = read_text(options.file)
    if len(text) > FILE_CHARACTERS:
        raise UsageError(f"{options.file}: longer than {FILE_CHARACTERS} characters")
    service = name.removesuffix(_SUFFIX)
    new = check_service(layout, service, text, options.file, options.primary, options.check)
    is_private = not os.stat(options.file).st_mode & 0o004
    return NewService(**{**vars(new), "is_private": is_private})


def _request(new: NewService, is_trial: bool) -> AddRequest:
    return AddRequest(
        new_job_id(),
        new.service,
        new.text,
        new.primary,
        new.secondary,
        new.check,
        new.is_private,
        is_trial,
        order_reason=given_reason(),
    )


def _tried(peer: Peer, new: NewService) -> list[str]:
    """Have the other node check the file; return what it would change."""
    try:
        end = peer.execute(_request(new, is_trial=True), partial(show_of, peer.name))
    except OpenhaError as error:
        raise type(error)(f"{error}. Nothing was done; {_INSTEAD}") from error
    if end.code != 0:
        raise RefusedError(f"{peer.name} does not take {new.service}{_SUFFIX}: nothing was done")
    return [line for line in end.lines if line != _NOTHING]


def _taken_by(peer: Peer, new: NewService) -> None:
    again = "run the same command again, which leaves alone what is there"
    try:
        end = peer.execute(_request(new, is_trial=False), partial(show_of, peer.name))
    except UnknownOutcomeError as error:
        raise UnknownOutcomeError(
            f"{new.service} is added here; whether it is on {peer.name} is not known: {error};"
            f" {again}"
        ) from error
    except OpenhaError as error:
        raise ActionError(
            f"{new.service} is added here, and not on {peer.name}: {error}; {again}"
        ) from error
    if end.code != 0:
        raise ActionError(
            f"{new.service} is added here, and not on {peer.name} (exit code {end.code}): {again}"
        )


def _for_peer(layout: Layout) -> int:
    """Do the part of this node for a request of the other one, which is on standard input."""
    request = parse_request(json.loads(sys.stdin.read(_REQUEST_CHARACTERS)))
    if not isinstance(request, AddRequest):
        raise UsageError("not a request to add a service")
    new = check_service(
        layout,
        request.service,
        request.text,
        f"{request.service}{_SUFFIX}",
        request.primary,
        request.check,
    )
    new = NewService(**{**vars(new), "is_private": request.is_private})
    for problem in new.warnings:
        print(problem)
    if request.is_trial:
        for line in what_would_change(layout, new) or [_NOTHING]:
            print(line)
        return 0
    take_service(layout, new)
    return 0
