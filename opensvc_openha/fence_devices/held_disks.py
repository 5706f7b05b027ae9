"""Look, again and again, whether this node still holds the reserved disks of what runs here.

The I/O processes of the disks are kept between two looks: each look is then some commands of a
millisecond, one empty write over each path among them. So a path that came back without its
registration is registered again within one look, where that is safe; see ``SharedDisk.renew``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from opensvc_openha.errors import SystemFault
from opensvc_openha.fence_devices.block_devices import DiskAddress, disks_under
from opensvc_openha.fence_devices.disk_requests import address_of, generation_of, key_of
from opensvc_openha.fence_devices.shared_disk import SharedDisk, meet
from opensvc_openha.formats.reservation_key import key_text


class HeldDisks:
    """The disks of one watch; a disk that is not asked for any more is released."""

    def __init__(self) -> None:
        self._opened: dict[DiskAddress, SharedDisk] = {}

    def look(self, disks: Sequence[Mapping[str, object]]) -> dict[str, object]:
        """Look at each disk; return who has ejected this node, and what each of them shows.

        Each disk is given as in the requests of ``reservation_program``. UsageError for one that
        is not.
        """
        known = [(given, self._opened_disk(given)) for given in disks]
        self._release({disk.address for _, disk in known})
        meet(disk for _, disk in known)
        looks = [_look(given, disk) for given, disk in known]
        by = next((str(look["by"]) for look in looks if look["by"]), "")
        return {"is_ejected": bool(by), "by": by, "disks": looks}

    def close(self) -> None:
        """Release all disks, without waiting."""
        self._release(frozenset())

    def _opened_disk(self, given: Mapping[str, object]) -> SharedDisk:
        address = _present(address_of(given))
        if address not in self._opened:
            self._opened[address] = SharedDisk(address)
        return self._opened[address]

    def _release(self, kept: set[DiskAddress] | frozenset[DiskAddress]) -> None:
        for address in self._opened.keys() - kept:
            self._opened.pop(address).close()


def _present(address: DiskAddress) -> DiskAddress:
    """Return the paths that the disk has now: one that came back may have another name."""
    try:
        found = disks_under(address.name)
    except SystemFault:
        return address
    is_same = [disk.name for disk in found] == [address.name] and found[0].paths
    return found[0] if is_same else address


def _look(given: Mapping[str, object], disk: SharedDisk) -> dict[str, object]:
    """Return what one disk shows. ``by``: who removed our key; only if it was known there."""
    key, known = key_of(given), generation_of(given)
    look: dict[str, object] = {"name": disk.name, "is_held": False, "generation": None}
    renewed: tuple[str, ...] = ()
    problem = ""
    try:
        renewed = disk.renew(key, known) if known is not None else ()
    except SystemFault as error:
        problem = str(error)
    try:
        state = disk.read()
    except SystemFault as error:
        return {**look, "by": "", "renewed": [], "problem": problem, "text": str(error)}
    is_ejected = known is not None and key not in state.keys
    by = ", ".join(map(key_text, state.others(key))) or "nobody" if is_ejected else ""
    look["is_held"], look["generation"] = state.is_held_by(key), state.generation
    return {**look, "by": by, "renewed": list(renewed), "problem": problem, "text": str(state)}
