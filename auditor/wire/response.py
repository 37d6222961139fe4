"""An HTTP answer as the protocol code sees it: no connection, nothing to wait for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from auditor.fast_dataclass import dataclass


class Headers(Protocol):
    """Case-insensitive header fields; a name may stand on several lines."""

    def get(self, name: str, /) -> str | None:
        """The first line of that name."""

    def getall(self, name: str, default: Sequence[str], /) -> Sequence[str]:
        """Every line of that name, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole answer. `url` is where it came from, after redirects."""

    status: int
    headers: Headers
    body: bytes
    url: str

    @property
    def content_type(self) -> str | None:
        """The Content-Type field as it stands."""
        return self.headers.get("Content-Type")
