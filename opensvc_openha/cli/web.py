"""``openha web``: a page that shows the cluster as it is, served by a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Mapping

from opensvc_openha.cli import installation
from opensvc_openha.cli.parsing import Parser
from opensvc_openha.control import client
from opensvc_openha.errors import SystemFault, UsageError
from opensvc_openha.formats.addresses import before_port
from opensvc_openha.formats.layout import Layout
from opensvc_openha.formats.script_output import without_output
from opensvc_openha.hints import TYPE_CHECKING, Any
from opensvc_openha.system.order_reason import VARIABLE
from opensvc_openha.system.self_command import self_command

if TYPE_CHECKING:
    from argparse import Namespace

PORT = 4480
_EVENTS = 100
_ORDER_LIMIT_S = 3600.0
_OUTPUT = 2000
MISSING = (
    "openha web needs Starlette and uvicorn: apt install python3-starlette python3-uvicorn, or pip"
    " install 'opensvc-openha[web]'"
)


def build_parser() -> Parser:
    """Return the parser of ``openha web``."""
    parser = Parser(
        "openha web",
        "Serve a page that shows both nodes, links, services, fencing and the history, live. It"
        " only reads,\nand is served for this machine alone, unless options change that.",
    )
    parser.add_argument(
        "--listen",
        metavar="ADDRESS",
        default="127.0.0.1",
        help="where to listen; another one than a loopback address needs TLS and a token",
    )
    parser.add_argument(
        "--port", metavar="PORT", type=int, default=PORT, help=f"default {PORT}; 0: any free one"
    )
    parser.add_argument(
        "--name",
        metavar="NAME",
        action="append",
        default=[],
        help="a name by which browsers call this server; may be repeated",
    )
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        default="",
        help="a file with a word that opens the page, for root or the user that runs this alone",
    )
    parser.add_argument(
        "--tls-cert", metavar="FILE", default="", help="certificate, PEM, with its chain"
    )
    parser.add_argument("--tls-key", metavar="FILE", default="", help="its key, PEM")
    parser.add_flag(
        "--allow-orders",
        help="let users with the token start, switch, stop, freeze and thaw services of this node",
    )
    return parser


def main(args: list[str]) -> int:
    """Run ``openha web``; return the exit code."""
    options = build_parser().read(args)
    from opensvc_openha.live import access

    _expect_safe(options, access.is_loopback(options.listen))
    token = access.read_token(options.token_file) if options.token_file else ""
    layout = installation.layout()
    try:
        from opensvc_openha.live import web_app, web_server
    except ImportError as error:
        raise SystemFault(f"{MISSING} ({error})") from error

    from opensvc_openha.cli.history import newest_entries
    from opensvc_openha.live.observer import Observer
    from opensvc_openha.live.order_desk import OrderDesk

    observer = Observer(
        lambda: installation.shown_status(layout), lambda: newest_entries(layout, _EVENTS)
    )
    gate = access.Access(token, _hosts(options))
    orders = OrderDesk(_run, lambda: client.fetch_status(layout)) if options.allow_orders else None
    tls = web_server.Tls(options.tls_cert, options.tls_key) if options.tls_cert else None
    listening = web_server.open_socket(options.listen, options.port)
    name = before_port(options.listen)
    print(
        f"openha web: http{'s' if tls else ''}://{name}:{listening.getsockname()[1]}/"
        f" ({'takes orders' if orders else 'read-only'})",
        flush=True,
    )
    observer.start()
    try:
        web_server.serve(
            listening,
            tls,
            lambda is_ending: web_app.build(
                web_app.Site(
                    observer,
                    gate,
                    tls is not None,
                    lambda service: _why(layout, service),
                    # Without a token every user of this machine reads it.
                    (lambda text: text) if token else without_output,
                    orders,
                    is_ending,
                )
            ),
        )
    finally:
        observer.stop()
    return 0


def _expect_safe(options: Namespace, is_loopback: bool) -> None:
    """Raise UsageError for options that would show or allow something to anybody."""
    if not 0 <= options.port <= 65535:
        raise UsageError(f"openha web: --port: expected 0 to 65535, found {options.port}")
    if bool(options.tls_cert) != bool(options.tls_key):
        raise UsageError("openha web: --tls-cert and --tls-key belong together")
    if not is_loopback:
        missing = [
            option
            for option, is_given in (
                ("--tls-cert and --tls-key", options.tls_cert),
                ("--token-file", options.token_file),
            )
            if not is_given
        ]
        if missing:
            raise UsageError(
                f"openha web: --listen {options.listen}: others than this machine can reach it:"
                f" give {' and '.join(missing)} too, or leave --listen out"
            )
    if options.allow_orders and not options.token_file:
        raise UsageError("openha web: --allow-orders needs --token-file: every local user could")


def _hosts(options: Namespace) -> frozenset[str]:
    """Return the names in requests that are answered."""
    found = {options.listen, *options.name}
    if options.listen in ("127.0.0.1", "::1", "localhost"):
        found |= {"127.0.0.1", "::1", "localhost"}
    if options.listen in ("0.0.0.0", "::"):
        found |= {socket.gethostname(), socket.getfqdn()}
    return frozenset(name.lower().rstrip(".") for name in found)


def _why(layout: Layout, service: str) -> Mapping[str, Any]:
    from opensvc_openha.cli.why import explanation_lines

    return {"service": service, "lines": explanation_lines(layout, service)}


def _run(service: str, action: str, reason: str) -> tuple[bool, str]:
    """Run the command that an operator would type, as the user of this process."""
    done = subprocess.run(
        [*self_command(), "service", "-A", service, action],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, VARIABLE: reason},
        timeout=_ORDER_LIMIT_S,
        check=False,
    )
    text = done.stdout.decode("utf-8", "replace").strip()[-_OUTPUT:]
    return done.returncode == 0, text
