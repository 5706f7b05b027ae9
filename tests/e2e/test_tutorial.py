"""The tutorial typed on two nodes, its timeouts unchanged, and what appears compared with its text
line by line.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from opensvc_openha.demo.nodes import TwoNodes
from opensvc_openha.demo.player import PRELUDE, install_programs, prepare
from opensvc_openha.demo.story import FULL, NAMES, PROGRAMS, monitor_file
from opensvc_openha.errors import SystemFault
from tests import waiting
from tests.e2e.transcript import normalised, read_transcript
from tests.waiting import LIMIT_S

TRANSCRIPT = Path(__file__).with_name("tutorial.txt")


@pytest.fixture
def tutorial_nodes() -> Iterator[TwoNodes]:
    """Two nodes with the tutorial's service files and configuration, OpenHA installed, nothing
    started.
    """
    try:
        nodes = TwoNodes(hosts=PROGRAMS.addresses)
    except SystemFault as error:
        import os

        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    with nodes:
        for node in nodes:
            prepare(node)
        install_programs(nodes, FULL)
        for node in nodes:
            for service in ("registry", "busybox"):
                path = f"/etc/opensvc/{service}.opensvc.com.env"
                text = re.sub(r"autostart_node.*\n", "", node.read(path))
                node.write(path, text + f"\n[hb#0]\ntype = OpenHA\nname = {service}\n")
            done = node.run("openha install --embedded-agent")
            assert done.returncode == 0, done.stderr
            node.write("/usr/local/cluster/conf/nodes", "".join(f"{name}\n" for name in NAMES))
            node.write("/usr/local/cluster/conf/monitor", monitor_file(10))
        yield nodes


@pytest.mark.e2e
def test_everything_the_tutorial_shows_appears(tutorial_nodes: TwoNodes) -> None:
    """Each command exits with 0 and prints what the tutorial prints; only times and pids differ."""
    for typed in read_transcript(TRANSCRIPT.read_text()):
        node = tutorial_nodes[typed.node]
        if typed.how == "!":
            {"halt": node.kill, "boot": node.boot}[typed.command]()
            continue
        give_up = time.monotonic() + (LIMIT_S if typed.how == "~" else 0)
        while True:
            asked = time.monotonic()
            done = node.run(PRELUDE + typed.command)
            shown = normalised(done.stdout + done.stderr)
            if (done.returncode == 0 and shown == typed.expected) or time.monotonic() >= give_up:
                break
            waiting.pause_after(asked)
        assert shown == typed.expected, (
            f"{TRANSCRIPT.name}:{typed.line}: on {node.name}: {typed.command}"
        )
        assert done.returncode == 0
