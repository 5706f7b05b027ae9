"""What a daemon has imported while nothing happens: a list, so that it grows on purpose.

Each module stays in memory for as long as the daemon runs. ``import_budget.txt`` has what one may
import whose configuration has services and links and nothing else.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

from tests.cluster_dir import HERE, PEER, ClusterDir
from tests.lean.test_import_budget import counted
from tests.waiting import LIMIT_S, until

BUDGET = Path(__file__).with_name("import_budget.txt")
CODE = """
import sys
bare = set(sys.modules)
from opensvc_openha.cli.main import main
main(["nmond", "-f"])
# Those that are deferred are not loaded.
found = {name for name, each in sys.modules.items() if type(each).__name__ != "_Deferred"}
print("imported", *sorted(found - bare), file=sys.stderr)
"""


def allowed() -> list[str]:
    """Return the names on the list."""
    lines = BUDGET.read_text().splitlines()
    return [name for line in lines if not line.startswith("#") for name in line.split()]


def test_daemon_imports_what_is_on_its_list(tmp_path: Path) -> None:
    """Nothing else: a part that the configuration does not have is imported when it has it."""
    cluster = ClusterDir(tmp_path / "cluster")
    script = cluster.script("web.sh", "echo down")
    cluster.path("conf/services").write_text(f"web {script} {HERE} {PEER} {script}\n")
    daemon = subprocess.Popen(
        # Without `site`, which imports what the environment of the tests has installed.
        [sys.executable, "-P", "-S", "-c", CODE],
        stderr=subprocess.PIPE,
        text=True,
        env={
            **cluster.env,
            "EZ": str(cluster.root),
            "PYTHONPATH": ":".join([os.getcwd(), *sys.path]),
        },
    )
    try:
        until(
            lambda: cluster.quick("service -s"), lambda done: "FROZEN_STOP" in done.stdout, "status"
        )
        daemon.send_signal(signal.SIGTERM)
        _, errors = daemon.communicate(timeout=LIMIT_S)
    finally:
        daemon.kill()
    line = next(line for line in errors.splitlines() if line.startswith("imported "))
    found, names = counted(line.removeprefix("imported ")), allowed()
    too_many = {name for name in found if not any(fnmatchcase(name, each) for each in names)}
    assert too_many | {name for name in found if f"!{name}" in names} == set()
    assert len(found) > 40, errors
