"""Failures of content that several references need.

One bad response is a failure of the reference that asked, not of the content: the next
one that needs it asks again. Only a failure that was seen twice in a row is shared.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from auditor.errors import Failure
from auditor.util.lru import Lru

Key = TypeVar("Key", bound=Hashable)


class SharedFailures(Generic[Key]):
    """Failures by the key of their content, at most `max_size` of them.

    Those that may be over a moment later (`FailureKind.retryable`) are never shared.
    """

    def __init__(self, max_size: int) -> None:
        # With whether it was seen twice.
        self._failures: Lru[Key, tuple[Failure, bool]] = Lru(max_size)

    def get(self, key: Key) -> Failure | None:
        """The failure, if it was seen twice."""
        failure, is_shared = self._failures.get(key) or (None, False)
        return failure if is_shared else None

    def add(self, key: Key, failure: Failure) -> None:
        """Note a failure; one of another kind or status is seen for the first time."""
        if failure.kind.retryable:
            return
        before, _ = self._failures.get(key) or (None, False)
        is_again = before is not None and (before.kind, before.status) == (
            failure.kind,
            failure.status,
        )
        self._failures.put(key, (failure, is_again))

    def drop(self, key: Key) -> None:
        """Forget the failure: the content was received."""
        self._failures.drop(key)
