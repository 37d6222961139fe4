"""The most requests that a run, or a registry within it, may be sent."""

from __future__ import annotations

from auditor.errors import Failure, FailureKind
from auditor.util.text import counted


class Quota:
    """A number of requests; those of a registry are those of the run as well.

    Every try of every request counts, tokens and pings included. A hop of a redirect
    does not, nor what is sent once more because a kept connection was just closed.
    """

    __slots__ = ("_most", "_run", "_whose", "sent")

    def __init__(self, most: int, *, whose: str, run: Quota | None = None) -> None:
        self._most = most
        self._whose = whose
        self._run = run
        self.sent = 0

    def refusal(self) -> Failure | None:
        """Why no other request may be sent; None while there is one left."""
        if self._run is not None and (refused := self._run.refusal()) is not None:
            return refused
        if self.sent < self._most:
            return None
        return Failure(
            kind=FailureKind.INTERRUPTED,
            detail=f"not asked for: {self._whose} may take"
            f" {counted(self._most, 'request')} (max_requests), and has taken"
            f" {'it' if self._most == 1 else 'them'}",
            attempts=0,
        )

    def take(self) -> Failure | None:
        """Count one request, or say why it may not be sent."""
        refused = self.refusal()
        if refused is None:
            self.sent += 1
            if self._run is not None:
                self._run.sent += 1
        return refused
