"""Services that only one of the nodes has: what is recorded, what is shown, and when nothing may be
concluded.
"""

from __future__ import annotations

from dataclasses import replace

from opensvc_openha.core.beat import Beat, BootId
from opensvc_openha.core.peer_view import PeerView
from opensvc_openha.core.service_mismatch import ServiceMismatch
from opensvc_openha.core.states import ServiceState

OWN = BootId(1, 1)


def beat(seq: int, *names: str) -> Beat:
    """A beat of the peer that speaks of these services."""
    return Beat("deb2", BootId(1, 2), seq, None, {name: ServiceState.STOPPED for name in names})


def heard(view: PeerView, announced: Beat) -> PeerView:
    """The view after a beat, with the peer live."""
    assert view.take(announced, float(announced.seq))
    view.judge(True, None, float(announced.seq))
    return view


def test_each_way_is_recorded_when_it_begins_and_when_it_ends() -> None:
    """The peer lacks one and has two others.

    The files are made equal in two steps: four records, and the names in between.
    """
    differences, view = ServiceMismatch("deb1", "deb2"), PeerView(OWN)
    began = differences.update({"a", "b"}, heard(view, beat(1, "a", "c", "d")))
    assert [record.new for record in began] == ["SERVICES DIFFER", "SERVICES DIFFER"] and began[
        0
    ].is_alarm
    assert (differences.own_only, differences.peer_only) == (("b",), ("c", "d"))
    assert differences.warnings() == (
        "only deb1 has service b: add it on deb2 (service -a) or remove it on deb1",
        "only deb2 has service c, d: add it on deb1 (service -a) or remove it on deb2",
    )
    assert differences.update({"a", "b"}, heard(view, beat(2, "a", "e"))) == []
    assert differences.peer_only == ("e",)
    (ended,) = differences.update({"a", "b", "e"}, view)
    assert (ended.new, ended.reason, ended.is_alarm) == (
        "SERVICES AGREE",
        "no service is on deb2 only any more",
        False,
    )
    (ended,) = differences.update({"a", "e"}, view)
    assert ended.reason == "no service is on deb1 only any more" and differences.warnings() == ()


def test_silent_peer_and_unknown_names_change_nothing() -> None:
    """Nothing is concluded from a peer that is not heard, nor from a beat whose names are not all
    known yet.
    """
    differences, view = ServiceMismatch("deb1", "deb2"), PeerView(OWN)
    assert differences.update({"a"}, view) == []
    view.judge(True, None, 0.0)
    assert differences.update({"a"}, view) == [], "a link is up, and nothing was taken yet"
    assert differences.update({"a"}, heard(view, replace(beat(1), is_complete=False))) == []
    differences.update({"a"}, heard(view, beat(2, "b")))
    view.judge(False, 3.0, 3.0)
    assert differences.update({"a", "b"}, view) == [] and differences.peer_only == ("b",)


def test_many_names_are_reported_as_a_number() -> None:
    """Five are named, the rest is counted, if there is any."""
    for count, more in ((5, ""), (6, " and 1 more"), (9, " and 4 more")):
        differences = ServiceMismatch("deb1", "deb2")
        differences.update(
            (), heard(PeerView(OWN), beat(1, *(f"svc{number}" for number in range(count))))
        )
        assert differences.warnings()[0].startswith(
            f"only deb2 has service svc0, svc1, svc2, svc3, svc4{more}: "
        )
