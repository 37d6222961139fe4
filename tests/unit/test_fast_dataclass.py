"""`fast_dataclass` behaves like the standard library, but does not enforce frozen."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from dataclasses import field
from typing import Any

import orjson
import pytest

from auditor.fast_dataclass import dataclass


def _pair(decorate: Any, **options: Any) -> tuple[type[Any], type[Any], type[Any]]:
    @decorate(**options)
    class Value:
        name: str
        hidden: str = field(default="-", repr=False)
        ignored: int = field(default=0, compare=False)
        many: tuple[int, ...] = ()

    @decorate(**options)
    class One:
        name: str

    @decorate(**options)
    class Nothing:
        pass

    return Value, One, Nothing


OPTIONS: list[dict[str, Any]] = [
    {"frozen": True, "slots": True, "kw_only": True},
    {"frozen": True, "slots": True},
    {"frozen": True, "slots": True, "order": True},
    {"frozen": True, "eq": False},
    {"slots": True},
    {},
]


def _made(classes: tuple[type[Any], type[Any], type[Any]]) -> list[Any]:
    value, one, nothing = classes
    return [
        value(name="a"),
        value(name="a"),
        value(name="a", ignored=5),
        value(name="a", hidden="+", many=(1, 2)),
        value(name="b"),
        one(name="a"),
        one(name="b"),
        nothing(),
        nothing(),
        "a",
    ]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_equality_hash_and_repr_are_those_of_the_standard_library(
    options: dict[str, Any],
) -> None:
    ours = _made(_pair(dataclass, **options))
    theirs = _made(_pair(dataclasses.dataclass, **options))
    assert [repr(one) for one in ours] == [repr(one) for one in theirs]
    assert [[one == other for other in ours] for one in ours] == [
        [one == other for other in theirs] for one in theirs
    ]
    for one, other in zip(ours[:-1], theirs[:-1], strict=True):
        assert dataclasses.asdict(one) == dataclasses.asdict(other)
        assert orjson.dumps(one) == orjson.dumps(other)
        assert type(one).__match_args__ == type(other).__match_args__
        assert (type(one).__hash__ is None) == (type(other).__hash__ is None)
        if type(one).__hash__ is not None:
            assert [hash(one) == hash(also) for also in ours if also == one] == [
                hash(other) == hash(also) for also in theirs if also == other
            ]
            assert dataclasses.replace(one) == one or not options.get("eq", True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """At module level, so that it can be pickled."""

    x: int
    y: list[int]


def test_values_can_be_copied_and_pickled() -> None:
    point = Point(x=1, y=[2])
    assert copy.deepcopy(point) == pickle.loads(pickle.dumps(point)) == point  # noqa: S301
    with pytest.raises(AttributeError):
        point.z = 3  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        Point(x=1)  # type: ignore[call-arg]


def test_methods_that_a_class_defines_are_kept() -> None:
    @dataclass(frozen=True, slots=True)
    class Own:
        name: str

        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 7

        def __repr__(self) -> str:
            return "own"

    assert Own("a") == 5
    assert (hash(Own("a")), repr(Own("a"))) == (7, "own")
