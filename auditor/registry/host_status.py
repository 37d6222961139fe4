"""What a host is waited for, for a person who looks at a run."""

from __future__ import annotations

from auditor.errors import Failure, FailureKind
from auditor.fast_dataclass import dataclass

RETRYING = "retrying"  # how the sentence of a retry begins
NO_ANSWER = "no answer"  # how the text for a silent host begins


@dataclass(frozen=True, slots=True, kw_only=True)
class HostStatus:
    """Why requests to a service wait, or are fewer than the settings allow.

    `text` is a part of a sentence, "" if nothing waits. No request is sent before
    `until` (epoch seconds), if that is known. `at_once`: the requests in flight that
    are allowed now, None for as many as the settings say.
    """

    name: str
    text: str
    until: float | None = None
    at_once: int | None = None


def retrying(name: str, failure: Failure, *, most: int | None) -> str:
    """The sentence before the next attempt; `most` is their number, None if unknown."""
    of = "" if most is None else f" of {most}"
    return f"{RETRYING} {name} ({failure.attempts + 1}{of}): {cause_of(failure)}"


def cause_of(failure: Failure) -> str:
    """A failure in two or three words."""
    if failure.status is not None:
        return str(failure.status)
    if failure.reason is not None:
        return failure.reason.replace("_", " ")
    if failure.kind is FailureKind.CONNECT:
        return "connection lost"
    return failure.kind.replace("_", " ")
