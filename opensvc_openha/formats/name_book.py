"""Learn the service names behind the digests in frames, page by page.

A set of names is complete only once it gives the digest. What it keeps is bounded, so that frames
with invented names cannot fill the memory.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from opensvc_openha.core.beat import Beat
from opensvc_openha.core.states import ServiceState
from opensvc_openha.formats.beat_frame import Frame, names_digest
from opensvc_openha.formats.services_file import check_service_name


@dataclass(frozen=True)
class _Resolved:
    """The states of a frame whose names are all known, and these names."""

    digest: bytes
    states: tuple[ServiceState, ...]
    names: Mapping[int, str]
    by_name: Mapping[str, ServiceState]


@dataclass
class _PageSet:
    """Names behind one digest, as far as its pages have arrived."""

    count: int
    names: dict[int, str] = field(default_factory=dict)
    is_verified: bool = False


class NameBook:
    """Our own names, and those read from the peer's pages."""

    MAX_DIGESTS = 4
    MAX_FORMER = 3
    MAX_NAMES = 20_000

    def __init__(self) -> None:
        self._own: dict[bytes, tuple[str, ...]] = {names_digest(()): ()}
        self._page_sets: OrderedDict[bytes, _PageSet] = OrderedDict()
        self._last: _Resolved | None = None

    def learn_own(self, names: Iterable[str]) -> None:
        """Add this node's services: a peer with the same ones never has to send a name.

        The former ones stay known: the peer still has them when a service is removed or added here
        first.
        """
        self._last = None
        own = tuple(sorted(set(names)))
        former = [(digest, known) for digest, known in self._own.items() if known != own]
        self._own = {
            names_digest(()): (),
            **dict(former[-self.MAX_FORMER :]),
            names_digest(own): own,
        }

    def learn(self, frame: Frame) -> None:
        """Add a frame's page of names, if it has one.

        A page with anything that is not a name is ignored.
        """
        if not frame.page_names or frame.digest in self._own or len(frame.states) > self.MAX_NAMES:
            return
        try:
            for name in frame.page_names:
                check_service_name(name)
        except ValueError:
            return
        pages = self._page_sets.pop(frame.digest, None)
        if pages is None or pages.count != len(frame.states):
            pages = _PageSet(len(frame.states))
        if not pages.is_verified:
            pages.names.update(enumerate(frame.page_names, frame.page_first))
            if len(pages.names) == pages.count:
                names = tuple(name for _, name in sorted(pages.names.items()))
                if names != tuple(sorted(set(names))) or names_digest(names) != frame.digest:
                    return
                pages.is_verified = True
        self._page_sets[frame.digest] = pages
        self._forget_the_oldest()

    def _forget_the_oldest(self) -> None:
        while (
            len(self._page_sets) > self.MAX_DIGESTS
            or sum(len(item.names) for item in self._page_sets.values()) > self.MAX_NAMES
        ):
            self._page_sets.popitem(last=False)

    def resolve(self, frame: Frame) -> Beat:
        """Return the frame as a beat.

        Incomplete, with the known states, while names are missing.
        """
        if self._page_sets.get(frame.digest) is not None:
            self._page_sets.move_to_end(frame.digest)
        last = self._last
        is_complete = last is not None and (last.digest, last.states) == (
            frame.digest,
            frame.states,
        )
        if last is not None and is_complete:
            # The same object as before: with a thousand services that spares most of a beat.
            names, states = last.names, last.by_name
        else:
            names, is_complete = self._names_of(frame)
            states = {
                names[index]: state for index, state in enumerate(frame.states) if index in names
            }
            if is_complete:
                self._last = _Resolved(frame.digest, frame.states, names, states)
        return Beat(
            node=frame.node,
            boot=frame.boot,
            seq=frame.seq,
            ack=frame.ack,
            states=states,
            goodbye=frame.goodbye,
            wants_ack=frame.wants_ack,
            is_complete=is_complete,
            sent_at=frame.sent_at,
            interval_s=frame.interval_s,
            mute=frozenset(frame.mute),
            facts=None if frame.facts is None else frame.facts.resolve(names),
        )

    def _names_of(self, frame: Frame) -> tuple[Mapping[int, str], bool]:
        """Return the known names by their numbers, and whether these are all."""
        own = self._own.get(frame.digest)
        if own is not None and len(own) == len(frame.states):
            return dict(enumerate(own)), True
        pages = self._page_sets.get(frame.digest)
        if pages is not None and pages.count == len(frame.states):
            return pages.names, pages.is_verified
        return {}, False
