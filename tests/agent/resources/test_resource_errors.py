"""How an action names the resource that an error is about: once."""

from __future__ import annotations

import pytest

from opensvc_openha.agent.resources.base import ResourceSpec
from opensvc_openha.agent.service.runner import _checked
from opensvc_openha.agent.values.resource_status import Group
from opensvc_openha.errors import ActionError, OpenhaError, SystemFault

SPEC = ResourceSpec("fs#1", Group.FS, "fs.ext4", "a file system")


class _Part:
    spec = SPEC


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (SPEC.error(ActionError, "no device"), ActionError, "fs#1: no device"),
        (ActionError("no device"), ActionError, "fs#1: no device"),
        (SystemFault("no room"), SystemFault, "fs#1: no room"),
        (OSError("refused"), SystemFault, "fs#1: refused"),
        (
            ActionError("fs#1: is what mount printed"),
            ActionError,
            "fs#1: fs#1: is what mount printed",
        ),
    ],
)
def test_error_of_a_step_names_its_resource_once(
    error: Exception, kind: type[OpenhaError], text: str
) -> None:
    """Whatever its own words begin with: only an error that carries the id is left as it is."""

    def step() -> None:
        raise error

    with pytest.raises(kind) as raised:
        _checked(_Part(), step)  # type: ignore[arg-type]
    assert str(raised.value) == text and raised.value.rid == SPEC.rid
