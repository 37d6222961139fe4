"""What a doctor says: steps, each good or not, and one thing to try."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field
from email.utils import parsedate_to_datetime
from enum import StrEnum

from auditor.config import Settings
from auditor.errors import Failure
from auditor.fast_dataclass import dataclass
from auditor.oci.reference import Reference
from auditor.registry.client import Registry
from auditor.registry.request import RequestKind
from auditor.util.clock import Clock
from auditor.util.text import safe_text
from auditor.wire.response import Response


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


# -- case --
# What the steps share: who is examined, and what was heard so far.


class ResponseLog:
    """The first and the last answer to each kind of request.

    Of the last one also when it came (epoch seconds).
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._first: dict[RequestKind, Response] = {}
        self._last: dict[RequestKind, tuple[Response, float]] = {}

    def observer(self, kind: RequestKind, outcome: Response | Failure) -> None:
        """Take over what came of a request (`exchange.RequestObserver`)."""
        if isinstance(outcome, Response):
            self._first.setdefault(kind, outcome)
            self._last[kind] = outcome, self._clock.epoch()
        else:
            self._last.pop(kind, None)

    def answer(self, kind: RequestKind) -> Response | None:
        """The last answer, whatever its status; null where none came."""
        return self._last[kind][0] if kind in self._last else None

    def first(self, kind: RequestKind) -> Response | None:
        """The first answer: to a request without a credential, if nobody had asked for
        one. Later ones may say back what they were sent."""
        return self._first.get(kind)

    def skew_s(self, kind: RequestKind) -> int | None:
        """How far our clock was ahead of the one of whoever answered; null: unknown."""
        if kind not in self._last:
            return None
        answer, came_at = self._last[kind]
        try:
            said = parsedate_to_datetime(answer.headers.get("Date") or "")
            return round(came_at - said.timestamp())
        except (ValueError, OverflowError, OSError):
            return None


@dataclass(slots=True)
class Stopwatch:
    """Milliseconds, to a hundredth."""

    ms: float = 0.0


@dataclass(slots=True, kw_only=True)
class Case:
    """Who is examined.

    `reference` is null where only a host was named; `tag_named`: the user said which
    tag or digest. `closed` says why nothing more can be asked, once that is so.
    """

    registry: Registry
    settings: Settings
    reference: Reference | None
    tag_named: bool
    clock: Clock
    heard: ResponseLog
    closed: str | None = None
    denied: str | None = None

    @property
    def name(self) -> str:
        """The registry's name."""
        return self.registry.name

    @contextmanager
    def timed(self) -> Iterator[Stopwatch]:
        """How long what is done meanwhile takes."""
        watch = Stopwatch()
        began = self.clock.monotonic()
        try:
            yield watch
        finally:
            watch.ms = round(1000 * (self.clock.monotonic() - began), 2)
