"""What can have become of a reference between two reports."""

from __future__ import annotations

import re
from dataclasses import field
from enum import StrEnum

from auditor.errors import UsageError
from auditor.fast_dataclass import dataclass
from auditor.model import SCHEMA


class Change(StrEnum):
    """The one class that a reference of either report is in.

    The order is that in which people want to read them.
    """

    FAILING = "failing"  # fails now; was an image, or was not there
    UNREACHED = "unreached"  # the new run was ended before it came to it
    REMOVED = "removed"  # was an image; is not in the new report
    UNLISTED = "unlisted"  # not in the new report, whose listing of it failed
    MOVED = "moved"  # an image in both, with another digest
    ALTERED = "altered"  # the same digest; other architectures or attachments
    ADDED = "added"  # an image that was not in the old report
    RELISTED = "relisted"  # an image that the old report could not list or reach
    HEALED = "healed"  # failed, is an image now
    DROPPED = "dropped"  # failed, is not in the new report
    STILL_FAILING = "still_failing"
    UNCHANGED = "unchanged"

    @property
    def is_difference(self) -> bool:
        """Whether it is worth a line."""
        return self not in {Change.STILL_FAILING, Change.UNCHANGED}


class Facet(StrEnum):
    """What else may be said of an image that is in both reports."""

    LOST = "architectures_lost"
    GAINED = "architectures_gained"
    UNATTACHED = "attachments_lost"
    ATTACHED = "attachments_gained"
    GROWN = "grown"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A reference in one report: an image (`digest`) or a failure (`failure`)."""

    reference: str
    digest: str | None
    size: int | None
    failure: str | None
    detail: str | None
    audited_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Grown:
    """A platform whose compressed layers grew, in bytes; null is an artifact's."""

    platform: str | None
    old_size: int
    new_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A reference that is not as it was; one line of `--format jsonl`.

    `reference` and its parts are the new report's where it is there. `old` or `new`
    is null where that report has no line of it. Attachments are `signature`, `sbom`
    and `provenance`, where both reports say whether there is one.
    """

    schema: int = SCHEMA
    kind: str = "difference"
    change: Change
    reference: str
    registry: str | None
    repository: str | None
    tag: str | None
    old: State | None
    new: State | None
    architectures_gained: tuple[str, ...]
    architectures_lost: tuple[str, ...]
    attachments_gained: tuple[str, ...]
    attachments_lost: tuple[str, ...]
    grown: tuple[Grown, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two reports. Times are the first and the last `audited_at`."""

    images: int
    failures: int
    audited_from: str | None
    audited_to: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """How many references are in each class, and with each facet.

    The classes add up to the references of both reports: none is lost.
    """

    schema: int = SCHEMA
    kind: str = "totals"
    old: Side
    new: Side
    changes: dict[Change, int]
    facets: dict[Facet, int]

    @property
    def differences(self) -> int:
        """References that are not as they were."""
        return sum(
            count for change, count in self.changes.items() if change.is_difference
        )


_GROWTH = re.compile(r"(\d{1,15}(?:\.\d{1,3})?)\s*(%|[kMGT]?B)")
_UNIT_BYTES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """When a platform counts as grown: by at least both of these.

    The default of a tenth is more than what package updates usually bring.
    """

    percent: float = 0.0
    minimum_bytes: float = 0.0
    text: str = field(default="", compare=False)


def parse_growth(text: str) -> Growth:
    """`10%` or `50MB` (powers of 1,000); raises `UsageError`."""
    found = _GROWTH.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"--growth {text}: give a percentage or a size: 10%, 50MB")
    number, unit = float(found[1]), found[2]
    if unit == "%":
        return Growth(percent=number, text=text.strip())
    return Growth(minimum_bytes=number * _UNIT_BYTES[unit], text=text.strip())
