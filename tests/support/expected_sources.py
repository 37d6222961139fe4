"""The sources and labels of each reference of an input, computed the slow way.

An oracle for `auditor.input.source_table`: every reference is compared with every use,
in memory, without keys, caches or SQL.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import orjson


@dataclass(frozen=True, kw_only=True)
class Use:
    """A use of `HOST/REPOSITORY:TAG`, each of which may be a pattern."""

    reference: str
    source: dict[str, str | None]
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def names(self, reference: str) -> bool:
        """Whether it is this reference, or a pattern that matches it."""
        if reference == self.reference:
            return True
        if "@" in reference or "@" in self.reference:
            return False
        name, _, tag = reference.rpartition(":")
        own_name, _, own_tag = self.reference.rpartition(":")
        one, other = name.split("/"), own_name.split("/")
        if other[1:] == ["*"]:  # every repository
            other[1] = "**"
        if other[-1] == "**" and len(one) >= len(other):
            one = [*one[: len(other) - 1], "**"]
        return (
            len(one) == len(other)
            and all(map(fnmatchcase, one, other))
            and fnmatchcase(tag, own_tag)
        )


@dataclass(frozen=True, kw_only=True)
class ListedLines:
    """A list with a use on each line; `labels` are only in CSV and JSON lines."""

    name: str
    form: str  # text, csv or json
    uses: tuple[tuple[str, dict[str, str]], ...]

    def text(self) -> str:
        """The list as a file."""
        if self.form == "text":
            return "".join(f"{reference}\n" for reference, _ in self.uses)
        if self.form == "json":
            return "".join(
                f"{orjson.dumps(line).decode()}\n"
                for reference, labels in self.uses
                for line in ({"reference": reference, **dict(sorted(labels.items()))},)
            )
        titles = sorted({title for _, labels in self.uses for title in labels})
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["reference", *titles])
        for reference, labels in self.uses:
            rows.writerow([reference, *(labels.get(title, "") for title in titles)])
        return text.getvalue()

    def expected(self) -> list[Use]:
        """The uses, with their lines."""
        first = 2 if self.form == "csv" else 1
        return [
            Use(
                reference=reference,
                source=source(self.name, f"{self.name}:{line}"),
                labels={}
                if self.form == "text"
                else {title: [value] for title, value in sorted(labels.items())},
            )
            for line, (reference, labels) in enumerate(self.uses, first)
        ]


def source(list_: str | None, place: str, **names: str | None) -> dict[str, str | None]:
    """The object of a source in a record."""
    return {
        "list": list_,
        "place": place,
        "namespace": names.get("namespace"),
        "workload": names.get("workload"),
        "container": names.get("container"),
    }


def expected_sources(reference: str, uses: Iterable[Use]) -> dict[str, Any]:
    """The four fields of the record of a reference."""
    sources: list[dict[str, str | None]] = []
    pairs: list[tuple[str, str]] = []
    for use in uses:
        if not use.names(reference):
            continue
        if use.source not in sources:
            sources.append(use.source)
        for name, values in use.labels.items():
            for value in values:
                if (name, value) not in pairs:
                    pairs.append((name, value))
    labels: dict[str, list[str]] = {}
    size = left_out = 0
    for name, value in pairs:
        added = len(value.encode()) + (0 if name in labels else len(name.encode()))
        if size + added > 4096 or len(labels.get(name, ())) == 20:
            left_out += 1
        else:
            size += added
            labels.setdefault(name, []).append(value)
    return {
        "sources": sources[:20],
        "sources_left_out": max(0, len(sources) - 20),
        "input_labels": {name: sorted(labels[name]) for name in sorted(labels)},
        "input_labels_left_out": left_out,
    }
