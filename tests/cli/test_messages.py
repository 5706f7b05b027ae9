"""What the commands print where an operator would otherwise draw a wrong conclusion."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from opensvc_openha.control import client
from opensvc_openha.core.events import BY_MONITOR, Command
from opensvc_openha.formats.layout import tree_layout
from tests.cluster_dir import HERE, PEER, ClusterDir
from tests.peer_voice import PeerVoice

SLOW = "case $1 in stop) touch $0.stopping; while [ ! -e $0.go ]; do sleep 0.05; done;; esac"


def _interrupt(cluster_dir: ClusterDir, command: str, program: str) -> str:
    """Ctrl-C once the stop script runs; what the command printed on stderr.

    It must end with 130.
    """
    words = [str(cluster_dir.path(program)), *command.split()]
    with subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=cluster_dir.env,
        stdin=subprocess.DEVNULL,
    ) as process:
        cluster_dir.wait(cluster_dir.path("registry.sh.stopping").exists, "the stop script runs")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    return errors


def test_interrupted_action_names_what_continues(cluster_dir: ClusterDir) -> None:
    """Ctrl-C during `service -A registry stop`: the command ends, and reports that the stop does
    not.
    """
    cluster_dir.add("registry", SLOW)
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry force-start")
    errors = _interrupt(cluster_dir, "-A registry stop", "bin/service")
    assert errors == "interrupted: the node daemon continues the action, see `service -s -c`\n"
    assert cluster_dir.state("registry") == "STOPPING"
    cluster_dir.path("registry.sh.go").touch()
    cluster_dir.wait_state("registry", "STOPPED")


def test_interrupted_stop_of_the_node_names_what_continues(cluster_dir: ClusterDir) -> None:
    """Ctrl-C during `ezha stop`: the node continues to stop, and its daemon ends then."""
    cluster_dir.add("registry", SLOW)
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry force-start")
    errors = _interrupt(cluster_dir, "stop", "ezha")
    assert "interrupted: this node continues to stop its services, then nmond ends" in errors
    cluster_dir.path("registry.sh.go").touch()
    cluster_dir.wait(lambda: not cluster_dir.pid(), "the daemon has ended")


def test_resource_monitor_is_named_where_it_acted(cluster_dir: ClusterDir) -> None:
    """The monitor's freezestop: status, log, history and `why` name it, not an operator."""
    cluster_dir.add("registry")
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry force-start")
    layout = tree_layout(str(cluster_dir.root))
    assert [
        answer.is_ok for answer in client.act(layout, Command.FREEZE_STOP, ["registry"], BY_MONITOR)
    ][-1]
    cluster_dir.wait_state("registry", "FROZEN_STOP")
    assert "STARTED -> STOPPING: resource monitor: freeze-stop" in cluster_dir.log()
    # The history is written in batches, soon after the change.
    cluster_dir.wait(
        lambda: "resource monitor: freeze-stop" in cluster_dir.ok("openha why registry"),
        "why names it",
    )
    assert "operator: freeze-stop" not in cluster_dir.ok("openha why registry")
    assert "by resource monitor, root (" in cluster_dir.ok("openha history registry")
    cluster_dir.ok("service -A registry unfreeze")
    cluster_dir.wait(
        lambda: "operator: unfreeze" in cluster_dir.ok("openha history registry"),
        "the unfreeze is kept",
    )


def test_restart_of_the_peers_daemon_is_in_log_and_history(cluster_dir: ClusterDir) -> None:
    """It was back before its links were down: no other trace of it would be there."""
    cluster_dir.ok("ezha start")
    voices = [PeerVoice(cluster_dir, counter=7)]
    try:
        voices[0].meet(cluster_dir)
        voices[0].close()
        voices.append(PeerVoice(cluster_dir, counter=8))
        text = f"peer {PEER}: RESTARTED: its daemon was started again"

        def is_reported() -> bool:
            voices[1].listen()
            voices[1].send()
            return text in cluster_dir.ok("openha history")

        cluster_dir.wait(is_reported, "the restart is reported")
    finally:
        for voice in voices:
            voice.close()
    assert text in cluster_dir.log()


def test_directory_of_the_environment_that_is_not_there_is_named(cluster_dir: ClusterDir) -> None:
    """EZ=/nonexistent is a mistake in the environment, not a daemon that does not run."""
    cluster_dir.env["EZ"] = "/nonexistent"
    for command in (
        "service -s",
        "hb -s",
        "ezha start",
        "ezha status",
        "openha why registry",
        "openha ps",
    ):
        assert cluster_dir.fails(command, 3).startswith(
            "EZ=/nonexistent: there is no such directory: unset EZ"
        )


@pytest.mark.parametrize("where", ["-d 5", "-d 15", "-d 10"])
@pytest.mark.parametrize("how", ["--force", "-a --force -T 5"])
def test_slot_within_a_configured_one_is_not_taken(
    cluster_dir: ClusterDir, where: str, how: str
) -> None:
    """`hb --force` at an offset in, or reaching into, another link's slot: 5 or 3, and the device
    is untouched.
    """
    disk = Path(cluster_dir.root / "disk")
    before, monitor = disk.read_bytes(), cluster_dir.path("conf/monitor").read_text()
    done = cluster_dir.run(f"hb {how} -n {HERE} -t dio -i {disk} {where}")
    assert done.returncode in (3, 5) and done.stdout == "", done
    assert disk.read_bytes() == before and cluster_dir.path("conf/monitor").read_text() == monitor
    link = cluster_dir.root / "same-disk"
    link.symlink_to(disk)
    assert "reaches into it" in cluster_dir.fails(
        f"hb --force -n {HERE} -t dio -i {link} {where}", 5
    )
    assert disk.read_bytes() == before


def test_own_configured_slot_and_a_free_one_can_be_taken(cluster_dir: ClusterDir) -> None:
    """What `hb --force` is for, and a place behind all that is configured."""
    for offset in ("0", "20"):
        assert "taken" in cluster_dir.ok(
            f"hb --force -n {HERE} -t dio -i {cluster_dir.root}/disk -d {offset}"
        )


def test_ps_explains_its_numbers(cluster_dir: ClusterDir) -> None:
    """On a terminal a line below the table, and always in its help.

    To a pipe the table alone, as in the tutorial.
    """
    assert "A signal to any of these numbers is one to the whole daemon" in " ".join(
        cluster_dir.ok("openha ps --help").split()
    )
    cluster_dir.ok("ezha start")
    cluster_dir.ok("openha ps")
    terminal, inner = os.openpty()
    try:
        done = subprocess.run(
            [str(cluster_dir.path("bin/openha")), "ps"],
            stdout=inner,
            stderr=subprocess.PIPE,
            text=True,
            env=cluster_dir.env,
            timeout=30,
            check=False,
        )
    finally:
        os.close(inner)
        os.close(terminal)
    assert f"numbers are those of threads of nmond, pid {cluster_dir.pid()}" in done.stderr


def test_control_characters_are_shown_as_escapes(cluster_dir: ClusterDir) -> None:
    """A script prints an escape sequence, and a word on the command line has one: neither reaches
    the terminal.
    """
    cluster_dir.add("registry", "case $1 in stop) printf 'red \\033[31m\\a\\n'; exit 1;; esac")
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry force-start")
    cluster_dir.run("service -A registry stop")
    for shown in (
        cluster_dir.ok("service -s -v"),
        cluster_dir.log(),
        cluster_dir.ok("openha why registry"),
    ):
        assert "\x1b" not in shown and "\x07" not in shown
        assert "red \\e[31m" in shown
    assert "\\e[31m" in cluster_dir.fails("service -i \x1b[31m", 3)


@pytest.mark.parametrize(
    "first_line, message",
    [
        ("#!/bin/sh\r", "has the line ends of DOS (CR LF)"),
        ("#!/usr/bin/env sh\r", "has the line ends of DOS (CR LF)"),
        (
            "#!/no/such/interpreter",
            "names the interpreter /no/such/interpreter in its first line, which does not exist",
        ),
    ],
)
def test_script_that_cannot_be_run_is_reported_with_what_is_wrong_with_it(
    cluster_dir: ClusterDir, first_line: str, message: str
) -> None:
    """Edited on another system after it was added: the failed stop, status and log name the cause,
    and `service -a` does.
    """
    cluster_dir.add("registry")
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry force-start")
    script = cluster_dir.path("registry.sh")
    with open(script, "w", encoding="ascii", newline="") as file:
        file.write(f"{first_line}\nexit 0\n")
    assert message in cluster_dir.run("service -A registry stop").stderr
    assert message in cluster_dir.ok("service -s -v") and message in cluster_dir.log()
    done = cluster_dir.run(f"service -a other {script} {HERE} {PEER} /bin/true")
    assert (done.returncode, message in done.stderr) == (3, True)
