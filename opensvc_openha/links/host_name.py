"""Resolve a host name as address of a unicast link, when it is opened and from time to time.

A lookup may take long or fail, and a working link must not depend on that: only opening waits for
one. Later ones run beside the link, and count only if they return addresses without the one in use.
"""

from __future__ import annotations

import contextlib
import socket
import threading

from opensvc_openha.links.base import LinkFault

LOOK_EVERY_BEATS = 30


class HostName:
    """One name and the address in use for it."""

    def __init__(self, name: str, is_ipv4_only: bool) -> None:
        self.is_moved = False
        """True once the name resolves to other addresses."""
        self._name = name
        self._family = socket.AF_INET if is_ipv4_only else socket.AF_UNSPEC
        self._address = ""
        self._beats = 0
        self._is_looking = False

    def look_up(self) -> str:
        """Return the address to use from now on; raise LinkFault."""
        try:
            self._address = self._find()[0]
        except OSError as error:
            # os.strerror does not know the numbers of these errors.
            raise LinkFault(
                f"host name {self._name} cannot be resolved: {error.strerror}"
            ) from None
        self.is_moved, self._beats = False, 0
        return self._address

    def record_beat(self) -> None:
        """Count a beat, and repeat the lookup after some, without waiting for the answer."""
        self._beats += 1
        if self._beats % LOOK_EVERY_BEATS == 0 and not self._is_looking:
            self._is_looking = True
            threading.Thread(
                target=self._look_again, name=f"lookup {self._name}", daemon=True
            ).start()

    def _look_again(self) -> None:
        address = self._address
        with contextlib.suppress(OSError):
            # Another address may be in use meanwhile.
            self.is_moved = address not in self._find() and address == self._address
        self._is_looking = False

    def _find(self) -> tuple[str, ...]:
        try:
            found = socket.getaddrinfo(self._name, None, self._family, socket.SOCK_DGRAM)
        except UnicodeError as error:
            raise OSError(0, str(error)) from None
        return tuple(str(entry[4][0]) for entry in found)
