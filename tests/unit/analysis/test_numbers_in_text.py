"""Counts in sentences and tables for people have thousands separators everywhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any, Self, cast, get_type_hints

import pytest

from auditor.analysis.cleanup.plan import PlanTotals
from auditor.analysis.cleanup.plan_text import plan_lines, protection_lines
from auditor.analysis.cleanup.protection import ProtectionTotals
from auditor.analysis.layers import LayerTotals
from auditor.analysis.layers_text import inventory_lines
from auditor.analysis.packages import PackageTotals, unknown_lines
from auditor.analysis.stale_bases import BaseTotals, base_lines
from auditor.analysis.unused import UnusedTotals
from auditor.analysis.unused_text import unused_lines
from auditor.util.terminal import PIPE

COUNT = 1_234_567


class Nothing:
    """A result whose totals are large and whose tables are empty."""

    def __init__(self, totals: object) -> None:
        self.totals = totals

    def __getattr__(self, name: str) -> Self:
        return self

    def __call__(self, *args: object, **options: object) -> Self:
        return self

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __sub__(self, other: object) -> int:
        return 0

    def __format__(self, spec: str) -> str:
        return "0"


def filled(kind: type[Any]) -> Any:
    """An instance whose counts are all `COUNT`."""
    types = get_type_hints(kind)
    values: dict[str, Any] = {}
    for field in fields(kind):
        one = types[field.name]
        if field.name in {"schema", "kind"}:
            continue
        if one in {int, int | None}:
            values[field.name] = COUNT
        else:
            values[field.name] = (
                next(iter(cast("Any", one))) if isinstance(one, type) else None
            )
    return kind(**values)


Rendered = Callable[[Any], Iterator[str]]
COMMANDS: dict[type[Any], Rendered] = {
    PlanTotals: lambda result: plan_lines(result, "text", 0),
    ProtectionTotals: lambda result: protection_lines(result, "table", 0),
    LayerTotals: lambda result: inventory_lines(result, "text", 0, PIPE),
    PackageTotals: lambda result: unknown_lines(result.totals),
    BaseTotals: lambda result: base_lines(result, "text", 0),
    UnusedTotals: lambda result: unused_lines(result, "text", 0),
}


@pytest.mark.parametrize("kind", COMMANDS, ids=lambda kind: kind.__name__)
def test_large_counts_have_separators(kind: type[Any]) -> None:
    text = "\n".join(COMMANDS[kind](Nothing(filled(kind))))
    assert f"{COUNT:,}" in text
    assert not re.search(r"[0-9]{4}", text)
