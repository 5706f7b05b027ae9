"""The disk that both nodes boot from: a Debian made by debootstrap, with the package installed.

The installation follows the README. Everything lies in the work directory; what was built there
before is used again, except the package.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from opensvc_openha.demo.containers import busybox_tar
from tests.acceptance.errors import CannotRun
from tests.acceptance.machines import SHARED_DISKS

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
SUITE = "bookworm"
DEFAULT_MIRROR = "http://deb.debian.org/debian"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
PACKAGES = [
    "kmod",
    "iproute2",
    "iptables",
    "procps",
    "lvm2",
    "e2fsprogs",
    "docker.io",
    "python3",
    "python3-venv",
    "iputils-arping",
    "busybox-static",
    "curl",
    "openssh-server",
    "openssh-client",
    "rsync",
    "open-iscsi",
    "sg3-utils",
    "tgt",
    "ipmitool",
    "openipmi",
    "fence-agents",
    # Of fence-agents: debootstrap does not find it, since the packages ask for what it provides.
    "python3-cffi-backend",
    "etcd-server",
]
READY = "".join(f"{name}\n" for name in PACKAGES)
"""What a finished root is marked with: one of other packages is made again."""
TOOLS = ("debootstrap", "user-mode-linux")
SIZES_MB = {"base.img": 3072, "registry.img": 1024, "hb.img": 8, "files.img": 256}
ALONE = ("unshare", "--mount", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc", "--")
"""What debootstrap mounts and starts goes with it, whenever it ends."""
APPLETS = ("sh", "date", "sleep", "cat", "echo", "mkdir", "hostname", "httpd", "wc")

LVM_CONF = """\
# A node activates the volume groups that carry its name as a tag, and no others.
tags { hosttags = 1 }
activation { volume_list = [ "@*" ] udev_sync = 0 udev_rules = 0 }
devices {
    obtain_device_list_from_udev = 0
    external_device_info_source = "none"
    global_filter = [ "a|^/dev/ubd[bd]$|", "a|^/dev/sd[a-z]$|", "r|.*|" ]
}
"""
HOSTS = """\
127.0.0.1 localhost
10.60.0.1 deb1.opensvc.com deb1
10.60.0.2 deb2.opensvc.com deb2
10.60.0.3 target
10.60.0.71 registry.opensvc.com
10.60.0.72 files.opensvc.com
"""
VENDORS = "0\n  Reserved\n    Internet Assigned Numbers Authority\n      iana&iana.org\n"
"""ipmitool reads all vendors of the world at each start: two seconds in User-Mode Linux."""
SSH_CONFIG = "StrictHostKeyChecking accept-new\nBatchMode yes\nLogLevel ERROR\n"


def why_not_here() -> str:
    """Return what this machine lacks for the run; empty if nothing."""
    if os.geteuid() != 0:
        return "needs root"
    if os.uname().machine != "x86_64":
        return "needs an x86_64 machine: user-mode-linux exists for no other"
    for tool in ("apt-get", "dpkg", "unshare", "setpriv", "ip", "mkfs.ext4", "chroot"):
        if not shutil.which(tool):
            return f"needs {tool}"
    if not os.path.exists(KEYRING):
        return f"needs {KEYRING} (package debian-archive-keyring)"
    if not os.path.exists("/dev/net/tun"):
        return "needs /dev/net/tun"
    return ""


def build(work: Path, tell: Callable[[str], None]) -> None:
    """Build the kernel and the nodes' disk in ``work``."""
    _fetch_tools(work, tell)
    root = work / "root"
    ready = work / "root.ready"
    if not ready.exists() or ready.read_text() != READY:
        shutil.rmtree(root, ignore_errors=True)
        tell(f"debootstrap of Debian {SUITE}")
        mirror = _mirror()
        script = work / "tools/usr/sbin/debootstrap"
        share = str(work / "tools/usr/share/debootstrap")
        wanted = ["--variant=minbase", f"--include={','.join(PACKAGES)}", f"--keyring={KEYRING}"]
        _run([*ALONE, str(script), *wanted, SUITE, str(root), mirror], {"DEBOOTSTRAP_DIR": share})
        shutil.copytree(
            work / "uml/usr/lib/uml/modules",
            root / "lib/modules",
            symlinks=True,
            dirs_exist_ok=True,
        )
        _run(
            [
                "chroot",
                str(root),
                "update-alternatives",
                "--set",
                "iptables",
                "/usr/sbin/iptables-legacy",
            ]
        )
        for path in (root / "var/cache/apt/archives").glob("*.deb"):
            path.unlink()
        ready.write_text(READY)
    _install_package(work, root, tell)
    _write_files(root)
    tell("file system of the nodes' own disks")
    _new_disk(work, "base.img")
    _run(["mkfs.ext4", "-q", "-F", "-d", str(root), str(work / "base.img")])


def make_disks(work: Path) -> None:
    """Make the disks that the nodes share, and forget what was written on their own."""
    for path in work.glob("*.cow"):
        path.unlink()
    for name in SHARED_DISKS:
        _new_disk(work, name)


def _new_disk(work: Path, name: str) -> None:
    (work / name).unlink(missing_ok=True)
    with open(work / name, "wb") as file:
        file.truncate(SIZES_MB[name] << 20)


def _fetch_tools(work: Path, tell: Callable[[str], None]) -> None:
    """Unpack the kernel and debootstrap from Debian packages, without installing them."""
    if (work / "uml/usr/bin/linux.uml").exists():
        return
    tell(f"Debian packages: {', '.join(TOOLS)}")
    packages = work / "packages"
    packages.mkdir(exist_ok=True)
    try:
        if subprocess.run(
            ["apt-cache", "show", *TOOLS], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ).returncode:
            _run(["apt-get", "-qq", "update"])
        _run(["apt-get", "-qq", "download", *TOOLS], cwd=packages)
    except CannotRun as error:
        raise CannotRun(f"needs the Debian packages {', '.join(TOOLS)}: {error}") from error
    for tool, place in zip(TOOLS, ("tools", "uml")):
        for package in packages.glob(f"{tool}_*.deb"):
            _run(["dpkg", "-x", str(package), str(work / place)])


def _install_package(work: Path, root: Path, tell: Callable[[str], None]) -> None:
    """Build wheels of the repository and its dependencies; install them in the node.

    They go into a virtual environment.
    """
    tell("the package, built and installed in the nodes' own python")
    source, wheels = work / "source", work / "wheels"
    for place in (source, wheels, root / "wheels", root / "opt/openha"):
        shutil.rmtree(place, ignore_errors=True)
    unwanted = shutil.ignore_patterns(
        ".git", ".venv", "build", "dist", "*.egg-info", "__pycache__", ".mypy_cache"
    )
    shutil.copytree(REPOSITORY, source, ignore=unwanted)
    _run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--disable-pip-version-check",
            "-w",
            str(wheels),
            str(source),
        ]
    )
    shutil.copytree(wheels, root / "wheels")
    _run(["chroot", str(root), "python3", "-m", "venv", "/opt/openha"])
    pip = [
        "/opt/openha/bin/pip",
        "install",
        "--quiet",
        "--no-index",
        "--find-links",
        "/wheels",
        "opensvc-openha",
    ]
    _run(["chroot", str(root), *pip])


def _write_files(root: Path) -> None:
    shutil.copytree(HERE / "node", root / "acceptance", dirs_exist_ok=True)
    for path in (root / "acceptance").iterdir():
        path.chmod(0o755)
    shutil.copy(root / "acceptance/fence-peer", root / "usr/local/sbin/fence-peer")
    (root / "usr/share/misc/enterprise-numbers.txt").write_text(VENDORS)
    (root / "etc/lvm/lvmlocal.conf").write_text(LVM_CONF)
    (root / "etc/hosts").write_text(HOSTS)
    ssh = root / "root/.ssh"
    if not ssh.exists():
        ssh.mkdir(mode=0o700)
        _run(
            [
                "chroot",
                str(root),
                "ssh-keygen",
                "-q",
                "-t",
                "ed25519",
                "-N",
                "",
                "-f",
                "/root/.ssh/id_ed25519",
            ]
        )
        shutil.copy(ssh / "id_ed25519.pub", ssh / "authorized_keys")
        (ssh / "config").write_text(SSH_CONFIG)
    busybox_tar(root / "root/busybox.tar", APPLETS, root / "bin/busybox")


def _mirror() -> str:
    """Return the Debian mirror of this machine's apt: no other may be reachable."""
    places = [
        Path("/etc/apt/sources.list"),
        *sorted(Path("/etc/apt/sources.list.d").glob("*.sources")),
    ]
    for place in places:
        for line in place.read_text().splitlines() if place.exists() else ():
            words = [word for word in line.split() if not word.startswith("[")]
            if words[:1] in (["deb"], ["URIs:"]) and words[1].rstrip("/").endswith("/debian"):
                return words[1]
    return DEFAULT_MIRROR


def _run(
    argv: Sequence[str], env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> None:
    """Run a command of the set-up; include its last output if it fails."""
    whole = {**os.environ, "LC_ALL": "C.UTF-8", **(env or {})}
    done = subprocess.run(
        ["nice", *argv],
        env=whole,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if done.returncode != 0:
        words = "\n".join(done.stdout.strip().splitlines()[-5:])
        raise CannotRun(f"{' '.join(argv[:6])} ended with exit code {done.returncode}: {words}")
