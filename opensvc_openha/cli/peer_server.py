"""``openha peer-server``: serve the other node's requests; the node daemon runs it.

It is a process of its own, so that nothing that comes over the network is handled in the daemon. It
ends when its standard input is closed, and when the peer link is switched off or the key is gone.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass

from opensvc_openha.cli import installation
from opensvc_openha.errors import OpenhaError, SystemFault
from opensvc_openha.formats.layout import Layout
from opensvc_openha.formats.options_file import PeerLinkOptions
from opensvc_openha.hints import TYPE_CHECKING
from opensvc_openha.peer_link.channel import Secret
from opensvc_openha.peer_link.client import peer_addresses, secrets_of
from opensvc_openha.peer_link.jobs import Jobs
from opensvc_openha.peer_link.listener import Listener
from opensvc_openha.peer_link.server import RequestHandler
from opensvc_openha.storage import configuration
from opensvc_openha.storage.key_store import is_peer_link_on, read_keys
from opensvc_openha.system.log_file import LogFile
from opensvc_openha.system.thread_names import name_thread

if TYPE_CHECKING:
    from opensvc_openha.cli.parsing import Parser

_LOOK_S = 1.0
_BIND_AGAIN_S = 10.0
_LOG_BYTES, _LOGS_KEPT = 1_000_000, 3
_NICE = 5
"""Less than the daemon, whose heartbeats no flood of connections may delay."""


@dataclass(frozen=True)
class Settings:
    """What the files of this node say of its peer link."""

    own_name: str
    options: PeerLinkOptions
    peer_addresses: tuple[str, ...]


def build_parser() -> Parser:
    """Return the parser of ``openha peer-server``."""
    from opensvc_openha.cli.parsing import Parser

    return Parser(
        "openha peer-server",
        "Serve the other node's requests over the peer link until the standard input ends.",
        epilog="The node daemon runs it where there is a key; [peer_link] of openha.conf says on"
        " what port, and what\nthe other node may ask for.",
    )


def main(args: list[str]) -> int:
    """Serve; return the exit code."""
    if args:
        build_parser().read(args)
    if os.geteuid() != 0:
        raise SystemFault("peer-server is for root: it runs what the other node asks for")
    layout = installation.layout()
    name_thread("peer-server")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    os.umask(0o022)
    server = _Server(layout, _log_to(layout.peer_log))
    os.nice(_NICE)
    return server.run()


class _Server:
    """The listener of this process, replaced when the settings change."""

    def __init__(self, layout: Layout, log: Callable[[str], None]) -> None:
        from opensvc_openha.cli.peer_node import ThisNode

        self._layout, self._log = layout, log
        self._settings: Settings | None = None
        self._fingerprint: tuple[object, ...] = ()
        jobs = Jobs(layout.peer_requests_dir, os.environ, log)
        self._handler = RequestHandler(ThisNode(layout), jobs, lambda: self._options().allow, log)

    def run(self) -> int:
        """Serve until the input ends, or the peer link is switched off."""
        while (settings := self._read()) is not None:
            self._settings = settings
            try:
                listener = Listener(
                    settings.options.listen,
                    settings.options.port,
                    self._secrets,
                    settings.own_name,
                    self._handler.handle,
                    self._log,
                    peer_addresses=settings.peer_addresses,
                )
            except SystemFault as error:
                self._log(f"{error}: tried again in {_BIND_AGAIN_S:g} s")
                if _is_over(_BIND_AGAIN_S):
                    return 0
                continue
            with listener:
                self._log(f"serving on port {listener.port} as {settings.own_name}")
                serving = threading.Thread(target=listener.serve, name="peer listener", daemon=True)
                serving.start()
                while not self._have_changed(settings):
                    if _is_over(_LOOK_S):
                        return 0
                listener.close()
                serving.join()
        self._log("switched off, or there is no key")
        return 0

    def _have_changed(self, settings: Settings) -> bool:
        """Return True if the files have other settings; they are read only when one was edited."""
        fingerprint = configuration.fingerprint(self._layout)
        if fingerprint == self._fingerprint:
            return False
        self._fingerprint = fingerprint
        return self._read() != settings

    def _options(self) -> PeerLinkOptions:
        assert self._settings is not None
        return self._settings.options

    def _read(self) -> Settings | None:
        """Return the present settings; those before while a file is wrong, None if off."""
        try:
            options = configuration.read_options(self._layout)
            if not is_peer_link_on(self._layout, options):
                return None
            own_name = configuration.own_name(self._layout, configuration.read_nodes(self._layout))
        except OpenhaError as error:
            if self._settings is None:
                self._log(f"not served: {error}")
            return self._settings
        addresses = tuple(sorted(set(peer_addresses(self._layout, own_name))))
        return Settings(own_name.lower(), options.peer_link, addresses)

    def _secrets(self) -> tuple[Secret, ...]:
        try:
            ring = read_keys(self._layout)
        except OpenhaError as error:
            self._log(str(error))
            return ()
        return () if ring is None else secrets_of(ring.keys)


def _is_over(wait_s: float) -> bool:
    """Wait; return True as soon as the input is closed."""
    ready, _, _ = select.select([sys.stdin.fileno()], [], [], wait_s)
    return bool(ready) and not os.read(sys.stdin.fileno(), 4096)


def _log_to(path: str) -> Callable[[str], None]:
    file = LogFile(path, _LOG_BYTES, _LOGS_KEPT)
    file.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger = logging.getLogger("peer-link")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.addHandler(file)
    return lambda text: logger.info("%s", text)
