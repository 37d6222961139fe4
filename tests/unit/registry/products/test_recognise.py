"""Guesses at a registry's product, from its name, ping and challenge."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from auditor.registry.products.recognise import product_hint
from auditor.wire.challenge import Challenge, parse_challenges, preferred

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
        # a path alone is no realm, and a plain registry is nobody
        ("r.test", 'Bearer realm="/service/token",service="x"', {}, None),
        ("r.test", 'Bearer realm="http://[::1/token"', {}, None),
        ("notgcr.io", "", {}, None),
        ("r.test", "", {"Server": "nginx"}, None),
    ],
)  # fmt: skip
def test_products_are_guessed(
    registry: str, challenge: str, headers: dict[str, str], product: str | None
) -> None:
    found = product_hint(
        registry, CIMultiDict(headers), preferred(parse_challenges([challenge]))
    )
    assert (None if found is None else found.product) == product


@given(st.text(max_size=40), st.text(max_size=9), st.text(max_size=9))
def test_nothing_that_a_registry_says_breaks_a_guess(
    realm: str, service: str, field: str
) -> None:
    challenge = Challenge(
        scheme="bearer", parameters={"realm": realm, "service": service}
    )
    product_hint("registry.test", CIMultiDict({"Server": field}), challenge)
