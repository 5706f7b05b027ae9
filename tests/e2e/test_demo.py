"""`openha demo` as an operator runs it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys

import pytest

from opensvc_openha.demo.nodes import TwoNodes
from tests.waiting import LIMIT_S

pytestmark = pytest.mark.e2e


def run_demo(*options: str) -> subprocess.CompletedProcess[str]:
    """Run the demo to its end."""
    argv = [sys.executable, "-m", "opensvc_openha", "demo", *options]
    return subprocess.run(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=3 * LIMIT_S,
        check=False,
    )


def test_the_fast_demo_ends_with_its_table(two_nodes: TwoNodes) -> None:
    """The fast demo is run: it ends with 0 and a table with a figure for every stage of both
    takeovers, in their order.
    """
    two_nodes.close()
    done = run_demo("--fast", "--timeout", str(int(2 * LIMIT_S)))
    assert done.returncode == 0, done.stdout[-4000:]
    rows = re.findall(r"(?m)^(registry|busybox)((?: +\d+\.\d\d s){6})$", done.stdout)
    assert [service for service, _ in rows] == ["registry", "busybox"]
    for _, figures in rows:
        detected, decided, stays, begins, application, started = (
            float(word) for word in figures.split() if word != "s"
        )
        # The mirror of the peer's state is written beside the decision, not before it.
        assert detected > 0 and stays > 4.5, "both are read from files, by a process of its own"
        assert decided < begins < application < started
    assert "\033" not in done.stdout, "no colours where there is no terminal"


def test_a_demo_that_runs_out_of_time_reports_where(two_nodes: TwoNodes) -> None:
    """The demo gets 3 s, too few: it ends with an error, reports at which step, and shows the
    nodes' status.
    """
    two_nodes.close()
    done = run_demo("--fast", "--no-containers", "--timeout", "3")
    assert done.returncode == 6, done.stdout[-4000:]
    assert "The demo failed" in done.stdout
    assert "deb1.opensvc.com:" in done.stdout and "deb2.opensvc.com:" in done.stdout


def test_the_way_into_a_kept_node_works(two_nodes: TwoNodes) -> None:
    """`--keep` shows a command for a shell in a node: typed on the host it leads there."""
    line = f"{two_nodes[1].entry_command} -c {shlex.quote('hostname; echo $HOME')}"
    done = subprocess.run(
        ["sh", "-c", line],
        stdout=subprocess.PIPE,
        text=True,
        timeout=LIMIT_S,
        check=True,
        env=dict(os.environ),
    )
    assert done.stdout == "deb2.opensvc.com\n/root\n"
