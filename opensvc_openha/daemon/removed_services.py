"""Keep the services that left the services file while they ran here: they are still managed."""

from __future__ import annotations

from collections.abc import Callable

from opensvc_openha.core.model import ClusterSpec, ServiceSpec
from opensvc_openha.formats.layout import Layout
from opensvc_openha.storage.managed_list import may_run


class RemovedServices:
    """Services that are not configured any more, until their STATE files say that they are stopped.

    One whose STATE file is lost is there as long as the engine manages it (``manages``).
    ``follow`` is called by the thread that applies a configuration, ``present`` by any.
    """

    def __init__(
        self,
        layout: Layout,
        node: str,
        services: tuple[ServiceSpec, ...],
        manages: Callable[[str], bool],
    ) -> None:
        self._layout = layout
        self._node = node
        self._services = services
        self._manages = manages

    def present(self) -> tuple[ServiceSpec, ...]:
        """Return those that may still run here."""
        return tuple(
            svc
            for svc in self._services
            if may_run(self._layout, self._node, svc.name, self._manages(svc.name))
        )

    def follow(self, former: ClusterSpec, spec: ClusterSpec) -> None:
        """Add what an edit has removed; drop what is configured again, or is stopped."""
        wanted = {svc.name for svc in spec.own_services}
        self._services = tuple(
            svc for svc in (*former.own_services, *self.present()) if svc.name not in wanted
        )
