"""Make an engine out of what is on disk.

After a boot, a restart of the daemon or a failed engine alike: nothing in the memory of a former
engine is used.
"""

from __future__ import annotations

import os

from opensvc_openha.core.engine import Engine
from opensvc_openha.core.model import ServiceSpec
from opensvc_openha.daemon.live_configuration import Configuration
from opensvc_openha.daemon.removed_services import RemovedServices
from opensvc_openha.formats.layout import Layout
from opensvc_openha.heartbeat.authentication import Authentication
from opensvc_openha.records import dataclass
from opensvc_openha.storage.evacuation_store import read_evacuation
from opensvc_openha.storage.fencing_store import FencingStore
from opensvc_openha.storage.history_writer import History
from opensvc_openha.storage.key_store import copy_command
from opensvc_openha.storage.state_store import StateStore, clean_up, next_boot
from opensvc_openha.system import clock


@dataclass(frozen=True)
class Recovered:
    """An engine under a new identity, and the files that it was made of."""

    engine: Engine
    authentication: Authentication
    store: StateStore
    fencing_store: FencingStore
    removed: RemovedServices
    kept: tuple[ServiceSpec, ...]
    """Services that are not configured any more, but may still run here."""


def recover_engine(layout: Layout, configuration: Configuration, history: History) -> Recovered:
    """Return an engine that knows what the files hold; raises SystemFault."""
    spec = configuration.spec

    # What a crash left half written goes first, and a new incarnation is on disk before anything is
    # concluded from the STATE files.
    clean_up(layout)
    store = StateStore(layout, spec.node, spec.peer)
    store.restore()
    is_first_start = not os.path.exists(layout.boot_file)
    boot, is_same_life = next_boot(layout)
    authentication = Authentication(spec.node, boot, copy_command(layout, spec.peer))

    kept = configuration.options.complete_services(
        store.kept(spec.own_services) if is_same_life else ()
    )
    recovered = store.recover((*spec.own_services, *kept), is_same_life, is_first_start)
    store.record_managed(spec.own_services)
    store.begin_log()
    history.record_start(recovered, is_same_life)

    fencing_store = FencingStore(layout)
    fencing = fencing_store.read(has_run_in_this_life=is_same_life and not is_first_start)
    engine = Engine(
        spec,
        boot,
        recovered,
        clock.monotonic(),
        configuration.incarnations,
        kept,
        fencing,
        read_evacuation(layout),
    )
    removed = RemovedServices(layout, spec.node, kept, engine.manages)
    history.causality = lambda: engine.causality
    return Recovered(engine, authentication, store, fencing_store, removed, kept)
