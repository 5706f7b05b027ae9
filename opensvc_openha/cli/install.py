"""``openha install``: create the cluster directory, its commands, and on request the agent.

Rewrites what it wrote before (launchers, env.sh, doc) and never changes an operator's files.
"""

from __future__ import annotations

import functools
import glob
import os
import shlex
import subprocess
import sys
import sysconfig
from argparse import Namespace
from dataclasses import dataclass

from opensvc_openha.cli import boot
from opensvc_openha.cli.installation import MARK, is_made_by_us
from opensvc_openha.cli.parsing import Parser
from opensvc_openha.errors import OpenhaError, RefusedError, SystemFault
from opensvc_openha.formats.layout import (
    TREE_ROOT,
    AgentLayout,
    Layout,
    agent_layout,
    fhs_layout,
    find_layout,
    tree_layout,
)
from opensvc_openha.system import service_manager
from opensvc_openha.system.atomic_files import make_dir, replace_by, write_atomically
from opensvc_openha.system.package_files import read_template
from opensvc_openha.system.self_command import package_parent, start_script

_CLUSTER_COMMANDS = {"service": "service", "hb": "hb", "nmond": "nmond", "openha": ""}
_ALL_COMMANDS = (
    "allservices",
    "allupservices",
    "alldownservices",
    "allprimaryservices",
    "allsecondaryservices",
)
_REAL_AGENTS = ("/opt/opensvc/bin/svcmgr", "/usr/share/opensvc/lib", "/usr/share/opensvc/opensvc")
SAMPLES = ("nodes.sample", "monitor.sample", "openha.conf.sample", "service.env.sample")
_PACKAGE_LINE = "# Part of the package opensvc-openha."
_SYSTEM_PREFIXES = ("/usr", "/usr/local")
_MANUAL = (
    "man/man5/monitor.5",
    "man/man5/openha*.5",
    "man/man8/openha*.8",
    *(f"man/man8/{name}.8" for name in ("ezha", "hb", "nmond", "svcmgr", "svcmon")),
    "bash-completion/completions/openha",
    "zsh/site-functions/_openha",
    "fish/vendor_completions.d/openha.fish",
)
PROFILE = "/etc/profile.d/opensvc.sh"


@dataclass(frozen=True)
class Plan:
    """What is to be laid out, and where."""

    layout: Layout
    is_fhs: bool = False
    agent: AgentLayout | None = None
    root: str = ""
    """Stands for / in what is written, as in a directory of its own on this machine."""
    stage: str = ""
    """Written below, as if it were /: for packages."""
    launch: str = ""
    """The command line that runs this package; empty: this interpreter."""
    enable: bool | None = None
    """Start at boot; None: where systemd runs and the cluster is in its usual place."""

    @property
    def is_usual(self) -> bool:
        """Return whether this is the one installation of its machine."""
        return self.is_fhs or self.layout.ez == self.root + TREE_ROOT

    @property
    def command(self) -> str:
        """Return ``openha`` on the PATH."""
        return f"{self.root}/usr/bin/openha" if self.is_fhs else f"{self.root}/usr/local/bin/openha"


def main(args: list[str]) -> int:
    """Run ``openha install``; return the exit code."""
    parser = build_parser()
    options = parser.read(args)
    _expect_consistent(parser, options)
    plan = _plan(options)
    for line in lay_out(plan):
        print(line)
    if plan.stage:
        return 0
    if not options.no_key and not options.root:
        for line in _make_key(plan.layout):
            print(line)
    print(f"Load its environment with:  . {plan.layout.ez}/env.sh")
    for line in _next_steps(plan):
        print(line)
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
        help=(
            "tree: all below the prefix, as in the tutorial; fhs: /etc/openha, /var/lib/openha"
            " (default: what is installed, else tree)"
        ),
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
    parser.add_flag(
        "--enable",
        help=(
            "start the daemon at boot (default where systemd runs, and without --prefix and --root)"
        ),
    )
    parser.add_flag("--no-enable", help="do not start the daemon at boot")
    parser.add_argument(
        "--destdir",
        metavar="DIR",
        default="",
        help="for packages: write below DIR what is to be at / on the node, and nothing of a node",
    )
    parser.add_argument(
        "--launch",
        metavar="COMMAND",
        default="",
        help="for packages: what runs it, such as '/usr/bin/python3 -I -m opensvc_openha'",
    )
    return parser


def _expect_consistent(parser: Parser, options: Namespace) -> None:
    if options.prefix and options.layout == "fhs":
        parser.error("--prefix is for the tree layout; use --root with --layout fhs")
    if options.enable and options.no_enable:
        parser.error("--enable and --no-enable exclude each other")
    if bool(options.destdir) != bool(options.launch):
        parser.error("--destdir and --launch go together: a package runs elsewhere")
    if options.destdir and (options.root or options.prefix or options.embedded_agent):
        parser.error("--destdir goes with --layout alone: the rest is for a node")


def _plan(options: Namespace) -> Plan:
    if options.root:
        options.root = os.path.abspath(options.root)
    is_free = not (options.layout or options.prefix or options.root or options.destdir)
    # The commands of the FHS layout say so themselves.
    is_here = "EZ" in os.environ and is_fhs(find_layout(os.environ, os.path.exists))
    if options.layout == "fhs" or (is_free and is_here):
        layout = fhs_layout(options.root)
    else:
        layout = tree_layout(
            os.path.abspath(options.prefix or os.environ.get("EZ") or options.root + TREE_ROOT)
        )
    agent = agent_layout(
        options.agent_root if options.agent_root is not None else _agent_root(options, layout)
    )
    if options.embedded_agent:
        _refuse_beside_a_real_agent(agent)
    return Plan(
        layout,
        is_fhs(layout),
        agent if options.embedded_agent else None,
        options.root,
        options.destdir and os.path.abspath(options.destdir),
        options.launch,
        True if options.enable else False if options.no_enable else None,
    )


def plan_here(embedded_agent: bool) -> Plan:
    """Return the plan for this machine: its layout in force, with the agent where none is."""
    layout = find_layout(os.environ, os.path.exists)
    agent = AgentLayout() if embedded_agent and real_agent() is None else None
    return Plan(layout, is_fhs(layout), agent, enable=True)


def is_fhs(layout: Layout) -> bool:
    """Return whether a layout is that of packages."""
    return layout.ez.endswith(fhs_layout().ez)


def real_agent() -> str | None:
    """Return a path of the OpenSVC agent of this machine, if it has one."""
    return next((path for path in _REAL_AGENTS if os.path.exists(path)), None)


def _agent_root(options: Namespace, layout: Layout) -> str:
    if is_fhs(layout):
        return str(options.root)
    prefix = options.prefix or ("" if options.root else os.environ.get("EZ"))
    if prefix and os.path.abspath(prefix) != TREE_ROOT:
        return os.path.abspath(str(prefix))
    return str(options.root)


def _refuse_beside_a_real_agent(agent: AgentLayout) -> None:
    path = real_agent() if agent == AgentLayout() else None
    if path is not None:
        raise RefusedError(
            f"an OpenSVC agent is installed ({path}): it runs the services, omit --embedded-agent"
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


def lay_out(plan: Plan) -> list[str]:
    """Lay out the installation, but for its key; return the lines to print.

    A second run writes the same again. What a package has installed is left to it.
    """
    try:
        made = _install_cluster(plan)
        if plan.agent is not None:
            made += _install_agent(plan, plan.agent)
        return made + _start_at_boot(plan)
    except OSError as error:
        raise SystemFault(f"cannot write {error.filename}: {error.strerror}") from error


def _install_cluster(plan: Plan) -> list[str]:
    layout = plan.layout
    doc = f"{layout.ez}/doc"
    for folder in (
        layout.bin_dir,
        layout.conf_dir,
        layout.services_dir,
        layout.log_dir,
        doc,
        layout.proc_dir,
    ):
        make_dir(plan.stage + folder)
    made = [
        f"Cluster directory {layout.ez}: bin, conf, doc, log, services, env.sh, ezha, ezha.init"
    ]
    if plan.is_fhs:
        made = [
            f"Configuration in {layout.conf_dir}, states in {layout.var_dir}, commands in"
            f" {layout.bin_dir}"
        ]
    if is_packaged(plan):
        made.append(f"Command {plan.command}, of the package")
        return made + _link_for_agents(layout, plan.root)
    for name, command in _CLUSTER_COMMANDS.items():
        _write_launcher(plan, f"{layout.bin_dir}/{name}", command)
    _write(plan, f"{layout.bin_dir}/fence", read_template("fence"), 0o755)
    _write_launcher(plan, f"{layout.ez}/ezha", "ezha")
    _write(plan, f"{layout.ez}/ezha.init", _fill(read_template("ezha.init"), layout), 0o755)
    agent_lines = "" if plan.agent is None else _agent_environment(plan.agent)
    _write(
        plan,
        f"{layout.ez}/env.sh",
        _fill(read_template("env.sh"), layout).replace("@AGENT@", agent_lines),
        0o644,
    )
    for name in SAMPLES:
        _write(plan, f"{doc}/{name}", read_template(name), 0o644)
    for name in (boot.UNIT, boot.EXPORTER_UNIT, boot.WEB_UNIT):
        unit = boot.unit_text(name, layout, plan.agent or AgentLayout())
        _write(plan, f"{doc}/{name}", unit, 0o644)
        if plan.stage:
            _write(plan, f"{boot.PACKAGE_UNIT_DIR}/{name}", unit, 0o644)
    catalog = read_template(boot.CATALOG)
    _write(plan, f"{doc}/{boot.CATALOG}", catalog, 0o644)
    if plan.stage:
        _write(plan, f"{boot.PACKAGE_CATALOG_DIR}/{boot.CATALOG}", catalog, 0o644)
    logrotate = "opensvc-openha.logrotate"
    _write(plan, f"{doc}/{logrotate}", _fill(read_template(logrotate), layout), 0o644)
    if plan.stage:
        _write_launcher(plan, plan.command, "")
        return made
    # sudo, watch and cron do not see the function of env.sh. A directory elsewhere may be one of
    # several.
    if plan.is_usual:
        made.append(_install_command(plan))
        made += _link_manual(plan)
        made += _link_for_agents(layout, plan.root)
    return made


def manual_links(plan: Plan) -> list[tuple[str, str]]:
    """Return where manual pages and completion are to be found, and what each is a link to.

    None where Python installs them where they are found anyway.
    """
    if sys.prefix in _SYSTEM_PREFIXES:
        return []
    place = f"{plan.root}/usr/share" if plan.is_fhs else f"{plan.root}/usr/local/share"
    own = f"{sys.prefix}/share"
    return [
        (place + source.removeprefix(own), source)
        for pattern in _MANUAL
        for source in sorted(glob.glob(f"{glob.escape(own)}/{pattern}"))
    ]


def _link_manual(plan: Plan) -> list[str]:
    """Link manual pages and completion of a virtual environment to where they are found."""
    made = []
    for path, source in manual_links(plan):
        # A file there, or a link to another installation's, is not ours.
        if not os.path.lexists(path) or not os.path.exists(path):
            make_dir(os.path.dirname(path))
            replace_by(path, functools.partial(os.symlink, source))
            made.append(path)
    return [f"Manual pages and completion: {len(made)} links below /usr"] if made else []


def is_packaged(plan: Plan) -> bool:
    """Return whether a package has installed the commands: it owns them."""
    return plan.is_fhs and not plan.root and not plan.stage and is_of_package(plan.command)


def is_of_package(path: str) -> bool:
    """Return whether a command belongs to a package, not to `openha install`."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return _PACKAGE_LINE in file.read(300)
    except OSError:
        return False


def cluster_commands(layout: Layout) -> list[str]:
    """Return the programs that an installation has in its directories."""
    names = (*_CLUSTER_COMMANDS, "fence")
    return [*(f"{layout.bin_dir}/{name}" for name in names)] + [
        f"{layout.ez}/{name}" for name in ("ezha", "ezha.init")
    ]


def agent_commands(agent: AgentLayout) -> list[str]:
    """Return the commands of the embedded agent."""
    return [f"{agent.bin_dir}/{name}" for name in ("svcmgr", "svcmon", *_ALL_COMMANDS)]


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


def _install_command(plan: Plan) -> str:
    """Put ``openha`` where the PATH finds it; return the line to print."""
    path = plan.command
    if not _may_replace(path):
        return f"Command {path} is not ours: left alone"
    make_dir(os.path.dirname(path))
    _write_launcher(plan, path, "")
    return f"Command {path}"


def _install_agent(plan: Plan, agent: AgentLayout) -> list[str]:
    for folder in (agent.etc_dir, agent.var_dir, agent.log_dir, agent.bin_dir):
        make_dir(folder)
    for name in ("svcmgr", *_ALL_COMMANDS):
        _write_launcher(plan, f"{agent.bin_dir}/{name}", 'svcmgr --called-as "$0"')
    _write_launcher(plan, f"{agent.bin_dir}/svcmon", "svcmon")
    if not is_packaged(plan):
        unit = boot.unit_text(boot.AGENT_UNIT, plan.layout, agent)
        _write(plan, f"{plan.layout.ez}/doc/{boot.AGENT_UNIT}", unit, 0o644)
    from opensvc_openha.agent.config.wrappers import ensure_all_wrappers

    ensure_all_wrappers(agent)
    made = [f"Embedded agent: service files in {agent.etc_dir}, commands in {agent.bin_dir}"]
    profile = os.path.dirname(PROFILE)
    if agent == AgentLayout() and os.path.isdir(profile) and os.access(profile, os.W_OK):
        _write(plan, PROFILE, f"# {MARK}.\n{_agent_environment(agent)}", 0o644)
        made.append(f"Its commands are on the PATH of new login shells ({PROFILE})")
    return made


def _start_at_boot(plan: Plan) -> list[str]:
    """Enable the units where asked to, or where this is the machine's one installation."""
    if plan.stage or plan.enable is False:
        return []
    if plan.enable is None and (plan.root or not plan.is_usual):
        return []
    if plan.enable:
        return boot.enable(plan.layout, plan.agent, plan.root)
    if service_manager.runs_here():
        try:
            return boot.enable(plan.layout, plan.agent)
        except RefusedError as error:
            return [f"Not started at boot: {error}"]
    return [
        f"Not started at boot, since systemd does not run here. With another init:  ln -s"
        f" {plan.layout.ez}/ezha.init /etc/init.d/opensvc-openha; then  update-rc.d opensvc-openha"
        " defaults  or  chkconfig --add opensvc-openha"
    ]


def _next_steps(plan: Plan) -> list[str]:
    """Return what the operator has to do next, by what is there already."""
    from opensvc_openha.control import client

    layout = plan.layout
    openha = "openha" if plan.is_usual and not plan.root else f"{layout.bin_dir}/openha"
    pid = client.running_pid(layout)
    if pid:
        if boot.is_enabled(layout) and not service_manager.is_in_unit(pid, boot.UNIT):
            return [f"Next: the daemon runs outside of systemd:  {openha} restart  (moves nothing)"]
        return [f"Next, after an upgrade:  {openha} restart  (checks first, moves nothing)"]
    missing = [
        path for path in (layout.nodes_file, layout.monitor_file) if not os.path.exists(path)
    ]
    if not missing:
        return [f"Next:  {openha} start"]
    return [
        *_set_up(openha),
        f"Next: write {' and '.join(missing)} (samples in {layout.ez}/doc), the same on both"
        f" nodes; then  {openha} start",
    ]


def _set_up(openha: str) -> list[str]:
    from opensvc_openha.cli.main import COMMANDS

    if "setup" not in COMMANDS:
        return []
    return [f"Next:  {openha} setup PEER  does the rest on both nodes. Or by hand:"]


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


def _write_launcher(plan: Plan, path: str, command: str) -> None:
    """Write a script that runs one command of this package, whatever PATH and environment."""
    layout, agent = plan.layout, plan.agent
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
        .replace("@CHECK@", _check(plan))
        .replace("@OTHER@", _without_script(_launch(plan)))
        .replace("@PYTHON@", _launch(plan))
        .replace("@COMMAND@", command)
        .replace('  "$@"', ' "$@"')
    )
    if plan.stage:
        text = text.replace("\n", f"\n{_PACKAGE_LINE}\n", 1)
    _write(plan, path, text, 0o755)


def _launch(plan: Plan) -> str:
    if is_packaged(plan):
        return _packaged_launch(plan)
    return plan.launch or _python()


def _without_script(launch: str) -> str:
    """Return the lines that run a package which has no start script where the launcher expects it.

    An older version has none. A source tree keeps its own after pip has installed a copy, which is
    the one in force then.
    """
    python, option, start = launch.rpartition(" -S ")
    if not option:
        return ""
    is_there = f"[ -e {start} ]"
    copied = f"{sysconfig.get_path('purelib')}/opensvc_openha"
    if start == shlex.quote(start_script()) and os.path.dirname(copied) != package_parent():
        is_there += f" && ! [ -e {shlex.quote(copied)}/__main__.py ]"
    return (
        "# For another version, or one in another place, before its `openha install` has run.\n"
        f'{{ {is_there}; }} || exec {python} -m opensvc_openha @COMMAND@ "$@"\n'
    )


def _packaged_launch(plan: Plan) -> str:
    """Return what runs the package's own commands: the same runs the agent's."""
    with open(plan.command, encoding="utf-8") as file:
        line = file.read().splitlines()[-1]
    return line.removeprefix("exec ").removesuffix(' "$@"')


def _check(plan: Plan) -> str:
    """Return the lines that run the package with another Python, once this one was replaced."""
    if plan.launch or is_packaged(plan):
        return ""  # A package depends on its Python.
    values = {
        "@INSTALLED@": shlex.quote(sys.executable),
        "@REAL@": shlex.quote(os.path.realpath(sys.executable)),
        "@SITE@": shlex.quote(":".join(_library_folders())),
        "@ADVICE@": shlex.quote(_advice()),
    }
    text = read_template("launcher-check")
    for name, value in values.items():
        text = text.replace(name, value)
    return text


def _library_folders() -> list[str]:
    """Return where another interpreter finds this package and what it imports."""
    import configobj
    import psutil

    packages = (os.path.dirname(module.__file__ or "") for module in (configobj, psutil))
    return list(dict.fromkeys([package_parent(), *map(os.path.dirname, packages)]))


def _advice() -> str:
    again = f"{sys.executable} -m opensvc_openha install"
    if sys.prefix != sys.base_prefix:
        return (
            f"make it again:  python3 -m venv --clear {sys.prefix}  , install opensvc-openha with"
            f" {sys.prefix}/bin/pip, then  {again}"
        )
    return f"install opensvc-openha again for the new Python, then  {again}"


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
    start = shlex.quote(start_script())
    if probe.returncode == 0 and probe.stdout.strip().startswith(parent + os.sep):
        return f"{python} -I -S {start}"
    folders = shlex.quote(":".join(_library_folders()))
    return f"env PYTHONPATH={folders} {python} -P -S {start}"


def _fill(text: str, layout: Layout) -> str:
    for name, value in layout.environment().items():
        text = text.replace(f"@{name}@", value)
    return text


def _may_replace(path: str) -> bool:
    return not os.path.lexists(path) or is_made_by_us(path)


def _write(plan: Plan, path: str, text: str, mode: int) -> None:
    place = plan.stage + path
    try:
        make_dir(os.path.dirname(place))
        write_atomically(place, text.encode("utf-8"), mode, is_durable=False)
    except OSError as error:
        raise SystemFault(f"cannot write {place}: {error.strerror}") from error
