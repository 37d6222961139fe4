"""The steps of `auditor doctor`, and what they share while it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field
from email.utils import parsedate_to_datetime
from enum import StrEnum

from auditor.config import Settings
from auditor.config.registries_conf import RegistriesConf
from auditor.errors import Failure
from auditor.fast_dataclass import dataclass
from auditor.oci.reference import Reference
from auditor.registry.auth.docker_config import FoundCredential
from auditor.registry.client import Registry
from auditor.registry.request import RequestKind
from auditor.util.clock import Clock
from auditor.util.text import safe_text
from auditor.wire.response import Response


class StepName(StrEnum):
    """The steps, in their order."""

    ROUTE = "route"
    DNS = "dns"
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
    RATE_LIMIT = "rate_limit"


class StepState(StrEnum):
    """The outcome of a step. With a warning, an audit works nevertheless."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorStep:
    """One step: what it found, and what to do next if that is not good.

    - `message`: what it found, safe to print and without secrets
    - `ms`: its duration in milliseconds; None without a request
    - `next`: what to do next, safe to print; None if that is nothing
    - `details`: what the step found, by names that the guide to doctor lists
    """

    name: StepName
    state: StepState
    message: str
    ms: float | None = None
    next: str | None = None
    details: Mapping[str, object] = field(default_factory=dict)


def skipped_step(name: StepName, reason: str) -> DoctorStep:
    """A step that is not possible, or not needed."""
    return DoctorStep(name=name, state=StepState.SKIPPED, message=reason)


def finished_step(
    name: StepName,
    message: str,
    details: Mapping[str, object],
    *,
    ms: float | None = None,
    advice: str | None = None,
    state: StepState | None = None,
) -> DoctorStep:
    """A step that was carried out. By default, one with `advice` is a warning."""
    if state is None:
        state = StepState.OK if advice is None else StepState.WARNING
    return DoctorStep(
        name=name, state=state, message=message, ms=ms, next=advice, details=details
    )


def failed_step(
    name: StepName,
    failure: Failure,
    advice: str,
    *,
    ms: float,
    state: StepState = StepState.FAILED,
    details: Mapping[str, object] | None = None,
) -> DoctorStep:
    """A step that ended in `failure`."""
    failed = {"failure": failure.kind.value, "status": failure.status}
    return finished_step(
        name,
        failure.detail_without_advice,
        {**(details or {}), **failed},
        ms=ms,
        advice=advice,
        state=state,
    )


def safe_or_none(text: str | None) -> str | None:
    """The text, safe to print."""
    return None if text is None else safe_text(text)


class ResponseLog:
    """The first and the last response to each kind of request."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._first: dict[RequestKind, Response] = {}
        # With the time at which it arrived (epoch seconds).
        self._last: dict[RequestKind, tuple[Response, float]] = {}

    def observe(self, kind: RequestKind, outcome: Response | Failure) -> None:
        """Record the outcome of a request (a `RequestObserver`)."""
        if isinstance(outcome, Response):
            self._first.setdefault(kind, outcome)
            self._last[kind] = outcome, self._clock.epoch()
        else:
            self._last.pop(kind, None)

    def last(self, kind: RequestKind) -> Response | None:
        """The last response with any status; None after a failure."""
        return self._last[kind][0] if kind in self._last else None

    def first(self, kind: RequestKind) -> Response | None:
        """The first response, which a registry gave to a request without credential."""
        return self._first.get(kind)

    def clock_skew_s(self, kind: RequestKind) -> int | None:
        """How far this machine's clock is ahead of the responding host's."""
        if kind not in self._last:
            return None
        response, arrived_at = self._last[kind]
        try:
            date = parsedate_to_datetime(response.headers.get("Date") or "")
            return round(arrived_at - date.timestamp())
        except (ValueError, OverflowError, OSError):
            return None


@dataclass(slots=True)
class Stopwatch:
    """A duration in milliseconds, to a hundredth."""

    ms: float = 0.0


@dataclass(slots=True, kw_only=True)
class DoctorSession:
    """The registry under examination, and the state that later steps depend on.

    `reference` is None if the user named only a host; `has_tag` is whether the user
    gave a tag or digest. `conf` is what registries.conf says, `sources` where an
    audit asks by it: mirrors, and at last this registry. `moved_from` is what the user
    gave, if registries.conf moves it here. `found` is the credential that is sent.
    `stopped` is the reason why no further step is possible, `denied` why the
    repository's content cannot be requested.
    """

    registry: Registry
    settings: Settings
    reference: Reference | None
    has_tag: bool
    clock: Clock
    responses: ResponseLog
    sources: tuple[Reference | Failure, ...] = ()
    conf: RegistriesConf = field(default_factory=RegistriesConf)
    moved_from: str | None = None
    found: FoundCredential | None = None
    stopped: str | None = None
    denied: str | None = None

    @property
    def name(self) -> str:
        """The registry's name."""
        return self.registry.name

    @contextmanager
    def timed(self) -> Iterator[Stopwatch]:
        """Measure the duration of the block."""
        watch = Stopwatch()
        began = self.clock.monotonic()
        try:
            yield watch
        finally:
            watch.ms = round(1000 * (self.clock.monotonic() - began), 2)
