"""The samples for notify.d, sent by `openha notify test` to real receivers on this machine."""

from __future__ import annotations

import email
import email.policy
import http.server
import json
import shutil
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from opensvc_openha.cli.json_views import NotificationView
from tests.cli.test_json_views import published
from tests.cluster_dir import HERE, ClusterDir
from tests.generated import ROOT
from tests.ports import free_port
from tests.waiting import until

SENDMAIL = """#!{python}
import smtplib, sys
sender = sys.argv[sys.argv.index("-f") + 1]
with smtplib.SMTP("127.0.0.1", {port}, timeout=60) as server:
    text = sys.stdin.buffer.read()
    server.sendmail(sender, ["root@example.org"], text)
"""


def install(cluster: ClusterDir, name: str) -> None:
    """Copy a sample to notify.d."""
    folder = cluster.path("conf/notify.d")
    folder.mkdir(exist_ok=True)
    shutil.copy(ROOT / "resources/notify" / name, folder)
    (folder / name).chmod(0o700)


class _Smtp(socketserver.StreamRequestHandler):
    """As much of RFC 5321 as smtplib needs."""

    def handle(self) -> None:
        self.wfile.write(b"220 sink\r\n")
        for line in self.rfile:
            word = line[:4].upper()
            if word == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                self.server.mails.append(  # type: ignore[attr-defined]
                    b"".join(iter(self.rfile.readline, b".\r\n"))
                )
            self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")
            if word == b"QUIT":
                return


class _Hook(http.server.BaseHTTPRequestHandler):
    """Takes what is posted, unless a test has it refuse."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posted.append(json.loads(body))  # type: ignore[attr-defined]
        self.send_response(self.server.code)  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


@pytest.fixture(name="smtp")
def run_smtp() -> Iterator[Any]:
    """An SMTP server with what it got."""
    yield from _serve(socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Smtp), mails=[])


@pytest.fixture(name="hook")
def run_hook() -> Iterator[Any]:
    """A web server with what it got."""
    yield from _serve(http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hook), posted=[], code=200)


def _serve(server: Any, **state: object) -> Iterator[Any]:
    vars(server).update(state)
    with server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_mail_is_delivered(cluster_dir: ClusterDir, smtp: Any, tmp_path: Path) -> None:
    """A mail with a subject for people, and all of it as JSON; the end says OK."""
    install(cluster_dir, "mail")
    sendmail = tmp_path / "sendmail"
    sendmail.write_text(SENDMAIL.format(python=sys.executable, port=smtp.server_address[1]))
    sendmail.chmod(0o755)
    cluster_dir.env |= {"OPENHA_SENDMAIL": str(sendmail), "OPENHA_MAIL_TO": "root@example.org"}
    assert cluster_dir.ok("openha notify test dual-run") == "mail: ok\n"
    (mail,) = smtp.mails
    found = email.message_from_bytes(mail, policy=email.policy.default)
    assert found["Subject"].startswith(f"[TEST] {HERE}: dual-run: a test")
    assert (found["To"], found["X-OpenHA-Event"]) == ("root@example.org", "dual-run")
    text = found.get_content()
    notification = json.loads(text[text.index("{") :])
    jsonschema.validate(notification, published(NotificationView), jsonschema.Draft202012Validator)


def test_mail_that_cannot_be_sent_is_a_failure(cluster_dir: ClusterDir) -> None:
    """Then it is tried again: the exit code is that of sendmail."""
    install(cluster_dir, "mail")
    cluster_dir.env["OPENHA_SENDMAIL"] = "/bin/false"
    assert "mail: ended with 1" in cluster_dir.quick("openha notify test").stdout


def test_webhook_gets_the_notification_or_a_line_of_chat(
    cluster_dir: ClusterDir, hook: Any
) -> None:
    """As it is, or as chats want it; an error of the server is one here."""
    install(cluster_dir, "webhook")
    place = f"http://127.0.0.1:{hook.server_address[1]}/openha"
    cluster_dir.env["OPENHA_WEBHOOK_URL"] = place
    assert cluster_dir.ok("openha notify test takeover") == "webhook: ok\n  200 OK\n"
    jsonschema.validate(
        hook.posted[0], published(NotificationView), jsonschema.Draft202012Validator
    )
    cluster_dir.env["OPENHA_WEBHOOK_FORM"] = "text"
    cluster_dir.ok("openha notify test link-down --over")
    assert list(hook.posted[1]) == ["text"]
    assert hook.posted[1]["text"].startswith(f"[test] {HERE}: link-down over: a test")
    hook.code = 503
    assert "webhook: ended with 1" in cluster_dir.quick("openha notify test").stdout


@pytest.mark.skipif(
    not (shutil.which("snmptrap") and shutil.which("snmptrapd", path="/usr/sbin:/usr/bin:/sbin")),
    reason="snmptrap, snmptrapd are not installed (Debian: snmp, snmptrapd)",
)
def test_snmp_trap_is_acknowledged_by_a_real_receiver(
    cluster_dir: ClusterDir, tmp_path: Path
) -> None:
    """An inform request: without the receiver it fails, and is tried again."""
    install(cluster_dir, "snmptrap")
    port, log = free_port(), tmp_path / "traps"
    config = tmp_path / "snmptrapd.conf"
    config.write_text("authCommunity log secret\n")
    cluster_dir.env |= {
        "OPENHA_SNMP_RECEIVER": f"udp:127.0.0.1:{port}",
        "OPENHA_SNMP_COMMUNITY": "secret",
    }
    program = shutil.which("snmptrapd", path="/usr/sbin:/usr/bin:/sbin")
    words = [program, "-f", "-On", "-C", "-c", str(config), "-Lf", str(log), "-m", ""]
    with subprocess.Popen(
        [*map(str, words), f"udp:127.0.0.1:{port}"],
        env={**cluster_dir.env, "SNMP_PERSISTENT_DIR": str(tmp_path)},
    ) as receiver:
        try:
            until(lambda: log.exists() and "NET-SNMP version" in log.read_text(), what="it is up")
            until(
                lambda: cluster_dir.quick("openha notify test start-failed").returncode,
                lambda code: code == 0,
                "it is acknowledged",
            )
            text = until(log.read_text, lambda seen: "start-failed" in seen, "the trap")
        finally:
            receiver.terminate()
    assert ".1.3.6.1.3.5430.0.1" in text and f'"{HERE}"' in text and "a test by openha" in text
    done = cluster_dir.quick("openha notify test")
    assert done.returncode == 6 and "snmptrap: ended with 1" in done.stdout
