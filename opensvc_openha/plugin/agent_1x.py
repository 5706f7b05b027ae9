"""The agents 1.5, 1.6, 1.7 and 1.8: the driver replaces lib/resHbOpenHA.py.

The shared file is installed beside it. The lines differ in their code: 1.8 computes its paths in a
function, 1.6 checks whether an hb resource handles an action, 1.5 has no cache of statuses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from opensvc_openha.plugin.installed_agent import Agent, AgentLine, contains
from opensvc_openha.system.package_files import read_template

_DRIVER = "lib/resHbOpenHA.py"
_WAIT_LOCK_S = 60
"""What `remote_action` of each line passes on unless it is told otherwise."""


def _is_any(home: str) -> bool:
    return contains(f"{home}/lib/resHb.py", "class Hb")


def _is_1_8(home: str) -> bool:
    return _is_any(home) and contains(f"{home}/lib/rcGlobalEnv.py", "def get_osvc_paths")


def _is_1_6(home: str) -> bool:
    return _is_any(home) and contains(f"{home}/lib/svc.py", "def hb_handled_action")


def _is_1_5(home: str) -> bool:
    return _is_any(home) and not contains(f"{home}/lib/resources.py", "def load_status_last")


def _wrappers(agent: Agent, command: str) -> Mapping[str, str]:
    cluster = read_template("agent-1x.cluster").replace("@SVCMGR@", agent.command("svcmgr"))
    texts = {"cluster": cluster, "stonith": read_template("agent.stonith")}
    return {kind: text.replace("@OPENHA@", command) for kind, text in texts.items()}


def _order(action: str) -> list[str]:
    return ["--waitlock", str(_WAIT_LOCK_S), action, "--remote"]


def _line(
    name: str,
    is_home: Callable[[str], bool],
    status: str,
    driver: str = "resHbOpenHA_1_5.py",
    suffixes: tuple[str, ...] = (".env",),
    stock_asks_path: bool = False,
    order: Callable[[str], list[str]] | None = _order,
) -> AgentLine:
    """Return a line whose command ``status`` prints the current status of the resources."""
    return AgentLine(
        name=name,
        is_home=is_home,
        driver=_DRIVER,
        shared="lib/openha_driver.py",
        shipped={_DRIVER: driver},
        wrappers=_wrappers,
        probe=lambda agent, svcname: [agent.command("svcmgr"), "-s", svcname, *status.split()],
        cache_line=lambda agent: f"drop {agent.var_dir}",
        linked_command="svcmgr",
        suffixes=suffixes,
        hook={},
        order=order,
        stock_asks_path=stock_asks_path,
    )


LINES = (
    _line(
        "1.8",
        _is_1_8,
        status="print status --refresh --format json",
        driver="resHbOpenHA_1_8.py",
        suffixes=(".conf", ".env"),
        stock_asks_path=True,
    ),
    _line("1.6", _is_1_6, status="json_status --refresh"),
    # It has no cache, and no option to refresh one; it refuses actions before it asks a driver.
    _line("1.5", _is_1_5, status="json_status", order=None),
    _line("1.7", _is_any, status="json_status --refresh"),
)
"""The first match wins."""
