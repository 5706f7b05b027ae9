"""Renew a node's lease on a witness, and look whether the peer still renews its own.

It is used like a slot of a disk: one record for each node, with the life and the number of the beat
that it stands for. The owner rewrites it; the survivor sees by its own clock how long it has not
changed. So no clock of the witness is trusted, and no key of it disappears by itself: servers have
revoked leases that were renewed in time (etcd issue 15247).

    {"life": "7.4660", "seq": 1204, "since": 1180}       renewed, a promise that beat 1180 made
    {"life": "7.4660", "seq": 1204, "withdrawn": true}   no promise: never taken for dead

So a survivor that has missed the end of one promise takes a renewal of the next one for none of it.

Each writing names the revision that it replaces: one that was given up and takes effect later can
neither undo a withdrawal nor hide a newer renewal.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from opensvc_openha.fence_devices.etcd import EtcdClient, EtcdFault, Store
from opensvc_openha.formats import etcd_messages as etcd
from opensvc_openha.formats.etcd_messages import KeyValue
from opensvc_openha.formats.lease_config import EtcdConfig
from opensvc_openha.system.clock import monotonic

_TRIES = 4
"""How often the record may have been another one: after a lost answer, and a restart."""


@dataclass(frozen=True)
class _Record:
    """What the witness has kept of a node."""

    life: str
    seq: int
    since: int | None
    """The first beat of the promise that it renews; None: nothing is promised, or not known here.
    """
    is_withdrawn: bool


class Witness:
    """The witness as one node uses it; for one thread at a time.

    Raises EtcdFault if it does not answer.
    """

    def __init__(
        self,
        options: EtcdConfig,
        node: str,
        peer: str,
        store: Store | None = None,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self._store = EtcdClient(options) if store is None else store
        self._now = now
        self._peer = peer
        self.why_not = ""
        """Why the last look for the peer proves nothing."""
        self._own_key, self._peer_key = (
            f"{options.prefix}/life/{name.lower()}" for name in (node, peer)
        )
        self._own_revision: int | None = None
        """Of our record as it was last seen; 0 if there was none, None if nobody has looked."""
        self._peer_record: KeyValue | None = None
        self._still_since = 0.0
        """When the look ended that showed the peer's record first as it is."""

    def close(self) -> None:
        """Release the connection."""
        self._store.close()

    # --- the owner --------------------------------------------------------------------------------

    def renew(self, life: str, seq: int, since: int | None) -> None:
        """Show that this life has sent this beat. It counts from before the call, once it returns.

        ``since`` is the first beat of the promise that it renews; None if nothing is promised.
        EtcdFault if that is not certain: it may take effect all the same, which harms nothing.
        """
        self._write(_Record(life, seq, since, is_withdrawn=since is None))

    def withdraw(self, life: str) -> None:
        """Mark that this life promises nothing any more: for good, until it renews again."""
        self._write(_Record(life, 0, None, is_withdrawn=True))

    def _write(self, record: _Record) -> None:
        value = _coded(record)
        for _ in range(_TRIES):
            if self._own_revision is None:
                self._take_own(self._store.transact([], [etcd.find(self._own_key)]))
            assert self._own_revision is not None, "it was read"
            end = self._store.transact(
                [etcd.is_at(self._own_key, self._own_revision)],
                [etcd.put(self._own_key, value), etcd.find(self._own_key)],
                [etcd.find(self._own_key)],
            )
            found = self._take_own(end)
            # An earlier try whose answer was lost is as good.
            if found is not None and found.value == value:
                return
        raise EtcdFault(f"{self._own_key} on {self._store.name} is written by somebody else, too")

    def _take_own(self, end: etcd.TransactionEnd) -> KeyValue | None:
        found = _only(end)
        self._own_revision = 0 if found is None else found.revision
        return found

    # --- the survivor -----------------------------------------------------------------------------

    def quiet_since(self, life: str, seq: int) -> float | None:
        """Return when the look ended that showed the record of that life first as it still is.

        So whoever may need an answer looks all the time. ``seq`` is the newest beat by which that
        life's promise is known. None for a record that is not there, or of another life, or
        withdrawn: such a peer has promised nothing here, or uses another witness. None also for one
        that renews a later promise.
        """
        found = _only(self._store.transact([], [etcd.find(self._peer_key)]))
        # Revisions alone begin again where a witness lost its data.
        if found != self._peer_record:
            self._peer_record, self._still_since = found, self._now()
        record = None if found is None else _read(found.value)
        self.why_not = self._doubt(record, life, seq)
        return None if self.why_not else self._still_since

    def _doubt(self, record: _Record | None, life: str, seq: int) -> str:
        if record is None:
            return f"it has no record of {self._peer}"
        if record.life != life:
            return f"its record is of another life of {self._peer}"
        if record.is_withdrawn:
            return f"{self._peer} has withdrawn its promise there"
        if record.since is None:
            return f"{self._peer} does not say there what it renews: its version is older"
        is_later = record.since > seq
        return f"{self._peer} renews a promise there that did not come in here" if is_later else ""

    # --- the standing check -----------------------------------------------------------------------

    def look(self) -> str:
        """Return what is on the witness; EtcdFault if it does not answer."""
        end = self._store.transact([], [etcd.find(self._own_key), etcd.find(self._peer_key)])
        count = sum(map(len, end.found))
        return f"{self._store.name} answers: {count or 'no'} record{'' if count == 1 else 's'}"


def _only(end: etcd.TransactionEnd) -> KeyValue | None:
    """Return what the last search found."""
    if not end.found:
        raise EtcdFault("the witness gave no answer to a search")
    return next(iter(end.found[-1]), None)


def _coded(record: _Record) -> str:
    values: dict[str, object] = {"life": record.life, "seq": record.seq}
    if record.since is not None:
        values["since"] = record.since
    if record.is_withdrawn:
        values["withdrawn"] = True
    return json.dumps(values)


def _read(value: str) -> _Record | None:
    """Return a record; None for what no node has written."""
    try:
        values = json.loads(value)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, Mapping):
        return None
    life, seq = values.get("life"), values.get("seq")
    since, is_withdrawn = values.get("since"), values.get("withdrawn", False)
    if not isinstance(life, str) or not isinstance(seq, int) or not isinstance(is_withdrawn, bool):
        return None
    if not isinstance(since, int | None):
        return None
    return _Record(life, seq, since, is_withdrawn)
