"""`openha fence` with a real daemon that has a fence plan, devices that do what a test asks for,
and a peer that is played.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from opensvc_openha.core.states import ServiceState
from tests.cluster_dir import HERE, PEER, ClusterDir
from tests.peer_voice import PeerVoice
from tests.waiting import LIMIT_S, until

OPTIONS = """[fencing]
levels = board, spare
check_interval = 3600
    [[board {peer}]]
    agent = callout
    cmd = {root}/board off
    status_cmd = {root}/board status
    [[board {here}]]
    agent = callout
    cmd = {root}/board off
    status_cmd = {root}/board status
    [[spare {peer}]]
    agent = callout
    cmd = {root}/spare off
    status_cmd = {root}/spare status
    [[spare {here}]]
    agent = callout
    cmd = {root}/spare off
    status_cmd = {root}/spare status
"""
BOARD = """#!/bin/sh
# A board whose power is a file; `dead` beside it: it does not answer.
cd {root}
echo "$1" >> {name}.calls
[ -e {name}.dead ] && exit 1
[ -e {name}.hangs ] && sleep 5000
case $1 in
off) [ -e {name}.deaf ] || echo off > {name}.power ;;
status) [ "$(cat {name}.power)" = on ] && exit 0; exit 2 ;;
esac
"""


class Planned:
    """A daemon with two boards, and the voice of its peer."""

    def __init__(self, cluster: ClusterDir, more: str = "", sections: str = "") -> None:
        self.cluster = cluster
        root = cluster.root
        for name in ("board", "spare"):
            cluster.path(name).write_text(BOARD.format(root=root, name=name))
            cluster.path(name).chmod(0o755)
            cluster.path(f"{name}.power").write_text("on\n")
        text = OPTIONS.format(root=root, here=HERE, peer=PEER)
        cluster.path("conf/openha.conf").write_text(
            text.replace("[fencing]\n", f"[fencing]\n{more}") + sections
        )
        script = cluster.script("web.sh", "exit 0")
        cluster.ok(f"service -a web {script} {HERE} {PEER} /bin/true")
        cluster.ok("ezha start")
        self.voice = PeerVoice(cluster)
        self.voice.states = {"web": ServiceState.FROZEN_STOP}
        self._is_over = threading.Event()
        self._is_heard = threading.Event()
        self._talker = threading.Thread(target=self._talk)
        self._talker.start()

    def _talk(self) -> None:
        while not self._is_over.wait(0.2):
            if self._is_heard.is_set():
                self.voice.listen()
                self.voice.throw(self.voice.frame(with_names=True))

    def speak(self) -> None:
        """The peer is heard from now on, and has acknowledged this node."""
        self._is_heard.set()
        until(
            self.status,
            lambda seen: "peer: live" in seen and "has not answered" not in seen,
            "an acknowledgement",
            self.cluster.log,
        )

    def fall_silent(self) -> None:
        """And no more."""
        self._is_heard.clear()

    def close(self) -> None:
        """End the voice."""
        self._is_over.set()
        self._talker.join(LIMIT_S)
        self.voice.close()

    def status(self) -> str:
        """`openha fence status`."""
        return self.cluster.quick("openha fence status").stdout

    def until_shown(self, text: str) -> str:
        """Wait until the status shows a text."""
        return until(self.status, lambda seen: text in seen, text, self.cluster.log)

    def until_armed(self) -> str:
        """Wait until the status shows both boards armed: each is looked at by itself."""
        return until(
            self.status,
            lambda seen: all(f"  {name}    armed  " in seen for name in ("board", "spare")),
            "both armed",
            self.cluster.log,
        )

    def calls(self, name: str = "board") -> list[str]:
        """What the board was asked."""
        path = self.cluster.path(f"{name}.calls")
        return path.read_text().split() if path.exists() else []

    def drill(self, words: str, answer: str) -> subprocess.CompletedProcess[str]:
        """`openha fence test --power`, with what is typed."""
        return subprocess.run(
            [str(self.cluster.root / "bin/openha"), "fence", "test", "--power", *words.split()],
            input=answer,
            capture_output=True,
            text=True,
            env=self.cluster.env,
            timeout=LIMIT_S,
        )


@pytest.fixture
def planned(cluster_dir: ClusterDir) -> Iterator[Planned]:
    """The peer is not heard yet."""
    made = Planned(cluster_dir)
    yield made
    made.close()


def test_paths_are_armed_once_the_peer_is_heard_and_broken_ones_are_a_warning(
    planned: Planned,
) -> None:
    """Status and exit codes: no proof possible, all armed, some broken."""
    cluster = planned.cluster
    assert cluster.quick("openha fence status").returncode == 2
    planned.speak()
    text = planned.until_armed()
    for name in ("board", "spare"):
        assert f"  {name}    armed        ON, as it must be while " in text
    assert "order: board; if that fails, spare" in text
    assert cluster.quick("openha fence status").returncode == 0
    found = json.loads(cluster.quick("openha fence status --json").stdout)
    assert found["standing"] == "live" and found["plan"] == [["board"], ["spare"]]
    assert [path["state"] for path in found["paths"]] == ["armed", "armed"]
    assert "off" not in planned.calls()

    cluster.path("board.dead").touch()
    done = cluster.quick("openha fence test board")
    assert done.returncode == 2 and "  board    unreachable  " in done.stdout, done
    done = cluster.quick("openha fence test --json")
    assert done.returncode == 1
    states = {path["name"]: path["state"] for path in json.loads(done.stdout)["paths"]}
    assert states == {"board": "unreachable", "spare": "armed"}
    assert cluster.quick("openha fence status").returncode == 1
    until(lambda: cluster.ok("service -s -v"), lambda text: "fence path broken: board" in text)
    assert "fence path broken: board: " in cluster.log()


def test_silent_peer_is_taken_over_by_the_level_that_works(planned: Planned) -> None:
    """The first board is dead; the second one proves it, and each step is in the history."""
    cluster = planned.cluster
    planned.speak()
    planned.until_armed()
    cluster.path("board.dead").touch()
    planned.fall_silent()
    planned.until_shown("peer: silent")
    cluster.ok("service -A web unfreeze")
    cluster.wait_state("web", "STARTED")
    assert planned.calls("spare").count("off") == 1
    assert cluster.path("spare.power").read_text() == "off\n"
    found = json.loads(cluster.ok("openha history -n 0 --json"))["entries"]
    steps = [entry["reason"] for entry in found if entry["new"] == "FENCE"]
    assert steps[0] == "board begins, for web"
    assert steps[1].startswith("board: failed: "), steps
    assert steps[2] == "spare begins, for web"
    assert steps[3].startswith("spare: done: ") and "proof NODE" in steps[3], steps
    assert "proved (node): " in planned.status()
    assert "spare" in cluster.ok("openha why web")
    lines = cluster.ok("openha fence status --history").splitlines()
    assert lines[0] == "board: never proved anything, as far as the history goes back"
    begun = next(number for number, line in enumerate(lines) if line.endswith("begins, for web"))
    assert " ! failed: " in lines[begun + 1]
    assert any(": last proved 2" in line and line.startswith("spare") for line in lines)
    assert lines[-1].partition(" ! done: ")[2], lines
    board, spare = json.loads(cluster.ok("openha fence status --history --json"))["paths"]
    assert (board["path"], board["proved_at"], board["proof"]) == ("board", None, "")
    assert spare["proof"].startswith("NODE: power: spare off")
    assert spare["proved_at"] == spare["events"][-1]["at"]


def test_plan_runs_nothing(planned: Planned) -> None:
    """Its steps with times, and as JSON."""
    cluster = planned.cluster
    planned.speak()
    planned.until_armed()
    cluster.ok("service -A web unfreeze")
    cluster.wait_state("web", "STARTED")
    done = cluster.quick("openha fence plan")
    assert done.returncode == 0 and "nothing is fenced: no service waits" in done.stdout
    found = json.loads(cluster.quick("openha fence plan --json").stdout)
    assert [step["what"] for step in found["steps"]] == ["silent", "nothing"]
    assert "off" not in planned.calls()


def test_drill_cuts_the_named_peer_measures_and_is_kept(planned: Planned) -> None:
    """The peer falls silent when its power is cut."""
    cluster = planned.cluster
    planned.speak()
    planned.until_armed()
    cutter = threading.Thread(target=_silence_once_off, args=(planned,))
    cutter.start()
    done = planned.drill("board", f"{PEER}\n")
    cutter.join(LIMIT_S)
    assert done.returncode == 0, done
    assert f"{PEER} has no power now: switch it on again" in done.stdout
    assert "board: " in done.stdout and f"{PEER} fell silent; it took " in done.stdout
    assert "; off tested 20" in planned.status()
    found = json.loads(cluster.ok("openha history -n 0 --json"))["entries"]
    assert [entry["new"] for entry in found if "DRILL" in entry["new"]] == ["DRILL"]
    assert any(entry["new"] == "fence test --power board" for entry in found)
    cluster.ok("ezha restart")
    assert "; off tested 20" in planned.status(), "the next daemon knows"


def _silence_once_off(planned: Planned) -> None:
    until(lambda: "off" in planned.calls())
    planned.fall_silent()


def test_board_that_hangs_holds_neither_decisions_nor_the_end_of_the_daemon(
    planned: Planned,
) -> None:
    """Commands are answered while it hangs, in a look and in a step; the daemon ends, and nothing
    of it is left.
    """
    cluster = planned.cluster
    planned.speak()
    planned.until_armed()
    cluster.path("board.hangs").touch()
    planned.fall_silent()
    planned.until_shown("peer: silent")
    cluster.ok("service -A web unfreeze")
    planned.until_shown(f"fencing {PEER}: board, begun ")
    cluster.fails("service -A web freeze-stop", 5)
    cluster.ok("ezha kill")
    assert cluster.daemons() == []
    until(lambda: _running(str(cluster.root)) == [], bool, "what it has started is gone")


def _running(text: str) -> list[str]:
    """Command lines of processes that have a text in it, except editors of this test."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if f"{text}/board" in line:
            found.append(line)
    return found


def test_drill_whose_peer_continues_is_a_failure(planned: Planned) -> None:
    """The device reports OFF, and it is another machine's."""
    planned.speak()
    planned.until_armed()
    done = planned.drill("board", f"{PEER}\n")
    assert done.returncode == 6, done
    assert f"board: it reports OFF, and {PEER} is still heard: it cuts the power of another" in (
        done.stderr
    )
    assert "; off tested 20" not in planned.status()


@pytest.mark.parametrize("answer", ["", "\n", "peer\n", f"{HERE}\n", f"{PEER.upper()}\n"])
def test_drill_needs_the_whole_name(planned: Planned, answer: str) -> None:
    """Nothing is done otherwise: exit code 5."""
    planned.speak()
    done = planned.drill("board", answer)
    assert done.returncode == 5 and "nothing was done" in done.stderr, done
    assert "off" not in planned.calls()


def test_drill_is_refused_for_a_silent_peer_an_unknown_path_and_none(planned: Planned) -> None:
    """It is for a healthy node."""
    planned.until_shown("peer: silent")
    done = planned.drill("board", f"{PEER}\n")
    assert done.returncode == 5 and f"{PEER} is silent: a drill is for a node" in done.stderr
    done = planned.drill("bord", f"{PEER}\n")
    assert done.returncode == 5 and "bord is no path of [fencing] levels: board, spare" in (
        done.stderr
    )
    done = planned.drill("", "")
    assert done.returncode == 2 and "expected PATH" in done.stderr
    assert "off" not in planned.calls()


def test_release_of_a_node_that_is_not_ejected_is_refused(planned: Planned) -> None:
    """Exit code 5."""
    line = planned.cluster.fails("openha fence release", 5)
    assert "this node is not ejected: there is nothing to release it from" in line


def test_test_without_a_daemon_asks_the_devices_as_they_are_configured(planned: Planned) -> None:
    """Whether the peer is heard is not known; exit code 1 if one does not answer."""
    cluster = planned.cluster
    cluster.ok("ezha kill")
    done = cluster.quick("openha fence test")
    assert done.returncode == 0, done
    assert "  board    answers      ON; looked at " in done.stdout
    assert f"no daemon runs here: whether {PEER} is heard is not known" in done.stdout
    cluster.path("board.dead").touch()
    done = cluster.quick("openha fence test board --json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["paths"][0]["state"] == "unreachable"
    assert "no path of [fencing] levels: board, spare" in cluster.fails("openha fence test x", 5)


def test_arbiter_that_cannot_be_asked_lets_nobody_fence(cluster_dir: ClusterDir) -> None:
    """A file has no reservations: the claim fails, no power is cut, nothing starts; the operator
    sees why.
    """
    planned = Planned(cluster_dir, f"arbiter = disk {cluster_dir.root}/disk\n")
    try:
        planned.speak()
        text = planned.until_shown("arbiter  ")
        assert "cut from each other, the arbiter decides who may fence" in text
        planned.until_shown("  spare    ")
        until(lambda: cluster_dir.quick("openha fence status").returncode == 2)
        found = json.loads(cluster_dir.quick("openha fence test arbiter --json").stdout)["paths"]
        assert [path["state"] for path in found] == ["unreachable"]
        plan = cluster_dir.quick("openha fence plan --json").stdout
        assert json.loads(plan)["standing"] == "live"
        planned.fall_silent()
        planned.until_shown("peer: silent")
        cluster_dir.ok("service -A web unfreeze")
        cluster_dir.wait_state("web", "START_FAILED")
        assert "claim: " in cluster_dir.ok("service -s -v")
        assert "off" not in planned.calls() and "off" not in planned.calls("spare")
        cluster_dir.ok(f"openha fence confirm {PEER}")
        cluster_dir.wait_state("web", "STARTED")
    finally:
        planned.close()


@pytest.mark.parametrize("words", ["test", "test x", "plan", "test --power x"])
def test_commands_for_a_plan_report_that_there_is_none(cluster_dir: ClusterDir, words: str) -> None:
    """Exit code 5."""
    cluster_dir.ok("ezha start")
    assert "there is no fence plan: [fencing] levels" in cluster_dir.fails(
        f"openha fence {words}", 5
    )


def test_secret_of_a_plan_is_in_no_file_of_the_daemon(planned: Planned, tmp_path: Path) -> None:
    """Not even as a hash that everybody may read."""
    path = planned.cluster.path("services/.proc/fence-drills")
    planned.speak()
    planned.until_armed()
    cutter = threading.Thread(target=_silence_once_off, args=(planned,))
    cutter.start()
    assert planned.drill("board", f"{PEER}\n").returncode == 0
    cutter.join(LIMIT_S)
    assert path.stat().st_mode & 0o777 == 0o600
