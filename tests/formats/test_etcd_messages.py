"""Bodies of etcd's JSON gateway, as recorded from etcd 3.4.23, and what is none of them."""

from __future__ import annotations

import base64

import pytest

from opensvc_openha.formats.etcd_messages import (
    EtcdError,
    KeyValue,
    TransactionEnd,
    delete,
    find,
    find_below,
    is_at,
    is_nothing_below,
    put,
    read_error,
    read_token,
    read_transaction,
    transaction,
)

HEADER = {"cluster_id": "6", "member_id": "7", "revision": "42", "raft_term": "2"}


def coded(text: str) -> str:
    """As the gateway writes a text."""
    return base64.b64encode(text.encode()).decode()


def test_transaction_has_conditions_and_both_branches() -> None:
    """The end of a range is the prefix with its last character raised by one."""
    body = transaction(
        [is_at("a/x", 7), is_nothing_below("a/")],
        [put("a/x", "é"), delete("a/y")],
        [find("a/x"), find_below("a/")],
    )
    key, below = {"key": coded("a/x")}, {"key": coded("a/"), "range_end": coded("a0")}
    assert body == {
        "compare": [
            {**key, "target": "MOD", "result": "EQUAL", "mod_revision": "7"},
            {**below, "target": "CREATE", "result": "EQUAL", "create_revision": "0"},
        ],
        "success": [
            {"request_put": {**key, "value": coded("é")}},
            {"request_delete_range": {"key": coded("a/y")}},
        ],
        "failure": [{"request_range": key}, {"request_range": {**below, "limit": "32"}}],
    }


def test_answer_has_what_each_search_found() -> None:
    """What has its default is left out: a branch not taken, an empty search, an empty value."""
    row = {"key": coded("a/x"), "create_revision": "3", "mod_revision": "9", "version": "2"}
    body = {
        "header": HEADER,
        "succeeded": True,
        "responses": [
            {"response_put": {"header": {"revision": "42"}}},
            {"response_range": {"kvs": [{**row, "value": coded("v")}, row], "count": "2"}},
            {"response_range": {}},
        ],
    }
    found = (KeyValue("a/x", "v", 9), KeyValue("a/x", "", 9))
    assert read_transaction(body) == TransactionEnd(True, (found, ()))
    assert read_transaction({"header": HEADER}) == TransactionEnd(False)


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"header": 1},
        {"header": HEADER, "succeeded": 1},
        {"header": HEADER, "responses": {}},
        {"header": HEADER, "responses": [1]},
        {"header": HEADER, "responses": [{"response_range": 1}]},
        {"header": HEADER, "responses": [{"response_range": {"kvs": {}}}]},
        {"header": HEADER, "responses": [{"response_range": {"kvs": [1]}}]},
        {"header": HEADER, "responses": [{"response_range": {"kvs": [{"key": coded("a")}]}}]},
        {
            "header": HEADER,
            "responses": [{"response_range": {"kvs": [{"key": 1, "mod_revision": "1"}]}}],
        },
        {
            "header": HEADER,
            "responses": [{"response_range": {"kvs": [{"key": "?", "mod_revision": "1"}]}}],
        },
    ],
)
def test_what_is_no_answer_is_not_understood(body: object) -> None:
    """Nothing is concluded from a part of it."""
    with pytest.raises(ValueError):
        read_transaction(body)


def test_errors_and_logins() -> None:
    """An error without text has an empty one; a token that would break a header is none."""
    error = {"error": "etcdserver: no leader", "message": "etcdserver: no leader", "code": 14}
    assert read_error(error) == EtcdError(14, "etcdserver: no leader")
    assert read_error({"error": "Not Found"}) == EtcdError(None, "Not Found")
    assert read_error("oops") == read_error({"code": "x", "message": 1}) == EtcdError(None, "")
    assert read_token({"header": HEADER, "token": "abc.12"}) == "abc.12"
    for body in (None, {}, {"token": ""}, {"token": "a\r\nX: y"}):
        with pytest.raises(ValueError):
            read_token(body)
