"""The APIs in which registry products tell what they hold, out of memory.

    lab(content, routes=dtr_api(content, [ADMIN]))

Each speaks as its product's API reference shows it: paths, pages, counts, logins.
Routes are added to a registry's own, or make an application by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from auditor.protocol.digest_tag import is_digest_tag
from auditor.sandbox.content import Content, Repository
from auditor.sandbox.tokens import Account, basic_credential

Routes = list[web.AbstractRouteDef]
Handler = Callable[[web.Request], web.Response]

PUSHED = "2026-08-05T10:00:00Z"
PUSHED_EPOCH = 1_785_924_000


def dtr_api(content: Content, accounts: Iterable[Account] = ()) -> Routes:
    """Docker Trusted Registry: `X-Next-Page-Start`, Basic."""

    def repositories(request: web.Request) -> web.Response:
        namespace = request.match_info.get("namespace", "")
        entries = [
            {"id": name, "namespace": owner, "name": short, "visibility": "private"}
            for name in _below(content, namespace)
            for owner, _, short in [name.partition("/")]
        ]
        return _started(request, entries, "id", wrap="repositories")

    def tags(request: web.Request) -> web.Response:
        name = "{namespace}/{name}".format(**request.match_info)
        repository = content.repositories.get(name)
        if repository is None:
            code = {"code": "NO_SUCH_REPOSITORY", "message": "no such repository"}
            return web.json_response({"errors": [code]}, status=404)
        entries = [
            {
                "name": tag,
                "digest": digest,
                "updatedAt": PUSHED,
                "manifest": {"mediaType": repository.manifests[digest].media_type},
            }
            for tag, digest in sorted(repository.tags.items())
        ]
        return _started(request, entries, "name")

    prefix = "/api/v0/repositories"
    return _routes(
        {
            prefix: repositories,
            f"{prefix}/{{namespace}}": repositories,
            f"{prefix}/{{namespace}}/{{name}}/tags": tags,
        },
        _basic(accounts),
    )


def harbor_api(content: Content, accounts: Iterable[Account] = ()) -> Routes:
    """Harbor: `Link`, `X-Total-Count`, names encoded twice, Basic."""

    def repositories(request: web.Request) -> web.Response:
        names = _below(content, request.match_info.get("project", ""))
        return _linked(
            request, [{"name": name} for name in names], "page_size", "X-Total-Count"
        )

    def artifacts(request: web.Request) -> web.Response:
        # aiohttp has decoded once; what came encoded once only has a slash now.
        name = unquote(request.match_info["name"])
        repository = content.repositories.get(f"{request.match_info['project']}/{name}")
        if repository is None or "/" in request.match_info["name"]:
            return web.json_response({"errors": [{"code": "NOT_FOUND"}]}, status=404)
        # What hangs on an artifact is an accessory of it and no artifact of the list.
        accessories = {
            digest for tag, digest in repository.tags.items() if is_digest_tag(tag)
        }
        entries = [
            _artifact(repository, digest)
            for digest in dict.fromkeys([*repository.tags.values()])
            if digest not in accessories
        ]
        untagged = [
            _artifact(repository, digest)
            for digest in repository.manifests
            if digest not in repository.tags.values()
        ]
        return _linked(request, entries + untagged, "page_size", "X-Total-Count")

    prefix = "/api/v2.0"
    return _routes(
        {
            f"{prefix}/repositories": repositories,
            f"{prefix}/projects/{{project}}/repositories": repositories,
            f"{prefix}/projects/{{project}}/repositories/{{name}}/artifacts": artifacts,
        },
        _basic(accounts),
    )


def hub_api(content: Content, accounts: Iterable[Account] = ()) -> Routes:
    """Docker Hub: whole URLs in `next`, a token for user and password."""
    accounts = list(accounts)
    tokens: set[str] = set()

    async def login(request: web.Request) -> web.Response:
        told = await request.json()
        for one in accounts:
            if (one.name, one.password) == (told["identifier"], told["secret"]):
                tokens.add(f"hub-{len(tokens)}")
                return web.json_response({"access_token": f"hub-{len(tokens) - 1}"})
        return web.json_response({"message": "incorrect credentials"}, status=401)

    def refusal(request: web.Request) -> web.Response | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if not accounts or (scheme == "Bearer" and token in tokens):
            return None
        return web.json_response({"message": "authentication required"}, status=401)

    def repositories(request: web.Request) -> web.Response:
        namespace = request.match_info["namespace"]
        entries = [
            {"namespace": namespace, "name": name.partition("/")[2]}
            for name in _below(content, namespace)
        ]
        return _paged(request, entries, "page_size")

    def tags(request: web.Request) -> web.Response:
        name = "{namespace}/{name}".format(**request.match_info)
        repository = content.repositories.get(name)
        if repository is None:
            return web.json_response({"message": "object not found"}, status=404)
        entries = [
            {
                "name": tag,
                "digest": digest,
                "media_type": repository.manifests[digest].media_type,
                "tag_last_pushed": PUSHED,
                "images": [{"architecture": "amd64", "os": "linux", "size": 1234}],
            }
            for tag, digest in sorted(repository.tags.items())
        ]
        return _paged(request, entries, "page_size")

    prefix = "/v2/namespaces/{namespace}/repositories"
    return [
        web.post("/v2/auth/token", login),
        *_routes({prefix: repositories, f"{prefix}/{{name}}/tags": tags}, refusal),
    ]


def quay_api(content: Content, token: str | None = None) -> Routes:
    """Quay: `next_page` and `has_additional`, an OAuth token or nothing."""

    def repositories(request: web.Request) -> web.Response:
        namespace = request.query["namespace"]
        entries = [
            {"namespace": namespace, "name": name.partition("/")[2], "kind": "image"}
            for name in _below(content, namespace)
        ]
        entries.append({"namespace": namespace, "name": "app", "kind": "application"})
        start = int(request.query.get("next_page", "opaque-0").partition("-")[2])
        body: dict[str, Any] = {"repositories": entries[start : start + 2]}
        if start + 2 < len(entries):
            body["next_page"] = f"opaque-{start + 2}"
        return web.json_response(body)

    def tags(request: web.Request) -> web.Response:
        repository = content.repositories.get(request.match_info["name"])
        if repository is None:
            return web.json_response({"detail": "Not Found"}, status=404)
        entries = [
            {
                "name": tag,
                "manifest_digest": digest,
                "is_manifest_list": False,
                "size": 1234,
                "start_ts": PUSHED_EPOCH,
            }
            for tag, digest in sorted(repository.tags.items())
        ]
        page, size = int(request.query["page"]), int(request.query["limit"])
        return web.json_response(
            {
                "tags": entries[(page - 1) * size : page * size],
                "page": page,
                "has_additional": page * size < len(entries),
            }
        )

    def refusal(request: web.Request) -> web.Response | None:
        if token is None or request.headers.get("Authorization") == f"Bearer {token}":
            return None
        return web.json_response({"error_message": "Unauthorized"}, status=401)

    return _routes(
        {
            "/api/v1/repository": repositories,
            "/api/v1/repository/{name:.+}/tag/": tags,
        },
        refusal,
    )


def gitlab_api(content: Content, token: str | None = None) -> Routes:
    """GitLab: groups by their whole path, `x-next-page`, `x-total`, a token."""

    def repositories(request: web.Request) -> web.Response:
        encoded = request.raw_path.partition("/groups/")[2].partition("/registry/")[0]
        if "/" in encoded:
            return web.json_response({"error": "404 Not Found"}, status=404)
        names = _below(content, unquote(encoded))
        entries = [{"id": index, "path": name} for index, name in enumerate(names)]
        return _numbered(request, entries, "per_page")

    def refusal(request: web.Request) -> web.Response | None:
        if token is None or request.headers.get("Authorization") == f"Bearer {token}":
            return None
        return web.json_response({"message": "401 Unauthorized"}, status=401)

    path = "/api/v4/groups/{group:.+}/registry/repositories"
    return _routes({path: repositories}, refusal)


def gitea_api(content: Content, accounts: Iterable[Account] = ()) -> Routes:
    """Gitea: a package for each version of an image, `Link`, `X-Total-Count`."""

    def packages(request: web.Request) -> web.Response:
        owner = request.match_info["owner"]
        entries = [
            {
                "owner": {"login": owner.title()},
                "name": name.partition("/")[2],
                "version": version,
            }
            for name in _below(content, owner)
            for tag, digest in sorted(content.repositories[name].tags.items())
            for version in (tag, digest)
        ]
        return _linked(request, entries, "limit", "X-Total-Count")

    return _routes({"/api/v1/packages/{owner}": packages}, _basic(accounts))


def google_tags(content: Content, name: str) -> dict[str, Any]:
    """Google's list of tags: a map of manifests, and what is below."""
    repository = content.repositories.get(name) or Repository()
    by_digest: dict[str, list[str]] = {digest: [] for digest in repository.manifests}
    for tag, digest in repository.tags.items():
        by_digest[digest].append(tag)
    below = {one.removeprefix(f"{name}/") for one in _below(content, name)}
    return {
        "child": sorted({one.partition("/")[0] for one in below if one}),
        "manifest": {
            digest: {
                "imageSizeBytes": "1234",
                "layerId": "",
                "mediaType": repository.manifests[digest].media_type,
                "tag": tags,
                "timeCreatedMs": "0",
                "timeUploadedMs": f"{PUSHED_EPOCH}000",
            }
            for digest, tags in by_digest.items()
        },
        "name": name,
        "tags": sorted(repository.tags),
    }


# -- what they share ---------------------------------------------------------------


def _routes(
    handlers: Mapping[str, Handler],
    refusal: Callable[[web.Request], web.Response | None],
) -> Routes:
    def guarded(handler: Handler) -> Callable[[web.Request], Any]:
        async def answer(request: web.Request) -> web.Response:
            return refusal(request) or handler(request)

        return answer

    return [web.get(path, guarded(handler)) for path, handler in handlers.items()]


def _basic(
    accounts: Iterable[Account],
) -> Callable[[web.Request], web.Response | None]:
    known = [(one.name, one.password) for one in accounts]

    def refusal(request: web.Request) -> web.Response | None:
        if not known or basic_credential(request) in known:
            return None
        return web.json_response({"errors": [{"code": "UNAUTHORIZED"}]}, status=401)

    return refusal


def _below(content: Content, path: str) -> list[str]:
    prefix = f"{path}/" if path else ""
    return [name for name in sorted(content.repositories) if name.startswith(prefix)]


def _artifact(repository: Repository, digest: str) -> dict[str, Any]:
    tags = [tag for tag, named in sorted(repository.tags.items()) if named == digest]
    return {
        "digest": digest,
        "media_type": "application/vnd.oci.image.config.v1+json",
        "manifest_media_type": repository.manifests[digest].media_type,
        "size": 1234,
        "extra_attrs": {"os": "linux", "created": PUSHED},
        # Harbor writes null, not an empty list.
        "tags": [{"name": tag, "push_time": PUSHED} for tag in tags] or None,
    }


def _page(request: web.Request, size_name: str) -> tuple[int, int]:
    number = int(request.query.get("page", "1"))
    return number, int(request.query[size_name])


def _started(
    request: web.Request, entries: list[dict[str, Any]], key: str, *, wrap: str = ""
) -> web.Response:
    """A page that begins with `pageStart`; the header names the next start."""
    start = request.query.get("pageStart", "")
    rest = [entry for entry in entries if entry[key] >= start]
    size = int(request.query["pageSize"])
    headers = {"X-Next-Page-Start": rest[size][key] if len(rest) > size else ""}
    if request.query.get("count") == "true":
        headers["X-Resource-Count"] = str(len(entries))
    shown = rest[:size]
    return web.json_response({wrap: shown} if wrap else shown, headers=headers)


def _linked(
    request: web.Request, entries: list[dict[str, Any]], size_name: str, count: str
) -> web.Response:
    """A numbered page with `Link` and a count."""
    number, size = _page(request, size_name)
    headers = {count: str(len(entries))}
    if number * size < len(entries):
        target = request.rel_url.update_query(page=number + 1)
        headers["Link"] = f'<{target}>; rel="next"'
    shown = entries[(number - 1) * size : number * size]
    return web.json_response(shown, headers=headers)


def _paged(
    request: web.Request, entries: list[dict[str, Any]], size_name: str
) -> web.Response:
    """A numbered page in an object, with the whole URL of the next."""
    number, size = _page(request, size_name)
    following = None
    if number * size < len(entries):
        following = str(request.url.update_query(page=number + 1))
    shown = entries[(number - 1) * size : number * size]
    return web.json_response(
        {"count": len(entries), "next": following, "results": shown}
    )


def _numbered(
    request: web.Request, entries: list[dict[str, Any]], size_name: str
) -> web.Response:
    """A numbered page with the number of the next in a header."""
    number, size = _page(request, size_name)
    following = str(number + 1) if number * size < len(entries) else ""
    headers = {"x-total": str(len(entries)), "x-next-page": following}
    shown = entries[(number - 1) * size : number * size]
    return web.json_response(shown, headers=headers)
