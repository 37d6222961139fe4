"""Pages that are numbered from 1, by the query parameter `page`."""

from __future__ import annotations

from typing import Any

from aiohttp import web


def numbered(
    request: web.Request, entries: list[dict[str, Any]], size_name: str
) -> tuple[list[dict[str, Any]], int | None]:
    """The entries of the requested page, and the number of the next page, if any."""
    number = int(request.query.get("page", "1"))
    size = int(request.query[size_name])
    following = number + 1 if number * size < len(entries) else None
    return entries[(number - 1) * size : number * size], following


def linked(
    request: web.Request, entries: list[dict[str, Any]], size_name: str
) -> web.Response:
    """A page with `Link` and `X-Total-Count`."""
    shown, following = numbered(request, entries, size_name)
    headers = {"X-Total-Count": str(len(entries))}
    if following is not None:
        target = request.rel_url.update_query(page=following)
        headers["Link"] = f'<{target}>; rel="next"'
    return web.json_response(shown, headers=headers)
