"""Decide which of two living nodes may fence the other: claims on a witness.

::

    PREFIX/member/NODE       in peace: NODE, in this life of its machine, may be claimed and claim
    PREFIX/fence/NODE/LIFE   NODE has lost the right; the key names the life, the value who has it

A claim creates the key of the peer, if there is none of this node: one transaction, so that of two
nodes exactly one gets it, whoever looks when. It holds until the loser deletes it, which it does
only in peace. A node without a registration has no right to claim: an etcd that lost its data gives
none to anybody before both have heard each other.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from opensvc_openha.errors import SystemFault
from opensvc_openha.fence_devices.arbiter_answers import ArbiterLook, Claim, ClaimOutcome
from opensvc_openha.fence_devices.etcd import EtcdClient, EtcdFault, Store
from opensvc_openha.formats import etcd_messages as etcd
from opensvc_openha.formats.etcd_messages import KeyValue
from opensvc_openha.formats.lease_config import EtcdConfig
from opensvc_openha.system.identity import life

_TRIES = 8
"""How often the other node may be faster before a claim is given up; it needs two at most."""
_UNKNOWN_LIFE = "unknown"


@dataclass(frozen=True)
class _Seen:
    """What the witness shows, at one revision."""

    claims: tuple[KeyValue, ...]
    """Those on this node."""
    won: tuple[KeyValue, ...]
    """Those on the peer, which only this node makes."""
    member: KeyValue | None
    peer: KeyValue | None


class EtcdArbiter:
    """The arbiter as one node sees it. Raises EtcdFault if the witness does not answer."""

    def __init__(
        self,
        options: EtcdConfig,
        node: str,
        peer: str,
        store: Store | None = None,
        own_life: Callable[[], str] = life,
    ) -> None:
        self._store = EtcdClient(options) if store is None else store
        self._node, self._peer = node, peer
        self._life = own_life()
        self._member, self._peer_member = (
            f"{options.prefix}/member/{name.lower()}" for name in (node, peer)
        )
        self._claims, self._peer_claims = (
            f"{options.prefix}/fence/{name.lower()}/" for name in (node, peer)
        )

    def close(self) -> None:
        """Release the connection."""
        self._store.close()

    def look(self) -> ArbiterLook:
        """Look whether this node is registered; nothing is written."""
        return self._shown(self._read())

    def watch(self) -> ArbiterLook:
        """Look whether this node is still registered.

        A registration from before a reboot gets this life: a claim is to name the present one.
        """
        seen = self._read()
        if seen.member is not None and not seen.claims and _life_of(seen.member) != self._life:
            self._store.transact(
                [etcd.is_nothing_below(self._claims), _unchanged(seen.member)], [self._registration]
            )
            seen = self._read()
        return self._shown(seen)

    def register_in_peace(self, is_readmitted: bool = False) -> str:
        """Register, and return what the witness shows.

        Only while the peer acknowledges our beats. A node that was claimed deletes the claims that
        it sees, and no other: only once its services were found down, which ``is_readmitted`` says.
        """
        seen = self._read()
        if seen.claims and not is_readmitted:
            raise EtcdFault(f"{self._by(seen)} has the right, and {self._node} stays out")
        conditions = [
            *map(_unchanged, seen.claims),
            etcd.is_at(self._member, 0 if seen.member is None else seen.member.revision),
        ]
        removed = [etcd.delete(claim.key) for claim in seen.claims]
        self._store.transact(conditions, [*removed, self._registration])
        look = self._shown(self._read())
        if not look.is_registered:
            raise EtcdFault(f"registered, but {look.text}")
        return look.text

    def claim(self, generation: int | None = None) -> Claim:
        """Take the right to fence the peer, if it has not taken it first.

        A try whose answer was lost is found, and counts. ``generation`` is for other arbiters.
        """
        try:
            for _ in range(_TRIES):
                seen = self._read()
                verdict = self._verdict(seen)
                if verdict is not None:
                    return verdict
                self._try(seen)
        except SystemFault as error:
            return Claim(ClaimOutcome.UNABLE, str(error))
        return Claim(ClaimOutcome.UNABLE, f"{self._store.name} shows something else at each look")

    def _verdict(self, seen: _Seen) -> Claim | None:
        """Return the outcome that the witness shows; None if the right is to be had."""
        text = self._described(seen)
        if seen.claims:
            return Claim(ClaimOutcome.LOST, text, self._by(seen))
        if seen.won:
            return Claim(ClaimOutcome.WON, text)
        if seen.member is None:
            why = f"{text}: nodes register only while they hear each other"
            return Claim(ClaimOutcome.UNABLE, why)
        return None

    def _try(self, seen: _Seen) -> None:
        """Create the peer's key, if nothing has changed; what came of it is read."""
        assert seen.member is not None, "a node that is not registered may not claim"
        peer_life = _UNKNOWN_LIFE if seen.peer is None else _life_of(seen.peer)
        value = json.dumps({"by": self._node, "life": self._life})
        self._store.transact(
            [
                etcd.is_nothing_below(self._claims),
                _unchanged(seen.member),
                etcd.is_at(self._peer_member, 0 if seen.peer is None else seen.peer.revision),
                etcd.is_at(f"{self._peer_claims}{peer_life}", 0),
            ],
            [
                etcd.put(f"{self._peer_claims}{peer_life}", value),
                etcd.delete(self._peer_member),
            ],
        )

    # --- what the witness shows -------------------------------------------------------------------

    @property
    def _registration(self) -> etcd.Body:
        return etcd.put(self._member, json.dumps({"life": self._life}))

    def _read(self) -> _Seen:
        end = self._store.transact(
            [],
            [
                etcd.find_below(self._claims),
                etcd.find_below(self._peer_claims),
                etcd.find(self._member),
                etcd.find(self._peer_member),
            ],
        )
        if len(end.found) != 4:
            raise EtcdFault(f"{self._store.name} gave {len(end.found)} answers to 4 questions")
        claims, won, member, peer = end.found
        return _Seen(claims, won, next(iter(member), None), next(iter(peer), None))

    def _shown(self, seen: _Seen) -> ArbiterLook:
        is_registered = seen.member is not None and not seen.claims
        by = self._by(seen) if seen.claims else ""
        is_peer_registered = seen.peer is not None and not seen.won
        return ArbiterLook(is_registered, by, is_peer_registered, self._described(seen))

    def _by(self, seen: _Seen) -> str:
        """Return who claimed; only the peer can."""
        found = (_named(claim, "by") for claim in seen.claims)
        return next(filter(None, found), self._peer)

    def _described(self, seen: _Seen) -> str:
        where = "on the witness"
        if seen.claims:
            return f"{self._by(seen)} has the right to fence {self._node} {where}"
        if seen.won:
            return f"{self._node} has the right to fence {self._peer} {where}"
        here = [
            node
            for node, key in ((self._node, seen.member), (self._peer, seen.peer))
            if key is not None
        ]
        return f"{' and '.join(here) or 'no node'} registered {where}"


def _unchanged(key: KeyValue) -> etcd.Body:
    return etcd.is_at(key.key, key.revision)


def _life_of(member: KeyValue) -> str:
    return _named(member, "life") or _UNKNOWN_LIFE


def _named(key: KeyValue, name: str) -> str:
    """Return a text of a value; empty if it is not as nodes write it."""
    try:
        found = json.loads(key.value)
    except (ValueError, RecursionError):
        return ""
    text = found.get(name) if isinstance(found, dict) else None
    return text if isinstance(text, str) and text.isprintable() else ""
