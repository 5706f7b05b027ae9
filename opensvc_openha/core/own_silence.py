"""Decide when this node falls silent on purpose, so that its peer can prove it out.

A service that was given up since its disks are frozen here alone, and whose stop hangs on them,
cannot be handed over: whatever this node said, writes of it may be on their way. Without beats
nothing confirms that this node lives: its watchdog, if a lease has armed it, resets it; and the
peer, which hears nothing, takes over as from any silent node, by a proof of its own. Nothing here
is a proof.

The silence ends as soon as it cannot help any more. The node is back like one that was stalled: the
peer has to confirm the ownership of its services.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from opensvc_openha.core.actions import Record, RecordKind
from opensvc_openha.core.service_machine import Moment, ServiceMachine
from opensvc_openha.core.state_marks import state_marks
from opensvc_openha.core.wording import named


@state_marks(not_state={"_node", "_peer", "why_not", "services"})
class OwnSilence:
    """This node's silence on purpose."""

    def __init__(self, node: str, peer: str) -> None:
        self._node = node
        self._peer = peer
        self.is_kept = False
        self.services: tuple[str, ...] = ()
        """The services for which it is kept, or would be."""
        self.why_not = ""
        """Why it is not kept although a service needs it."""

    def update(
        self,
        machines: Mapping[str, ServiceMachine],
        given_up: Collection[str],
        is_over: bool,
        at: Moment,
        why_never: str = "",
    ) -> list[Record]:
        """Decide again about the services that are given up.

        ``is_over`` if this node is leaving; ``why_never`` is why it must not be silent whatever
        becomes of its services, empty if it may.
        """
        names = sorted({*given_up, *self.services} & machines.keys())
        needs = {name: machines[name].why_not_given_up(at) for name in names}
        services = () if is_over else tuple(name for name, why in needs.items() if not why)
        harms = [why_never, *(each.why_not_silent(at) for each in machines.values())]
        harms = harms if services else []
        why_not = next((text for text in harms if text), "")
        was_kept, former, former_services = self.is_kept, self.why_not, self.services
        self.services, self.why_not = services, why_not
        self.is_kept = bool(services) and not why_not
        if self.is_kept and not was_kept:
            text = (
                f"to be reset or fenced: {named(services)} cannot be stopped while its disks do not"
                f" answer here, and {self._peer} reads them"
            )
            return [self._record("", "FELL SILENT", text)]
        if was_kept and not self.is_kept:
            ends = (needs.get(name, "") for name in former_services)
            why = why_not or ("its daemon is leaving" if is_over else next(filter(None, ends), ""))
            return [self._record("FELL SILENT", "SPEAKS AGAIN", why)]
        if why_not and why_not != former:
            text = f"although {named(services)} was given up, and its stop hangs: {why_not}"
            return [self._record("", "NOT SILENT", text)]
        return []

    def _record(self, old: str, new: str, reason: str) -> Record:
        return Record(RecordKind.NODE, self._node, old, new, reason, is_alarm=True)
