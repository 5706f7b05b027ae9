"""``openha remove SERVICE``: a service is one of neither node any more."""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial

from opensvc_openha.cli import check, installation
from opensvc_openha.cli.asking import confirm, show_of
from opensvc_openha.cli.patient_peer import expected_peer
from opensvc_openha.cli.service_files import find_service, remove_service
from opensvc_openha.errors import (
    OpenhaError,
    RefusedError,
    UsageError,
)
from opensvc_openha.formats.layout import Layout
from opensvc_openha.hints import TYPE_CHECKING
from opensvc_openha.peer_link.client import Peer, new_job_id
from opensvc_openha.peer_link.protocol import RemoveRequest, parse_request
from opensvc_openha.system.order_reason import given_reason

if TYPE_CHECKING:
    from opensvc_openha.cli.parsing import Parser

_REQUEST_CHARACTERS = 10_000
_NOTHING = "nothing to do"
_INSTEAD = "--here removes the service from this node alone"


def build_parser() -> Parser:
    """Return the parser of ``openha remove``."""
    from opensvc_openha.cli.parsing import Parser

    parser = Parser(
        "openha remove",
        "Remove a stopped service from both nodes: its line, its states and its wrappers. Its file"
        " is kept as\nSERVICE.env.removed; its data is not touched.",
    )
    parser.add_argument("service", metavar="SERVICE", nargs="?", default="", help="its name")
    parser.add_flag("--here", help="on this node alone, without asking the other one")
    parser.add_flag("--yes", help="do not ask")
    parser.add_flag("--dry-run", help="only print what would be done")
    parser.add_reason()
    parser.add_flag("--from-peer", help=argparse.SUPPRESS)
    return parser


def main(args: list[str]) -> int:
    """Run ``openha remove``; return the exit code."""
    parser = build_parser()
    options = parser.read(args)
    check.expect_root("remove", "it changes the cluster")
    layout = installation.layout()
    if options.from_peer:
        return _for_peer(layout)
    if not options.service:
        parser.error("expected SERVICE")
    old = find_service(layout, options.service)
    here = _would(old.cluster_name, old.paths)
    peer = None if options.here else expected_peer(layout, _INSTEAD)
    there = [] if peer is None else _done_by(peer, old.service, is_trial=True)
    if not here and not any(line != _NOTHING for line in there):
        raise UsageError(f"no service {options.service} on either node: nothing was done")
    for line in here or [_NOTHING]:
        print(f"this node: {line}")
    if options.dry_run:
        return 0
    where = "this node" if peer is None else "both nodes"
    confirm(f"Remove service {old.service} from {where}?", options.yes)
    if peer is not None:
        _done_by(peer, old.service, is_trial=False)
    remove_service(layout, old)
    return 0


def _would(cluster_name: str, paths: tuple[str, ...]) -> list[str]:
    lines = [f"service -r {cluster_name}"] if cluster_name else []
    return lines + ([f"remove {' '.join(paths)}"] if paths else [])


def _done_by(peer: Peer, service: str, is_trial: bool) -> tuple[str, ...]:
    try:
        end = peer.execute(
            RemoveRequest(new_job_id(), service, is_trial, order_reason=given_reason()),
            partial(show_of, peer.name),
        )
    except OpenhaError as error:
        raise type(error)(f"{error}. Nothing was done here; {_INSTEAD}") from error
    if end.code != 0:
        raise RefusedError(f"{peer.name} does not remove {service}: nothing was done here")
    return end.lines


def _for_peer(layout: Layout) -> int:
    """Do the part of this node for a request of the other one, which is on standard input."""
    request = parse_request(json.loads(sys.stdin.read(_REQUEST_CHARACTERS)))
    if not isinstance(request, RemoveRequest):
        raise UsageError("not a request to remove a service")
    old = find_service(layout, request.service)
    if request.is_trial:
        for line in _would(old.cluster_name, old.paths) or [_NOTHING]:
            print(line)
        return 0
    remove_service(layout, old)
    return 0
