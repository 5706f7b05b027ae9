"""What the findings of a node mean for one of its services."""

from __future__ import annotations

from opensvc_openha.core.outlook import Finding, Outlook, Ready, Severity, in_order, outlook_of

MISSING = Finding(Severity.ERROR, "n2", "web", "devices", "no disk", "plug it in", stops_start=True)
DIFFERS = Finding(Severity.ERROR, "", "web", "files", "web.env differs")
HANGS = Finding(Severity.UNKNOWN, "n2", "web", "time", "no answer")
OLD = Finding(Severity.WARNING, "n2", "web", "sync", "copy is old")
FINE = Finding(Severity.OK, "n2", "web", "names", "resolves")
NO_ROOM = Finding(Severity.ERROR, "n2", "", "room", "disk full", stops_start=True)
LINK_DOWN = Finding(Severity.ERROR, "n2", "", "links", "link is down")


def test_heaviest_finding_decides() -> None:
    """An error means no, what is not known unknown, a warning is named beside a yes."""
    assert outlook_of("web", [OLD, HANGS, DIFFERS]) == Outlook(Ready.NO, "web.env differs")
    assert outlook_of("web", [OLD, HANGS]) == Outlook(Ready.UNKNOWN, "no answer")
    assert outlook_of("web", [FINE, OLD]) == Outlook(Ready.YES, "copy is old")
    assert outlook_of("web", [FINE]) == outlook_of("db", [MISSING, OLD]) == Outlook(Ready.YES)


def test_what_is_sure_to_fail_a_start_comes_first_with_what_to_do() -> None:
    """How many more there are is said; where the rest is, too."""
    more = " (and 1 more: openha check)"
    sure = Outlook(Ready.NO, f"no disk: plug it in{more}", is_sure=True)
    assert outlook_of("web", [DIFFERS, MISSING]) == sure


def test_what_concerns_all_services_of_a_node_is_room_and_proof() -> None:
    """A link that is down keeps no service from starting."""
    assert outlook_of("web", [NO_ROOM, LINK_DOWN]) == Outlook(Ready.NO, "disk full", is_sure=True)
    assert outlook_of("web", [LINK_DOWN]) == Outlook(Ready.YES)


def test_findings_are_listed_once_the_heaviest_first() -> None:
    """Otherwise in the order in which they were found."""
    assert in_order([OLD, HANGS, MISSING, OLD, DIFFERS]) == [MISSING, DIFFERS, OLD, HANGS]
