"""What the reads import: a list, so that it grows on purpose. A duration depends on the machine.

``import_budget.txt`` has each command and what it may import; the standard library's modules are
compared under the Python that the list is of.
"""

from __future__ import annotations

import os
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from opensvc_openha.daemon.lock import take_lock
from opensvc_openha.lean.entry import _SiteWhenNeeded
from opensvc_openha.system.identity import node_name
from tests.lean.test_both_ways import Bench, bench, fill

__all__ = ["bench"]
BUDGET = Path(__file__).with_name("import_budget.txt")
PYTHON = (3, 11)
CODE = """
import sys
bare = set(sys.modules)
from opensvc_openha.cli.main import main
try:
    main({words!r})
finally:
    # Those that are deferred are not loaded.
    found = {{name for name, each in sys.modules.items() if type(each).__name__ != "_Deferred"}}
    print(*sorted(found - bare), file=sys.stderr)
"""
SERVICE_FILE = """\
[DEFAULT]
nodes = {node} deb2
[app#1]
script = /bin/true
start = 1
stop = 1
check = 1
[hb#0]
type = OpenHA
"""


def budget() -> dict[str, list[str]]:
    """Return what each command may import."""
    found: dict[str, list[str]] = {}
    names: list[str] = []
    for line in BUDGET.read_text().splitlines():
        if line.startswith("== "):
            # Several commands may share what follows.
            names = [*(names if names and not found[names[-1]] else ()), line[3:]]
            found[line[3:]] = []
        elif not line.startswith("#"):
            for name in names:
                found[name] += line.split()
    return found


def counted(modules: str) -> set[str]:
    """Return what is compared: our modules, and each part of the standard library once."""
    ours = {name for name in modules.split() if name.startswith("opensvc_openha.")}
    rooms = {name.rpartition(".")[0] for name in ours}
    others = {name.partition(".")[0] for name in modules.split()} - {"opensvc_openha"}
    is_same = sys.version_info[:2] == PYTHON
    return (ours - rooms) | ({name for name in others if name[0] != "_"} if is_same else set())


@pytest.mark.parametrize("command", budget())
def test_read_imports_what_is_on_its_list(bench: Bench, command: str) -> None:
    """Nothing else: what is not on it has to be imported where it is used, or to be put there."""
    fill(bench)
    agent = {
        f"OSVC_{name}": str(bench.root / f"agent/{name.lower()}")
        for name in ("ETC", "VAR", "LOG", "BIN")
    }
    for folder in agent.values():
        os.makedirs(folder)
    Path(agent["OSVC_ETC"], "web.env").write_text(SERVICE_FILE.format(node=node_name()))
    # As the daemon calls the wrappers: this process is its stand-in.
    lock = take_lock(bench.layout)
    called = {"OPENHA_ACTION": command.split()[-1]} if "--cluster" in command else {}
    done = subprocess.run(
        # Without `site`, which imports what the environment of the tests has installed.
        [sys.executable, "-P", "-S", "-c", CODE.format(words=command.split())],
        capture_output=True,
        text=True,
        env={**bench.env, **agent, **called, "PYTHONPATH": ":".join([os.getcwd(), *sys.path])},
    )
    os.close(lock)
    found, allowed = counted(done.stderr.splitlines()[-1]), budget()[command]
    assert {name for name in found if not any(fnmatchcase(name, each) for each in allowed)} == set()
    assert len(found) > 40, done


def test_dependencies_are_found_when_they_are_imported() -> None:
    """By a command that is started without `site`: only for a name that is found nowhere else."""
    code = (
        "import sys\nfrom opensvc_openha.lean import entry\n"
        "sys.meta_path.append(entry._SiteWhenNeeded)\nimport subprocess, copy\n"
        "print('site' in sys.modules)\nimport psutil\n"
        "print('site' in sys.modules, psutil.__name__)\n"
        "try: import nosuch\nexcept ImportError as error: print(error.name)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-S", "-c", code],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": os.getcwd()},
    )
    assert done.stdout.splitlines() == ["False", "True psutil", "nosuch"], done.stderr
    assert _SiteWhenNeeded.find_spec("json.none", ["/"]) is None
