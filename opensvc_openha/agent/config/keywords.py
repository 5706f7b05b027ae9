"""Classes of the schema of service files: what a keyword and a kind of section are."""

from __future__ import annotations

import enum
from collections.abc import Mapping

from opensvc_openha.agent.config.value_types import T_co, ValueType
from opensvc_openha.hints import TYPE_CHECKING, Any, Generic
from opensvc_openha.named_tuples import NamedTuple

if TYPE_CHECKING:
    from typing import Final, Literal


class Required(enum.Enum):
    """In place of a default: the keyword must be set."""

    REQUIRED = "required"


REQUIRED: Final = Required.REQUIRED


# Named tuples: to make a class a dataclass takes every command most of a millisecond.
class Keyword(NamedTuple, Generic[T_co]):
    """One keyword: its value and its documentation, in one sentence or two."""

    name: str
    type: ValueType[T_co]
    default: T_co | Literal[Required.REQUIRED]
    text: str = ""
    aliases: tuple[str, ...] = ()
    """Other names that agents accept."""
    required_when: str = ""
    """Condition that other sections decide about; checked where they are known."""
    is_scoped: bool = True
    """False if it needs one value for all nodes: no ``keyword@node``."""
    is_lenient: bool = False
    """True if an invalid value in a resource is reported, but ends no action."""
    is_ignored: bool = False
    """True if it is accepted because other agents know it, and has no effect."""

    @property
    def names(self) -> tuple[str, ...]:
        """All names of the keyword, its own first."""
        return (self.name, *self.aliases)


AnyKeyword = Keyword[Any]


class Kind(NamedTuple):
    """One kind of section, ``[group#N]``, with the keywords of each of its types.

    A kind without types has one entry, for the empty text. A kind without entries is only shown.
    """

    group: str
    text: str
    types: Mapping[str, tuple[AnyKeyword, ...]]
    default_type: str = ""
    open_type: str = ""
    """Beginning of types whose further keywords are declared elsewhere; in ``types`` with a `*`."""
    shown: str = ""
    """Types of the OpenSVC agent, separated by blanks, that are neither started nor stopped."""
    shown_in: str = ""
    """Group of the status tree, if its name is not that of the section."""

    @property
    def shown_types(self) -> tuple[str, ...]:
        """Types of which a resource is only shown."""
        return tuple(self.shown.split())
