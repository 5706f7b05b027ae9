"""Process 1 of a demo node: build its private root, then reap orphans until its owner ends.

Run as a plain script inside fresh mount, uts, ipc and pid namespaces; it imports nothing of the
package. The root is made of overlays of the host's directories, so that everything installed on the
host is there and nothing the node writes reaches the host. The node's writes are in the ``upper``
directory of its configuration and exist again at the next boot. Standard input is the owner's
lifeline: when it is closed, the node ends.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import uuid
from typing import Any

MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
MS_BIND, MS_REC = 4096, 16384
MNT_DETACH = 2

OWN_FILESYSTEMS = ("/proc", "/sys", "/dev", "/run")
"""Directories that are empty at each boot."""

PSEUDO_TYPES = frozenset(
    [
        "proc",
        "sysfs",
        "devtmpfs",
        "devpts",
        "cgroup",
        "cgroup2",
        "securityfs",
        "debugfs",
        "tracefs",
        "mqueue",
        "hugetlbfs",
        "configfs",
        "pstore",
        "bpf",
        "binfmt_misc",
        "autofs",
        "fusectl",
        "rpc_pipefs",
        "nsfs",
        "efivarfs",
        "selinuxfs",
    ]
)
ENGINE_MOUNTS = ("/var/lib/docker/", "/var/lib/containers/", "/snap/", "/var/snap/")
"""The host may have hundreds of mounts below these that no node needs."""

WRITABLE = [
    "/etc",
    "/etc/init.d",
    "/etc/opensvc",
    "/tmp",
    "/var",
    "/var/lib",
    "/var/log",
    "/var/tmp",
    "/var/cache",
    "/usr",
    "/usr/bin",
    "/usr/lib",
    "/usr/local",
    "/usr/local/bin",
    "/usr/local/lib",
    "/usr/share",
    "/opt",
    "/srv",
    "/mnt",
    "/root",
]
"""Without root these belong to another user of the host; the node needs its own."""

PLAIN_DEVICES = [
    "null",
    "zero",
    "full",
    "random",
    "urandom",
    "tty",
    "fuse",
    "net/tun",
    "kmsg",
    "loop-control",
    "mapper/control",
]
LOOP_MAJOR = 7
LOOP_NODES = 64

libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, fstype: str = "", flags: int = 0, data: str = "") -> None:
    """Call mount(2); raise an OSError that names the target."""
    if libc.mount(
        source.encode(),
        target.encode(),
        fstype.encode() or None,
        ctypes.c_ulong(flags),
        data.encode() or None,
    ):
        number = ctypes.get_errno()
        raise OSError(number, f"mount {fstype or source} on {target}: {os.strerror(number)}")


def host_mounts() -> list[tuple[str, str]]:
    """Return mount points and types of the host's tree, outermost first."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8") as lines:
        for line in lines:
            left, _, right = line.partition(" - ")
            point = left.split()[4].encode().decode("unicode_escape")
            found.append((point, right.split()[0]))
    return sorted(set(found))


class RootBuilder:
    """Builder of the node's root below ``top`` from the host's tree."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.base: str = config["base"]
        self.top = os.path.join(config["home"], "top")
        self.upper = os.path.join(config["home"], "upper")
        self.work = os.path.join(config["home"], "work")
        self.rootless: bool = config["rootless"]
        skipped = OWN_FILESYSTEMS + (self.base,)
        self.mounts = [
            point
            for point, fstype in host_mounts()
            if fstype not in PSEUDO_TYPES
            and not point.startswith(ENGINE_MOUNTS)
            and not any(point == path or point.startswith(path + "/") for path in skipped)
        ]

    def build(self) -> None:
        """Mount every top-level directory of the host below ``top``."""
        os.makedirs(self.top, exist_ok=True)
        mount(self.top, self.top, flags=MS_BIND)
        for name in sorted(os.listdir("/")):
            path = "/" + name
            if path in OWN_FILESYSTEMS or name == "lost+found":
                continue
            if os.path.islink(path):
                if not os.path.lexists(self.top + path):
                    os.symlink(os.readlink(path), self.top + path)
            elif os.path.isdir(path):
                self._graft(path)

    def _graft(self, path: str) -> None:
        target = self.top + path
        os.makedirs(target, exist_ok=True)
        if not os.access(path, os.R_OK | os.X_OK):
            return
        beneath = [point for point in self.mounts if point.startswith(path + "/")]
        try:
            self._overlay(path, target)
        except OSError:
            # Without root the kernel refuses an overlay of a directory with mounts of the host
            # below it.
            if not any(
                (w + "/").startswith(path + "/") or path.startswith(w + "/") for w in WRITABLE
            ):
                mount(path, target, flags=MS_BIND | MS_REC)
                return
            if not beneath:
                # A bind mount of the host's directory would let the node write into it.
                raise
            self._graft_entries(path)
            return
        done: list[str] = []
        for point in beneath:
            if any(point.startswith(outer + "/") for outer in done):
                continue
            done.append(point)
            if os.path.isdir(point):
                self._graft(point)
            else:
                replace_file(self.top + point, read_bytes(point) or b"")

    def _graft_entries(self, path: str) -> None:
        for name in sorted(os.listdir(path)):
            entry = os.path.join(path, name)
            target = self.top + entry
            if os.path.islink(entry):
                if not os.path.lexists(target):
                    os.symlink(os.readlink(entry), target)
            elif os.path.isdir(entry):
                self._graft(entry)
            elif os.path.isfile(entry) and not os.path.lexists(target):
                data = read_bytes(entry)
                if data is not None:
                    replace_file(target, data)
                    shutil.copymode(entry, target)

    def _overlay(self, path: str, target: str) -> None:
        upper = self.upper + path
        work = os.path.join(self.work, path.strip("/").replace("/", "."))
        os.makedirs(work, exist_ok=True)
        self._prepare(path, upper)
        if self.rootless:
            for writable in WRITABLE:
                if writable.startswith(path + "/"):
                    self._prepare(writable, self.upper + writable)
        options = f"lowerdir={path},upperdir={upper},workdir={work}"
        mount("overlay", target, "overlay", data=options + (",userxattr" if self.rootless else ""))

    def _prepare(self, path: str, upper: str) -> None:
        """Create the upper directory with the host's owner and mode.

        An overlay shows those of the upper directory.
        """
        if os.path.isdir(upper) or os.path.islink(path):
            return
        os.makedirs(upper)
        if os.path.isdir(path):
            looks = os.stat(path)
            if not self.rootless:
                os.chown(upper, looks.st_uid, looks.st_gid)
            os.chmod(upper, stat.S_IMODE(looks.st_mode) | (0o700 if self.rootless else 0))


def read_bytes(path: str) -> bytes | None:
    """Return the content of a file; None if it is not readable."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None


def replace_file(path: str, data: bytes) -> None:
    """Write a new file in the place of one that may belong to another user."""
    with open(path + ".new", "wb") as file:
        file.write(data)
    os.replace(path + ".new", path)


def make_devices(top: str, rootless: bool) -> None:
    """Create a private /dev: plain devices, pseudo terminals, shared memory, an empty mapper."""
    dev = top + "/dev"
    os.makedirs(dev, exist_ok=True)
    mount("tmpfs", dev, "tmpfs", MS_NOSUID, "mode=755")
    for name in ("pts", "shm", "mapper", "net"):
        os.mkdir(f"{dev}/{name}")
    names = list(PLAIN_DEVICES)
    if not rootless:
        names += [
            name for name in os.listdir("/dev") if name not in PLAIN_DEVICES and name != "ptmx"
        ]
    for name in names:
        try:
            looks = os.stat(f"/dev/{name}")
        except OSError:
            continue
        if stat.S_ISCHR(looks.st_mode) or stat.S_ISBLK(looks.st_mode):
            _make_device(f"{dev}/{name}", f"/dev/{name}", looks)
    if not rootless:
        for number in range(LOOP_NODES):
            if not os.path.exists(f"{dev}/loop{number}"):
                os.mknod(
                    f"{dev}/loop{number}", stat.S_IFBLK | 0o660, os.makedev(LOOP_MAJOR, number)
                )
    mount(
        "devpts",
        f"{dev}/pts",
        "devpts",
        MS_NOSUID | MS_NOEXEC,
        "newinstance,ptmxmode=0666,mode=620",
    )
    mount("tmpfs", f"{dev}/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    links = {
        "ptmx": "pts/ptmx",
        "fd": "/proc/self/fd",
        "stdin": "fd/0",
        "stdout": "fd/1",
        "stderr": "fd/2",
    }
    for name, value in links.items():
        if not os.path.lexists(f"{dev}/{name}"):
            os.symlink(
                value.replace("fd/", "/proc/self/fd/") if value.startswith("fd/") else value,
                f"{dev}/{name}",
            )


def _make_device(target: str, source: str, looks: os.stat_result) -> None:
    try:
        os.mknod(target, looks.st_mode, looks.st_rdev)
        os.chmod(target, stat.S_IMODE(looks.st_mode))
    except OSError:
        open(target, "wb").close()
        mount(source, target, flags=MS_BIND)


def make_shared_disk(top: str, disk: dict[str, Any]) -> None:
    """Provide the shared disk: a loop device by its number, or a plain file."""
    target = top + disk["path"]
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if disk["loop"] is not None:
        os.mknod(target, stat.S_IFBLK | 0o660, os.makedev(LOOP_MAJOR, disk["loop"]))
    else:
        open(target, "wb").close()
        mount(disk["file"], target, flags=MS_BIND)


def make_kernel_views(top: str) -> None:
    """Mount the node's own /proc, /sys and /run."""
    for name in ("proc", "sys", "run"):
        os.makedirs(f"{top}/{name}", exist_ok=True)
    mount("proc", f"{top}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    try:
        mount("sysfs", f"{top}/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)
        if os.path.isdir("/sys/fs/cgroup"):
            mount("/sys/fs/cgroup", f"{top}/sys/fs/cgroup", flags=MS_BIND | MS_REC)
    except OSError:
        mount("/sys", f"{top}/sys", flags=MS_BIND | MS_REC)
    mount("tmpfs", f"{top}/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    os.mkdir(f"{top}/run/lock")


def new_boot_identity() -> None:
    """Give this boot a boot id of its own: with the host's, a reboot would not be noticed."""
    with open("/run/boot_id", "w", encoding="ascii") as file:
        file.write(f"{uuid.uuid4()}\n")
    mount("/run/boot_id", "/proc/sys/kernel/random/boot_id", flags=MS_BIND)


def build(config: dict[str, Any]) -> None:
    """Build the whole root and move into it."""
    socket.sethostname(config["name"])
    builder = RootBuilder(config)
    builder.build()
    top = builder.top
    make_devices(top, builder.rootless)
    make_shared_disk(top, config["disk"])
    make_kernel_views(top)
    os.makedirs(top + "/shared", exist_ok=True)
    mount(config["shared"], top + "/shared", flags=MS_BIND)
    os.makedirs(top + "/.old", exist_ok=True)
    os.chdir(top)
    subprocess.run(["pivot_root", ".", ".old"], check=True)
    os.chdir("/")
    if libc.umount2(b"/.old", MNT_DETACH):
        raise OSError(ctypes.get_errno(), "cannot leave the host's root")
    new_boot_identity()
    if config["files"]:
        for path, text in config["files"].items():
            os.makedirs(os.path.dirname(path), exist_ok=True)
            replace_file(path, text.encode())


def reap_until_owner_leaves() -> None:
    """Reap orphans; return when the lifeline on standard input is closed."""
    wake_r, wake_w = os.pipe()
    os.set_blocking(wake_w, False)
    os.set_blocking(wake_r, False)
    signal.set_wakeup_fd(wake_w, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        ready, _, _ = select.select([0, wake_r], [], [], 5.0)
        if 0 in ready and not os.read(0, 1):
            return
        if wake_r in ready:
            os.read(wake_r, 4096)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass


def main() -> None:
    """Build the root, report the pid as seen on the host, reap until the end."""
    config = json.loads(sys.argv[1])
    host_pid = os.readlink("/proc/self")
    os.umask(0o022)
    os.environ["PATH"] = config["path"]
    build(config)
    os.write(1, f"ready {host_pid}\n".encode())
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 1)
    os.dup2(null, 2)
    reap_until_owner_leaves()


if __name__ == "__main__":
    main()
