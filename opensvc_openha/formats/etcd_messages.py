"""Convert between values and the bodies of etcd's JSON gateway: transactions, answers, errors.

Keys and values are base64 there, numbers of 64 bits are strings, and what has its default value is
left out. An answer that does not fit is a ValueError: nothing is concluded from it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Body = Mapping[str, object]

FOUND_MAX = 32
"""Keys that one search returns at most."""


@dataclass(frozen=True)
class KeyValue:
    """A key as it is stored; ``revision`` is that of its last change, and never comes again."""

    key: str
    value: str
    revision: int


@dataclass(frozen=True)
class TransactionEnd:
    """Whether the conditions held, and what each search of the branch that was taken found."""

    is_done: bool
    found: tuple[tuple[KeyValue, ...], ...] = ()


@dataclass(frozen=True)
class EtcdError:
    """An error as the gateway reports it; ``code`` is a status of gRPC, None if it names none."""

    code: int | None
    text: str


# --- requests -------------------------------------------------------------------------------------


def is_at(key: str, revision: int) -> Body:
    """Return the condition that a key has not changed since a revision; 0: there is none."""
    return {"key": _coded(key), "target": "MOD", "result": "EQUAL", "mod_revision": str(revision)}


def is_nothing_below(prefix: str) -> Body:
    """Return the condition that no key begins with a prefix."""
    return {
        "key": _coded(prefix),
        "range_end": _end_of(prefix),
        "target": "CREATE",
        "result": "EQUAL",
        "create_revision": "0",
    }


def put(key: str, value: str) -> Body:
    """Return the operation that stores a value."""
    return {"request_put": {"key": _coded(key), "value": _coded(value)}}


def delete(key: str) -> Body:
    """Return the operation that removes a key, if it is there."""
    return {"request_delete_range": {"key": _coded(key)}}


def find(key: str) -> Body:
    """Return the operation that reads a key."""
    return {"request_range": {"key": _coded(key)}}


def find_below(prefix: str) -> Body:
    """Return the operation that reads all keys with a prefix, ``FOUND_MAX`` at most."""
    search = {"key": _coded(prefix), "range_end": _end_of(prefix), "limit": str(FOUND_MAX)}
    return {"request_range": search}


def transaction(
    conditions: Sequence[Body], then: Sequence[Body], otherwise: Sequence[Body] = ()
) -> Body:
    """Return the body of a transaction."""
    return {"compare": list(conditions), "success": list(then), "failure": list(otherwise)}


def _coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")


def _end_of(prefix: str) -> str:
    """Return the end of the range of all keys with a prefix; it ends with an ASCII character."""
    return _coded(prefix[:-1] + chr(ord(prefix[-1]) + 1))


# --- answers --------------------------------------------------------------------------------------


def read_transaction(body: object) -> TransactionEnd:
    """Return the end of a transaction."""
    if not isinstance(body, Mapping) or not isinstance(body.get("header"), Mapping):
        raise ValueError("no answer to a transaction")
    is_done = body.get("succeeded", False)
    responses = body.get("responses", [])
    if not isinstance(is_done, bool) or not isinstance(responses, list):
        raise ValueError("no answer to a transaction")
    found = []
    for response in responses:
        if not isinstance(response, Mapping):
            raise ValueError("no answer to an operation")
        if "response_range" in response:
            found.append(_found(response["response_range"]))
    return TransactionEnd(is_done, tuple(found))


def read_error(body: object) -> EtcdError:
    """Return the error of an answer; without a text if it has none."""
    if not isinstance(body, Mapping):
        return EtcdError(None, "")
    code, text = body.get("code"), body.get("message") or body.get("error")
    return EtcdError(code if isinstance(code, int) else None, text if isinstance(text, str) else "")


def read_token(body: object) -> str:
    """Return the token of a login."""
    token = body.get("token") if isinstance(body, Mapping) else None
    if not isinstance(token, str) or not token or not token.isprintable():
        raise ValueError("no token")
    return token


def _found(body: object) -> tuple[KeyValue, ...]:
    rows = body.get("kvs", []) if isinstance(body, Mapping) else None
    if not isinstance(rows, list):
        raise ValueError("no answer to a search")
    return tuple(map(_key_value, rows))


def _key_value(row: object) -> KeyValue:
    if not isinstance(row, Mapping):
        raise ValueError("no key")
    # An empty value is left out.
    key, value = _text(row.get("key")), _text(row.get("value", ""))
    return KeyValue(key, value, int(str(row.get("mod_revision", ""))))


def _text(value: object) -> str:
    """Return a text of base64. What is no UTF-8 was not written by a node, and means nothing."""
    if not isinstance(value, str):
        raise ValueError("no text")
    try:
        return base64.b64decode(value, validate=True).decode("utf-8", "replace")
    except binascii.Error:
        raise ValueError("no base64") from None
