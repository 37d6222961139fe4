"""The deadline of a run: what still waits is cancelled and reported as a failure."""

from __future__ import annotations

import math
from types import TracebackType

import anyio

from auditor.errors import Failure, FailureKind, Stage


class Deadline:
    """Cancels its scopes when the owner of the clock calls `reach()`."""

    def __init__(self) -> None:
        self.reached = False
        # Open scopes with their grace periods in seconds.
        self.open_scopes: dict[anyio.CancelScope, float] = {}

    def reach(self) -> None:
        """End the run: cancel every open scope after its grace period."""
        self.reached = True
        for scope, grace_s in self.open_scopes.items():
            _cancel(scope, grace_s)

    def scope(
        self, grace_s: float = 0.0, *, limit_s: float | None = None
    ) -> DeadlineScope:
        """A scope that is cancelled `grace_s` after the deadline is reached.

        It is also cancelled `limit_s` after it is entered, if that comes first.
        """
        return DeadlineScope(self, grace_s, limit_s)


class DeadlineScope:
    """A cancel scope that is registered with its deadline while it is open."""

    __slots__ = ("_deadline", "_grace_s", "_limit_s", "_scope")

    def __init__(
        self, deadline: Deadline, grace_s: float, limit_s: float | None
    ) -> None:
        self._deadline = deadline
        self._grace_s = grace_s
        self._limit_s = limit_s

    def __enter__(self) -> anyio.CancelScope:
        limit_s = self._limit_s
        until = math.inf if limit_s is None else anyio.current_time() + limit_s
        self._scope = anyio.CancelScope(deadline=until)
        self._scope.__enter__()
        self._deadline.open_scopes[self._scope] = self._grace_s
        if self._deadline.reached:
            _cancel(self._scope, self._grace_s)
        return self._scope

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        del self._deadline.open_scopes[self._scope]
        return bool(self._scope.__exit__(exc_type, exc, traceback))


def _cancel(scope: anyio.CancelScope, grace_s: float) -> None:
    if grace_s:
        scope.deadline = anyio.current_time() + grace_s
    else:
        scope.cancel()


def not_started() -> Failure:
    """The failure of a reference that the run did not get to."""
    return Failure(
        kind=FailureKind.INTERRUPTED,
        detail="not started: the run's deadline was reached",
        attempts=0,
    )


def not_finished() -> Failure:
    """The failure of a reference that was in progress."""
    return Failure(
        kind=FailureKind.INTERRUPTED,
        detail="not finished: the run's deadline was reached",
    )


def listing_not_finished(listing: str) -> Failure:
    """The failure of a listing that was not read completely."""
    return Failure(
        kind=FailureKind.INTERRUPTED,
        stage=Stage.LIST,
        detail=f"{listing} was not read completely: the run's deadline was reached",
    )


def reference_timed_out(limit_s: float) -> Failure:
    """The failure of a reference that took longer than its time limit."""
    return Failure(
        kind=FailureKind.TIMEOUT,
        detail=f"not audited within {limit_s:g} s, the time limit of a reference",
    )
