"""openha.conf: defaults, and a place in the file for every mistake."""

from __future__ import annotations

import pytest

from opensvc_openha.errors import ConfigError
from opensvc_openha.runtime.options import AuthMode, Options, parse_options


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("", Options()),
        ("# nothing\n[heartbeat]\n", Options()),
        ("[heartbeat]\nauthentication = enforced\ncluster = paris-1\n", Options(AuthMode.ENFORCED, "paris-1")),
        ("[heartbeat]\r\nauthentication = off # for now\r\n", Options(AuthMode.OFF)),
        ("[heartbeat]\nauthentication = 'permissive'", Options(AuthMode.PERMISSIVE)),
    ],
)
def test_options_are_read(text: str, options: Options) -> None:
    """What is there is taken, what is not has its default."""
    assert parse_options(text, "openha.conf") == options


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("authentication = off\n", 1, "before any"),
        ("\n[heartbeats]\n", 2, r"unknown section \[heartbeats\]"),
        ("[heartbeat]\n\nauthentification = enforced\n", 3, "unknown option 'authentification'"),
        ("[heartbeat]\nauthentication = on\n", 2, "expected one of off, permissive, enforced; found 'on'"),
        ("[heartbeat]\nauthentication =\n", 2, "found ''"),
        ("[heartbeat]\ncluster = a b\n", 2, "found 'a b'"),
        ("[node]\nrealtime = maybe\n", 2, "expected one of yes, no; found 'maybe'"),
        ("[heartbeat]\ncluster = a\ncluster = b\n", 3, "(?i)duplicate"),
        ("[heartbeat\n", 1, "openha"),
    ],
)
def test_mistake_is_told_with_its_line(text: str, line: int, words: str) -> None:
    """A ConfigError with file and line: nothing misspelt is passed over."""
    with pytest.raises(ConfigError, match=words) as caught:
        parse_options(text, "openha.conf")
    assert str(caught.value).startswith(f"openha.conf:{line}: ")
