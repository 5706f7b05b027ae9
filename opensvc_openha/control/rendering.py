"""What the daemon words for commands that only print it.

The words are those of the room of commands, which the daemon must not import: it is given a
``Renderer`` when it is started.
"""

from __future__ import annotations

from opensvc_openha.hints import TYPE_CHECKING, Protocol
from opensvc_openha.records import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opensvc_openha.core.actions import Answer
    from opensvc_openha.core.events import Command
    from opensvc_openha.core.status import NodeStatus
    from opensvc_openha.storage.history_entry import Entry
    from opensvc_openha.system.peer_credentials import Caller

    View = Callable[[NodeStatus], str]
    """A status as text."""
    Report = Callable[["Asked"], "Rendered"]
    """A text that needs more than a status."""


@dataclass(frozen=True)
class Rendered:
    """What a command prints, and its exit code."""

    out: str
    err: str = ""
    code: int = 0


@dataclass(frozen=True)
class TypedOrder:
    """A command line that orders something: of one service, or (None) of all of this node."""

    command: Command
    service: str | None


class Asked(Protocol):
    """What the daemon knows, for a text that needs more than its status."""

    def newest_status(self) -> NodeStatus:
        """Return the present status, or the newest one of an engine that hangs."""

    def recent(self) -> list[Entry]:
        """Return the newest entries of the history, oldest first."""


class Renderer(Protocol):
    """What the daemon needs of the room of commands; any thread calls it."""

    def view(self, words: Sequence[str]) -> View | None:
        """Return how a command line shows a status; None if it does something else.

        Command lines that show the same get the same object.
        """

    def show(self, view: View, status: NodeStatus) -> Rendered:
        """Return what the command prints of a status."""

    def report(self, words: Sequence[str]) -> Report | None:
        """Return how a command line is answered from files that only root may read; or None."""

    def order(self, words: Sequence[str], caller: Caller) -> TypedOrder | None:
        """Return what a command line orders; None for what only the command itself can check."""

    def answer(self, answer: Answer) -> str:
        """Return the line that the command prints for an answer."""

    def outcome(self, failures: Sequence[Answer]) -> Rendered:
        """Return how the command ends after these failures."""

    def failure(self, error: Exception) -> Rendered:
        """Return how the command ends with an error."""
