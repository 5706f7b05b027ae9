"""Which disk a mark stands for: the one that this daemon has written by it, and no other."""

from __future__ import annotations

from opensvc_openha.core.model import LinkSpec
from opensvc_openha.core.promise import media_of
from opensvc_openha.core.promised_disks import PromisedDisks

LINK = LinkSpec("deb1", "dio", "/dev/sdb", "", 0, 10, 10.0)
BY_ID = LinkSpec("deb1", "dio", "/dev/disk/by-id/x", "", 0, 10, 10.0)
NET = LinkSpec("deb1", "net", "eth1", "239.131.50.10", 5010, 0, 10.0)
MARK = LINK.mark


def _opened(*opened: tuple[LinkSpec, str]) -> PromisedDisks:
    disks = PromisedDisks((NET, LINK))
    for link, disk in opened:
        disks.opened(link, disk)
    return disks


def test_the_first_disk_that_is_opened_is_the_medium() -> None:
    """Nothing is renewed by one that was not opened, nor by a network."""
    assert PromisedDisks((LINK,)).medium_of(LINK, "naa.1") is None
    disks = _opened((NET, "naa.1"), (LINK, "naa.1"))
    assert disks.medium_of(LINK, "naa.1") == MARK and disks.medium_of(NET, "naa.1") is None
    assert disks.known == {MARK: "naa.1"} and not disks.replaced


def test_another_disk_under_the_same_path_is_no_medium_until_the_first_one_is_back() -> None:
    """Unplugged, and plugged in again."""
    disks = _opened((LINK, "naa.1"), (LINK, "naa.2"))
    assert disks.medium_of(LINK, "naa.2") is None and disks.replaced == {MARK}
    # A write that ends late was on the first one.
    assert disks.medium_of(LINK, "naa.1") == MARK and disks.known == {MARK: "naa.1"}
    disks.opened(LINK, "naa.1")
    assert not disks.replaced


def test_a_disk_that_is_not_known_is_no_medium() -> None:
    """Neither first, nor later."""
    assert _opened((LINK, "")).replaced == {MARK} and not _opened((LINK, "")).known
    disks = _opened((LINK, "naa.1"), (LINK, ""))
    assert disks.medium_of(LINK, "") is None and disks.replaced == {MARK}


def test_a_link_with_another_path_has_the_disk_that_it_opens() -> None:
    """The same one by another name, or another one."""
    for disk, replaced in (("naa.1", frozenset[bytes]()), ("naa.2", frozenset({MARK}))):
        disks = _opened((LINK, "naa.1"))
        disks.follow((NET, BY_ID))
        assert disks.medium_of(LINK, "naa.1") is None and not disks.replaced
        disks.opened(BY_ID, disk)
        assert disks.replaced == replaced
        # One that is not configured any more has nothing to say.
        disks.opened(LINK, "naa.3")
        assert disks.replaced == replaced


def test_what_is_left_of_two_disks_with_one_offset_is_not_the_first_one() -> None:
    """It gets the mark of the first one by the edit, and is open already."""
    disks = PromisedDisks((LINK, BY_ID))
    second = media_of((LINK, BY_ID))[BY_ID]
    disks.opened(LINK, "naa.1")
    disks.opened(BY_ID, "naa.2")
    assert disks.known == {MARK: "naa.1", second: "naa.2"}
    disks.follow((BY_ID,))
    assert disks.medium_of(BY_ID, "naa.2") is None and disks.replaced == {MARK}
    assert disks.known == {MARK: "naa.1"}


def test_an_open_disk_that_gets_another_mark_by_an_edit_stands_for_it() -> None:
    """Another disk with its offset is configured before it."""
    disks = _opened((LINK, "naa.1"))
    second = media_of((BY_ID, LINK))[LINK]
    disks.follow((BY_ID, LINK))
    assert disks.medium_of(LINK, "naa.1") == second
    assert disks.known == {MARK: "naa.1", second: "naa.1"}


def test_a_disk_that_was_seen_before_it_is_opened_is_expected() -> None:
    """What the former daemon has promised by it stands."""
    disks = PromisedDisks((LINK,))
    disks.expect({MARK: "naa.1"})
    assert disks.known == {MARK: "naa.1"} and not disks.replaced
    disks.expect({MARK: "naa.2"})
    disks.opened(LINK, "naa.2")
    assert disks.replaced == {MARK}
