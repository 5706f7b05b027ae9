"""Suggest what to write instead of an unknown word."""

from __future__ import annotations

from collections.abc import Iterable

from opensvc_openha.core.wording import named


def suggest(word: str, known: Iterable[str]) -> str:
    """Return the known words that were probably meant; empty if none is close.

    Words that begin with the given one come first: the closest one to ``freeze`` would be
    ``unfreeze``, the opposite of what was meant.
    """
    import difflib  # Imported here: only a mistake needs it.

    names = sorted(known)
    wanted = word.lower()
    close = [name for name in names if wanted and name.lower().startswith(wanted)][:3]
    close = close or difflib.get_close_matches(wanted, names, 1)
    return " or ".join(close)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a question to append to an error message; empty if no known word is close."""
    close = suggest(word, known)
    return f": did you mean {close}?" if close else ""


def what_to_write(word: str, known: Iterable[str], usual: Iterable[str] | None = None) -> str:
    """Return the words that were probably meant; if none is close, the usual ones, or all."""
    names = list(known)
    close = suggest(word, names)
    expected = names if usual is None else usual
    return f"did you mean {close}?" if close else f"expected one of {', '.join(expected)}"


def which_service(name: str, known: Iterable[str], how_to_add: str = "service -a adds one") -> str:
    """Return the service that was probably meant, or some of those that there are."""
    names = list(known)
    close = suggest(name, names)
    if close:
        return f"did you mean {close}?"
    if not names:
        return f"there is none yet ({how_to_add})"
    return f"there is {named(names)}"
