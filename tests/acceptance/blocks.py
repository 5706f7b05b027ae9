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


@dataclass(frozen=True)
class Handover:
    """What a disk has seen of two owners, by one clock."""

    last: Line
    """The former owner's last write before the first one of its successor."""
    first: Line
    late: list[Line]
    """Its writes after that."""

    @property
    def margin_s(self) -> float:
        """Return the time between both."""
        return self.first.at - self.last.at


def handover(seen: list[Line], owner: str, successor: str) -> Handover:
    """Return what a watch saw of a takeover; ValueError unless both have written."""
    first = next((line for line in seen if line.text.split(" ")[0] == successor), None)
    if first is None:
        raise ValueError(f"{successor} has written nothing")
    before = [line for line in seen[: seen.index(first)] if line.text.split(" ")[0] == owner]
    if not before:
        raise ValueError(f"{owner} has written nothing before {successor}")
    after = seen[seen.index(first) :]
    return Handover(before[-1], first, [x for x in after if x.text.split(" ")[0] == owner])
