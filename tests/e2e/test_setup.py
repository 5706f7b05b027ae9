"""`openha setup` and `openha join` on two blank nodes, and what keeps them from it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from opensvc_openha.demo.nodes import Node, TwoNodes
from opensvc_openha.demo.player import prepare
from tests import waiting
from tests.e2e.two_node_cluster import EZ

DISK = "/dev/mapper/disk.hb.0"
TOKEN = re.compile(r"openha join ([a-z2-7]+)")
CONFIGURATION = f"cd {EZ}/conf 2>/dev/null && sha256sum * 2>/dev/null"


@pytest.fixture
def blank(two_nodes: TwoNodes) -> Iterator[TwoNodes]:
    """Yield two nodes with the command alone, and networks of containers on both."""
    for node in two_nodes:
        prepare(node)
        node.run(
            "ip link add docker0 type bridge && ip link set docker0 up"
            " && ip addr add 172.17.0.1/16 dev docker0"
        )
    yield two_nodes


@dataclass
class Setup:
    """One run of `openha setup` in a node, whose output is read as it comes."""

    node: Node
    words: str
    output: str = ""
    token: str = ""
    process: subprocess.Popen[str] = field(init=False)

    def __post_init__(self) -> None:
        self.process = self.node.popen(
            f"openha setup {self.words}",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def read_token(self) -> str:
        """Return the token, once it was printed."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            found = TOKEN.search(line)
            if found:
                self.token = found.group(1)
                return self.token
        raise AssertionError(f"no token: {self.output}")

    def read_until(self, text: str) -> None:
        """Read up to a line with this text."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if text in line:
                return
        raise AssertionError(f"no {text!r}: {self.output}")

    def interrupt(self) -> None:
        """Type Ctrl-C, which changes nothing and is answered with what to do next."""
        os.killpg(self.process.pid, signal.SIGINT)
        assert self.end() != 0
        assert "nothing was changed" in self.output and "new token" in self.output

    def end(self) -> int:
        """Read the rest; return the exit code."""
        assert self.process.stdout is not None
        self.output += self.process.stdout.read()
        return self.process.wait(waiting.LIMIT_S)


def join(node: Node, token: str, words: str = "--yes") -> subprocess.CompletedProcess[str]:
    """Run `openha join` in a node."""
    return node.run(f"echo {token} | openha join - {words}", waiting.LIMIT_S)


def is_secret_in_files(node: Node, secret: str) -> bool:
    """Return whether any file of the cluster but the key holds a text."""
    found = node.run(
        f"grep -rlaF {secret} {EZ} /var/log /etc/opensvc /var/lib/opensvc 2>/dev/null"
        " | grep -v '/openha.key$'"
    )
    return bool(found.stdout.strip())


def test_two_commands_and_no_line_of_configuration(blank: TwoNodes) -> None:
    """Setup here, join there: heartbeats on all networks and the disk, and nothing secret shown.

    A second run finds nothing to do. A node that was wiped joins again with the same two commands.
    """
    first, second = blank
    for node in blank:
        # As a package or `openha install` leaves it: each node has a key of its own, never used.
        assert node.run("openha install").returncode == 0

    setup = Setup(first, f"deb2 --yes --disk {DISK} --fence command:/bin/false,/bin/true")
    token = setup.read_token()
    assert "docker0" not in setup.output and "eth1" in setup.output

    # The operator of the second node is asked; meanwhile no list of processes shows the token.
    controller, terminal = os.openpty()
    joining = second.popen(
        ["openha", "join", token], stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    os.close(terminal)
    setup.read_until("waiting for the answer on deb2")
    shown = second.run("cat /proc/[1-9]*/cmdline | tr '\\0' ' '").stdout
    assert "opensvc_openha join" in shown and token not in shown
    os.write(controller, b"y\n")
    joined_output = joining.communicate(timeout=waiting.LIMIT_S)[0]
    os.close(controller)
    assert joining.returncode == 0, joined_output + setup.output
    assert setup.end() == 0, setup.output + joined_output
    for text in (setup.output, joined_output):
        assert "hear each other on every link (4 links, both directions)" in text
        assert "openha add" in text

    # Alike on both, and the same key; what was replaced is kept.
    files = [
        node.run(f"cd {EZ}/conf && sha256sum nodes monitor openha.conf openha.key").stdout
        for node in blank
    ]
    assert files[0] == files[1] and files[0].count("\n") == 4
    assert os.path.exists(f"{second.root}{EZ}/conf/openha.key.before-setup")
    secrets = re.findall(r"\b[0-9a-f]{64}\b", first.read(f"{EZ}/conf/openha.key"))
    assert len(secrets) == 1
    for text in (token, secrets[0]):
        assert text not in joined_output
        assert not any(is_secret_in_files(node, text) for node in blank)

    # The token is worth nothing any more, and a second run has nothing to do.
    assert join(second, token).returncode != 0
    again = first.run(f"openha setup deb2 --yes --disk {DISK} --fence command:/bin/false,/bin/true")
    assert again.returncode == 0 and "nothing to do" in again.stdout, again.stderr
    other = first.run("openha setup deb2 --yes --fence lease")
    assert other.returncode != 0 and "and that is kept" in other.stderr

    # The second node loses its disk and is installed again: the first one gives it all it needs.
    kept = first.run(CONFIGURATION).stdout
    second.run(f"openha kill; rm -rf {EZ} /etc/opensvc /etc/systemd/system/opensvc-openha*")
    setup = Setup(first, "deb2 --yes")
    done = join(second, setup.read_token())
    assert done.returncode == 0, done.stdout + done.stderr
    assert setup.end() == 0, setup.output
    assert first.run(CONFIGURATION).stdout == kept
    assert "hear each other on every link (4 links" in setup.output


def test_what_keeps_a_node_from_joining_is_named_and_changes_nothing(blank: TwoNodes) -> None:
    """Another name, another disk, no answer, a dry run, a link that is closed; then it works."""
    first, second = blank
    assert second.run("openha install").returncode == 0
    before = [first.run(CONFIGURATION).stdout, second.run(CONFIGURATION).stdout]

    # The joining node has another name than the one that was asked for.
    setup = Setup(first, "deb3 --yes")
    done = join(second, setup.read_token())
    assert "run `openha setup deb2.opensvc.com`" in done.stderr, done.stdout + done.stderr
    setup.read_until("did not join")
    setup.interrupt()

    # One path, two disks: the marks do not arrive, and no slot keeps one.
    for node in blank:
        node.run("truncate -s 4M /opt/blank")
    setup = Setup(first, "deb2 --yes --disk /opt/blank")
    done = join(second, setup.read_token())
    assert "not the same disk on both nodes" in done.stderr, done.stdout + done.stderr
    setup.read_until("did not join")
    for node in blank:
        assert node.run("tr -d '\\0' < /opt/blank | wc -c").stdout.strip() == "0"
    setup.interrupt()

    # A dry run and a refusal leave the token valid, and the disk as it was.
    setup = Setup(first, f"deb2 --yes --link eth1 --link eth2 --disk {DISK}")
    token = setup.read_token()
    dry = join(second, token, "--dry-run")
    assert dry.returncode == 0 and "eth2" in dry.stdout, dry.stdout + dry.stderr
    setup.read_until("made a dry run")
    assert first.run(f"tr -d '\\0' < {DISK} | wc -c").stdout.strip() == "0"
    unasked = join(second, token, "")
    assert unasked.returncode != 0 and "--yes" in unasked.stderr
    assert [first.run(CONFIGURATION).stdout, second.run(CONFIGURATION).stdout] == before

    # The first node cannot write: the second one has written, and undoes that.
    first.run(f"mount -t tmpfs -o ro none {EZ}/conf")
    done = join(second, token)
    assert f"cannot write {EZ}/conf" in done.stderr, done.stdout + done.stderr
    assert setup.end() != 0 and "cannot write" in setup.output
    first.run(f"umount {EZ}/conf")
    assert [first.run(CONFIGURATION).stdout, second.run(CONFIGURATION).stdout] == before

    # A network that carries nothing is left out.
    second.cut("eth2")
    setup = Setup(first, "deb2 --yes --link eth1 --link eth2")
    token = setup.read_token()
    done = join(second, token)
    assert done.returncode == 0, done.stdout + done.stderr + setup.output
    assert setup.end() == 0, setup.output
    assert "did not hear" in setup.output and "every link (1 link," in setup.output
    assert "eth2" not in first.read(f"{EZ}/conf/monitor")

    # A node that is configured otherwise keeps that, and the difference is shown.
    second.write(f"{EZ}/conf/nodes", "deb2.opensvc.com\ndeb9.opensvc.com\n")
    second.run("openha kill")
    setup = Setup(first, "deb2 --yes")
    done = join(second, setup.read_token())
    assert done.returncode != 0 and "-deb9.opensvc.com" in done.stdout, done.stdout + done.stderr
    assert "deb9" in second.read(f"{EZ}/conf/nodes")
    setup.interrupt()


def test_a_token_of_nobody_and_a_token_that_nobody_serves(blank: TwoNodes) -> None:
    """The joining node says what may be wrong, and setup ends by itself when its time is over."""
    first, second = blank
    setup = Setup(first, "deb2 --yes --wait 1")
    token = setup.read_token()
    assert setup.end() != 0
    assert "did not join in 1 s: nothing was changed" in setup.output
    done = join(second, token)
    assert done.returncode != 0 and "run `openha setup` there again" in done.stderr, done.stderr
    assert token not in done.stderr + done.stdout
    mistyped = join(second, token[:-3])
    assert mistyped.returncode == 2 and "whole line" in mistyped.stderr
    assert second.run(CONFIGURATION).stdout == ""
