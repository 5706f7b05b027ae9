"""``hb``: show, add and remove heartbeat links."""

from __future__ import annotations

import getopt
import os
import sys

from opensvc_openha.cli import first_key, installation, render
from opensvc_openha.control import client
from opensvc_openha.core.model import LinkKind, LinkSpec
from opensvc_openha.errors import ConfigError, RefusedError, UsageError
from opensvc_openha.formats.conf_lines import add_line
from opensvc_openha.formats.layout import Layout
from opensvc_openha.formats.monitor_file import format_link, parse_monitor, remove_link
from opensvc_openha.storage import configuration
from opensvc_openha.system.atomic_files import read_text

USAGE = (
    "Usage: hb -s [-v | --json]                                                     "
    "show heartbeat status\n"
    "       hb -a -n node -t type -i interface -d address -p port -T timeout        "
    "add heartbeat link (the first one comes with\n"
    "                                                                               "
    "a key for this node; --no-key: without)\n"
    "       hb -r -n node -t type -i interface -d address -p port                   "
    "remove heartbeat link\n"
    "       hb --force -n node -t type -i device -d offset                          "
    "take a slot, whatever it holds\n"
    "\n"
    " node      = name of the node that sends\n"
    " type      = net, unicast, dio or disk\n"
    " interface = network interface, or full path of the device\n"
    " address   = multicast or destination address, or offset on the device in blocks of 512 "
    "bytes\n"
    " port      = UDP port, or nothing for a device\n"
    " timeout   = seconds without a beat before the link is down\n"
)


def main(args: list[str]) -> int:
    """Run ``hb`` with its arguments; return the exit code."""
    if args[:1] in (["-h"], ["--help"]):
        sys.stdout.write(USAGE)
        return 0
    try:
        found, rest = getopt.gnu_getopt(args, "sarvn:t:i:d:p:T:", ["json", "force", "no-key"])
    except getopt.GetoptError as error:
        raise UsageError(f"hb: {error} (hb --help tells more)") from error
    options = dict(found)
    modes = [mode for mode in ("-s", "-a", "-r") if mode in options]
    if not modes and "--force" in options and not rest:
        return _claim(options)
    if len(modes) != 1 or rest:
        what = f"unexpected {' '.join(rest)}" if rest else "Incompatible options."
        raise UsageError(f"hb: {what} Expected one of -s, -a, -r (hb --help tells more)")
    if modes == ["-s"]:
        return _show(options)
    return _add(options) if modes == ["-a"] else _remove(options)


def _show(options: dict[str, str]) -> int:
    status = client.fetch_status(installation.layout())
    if "--json" in options:
        import json

        from opensvc_openha.control.protocol import status_to_json

        shown = status_to_json(status)
        del shown["services"]
        print(json.dumps(shown, indent=2))
    else:
        sys.stdout.write(
            render.link_details(status) if "-v" in options else render.link_list(status)
        )
    return 0


def _add(options: dict[str, str]) -> int:
    layout = installation.layout()
    spec = _link(layout, options, options.get("-T", ""))
    options_file = configuration.read_options(layout)
    is_first = not configuration.has_links(layout)

    def add(text: str) -> str:
        changed = add_line(text, format_link(spec))
        configuration.parse_links(changed, layout, options_file, need_both_ways=False)
        return changed

    if spec.kind.is_disk:
        # Before anything is written to the device: a slot that overlaps a configured one must not
        # be taken.
        add(read_text(layout.monitor_file) if os.path.exists(layout.monitor_file) else "")
        _refuse_configured(layout, spec)
        _take_slot(spec, is_forced="--force" in options)
    configuration.edit(layout, layout.monitor_file, add)
    made = first_key.make(layout) if is_first and "--no-key" not in options else []
    client.reload_if_running(layout)
    print("heartbeat added.")
    for line in made:
        print(line)
    return 0


def _claim(options: dict[str, str]) -> int:
    layout = installation.layout()
    spec = _link(layout, options, "10")
    if not spec.kind.is_disk:
        raise UsageError(f"hb: --force takes a slot of a device; {spec.kind.value} has none")
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
        if not link.kind.is_disk or os.path.realpath(link.device) != os.path.realpath(spec.device):
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
    from opensvc_openha.links.slot_link import ForeignData, SlotSender

    slot = SlotSender(spec, direct=spec.kind is LinkKind.DIO)
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


def _remove(options: dict[str, str]) -> int:
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


def _link(layout: Layout, options: dict[str, str], timeout: str) -> LinkSpec:
    """Return the link that the options describe, validated like a line of the monitor file."""
    needed = {"-n": "node", "-t": "type", "-i": "interface", "-d": "address"}
    missing = [f"{option} {name}" for option, name in needed.items() if not options.get(option)]
    is_disk = options.get("-t") in ("dio", "disk")
    if not is_disk and not options.get("-p"):
        missing.append("-p port")
    if not timeout:
        missing.append("-T timeout")
    if missing:
        raise UsageError(f"hb: missing {', '.join(missing)} (hb --help tells more)")
    columns = [options["-n"], options["-t"], options["-i"], options["-d"]]
    if not is_disk:
        columns.append(options["-p"])
    columns.append(timeout)
    try:
        nodes = configuration.read_nodes(layout)
        (spec,) = parse_monitor("\t".join(columns) + "\n", "", nodes, need_both_ways=False)
    except ConfigError as error:
        if error.path:
            raise
        raise UsageError(f"hb: {error.message}") from error
    if is_disk and not os.path.exists(spec.device):
        raise UsageError(f"hb: no such device: {spec.device}")
    return spec
