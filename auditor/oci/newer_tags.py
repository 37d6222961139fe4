"""Which newer tag of a repository has what an older one lacks.

Tags are compared within their variant: `1.4-alpine3.19` with `1.5-alpine3.20`, but not
with `1.5`. Versions, dates and build numbers are ordered by `auditor.oci.tag_order`; a
pre-release is offered to pre-releases only. Of all other tags (`latest`, `main`, a
commit) only times say which is newer: that of the push, or of the creation.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable
from operator import itemgetter
from typing import Any

from auditor.fast_dataclass import dataclass
from auditor.oci.tag_order import RELEASE, TagClass, tag_order


@dataclass(frozen=True, slots=True, kw_only=True)
class TagContent:
    """What a tag has, such as its platforms, and its time in any unit or None."""

    tag: str
    has: Collection[str]
    time: int | None = None


# Tags that can be compared with each other, and whether they are pre-releases.
_Group = tuple[Hashable, bool]
_Place = tuple[Any, ...]


class NewerTags:
    """The tags of one repository, each asked for what newer ones have."""

    def __init__(self, tags: Iterable[TagContent]) -> None:
        self._places: dict[tuple[_Group, str], list[tuple[_Place, str]]]
        self._places = defaultdict(list)
        for content in tags:
            found = _order(content.tag, content.time)
            if found is not None:
                group, place = found
                for name in content.has:
                    self._places[group, name].append((place, content.tag))
        for places in self._places.values():
            places.sort()

    def find(self, content: TagContent, names: Iterable[str]) -> str | None:
        """The next newer tag that has one of `names`; None if there is none."""
        found = _order(content.tag, content.time)
        if found is None:
            return None
        (kind, is_pre_release), place = found
        newer: list[tuple[_Place, str]] = []
        for name in names:
            for is_pre in (False, True) if is_pre_release else (False,):
                places = self._places.get(((kind, is_pre), name), [])
                index = bisect_right(places, place, key=itemgetter(0))
                newer += places[index : index + 1]
        return min(newer)[1] if newer else None


def _order(tag: str, time: int | None) -> tuple[_Group, _Place] | None:
    """What a tag can be compared with, and its place among these."""
    order = tag_order(tag)
    if order.tag_class is TagClass.DIGEST:
        return None
    if order.tag_class in {TagClass.NAME, TagClass.LATEST}:
        return None if time is None else (("time", False), (time,))
    # `-alpine3.19` is the variant `-alpine.`, in its version 3.19.
    variant = tuple(text for is_text, _, text in order.variant if is_text)
    numbers = tuple(number for is_text, number, _ in order.variant if not is_text)
    place = (order.numbers, order.stage, order.stage_numbers, numbers)
    return ((order.tag_class, variant), order.stage != RELEASE), place


def newer_text(missing: str, newer: str | None) -> str:
    """`1.4.2 has linux/arm64`, or that no newer tag has it."""
    if newer is None:
        return f"no newer tag in the report has {missing}"
    return f"{newer} has {missing}"
