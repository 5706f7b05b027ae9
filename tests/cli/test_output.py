"""Every printed line, compared with the tutorial byte for byte."""

from __future__ import annotations

import time

import pytest

from opensvc_openha.cli import output
from opensvc_openha.core.actions import Answer, AnswerCode
from opensvc_openha.core.events import Command
from opensvc_openha.core.model import LinkSpec
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.core.status import LinkStatus, NodeStatus, PeerStanding, ServiceStatus

DEB1, DEB2 = "deb1.opensvc.com", "deb2.opensvc.com"
JUNE_19 = time.mktime((2014, 6, 19, 8, 10, 49, 0, 0, -1))


def _net(address: str) -> LinkSpec:
    return LinkSpec(DEB1, "net", "eth1", address, 5010, 0, 10.0)


def _dio(offset: int) -> LinkSpec:
    return LinkSpec(DEB1, "dio", "/dev/mapper/disk.hb.0", "", 0, offset, 10.0)


def _status(registry: tuple[S, S], busybox: tuple[S, S], *links: LinkStatus) -> NodeStatus:
    services = tuple(
        ServiceStatus(name, DEB1, DEB2, *states, states[0], states[1])
        for name, states in (("registry", registry), ("busybox", busybox))
    )
    return NodeStatus(DEB1, DEB2, 25024, PeerStanding.LIVE, "heard", links, services)


def test_service_table_is_the_tutorials() -> None:
    """`service -s -c` of the tutorial.

    Every line is padded to the last column as in the captured output.
    """
    shown = output.service_table(_status((S.STARTED, S.STOPPED), (S.START_READY, S.FROZEN_STOP)))
    assert (
        shown
        == "service          prinode          pristate       secnode          secstate      \n"
        "registry         deb1.opensvc.com STARTED        deb2.opensvc.com STOPPED       \n"
        "busybox          deb1.opensvc.com START_READY    deb2.opensvc.com FROZEN_STOP   \n"
    )


def test_service_list_is_the_originals() -> None:
    """`service -s`: the first line ends with two blanks, as captured."""
    shown = output.service_list(_status((S.STARTED, S.STOPPED), (S.STARTED, S.STOPPED)))
    assert (
        shown == "2 service(s) defined:  \nService: registry\n\tPrimary  : deb1.opensvc.com,"
        " STARTED\n\tSecondary: deb2.opensvc.com, STOPPED\nService: busybox\n\tPrimary  :"
        " deb1.opensvc.com, STARTED\n\tSecondary: deb2.opensvc.com, STOPPED\n"
    )


def test_service_info_is_the_originals() -> None:
    """`service -i` on either node: the role, then primary and secondary state."""
    status = _status((S.STARTED, S.STOPPED), (S.STARTED, S.STOPPED))
    service = status.service("registry")
    assert service is not None
    assert (
        output.service_info(status, service)
        == "we are Primary for service registry\nService: registry\t state: STARTED , STOPPED\n"
    )


def test_link_lines_are_the_tutorials() -> None:
    """`hb -s`: senders and listeners, up with pid and time, down without."""
    links = (
        LinkStatus(_net("239.131.50.10"), True, True, 25004, JUNE_19),
        LinkStatus(_net("239.131.50.12"), False, False, 12413, JUNE_19),
        LinkStatus(_dio(0), False, True, 25016, JUNE_19),
        LinkStatus(_dio(10), True, True, 12422, JUNE_19),
    )
    assert (
        output.link_list(_status((S.STARTED, S.STOPPED), (S.STARTED, S.STOPPED), *links))
        == "net sender eth1:239.131.50.10 pid 25004 status UP, updated at Jun 19 08:10:49\n"
        "net listener eth1:239.131.50.12 status DOWN\n"
        "dio listener /dev/mapper/disk.hb.0:0 pid 25016 status UP, updated at Jun 19 08:10:49\n"
        "dio sender /dev/mapper/disk.hb.0:10 pid 12422 status UP, updated at Jun 19 08:10:49\n"
    )


@pytest.mark.parametrize(
    ("word", "own", "peer", "line"),
    [
        (
            AnswerCode.READY_UNFREEZE,
            S.FROZEN_STOP,
            S.FROZEN_STOP,
            "Ready to UNFREEZE, we are (FROZEN_STOP)",
        ),
        (AnswerCode.UNFROZEN, S.STOPPED, S.FROZEN_STOP, "Service registry UNFROZEN"),
        (AnswerCode.READY_FREEZE_STOP, S.STARTED, S.STOPPED, "Ready to FREEZE, we are STARTED"),
        (
            AnswerCode.READY_STOP,
            S.STARTED,
            S.STOPPED,
            "Ready to stop registry: partner node is STOPPED we are STARTED",
        ),
        (AnswerCode.STOPPED, S.STOPPED, S.STOPPED, "Service registry successfully stopped"),
        (AnswerCode.FROZEN_STOP, S.FROZEN_STOP, S.STOPPED, "Service registry FROZEN-STOP"),
        (
            AnswerCode.READY_FREEZE_START,
            S.STARTED,
            S.STOPPED,
            "Ready to FREEZE registry: we are STARTED",
        ),
        (AnswerCode.FROZEN_START, S.FROZEN_START, S.STOPPED, "Service registry FROZEN-START"),
        (
            AnswerCode.READY_START,
            S.STOPPED,
            S.UNKNOWN,
            "Ready to start registry: partner node is UNKNOWN , we are STOPPED",
        ),
        (AnswerCode.STARTED, S.STARTED, S.UNKNOWN, "Service registry successfully started"),
        (
            AnswerCode.READY_FORCE_STOP,
            S.FROZEN_STOP,
            S.STOPPED,
            "Ready to force stop registry: partner node is STOPPED, we are FROZEN_STOP",
        ),
        (AnswerCode.FORCED_START, S.STARTED, S.STOPPED, "Service registry forced to started"),
        (
            AnswerCode.STAYS_HERE,
            S.STARTED,
            S.FROZEN_STOP,
            "PARTNER is not in STOPPED state: service will not migrate",
        ),
        (
            AnswerCode.NOT_CONFIGURED,
            S.UNKNOWN,
            S.UNKNOWN,
            "we are not primary nor secondary for service registry",
        ),
    ],
)
def test_answers_are_the_originals_words(word: AnswerCode, own: S, peer: S, line: str) -> None:
    """What an action reports, where the tutorial and the original differ as in the tutorial."""
    assert output.answer_line(Answer(1, "stop", "registry", word, own, peer)) == line


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (
            "start",
            (
                "Cannot start registry: service not in correct state (partner node is STARTED, we"
                " are STOPPED)"
            ),
        ),
        (
            "stop",
            (
                "Cannot stop registry: service not in correct state (partner node is STARTED, we"
                " are STOPPED)"
            ),
        ),
        ("unfreeze", "Cannot UNFREEZE registry: not in FREEZE state (we are STOPPED)"),
        (
            "freeze-stop",
            "Cannot FREEZE-STOP registry: service not in STARTED/STOPPED state (we are STOPPED)",
        ),
        (
            "freeze-start",
            "Cannot FREEZE-START registry: service not in STARTED/STOPPED state (we are STOPPED)",
        ),
    ],
)
def test_refusals_are_the_originals_words(command: str, line: str) -> None:
    """What an action reports when the state does not allow it."""
    assert (
        output.answer_line(Answer(1, command, "registry", AnswerCode.REFUSED, S.STOPPED, S.STARTED))
        == line
    )


def test_every_word_and_command_has_a_text() -> None:
    """No answer of the engine ends in a traceback."""
    for word in AnswerCode:
        for command in Command:
            line = output.answer_line(
                Answer(1, command.value, "registry", word, S.STARTED, S.STOPPED, "why")
            )
            assert line and "\n" not in line
