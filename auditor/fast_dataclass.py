"""Dataclasses that are cheap to define and cheap to create.

The standard library compiles six functions for each frozen dataclass, which was a third
of the start-up time of an audit, and its frozen `__init__` sets each field through
`object.__setattr__`, which was a tenth of the interpreter time of a request. Here only
`__init__` is compiled; equality and hash compare the values of an `attrgetter`.

`frozen` is enforced by the type checker, not at run time: mypy sees the standard
`dataclass` and rejects assignments. `dataclasses.fields` and `replace` work as usual.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass  # noqa: PLC0414
else:
    import dataclasses
    from operator import attrgetter

    def dataclass(cls=None, /, *, frozen=False, eq=True, order=False, **options):
        """The standard decorator with the options that this package uses."""

        def decorate(cls):
            # With slots=True `dataclass` returns a new class: look before it is called.
            defined = {"__eq__", "__hash__", "__repr__"} & cls.__dict__.keys()
            cls = dataclasses.dataclass(cls, eq=False, repr=False, **options)
            if eq and "__eq__" not in defined:
                _add_comparison(cls, hashable=frozen, defined=defined)
            if "__repr__" not in defined:
                cls.__repr__ = _repr
            return cls

        if order:
            return dataclasses.dataclass(
                cls, frozen=frozen, eq=eq, order=order, **options
            )
        return decorate if cls is None else decorate(cls)

    def _add_comparison(cls, *, hashable, defined):
        names = [field.name for field in dataclasses.fields(cls) if field.compare]
        values = attrgetter(*names) if names else _nothing

        def equal(self, other):
            if other.__class__ is self.__class__:
                return values(self) == values(other)
            return NotImplemented

        def hashed(self):
            return hash(values(self))

        cls.__eq__ = equal
        if "__hash__" not in defined:
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
