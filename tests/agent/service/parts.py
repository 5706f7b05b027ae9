"""Resources in memory: what is done with them is noted, and they fail when a test wants it."""

from __future__ import annotations

from dataclasses import dataclass, field

from opensvc_openha.agent.resources.base import ResourceSpec
from opensvc_openha.agent.values.readiness import Remark, Surroundings
from opensvc_openha.agent.values.resource_status import Finding, Group, ResourceStatus

ORDER = (Group.IP, Group.DISK, Group.FS, Group.SHARE, Group.CONTAINER, Group.APP)
"""The groups in the order in which they start."""


@dataclass
class Part:
    """One resource: up or down, and what goes wrong with it."""

    spec: ResourceSpec
    done: list[str]
    state: ResourceStatus = ResourceStatus.DOWN
    fails: dict[str, BaseException] = field(default_factory=dict)
    unhandled: str = ""
    start_rank: tuple[int, str] = (0, "")
    stop_rank: tuple[int, str] = (0, "")

    def environment(self) -> dict[str, str]:
        return {}

    def readiness(self, around: Surroundings) -> tuple[Remark, ...]:
        return ()

    def why_unhandled(self) -> str:
        return self.unhandled

    def status(self) -> Finding:
        return Finding(self.state)

    def _do(self, word: str, state: ResourceStatus) -> None:
        self.done.append(f"{self.spec.rid} {word}")
        if word in self.fails:
            raise self.fails[word]
        self.state = state

    def start(self) -> None:
        self._do("start", ResourceStatus.UP)

    def restart(self) -> None:
        self.start()

    def stop(self) -> None:
        self._do("stop", ResourceStatus.DOWN)

    def roll_back(self) -> None:
        self._do("back", ResourceStatus.DOWN)


def words(word: str, *groups: Group) -> list[str]:
    """What was done with the first resource of each group."""
    return [f"{group.value}#1 {word}" for group in groups]
