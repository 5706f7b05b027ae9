"""Real members of an etcd on the loopback, which a test kills, pauses and starts again."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import ssl
import subprocess
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from opensvc_openha.errors import SystemFault
from opensvc_openha.fence_devices.etcd import EtcdClient
from opensvc_openha.formats.etcd_messages import find
from opensvc_openha.formats.lease_config import EtcdConfig
from opensvc_openha.system.child_process import die_with_parent
from tests.ports import free_port
from tests.waiting import LIMIT_S, until

USER, PASSWORD = "openha", "s3cr3t-word"
needs_etcd = pytest.mark.skipif(
    not shutil.which("etcd") and os.environ.get("CI") != "true",
    reason="needs the package etcd-server",
)


class EtcdMembers:
    """A cluster of its own; all of it is gone after ``end``."""

    def __init__(self, folder: Path, count: int = 1, is_secure: bool = False) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._scheme = "https" if is_secure else "http"
        self._ports = [(free_port(), free_port()) for _ in range(count)]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        if is_secure:
            _write_certificates(folder)
        for number in range(count):
            self.begin(number)

    @property
    def urls(self) -> tuple[str, ...]:
        """Where clients reach the members."""
        return tuple(f"{self._scheme}://127.0.0.1:{port}" for port, _ in self._ports)

    @property
    def options(self) -> EtcdConfig:
        """As in [[etcd]], with a generous limit."""
        options = EtcdConfig(self.urls, limit_s=LIMIT_S)
        if self._scheme == "http":
            return options
        return replace(
            options,
            ca_file=self.file("ca.pem"),
            cert_file=self.file("node.pem"),
            key_file=self.file("node.key"),
        )

    def file(self, name: str) -> str:
        """The path of a file of this cluster."""
        return str(self._folder / name)

    def begin(self, number: int) -> None:
        """Start a member with the data that it has."""
        client, peer = self._ports[number]
        mine = [f"{self._scheme}://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"]
        all_of_them = ",".join(
            f"m{each}=http://127.0.0.1:{port}" for each, (_, port) in enumerate(self._ports)
        )
        argv = ["etcd", "--name", f"m{number}", "--data-dir", self.file(f"data{number}")]
        argv += ["--listen-client-urls", mine[0], "--advertise-client-urls", mine[0]]
        argv += ["--listen-peer-urls", mine[1], "--initial-advertise-peer-urls", mine[1]]
        argv += ["--initial-cluster", all_of_them, "--logger", "zap"]
        argv += ["--heartbeat-interval", "100", "--election-timeout", "1000"]
        if self._scheme == "https":
            argv += ["--cert-file", self.file("member.pem"), "--key-file", self.file("member.key")]
            argv += ["--client-cert-auth", "--trusted-ca-file", self.file("ca.pem")]
        with open(self.file(f"log{number}"), "ab") as log:
            self._processes[number] = subprocess.Popen(
                argv,
                stdout=log,
                stderr=log,
                cwd="/",
                preexec_fn=lambda: die_with_parent(signal.SIGKILL),
            )

    def until_answers(self, options: EtcdConfig | None = None) -> None:
        """Wait for an answer from any of these members: there is a majority."""
        asked = replace(options or self.options, limit_s=1.0)

        def answers() -> str:
            client = EtcdClient(asked)
            try:
                client.transact([], [find(f"{asked.prefix}/none")])
            except SystemFault as error:
                return str(error)
            finally:
                client.close()
            return ""

        until(answers, lambda problem: not problem, "an answer", self.log)

    def log(self) -> str:
        """The ends of what the members have logged."""
        return "\n".join(
            path.read_text(errors="replace")[-2000:] for path in self._folder.glob("log*")
        )

    def signal(self, number: int, what: signal.Signals) -> None:
        """Send a member a signal; one that ends it is waited for."""
        self._processes[number].send_signal(what)
        if what is signal.SIGKILL:
            self._processes.pop(number).wait(LIMIT_S)

    def end(self) -> None:
        """End all members."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait(LIMIT_S)

    def enable_login(self, prefix: str) -> EtcdConfig:
        """Demand a login that may use keys below a prefix; return the options with one."""
        for what, body in (
            ("user/add", {"name": "root", "password": "r00t"}),
            ("role/add", {"name": "root"}),
            ("user/grant", {"user": "root", "role": "root"}),
            ("user/add", {"name": USER, "password": PASSWORD}),
            ("role/add", {"name": USER}),
            ("role/grant", {"name": USER, "perm": _all_below(prefix)}),
            ("user/grant", {"user": USER, "role": USER}),
            ("enable", {}),
        ):
            self.post(f"auth/{what}", body)
        secret = Path(self.file("secret"))
        secret.write_text(f"{PASSWORD}\n")
        secret.chmod(0o600)
        return replace(
            self.options, username=USER, password_file=str(secret), prefix=prefix.rstrip("/")
        )

    def post(self, path: str, body: object) -> dict[str, object]:
        """Ask the first member, beside the code that is tested."""
        context = None
        if self._scheme == "https":
            context = ssl.create_default_context(cafile=self.file("ca.pem"))
            context.load_cert_chain(self.file("member.pem"), self.file("member.key"))
        request = urllib.request.Request(
            f"{self.urls[0]}/v3/{path}", json.dumps(body).encode(), method="POST"
        )
        with urllib.request.urlopen(request, timeout=LIMIT_S, context=context) as answer:
            found: dict[str, object] = json.load(answer)
        return found


def _all_below(prefix: str) -> dict[str, str]:
    end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
    coded = {
        name: base64.b64encode(text.encode()).decode()
        for name, text in (("key", prefix), ("range_end", end))
    }
    return {"permType": "READWRITE", **coded}


def _write_certificates(folder: Path) -> None:
    """An authority, and of it a certificate of the members and one of the nodes.

    With logins the gateway accepts no certificate of a client that has a common name.
    """
    # What Python 3.13 demands of certificates.
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\nauthorityKeyIdentifier=keyid\n")
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    authority = ["req", "-x509", *new_key, "-days", "2", "-subj", "/CN=authority"]
    authority += ["-addext", "keyUsage=critical,keyCertSign"]
    _openssl(folder, *authority, "-keyout", "ca.key", "-out", "ca.pem")
    for name, subject in (("member", "/CN=member"), ("node", "/O=nodes")):
        request = ["req", *new_key, "-subj", subject]
        _openssl(folder, *request, "-keyout", f"{name}.key", "-out", f"{name}.csr")
        (folder / f"{name}.key").chmod(0o600)
        signed = ["x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key"]
        signed += ["-days", "2", "-CAcreateserial", "-extfile", "names"]
        _openssl(folder, *signed, "-out", f"{name}.pem")


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
