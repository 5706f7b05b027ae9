"""When a node falls silent on purpose, and when it speaks again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from opensvc_openha.core.actions import RecordKind
from opensvc_openha.core.beat import BootId
from opensvc_openha.core.own_silence import OwnSilence
from opensvc_openha.core.peer_view import PeerView
from opensvc_openha.core.service_machine import Moment

AT = Moment(100.0, PeerView(BootId(1, 1)), None, 1)


@dataclass
class Service:
    """What a machine answers: why its service needs no silence, and why it forbids one."""

    why_not_needed: str = ""
    harm: str = ""

    def why_not_given_up(self, at: Moment) -> str:
        assert at is AT
        return self.why_not_needed

    def why_not_silent(self, at: Moment) -> str:
        assert at is AT
        return self.harm


class Rig:
    """The silence of deb1."""

    def __init__(self, **services: Service) -> None:
        self.silence = OwnSilence("deb1", "deb2")
        self.services = services

    def update(self, *given_up: str, is_over: bool = False) -> list[tuple[str, str, str]]:
        """Return what is recorded."""
        records = self.silence.update(cast(Any, self.services), given_up, is_over, AT)
        for record in records:
            assert record.kind is RecordKind.NODE and record.name == "deb1" and record.is_alarm
        return [(record.old, record.new, record.reason) for record in records]


def test_node_speaks_at_first() -> None:
    """And nothing is recorded of that."""
    rig = Rig(web=Service())
    assert (rig.silence.is_kept, rig.silence.services, rig.silence.why_not) == (False, (), "")
    assert rig.update() == [] and not rig.silence.is_kept


def test_silence_is_kept_for_services_that_are_given_up_and_need_it() -> None:
    """Recorded once, with their names; one that is not managed any more counts no longer."""
    rig = Rig(web=Service(), mail=Service(), db=Service("db is STOPPED"))
    ((old, new, reason),) = rig.update("web", "mail", "db", "gone")
    assert (old, new) == ("", "FELL SILENT")
    assert reason == (
        "to be reset or fenced: mail, web cannot be stopped while its disks do not answer here,"
        " and deb2 reads them"
    )
    assert rig.silence.is_kept and rig.silence.services == ("mail", "web")
    assert rig.update("web", "mail") == [] and rig.silence.is_kept
    del rig.services["mail"]
    assert rig.update("web") == [] and rig.silence.services == ("web",)


def test_silence_goes_on_for_a_service_that_is_not_in_the_list_any_more() -> None:
    """It is asked again whether it needs it."""
    rig = Rig(web=Service())
    rig.update("web")
    assert rig.update() == [] and rig.silence.is_kept
    rig.services["web"].why_not_needed = "web is STOPPED"
    assert rig.update() == [("FELL SILENT", "SPEAKS AGAIN", "web is STOPPED")]
    assert not rig.silence.is_kept and rig.silence.services == ()
    assert rig.update() == []


def test_first_service_that_needs_it_no_longer_is_the_reason() -> None:
    """One that has left without a reason is passed over."""
    rig = Rig(a=Service(), web=Service())
    rig.update("a", "web")
    del rig.services["a"]
    rig.services["web"].why_not_needed = "the peer runs web"
    assert rig.update() == [("FELL SILENT", "SPEAKS AGAIN", "the peer runs web")]
    rig = Rig(a=Service())
    rig.update("a")
    rig.services.clear()
    assert rig.update() == [("FELL SILENT", "SPEAKS AGAIN", "")]


def test_node_that_leaves_speaks_again() -> None:
    """It says goodbye."""
    rig = Rig(web=Service())
    rig.update("web")
    assert rig.update("web", is_over=True) == [
        ("FELL SILENT", "SPEAKS AGAIN", "its daemon is leaving")
    ]
    assert rig.update("web", is_over=True) == [] and not rig.silence.is_kept


def test_node_is_not_silent_while_another_service_would_be_harmed() -> None:
    """Recorded once for each reason; then it falls silent."""
    rig = Rig(web=Service(), mail=Service(harm="mail is frozen as started here"))
    assert rig.update("web") == [
        (
            "",
            "NOT SILENT",
            "although web was given up, and its stop hangs: mail is frozen as started here",
        )
    ]
    assert not rig.silence.is_kept and rig.silence.services == ("web",)
    assert rig.silence.why_not == "mail is frozen as started here"
    assert rig.update("web") == []
    rig.services["mail"].harm = "other"
    assert [new for _, new, _ in rig.update("web")] == ["NOT SILENT"]
    rig.services["mail"].harm = ""
    assert [new for _, new, _ in rig.update("web")] == ["FELL SILENT"]
    assert rig.silence.why_not == ""


def test_reason_that_is_gone_with_the_need_is_no_news() -> None:
    """The service was stopped after all."""
    rig = Rig(web=Service(), mail=Service(harm="mail is frozen as started here"))
    rig.update("web")
    rig.services["web"].why_not_needed = "web is STOPPED"
    assert rig.update("web") == [] and rig.silence.why_not == ""


def test_node_speaks_again_when_another_service_would_be_harmed() -> None:
    """That is the reason, before those of the services that are given up."""
    rig = Rig(web=Service(), mail=Service())
    rig.update("web")
    rig.services["mail"].harm = "mail is frozen as started here"
    assert rig.update("web") == [("FELL SILENT", "SPEAKS AGAIN", "mail is frozen as started here")]


def test_harm_is_none_while_no_service_needs_the_silence() -> None:
    """Nothing is said of it."""
    rig = Rig(web=Service("web is STARTED"), mail=Service(harm="mail is frozen as started here"))
    assert rig.update("web") == [] and rig.silence.why_not == ""
