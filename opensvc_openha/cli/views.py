"""Which command lines show a status, and how: for them, and for the daemon that words them."""

from __future__ import annotations

from collections.abc import Sequence

from opensvc_openha.cli import output
from opensvc_openha.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from opensvc_openha.control.rendering import View
    from opensvc_openha.core.status import NodeStatus

_OF_SERVICES = frozenset({"-s", "-c", "-sc", "-v", "--json"})
_OF_LINKS = frozenset({"-s", "-v", "--json"})


def view_of(words: Sequence[str]) -> View | None:
    """Return how the usual command lines show a status; None for any other one.

    These need no parser.
    """
    command, args = (words[0], set(words[1:])) if words else ("", set[str]())
    if command == "service" and args and args <= _OF_SERVICES:
        return service_view(not args.isdisjoint({"-c", "-sc"}), "-v" in args, "--json" in args)
    if command == "hb" and "-s" in args and args <= _OF_LINKS:
        return link_view("-v" in args, "--json" in args)
    if list(words) in (["status"], ["ezha", "status"]):
        return output.both
    return None


def service_view(is_table: bool, is_verbose: bool, is_json: bool) -> View:
    """Return how services are shown."""
    if is_json:
        return _services_as_json
    if is_verbose:
        return output.service_reasons
    return output.service_table if is_table else output.service_list


def link_view(is_verbose: bool, is_json: bool) -> View:
    """Return how heartbeat links are shown."""
    if is_json:
        return _links_as_json
    return output.link_details if is_verbose else output.link_list


def _services_as_json(status: NodeStatus) -> str:
    from opensvc_openha.cli import json_status  # Only those who ask for it load its shapes.

    return json_status.services(status).text()


def _links_as_json(status: NodeStatus) -> str:
    from opensvc_openha.cli import json_status

    return json_status.links(status).text()
