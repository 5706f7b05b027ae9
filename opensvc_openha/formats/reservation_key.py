"""Read and write the keys of SCSI reservations as operators and ``sg_persist`` spell them.

Numbers are compared, never their text: ``0x00DEB1`` and ``0xdeb1`` are one key.
"""

from __future__ import annotations

KEY_PROBLEM = "must have 16 significant hex digits max (ex: 0x90520a45138e85)"
"""End of the message that OpenSVC agents print for a bad key."""
_DIGITS_MAX = 16


def parse_key(text: str) -> int:
    """Return the number of a key as operators write it: ``0x`` and 1 to 16 hexadecimal digits.

    Raises ValueError, also for 0: that is no key, but the word for none.
    """
    digits = text.removeprefix("0x")
    is_hex = all(digit in "0123456789abcdefABCDEF" for digit in digits)
    if digits == text or not digits or len(digits) > _DIGITS_MAX or not is_hex:
        raise ValueError(f"is {text!r}, {KEY_PROBLEM}")
    key = int(digits, 16)
    if not key:
        raise ValueError(f"is {text!r}, expected a key other than zero")
    return key


def key_text(key: int) -> str:
    """Return a key as ``sg_persist`` prints it: lower case, without leading zeros."""
    return f"{key:#x}"
