"""Write IP addresses."""

from __future__ import annotations


def before_port(address: str) -> str:
    """Return an address as it stands before a port: one of IPv6 in brackets (RFC 3986)."""
    return f"[{address}]" if ":" in address else address
