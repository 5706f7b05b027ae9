"""Judge what the standing check saw of the paths of the fence plan.

A power device that reports the peer off proves something only if it is the peer's: it must have
reported it on while the peer was heard. That is remembered over restarts of the daemon, and is over
once the device reports off while the peer lives:

    on, the peer being heard                                armed
    off, and the peer is still heard a timeout later        wrong, until it reports on again
    off, and the peer falls silent meanwhile                as before: it may have lost its power
    whatever it reports while the peer is silent            as before
    never on while the peer was heard                       untested
"""

from __future__ import annotations

from collections.abc import Iterable

from opensvc_openha.core.events import PathLook, PathState
from opensvc_openha.core.model import FencePath, FencingPolicy
from opensvc_openha.core.state_marks import state_marks
from opensvc_openha.core.status import PathStatus

ON, OFF = "on", "off"


@state_marks(not_state={"_policy", "_peer", "_looks", "_wrong"})
class FencePaths:
    """What is known of each path."""

    def __init__(
        self, policy: FencingPolicy, seen_on: Iterable[str], peer: str = "the peer"
    ) -> None:
        self._policy = policy
        self._peer = peer
        self._seen_on = set(seen_on)
        self._off_at: dict[str, float] = {}
        """When a path began to report a peer off that was heard."""
        self._wrong: set[str] = set()
        """The paths that reported a peer off that lived."""
        self._looks: dict[str, tuple[PathLook, float]] = {}

    def reconfigure(self, policy: FencingPolicy) -> None:
        """Apply an edited configuration: what was seen with other options does not count."""
        self._policy = policy
        known = {memory_key(path) for path in policy.paths}
        self._seen_on &= known
        self._wrong &= known
        self._off_at = {key: at for key, at in self._off_at.items() if key in known}
        names = {path.name for path in policy.paths}
        self._looks = {name: look for name, look in self._looks.items() if name in names}

    @property
    def seen_on(self) -> tuple[str, ...]:
        """The paths that were on while the peer was heard, for the next daemon."""
        return tuple(sorted(self._seen_on))

    @property
    def wrong(self) -> tuple[str, ...]:
        """The names of the paths whose device is not the peer's."""
        return tuple(path.name for path in self._policy.paths if memory_key(path) in self._wrong)

    def is_seen_on(self, name: str) -> bool:
        """Return True if the device of the path was on while the peer was heard."""
        return any(
            path.name == name and memory_key(path) in self._seen_on for path in self._policy.paths
        )

    def record_looks(self, looks: Iterable[PathLook], is_heard: bool, now: float) -> None:
        """Record what the standing check saw; ``is_heard`` if the peer is heard at present."""
        paths = {path.name: path for path in self._policy.paths}
        for look in looks:
            path = paths.get(look.name)
            if path is None:
                continue
            self._looks[look.name] = look, now
            if not is_heard:
                continue
            key = memory_key(path)
            if look.power == ON:
                self._seen_on.add(key)
                self._wrong.discard(key)
                self._off_at.pop(key, None)
            elif look.power == OFF:
                self._off_at.setdefault(key, now)

    def record_heard(self, now: float, timeout_s: float) -> None:
        """Handle a beat: a device that reported the peer off long before it is not the peer's.

        A peer that has just lost its power is heard for a link timeout all the same.
        """
        lying = {key for key, at in self._off_at.items() if now >= at + timeout_s}
        self._seen_on -= lying
        self._wrong |= lying

    def record_silence(self) -> None:
        """Handle a peer that has fallen silent: a device that reported it off may be right."""
        self._off_at.clear()

    def statuses(self) -> tuple[PathStatus, ...]:
        """Return each path, as shown to operators."""
        found = []
        for number, level in enumerate(self._policy.levels):
            for path in level:
                look, at = self._looks.get(path.name, (_NOT_LOOKED, None))
                found.append(
                    PathStatus(
                        path.name,
                        path.kind.value,
                        number,
                        self._state_of(path, look).value,
                        self._text_of(path, look),
                        at,
                        look.took_s,
                        limit_s=path.limit_s,
                        is_seen_on=self.is_seen_on(path.name),
                    )
                )
        return tuple(found)

    def _state_of(self, path: FencePath, look: PathLook) -> PathState:
        # Of disks the look itself is all that is known.
        if not path.kind.has_device or look.state is not PathState.ARMED:
            return look.state
        if memory_key(path) in self._wrong:
            return PathState.WRONG
        return PathState.ARMED if memory_key(path) in self._seen_on else PathState.UNTESTED

    def _text_of(self, path: FencePath, look: PathLook) -> str:
        state = self._state_of(path, look)
        if state is look.state:
            return look.text
        if state is PathState.WRONG:
            text = wrong_text(self._peer)
            return text if look.power else f"{look.text}; {text}"
        return f"{look.text}; it was never ON while {self._peer} was heard"


def wrong_text(peer: str) -> str:
    """Return what is wrong with a device that reports a peer off which lives."""
    return f"it said OFF while {peer} was heard: this is not its power. Correct the address"


_NOT_LOOKED = PathLook("", PathState.UNTESTED)


def memory_key(path: FencePath) -> str:
    """Return what stands for a path in the memory of fencing: its name and its options."""
    return f"{path.name} {path.mark}"
