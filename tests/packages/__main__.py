"""``make package-test``: two systemd nodes with the .deb, a service, and a watcher on its answers.

The last release runs on both; each is upgraded under the running service; the same package is
installed again; both are rebooted; the package is removed and purged. Needs root and minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from opensvc_openha.system import clock
from tests.packages.nodes import Node, Switch, host, root_of, until
from tests.packages.watcher import Watcher

HERE = Path(__file__).resolve().parents[2]
DEPENDENCIES = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "iproute2",
    "procps",
    "python3",
    "python3-configobj",
    "python3-psutil",
)
SERVICE = "web"
ADDRESS = "10.77.0.70"
MONITOR = """\
deb1 unicast eth0 10.77.0.2 5010 10
deb2 unicast eth0 10.77.0.1 5011 10
deb1 unicast eth1 10.77.1.2 5012 10
deb2 unicast eth1 10.77.1.1 5013 10
"""
WRAPPER = f"""\
#!/bin/sh
# A service with an address and one process that answers with its node and pid.
file=/run/{SERVICE}.pid
is_up() {{ [ -e $file ] && kill -0 "$(cat $file)" 2>/dev/null; }}
case "$1" in
    start)
        is_up && exit 0
        echo "start" >>/var/log/{SERVICE}.calls
        ip addr add {ADDRESS}/24 dev eth0
        setsid /usr/bin/python3 -I /srv/answer.py </dev/null >/dev/null 2>&1 &
        echo $! >$file ;;
    stop)
        echo "stop" >>/var/log/{SERVICE}.calls
        is_up && kill "$(cat $file)"
        rm -f $file
        ip addr del {ADDRESS}/24 dev eth0 2>/dev/null
        exit 0 ;;
    status) if is_up; then echo up; else echo down; exit 1; fi ;;
esac
"""
ANSWER = f"""\
import os, socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("{ADDRESS}", 7))
while True:
    s.sendto(f"{{os.uname().nodename}} {{os.getpid()}}".encode(), s.recvfrom(64)[1])
"""
ENV = f"""\
[DEFAULT]
nodes = deb1 deb2

[app#1]
script = /srv/app
start = 10
stop = 10
check = 10

[hb#0]
type = OpenHA
name = {SERVICE}
"""
FENCE = "#!/bin/sh\necho fenced >>/var/log/fence.calls\nexit 0\n"


def main() -> int:
    """Run it; return the exit code."""
    parser = argparse.ArgumentParser(prog="make package-test", description=__doc__)
    parser.add_argument("--dist", type=Path, default=HERE / "dist", help="where the .deb is")
    cache = os.environ.get("PACKAGE_ROOTS") or os.path.expanduser("~/.cache/opensvc-openha/roots")
    parser.add_argument("--roots", type=Path, default=Path(cache), help="where roots are kept")
    parser.add_argument("--suite", default="bookworm", help="the Debian of both nodes")
    parser.add_argument(
        "--story", choices=("all", "upgrade", "newcomer"), default="all", help="of two nodes"
    )
    parser.add_argument(
        "--no-nodes", action="store_true", help="only the installation by apt in pristine roots"
    )
    parser.add_argument(
        "--pristine", default="bookworm,trixie", help="where the .deb is installed by apt alone"
    )
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("needs root")
    # Ended by a signal, it removes its nodes.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    (built,) = sorted(options.dist.glob("opensvc-openha_*_all.deb"))
    with tempfile.TemporaryDirectory(prefix="openha-packages-", dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)  # apt reads a package as a user of its own.
        deb = Path(shutil.copy(built, folder))  # The next build may replace it meanwhile.
        if not options.no_nodes:
            former = former_package(deb, folder)
            base = root_of(options.suite, DEPENDENCIES, options.roots)
            if options.story in ("upgrade", "all"):
                with two_nodes(base, folder, is_blank=False) as nodes:
                    upgrade_story(nodes, former, deb)
            if options.story in ("newcomer", "all"):
                with two_nodes(base, folder, is_blank=True) as nodes:
                    newcomer_story(nodes, deb)
        for suite in filter(None, options.pristine.split(",")):
            pristine(suite, deb)
    print("all as it should be")
    return 0


def report(text: str) -> None:
    """Show where it is."""
    print(f"== {text}", flush=True)


def former_package(deb: Path, folder: Path) -> Path:
    """Return a package with the modules of the last release, in the places of this one."""
    tree = folder / "former"
    host("dpkg-deb", "-R", str(deb), str(tree))
    wheel = sorted((HERE / "tests/releases").glob("*.whl"))[-1]
    version = wheel.name.split("-")[1]
    modules = tree / "usr/lib/python3/dist-packages"
    host("rm", "-rf", str(modules), str(tree / "usr/share/opensvc-openha"))
    modules.mkdir()
    host(sys.executable, "-m", "zipfile", "-e", str(wheel), str(modules))
    (data,) = modules.glob("*.data")
    host("mv", str(data / "data/share/opensvc-openha"), str(tree / "usr/share"))
    host("rm", "-rf", str(data))
    control = tree / "DEBIAN/control"
    lines = control.read_text().splitlines()
    control.write_text(
        "\n".join(
            f"Version: {version}-1" if each.startswith("Version:") else each for each in lines
        )
        + "\n"
    )
    # It knows none of today's words.
    for script in ("preinst", "postinst", "prerm", "postrm", "md5sums"):
        (tree / "DEBIAN" / script).unlink(missing_ok=True)
    path = folder / f"opensvc-openha_{version}-1_all.deb"
    host("dpkg-deb", "--root-owner-group", "-b", str(tree), str(path))
    return path


@contextlib.contextmanager
def two_nodes(base: Path, folder: Path, is_blank: bool) -> Iterator[tuple[Node, Node]]:
    """Two booted nodes without the package, and if not blank with its configuration."""
    switch = Switch(f"oha{os.getpid()}")
    made: list[Node] = []
    try:
        for number, name in ((1, "deb1"), (2, "deb2")):
            node = Node(name, number, base, folder, switch)
            made.append(node)
            node.write("/etc/hosts", "127.0.0.1 localhost\n10.77.0.1 deb1\n10.77.0.2 deb2\n")
            if not is_blank:
                node.write("/etc/openha/nodes", "deb1\ndeb2\n")
                node.write("/etc/openha/monitor", MONITOR)
            node.write("/srv/answer.py", ANSWER)
            node.write(f"/srv/{SERVICE}.cluster", WRAPPER, 0o755)
            node.write("/srv/fence-peer", FENCE, 0o755)
            node.boot()
            report(f"{name} runs: {node.ok('systemctl', '--version').splitlines()[0]}")
        yield made[0], made[1]
    finally:
        for node in made:
            node.remove()
        switch.remove()


def upgrade_story(nodes: tuple[Node, Node], former: Path, deb: Path) -> None:
    """Install the former release, run a service, upgrade, reboot, remove."""
    first, second = nodes
    for node in nodes:
        install(node, former)
        node.ok("systemctl", "daemon-reload")
        # The former release enables nothing by itself.
        node.ok("systemctl", "enable", "--now", "opensvc-openha.service")
        words = (f"/srv/{SERVICE}.cluster", "deb1", "deb2", "/srv/fence-peer")
        node.ok("openha", "service", "-a", SERVICE, *words)
    for node in nodes:
        node.ok("openha", "service", "-A", SERVICE, "unfreeze")
    settled(nodes, "deb1")
    report(f"{SERVICE} runs on deb1 with {first.ok('openha', '--version').strip()}")
    for node in nodes:
        # The former release runs the check-up script before any start.
        (node.root / "var/log/fence.calls").unlink(missing_ok=True)
    watcher = Watcher(f"oha{os.getpid()}", ADDRESS)
    for what, node in (
        ("upgrade", second),
        ("upgrade", first),
        ("again", second),
        ("again", first),
    ):
        before = pid_of(node)
        install(node, deb)
        until(lambda node=node, before=before: pid_of(node) not in (0, before), "a new daemon")  # type: ignore[misc]
        settled(nodes, "deb1")
        expect(in_unit(node), f"{node.name}: its daemon is systemd's")
        report(f"{what} of {node.name}: {node.ok('openha', '--version').strip()}")
    gaps = watcher.end()
    expect(gaps.answers > 0 and len(gaps.who) == 1, f"answered by {sorted(gaps.who)}")
    expect(gaps.longest_s < 1.0, f"the longest silence of the service is {gaps.longest_s:.3f} s")
    report(
        f"watcher: {gaps.answers} answers by {next(iter(gaps.who))}, longest silence"
        f" {gaps.longest_s * 1000:.0f} ms"
    )
    expect(calls(first) == ["start"] and calls(second) == [], "the service was stopped or moved")
    for node in nodes:
        expect(not (node.root / "var/log/fence.calls").exists(), f"{node.name} fenced")
        expect(is_enabled(node), f"{node.name}: the unit is enabled")
    mistake(second)
    for node, other in ((first, second), (second, first)):
        reboot(node, other, nodes)
    for node in nodes:
        expect(not (node.root / "var/log/fence.calls").exists(), f"{node.name} fenced")
    removal(first, second)


def newcomer_story(nodes: tuple[Node, Node], deb: Path) -> None:
    """Three commands on blank nodes; then both are rebooted at once."""
    first, second = nodes
    for node in nodes:
        install(node, deb)
        expect(is_enabled(node) and pid_of(node) == 0, f"{node.name} is enabled and runs nothing")
    boot = second.boot_id()
    second.run("systemctl", "reboot")
    second.await_boot(boot)
    failed = second.ok("systemctl", "--failed", "--plain", "--no-legend")
    expect("openha" not in failed, f"a node that was never set up fails at boot: {failed}")
    setup = first.begin("openha", "setup", "deb2", "--yes")
    shown: list[str] = []
    assert setup.stdout is not None
    for line in setup.stdout:
        shown.append(line)
        words = line.split()
        if words[:2] == ["openha", "join"]:
            second.ok(*words, "--yes")
    expect(setup.wait() == 0, "".join(shown))
    report(shown[-1].strip())
    for node in nodes:
        node.write("/srv/app", WRAPPER, 0o755)
        until(lambda node=node: in_unit(node), f"{node.name}: its daemon is systemd's")  # type: ignore[misc]
    first.write(f"/root/{SERVICE}.env", ENV)
    add = ("openha", "add", f"/root/{SERVICE}.env")
    # The peer link of a daemon that has just started takes its time.
    until(lambda: first.run(*add).returncode == 0, f"{' '.join(add)} works")
    for node in nodes:
        node.ok("openha", "service", "-A", SERVICE, "unfreeze")
    settled(nodes, "deb1")
    boots = [node.boot_id() for node in nodes]
    for node in nodes:
        node.run("systemctl", "reboot")
    for node, former in zip(nodes, boots, strict=True):
        node.await_boot(former)
    until(
        lambda: any(state(first, node.name) == "STARTED" for node in nodes),
        f"{SERVICE} runs after a reboot of both nodes",
    )
    expect(all(in_unit(node) for node in nodes), "both daemons are systemd's")
    report(f"both nodes were rebooted at once: {SERVICE} runs")


def mistake(node: Node) -> None:
    """A mistake in the configuration: an upgrade keeps the daemon that runs."""
    before = pid_of(node)
    text = (node.root / "etc/openha/monitor").read_text()
    node.write("/etc/openha/monitor", f"{text}deb1 unicst eth0\n")
    done = node.run("openha", "restart")
    expect(done.returncode == 3 and "/etc/openha/monitor:5" in done.stderr, done.stderr)
    done = node.run("systemctl", "reload", "opensvc-openha.service")
    expect(done.returncode != 0, "systemctl reload takes a mistake")
    done = node.run("dpkg-reconfigure", "opensvc-openha")
    expect(pid_of(node) == before, "the daemon is gone")
    node.write("/etc/openha/monitor", text)
    node.ok("systemctl", "reload", "opensvc-openha.service")
    expect(pid_of(node) == before, "a reload ends the daemon")
    report("a mistake in the configuration is refused, the daemon continues")


def reboot(node: Node, other: Node, nodes: tuple[Node, Node]) -> None:
    """Reboot one node: its services are stopped and taken over, it comes back by itself."""
    boot = node.boot_id()
    node.run("systemctl", "reboot")
    node.await_boot(boot)
    until(lambda: pid_of(node) != 0, f"{node.name} has a daemon")
    settled(nodes, other.name)
    expect(in_unit(node), f"{node.name}: its daemon is systemd's")
    report(f"{node.name} was rebooted: {SERVICE} runs on {other.name}, both nodes are up")


def removal(node: Node, other: Node) -> None:
    """Remove the package where the service runs: the peer takes it, the configuration stays."""
    node.ok("dpkg", "-r", "opensvc-openha")
    until(lambda: state(other, other.name) == "STARTED", "the peer has the service")
    expect(pid_of(node) == 0, "a daemon runs without a package")
    expect((node.root / "etc/openha/nodes").exists(), "the configuration is gone")
    left = node.ok("sh", "-c", "ls -d /etc/systemd/system/*.wants/opensvc* 2>/dev/null || true")
    expect(left == "", f"left behind: {left}")
    node.ok("dpkg", "-P", "opensvc-openha")
    for path in ("etc/openha", "var/lib/openha", "var/log/openha", "usr/lib/openha"):
        expect(not (node.root / path).exists(), f"left behind: /{path}")
    report(f"removed from {node.name}: {SERVICE} runs on {other.name}; purged")


def install(node: Node, deb: Path) -> None:
    """Install a .deb on a node."""
    (node.root / "srv" / deb.name).write_bytes(deb.read_bytes())
    node.ok("dpkg", "-i", f"/srv/{deb.name}")


def pid_of(node: Node) -> int:
    """Return the pid of the node's daemon, 0 if none runs."""
    done = node.run("cat", "/var/lib/openha/proc/nmond.lock")
    pid = done.stdout.strip() or "0"
    return int(pid) if node.run("kill", "-0", pid).returncode == 0 else 0


def in_unit(node: Node) -> bool:
    """Return whether systemd watches the node's daemon."""
    done = node.run("systemctl", "show", "-P", "MainPID", "opensvc-openha.service")
    return done.stdout.strip() == str(pid_of(node))


def is_enabled(node: Node) -> bool:
    """Return whether the unit is."""
    done = node.run("systemctl", "is-enabled", "opensvc-openha.service")
    return done.stdout.strip() == "enabled"


def state(node: Node, owner: str) -> str:
    """Return what a node reports of the service on its owner."""
    for line in node.run("openha", "service", "-s", "-c").stdout.splitlines()[1:]:
        words = line.split()
        if words and words[0] == SERVICE:
            return words[words.index(owner) + 1]
    return ""


def settled(nodes: tuple[Node, Node], owner: str) -> None:
    """Wait until both report the service on its owner, and ready on the other node."""
    (idle,) = [node.name for node in nodes if node.name != owner]

    def is_so() -> bool:
        found = [(state(node, owner), state(node, idle)) for node in nodes]
        return found == [("STARTED", "STOPPED")] * 2

    until(is_so, f"{SERVICE} runs on {owner}")


def calls(node: Node) -> list[str]:
    """Return what the service's script was asked to do."""
    path = node.root / f"var/log/{SERVICE}.calls"
    return path.read_text().split() if path.exists() else []


def expect(is_so: bool, text: str) -> None:
    """Fail with this text."""
    if not is_so:
        raise AssertionError(text)


def pristine(suite: str, deb: Path) -> None:
    """Install by apt into a root without Python: it takes all that is needed."""
    began = clock.monotonic()
    host(
        "mmdebstrap", "--variant=apt", "--format=null",
        f"--customize-hook=copy-in {deb} /srv",
        # How this machine reaches the archive.
        "--customize-hook=apt-config dump Acquire >$1/etc/apt/apt.conf.d/zz-host",
        f'--customize-hook=chroot "$1" apt-get -y --no-install-recommends install /srv/{deb.name}',
        '--customize-hook=chroot "$1" openha --version',
        '--customize-hook=chroot "$1" python3 -I -c "import opensvc_openha.daemon.daemon"',
        '--customize-hook=chroot "$1" test -L'
        " /etc/systemd/system/multi-user.target.wants/opensvc-openha.service",
        '--customize-hook=chroot "$1" dpkg -P opensvc-openha',
        '--customize-hook=chroot "$1" test ! -e /etc/openha',
        suite,
    )  # fmt: skip
    report(f"installed by apt into a pristine {suite} ({clock.monotonic() - began:.0f} s)")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (AssertionError, subprocess.TimeoutExpired) as error:
        print(f"package-test: {error}", file=sys.stderr)
        sys.exit(1)
