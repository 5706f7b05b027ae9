"""``hb``: show, add and remove heartbeat links."""

from __future__ import annotations

import os

from opensvc_openha.cli import installation
from opensvc_openha.cli.views import link_view, view_of
from opensvc_openha.control import client
from opensvc_openha.core.model import LinkSpec
from opensvc_openha.errors import ConfigError, RefusedError, UsageError
from opensvc_openha.formats.conf_lines import add_line
from opensvc_openha.formats.layout import Layout
from opensvc_openha.hints import TYPE_CHECKING
from opensvc_openha.storage import configuration
from opensvc_openha.system import clock
from opensvc_openha.system.atomic_files import read_text

if TYPE_CHECKING:
    from argparse import Namespace

    from opensvc_openha.cli.parsing import Parser


def build_parser() -> Parser:
    """Return the parser of ``hb``."""
    from opensvc_openha.cli.parsing import Parser
    from opensvc_openha.links.registry import LINK_TYPES

    *types, last_type = LINK_TYPES
    parser = Parser(
        "hb",
        "Show, add and remove heartbeat links.",
        usage="hb -s [-v | --json]\n"
        "       hb -a -n node -t type -i interface -d address [-p port] -T timeout [--no-key]\n"
        "       hb -r -n node -t type -i interface -d address [-p port]\n"
        "       hb --force -n node -t type -i device -d offset",
    )
    for option, dest, text in (
        ("-s", "is_shown", "show the heartbeat links and their status"),
        ("-a", "is_added", "add a link; the first one comes with a key for this node"),
        ("-r", "is_removed", "remove a link"),
        ("-v", "is_verbose", "with -s: what is wrong on each link"),
        ("--json", "is_json", "with -s: as JSON"),
        ("--force", "is_forced", "take a slot of a device, whatever it holds"),
        ("--no-key", "has_no_key", "with -a: make no key"),
    ):
        parser.add_flag(option, dest=dest, help=text)
    for option, name, text in (
        ("-n", "node", "name of the node that sends"),
        ("-t", "type", f"{', '.join(types)} or {last_type}"),
        ("-i", "interface", "network interface, or full path of the device"),
        (
            "-d",
            "address",
            "multicast or destination address, or offset on the device in blocks of 512 bytes",
        ),
        ("-p", "port", "UDP port, or nothing for a device"),
        ("-T", "timeout", "seconds without a beat before the link is down"),
    ):
        parser.add_argument(option, metavar=name, dest=name, default="", help=text)
    parser.add_reason()
    return parser


def main(args: list[str]) -> int:
    """Run ``hb`` with its arguments; return the exit code."""
    view = view_of(["hb", *args])
    if view is not None:
        return installation.show(view)

    parser = build_parser()
    options = parser.read(args)
    modes = options.is_shown + options.is_added + options.is_removed
    if not modes and options.is_forced:
        return _claim(options)
    if modes != 1:
        problem = "Incompatible options." if modes else "An option is missing."
        parser.error(f"{problem} Expected one of -s, -a, -r")
    if options.is_added:
        return _add(options)
    if options.is_removed:
        return _remove(options)
    return installation.show(link_view(options.is_verbose, options.is_json))


def _add(options: Namespace) -> int:
    from opensvc_openha.cli import first_key
    from opensvc_openha.links.monitor_file import format_link

    layout = installation.layout()
    spec = _link(layout, options, options.timeout)
    options_file = configuration.read_options(layout)
    is_first = not configuration.has_links(layout)

    def add(text: str) -> str:
        changed = add_line(text, format_link(spec))
        configuration.parse_links(changed, layout, options_file, need_both_ways=False)
        return changed

    if spec.is_disk:
        # Before anything is written to the device: a slot that overlaps a configured one must not
        # be taken.
        add(read_text(layout.monitor_file) if os.path.exists(layout.monitor_file) else "")
        _refuse_configured(layout, spec)
        _take_slot(spec, is_forced=options.is_forced)
    configuration.edit(layout, layout.monitor_file, add)
    made = first_key.make(layout) if is_first and not options.has_no_key else []
    client.reload_if_running(layout)
    print("heartbeat added.")
    for line in made:
        print(line)
    return 0


def _claim(options: Namespace) -> int:
    layout = installation.layout()
    spec = _link(layout, options, "10")
    if not spec.is_disk:
        raise UsageError(f"hb: --force takes a slot of a device; {spec.kind} has none")
    _refuse_configured(layout, spec)
    _take_slot(spec, is_forced=True)
    print(f"slot {spec.label} taken.")
    return 0


def _refuse_configured(layout: Layout, spec: LinkSpec) -> None:
    """Raise RefusedError for blocks of another link's configured slot.

    Its beats would be overwritten.
    """
    if not os.path.exists(layout.monitor_file):
        return
    options_file = configuration.read_options(layout)
    links = configuration.parse_links(
        read_text(layout.monitor_file), layout, options_file, need_both_ways=False
    )
    wanted = options_file.complete_link(spec)
    for link in links:
        if not link.is_disk or os.path.realpath(link.device) != os.path.realpath(spec.device):
            continue
        blocks = (link if link.offset <= spec.offset else wanted).slot_blocks
        is_own = (link.node.lower(), link.offset) == (spec.node.lower(), spec.offset)
        if not is_own and abs(link.offset - spec.offset) < blocks:
            raise RefusedError(
                f"offset {spec.offset} on {spec.device} is in the slot of {link.node} at offset"
                f" {link.offset} ({layout.monitor_file}:{link.line}), or reaches into it: slots"
                f" take {blocks} blocks; nothing was written"
            )


def _take_slot(spec: LinkSpec, is_forced: bool) -> None:
    """Take a slot; refuse one that belongs to another cluster.

    Other errors of the device are detected and shown by the daemon.
    """
    from opensvc_openha.links.base import LinkFault
    from opensvc_openha.links.registry import make_sender
    from opensvc_openha.links.slot_link import ForeignData, SlotSender

    slot = make_sender(spec, clock.monotonic)
    assert isinstance(slot, SlotSender), "a disk type writes slots"
    try:
        if is_forced:
            slot.claim()
        else:
            slot.open()
    except ForeignData as error:
        raise RefusedError(str(error)) from None
    except LinkFault:
        if is_forced:
            raise
    finally:
        slot.close()


def _remove(options: Namespace) -> int:
    from opensvc_openha.links.monitor_file import remove_link

    layout = installation.layout()
    spec = _link(layout, options, "10")
    options_file = configuration.read_options(layout)

    def remove(text: str) -> str:
        changed = remove_link(text, spec)
        if changed == text:
            raise ConfigError(
                f"no such heartbeat link: {spec.node} {spec.link_id}", layout.monitor_file
            )
        # The last link of a node must not be removed while its daemon runs.
        is_running = client.running_pid(layout) != 0
        configuration.parse_links(changed, layout, options_file, need_both_ways=is_running)
        return changed

    configuration.edit(layout, layout.monitor_file, remove)
    client.reload_if_running(layout)
    print("heartbeat removed.")
    return 0


def _link(layout: Layout, options: Namespace, timeout: str) -> LinkSpec:
    """Return the link that the options describe, validated like a line of the monitor file."""
    from opensvc_openha.links.monitor_file import parse_monitor
    from opensvc_openha.links.registry import LINK_TYPES

    needed = {"-n": "node", "-t": "type", "-i": "interface", "-d": "address"}
    missing = [f"{option} {name}" for option, name in needed.items() if not getattr(options, name)]
    link_type = LINK_TYPES.get(options.type)
    has_port = link_type is None or "port" in link_type.columns
    if has_port and not options.port:
        missing.append("-p port")
    if not timeout:
        missing.append("-T timeout")
    if missing:
        raise UsageError(f"hb: missing {', '.join(missing)} (see hb --help)")
    columns = [options.node, options.type, options.interface, options.address]
    if has_port:
        columns.append(options.port)
    columns.append(timeout)
    try:
        nodes = configuration.read_nodes(layout)
        (spec,) = parse_monitor("\t".join(columns) + "\n", "", nodes, need_both_ways=False)
    except ConfigError as error:
        if error.path:
            raise
        raise UsageError(f"hb: {error.message}") from error
    if spec.is_disk and not os.path.exists(spec.device):
        raise UsageError(f"hb: no such device: {spec.device}")
    return spec
