"""What ``node/blocks.py`` prints, read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """One line: an instant of its machine's clock, and what happened."""

    at: float
    text: str

    @property
    def is_done(self) -> bool:
        """Return whether a write ended well."""
        return self.text.startswith("done")

    @property
    def is_begun(self) -> bool:
        """Return whether a write began."""
        return self.text.startswith("begun")

    @property
    def is_failed(self) -> bool:
        """Return whether a write failed."""
        return self.text.startswith("failed")


def lines(output: str) -> list[Line]:
    """Return the lines of an output."""
    pairs = (line.split(" ", 1) for line in output.strip().splitlines())
    return [Line(float(at), text) for at, text in pairs]


def landed_after(seen: list[Line], node: str, at: float) -> list[Line]:
    """Return what of a node's writes a watch saw on the disk after an instant."""
    return [line for line in seen if line.text.split(" ")[0] == node and line.at > at]
