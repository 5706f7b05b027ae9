"""Named tuples whose classes cost a command next to nothing.

The standard library compiles the annotation of each field and a constructor for each class, which
took a fifth of the processor time of a command of the agent. Here all classes share their methods.
What they do is the same, and so is what type checkers see.
"""

from __future__ import annotations

from operator import itemgetter

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple
else:

    class _Maker(type):
        """Makes the fields of a class from its annotations, which are text, and their defaults."""

        def __new__(cls, name, bases, namespace, **more):
            annotations = namespace.get("__annotations__")
            namespace["__slots__"] = ()
            if annotations:
                fields = tuple(annotations)
                namespace["_fields"] = namespace["__match_args__"] = fields
                namespace["_field_defaults"] = {
                    field: namespace[field] for field in fields if field in namespace
                }
                for place, field in enumerate(fields):
                    namespace[field] = property(itemgetter(place))
            return super().__new__(cls, name, bases, namespace, **more)

    class NamedTuple(tuple, metaclass=_Maker):
        """A tuple with names for its places, as that of ``typing``."""

        _fields = ()
        _field_defaults = {}

        def __new__(cls, /, *args, **kwargs):  # noqa: D102 - as any class
            if kwargs or len(args) != len(cls._fields):
                args = _filled(cls, args, kwargs)
            return tuple.__new__(cls, args)

        @classmethod
        def _make(cls, iterable):
            made = tuple.__new__(cls, iterable)
            if len(made) != len(cls._fields):
                raise TypeError(f"Expected {len(cls._fields)} arguments, got {len(made)}")
            return made

        def _replace(self, /, **kwargs):
            if not kwargs.keys() <= set(self._fields):
                raise ValueError(f"Got unexpected field names: {list(kwargs)!r}")
            return tuple.__new__(type(self), map(kwargs.get, self._fields, self))

        def _asdict(self):
            return dict(zip(self._fields, self))

        def __repr__(self):
            parts = (f"{field}={value!r}" for field, value in zip(self._fields, self))
            return f"{type(self).__name__}({', '.join(parts)})"

        def __getnewargs__(self):
            return tuple(self)

    def _filled(cls, args, kwargs):
        """Return the value of each field; TypeError if they are too many or too few."""
        left = cls._fields[len(args) :]
        values = {**cls._field_defaults, **kwargs}
        missing = [field for field in left if field not in values]
        if missing or len(args) > len(cls._fields) or not kwargs.keys() <= set(left):
            raise TypeError(
                f"{cls.__name__} takes {', '.join(cls._fields)}: given were {len(args)} by place,"
                f" and {', '.join(kwargs) or 'none'} by name"
            )
        return (*args, *(values[field] for field in left))
