"""`Response` values without a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from auditor.wire.response import Response


class HeaderFields:
    """Headers (`auditor.wire.response.Headers`) from a dictionary."""

    def __init__(self, fields: Mapping[str, str | Sequence[str]]) -> None:
        self._lines = {
            name.lower(): [value] if isinstance(value, str) else list(value)
            for name, value in fields.items()
        }

    def get(self, name: str, /) -> str | None:
        return next(iter(self._lines.get(name.lower(), ())), None)

    def getall(self, name: str, default: Sequence[str], /) -> Sequence[str]:
        return self._lines.get(name.lower(), default)


def response(
    status: int = 200,
    body: bytes = b"",
    *,
    url: str = "https://registry.example.com/v2/",
    **fields: str | Sequence[str],
) -> Response:
    """A response; the keyword `Retry_After="1"` is the header Retry-After."""
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    return Response(status=status, headers=HeaderFields(headers), body=body, url=url)
