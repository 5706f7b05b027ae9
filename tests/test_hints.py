"""What stands for ``typing`` does at run time what that does."""

from __future__ import annotations

from opensvc_openha import hints


def test_class_for_types_is_the_class() -> None:
    """A type in brackets changes nothing, also as a base."""
    item = hints.TypeVar("item", bound=str)

    class Box(hints.Generic[item]):
        """Holds one."""

    class Words(Box[str]):
        """Holds words."""

    assert Box[str] is Box and issubclass(Words, Box)


def test_protocol_is_a_base_like_any() -> None:
    """A class may derive from it, and have attributes that it does not declare."""

    class Sender(hints.Protocol):
        """Sends."""

        def send(self) -> int:
            """Return what was sent."""
            return 1

    class Real(Sender):
        """Does."""

        def __init__(self) -> None:
            self.sent = self.send()

    assert Real().sent == 1
