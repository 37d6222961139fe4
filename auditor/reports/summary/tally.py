"""What the records of a run add up to."""

from __future__ import annotations

from collections import Counter
from dataclasses import field

from auditor.errors import FailureKind
from auditor.fast_dataclass import dataclass
from auditor.model import FailureRecord, Record

# Go knows some fifty platforms. A registry may name what it likes, a new one in each
# image, and memory must not grow with images.
MAX_NAMES = 1000
OTHER = "other"


@dataclass(slots=True)
class Tally:
    """What the records of a run add up to."""

    audited: int = 0
    failed: int = 0
    filtered: int = 0
    not_asked: int = 0
    failures: Counter[FailureKind] = field(default_factory=Counter)
    examples: dict[FailureKind, FailureRecord] = field(default_factory=dict)
    warnings: Counter[str] = field(default_factory=Counter)
    architectures: Counter[str] = field(default_factory=Counter)
    media_types: Counter[str] = field(default_factory=Counter)

    def add(self, record: Record) -> None:
        """Count one record."""
        if isinstance(record, FailureRecord):
            self.failed += 1
            self.not_asked += not record.attempts
            self.failures[record.failure] += 1
            self.examples.setdefault(record.failure, record)
            return
        self.audited += 1
        for architecture in record.architectures:
            _count(self.architectures, architecture)
        if record.media_type:
            _count(self.media_types, record.media_type)
        for warning in record.warnings:
            self.warnings[warning.code] += 1


def _count(counts: Counter[str], name: str) -> None:
    """Count a name that a registry chose: new ones only as long as there are few."""
    if name not in counts and len(counts) >= MAX_NAMES:
        name = OTHER
    counts[name] += 1
