"""The end of the time that a run has: what waits is cut short, and told so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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

    @contextmanager
    def scope(self, patience_s: float = 0.0) -> Iterator[anyio.CancelScope]:
        """A scope that is cancelled `patience_s` after the time is up."""
        with anyio.CancelScope() as scope:
            self._scopes[scope] = patience_s
            if self.reached:
                _end(scope, patience_s)
            try:
                yield scope
            finally:
                del self._scopes[scope]


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
