"""``openha install``: create the cluster directory, its commands, and on request the agent.

Rewrites what it wrote before (launchers, env.sh, doc) and never changes an operator's files.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from argparse import Namespace

from opensvc_openha.cli.installation import MARK, is_made_by_us
from opensvc_openha.cli.parsing import Parser
from opensvc_openha.errors import OpenhaError, RefusedError, SystemFault
from opensvc_openha.formats.layout import (
    TREE_ROOT,
    AgentLayout,
    Layout,
    agent_layout,
    fhs_layout,
    tree_layout,
)
from opensvc_openha.system.atomic_files import make_dir, write_atomically
from opensvc_openha.system.package_files import read_template
from opensvc_openha.system.self_command import package_parent

_CLUSTER_COMMANDS = {"service": "service", "hb": "hb", "nmond": "nmond", "openha": ""}
_ALL_COMMANDS = (
    "allservices",
    "allupservices",
    "alldownservices",
    "allprimaryservices",
    "allsecondaryservices",
)
_REAL_AGENTS = ("/opt/opensvc/bin/svcmgr", "/usr/share/opensvc/lib", "/usr/share/opensvc/opensvc")
_BOOT_UNIT = "opensvc-openha-agent.service"
_SAMPLES = ("nodes.sample", "monitor.sample", "openha.conf.sample", "service.env.sample")


def main(args: list[str]) -> int:
    """Run ``openha install``; return the exit code."""
    parser = build_parser()
    options = parser.read(args)
    if options.prefix and options.layout == "fhs":
        parser.error("--prefix is for the tree layout; use --root with --layout fhs")
    if options.root:
        options.root = os.path.abspath(options.root)
    if options.layout == "fhs":
        layout = fhs_layout(options.root)
    else:
        layout = tree_layout(
            os.path.abspath(options.prefix or os.environ.get("EZ") or options.root + TREE_ROOT)
        )
    agent = agent_layout(
        options.agent_root if options.agent_root is not None else _agent_root(options)
    )
    if options.embedded_agent:
        _refuse_beside_a_real_agent(agent)
    try:
        made = _install_cluster(
            layout, agent if options.embedded_agent else None, options.layout == "fhs", options.root
        )
        if options.embedded_agent:
            made += _install_agent(layout, agent)
    except OSError as error:
        raise SystemFault(f"cannot write {error.filename}: {error.strerror}") from error
    if not options.no_key and not options.root:
        made += _make_key(layout)
    for line in made:
        print(line)
    print(f"Load its environment with:  . {layout.ez}/env.sh")
    return 0


def build_parser() -> Parser:
    """Return the parser of ``openha install``."""
    parser = Parser("openha install", "Lay out the cluster directory on this node.")
    parser.add_argument(
        "--prefix", metavar="DIR", help=f"the cluster directory (default $EZ, else {TREE_ROOT})"
    )
    parser.add_argument(
        "--layout",
        choices=("tree", "fhs"),
        default="tree",
        help="tree: all below the prefix, as in the tutorial; fhs: /etc/openha, /var/lib/openha",
    )
    parser.add_argument(
        "--root", metavar="DIR", default="", help="put everything below this directory instead of /"
    )
    parser.add_flag(
        "--embedded-agent",
        help="also install svcmgr, svcmon and the service commands, where no OpenSVC agent is",
    )
    parser.add_argument(
        "--agent-root",
        metavar="DIR",
        help=(
            "directory that stands for / for the embedded agent "
            "(default: /, or the prefix if one is given)"
        ),
    )
    parser.add_flag(
        "--no-key",
        help=(
            "make no heartbeat key (with --root none is made: a key belongs to a cluster, not to an"
            " image)"
        ),
    )
    return parser


def _agent_root(options: Namespace) -> str:
    prefix = options.prefix or ("" if options.root else os.environ.get("EZ"))
    if prefix and os.path.abspath(prefix) != TREE_ROOT:
        return os.path.abspath(str(prefix))
    return str(options.root)


def _refuse_beside_a_real_agent(agent: AgentLayout) -> None:
    if agent != AgentLayout():
        return
    for path in _REAL_AGENTS:
        if os.path.exists(path):
            raise RefusedError(
                f"an OpenSVC agent is installed ({path}): it runs the services, omit"
                " --embedded-agent"
            )


def _make_key(layout: Layout) -> list[str]:
    """Generate the first key of this node, unless it has one or must do without.

    An invalid openha.conf is reported, but not fatal here.
    """
    from opensvc_openha.cli import first_key

    try:
        return first_key.make(layout)
    except OpenhaError as error:
        print(f"openha: no heartbeat key was made: {error}", file=sys.stderr)
        return []


def _install_cluster(
    layout: Layout, agent: AgentLayout | None, is_fhs: bool, root: str
) -> list[str]:
    doc = f"{layout.ez}/doc"
    for folder in (
        layout.bin_dir,
        layout.conf_dir,
        layout.services_dir,
        layout.log_dir,
        doc,
        layout.proc_dir,
    ):
        make_dir(folder)
    for name, command in _CLUSTER_COMMANDS.items():
        _write_launcher(f"{layout.bin_dir}/{name}", command, layout, agent)
    _write(f"{layout.bin_dir}/fence", read_template("fence"), 0o755)
    _write_launcher(f"{layout.ez}/ezha", "ezha", layout, agent)
    _write_launcher(f"{layout.ez}/ezha.init", "ezha", layout, agent)
    agent_lines = "" if agent is None else _agent_environment(agent)
    _write(
        f"{layout.ez}/env.sh",
        _fill(read_template("env.sh"), layout).replace("@AGENT@", agent_lines),
        0o644,
    )
    for name in _SAMPLES:
        _write(f"{doc}/{name}", read_template(name), 0o644)
    for name in ("opensvc-openha.service", "opensvc-openha.logrotate"):
        _write(f"{doc}/{name}", _fill(read_template(name), layout), 0o644)
    made = [
        f"Cluster directory {layout.ez}: bin, conf, doc, log, services, env.sh, ezha, ezha.init"
    ]
    if is_fhs:
        made = [
            f"Configuration in {layout.conf_dir}, states in {layout.var_dir}, commands in"
            f" {layout.bin_dir}"
        ]
    command = f"{root}/usr/bin/openha" if is_fhs else f"{root}/usr/local/bin/openha"
    # sudo, watch and cron do not see the function of env.sh. A directory elsewhere may be one of
    # several.
    if is_fhs or layout.ez == root + TREE_ROOT:
        made.append(_install_command(command, layout, agent))
        made += _link_for_agents(layout, root)
    return made


def _link_for_agents(layout: Layout, root: str) -> list[str]:
    """Link the cluster to where an agent with its own driver looks; return the lines to print."""
    from opensvc_openha.plugin import installer
    from opensvc_openha.plugin.agents import find_agents
    from opensvc_openha.plugin.changes import carry_out

    links = [
        link
        for found in find_agents(root or None)
        if not found.has_driver
        for link in installer.plan_stock_links(found, layout)
    ]
    for link in links:
        carry_out(link)
    return [f"For the driver of the OpenSVC agent: {link.text}" for link in links]


def _install_command(path: str, layout: Layout, agent: AgentLayout | None) -> str:
    """Put ``openha`` where the PATH finds it; return the line to print."""
    if not _may_replace(path):
        return f"Command {path} is not ours: left alone"
    make_dir(os.path.dirname(path))
    _write_launcher(path, "", layout, agent)
    return f"Command {path}"


def _install_agent(layout: Layout, agent: AgentLayout) -> list[str]:
    for folder in (agent.etc_dir, agent.var_dir, agent.log_dir, agent.bin_dir):
        make_dir(folder)
    for name in ("svcmgr", *_ALL_COMMANDS):
        _write_launcher(f"{agent.bin_dir}/{name}", 'svcmgr --called-as "$0"', layout, agent)
    _write_launcher(f"{agent.bin_dir}/svcmon", "svcmon", layout, agent)
    unit = read_template(_BOOT_UNIT).replace("@OSVC_BIN@", agent.bin_dir)
    _write(f"{layout.ez}/doc/{_BOOT_UNIT}", unit, 0o644)
    from opensvc_openha.agent.config.wrappers import ensure_all_wrappers

    ensure_all_wrappers(agent)
    made = [f"Embedded agent: service files in {agent.etc_dir}, commands in {agent.bin_dir}"]
    profile = "/etc/profile.d"
    if agent == AgentLayout() and os.path.isdir(profile) and os.access(profile, os.W_OK):
        _write(f"{profile}/opensvc.sh", f"# {MARK}.\n{_agent_environment(agent)}", 0o644)
        made.append(f"Its commands are on the PATH of new login shells ({profile}/opensvc.sh)")
    return made


def _agent_environment(agent: AgentLayout) -> str:
    lines = (
        []
        if agent == AgentLayout()
        else [
            f"{name}=${{{name}:-{shlex.quote(value)}}}; export {name}"
            for name, value in agent.environment().items()
        ]
    )
    folders = f"{agent.bin_dir}:{agent.etc_dir}"
    lines.append(
        f'case ":$PATH:" in *":{agent.etc_dir}:"*) ;; *) PATH=$PATH:{folders}; export PATH ;; esac'
    )
    return "\n".join(lines) + "\n"


def _write_launcher(path: str, command: str, layout: Layout, agent: AgentLayout | None) -> None:
    """Write a script that runs one command of this package, whatever PATH and environment."""
    variables = ""
    if layout != tree_layout(layout.ez):
        moved = {name: value for name, value in layout.environment().items() if name != "EZ"}
        variables = "".join(
            f"{name}=${{{name}:-{shlex.quote(value)}}}\nexport {name}\n"
            for name, value in moved.items()
        )
    if agent is not None and agent != AgentLayout():
        values = agent.environment()
        variables += "".join(
            f"{name}=${{{name}:-{shlex.quote(value)}}}\nexport {name}\n"
            for name, value in values.items()
        )
    text = _fill(read_template("launcher"), layout)
    text = (
        text.replace("@VARIABLES@", variables)
        .replace("@PYTHON@", _python())
        .replace("@COMMAND@", command)
    )
    _write(path, text.replace('  "$@"', ' "$@"'), 0o755)


def _python() -> str:
    """Return the command line that runs this package with this interpreter from anywhere."""
    python = shlex.quote(sys.executable)
    parent = package_parent()
    probe = subprocess.run(
        [sys.executable, "-I", "-c", "import opensvc_openha; print(opensvc_openha.__file__)"],
        capture_output=True,
        text=True,
        cwd="/",
    )
    if probe.returncode == 0 and probe.stdout.strip().startswith(parent + os.sep):
        return f"{python} -I -m opensvc_openha"
    return f"env PYTHONPATH={shlex.quote(parent)} {python} -m opensvc_openha"


def _fill(text: str, layout: Layout) -> str:
    for name, value in layout.environment().items():
        text = text.replace(f"@{name}@", value)
    return text


def _may_replace(path: str) -> bool:
    return not os.path.lexists(path) or is_made_by_us(path)


def _write(path: str, text: str, mode: int) -> None:
    try:
        write_atomically(path, text.encode("utf-8"), mode, is_durable=False)
    except OSError as error:
        raise SystemFault(f"cannot write {path}: {error.strerror}") from error
