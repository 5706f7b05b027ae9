"""Answer the request `claim` of the node daemon, by the arbiter that its options name.

::

    "options": {"disk": PATH}                      see ``reservation_program``
    "options": {"etcd": {"urls": [...], ...}}      the fields of ``EtcdConfig``, with "node", "peer"
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace

from opensvc_openha.errors import UsageError
from opensvc_openha.formats.lease_config import ETCD, EtcdConfig
from opensvc_openha.system.clock import monotonic

_QUESTIONS = 4
"""A claim needs three, if nobody interferes."""


def answer(request: Mapping[str, object]) -> dict[str, object]:
    """Claim the right to fence the peer."""
    options = request.get("options")
    if not isinstance(options, Mapping) or ETCD not in options:
        from opensvc_openha.fence_devices import reservation_program

        return reservation_program.answer(request)
    from opensvc_openha.fence_devices.etcd_arbiter import EtcdArbiter

    began = monotonic()
    node, peer, limit_s = (request.get(name) for name in ("node", "peer", "limit_s"))
    if not isinstance(node, str) or not isinstance(peer, str) or not node or not peer:
        raise UsageError("node, peer: expected the names of both nodes")
    etcd = _etcd(options[ETCD])
    if isinstance(limit_s, (int, float)):
        # The reason for no answer is to be reported before this program is killed.
        etcd = replace(etcd, limit_s=min(etcd.limit_s, limit_s / _QUESTIONS))
    with closing(EtcdArbiter(etcd, node, peer)) as arbiter:
        claim = arbiter.claim()
    return {**claim.as_values(), "took_s": round(monotonic() - began, 3)}


def _etcd(values: object) -> EtcdConfig:
    """Return the section as it stands in a request."""
    known = {field.name for field in dataclasses.fields(EtcdConfig)}
    if not isinstance(values, Mapping) or not known.issuperset(values):
        raise UsageError("etcd: expected the options of the witness")
    urls = values.get("urls")
    if not isinstance(urls, list) or not urls or not all(isinstance(url, str) for url in urls):
        raise UsageError("urls: expected the addresses of the witness")
    return EtcdConfig(**{**values, "urls": tuple(urls)})
