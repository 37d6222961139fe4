"""The embedded registry and token service, asked by a plain HTTP client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from aiohttp import encode_basic_auth

from auditor.demo.artifact_builder import SPDX, artifact
from auditor.demo.demo_registry import AccessControl, DemoContent, serve
from auditor.demo.demo_tokens import (
    ANONYMOUS,
    TOKEN_PATHS,
    BearerAccess,
    DemoAccount,
    SigningKey,
)
from auditor.demo.image_builder import Family, image, index
from auditor.demo.schema1_builder import schema1_image
from auditor.oci.descriptor import SCHEMA1, SIGNED_SCHEMA1
from tests.support.registry import Basic, Behaviour, registry_app, serve_in_thread
from tests.support.token_service import Claims, FakeTokenService, token_app

pytestmark = pytest.mark.anyio

ALL_TYPES = ", ".join(
    [
        *(kind for one in Family for kind in (one.index, one.manifest)),
        SCHEMA1,
        SIGNED_SCHEMA1,
    ]
)
ACCOUNTS = (
    DemoAccount(ANONYMOUS, "", {"public/*": ("pull",)}),
    DemoAccount("admin", "secret", {"*": ("*",)}),
    DemoAccount("reader", "secret", {"team/*": ("pull",)}),
)
DOCKER = [
    image("list", platform=one, family=Family.DOCKER)
    for one in ("linux/arm64/v8", "linux/amd64")
]
LIST = index(DOCKER, family=Family.DOCKER)
OCI = index([image("oci")])
OLD = schema1_image("team/old", "1", keys=[SigningKey.from_seed("old")])
SBOM = artifact("sbom", subject=OCI.root)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Any
    body: bytes
    json: Any


class Client:
    def __init__(self, session: aiohttp.ClientSession, base_url: str) -> None:
        self.session = session
        self.base_url = base_url

    async def ask(self, path: str, *, method: str = "GET", **options: Any) -> Answer:
        async with self.session.request(
            method, self.base_url + path, **options
        ) as response:
            body = await response.read()
            parsed = None
            if body and "json" in response.content_type:
                parsed = await response.json(content_type=None)
            return Answer(response.status, response.headers, body, parsed)

    async def manifest(self, name: str, accept: str, method: str = "GET") -> Answer:
        return await self.ask(f"/v2/{name}", method=method, headers={"Accept": accept})

    async def token(
        self, scope: str, user: str | None = "admin", path: str = "/token"
    ) -> str:
        headers = {}
        if user is not None:
            headers["Authorization"] = encode_basic_auth(user, "secret")
        answer = await self.ask(
            path, params={"service": "demo", "scope": scope}, headers=headers
        )
        assert answer.status == 200
        token: str = answer.json["token"]
        return token


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "Accept": ALL_TYPES}


def content() -> DemoContent:
    held = DemoContent()
    held.add("team/list", LIST, "1", "latest")
    held.add("team/oci", OCI, "1", "2", "3", "4", "5")
    held.add("team/oci", SBOM)
    held.add("team/old", OLD, "1")
    held.add("public/app", DOCKER[0], "1")
    return held


@asynccontextmanager
async def registry(
    access: AccessControl | None = None, behaviour: Behaviour | None = None
) -> AsyncIterator[Client]:
    app = registry_app(content(), access=access, behaviour=behaviour)
    async with serve(app) as base_url, aiohttp.ClientSession() as session:
        yield Client(session, base_url)


# -- manifests and blobs ---------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("reference", ["latest", LIST.root.digest])
async def test_a_manifest_has_its_type_digest_and_length(
    method: str, reference: str
) -> None:
    async with registry() as client:
        answer = await client.manifest(
            f"team/list/manifests/{reference}", ALL_TYPES, method
        )
    assert answer.status == 200
    assert answer.body == (LIST.root.raw if method == "GET" else b"")
    assert answer.headers["Content-Type"] == Family.DOCKER.index
    assert answer.headers["Docker-Content-Digest"] == LIST.root.digest
    assert int(answer.headers["Content-Length"]) == len(LIST.root.raw)
    assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


@pytest.mark.parametrize(
    ("name", "accept", "status", "digest"),
    [
        # As measured with docker-registry 2.8.2.
        ("team/list/manifests/1", Family.DOCKER.manifest, 200, DOCKER[1].root.digest),
        ("team/list/manifests/1", "*/*", 400, None),
        (
            f"team/list/manifests/{LIST.root.digest}",
            Family.DOCKER.manifest,
            200,
            LIST.root.digest,
        ),
        ("team/oci/manifests/1", Family.DOCKER.index, 404, None),
        ("team/oci/manifests/1", Family.OCI.index + ";q=0.5", 200, OCI.root.digest),
        (f"team/oci/manifests/{OCI.root.digest}", "*/*", 404, None),
        ("team/old/manifests/1", Family.DOCKER.manifest, 200, OLD.root.digest),
        ("team/oci/manifests/none", ALL_TYPES, 404, None),
        ("none/none/manifests/1", ALL_TYPES, 404, None),
    ],
)
async def test_manifests_are_negotiated_as_in_distribution(
    name: str, accept: str, status: int, digest: str | None
) -> None:
    async with registry() as client:
        answer = await client.manifest(name, accept)
    assert answer.status == status
    assert answer.headers.get("Docker-Content-Digest") == digest
    if status != 200:
        assert answer.json["errors"][0]["code"].startswith("MANIFEST_")


async def test_a_signed_schema_1_manifest_has_the_digest_of_its_payload() -> None:
    async with registry() as client:
        answer = await client.manifest("team/old/manifests/1", ALL_TYPES)
    assert answer.body == OLD.root.raw != OLD.root.payload
    assert answer.headers["Content-Type"] == SIGNED_SCHEMA1
    assert answer.headers["Docker-Content-Digest"] == OLD.root.digest


async def test_a_manifest_with_a_matching_etag_is_304() -> None:
    async with registry() as client:
        answer = await client.ask(
            "/v2/team/oci/manifests/1",
            headers={"Accept": ALL_TYPES, "If-None-Match": f'"{OCI.root.digest}"'},
        )
    assert (answer.status, answer.body) == (304, b"")


async def test_configs_are_blobs_and_layers_are_missing() -> None:
    config = OCI.blobs[0]
    (platform,) = OCI.content.platforms
    assert platform.layers is not None
    async with registry() as client:
        found = await client.ask(f"/v2/team/oci/blobs/{config.digest}")
        elsewhere = await client.ask(f"/v2/team/list/blobs/{config.digest}")
        missing = await client.ask(f"/v2/team/oci/blobs/{platform.layers[0].digest}")
    assert (found.status, found.body) == (200, config.content)
    assert (elsewhere.status, missing.status) == (404, 404)
    assert missing.json["errors"][0]["code"] == "BLOB_UNKNOWN"


async def test_referrers_are_listed_and_filtered_by_type() -> None:
    path = f"/v2/team/oci/referrers/{OCI.root.digest}"
    async with registry() as client:
        every = await client.ask(path)
        none = await client.ask(path, params={"artifactType": "other"})
    (entry,) = every.json["manifests"]
    assert (entry["digest"], entry["artifactType"]) == (
        SBOM.root.digest,
        SPDX,
    )
    assert every.headers["Content-Type"].startswith(Family.OCI.index)
    assert none.json["manifests"] == []
    assert none.headers["OCI-Filters-Applied"] == "artifactType"


# -- lists -----------------------------------------------------------------------


@pytest.mark.parametrize("absolute", [False, True])
async def test_following_the_links_lists_every_tag_once(absolute: bool) -> None:
    async with registry(behaviour=Behaviour(absolute_links=absolute)) as client:
        tags, path = [], "/v2/team/oci/tags/list?n=2"
        while path:
            answer = await client.ask(path)
            tags.append(answer.json["tags"])
            link = answer.headers.get("Link", "")
            assert link.endswith('; rel="next"') or not link
            path = link.partition(">")[0].removeprefix("<")
            assert not path or path.startswith("http" if absolute else "/v2/")
            path = path.removeprefix(client.base_url)
    assert tags == [["1", "2"], ["3", "4"], ["5"]]


@pytest.mark.parametrize(
    ("path", "status", "key", "length"),
    [
        ("/v2/_catalog", 200, "repositories", 4),
        ("/v2/_catalog?n=0", 200, "repositories", 0),
        ("/v2/_catalog?n=3", 200, "repositories", 3),
        ("/v2/_catalog?last=team/list", 200, "repositories", 2),
        ("/v2/_catalog?n=1001", 400, "errors", 1),
        ("/v2/team/oci/tags/list", 200, "tags", 5),
        ("/v2/team/oci/tags/list?n=5", 200, "tags", 5),
        ("/v2/team/none/tags/list", 404, "errors", 1),
    ],
)
async def test_a_page_has_the_requested_size(
    path: str, status: int, key: str, length: int
) -> None:
    async with registry() as client:
        answer = await client.ask(path)
    assert (answer.status, len(answer.json[key])) == (status, length)


async def test_all_tags_on_one_page_regardless_of_the_request() -> None:
    async with registry(behaviour=Behaviour(tags_pages=False)) as client:
        answer = await client.ask("/v2/team/oci/tags/list?n=2")
    assert len(answer.json["tags"]) == 5
    assert "Link" not in answer.headers


# -- access ----------------------------------------------------------------------


@pytest.mark.parametrize("path", TOKEN_PATHS)
async def test_a_token_from_any_path_is_accepted(path: str) -> None:
    async with registry(BearerAccess(FakeTokenService(accounts=ACCOUNTS))) as client:
        token = await client.token("repository:team/oci:pull", path=path)
        answer = await client.ask("/v2/team/oci/manifests/1", headers=bearer(token))
    assert answer.status == 200


async def test_the_challenge_names_realm_service_and_scope() -> None:
    tokens = FakeTokenService(accounts=ACCOUNTS, realm="/auth/v2/token/")
    async with registry(BearerAccess(tokens)) as client:
        ping = await client.ask("/v2/")
        manifest = await client.ask("/v2/team/oci/manifests/1")
        realm = f'Bearer realm="{client.base_url}/auth/v2/token/",service="demo"'
    assert (ping.status, manifest.status) == (401, 401)
    assert ping.headers["WWW-Authenticate"] == realm
    assert (
        manifest.headers["WWW-Authenticate"]
        == f'{realm},scope="repository:team/oci:pull"'
    )
    assert manifest.json["errors"][0]["code"] == "UNAUTHORIZED"


def _no_access(claims: Claims) -> Claims:
    return claims | {"access": None}


def _other_audience(claims: Claims) -> Claims:
    return claims | {"aud": "other"}


@pytest.mark.parametrize(
    ("service", "scope", "error"),
    [
        ({}, "repository:team/list:pull", "insufficient_scope"),
        ({}, "repository:team/oci:push", "insufficient_scope"),
        ({"edit": _no_access}, "repository:team/oci:pull", "insufficient_scope"),
        ({"edit": _other_audience}, "repository:team/oci:pull", "invalid_token"),
        ({"lifetime_s": 0}, "repository:team/oci:pull", "invalid_token"),
        ({"opaque": True}, "repository:team/oci:pull", None),
        ({"opaque": True}, "repository:team/list:pull", "insufficient_scope"),
    ],
)
async def test_a_token_allows_only_what_it_grants(
    service: dict[str, Any], scope: str, error: str | None
) -> None:
    async with registry(
        BearerAccess(FakeTokenService(accounts=ACCOUNTS, **service))
    ) as client:
        token = await client.token(scope)
        answer = await client.ask("/v2/team/oci/manifests/1", headers=bearer(token))
    challenge = answer.headers.get("WWW-Authenticate", "")
    assert answer.status == (401 if error else 200)
    assert challenge.endswith(f'error="{error}"' if error else "")


async def test_a_token_of_another_key_is_rejected() -> None:
    stranger = FakeTokenService(accounts=ACCOUNTS)
    token = stranger.issue(ACCOUNTS[1], ["repository:team/oci:pull"])
    async with registry(BearerAccess(FakeTokenService(accounts=ACCOUNTS))) as client:
        answer = await client.ask("/v2/team/oci/manifests/1", headers=bearer(token))
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]


async def test_a_token_expires_by_the_clock_of_the_service() -> None:
    now = [1000.0]
    tokens = FakeTokenService(accounts=ACCOUNTS, clock=lambda: now[0], lifetime_s=60)
    token = tokens.issue(ACCOUNTS[1], ["repository:a:pull"])
    assert tokens.allows(token, "repository:a:pull")
    now[0] += 60
    assert tokens.allows(token, "repository:a:pull") is None


@pytest.mark.parametrize(
    ("user", "scope", "access"),
    [
        (None, "repository:public/app:pull", [("public/app", ["pull"])]),
        (None, "repository:public/app:pull,push", [("public/app", ["pull"])]),
        (None, "repository:team/oci:pull", []),
        ("reader", "repository:team/oci:pull,push", [("team/oci", ["pull"])]),
        ("reader", "registry:catalog:*", []),
        ("admin", "registry:catalog:*", [("catalog", ["*"])]),
        ("admin", "repository:host:5000/a:pull", [("host:5000/a", ["pull"])]),
        (
            "admin",
            "repository:a:pull repository:b:pull",
            [("a", ["pull"]), ("b", ["pull"])],
        ),
    ],
)
async def test_a_token_grants_the_requested_actions_that_the_user_has(
    user: str | None, scope: str, access: list[tuple[str, list[str]]]
) -> None:
    tokens = FakeTokenService(accounts=ACCOUNTS)
    async with registry(BearerAccess(tokens)) as client:
        await client.token(scope, user)
    (claims,) = tokens.issued
    assert [(one["name"], one["actions"]) for one in claims["access"]] == access
    assert claims["sub"] == (user or ANONYMOUS)


@pytest.mark.parametrize(
    "authorization",
    [encode_basic_auth("admin", "wrong"), "Basic ???", encode_basic_auth("x", "")],
)
async def test_a_wrong_password_gets_no_token(authorization: str) -> None:
    async with registry(BearerAccess(FakeTokenService(accounts=ACCOUNTS))) as client:
        answer = await client.ask("/token", headers={"Authorization": authorization})
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic realm=")


async def test_without_an_anonymous_account_a_password_is_required() -> None:
    async with registry(
        BearerAccess(FakeTokenService(accounts=ACCOUNTS[1:]))
    ) as client:
        answer = await client.ask("/token")
    assert answer.status == 401


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"grant_type": "password", "username": "admin", "password": "secret"}, 200),
        ({"grant_type": "password", "username": "admin", "password": "wrong"}, 401),
        ({"grant_type": "refresh_token", "refresh_token": "made up"}, 401),
        ({"grant_type": "other"}, 400),
    ],
)
async def test_oauth2_grants(form: dict[str, str], status: int) -> None:
    async with registry(BearerAccess(FakeTokenService(accounts=ACCOUNTS))) as client:
        answer = await client.ask("/token", method="POST", data=form)
    assert answer.status == status
    assert ("error" in answer.json) is (status != 200)


async def test_a_refresh_token_gives_an_access_token() -> None:
    tokens = FakeTokenService(accounts=ACCOUNTS, token_fields=("access_token",))
    form = {"grant_type": "refresh_token", "scope": "repository:team/oci:pull"}
    async with registry(BearerAccess(tokens)) as client:
        first = await client.ask(
            "/token?offline_token=true",
            headers={"Authorization": encode_basic_auth("reader", "secret")},
        )
        form["refresh_token"] = first.json["refresh_token"]
        second = await client.ask("/token", method="POST", data=form)
        answer = await client.ask(
            "/v2/team/oci/manifests/1", headers=bearer(second.json["access_token"])
        )
    assert "token" not in second.json
    assert answer.status == 200


async def test_the_token_service_can_run_at_another_origin() -> None:
    tokens = FakeTokenService(accounts=ACCOUNTS)
    async with serve(token_app(tokens)) as token_url:
        tokens.realm = token_url + "/service/token"
        async with registry(BearerAccess(tokens)) as client:
            answer = await client.ask("/v2/")
    assert f'realm="{token_url}/service/token"' in answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize(
    ("user", "password", "path", "status"),
    [
        ("admin", "secret", "/v2/", 200),
        ("admin", "wrong", "/v2/", 401),
        ("reader", "secret", "/v2/team/oci/tags/list", 200),
        ("reader", "secret", "/v2/public/app/tags/list", 403),
        ("reader", "secret", "/v2/_catalog", 403),
    ],
)
async def test_basic_authentication(
    user: str, password: str, path: str, status: int
) -> None:
    async with registry(Basic(ACCOUNTS)) as client:
        headers = {"Authorization": encode_basic_auth(user, password)}
        answer = await client.ask(path, headers=headers)
    assert answer.status == status
    assert ("WWW-Authenticate" in answer.headers) is (status == 401)


# -- the server ------------------------------------------------------------------


async def test_a_registry_in_a_thread_runs_until_the_end_of_the_block() -> None:
    async with aiohttp.ClientSession() as session:
        with serve_in_thread(registry_app(content())) as base_url:
            answer = await Client(session, base_url).ask("/v2/")
        with pytest.raises(aiohttp.ClientConnectionError):
            await Client(session, base_url).ask("/v2/")
    assert answer.status == 200


async def test_a_port_in_use_is_an_error() -> None:
    async with registry() as client:
        port = int(client.base_url.rpartition(":")[2])
        with pytest.raises(OSError, match="address already in use"):
            async with serve(registry_app(content()), port=port):
                pass


def test_a_port_in_use_is_an_error_in_a_thread_too() -> None:
    with serve_in_thread(registry_app(content())) as base_url:
        port = int(base_url.rpartition(":")[2])
        with (
            pytest.raises(OSError, match="address already in use"),
            serve_in_thread(registry_app(content()), port=port),
        ):
            pass
