"""What a doctor says: steps, each good or not, and one thing to try."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from auditor.fast_dataclass import dataclass
from auditor.util.text import safe_text


class StepName(StrEnum):
    """The steps, in their order."""

    ROUTE = "route"
    NAME = "name"
    TCP = "tcp"
    TLS = "tls"
    PING = "ping"
    CHALLENGE = "challenge"
    REALM = "realm"
    CREDENTIAL = "credential"
    TOKEN = "token"
    GRANT = "grant"
    TAGS = "tags"
    MANIFEST = "manifest"
    REFERRERS = "referrers"
    CATALOG = "catalog"
    ALLOWANCE = "allowance"


class StepState(StrEnum):
    """How a step went. With a warning an audit works all the same."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step. `says` and `next` are safe to print and hold no secret.

    `ms` is how long it took, null where nobody was asked. `facts` are what a program
    wants to know of it; their names are part of the output (docs/doctor.md).
    """

    name: StepName
    state: StepState
    says: str
    ms: float | None = None
    next: str | None = None
    facts: Mapping[str, object] = field(default_factory=dict)


def skipped(name: StepName, why: str, **facts: object) -> Step:
    """A step that cannot be taken, or need not."""
    return Step(name=name, state=StepState.SKIPPED, says=why, facts=facts)


def safe_or_null(text: str | None) -> str | None:
    """The text, fit for a terminal; null for none."""
    return None if text is None else safe_text(text)
