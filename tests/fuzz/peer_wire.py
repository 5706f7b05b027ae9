"""What reaches the peer link: a hello or an answer of somebody without the key, and a request of a
proven peer.

A stranger gets a refusal, whatever he sends. A request becomes one whose words are those of the
protocol, or a UsageError; what is read is the same after having been written again.
"""

from __future__ import annotations

import json

from opensvc_openha.errors import NoPeerLinkError, UsageError
from opensvc_openha.peer_link import channel
from opensvc_openha.peer_link.channel import Refusal, Secret
from opensvc_openha.peer_link.protocol import (
    ACTIONS,
    AddRequest,
    AgentKind,
    OrderRequest,
    RemoveRequest,
    SharedFile,
    TakeRequest,
    parse_request,
    request_to_json,
)

KEY, OTHER_KEY = Secret(bytes(range(32))), Secret(bytes(32))
BINDING = b"one connection"
OURS = "deb1"
_ID = "0123456789abcdef" * 2
_PROOF_BYTES = 32

HELLO = channel._HELLO.pack(b"OHPL", 1, 1, b"deb2", b"deb1", b"")[:-_PROOF_BYTES]
ANSWER = channel._ANSWER.pack(b"OHPL", 0, 1, b"deb1", b"")[:-_PROOF_BYTES]
PEER_REQUESTS = tuple(
    json.dumps(request_to_json(request)).encode()
    for request in (
        OrderRequest(_ID, "web", "stop"),
        OrderRequest(_ID, "web", "stop", AgentKind.REAL, "1.8"),
        AddRequest(_ID, "web", "[DEFAULT]", "deb1", "deb2", "/bin/true"),
        RemoveRequest(_ID, "web", True),
        TakeRequest(
            _ID, {SharedFile.NODES: "a"}, {SharedFile.NODES: "-"}, frozenset({SharedFile.OPTIONS})
        ),
    )
) + (b'{"do":"status"}', b'{"do":"inspect"}', b'{"do":"fetch","name":"monitor"}')


def take_hello(data: bytes, is_proven: bool) -> Refusal:
    """Judge a hello; ``is_proven``: with the proof that the key's owner would send with it."""
    size = channel._HELLO.size
    said = data.ljust(size, b"\0")[: size - _PROOF_BYTES]
    proof = KEY.proof(b"connect", BINDING, said) if is_proven else data.ljust(size, b"\0")[-32:]
    try:
        refusal, secret, name, version = channel._judge(said + proof, [KEY], BINDING, OURS)
    except ValueError:
        assert is_proven  # A name that is none, from the owner of the key.
        return Refusal.VERSION
    if refusal is Refusal.NONE:
        assert is_proven and secret is KEY and version == channel.VERSION
        assert name.isprintable() and name and " " not in name
    elif not is_proven:
        assert refusal is Refusal.PROOF and secret is None
    return refusal


def take_answer_of_peer(data: bytes, is_proven: bool) -> str:
    """Read an accepting end's answer; return why it opens no channel, empty if it does."""
    size = channel._ANSWER.size
    said = data.ljust(size, b"\0")[: size - _PROOF_BYTES]
    hello = HELLO + KEY.proof(b"connect", BINDING, HELLO)
    proof = KEY.proof(b"accept", BINDING, hello + said) if is_proven else OTHER_KEY.value
    try:
        name, version = channel._proven_answer(said + proof, KEY, BINDING, HELLO, "deb2")
    except NoPeerLinkError as error:
        assert str(error).isprintable()
        return error.reason
    except ValueError:
        assert is_proven
        return "NAME"
    assert is_proven and name.isprintable() and version == channel.VERSION
    return ""


def take_peer_request(data: bytes) -> str:
    """Read one line of a proven peer; return the name of what it became."""
    try:
        message = channel.message_of(data)
    except ValueError:
        return "no message"
    try:
        request = parse_request(message)
    except UsageError as error:
        assert len(str(error)) < 1_500
        return "refused"
    if isinstance(request, OrderRequest):
        assert request.action in ACTIONS
    for text in (getattr(request, "service", "web"), getattr(request, "job_id", _ID)):
        assert text.isascii() and text[:1].isalnum() and not set(text) & set("/ \n\0,;")
    assert parse_request(request_to_json(request)) == request
    return type(request).__name__
