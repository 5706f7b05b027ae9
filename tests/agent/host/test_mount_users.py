"""Who uses a file system that the stop of a service may unmount."""

from __future__ import annotations

import os

import pytest

from opensvc_openha.agent.host.mount_users import are_on_root_alone, uses_root_alone
from opensvc_openha.agent.host.mounts import parse_mounts

MOUNTS = """\
21 1 8:1 / / rw - ext4 /dev/sda1 rw
22 21 0:5 / /dev rw - tmpfs dev rw
23 22 0:6 / /dev/pts rw - devpts devpts rw
24 21 0:7 / /proc rw - proc proc rw
25 21 8:2 / /srv/web rw - ext4 /dev/mapper/web rw
26 25 0:8 / /srv/web/chroot/proc rw - proc proc rw
27 21 8:3 / /srv/two\\040words rw - ext4 /dev/mapper/words rw
"""


@pytest.mark.parametrize(
    "paths, is_so",
    [
        ([], True),
        (["/root", "/", "/usr/bin/bash", "/dev/pts/3", "/dev/null", "/proc/7/fd"], True),
        (["/srv", "/srv/web2", "/srv/website/x", "socket:[17]", ""], True),
        (["/", "/srv/web"], False),
        (["/srv/web/data/file (deleted)"], False),
        (["/srv/web/chroot/proc/self"], False),
        (["/srv/two words/x"], False),
    ],
)
def test_only_mounts_of_the_system_itself_are_safe_from_a_stop(
    paths: list[str], is_so: bool
) -> None:
    """A mount of the system within another one does not make that one the system's."""
    assert are_on_root_alone(paths, parse_mounts(MOUNTS.splitlines())) == is_so


def test_process_that_is_not_known_may_use_anything() -> None:
    """Of another pid namespace, or one that has ended: no mounts are found."""
    assert not are_on_root_alone([], [])
    assert not uses_root_alone(0)
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    assert not uses_root_alone(child)
