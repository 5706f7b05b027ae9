"""Redfish services: sushy-tools' emulator, and one of our own that can answer PoweringOff."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.waiting import LIMIT_S, until

SYSTEM = "/redfish/v1/Systems/1"
_IS_CI = os.environ.get("CI") == "true"
needs_redfish = pytest.mark.skipif(
    not (shutil.which("fence_redfish", path="/usr/sbin:/usr/bin") and shutil.which("openssl"))
    and not _IS_CI,
    reason="needs the packages fence-agents and openssl",
)
needs_sushy = pytest.mark.skipif(
    importlib.util.find_spec("sushy_tools") is None and not _IS_CI, reason="needs sushy-tools"
)


class Certificate:
    """A certificate of 127.0.0.1, and its key."""

    def __init__(self, folder: Path) -> None:
        self.path, self.key = folder / "certificate.pem", folder / "key.pem"
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
                *("-subj", "/CN=board", "-addext", "subjectAltName=IP:127.0.0.1"),
                *("-keyout", str(self.key), "-out", str(self.path)),
            ],
            check=True,
            capture_output=True,
        )


class RedfishBoard:
    """A Redfish service over TLS with one system, whose ``state`` the test sets.

    ``after_off`` are the states that it goes through after ForceOff, one for each question.
    """

    def __init__(self, certificate: Certificate) -> None:
        self.state = "On"
        self.after_off = ["Off"]
        self.orders: list[str] = []
        self.authorizations: set[str | None] = set()
        self.is_hanging = threading.Event()
        self.status = 200
        board = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                board.authorizations.add(self.headers.get("Authorization"))
                if board.is_hanging.is_set():
                    board.is_over.wait(LIMIT_S)
                if self.path == SYSTEM and board.orders and board.after_off:
                    board.state = board.after_off.pop(0)
                self._answer(board.answers[self.path])

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                board.orders.append(json.loads(self.rfile.read(length))["ResetType"])
                self._answer({})

            def log_message(self, *_: object) -> None:
                pass

            def _answer(self, found: object) -> None:
                body = json.dumps(found() if callable(found) else found).encode()
                self.send_response(board.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.is_over = threading.Event()
        self.answers = {
            "/redfish/v1": {"Systems": {"@odata.id": "/redfish/v1/Systems"}},
            "/redfish/v1/Systems": {"Members": [{"@odata.id": SYSTEM}]},
            SYSTEM: lambda: {
                "PowerState": self.state,
                "Actions": {"#ComputerSystem.Reset": {"target": f"{SYSTEM}/Reset"}},
            },
        }
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.path, certificate.key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._certificate = certificate
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def options(self) -> dict[str, str]:
        """How it is reached, as in a section, but for the password."""
        return {
            "ip": "127.0.0.1",
            "ipport": str(self._server.server_address[1]),
            "username": "admin",
            "systems_uri": SYSTEM,
            "ca_file": str(self._certificate.path),
        }

    def close(self) -> None:
        """Serve no more."""
        self.is_over.set()
        self._server.shutdown()
        self._server.server_close()


class SushyEmulator:
    """sushy-tools' emulator with its fake driver: power goes some seconds after the order."""

    def __init__(self, folder: Path, certificate: Certificate) -> None:
        self._certificate = certificate
        uuid = "27946b59-9e44-4fa7-8e91-f3527a1ef094"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        config = folder / "sushy.conf"
        config.write_text(
            f"SUSHY_EMULATOR_STATE_DIR = {str(folder)!r}\n"
            f"SUSHY_EMULATOR_FAKE_SYSTEMS = [{{'uuid': {uuid!r}, 'name': 'deb1',"
            " 'power_state': 'On', 'external_notifier': False, 'nics': []}]\n"
        )
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-c", "import sushy_tools.emulator.main as m; m.main()"),
                *("--config", str(config), "--fake", "-i", "127.0.0.1", "-p", str(self._port)),
                *("--ssl-certificate", str(certificate.path), "--ssl-key", str(certificate.key)),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(self._is_there, what="the emulator listens")

    @property
    def options(self) -> dict[str, str]:
        """How it is reached, as in a section, but for the password."""
        return {
            "ip": "127.0.0.1",
            "ipport": str(self._port),
            "username": "admin",
            "ca_file": str(self._certificate.path),
        }

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait(LIMIT_S)

    def _is_there(self) -> bool:
        assert self._process.poll() is None, "the emulator ended"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0
