"""Decode frames as a listener does, for tests that have no listener."""

from __future__ import annotations

from opensvc_openha.core.events import BeatReceived
from opensvc_openha.formats.beat_frame import Frame, open_frame
from opensvc_openha.heartbeat.codec.base import Codec
from opensvc_openha.links.base import Received


def decode_frame(data: bytes) -> Frame:
    """The fields of a frame from any sender."""
    return open_frame(data).decode()


def heard(
    codec: Codec, data: bytes, received_at: float = 0.0, counted: list[str] | None = None
) -> BeatReceived:
    """The beat in a frame; the reasons for which it is counted all the same go to a list."""

    def count(reason: str, what: str, number: int) -> None:
        if counted is not None:
            counted.append(reason)

    return codec.decode(Received(data, received_at, ""), count)
