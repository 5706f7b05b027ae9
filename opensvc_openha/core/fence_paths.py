"""Remember what the standing check saw of the paths of the fence plan.

A power device that reports the peer off proves something only if it is the peer's: it must have
reported it on while the peer was heard. That is remembered over restarts of the daemon, and is over
once the device reports off while the peer lives.
"""

from __future__ import annotations

from collections.abc import Iterable

from opensvc_openha.core.events import PathLook, PathState
from opensvc_openha.core.model import FencePath, FencingPolicy
from opensvc_openha.core.state_marks import state_marks
from opensvc_openha.core.status import PathStatus

ON, OFF = "on", "off"


@state_marks(not_state={"_policy", "_looks"})
class FencePaths:
    """What is known of each path."""

    def __init__(self, policy: FencingPolicy, seen_on: Iterable[str]) -> None:
        self._policy = policy
        self._seen_on = set(seen_on)
        self._off_at: dict[str, float] = {}
        """When a path began to report a peer off that was heard."""
        self._looks: dict[str, tuple[PathLook, float]] = {}

    def reconfigure(self, policy: FencingPolicy) -> None:
        """Apply an edited configuration: what was seen with other options does not count."""
        self._policy = policy
        known = {_key(path) for path in policy.paths}
        self._seen_on &= known
        self._off_at = {key: at for key, at in self._off_at.items() if key in known}
        names = {path.name for path in policy.paths}
        self._looks = {name: look for name, look in self._looks.items() if name in names}

    @property
    def seen_on(self) -> tuple[str, ...]:
        """The paths that were on while the peer was heard, for the next daemon."""
        return tuple(sorted(self._seen_on))

    def is_seen_on(self, name: str) -> bool:
        """Return True if the device of the path was on while the peer was heard."""
        return any(path.name == name and _key(path) in self._seen_on for path in self._policy.paths)

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
            key = _key(path)
            if look.power == ON:
                self._seen_on.add(key)
                self._off_at.pop(key, None)
            elif look.power == OFF:
                self._off_at.setdefault(key, now)

    def record_heard(self, now: float, timeout_s: float) -> None:
        """Handle a beat: a device that reported the peer off long before it is not the peer's.

        A peer that has just lost its power is heard for a link timeout all the same.
        """
        lying = [key for key, at in self._off_at.items() if now >= at + timeout_s]
        for key in lying:
            del self._off_at[key]
            self._seen_on.discard(key)

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
                        look.state.value,
                        look.text,
                        at,
                        look.took_s,
                        limit_s=path.limit_s,
                        is_seen_on=self.is_seen_on(path.name),
                    )
                )
        return tuple(found)


_NOT_LOOKED = PathLook("", PathState.UNTESTED)


def _key(path: FencePath) -> str:
    return f"{path.name} {path.mark}"
