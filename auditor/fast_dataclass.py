"""Dataclasses that cost little to define and little to make.

The standard library compiles six functions for each frozen dataclass (before Python
3.13, one by one), which took a third of the start of an audit, and its frozen
`__init__` sets each field through `object.__setattr__`, which took a tenth of the
interpreter's time of a request. Here only `__init__` is compiled, equality and hash
are those of an `attrgetter`, and what is `frozen` is frozen by the type checker:
mypy sees the standard library's own `dataclass` and refuses every assignment;
slots refuse names that there are not, as ever. `dataclasses.fields`, `replace` and the
rest work on these classes as on all others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass  # noqa: PLC0414
else:
    import dataclasses
    from operator import attrgetter

    def dataclass(cls=None, /, *, frozen=False, eq=True, order=False, **options):
        """The standard library's decorator, as far as it is used here."""

        def decorate(cls):
            own = cls.__dict__
            written = {
                name for name in ("__eq__", "__hash__", "__repr__") if name in own
            }
            # A set of slots makes a new class.
            cls = dataclasses.dataclass(cls, eq=False, repr=False, **options)
            if eq and "__eq__" not in written:
                _compare(cls, hashable=frozen, written=written)
            if "__repr__" not in written:
                cls.__repr__ = _repr
            return cls

        if order:
            return dataclasses.dataclass(
                cls, frozen=frozen, eq=eq, order=order, **options
            )
        return decorate if cls is None else decorate(cls)

    def _compare(cls, *, hashable, written):
        names = [field.name for field in dataclasses.fields(cls) if field.compare]
        values = attrgetter(*names) if names else _nothing

        def equal(self, other):
            if other.__class__ is self.__class__:
                return values(self) == values(other)
            return NotImplemented

        def hashed(self):
            return hash(values(self))

        cls.__eq__ = equal
        if "__hash__" not in written:
            cls.__hash__ = hashed if hashable else None

    def _nothing(_):
        return ()

    def _repr(self):
        shown = ", ".join(
            f"{field.name}={getattr(self, field.name)!r}"
            for field in dataclasses.fields(self)
            if field.repr
        )
        return f"{type(self).__qualname__}({shown})"
