"""Mask passwords in command lines and their output before either is logged.

Recognizes the usual spellings: options and values with a telling name, a password behind a login,
in a URL, in a header. Other spellings are not masked, so a log is for root and its group all the
same.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

MASK = "***"
_NAME = (
    r"[\w.-]{0,40}?(?:passw(?:or)?d|passwd|passphrase|passcode|secret|token|api[_-]?key|credential)s?"
    r"[\w.-]{0,20}?|pass|pwd"
)
_VALUE = r"""(?:"[^"]*"|'[^']*'|[^\s,;&"']+)"""
_NAMED = re.compile(rf"""(?<![\w.-])(-{{0,2}}(?:{_NAME})["']?\s*[=:]\s*){_VALUE}""", re.IGNORECASE)
_OPTION = re.compile(rf"(?<![\w.-])(--?(?:{_NAME})\s+)(?!-){_VALUE}", re.IGNORECASE)
_URL = re.compile(r"(\b[a-z][a-z0-9+.-]{0,20}://[^\s/:@]{0,200}:)[^\s/@]{1,500}@", re.IGNORECASE)
_HEADER = re.compile(r"""(\bauthorization:\s*)[^"'\r\n]+|(\bbearer\s+)[\w.~+/=-]+""", re.IGNORECASE)
_TELLING_OPTION = re.compile(rf"--?(?:{_NAME})\Z", re.IGNORECASE)
_LOGINS = frozenset(
    {"-U", "-u", "-l", "-L", "-S", "--user", "--username", "--login", "--user-name"}
)
_KEEPERS = re.compile(r"(?:fence_\w+|ipmi\w*|sshpass|racadm|snmp\w+|mysql\w*|smbclient|amttool)\Z")
"""Programs whose -p or -P is a password, with or without a login."""
_WITH_PORT = frozenset({"ssh", "scp", "sftp"})
"""Programs whose -p or -P is a port."""
_SNMP = re.compile(r"snmp\w+\Z")
_SNMP_OPTIONS = frozenset({"-c", "-A", "-X"})
_SHORT = 4
"""A secret shorter than this is masked in a script only where it is a separate word."""
_USER_AND_PASSWORD = frozenset({"-u", "--user", "--proxy-user", "-U", "--cred"})


def mask_text(text: str) -> str:
    """Return the text with its passwords masked."""
    text = _HEADER.sub(lambda found: (found[1] or found[2]) + MASK, text)
    text = _URL.sub(rf"\1{MASK}@", text)
    return _OPTION.sub(rf"\1{MASK}", _NAMED.sub(rf"\1{MASK}", text))


def mask_command(argv: Sequence[str]) -> str:
    """Return a command line for the log, masked and quoted for a shell."""
    return " ".join(word if word == MASK else _quote(word) for word in _masked(list(argv)))


def mask_output(argv: Sequence[str], output: str) -> str:
    """Mask in a command's output the passwords of its command line."""
    for secret in _secrets_of(list(argv)):
        output = re.sub(_pattern(secret), MASK, output)
    return mask_text(output)


def _masked(words: list[str]) -> list[str]:
    programs = [word.rsplit("/", 1)[-1] for word in words]
    has_login = any(
        word in _LOGINS or word.startswith(("--username=", "--user=", "--login=")) for word in words
    )
    keeps = any(_KEEPERS.match(name) for name in programs) or (
        has_login and _WITH_PORT.isdisjoint(programs)
    )
    is_snmp = any(_SNMP.match(name) for name in programs)
    masked: list[str] = []
    is_next = False
    for index, word in enumerate(words):
        if is_next:
            masked.append(MASK)
            is_next = False
        elif index and masked[-1] in _USER_AND_PASSWORD and ":" in word:
            masked.append(word.partition(":")[0] + f":{MASK}")
        else:
            is_next = (
                bool(_TELLING_OPTION.match(word))
                or (keeps and word in ("-p", "-P"))
                or (is_snmp and word in _SNMP_OPTIONS)
            )
            is_attached = (
                keeps and len(word) > 2 and word[:2] in ("-p", "-P") and not _is_number(word[2:])
            )
            # The user's password of smbclient and others follows a percent sign.
            is_behind = index > 0 and masked[-1] in _LOGINS and "%" in word
            masked.append(
                word[:2] + MASK
                if is_attached
                else (
                    word.partition("%")[0] + f"%{MASK}"
                    if is_behind
                    else (
                        mask_script(word)
                        if any(character.isspace() for character in word)
                        else mask_text(word)
                    )
                )
            )
    return masked


def mask_script(text: str) -> str:
    """Mask a shell line, as behind ``sh -c``, or one that quotes a command: by its words."""
    try:
        words = shlex.split(text, comments=False)
    except ValueError:
        words = text.split()  # No shell would take it either.
    if len(words) < 2:
        return mask_text(text)
    for secret in _secrets_of(words):
        text = re.sub(_pattern(secret), MASK, text)
    return mask_text(text)


def _secrets_of(words: list[str]) -> list[str]:
    """Return what to mask in these words, nested command lines included; the longest first."""
    found = set()
    for plain, masked in zip(words, _masked(words)):
        if any(character.isspace() for character in plain) and masked != MASK:
            try:
                inner = shlex.split(plain)
            except ValueError:
                inner = plain.split()
            found |= set(_secrets_of(inner)) if len(inner) > 1 else set()
        elif plain != masked:
            found.add(
                plain
                if masked == MASK
                else plain[len(masked) - len(MASK) :]
                if masked.endswith(MASK)
                else ""
            )
    return sorted(found - {""}, key=len, reverse=True)


def _pattern(secret: str) -> str:
    pattern = re.escape(secret)
    return rf"(?<![A-Za-z0-9]){pattern}(?![A-Za-z0-9])" if len(secret) < _SHORT else pattern


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _quote(word: str) -> str:
    # A masked word needs no quotes for its stars.
    return (
        word
        if shlex.quote(word.replace(MASK, "x")) == word.replace(MASK, "x")
        else shlex.quote(word)
    )
