"""One promise, and what is raised where it is broken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn


class InvariantBroken(AssertionError):
    """A promise does not hold; the text names which, where and why."""


@dataclass(frozen=True)
class Promise:
    """A promise that holds whatever goes wrong; its exceptions are those of its module."""

    name: str
    text: str

    def fail(self, at: float, node: str, service: str, text: str) -> NoReturn:
        """Raise InvariantBroken for a service on a node."""
        where = f"{node}, service {service}" if service else node
        raise InvariantBroken(f"{self.name} broken at {at:.3f} on {where}: {text}")
