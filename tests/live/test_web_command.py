"""`openha web` as a process beside a real daemon: what it shows of one that hangs, is stopped, gone
or another one; orders; TLS.
"""

from __future__ import annotations

import http.cookiejar
import json
import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from opensvc_openha.cli import web
from opensvc_openha.errors import UsageError
from tests.cluster_dir import ClusterDir
from tests.daemon.test_hung_engine import Hang
from tests.waiting import LIMIT_S, until

pytest.importorskip("starlette", reason="Starlette is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")

TOKEN = "0123456789abcdef01234567"
PACKAGE_ROOT = str(Path(__file__).parents[2])


@contextmanager
def served(cluster: ClusterDir, *options: str) -> Iterator[str]:
    """`openha web` on a free port; its URL. It ends by SIGTERM, with no page that keeps it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "opensvc_openha", "web", "--port", "0", *options],
        env={**cluster.env, "EZ": str(cluster.root), "PYTHONPATH": PACKAGE_ROOT},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        first = process.stdout.readline()
        assert first.startswith("openha web: http"), first + process.stdout.read()
        yield first.split()[2]
        process.terminate()
        assert process.wait(LIMIT_S) in (0, -signal.SIGTERM), process.stdout.read()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


class Browser:
    """A client with cookies."""

    def __init__(self, url: str, context: ssl.SSLContext | None = None) -> None:
        self._url = url
        handlers: list[Any] = [urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())]
        if context is not None:
            handlers.append(urllib.request.HTTPSHandler(context=context))
        self._opener = urllib.request.build_opener(*handlers)
        self.guard = ""

    def get(self, path: str) -> Any:
        with self._opener.open(self._url + path, timeout=LIMIT_S) as answer:
            return json.load(answer)

    def post(self, path: str, body: dict[str, object]) -> Any:
        headers = {"content-type": "application/json", "x-openha-guard": self.guard}
        request = urllib.request.Request(
            self._url + path, json.dumps(body).encode(), headers, method="POST"
        )
        with self._opener.open(request, timeout=LIMIT_S) as answer:
            return json.load(answer)

    def wait(self, words: str) -> dict[str, Any]:
        """Return the picture whose headline or first warning has these words."""

        def picture() -> dict[str, Any]:
            found: dict[str, Any] = self.get("picture")
            return found

        return until(picture, lambda seen: words in json.dumps(seen), what=words)


@pytest.mark.parametrize(
    "words, missing",
    [
        ("--listen 0.0.0.0", "--tls-cert and --tls-key and --token-file"),
        ("--listen 192.0.2.1 --token-file x", "--tls-cert and --tls-key"),
        ("--listen :: --tls-cert a --tls-key b", "--token-file"),
        ("--listen deb1 --tls-cert a --tls-key b", "--token-file"),
        ("--tls-cert a", "belong together"),
        ("--allow-orders", "--token-file"),
        ("--port 70000", "65535"),
    ],
)
def test_unsafe_options_are_refused(words: str, missing: str) -> None:
    """Before anything is served."""
    with pytest.raises(UsageError, match=missing):
        web.main(words.split())


def test_page_reports_a_daemon_that_hangs_is_stopped_gone_and_back(
    cluster_dir: ClusterDir,
) -> None:
    """What was seen last stays shown as old; the next daemon is reported as another one."""
    hang = Hang(cluster_dir)
    cluster_dir.add("registry")
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry force-start")
    try:
        with served(cluster_dir) as url:
            browser = Browser(url)
            found = browser.wait("STARTED")
            assert not found["is_old"] and len(found["links"]) == 4
            browser.wait("command force-start for registry")
            assert "registry: STARTED" in browser.get("why?service=registry")["lines"][0]
            hang.begin()
            found = browser.wait("its engine hangs")
            assert found["is_old"] and found["services"][0]["sides"][0]["state"] == "STARTED"
            hang.end()
            until(lambda: browser.get("picture")["is_old"], lambda old: not old, "it goes on")
            pid = cluster_dir.pid()
            cluster_dir.kill(signal.SIGSTOP)
            assert browser.wait(f"nmond (pid {pid}) does not answer")["is_old"]
            cluster_dir.kill()
            found = browser.wait("nmond is not running")
            assert found["is_old"] and found["services"][0]["name"] == "registry"
            cluster_dir.ok("ezha start")
            assert not browser.wait("nmond was restarted")["is_old"]
    finally:
        hang.end()


@pytest.fixture
def token_file(tmp_path: Path) -> str:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    path.chmod(0o600)
    return str(path)


def test_order_goes_the_way_of_the_command_over_tls(
    cluster_dir: ClusterDir, tmp_path: Path, token_file: str
) -> None:
    """Freeze in two steps: the daemon has it, as from an operator; without TLS nothing answers."""
    files = [str(tmp_path / name) for name in ("cert.pem", "key.pem")]
    openssl = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        + ["-nodes", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
        + ["-days", "2", "-out", files[0], "-keyout", files[1]],
        capture_output=True,
    )
    if openssl.returncode:
        pytest.skip("openssl makes no certificate here")
    cluster_dir.add("registry")
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry force-start")
    options = ["--allow-orders", "--token-file", token_file]
    with served(cluster_dir, "--tls-cert", files[0], "--tls-key", files[1], *options) as url:
        assert url.startswith("https:")
        with pytest.raises((urllib.error.URLError, ConnectionError)):
            Browser(url.replace("https", "http")).get("session")
        browser = Browser(url, ssl.create_default_context(cafile=files[0]))
        with pytest.raises(urllib.error.HTTPError, match="401"):
            browser.get("picture")
        browser.guard = browser.post("login", {"token": TOKEN})["guard"]
        browser.wait("STARTED")
        asked = browser.post("orders", {"order": "freeze", "service": "registry"})
        assert cluster_dir.state("registry") == "STARTED"
        words = {key: asked[key] for key in ("number", "service", "node")}
        browser.post("orders/confirm", {**words, "reason": "CHG-12"})
        cluster_dir.wait_state("registry", "FROZEN_START")
        browser.wait("Service registry FROZEN-START")
        assert "CHG-12 (page, from 127.0.0.1)" in cluster_dir.ok("openha history registry")
