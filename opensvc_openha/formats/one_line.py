"""Make foreign text one printable line, for logs, statuses and messages.

There a line is one event. A control character could end a line, forge the next one, or move the
cursor of a terminal.
"""

from __future__ import annotations

_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_WRITTEN = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\x1b": "\\e"}


def one_line(text: str) -> str:
    """Return the text with each control character escaped; unchanged without any."""
    if text.isprintable():
        return text
    return "".join(_escape(character) for character in text)


def _escape(character: str) -> str:
    # Imported only for such a text: most status commands have none.
    import unicodedata

    if unicodedata.category(character) not in _CATEGORIES:
        return character
    number = ord(character)
    return _WRITTEN.get(character) or (
        f"\\x{number:02x}"
        if number < 256
        else f"\\u{number:04x}"
        if number < 65_536
        else f"\\U{number:08x}"
    )
