"""Maps for which multipathd keeps keys, from files as an administrator writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from opensvc_openha.fence_devices.block_devices import DiskAddress
from opensvc_openha.fence_devices.multipath_keys import problem_of

MAP = DiskAddress("/dev/mapper/data", ("/dev/sda", "/dev/sdb"))
DEFAULTS = "# keys\ndefaults {\n\tuser_friendly_names yes\n\treservation_key file\n}\n"
OTHER = 'multipaths {\n multipath {\n  wwid "other"\n  reservation_key file\n }\n}\n'


def problem(tmp_path: Path, *texts: str, disk: DiskAddress = MAP) -> str:
    """For multipath.conf, and a file of its directory for each further text."""
    conf, folder = tmp_path / "multipath.conf", tmp_path / "conf.d"
    folder.mkdir(exist_ok=True)
    for number, text in enumerate(texts):
        (conf if not number else folder / f"{number}.conf").write_text(text)
    # The name of a map that is not there stands for its WWID.
    return problem_of([disk], str(conf), str(folder))


@pytest.mark.parametrize(
    "texts, place",
    [
        ((DEFAULTS,), "multipath.conf:4"),
        (('defaults { reservation_key "file" }',), "multipath.conf:1"),
        (("", DEFAULTS), "1.conf:4"),
        (("", "", DEFAULTS), "2.conf:4"),
        ((DEFAULTS + OTHER,), "multipath.conf:4"),
        ((OTHER.replace("other", MAP.name),), "multipath.conf:4"),
        (
            (f"multipaths {{\nmultipath {{\nreservation_key file\nwwid {MAP.name}\n}}\n}}\n",),
            "multipath.conf:3",
        ),
    ],
)
def test_map_whose_keys_multipathd_keeps_is_refused(
    tmp_path: Path, texts: tuple[str, ...], place: str
) -> None:
    """With the place of the line, and what to do; for all maps, or for this one."""
    found = problem(tmp_path, *texts)
    assert found.startswith(f"{MAP.name}: {tmp_path}") and f"{place}: reservation_key file" in found
    assert "remove that line" in found


@pytest.mark.parametrize(
    "texts",
    [
        (),
        ("",),
        (OTHER,),
        (
            "# reservation_key file\n! reservation_key file\n"
            "defaults {\n find_multipaths yes # file\n}",
        ),
        ("defaults {\n reservation_key 0xdeb1\n}\n",),
        (DEFAULTS, "defaults {\n reservation_key 0xdeb1\n}\n"),
        (DEFAULTS + OTHER.replace("other", MAP.name).replace("file", "0xdeb1"),),
        ("} } {{ reservation_key",),
    ],
)
def test_other_maps_are_not(tmp_path: Path, texts: tuple[str, ...]) -> None:
    """No such file; another map's line; a comment; a key; a later or a closer line counts."""
    assert problem(tmp_path, *texts) == ""


def test_disk_without_multipath_is_not_concerned(tmp_path: Path) -> None:
    """Nobody but this node's commands registers over it."""
    assert problem(tmp_path, DEFAULTS, disk=DiskAddress("/dev/sda", ("/dev/sda",))) == ""


def test_wwid_of_a_map_is_the_kernels(tmp_path: Path) -> None:
    """What follows mpath- in its identifier."""
    (tmp_path / "dev/block/1:3/dm").mkdir(parents=True)
    (tmp_path / "dev/block/1:3/dm/uuid").write_text("mpath-3600a\n")
    conf = tmp_path / "multipath.conf"
    conf.write_text(OTHER.replace("other", "3600a"))
    null = DiskAddress("/dev/null", ("/dev/sda",))
    assert "reservation_key file" in problem_of([null], str(conf), str(tmp_path), str(tmp_path))
