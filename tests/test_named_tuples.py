"""Named tuples that share their methods do what those of the standard library do."""

from __future__ import annotations

import copy
import pickle
import typing
from typing import Any, Generic, TypeVar

import pytest

from opensvc_openha import named_tuples
from opensvc_openha.agent.values.resource_status import Finding, ResourceStatus

T = TypeVar("T")


def _classes(base: Any) -> tuple[Any, Any]:
    class Place(base, Generic[T]):  # type: ignore[misc]
        """Has defaults, a method and a parameter."""

        name: str
        line: int = 0
        words: tuple[T, ...] = ()

        @property
        def shown(self) -> str:
            return f"{self.name}:{self.line}"

    class Named(base):  # type: ignore[misc]
        """Is shown by its name."""

        name: str

        def __repr__(self) -> str:
            return self.name

    return Place, Named


OURS = _classes(named_tuples.NamedTuple)
LIBRARY = _classes(typing.NamedTuple)


@pytest.mark.parametrize("place, named", [OURS, LIBRARY], ids=["ours", "library"])
def test_both_do_the_same(place: Any, named: Any) -> None:
    """Made by place and by name, shown, compared, taken apart, changed and copied."""
    one = place("web", words=("a",))
    assert one == ("web", 0, ("a",)) == place(name="web", words=("a",), line=0)
    assert repr(one) == "Place(name='web', line=0, words=('a',))" and repr(named("web")) == "web"
    assert (one.name, one.shown, hash(one)) == ("web", "web:0", hash(tuple(one)))
    assert one._replace(line=3) == place("web", 3, ("a",)) and one._replace(line=None)[1] is None
    assert one._asdict() == {"name": "web", "line": 0, "words": ("a",)}
    assert place._make(("db", 1, ())) == place("db", 1)
    assert (place._fields, place._field_defaults) == (
        ("name", "line", "words"),
        {"line": 0, "words": ()},
    )
    for copied in (copy.copy(one), copy.deepcopy(one), one._replace()):
        assert copied == one and type(copied) is place
    match one:
        case place(name, line):
            assert (name, line) == ("web", 0)


@pytest.mark.parametrize("place, named", [OURS, LIBRARY], ids=["ours", "library"])
@pytest.mark.parametrize(
    "args, kwargs",
    [
        ((), {}),
        ((), {"line": 1}),
        (("web", 1, (), 2), {}),
        (("web",), {"name": "web"}),
        (("web",), {"row": 1}),
    ],
)
def test_wrong_fields_are_refused(
    place: Any, named: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """Missing, too many, given twice, unknown; and none is changed or added later."""
    with pytest.raises(TypeError):
        place(*args, **kwargs)
    with pytest.raises(TypeError):
        place._make(("web",))
    with pytest.raises((TypeError, ValueError), match="row"):  # The former since 3.13.
        place("web")._replace(row=1)
    for name in ("name", "row"):
        with pytest.raises(AttributeError):
            setattr(named("web"), name, "db")


def test_those_of_the_package_can_be_sent_to_another_process() -> None:
    """With the type of each value."""
    found = Finding(ResourceStatus.UP, ("fine",))
    assert pickle.loads(pickle.dumps(found)) == found
    assert typing.get_type_hints(Finding)["status"] is ResourceStatus
