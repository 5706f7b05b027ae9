"""Hold the configuration of a running daemon and replace it by an edited one.

An error in an edit changes nothing and is a problem until it is corrected. Also writes the steps of
a key rotation, since a key file just written by a command must be applied first.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping

from opensvc_openha.core.beat import BootId
from opensvc_openha.core.model import ClusterSpec
from opensvc_openha.daemon.issues import ActiveIssues, Issue
from opensvc_openha.errors import ConfigError, OpenhaError, SystemFault
from opensvc_openha.formats.key_file import KeyRing
from opensvc_openha.formats.layout import Layout
from opensvc_openha.formats.options_file import Options
from opensvc_openha.records import dataclass
from opensvc_openha.storage import configuration
from opensvc_openha.storage.key_store import read_settings, write_keys

_AGENTS_LIMIT_S = 3.0
"""Time in which all fence agents are asked after an edit: the main thread waits, which answers the
supervisor's watchdog."""


@dataclass(frozen=True)
class Configuration:
    """Content of all files; ``incarnations`` are the peer's incarnations heard under each key."""

    spec: ClusterSpec
    options: Options
    ring: KeyRing | None
    incarnations: Mapping[str, BootId]


class LiveConfiguration:
    """The configuration in force.

    ``take_over`` is called with the former one after a new one has replaced it.
    """

    def __init__(
        self,
        layout: Layout,
        logger: logging.Logger,
        take_over: Callable[[Configuration], None],
        known: Configuration | None = None,
    ) -> None:
        """Read the files.

        ``known`` is in force if they cannot be read now; without it that raises.
        """
        self._layout = layout
        self._log = logger
        self._take_over = take_over
        self._lock = threading.Lock()
        self._complete: Callable[[ClusterSpec], ClusterSpec] = lambda spec: spec
        self._expect: Callable[[Configuration], None] = lambda found: None
        self._files = configuration.fingerprint(layout)
        problem = ""
        try:
            self.current = self._read()
        except (OpenhaError, OSError) as error:
            if known is None:
                raise
            self.current, problem = known, str(error)
        self._problems = ActiveIssues(self.current.spec.node, logger)
        if problem:
            self._problems.report(Issue.CONFIGURATION, problem)

    @property
    def problems(self) -> ActiveIssues:
        """Keep errors in the files with the daemon's other problems."""
        return self._problems

    def complete_by(self, complete: Callable[[ClusterSpec], ClusterSpec]) -> None:
        """Add to each configuration that is read what is known beside the files."""
        self._complete = complete

    def expect_by(self, expect: Callable[[Configuration], None]) -> None:
        """Ask before an edit is taken over; ``expect`` raises ConfigError if it must not be."""
        self._expect = expect

    def suspect(self) -> None:
        """Force reading the files at the next poll, edited or not."""
        self._files = ()

    def poll(self) -> None:
        """Apply edits made by hand; log an error in them once."""
        if configuration.fingerprint(self._layout) == self._files:
            return
        try:
            self.reload()
        # A file that cannot be read is no reason to die: what is known stays in force.
        except (OpenhaError, OSError) as error:
            self._problems.report(Issue.CONFIGURATION, str(error))

    def reload(self) -> None:
        """Read the files again and apply them.

        Raises ConfigError, and then changes nothing.
        """
        with self._lock:
            self._files = configuration.fingerprint(self._layout)
            former = self.current
            if former.spec.services and not os.path.exists(self._layout.services_file):
                raise ConfigError(
                    "the services file has vanished: nothing is changed", self._layout.services_file
                )
            found = self._read(_AGENTS_LIMIT_S)
            if (found.spec.node, found.spec.peer) != (former.spec.node, former.spec.peer):
                raise ConfigError(
                    "the nodes of a running daemon are fixed: restart it", self._layout.nodes_file
                )
            self._expect(found)
            self.current = found
            self._take_over(former)
            self._problems.solve(Issue.CONFIGURATION)
            if (found.spec, found.options) != (former.spec, former.options):
                self._log.info("node %s: configuration taken over", found.spec.node)

    def write_rotation(self, ring: KeyRing) -> None:
        """Write the next step of a key rotation to the key file, and apply it."""
        node = self.current.spec.node
        try:
            with configuration.edit_lock(self._layout):
                # Apply first what a command may just have written.
                if configuration.fingerprint(self._layout) != self._files:
                    return
                write_keys(self._layout, ring)
        except SystemFault as error:
            self._problems.report(Issue.KEY_ROTATION, str(error))
            return
        self._problems.solve(Issue.KEY_ROTATION)
        step = (
            f"former key {ring.previous.key_id} still accepted"
            if ring.previous
            else "former key dropped"
        )
        self._log.info("node %s: key rotation: key %s in use, %s", node, ring.current.key_id, step)
        self.poll()

    def _read(self, agents_limit_s: float = configuration.DEVICES_LIMIT_S) -> Configuration:
        options = configuration.read_options(self._layout)
        spec = self._complete(configuration.read_cluster(self._layout, options))
        # What cannot be checked here is reported where the path is looked at.
        configuration.check_devices(options, agents_limit_s)
        return Configuration(spec, options, *read_settings(self._layout, options))
