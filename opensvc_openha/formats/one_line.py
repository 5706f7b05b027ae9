"""Foreign text as one printable line: for logs, statuses and messages, in which a line is one thing
that happened.

A control character could end a line, forge the next one, or move the cursor of whoever reads it on
a terminal.
"""

from __future__ import annotations

_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_WRITTEN = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\x1b": "\\e"}


def one_line(text: str) -> str:
    """The text with each control character written as an escape.

    Text without any comes back as it is.
    """
    if text.isprintable():
        return text
    return "".join(_escape(character) for character in text)


def _escape(character: str) -> str:
    # Loaded for a text with such a character: a status command has none, most often.
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
