"""What a node concludes of single frames: modes, rotation, and what an operator is informed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from opensvc_openha.core.beat import BootId
from opensvc_openha.core.status import AuthStatus
from opensvc_openha.errors import FrameError
from opensvc_openha.formats.frame_seal import Key, cluster_mark
from opensvc_openha.formats.key_file import KeyRing
from opensvc_openha.formats.options_file import HeartbeatOptions
from opensvc_openha.formats.options_schema import AuthMode
from opensvc_openha.heartbeat.authentication import Authentication, Judgement

A, B, C, D = (Key(bytes([number] * 32)) for number in (1, 2, 3, 4))
BOOT, PEER_BOOT = BootId(1, 1), BootId(1, 2)
KNOWN = {A.key_id: PEER_BOOT}
COPY = ": `copy`"


def frame(
    key: Key | None = None, newest: Key | None = None, is_authentic: bool = True, **fields: Any
) -> Any:
    """A frame of the peer, sealed with a key, which knows a newest one."""
    found = {
        "node": "deb2",
        "boot": PEER_BOOT,
        "cluster": b"",
        "key_id": key.key_id if key else "",
        "newest_id": (newest or key or A).key_id if key else "",
        "is_authentic": lambda with_key, binding: is_authentic and with_key == key,
    }
    return SimpleNamespace(**{**found, **fields})


def node(
    ring: KeyRing | None = None,
    mode: AuthMode | None = None,
    known: dict[str, BootId] | None = None,
    copy: str = "copy",
    cluster: str = "",
) -> Authentication:
    made = Authentication("deb1", BOOT, copy)
    made.update(HeartbeatOptions(mode, cluster), ring, known or {})
    return made


def hear(auth: Authentication, *frames: Any, now: float = 100.0) -> None:
    for each in frames:
        auth.judge(each, b"link", now)


def refusal(auth: Authentication, found: Any) -> str:
    with pytest.raises(FrameError) as caught:
        auth.judge(found, b"link", 100.0)
    return caught.value.reason


def test_node_without_an_order_has_no_key() -> None:
    """Everything is taken as it comes, and nothing is sealed."""
    auth = Authentication("deb1", BOOT)
    assert auth.status() == AuthStatus("off") and auth.cluster == ""
    assert auth.warnings() == ("heartbeats are not authenticated",)
    assert auth.relevant(KNOWN) == {} and not auth.learn(KNOWN)
    assert auth.advance(100.0) is None and auth.seal(b"link") is None
    assert auth.judge(frame(A), b"link", 100.0) == Judgement()
    auth.update(HeartbeatOptions(), KeyRing(A), {})
    assert auth.status().mode == "permissive" and auth.relevant(KNOWN) == KNOWN


def test_first_frame_with_a_key_makes_the_default_strict() -> None:
    """That is reported once; a mode that was written stays."""
    auth = node(KeyRing(A))
    assert not auth.learn({}) and auth.learn(KNOWN) and not auth.learn(KNOWN)
    assert auth.status().mode == "enforced"
    written = node(KeyRing(A), AuthMode.PERMISSIVE)
    assert not written.learn(KNOWN) and written.status().mode == "permissive"


def test_incarnations_under_keys_that_exist_are_kept() -> None:
    """The next and the former key are keys, too."""
    found = {key.key_id: PEER_BOOT for key in (A, B, C, D)}
    auth = node(KeyRing(A, next=B, previous=C))
    del found[D.key_id]
    assert auth.relevant({**found, D.key_id: PEER_BOOT}) == found


def test_own_name_and_other_clusters_are_refused_before_any_key() -> None:
    """A frame of this life, one of a namesake; a cluster's name counts where both have one."""
    auth = node(KeyRing(A), AuthMode.ENFORCED, cluster="x")
    assert refusal(auth, frame(A, node="deb1", boot=BOOT)) == "own"
    assert refusal(auth, frame(A, node="deb1")) == "namesake"
    assert refusal(auth, frame(A, cluster=cluster_mark("y"))) == "foreign cluster"
    hear(auth, frame(A, cluster=cluster_mark("x")), frame(A))
    hear(node(KeyRing(A), AuthMode.ENFORCED), frame(A, cluster=cluster_mark("y")))
    assert auth.cluster == "x"


def test_frame_is_judged_by_its_key() -> None:
    """None, an unknown one, a wrong tag: refused or let pass with the reason."""
    strict, lax = node(KeyRing(A), AuthMode.ENFORCED), node(KeyRing(A), AuthMode.PERMISSIVE)
    cases = (
        (frame(), "unauthenticated"),
        (frame(B), "unknown key"),
        (frame(A, is_authentic=False), "forged"),
    )
    for found, reason in cases:
        assert refusal(strict, found) == reason
        assert lax.judge(found, b"link", 100.0) == Judgement(remark=reason)
    assert strict.judge(frame(A), b"link", 100.0) == Judgement(A.key_id)
    off = node(KeyRing(A), AuthMode.OFF)
    assert off.judge(frame(B), b"link", 100.0) == Judgement() and off.seal(b"link") is None
    assert off.advance(100.0) is None and off.status() == AuthStatus("off")


@pytest.mark.parametrize("shows", [frame(A, newest=B), frame(B), frame(B, newest=D)])
def test_next_key_is_used_once_the_peer_has_shown_it(shows: Any) -> None:
    """By sending with it, or by reporting that it has it; the ring follows."""
    auth = node(KeyRing(A, next=B))
    seal = auth.seal(b"link")
    assert seal is not None and (seal.key, seal.newest_id) == (A, B.key_id)
    hear(auth, frame(A))
    assert auth.advance(100.0) is None
    hear(auth, shows)
    seal = auth.seal(b"link")
    assert seal is not None and (seal.key, seal.newest_id) == (B, B.key_id)
    assert auth.status().sends == B.key_id
    assert auth.advance(100.0) == KeyRing(B, previous=A)
    auth.update(HeartbeatOptions(AuthMode.OFF), KeyRing(A, next=B), {})
    assert auth.advance(100.0) is None


def test_former_key_is_dropped_ten_seconds_after_the_first_frame_with_the_new_one() -> None:
    """A frame with the former one, or a later one with the new, changes nothing of that."""
    auth = node(KeyRing(B, previous=A))
    hear(auth, frame(A, newest=B), now=50.0)
    assert auth.advance(1000.0) is None
    hear(auth, frame(B), now=100.0)
    hear(auth, frame(B), now=105.0)
    assert auth.advance(109.9) is None and auth.advance(110.0) == KeyRing(B)
    auth.update(HeartbeatOptions(), KeyRing(B, previous=A), {})
    assert auth.advance(110.0) == KeyRing(B)
    auth.update(HeartbeatOptions(), KeyRing(B), {})
    assert auth.advance(1000.0) is None


@pytest.mark.parametrize("between", [None, KeyRing(A, next=B)])
def test_key_that_was_changed_meanwhile_must_be_heard_again(between: KeyRing | None) -> None:
    """Gone and back, or another one was current."""
    auth = node(KeyRing(B, previous=A))
    hear(auth, frame(B))
    auth.update(HeartbeatOptions(), between, {})
    auth.update(HeartbeatOptions(), KeyRing(B, previous=A), {})
    assert auth.advance(1000.0) is None
    hear(auth, frame(B), now=1000.0)
    assert auth.advance(1010.0) == KeyRing(B)


def test_status_reports_the_keys_of_both_nodes() -> None:
    """The peer's as its last authentic frame showed them."""
    auth = node(KeyRing(A, next=B, previous=C), AuthMode.ENFORCED, cluster="x")
    accepts = (A.key_id, B.key_id, C.key_id)
    assert auth.status() == AuthStatus("enforced", "x", A.key_id, accepts, "", "")
    hear(auth, frame(C, newest=A))
    assert auth.status() == AuthStatus("enforced", "x", A.key_id, accepts, C.key_id, A.key_id)


@pytest.mark.parametrize("copy", ["copy", ""])
def test_warnings_name_what_is_accepted_and_how_to_end_it(copy: str) -> None:
    """By default until the peer is heard with a key, or because it is written."""
    how = COPY if copy else ""
    text = "heartbeats without the key are accepted"
    until = f"{text} until the peer is heard with a key of ours{how}"
    assert node(KeyRing(A), copy=copy).warnings() == (until,)
    written = f"{text} (authentication = permissive){how}"
    assert node(KeyRing(A), AuthMode.PERMISSIVE, copy=copy).warnings() == (written,)
    assert node(KeyRing(A), AuthMode.ENFORCED, copy=copy).warnings() == ()
    assert node(KeyRing(A), AuthMode.OFF, copy=copy).warnings() == (
        "heartbeats are not authenticated (authentication = off, although there is a key)",
    )


def test_unknown_key_of_the_peer_is_reported_until_it_is_heard_with_ours() -> None:
    """Or until it is installed here."""
    text = f"the peer sends with key {B.key_id}, which is not here, and is"
    need = f": the nodes need the same key{COPY}"
    strict, lax = node(KeyRing(A), AuthMode.ENFORCED), node(KeyRing(A), AuthMode.PERMISSIVE)
    refusal(strict, frame(B))
    hear(lax, frame(B))
    assert strict.warnings() == (f"{text} refused{need}",)
    assert lax.warnings()[1:] == (f"{text} accepted all the same{need}",)
    hear(strict, frame(A))
    assert strict.warnings() == ()
    lax.update(HeartbeatOptions(AuthMode.ENFORCED), KeyRing(A, next=B), {})
    assert lax.warnings() == ()
    refusal(strict, frame(A, is_authentic=False))
    assert strict.warnings() == ()


def test_frames_without_a_key_in_the_name_of_the_peer_are_reported() -> None:
    """Until one with a key comes, authentic or not."""
    text = f"frames in the peer's name come without a key, and are refused{COPY}"
    auth = node(KeyRing(A), AuthMode.ENFORCED)
    refusal(auth, frame())
    assert auth.warnings() == (text,)
    hear(auth, frame(A))
    assert auth.warnings() == ()
    refusal(auth, frame())
    refusal(auth, frame(A, is_authentic=False))
    assert auth.warnings() == ()
    lax = node(KeyRing(A), AuthMode.PERMISSIVE)
    hear(lax, frame())
    assert text not in lax.warnings()


def test_rotation_that_waits_is_reported_with_what_to_do() -> None:
    """The peer has a newer key, or has not got ours yet."""
    auth = node(KeyRing(A), AuthMode.ENFORCED)
    hear(auth, frame(A, newest=B))
    assert auth.warnings() == (
        f"the peer has key {B.key_id}, which is not here: install its key file on this node",
    )
    waiting = node(KeyRing(A, next=B), AuthMode.ENFORCED)
    assert waiting.warnings() == ()
    hear(waiting, frame(A))
    assert waiting.warnings() == (
        f"the peer does not have the next key {B.key_id} yet: install this node's key file there",
    )
    hear(waiting, frame(A, newest=B))
    assert waiting.warnings() == ()
