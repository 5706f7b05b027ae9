"""Which services a node managed when its daemon last looked, and which of those it keeps."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from opensvc_openha.core.model import ServiceSpec
from opensvc_openha.core.states import ServiceState
from opensvc_openha.formats.layout import Layout, tree_layout
from opensvc_openha.formats.state_file import StoredState
from opensvc_openha.storage.managed_list import (
    kept_services,
    managed_names,
    may_run,
    record_managed,
)
from opensvc_openha.storage.state_store import StateStore, write_state

S = ServiceState
MAIL = ServiceSpec("mail", "/opt/mail", "deb1", "deb2", "/bin/true")
WEB = ServiceSpec("web", "/opt/web", "deb2", "deb1", "/opt/web.stonith")
_STOPPED = {S.STOPPED, S.FROZEN_STOP, S.START_READY, S.FORCE_STOP}
"""In these nothing of a service is in use."""


@pytest.fixture(name="layout")
def make_layout(tmp_path: Path) -> Layout:
    """Of a node that has run nothing yet."""
    layout = tree_layout(str(tmp_path))
    os.makedirs(layout.proc_dir)
    return layout


def test_nothing_was_managed_before_the_first_start(layout: Layout) -> None:
    """Nor is anything known where the file cannot be read, or is no text."""
    assert managed_names(layout) == set() and kept_services(layout, "deb1", ()) == ()
    Path(layout.proc_dir, "managed").write_bytes(b"web\xff\n")
    assert managed_names(layout) == set()
    os.unlink(f"{layout.proc_dir}/managed")
    os.mkdir(f"{layout.proc_dir}/managed")
    assert managed_names(layout) == set()
    record_managed(layout, "deb1", (WEB,))  # Cannot be written: no error.


@pytest.mark.parametrize("state", list(S))
def test_service_that_was_taken_out_is_kept_with_its_definition_while_it_may_run(
    layout: Layout, state: ServiceState
) -> None:
    """By its STATE file, over as many restarts as it takes.

    One that is still managed is not listed twice.
    """
    write_state(layout, "web", "deb1", StoredState(state))
    write_state(layout, "mail", "deb1", StoredState(S.STARTED))
    record_managed(layout, "deb1", (MAIL, WEB))
    kept = () if state in _STOPPED else (WEB,)
    store = StateStore(layout, "deb1", "deb2")
    for _ in range(2):
        assert kept_services(layout, "deb1", (MAIL,)) == store.kept((MAIL,)) == kept
        store.record_managed((MAIL,))
        assert managed_names(layout) == {"mail", *(svc.name for svc in kept)}
    # Written over by the definition of today where it was added again.
    assert kept_services(layout, "deb1", (MAIL, WEB)) == ()


def test_service_may_run_unless_its_file_states_that_it_does_not(layout: Layout) -> None:
    """No file: it never did. A damaged one, or one that cannot be read, reports nothing."""
    assert may_run(layout, "deb1", "web") is False
    path = Path(layout.state_file("web", "deb1"))
    path.parent.mkdir()
    path.write_bytes(b"damaged")
    assert may_run(layout, "deb1", "web") is True
    path.unlink()
    path.mkdir()
    assert may_run(layout, "deb1", "web") is True


def test_list_of_a_former_version_and_a_damaged_line_give_names_alone(layout: Layout) -> None:
    """What cannot be run is not kept, but its loss is noticed; empty lines are nothing."""
    for name in ("web", "mail", "shop"):
        write_state(layout, name, "deb1", StoredState(S.STARTED))
    Path(layout.proc_dir, "managed").write_text(
        "shop\n\nweb /opt/web deb2 deb1 /opt/web.stonith\n  \nmail /opt/mail deb1\nweb /opt/web"
        " deb2 deb1 /opt/web.stonith\n"
    )
    assert managed_names(layout) == {"web", "mail", "shop"}
    assert kept_services(layout, "deb1", ()) == (WEB,)


def test_list_is_no_reason_to_wait_for_the_disk(layout: Layout, mocker: MockerFixture) -> None:
    """It is written in the engine's way, at each change of the configuration."""
    waits = mocker.spy(os, "fsync")
    record_managed(layout, "deb1", (MAIL, WEB))
    assert not waits.called and managed_names(layout) == {"mail", "web"}
