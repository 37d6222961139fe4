"""The end of the time that a run has: what waits is cut short, and told so."""

from __future__ import annotations

import math
from types import TracebackType

import anyio

from auditor.errors import Failure, FailureKind, Stage


class Deadline:
    """Whether the time is up; cancels what waits when it is.

    Nothing here looks at a clock: whoever owns the time calls `reach`.
    """

    def __init__(self) -> None:
        self.reached = False
        self._scopes: dict[anyio.CancelScope, float] = {}

    def reach(self) -> None:
        """Say that the time is up."""
        self.reached = True
        for scope, patience_s in self._scopes.items():
            _end(scope, patience_s)

    def scope(
        self, patience_s: float = 0.0, *, limit_s: float | None = None
    ) -> TimeLeft:
        """A scope that is cancelled `patience_s` after the time is up.

        And `limit_s` from now, if that comes first.
        """
        return TimeLeft(self._scopes, self, patience_s, limit_s)


class TimeLeft:
    """A cancel scope that its deadline knows while it is open."""

    __slots__ = ("_deadline", "_limit_s", "_open", "_patience_s", "_scope")

    def __init__(
        self,
        among: dict[anyio.CancelScope, float],
        deadline: Deadline,
        patience_s: float,
        limit_s: float | None,
    ) -> None:
        self._open = among
        self._deadline = deadline
        self._patience_s = patience_s
        self._limit_s = limit_s

    def __enter__(self) -> anyio.CancelScope:
        limit_s = self._limit_s
        until = math.inf if limit_s is None else anyio.current_time() + limit_s
        self._scope = anyio.CancelScope(deadline=until)
        self._scope.__enter__()
        self._open[self._scope] = self._patience_s
        if self._deadline.reached:
            _end(self._scope, self._patience_s)
        return self._scope

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        del self._open[self._scope]
        return bool(self._scope.__exit__(exc_type, exc, traceback))


def _end(scope: anyio.CancelScope, patience_s: float) -> None:
    if patience_s:
        scope.deadline = anyio.current_time() + patience_s
    else:
        scope.cancel()


def not_reached() -> Failure:
    """Why a reference was not begun."""
    return Failure(
        kind=FailureKind.INTERRUPTED,
        detail="not begun when the deadline of the run came",
        attempts=0,
    )


def not_finished() -> Failure:
    """Why a reference that was begun has no image record."""
    return Failure(
        kind=FailureKind.INTERRUPTED,
        detail="not finished when the deadline of the run came",
    )


def not_listed(called: str) -> Failure:
    """Why a list has an end that its registry did not give it."""
    return Failure(
        kind=FailureKind.INTERRUPTED,
        stage=Stage.LIST,
        detail=f"{called} was not read to its end when the deadline of the run came",
    )


def too_slow(limit_s: float) -> Failure:
    """Why a reference was given up that took longer than one may."""
    return Failure(
        kind=FailureKind.TIMEOUT,
        detail=f"not audited within {limit_s:g} s, the time that a reference may take",
    )
