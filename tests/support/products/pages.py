"""Pages by the query parameters `page`, numbered from 1, or `n` and `last`."""

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


def after_last(
    request: web.Request, names: list[str]
) -> tuple[list[str], dict[str, str]]:
    """The `n` names after `last`, and the header with the link to the next ones."""
    rest = [name for name in names if name > request.query.get("last", "")]
    shown = rest[: int(request.query.get("n", "100"))]
    if len(shown) == len(rest):
        return shown, {}
    target = request.rel_url.update_query(last=shown[-1])
    return shown, {"Link": f'<{target}>; rel="next"'}
