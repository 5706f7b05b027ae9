"""Stand-ins for the fence program: real processes that do what a test writes."""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opensvc_openha.core.model import FencePath, FencingPolicy, PathKind
from opensvc_openha.daemon.fence_program import FenceProgram
from opensvc_openha.daemon.fence_runner import FencePlan

PEER = "deb1.opensvc.com"
ON = """echo '{"power": "on", "text": "on"}'"""
OFF = """echo '{"power": "off", "text": "off"}'"""
REFUSED = """echo '{"power": "unknown", "text": "password refused", "is_refused": true}'"""
PROVED = (
    """echo '{"is_proved": true, "readings": ["on", "off", "off"],"""
    """ "text": "off, then OFF twice in 3.3 s", "hints": ["ON before"]}'"""
)


class Device:
    """A program, and a plan whose only configuration is its own."""

    def __init__(self, root: Path, body: str = ON) -> None:
        self.root = root
        self.write(body)
        self.program = FenceProgram({"OPENHA_HERE": str(root)}, argv=[str(root / "device")])
        self.policy = policy(FencePath("ipmi", PathKind.POWER, 30.0, mark="1"))

    def write(self, body: str) -> None:
        """What it does from now on; it notes each request in ``requests``."""
        new = self.root / "device.new"
        new.write_text(f"#!/bin/sh\ncat >> {self.root}/requests\n{body}\n")
        new.chmod(new.stat().st_mode | stat.S_IXUSR)
        new.rename(self.root / "device")

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The requests so far."""
        path = self.root / "requests"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def plan(self) -> tuple[FencingPolicy, FencePlan]:
        """The configuration in force."""
        return self.policy, self

    def request(
        self, do: str, path: str, peer: str, limit_s: float, services: tuple[str, ...] = ()
    ) -> Mapping[str, object]:
        """A request with all that was asked for."""
        return {
            "do": do,
            "path": path,
            "peer": peer,
            "limit_s": limit_s,
            "services": list(services),
        }


def policy(*paths: FencePath) -> FencingPolicy:
    """A plan with one level for each path."""
    return FencingPolicy(levels=tuple((path,) for path in paths))
