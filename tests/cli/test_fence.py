"""`openha fence` with a real daemon: what status shows, and what becomes of an operator's
confirmation.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from opensvc_openha.cli.fence import plan_of
from tests.cluster_dir import HERE, PEER, ClusterDir
from tests.peer_voice import PeerVoice
from tests.waiting import until


@pytest.fixture
def alone(cluster_dir: ClusterDir) -> Iterator[ClusterDir]:
    """A node that has not heard its peer since it booted, with a service that has a real check-up
    script.
    """
    check = cluster_dir.script("fence", "exit 0")
    script = cluster_dir.script("web.sh", "exit 0")
    cluster_dir.ok(f"service -a web {script} {HERE} {PEER} {check}")
    cluster_dir.ok(f"service -a files {script} {PEER} {HERE} {check}")
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A web unfreeze")
    until(
        lambda: cluster_dir.quick("openha fence status").stdout,
        lambda text: "peer: silent" in text,
        "silence",
    )
    yield cluster_dir


def entries(cluster: ClusterDir) -> list[tuple[str, str, str]]:
    """What the history has of confirmations: old, new and reason."""
    found = json.loads(cluster.ok("openha history -n 0 --json"))["entries"]
    return [
        (entry["old"], entry["new"], entry["reason"])
        for entry in found
        if "confirm" in entry["new"]
        or "confirm" in entry["old"]
        or "CONFIRMED" in entry["new"] + entry["old"]
    ]


def test_status_of_a_booted_node_shows_what_it_waits_for_and_what_to_type(
    alone: ClusterDir,
) -> None:
    """Which script for which services, that it never worked, its limit, the block and the command
    that ends it.
    """
    done = alone.quick("openha fence status")
    assert done.returncode == 1, done
    lines = done.stdout.splitlines()
    assert lines[0] == f"{HERE} makes sure that {PEER} is out by:"
    assert (
        lines[1] == f"  {alone.root}/fence    for files, web, within 60 s"
        or lines[1] == f"  {alone.root}/fence    for web, files, within 60 s"
    )
    assert lines[2] == "      worked never, as far as is known"
    assert (
        lines[-1]
        == f"  you made sure that {PEER} runs nothing, and type: openha fence confirm {PEER}"
    )
    assert (
        f"{PEER} has not answered since {HERE} booted, which neither fences nor starts"
        in done.stdout
    )
    assert "  files: FROZEN_STOP" in done.stdout and "  web: STOPPED, " in done.stdout
    shown = json.loads(alone.quick("openha fence status --json").stdout)
    assert shown["is_blocked"] and not shown["has_heard"] and not shown["confirmed_by"]


def test_confirmation_starts_what_waits_and_holds_for_what_is_unfrozen_later(
    alone: ClusterDir,
) -> None:
    """No script of the fence is run; status, history and log name who confirmed."""
    done = alone.run(f"openha fence confirm {PEER}")
    assert (done.returncode, done.stderr) == (0, ""), done
    assert done.stdout.splitlines() == [
        (
            f"confirmed: {PEER} runs nothing. This is valid until it is heard again (openha"
            " fence status)"
        ),
        "  web: is started here now",
        "  files: stays frozen: it is started here once you type service -A files unfreeze",
    ]
    alone.wait_state("web", "STARTED")
    alone.ok("service -A files unfreeze")
    alone.wait_state("files", "STARTED")
    assert alone.calls("fence") == []
    shown = alone.quick("openha fence status").stdout
    assert "confirmed out 0 s ago by " in shown or "s ago by root (" in shown, shown
    assert "has not answered" not in shown
    found = until(lambda: entries(alone), lambda seen: len(seen) >= 2, "history")
    assert [new for _, new, _ in found] == [f"confirm {PEER}", "CONFIRMED OUT"]
    assert all(reason.startswith("by root (") or "by uid" in reason for _, _, reason in found)
    assert "CONFIRMED OUT" in alone.log()


def test_confirmation_ends_when_the_peer_is_heard(alone: ClusterDir) -> None:
    """One beat is enough; a new one is refused with exit code 5, and each of it is in the
    history.
    """
    alone.ok(f"openha fence confirm {PEER}")
    alone.wait_state("web", "STARTED")
    assert f"peer {PEER}: confirmed out since " in alone.ok("service -s -v")
    voice = PeerVoice(alone)
    try:
        voice.talk(alone, "status UP")
        with voice.speaking():
            line = alone.fails(f"openha fence confirm {PEER}", 5)
        assert f"not believed: {PEER} is live: heard" in line
        assert f"confirm {PEER}: REFUSED: {PEER} is live: heard" in alone.log()
    finally:
        voice.close()
    for command in ("openha fence status", "service -s -v"):
        assert "confirmed out" not in alone.quick(command).stdout
    found = until(lambda: entries(alone), lambda seen: len(seen) >= 5, "history")
    assert [new for _, new, _ in found] == [
        f"confirm {PEER}",
        "CONFIRMED OUT",
        "SILENT",
        f"confirm {PEER}",
        "REFUSED",
    ]


def test_confirmation_that_ends_with_the_daemon_is_reported_by_the_next_one(
    alone: ClusterDir,
) -> None:
    """In log and history, once, with who had confirmed; no confirmation is believed any longer."""
    alone.ok(f"openha fence confirm {PEER}")
    alone.wait_state("web", "STARTED")
    for _ in range(2):
        alone.ok("ezha restart")
    ended = [
        (old, reason)
        for old, _, reason in until(
            lambda: entries(alone),
            lambda seen: "CONFIRMED OUT" in [item[0] for item in seen],
            "end",
        )
        if old == "CONFIRMED OUT"
    ]
    assert len(ended) == 1 and "the daemon was started again: what " in ended[0][1]
    assert alone.log().count("the daemon was started again: what ") == 1
    assert "confirmed out" not in alone.ok("service -s -v")


@pytest.mark.parametrize("name", [PEER.split(".")[0], HERE, "peer.opensvc.org", PEER.upper()])
def test_confirmation_takes_the_whole_name_of_the_peer_only(alone: ClusterDir, name: str) -> None:
    """Neither a short name nor this node's own: exit code 5, in the history, nothing is started."""
    line = alone.fails(f"openha fence confirm {name}", 5)
    assert f"{name} is not the peer of this node, which is {PEER}: type its whole name" in line
    assert alone.state("web") == "STOPPED"
    until(
        lambda: entries(alone),
        lambda seen: (f"confirm {name}", "REFUSED") in [item[:2] for item in seen],
        "history",
    )


@pytest.mark.parametrize(
    "words, text",
    [
        ("confirm", "expected NODE"),
        ("confirm a b", "unexpected 'b'"),
        ("stats", "did you mean status?"),
        ("status --jsn", "did you mean --json?"),
    ],
)
def test_wrong_words_are_refused(cluster_dir: ClusterDir, words: str, text: str) -> None:
    """Exit code 2, one line."""
    assert text in cluster_dir.fails(f"openha fence {words}", 2)


def test_confirmation_without_a_daemon_reports_it(cluster_dir: ClusterDir) -> None:
    """Exit code 4: nothing was confirmed."""
    assert "not running" in cluster_dir.fails(f"openha fence confirm {PEER}", 4)
    assert "not running" in cluster_dir.fails("openha fence status", 4)


def test_confirmation_that_is_not_answered_reports_what_is_not_known(alone: ClusterDir) -> None:
    """A daemon that stands still: exit code 4, and once it runs again it believes nothing that
    nobody waits for.
    """
    alone.kill(signal.SIGSTOP)
    try:
        line = alone.fails(f"openha fence confirm {PEER}", 4)
    finally:
        alone.kill(signal.SIGCONT)
    assert f"whether {PEER} is confirmed, and started its services here, is not known" in line
    assert "openha fence status" in line
    until(
        lambda: alone.quick("openha fence status"),
        lambda done: done.returncode == 1,
        "it runs again",
    )
    assert "confirmed out" not in alone.quick("openha fence status").stdout
    assert alone.state("web") == "STOPPED"


def test_node_that_can_open_no_link_reports_how_it_can_be_confirmed(
    cluster_dir: ClusterDir,
) -> None:
    """Refused, with what is wrong with each link, what to correct, and how to do without."""
    check = cluster_dir.script("fence", "exit 0")
    monitor = cluster_dir.path("conf/monitor")
    monitor.write_text(
        "".join(
            f"{node}\tunicast\tnosuch0\t127.0.0.1\t{port}\t2\n"
            for node, port in ((HERE, 5), (PEER, 6))
        )
    )
    cluster_dir.ok(f"service -a web {cluster_dir.script('web.sh', 'exit 0')} {HERE} {PEER} {check}")
    cluster_dir.ok("ezha start")
    until(
        lambda: cluster_dir.quick("hb -s -v").stdout,
        lambda text: "no link of this node could be opened" in text,
        "deaf",
    )
    line = cluster_dir.fails(f"openha fence confirm {PEER}", 5)
    assert "no link of this node could be opened yet" in line and "nosuch0" in line
    assert f"correct {monitor}" in line and "force-start" in line


def test_plan_of_a_generated_script_is_shown_in_the_order_of_its_levels(tmp_path: Path) -> None:
    """By level, whatever the order of the file.

    A script of one's own has none, and what is wrong is reported with its line.
    """
    file, check = tmp_path / "web.env", str(tmp_path / "web.stonith")
    assert plan_of(check) == plan_of("/usr/local/sbin/fence") == ""
    callout = "type = callout\ncmd = /bin/fence\n"
    file.write_text(
        f"[stonith#1]\nlevel = 2\n{callout}[stonith#2]\n{callout}status_cmd ="
        f" /bin/ask\n[stonith#3]\n{callout}"
    )
    assert (
        plan_of(check)
        == "level 1: stonith#2 (then asked whether it is off) and stonith#3; if that fails, level"
        " 2: stonith#1"
    )
    file.write_text("[fs#1]\ntype = ext4\n")
    assert plan_of(check) == f"no [stonith#N] section in {file}: it fences nothing and fails"
    file.write_text(f"[stonith#1]\nlevel = first\n{callout}")
    assert plan_of(check).startswith(f"its plan cannot be read: {file}:2: ")
