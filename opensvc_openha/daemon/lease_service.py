"""What surrounds the engine of a promise: the watchdog's keeper, the media, what operators see.

    WatchdogThread    orders to the keeper: arm, permit, hold, disarm
    WitnessRenewals   this node's sign of life at the witness
    WitnessLooks      the peer's
    LeaseReports      what the threads of disk links report: renewals of this node, quiet slots

Without `[[lease]]`, and without a watchdog that a former daemon has armed, nothing of it runs.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import replace

from opensvc_openha.core import timing
from opensvc_openha.core.actions import (
    ArmWatchdog,
    DisarmWatchdog,
    GrantPermit,
    HoldWatchdog,
    LeaseAction,
)
from opensvc_openha.core.beat import BootId
from opensvc_openha.core.events import Event, MediaReplaced, WatchdogLost, WatchdogReady
from opensvc_openha.core.lease_view import PeerPromise
from opensvc_openha.core.model import FencingPolicy, LinkSpec, PathKind
from opensvc_openha.core.promise import WITNESS_MARK, media_of
from opensvc_openha.core.promised_disks import PromisedDisks
from opensvc_openha.core.states import PEER_OUT
from opensvc_openha.core.status import LeaseStatus, NodeStatus, PeerStanding
from opensvc_openha.core.wording import named
from opensvc_openha.daemon.issues import Issue
from opensvc_openha.daemon.live_configuration import Configuration, LiveConfiguration
from opensvc_openha.daemon.watchdog_drill import WatchdogDrill
from opensvc_openha.daemon.watchdog_thread import Keeper, WatchdogThread, settings_of
from opensvc_openha.daemon.witness_threads import Witness, WitnessLooks, WitnessRenewals
from opensvc_openha.errors import ConfigError, RefusedError, SystemFault
from opensvc_openha.formats.layout import Layout
from opensvc_openha.formats.lease_config import EtcdConfig
from opensvc_openha.heartbeat.link_workers import LeaseReports
from opensvc_openha.hints import TYPE_CHECKING, Protocol
from opensvc_openha.storage.history_entry import EntryKind
from opensvc_openha.storage.history_writer import History
from opensvc_openha.storage.promised_media import read_media, write_media
from opensvc_openha.system import clock
from opensvc_openha.system.disk_identity import disk_identity
from opensvc_openha.system.peer_credentials import Caller
from opensvc_openha.watchdog import KEEPER_SOCKET

if TYPE_CHECKING:
    from opensvc_openha.watchdog.keeper_client import KeeperSettings

_IDENTIFY_LIMIT_S = 1.0
"""Longest wait for what the paths of the heartbeat disks name when the daemon starts."""


class EngineValues(Protocol):
    """What the engine's loop reports to any thread."""

    @property
    def peer_standing(self) -> PeerStanding:
        """Standing of the peer after the last step."""

    @property
    def promised(self) -> PeerPromise | None:
        """What the peer promises now, and its incarnation."""

    @property
    def renewing(self) -> frozenset[bytes] | None:
        """What each promise of this node names that may stand; None if none does."""


class LeaseService:
    """The promise of one node, and the looks at that of its peer."""

    def __init__(
        self,
        layout: Layout,
        boot: BootId,
        configuration: LiveConfiguration,
        put: Callable[[Event], None],
        engine: Callable[[], EngineValues],
        history: History,
        logger: logging.Logger,
    ) -> None:
        """Start no thread. ``put`` gives the engine an event."""
        self._layout = layout
        self._configuration = configuration
        self._put = put
        self._engine = engine
        spec = configuration.current.spec
        configuration.expect_by(self._expect_a_medium)
        self._heard = media_of(spec.listeners)
        self._disks = PromisedDisks(spec.senders)
        self._replaced: frozenset[bytes] = frozenset()
        self._lock = threading.RLock()
        """Of the disks and of the note: threads of links open disks, others configure them."""
        self._watchdog = WatchdogThread(
            lambda: self._policy.lease,
            self._connect,
            self._find_running,
            _is_virtual,
            self._report,
            configuration.problems,
            logger,
            self._begin_note,
        )
        self._noted: dict[bytes, str] = {}
        """What every promise that may stand names, as the next daemon finds it noted."""
        self._renewals = WitnessRenewals(
            boot, self._witness_config, self._connect_witness, put, configuration.problems
        )
        self._looks = WitnessLooks(
            lambda: engine().promised,
            lambda: timing.PACES[configuration.current.spec.profile].beat_interval_s,
            self._witness_config,
            self._connect_witness,
            put,
        )
        self._drill = WatchdogDrill(layout, self._record_drill)
        self._history = history
        self._enter: Callable[[], None] = lambda: None
        self._has_watchdog = False
        self._has_looks = False
        self.reports = LeaseReports(
            lambda link: self._heard.get(link),
            self._disks.medium_of,
            self._disk_opened,
            lambda: self._watchdog.is_used or self._policy.lease is not None,
            self._wants_quiet,
            put,
        )

    # --- life -------------------------------------------------------------------------------------

    def start(self, enter: Callable[[], None]) -> None:
        """Take over a watchdog that is armed, before the engine decides anything; start threads.

        Threads that must not be late call ``enter`` first.
        """
        self._enter = enter
        self._drill.recover()
        former = read_media(self._layout)
        # Where nothing is promised, nor ever was, the disks are left alone.
        if former is not None or self._policy.lease is not None:
            self._disks.expect(self._disks_now())
        present = self._places()
        # Without a note nothing is known of what a watchdog that is armed stands for.
        self._noted = {} if former is None else dict(former.items() & present.items())
        self._watchdog.take_over()
        self._note_media(self._noted if self._watchdog.is_used else present)
        if self._watchdog.is_used:
            self._begin_watchdog()
        self.follow()

    def follow(self) -> None:
        """Follow the configuration that is in force now."""
        spec = self._configuration.current.spec
        with self._lock:
            self._heard = media_of(spec.listeners)
            self._disks.follow(spec.senders)
            self._follow_disks()
        if self._policy.lease is not None:
            self._begin_watchdog()
        if self._witness_config() is not None and self._takes_promises and not self._has_looks:
            self._has_looks = True
            self._looks.start()

    def _begin_watchdog(self) -> None:
        if self._has_watchdog:
            return
        try:
            self._watchdog.start(self._enter)
            self._has_watchdog = True
        except RuntimeError as error:
            self._configuration.problems.report(Issue.WATCHDOG, str(error))

    def stop(self) -> None:
        """Carry out the last orders to the keeper, and leave it as it is."""
        self._drill.stop()
        self._looks.stop()
        self._renewals.stop()
        self._watchdog.stop()

    def carry_out(self, action: LeaseAction) -> None:
        """Order something; never block."""
        if isinstance(action, (ArmWatchdog, GrantPermit, HoldWatchdog, DisarmWatchdog)):
            self._watchdog.order(action)
        else:
            self._renewals.order(action)

    # --- for people -------------------------------------------------------------------------------

    def complete(self, lease: LeaseStatus | None) -> LeaseStatus | None:
        """Return the engine's part with what the keeper says, in wall-clock seconds."""
        if lease is None:
            return None
        lease = replace(lease, permit_at=clock.wall_if_known(lease.permit_at))
        trial = self._drill.last
        if trial is not None:
            lease = replace(
                lease, tested_at=trial.at, tested_s=trial.lived_s, was_late=trial.is_late
            )
        policy, keeper = self._policy.lease, self._watchdog.status
        lease = replace(
            lease,
            configured_s=None if policy is None else policy.timeout_s,
            why_no_inhibitor=self._watchdog.why_no_inhibitor,
        )
        if keeper is None or not keeper.is_armed:
            return lease
        margin_s = None
        if keeper.last_pet_at is not None:
            margin_s = keeper.last_pet_at + keeper.timeout_s - clock.monotonic()
        return replace(lease, margin_s=margin_s, least_margin_s=keeper.least_margin_s)

    def drill(self, ask: Callable[[], NodeStatus], node: str, caller: Caller) -> list[str]:
        """Let the watchdog reset this node; ``ask`` returns the present status.

        Raises RefusedError if nothing was done, SystemFault if the watchdog cannot be armed.
        """
        text = f"by {caller.text}"
        self._history.record(EntryKind.COMMAND, "", "fence test --watchdog", text, is_alarm=True)
        status, policy = ask(), self._policy.lease
        why = self._why_no_drill(status, node)
        if why or policy is None:
            raise RefusedError(why or "[[lease]] is not configured: there is no watchdog to test")
        timeout_s = self._drill.begin(self._connect(settings_of(policy)))
        return [
            f"{policy.device} is armed, and left alone: it resets {node} in {timeout_s:g} s",
            "after the boot, openha fence status shows on it how long that really took",
        ]

    def _why_no_drill(self, status: NodeStatus, node: str) -> str:
        if node != status.node:
            return f"{node} is not this node, which is {status.node}: type its whole name"
        running = [
            f"{svc.name} ({svc.own_state.name})"
            for svc in status.services
            if svc.own_state is not None and svc.own_state not in PEER_OUT
        ]
        if running:
            return f"{node} may run something: {named(running)}. Stop it or move it, and freeze it"
        if self._watchdog.is_used or self._drill.is_running:
            return "the watchdog is in use"
        return ""

    def _record_drill(self, word: str, text: str, is_alarm: bool) -> None:
        node = self._configuration.current.spec.node
        self._history.record(EntryKind.NODE, node, word, f"watchdog: {text}", is_alarm=is_alarm)

    # --- parts ------------------------------------------------------------------------------------

    @property
    def _policy(self) -> FencingPolicy:
        return self._configuration.current.spec.fencing

    @property
    def _takes_promises(self) -> bool:
        return any(path.kind is PathKind.LEASE for path in self._policy.paths)

    def _disk_opened(self, link: LinkSpec, disk: str) -> None:
        """Take the disk that a link writes to from now on."""
        with self._lock:
            self._disks.opened(link, disk)
            self._follow_disks()

    def _follow_disks(self) -> None:
        """Note the media as they are now, and give the engine news of replaced ones."""
        self._note_media(self._standing())
        before, self._replaced = self._replaced, self._disks.replaced
        if self._replaced == before:
            return
        self._put(MediaReplaced(self._replaced))
        if self._policy.lease is None and not self._watchdog.is_used:
            return
        for link, mark in media_of(self._configuration.current.spec.senders).items():
            if mark in self._replaced - before:
                text = (
                    "another disk than when the daemon began: it renews no promise of this node"
                    " before the daemon is started again"
                )
                self._history.record(EntryKind.LINK, link.link_id, "FAULT", text, is_alarm=True)

    def _disks_now(self) -> dict[bytes, str]:
        """Return the disk behind each path; those that are known within a second.

        A file's system may not answer, which would hold the daemon up.
        """
        found: dict[bytes, str] = {}

        def look() -> None:
            for link, mark in media_of(self._configuration.current.spec.senders).items():
                found[mark] = disk_identity(link.device)

        thread = threading.Thread(target=look, name="disks", daemon=True)
        thread.start()
        thread.join(_IDENTIFY_LIMIT_S)
        return {mark: disk for mark, disk in list(found.items()) if disk}

    def _places(self) -> dict[bytes, str]:
        """Return which disk or witness each mark of this node's media stands for now."""
        places = self._disks.known
        witness = self._witness_config()
        if witness is not None:
            places[WITNESS_MARK] = _place_of(witness)
        return places

    def _expect_a_medium(self, found: Configuration) -> None:
        """Raise ConfigError for an edit that leaves nothing of what a promise that stands names.

        Where no network confirms anything, no permit could be given until it is withdrawn, and
        nothing could withdraw it: the watchdog would reset this node.
        """
        with self._lock:
            standing = self._standing() if self._watchdog.is_used else {}
        if not standing:
            return
        before = media_of(self._configuration.current.spec.senders)
        media = media_of(found.spec.senders)
        if any(
            mark in standing
            and (before.get(link) == mark or disk_identity(link.device) == standing[mark])
            for link, mark in media.items()
        ):
            return
        plan = found.options.fence_plan
        witness = _place_of(plan.etcd) if plan.lease is not None else ""
        if standing.get(WITNESS_MARK) == witness:
            return
        links = {mark: link.link_id for link, mark in before.items()} | {WITNESS_MARK: "witness"}
        named = " and ".join(links[mark] for mark in sorted(standing))
        first = min(media, key=lambda link: link.line, default=None)
        raise ConfigError(
            f"this node promises by {named}, and nothing of that would be left: its watchdog might"
            " reset it. Add the new link first, beside the present one; remove that one later",
            self._layout.monitor_file,
            None if first is None else first.line,
        )

    def _standing(self) -> dict[bytes, str]:
        """Return what each promise names that may stand now, or all if none can."""
        present = self._places()
        if not self._watchdog.is_used:
            return present
        # A new disk is named by all of them only once those are gone that do not name it.
        renewing = self._engine().renewing or frozenset()
        return {
            mark: place
            for mark, place in present.items()
            if mark in renewing or self._noted.get(mark) == place
        }

    def _begin_note(self) -> None:
        """Note all media: no promise stands that names others."""
        with self._lock:
            self._note_media(self._places())

    def _note_media(self, media: dict[bytes, str]) -> None:
        """Note them for the next daemon, before anything is promised by them."""
        self._noted = media
        if self._policy.lease is None or read_media(self._layout) == media:
            return
        problems = self._configuration.problems
        try:
            write_media(self._layout, media)
            problems.solve(Issue.PROMISED_MEDIA)
        except SystemFault as error:
            problems.report(Issue.PROMISED_MEDIA, str(error))

    def _report(self, event: WatchdogReady | WatchdogLost) -> None:
        known = event.settings if isinstance(event, WatchdogReady) else event.media
        if known is not None:
            event = replace(event, media=frozenset(self._noted))
        self._put(event)

    def _wants_quiet(self) -> bool:
        """Return True if the peer's promise may end: it is not heard, and has made one."""
        if not self._takes_promises:
            return False
        engine = self._engine()
        return engine.peer_standing is not PeerStanding.LIVE and engine.promised is not None

    def _connect(self, settings: KeeperSettings) -> Keeper:
        from opensvc_openha.watchdog.keeper_client import KeeperClient

        return KeeperClient(self._layout.proc_dir, settings)

    def _find_running(self) -> KeeperSettings | None:
        if not os.path.exists(f"{self._layout.proc_dir}/{KEEPER_SOCKET}"):
            return None
        # Imported here, as above: most nodes have no watchdog.
        from opensvc_openha.watchdog.keeper_client import running_settings

        return running_settings(self._layout.proc_dir)

    def _witness_config(self) -> EtcdConfig | None:
        plan = self._configuration.current.options.fence_plan
        return plan.etcd if plan.lease is not None else None

    def _connect_witness(self, config: EtcdConfig) -> Witness:
        # Imported here: most nodes have no witness.
        from opensvc_openha.fence_devices.witness import Witness as EtcdWitness

        spec = self._configuration.current.spec
        return EtcdWitness(config, spec.node, spec.peer)


def _place_of(witness: EtcdConfig | None) -> str:
    return "" if witness is None else f"{','.join(witness.urls)} {witness.prefix}"


def _is_virtual() -> bool:
    from opensvc_openha.system.hypervisor import is_virtual_machine

    return is_virtual_machine()
