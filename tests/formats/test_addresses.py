"""Addresses as they are written."""

from __future__ import annotations

from opensvc_openha.formats.addresses import before_port


def test_address_of_ipv6_is_in_brackets_before_a_port() -> None:
    """Else its last part would be read as the port."""
    assert before_port("::1") == "[::1]"
    assert before_port("192.0.2.1") == "192.0.2.1" and before_port("deb1") == "deb1"
