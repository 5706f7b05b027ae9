"""``openha exporter``: the status of this node as metrics for Prometheus, over HTTP or in a file.

It is a process of its own, which asks the daemon as any command does. A scrape waits only for a
moment for a fresh status: of a daemon that hangs it gets the last one, whose age is a metric.
"""

from __future__ import annotations

import ipaddress
import os
import signal
import sys
from argparse import ArgumentTypeError, Namespace

from opensvc_openha.cli import installation
from opensvc_openha.cli.status_source import StatusSource
from opensvc_openha.control import client
from opensvc_openha.errors import SystemFault, UsageError
from opensvc_openha.hints import TYPE_CHECKING
from opensvc_openha.named_tuples import NamedTuple
from opensvc_openha.system import clock
from opensvc_openha.system.atomic_files import write_atomically

if TYPE_CHECKING:
    from opensvc_openha.cli.parsing import Parser

DEFAULT_LISTEN = "127.0.0.1:5431"


class Endpoint(NamedTuple):
    """Where metrics are served."""

    address: str
    port: int


def build_parser() -> Parser:
    """Return the parser of ``openha exporter``."""
    from opensvc_openha.cli.parsing import Parser

    parser = Parser(
        "openha exporter",
        "Serve the status of this node as metrics for Prometheus, at /metrics, until it is ended.",
        epilog="Metrics, alert rules and a dashboard are described in docs/metrics.md. It needs"
        " prometheus-client:\napt install python3-prometheus-client, or"
        " pip install 'opensvc-openha[metrics]'.",
    )
    parser.add_argument(
        "--listen",
        metavar="ADDRESS:PORT",
        type=_endpoint,
        default=_endpoint(DEFAULT_LISTEN),
        help=f"where to serve them (default {DEFAULT_LISTEN}: this machine alone)",
    )
    parser.add_argument(
        "--textfile",
        metavar="PATH",
        help="write them to this file instead, for node_exporter, once: the name has to end in"
        " .prom",
    )
    parser.add_argument(
        "--every",
        metavar="SECONDS",
        type=_seconds,
        help="write the file again and again, until it is ended",
    )
    return parser


def _endpoint(word: str) -> Endpoint:
    address, _, port = word.rpartition(":")
    address = address.removeprefix("[").removesuffix("]")
    try:
        if not port.isdigit() or not 0 <= int(port) <= 65_535:
            raise ValueError
        return Endpoint(str(ipaddress.ip_address(address)), int(port))
    except ValueError:
        raise ArgumentTypeError(
            f"expected ADDRESS:PORT, such as {DEFAULT_LISTEN} or [::1]:5431; found {word!r}"
        ) from None


def _seconds(word: str) -> float:
    try:
        found = float(word)
    except ValueError:
        found = 0.0
    if not 0.1 <= found <= 86_400:
        raise ArgumentTypeError(f"expected seconds, from 0.1 to a day; found {word!r}")
    return found


def main(args: list[str]) -> int:
    """Run ``openha exporter``; return the exit code."""
    options = build_parser().read(args)
    _expect_consistent(options)
    try:
        from opensvc_openha.cli.exporter_server import metrics_text, serve
    except ModuleNotFoundError as error:
        if error.name != "prometheus_client":
            raise
        raise SystemFault(
            "the exporter needs prometheus-client: apt install python3-prometheus-client, or pip"
            " install 'opensvc-openha[metrics]'"
        ) from None
    layout = installation.layout()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    source = StatusSource(lambda: client.fetch_status(layout, is_old_fine=True), report)
    if options.textfile is None:
        return serve(source, options.listen, report)
    while True:
        source.ask_now()
        _write(options.textfile, metrics_text(source))
        if options.every is None:
            return 0
        clock.pause(options.every)


def _write(path: str, text: bytes) -> None:
    try:
        write_atomically(os.path.abspath(path), text, 0o644, is_durable=False)
    except OSError as error:
        raise SystemFault(f"cannot write {path}: {error.strerror}") from error


def _expect_consistent(options: Namespace) -> None:
    if options.every is not None and options.textfile is None:
        raise UsageError("openha exporter: --every goes with --textfile")
    if options.textfile is not None and not options.textfile.endswith(".prom"):
        raise UsageError(
            f"openha exporter: {options.textfile}: node_exporter reads files that end in .prom"
        )


def report(text: str) -> None:
    """Write a line to the log of this process."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
