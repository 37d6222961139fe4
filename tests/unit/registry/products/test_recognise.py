"""Recognition of products by name, ping and challenge."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from auditor.registry.products.recognise import recognise_api, recognise_product
from auditor.wire.challenge import Challenge, parse_challenges, preferred_challenge

HARBOR = 'Bearer realm="https://h.test/service/token",service="harbor-registry"'


@pytest.mark.parametrize(
    ("registry", "challenge", "headers", "product"),
    [
        ("docker.io", "", {}, "Docker Hub"),
        (
            "mirror.test",
            'Bearer realm="https://auth.docker.io/token",service="registry.docker.io"',
            {}, "Docker Hub",
        ),
        ("h.test", HARBOR, {}, "Harbor"),
        (
            "dtr.test", 'Bearer realm="https://dtr.test/auth/token",service="dtr.test"',
            {}, "Docker Trusted Registry (MSR)",
        ),
        (
            "g.test:5050",
            'Bearer realm="https://g.test/jwt/auth",service="container_registry"',
            {}, "GitLab",
        ),
        (
            "g.test:5050",
            'Bearer realm="https://g.test/git/jwt/auth",service="container_registry"',
            {}, "GitLab",
        ),
        # Gitea and Forgejo have GitLab's service (routers/api/packages/container)
        (
            "f.test",
            'Bearer realm="https://f.test/v2/token",service="container_registry",'
            'scope="*"',
            {}, "Gitea or Forgejo",
        ),
        (
            "f.test",
            'Bearer realm="https://f.test/git/v2/token",service="container_registry"',
            {}, "Gitea or Forgejo",
        ),
        ("codeberg.org", "", {}, "Gitea or Forgejo"),
        # the shared service alone, or another service with the path, is no sign
        (
            "r.test", 'Bearer realm="https://r.test/x",service="container_registry"',
            {}, None,
        ),
        ("r.test", 'Bearer realm="https://r.test/v2/token",service="r"', {}, None),
        ("ghcr.io", "", {}, "GitHub Container Registry"),
        (
            "1.dkr.ecr.eu-central-1.amazonaws.com",
            'Basic realm="https://1.dkr.ecr.eu-central-1.amazonaws.com/",'
            'service="ecr.amazonaws.com"',
            {}, "Amazon ECR",
        ),
        ("me.azurecr.io", "", {}, "Azure Container Registry"),
        ("eu.gcr.io", "", {}, "Google Artifact Registry"),
        ("europe-docker.pkg.dev", "", {}, "Google Artifact Registry"),
        ("quay.io", "", {}, "Quay"),
        ("a.test", "", {"X-JFrog-Version": "Artifactory/7.90"}, "Artifactory"),
        ("n.test", 'Basic realm="Sonatype"', {"Server": "Nexus/3.70 (OSS)"}, "Nexus"),
        # a path alone is no realm, and distribution itself is no known product
        ("r.test", 'Bearer realm="/service/token",service="x"', {}, None),
        ("r.test", 'Bearer realm="http://[::1/token"', {}, None),
        ("notgcr.io", "", {}, None),
        ("r.test", "", {"Server": "nginx"}, None),
    ],
)  # fmt: skip
def test_a_product_is_recognised_by_any_sign(
    registry: str, challenge: str, headers: dict[str, str], product: str | None
) -> None:
    known = recognise_product(
        registry,
        CIMultiDict(headers),
        preferred_challenge(parse_challenges([challenge])),
    )
    assert (None if known is None else known.name) == product


@given(st.text(max_size=40), st.text(max_size=9), st.text(max_size=9))
def test_any_challenge_and_header_is_accepted(
    realm: str, service: str, field: str
) -> None:
    challenge = Challenge(
        scheme="bearer", parameters={"realm": realm, "service": service}
    )
    recognise_product("registry.test", CIMultiDict({"Server": field}), challenge)


@pytest.mark.parametrize(
    ("realm", "service", "name", "api"),
    [
        ("https://h.example.com/service/token", "harbor-registry", "Harbor", "h"),
        ("https://gl.example.com/jwt/auth", "container_registry", "GitLab", "gl"),
        ("https://gl.example.com/jwt/auth?x", "container_registry", "GitLab", "gl"),
        ("https://h.example.com/auth/v2/token/", "h.example.com", "DTR", "h"),
        ("https://h.example.com/auth/token", None, "DTR", "h"),
        ("https://other.example.com/auth/token", None, None, ""),
        ("https://gitea.example.com/v2/token", "container_registry", None, ""),
        ("https://h.example.com/token", "h.example.com", None, ""),
        ("https://h.example.com/token", None, None, ""),
        (None, "harbor-registry", None, ""),
    ],
)
def test_the_api_is_recognised_by_an_unambiguous_challenge_only(
    realm: str | None, service: str | None, name: str | None, api: str
) -> None:
    found = recognise_api(realm, service, base_url="https://h.example.com")
    if name is None:
        assert found is None
        return
    assert found is not None
    assert (found[0].name, found[1]) == (name, f"https://{api}.example.com")
