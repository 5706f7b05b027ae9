"""Convert the text of a keyword to its value: each format is defined here, once.

A parser raises ValueError for a text that does not fit. The problem then reads "is 'TEXT', expected
EXPECTED", unless the parser raises a ``Misfit`` with a text of its own. ``pattern`` is for editors
(ECMA 262): it is never stricter than the parser, and empty where any text passes.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from opensvc_openha.formats.reservation_key import parse_key
from opensvc_openha.hints import Generic, TypeVar

T_co = TypeVar("T_co", covariant=True)

TRUE_WORDS = frozenset({"true", "yes", "on", "1", "t", "y"})
FALSE_WORDS = frozenset({"false", "no", "off", "0", "f", "n", "none"})
NO_PLACE = 1_000_000
"""Place in the sequence of an application's step that has none: after all others."""

DEVICE_PREFIXES = {
    "UUID=": "/dev/disk/by-uuid/",
    "LABEL=": "/dev/disk/by-label/",
    "PARTUUID=": "/dev/disk/by-partuuid/",
}

_SECONDS_MAX = 1_000_000
_DIGITS_MAX = 15
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)", re.ASCII)
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_CLIENT = r"([^\s()]+)\(([^\s()]*)\)"  # Compiled where a service has exports.


class Misfit(ValueError):
    """The whole problem of a text that does not fit: "holds ..., expected ..."."""


class ValueType(Generic[T_co]):
    """One format of values; ``expected`` completes the sentence "expected ..."."""

    def __init__(
        self,
        expected: str,
        parse: Callable[[str], T_co],
        pattern: str = "",
        is_free: bool = False,
        is_command: bool = False,
    ) -> None:
        """Make one.

        ``is_free``: a comment at the end would pass as a part of the value. ``is_command``: the
        value is a line for the shell, or may be one.
        """
        self.expected = expected
        self.parse = parse
        self.pattern = pattern
        self.is_free = is_free
        self.is_command = is_command

    def read(self, text: str) -> T_co:
        """Return the value; Misfit with the problem, which follows the name of the keyword."""
        try:
            return self.parse(text)
        except Misfit:
            raise
        except ValueError:
            raise Misfit(f"is {text!r}, expected {self.expected}{hint(text)}") from None


def hint(text: str) -> str:
    """Return a correction for the most frequent kinds of invalid values, or an empty text."""
    if text[:1] in "'\"":
        return ", without quotes"
    return ": a comment needs a line of its own" if has_comment(text) else ""


def has_comment(text: str) -> bool:
    """Return whether the value ends in what looks like a comment, which agents take as value."""
    return any(mark in text for mark in (" #", " ;", "\t#", "\t;"))


def duration_of(word: str) -> float | None:
    """Return the seconds of a duration such as 30, 90s, 5m or 1h; None if invalid or zero."""
    match = _DURATION.fullmatch(word.strip().lower())
    duration_s = float(match.group(1)) * _UNITS[match.group(2)] if match else 0.0
    return duration_s if 0 < duration_s < _SECONDS_MAX else None


def split_list(text: str) -> tuple[str, ...]:
    """Return the words of a list that blanks or commas separate."""
    return tuple(text.replace(",", " ").split())


def choice(*words: str) -> ValueType[str]:
    """Return the type of a keyword that has one of these words, in any case, as its value."""

    def parse(text: str) -> str:
        return words[words.index(text.lower())]

    return ValueType(" or ".join(words), parse, any_of(words))


def any_of(words: Iterable[str]) -> str:
    """Return a pattern for these words in any case; patterns of editors have no flag for that."""
    spelled = (
        "".join(f"[{c.upper()}{c}]" if c.isalpha() else c for c in word) for word in sorted(words)
    )
    return f"^({'|'.join(spelled)})$"


def _text(text: str) -> str:
    if "\0" in text:
        raise ValueError
    return text


def _flag(text: str) -> bool:
    word = text.lower()
    if word not in TRUE_WORDS | FALSE_WORDS:
        raise ValueError
    return word in TRUE_WORDS


def _integer(text: str, least: int = 0) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX):
        raise ValueError
    if int(text) < least:
        raise ValueError
    return int(text)


def _seconds(text: str) -> float:
    duration_s = duration_of(text)
    if duration_s is None:
        raise ValueError
    return duration_s


def _path(text: str) -> str:
    if not text.startswith("/") or "\0" in text or has_comment(text):
        raise ValueError
    return text


def _inner_path(text: str) -> str:
    path = os.path.normpath(_path(text))
    if path == "/":
        raise Misfit(f"is {text!r}, expected an absolute path below /")
    return path


def _list(text: str) -> tuple[str, ...]:
    return split_list(_text(text))


def _nodes(text: str) -> tuple[str, ...]:
    if not all(character.isalnum() or character in ".-_, \t" for character in text):
        raise ValueError
    return split_list(text)


def _targets(text: str) -> tuple[str, ...]:
    words = split_list(text) or ("nodes",)
    if not set(words) <= {"nodes", "drpnodes"}:
        raise ValueError
    return words


def _words(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(_text(text)))
    except ValueError as error:
        problem = f"cannot be split into words ({error}), expected matching quotes"
        raise Misfit(problem) from None


def _paths(text: str) -> tuple[str, ...]:
    for path in _words(text):
        if not path.startswith("/"):
            raise Misfit(f"holds {path!r}, expected absolute paths")
    return _words(text)


def _device(text: str, others: Iterable[str] = DEVICE_PREFIXES) -> str:
    if not text.startswith(("/", *others)):
        raise ValueError
    return _text(text)


def server_path(kind: str) -> ValueType[str]:
    """Return the type of the device of a network file system of this kind."""

    def parse(text: str) -> str:
        if not (":/" in text or text.startswith("//")):
            raise ValueError
        return _text(text)

    return ValueType(f"server:/path for {kind}", parse, "(:/|^//)", is_free=True)


def _octal_mode(text: str) -> int:
    mode = int(text, 8)
    if not 0 <= mode <= 0o7777:
        raise ValueError
    return mode


def _host(text: str) -> str:
    import ipaddress  # Costs milliseconds, and only addresses need it.

    try:
        ipaddress.ip_address(text)
    except ValueError:
        # Anything else may be a name, which is not resolved: the name service may be down.
        if ":" in text or text.replace(".", "").isdigit():
            raise
    return _text(text)


def _netmask(text: str) -> int:
    """Return the prefix length of a netmask: in bits, dotted, hexadecimal, or as an IPv6 mask."""
    import ipaddress

    word = text.strip("/")
    if word.isascii() and word.isdigit() and len(word) <= 3:
        prefix = int(word)
        if not 0 < prefix <= 128:
            raise ValueError
        return prefix
    digits = word[2:] if word.lower().startswith("0x") else word
    if len(digits) == 8 and digits.isalnum():
        bits, width = int(digits, 16), 32
    else:
        mask = ipaddress.ip_address(word)
        bits, width = int(mask), mask.max_prefixlen
    prefix = bits.bit_count()
    if not prefix or bits != ((1 << prefix) - 1) << (width - prefix):
        raise ValueError
    return prefix


def _exports(text: str) -> Mapping[str, frozenset[str]]:
    clients = {}
    for word in text.replace("\\", "").split():
        match = re.fullmatch(_CLIENT, word)
        if match is None:
            raise Misfit(f"holds {word!r}, expected client(options) client(options)")
        options = match.group(2).split(",")
        clients[match.group(1)] = frozenset(option for option in options if option)
    return clients


def _step(text: str) -> int | str | None:
    if text.isascii() and text.isdigit() and len(text) < 6:
        return int(text)
    if text.lower() in FALSE_WORDS:
        return None
    return NO_PLACE if text.lower() in TRUE_WORDS else _text(text)


TEXT = ValueType("a text", _text, is_free=True)
COMMENT = ValueType("a text", _text)
COMMAND = ValueType("a command", _text, is_command=True)
RESERVATION_KEY = ValueType(
    "a reservation key (0x and up to 16 hexadecimal digits)",
    parse_key,
    r"^0x0*[1-9a-fA-F][0-9a-fA-F]*$",
)
FLAG = ValueType("true or false", _flag, any_of(TRUE_WORDS | FALSE_WORDS))
INTEGER = ValueType("a whole number", _integer, f"^[0-9]{{1,{_DIGITS_MAX}}}$")
COUNT = ValueType("a whole number from 1", partial(_integer, least=1), "^0*[1-9][0-9]*$")
SECONDS = ValueType(
    "a number of seconds above 0", _seconds, r"^\s*[0-9]+(\.[0-9]+)?\s*[smhdSMHD]?\s*$"
)
PATH = ValueType("an absolute path", _path, "^/")
INNER_PATH = ValueType("an absolute path", _inner_path, "^/")
"""A path other than / itself; the value is normalised."""
LIST = ValueType("a list of words", _list, is_free=True)
NODES = ValueType("names of nodes", _nodes)
TARGETS = ValueType("nodes, drpnodes or both", _targets, r"^[\s,]*((nodes|drpnodes)([\s,]+|$))*$")
WORDS = ValueType("words of a command line", _words, is_free=True)
PATHS = ValueType("absolute paths", _paths, is_free=True)
DEVICE = ValueType(
    "an absolute path, UUID=... or LABEL=...", _device, "^(/|UUID=|LABEL=|PARTUUID=)", is_free=True
)
BOUND_PATH = ValueType(
    "an absolute path for a bind mount", partial(_device, others=()), "^/", is_free=True
)
OCTAL_MODE = ValueType("an octal mode such as 755", _octal_mode, "^[0-7oO_ ]+$")
HOST = ValueType("an IPv4 or IPv6 address, or a name", _host, is_free=True)
NETMASK = ValueType(
    "a prefix length or a dotted netmask (24, 255.255.255.0, 0xffffff00)",
    _netmask,
    "^/*[0-9A-Fa-fxX.:]+/*$",
)
EXPORTS = ValueType("client(options) client(options)", _exports, is_free=True)
STEP = ValueType("a place in the sequence, yes, no, or a command", _step, is_command=True)
"""``int`` is the place where the script is called, ``str`` a command line; None: no such step."""
