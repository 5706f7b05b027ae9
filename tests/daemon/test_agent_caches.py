"""What the daemon drops and runs for the agents of its node, without a daemon around it."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from opensvc_openha.daemon import agent_cache_invalidation
from opensvc_openha.daemon.agent_cache_invalidation import AgentCaches
from opensvc_openha.daemon.memory_guard import MemoryGuard
from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.system.processes import wait_for_end
from tests.waiting import LIMIT_S, until

HB, FS, SUMMARY = "resource.status.last.hb#0", "resource.status.last.fs#1", "status.json"
SCRIPTS = {
    "web": "/x/web.cluster",
    "inner": "/x/namespaces/test/svc/inner.cluster",
    "own": "/x/own.sh",
}


class Node:
    """Agents of a node: what they keep, and a command that notes how it is run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.layout = tree_layout(str(root))
        self.noted = root / "noted"
        os.mkdir(os.path.dirname(self.layout.agents_file))

    def write(self, *lines: str) -> None:
        Path(self.layout.agents_file).write_text("".join(f"{line}\n" for line in lines))

    def caches(self, memory: MemoryGuard | None = None) -> AgentCaches:
        return AgentCaches(self.layout, lambda: SCRIPTS, memory)

    def keep(self, folder: str, *services: str) -> list[Path]:
        """Three files of each service below a folder."""
        found = []
        for service in services:
            place = self.root / folder / service
            place.mkdir(parents=True)
            found += [place / name for name in (HB, FS, SUMMARY)]
        for path in found:
            path.write_text("up\n")
        return found

    def note(self, word: str) -> str:
        return f"run /bin/sh -c 'echo {word} @SVCNAME@ >> {self.noted}'"

    def words(self) -> list[str]:
        return self.noted.read_text().splitlines() if self.noted.exists() else []


@pytest.fixture(name="node")
def make_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    """Of a machine whose only agents are those of its list."""
    assert agent_cache_invalidation._STOCK == (
        ("drop", "/opt/opensvc/var"),
        ("drop", "/var/lib/opensvc"),
    )
    monkeypatch.setattr(agent_cache_invalidation, "_STOCK", (("drop", str(tmp_path / "stock")),))
    return Node(tmp_path)


def names(paths: list[Path]) -> list[str]:
    return [f"{path.parent.name} {path.name}" for path in paths if path.exists()]


def test_without_an_agent_no_service_is_looked_at(node: Node) -> None:
    """A thousand services may change at once; one that is installed meanwhile is noticed."""
    asked: list[str] = []

    def scripts() -> dict[str, str]:
        asked.append("asked")
        return SCRIPTS

    caches = AgentCaches(node.layout, scripts)
    caches.begin(("web",))
    caches.end(("web",))
    assert asked == []
    paths = node.keep("stock", "web")
    caches.invalidate("web")
    until(lambda: names(paths) == [f"web {FS}"])
    assert asked == ["asked"]


@pytest.mark.parametrize(
    ("act", "left"),
    [
        (lambda caches: caches.begin(("web", "own", "gone")), []),
        (lambda caches: caches.end(("web", "own", "gone")), [FS]),
    ],
)
def test_kept_statuses_of_the_services_of_agents_are_dropped(
    node: Node, act: Callable[[AgentCaches], None], left: list[str]
) -> None:
    """All at the start, the hb status and the summary at the end; nothing of other services.

    In the folder of the list, whatever its name, and in one that agents use by default.
    """
    node.write("# drop /nowhere", "drop", f"drop   {node.root}/v[a]r  ")
    paths = [*node.keep("v[a]r", "web", "own", "other"), *node.keep("stock", "web")]
    similar = node.keep("var", "web")
    act(node.caches())
    others = [f"{service} {name}" for service in ("own", "other") for name in (HB, FS, SUMMARY)]
    assert names(paths) == [f"web {name}" for name in left] + others + [
        f"web {name}" for name in left
    ]
    assert names(similar) == [f"web {name}" for name in (HB, FS, SUMMARY)]


def test_change_drops_the_hb_status_and_has_each_agent_look_at_that_service(node: Node) -> None:
    """Whatever is wrong with another command; the thread handles one change after the other."""
    node.write(
        f"drop {node.root}/var",
        "run /nonexistent @SVCNAME@",
        "run /bin/sh -c 'unbalanced",
        node.note("skipped").replace("run", "skip", 1),
        node.note("first"),
        node.note("second"),
    )
    paths = node.keep("var", "web", "inner")
    caches = node.caches()
    caches.serve(["web", "own"])
    until(lambda: node.words() == ["first web", "second web"])
    assert names(paths) == [f"web {FS}", *(f"inner {name}" for name in (HB, FS, SUMMARY))]
    thread = caches._thread
    caches.invalidate("inner")
    until(lambda: node.words()[2:] == ["first test/svc/inner", "second test/svc/inner"])
    assert thread is caches._thread and thread is not None and thread.daemon
    assert thread.name == "agents"
    caches.end(())
    thread.join(LIMIT_S)
    assert not thread.is_alive()


def test_what_has_changed_meanwhile_is_handled_at_once_and_once(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice the same service, and the end: the thread does what is left, and ends."""
    node.write(node.note("looked"))
    caches = node.caches()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", _no_thread)
        for service in ("web", "inner", "web"):
            caches.invalidate(service)
    assert caches._thread is None
    caches.end(())
    caches.invalidate("own")
    assert caches._thread is not None
    caches._thread.join(LIMIT_S)
    assert not caches._thread.is_alive()
    assert node.words() == ["looked web", "looked test/svc/inner"]


def _no_thread(_thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_ten_thousand_changes_wait_and_no_more(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent that hangs costs the daemon neither memory nor time, at its end, too."""
    caches = node.caches()
    monkeypatch.setattr(threading.Thread, "start", _no_thread)
    for _ in range(10_002):
        caches.invalidate("web")
    caches.end(())
    assert caches._changed.qsize() == 10_000


def test_commands_at_the_end_are_run_one_after_the_other_and_not_waited_for(node: Node) -> None:
    """Each for each service, by a process that outlives the daemon."""
    go = node.root / "go"
    node.write(f"run /bin/sh -c 'until [ -e {go} ]; do sleep 0.02; done'", node.note("a"))
    node.caches().end(("web", "inner"))
    assert node.words() == []
    go.touch()
    until(lambda: node.words() == ["a web", "a test/svc/inner"])


@pytest.mark.parametrize("act", ["change", "end"])
def test_commands_are_apart_from_the_daemon_and_within_its_bound_of_memory(
    node: Node, act: str
) -> None:
    """A session of their own, no directory of ours, nothing to read, and nobody who reads them."""

    class Guard(MemoryGuard):
        def command(self, command: Sequence[str]) -> list[str]:
            return ["/usr/bin/env", "GUARDED=yes", *command]

    done = node.root / "done"
    node.write(
        "run /bin/sh -c 'ends=$(readlink /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2);"
        ' session=$(cut -d" " -f6 /proc/$$/stat);'
        f" echo $ends $PWD $GUARDED $session > {node.root}/new; mv {node.root}/new {done}'"
    )
    caches = node.caches(Guard())
    if act == "change":
        caches.invalidate("web")
    else:
        caches.end(("web",))
    until(done.exists)
    *ends, folder, guarded, session = done.read_text().split()
    assert (ends, folder, guarded) == (["/dev/null"] * 3, "/", "yes")
    assert int(session) != os.getsid(0)
    caches.end(())


def test_command_has_thirty_seconds(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent looks at its services within that, or never."""
    node.write("run /bin/true")
    limits: list[float | None] = []
    wait = subprocess.Popen.wait

    def note(process: subprocess.Popen[bytes], timeout: float | None = None) -> int:
        limits.append(timeout)
        return wait(process, LIMIT_S)

    monkeypatch.setattr(subprocess.Popen, "wait", note)
    caches = node.caches()
    caches._run("/bin/true")
    assert limits == [30.0]


def test_command_that_takes_longer_is_killed_with_its_children_and_collected(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its child is a member of its process group."""
    child, collected = node.root / "child", list[int]()
    wait = subprocess.Popen.wait

    def give_up(process: subprocess.Popen[bytes], timeout: float | None = None) -> int:
        if timeout is not None:
            until(child.exists)
            raise subprocess.TimeoutExpired("agent", timeout)
        collected.append(wait(process, LIMIT_S))
        return collected[-1]

    monkeypatch.setattr(subprocess.Popen, "wait", give_up)
    node.caches()._run(
        f"/bin/sh -c 'sleep 1000 & echo $! > {child}.new; mv {child}.new {child}; wait'"
    )
    assert set(collected) == {-signal.SIGKILL}
    assert wait_for_end([int(child.read_text())], LIMIT_S) == []
