"""Helpers of tests with real docker daemons: requirements, a busybox image, clean-up."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from opensvc_openha.demo.sandbox_namespaces import TOOL_PATH

APPLETS = ("sh", "sleep", "date", "cat", "echo", "touch", "nc", "httpd", "test", "true")
LOOP = 'CMD ["/bin/sh", "-c", "trap \'exit 0\' TERM; while true; do date; sleep 1 & wait $!; done"]'
"""Command of the image: prints the date forever, as the tutorial's, and ends at once on SIGTERM."""

_BUSYBOX = "/bin/busybox"


def require_docker() -> None:
    """Skip if no docker daemon can be started; fail in CI, where it can."""
    programs = [
        name
        for name in ("dockerd", "docker", "containerd", "runc")
        if not shutil.which(name, path=TOOL_PATH)
    ]
    reason = (
        "needs root"
        if os.geteuid()
        else f"needs {', '.join(programs)} (package docker.io)"
        if programs
        else ""
    )
    if not reason and not _is_static(_BUSYBOX):
        reason = f"needs a static {_BUSYBOX} (package busybox-static)"
    if reason:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)


def busybox_tar(path: Path) -> Path:
    """Write a root file system with busybox and some of its commands, for ``docker import``."""
    with tarfile.open(path, "w") as tar:
        tar.add(os.path.realpath(_BUSYBOX), "bin/busybox")
        for name in APPLETS:
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        tmp = tarfile.TarInfo("tmp")
        tmp.type, tmp.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(tmp, io.BytesIO())
    return path


def remove_cgroups(*svcnames: str) -> None:
    """Remove the empty control groups of killed nodes from the machine's shared hierarchies."""
    for hierarchy in Path("/sys/fs/cgroup").glob("*/opensvc"):
        for top in hierarchy.iterdir():
            if top.is_dir() and top.name.startswith(svcnames):
                for directory, _, _ in os.walk(top, topdown=False):
                    _rmdir(directory)
        _rmdir(str(hierarchy))


def _rmdir(path: str) -> None:
    with contextlib.suppress(OSError):
        os.rmdir(path)


def _is_static(path: str) -> bool:
    if not os.path.exists(path):
        return False
    found = subprocess.run(["ldd", path], capture_output=True, text=True)
    return (
        "not a dynamic executable" in found.stdout + found.stderr
        or "statically linked" in found.stdout
    )
