"""Which product a registry is, by what its ping says of it, and what that means.

No product is bound to say who it is: these are guesses for people, and nothing in an
audit follows from them. Sources: the products' documentation, and the challenges
that docs/registries.md has tests for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from auditor.protocol.answer import Headers
from auditor.protocol.challenge import Challenge
from auditor.protocol.reference import DOCKER_HUB


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductHint:
    """A product's name, and one sentence on what is special about auditing it."""

    product: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """What there is to guess from; empty texts where nothing was said."""

    host: str
    realm_path: str
    realm_host: str
    service: str
    field: Callable[[str], str]


_HINTS: tuple[tuple[Callable[[_Said], bool], ProductHint], ...] = (
    (
        lambda said: said.host == DOCKER_HUB or said.service == "registry.docker.io",
        ProductHint(
            product="Docker Hub",
            sentence="official images are docker.io/library/NAME; pulls are counted,"
            " HEAD is not; the catalog is closed, so that"
            " repository patterns are listed by a namespace's API"
            " (docker.io/NAMESPACE/*:*)",
        ),
    ),
    (
        lambda said: said.service == "harbor-registry"
        or said.realm_path == "/service/token",
        ProductHint(
            product="Harbor",
            sentence='the catalog is for administrators; lister = "harbor" lists the'
            " projects of any account. Robot accounts are named robot$NAME",
        ),
    ),
    (
        lambda said: said.realm_path.rstrip("/") in {"/auth/token", "/auth/v2/token"},
        ProductHint(
            product="Docker Trusted Registry (MSR)",
            sentence='lister = "dtr" lists the repositories and tags that the account'
            " may see; configs/dtr.toml is a configuration to start from",
        ),
    ),
    (
        lambda said: said.service == "container_registry"
        or said.realm_path == "/jwt/auth",
        ProductHint(
            product="GitLab",
            sentence='the catalog is closed; lister = "gitlab" lists a group\'s'
            " repositories. Tokens come from GitLab's own host and live for minutes",
        ),
    ),
    (
        lambda said: said.host == "ghcr.io" or said.service == "ghcr.io",
        ProductHint(
            product="GitHub Container Registry",
            sentence="tokens are opaque, so that what they grant cannot be seen; there"
            " is no catalog",
        ),
    ),
    (
        lambda said: said.service == "ecr.amazonaws.com"
        or said.realm_host.endswith(".amazonaws.com")
        or said.host == "public.ecr.aws",
        ProductHint(
            product="Amazon ECR",
            sentence="passwords last for 12 hours; credHelpers with ecr-login renews"
            " them",
        ),
    ),
    (
        lambda said: said.host.endswith(".azurecr.io")
        or said.realm_host.endswith(".azurecr.io"),
        ProductHint(
            product="Azure Container Registry",
            sentence="az acr login leaves an identity token in docker's file",
        ),
    ),
    (
        lambda said: said.host == "gcr.io"
        or said.host.endswith((".gcr.io", ".pkg.dev")),
        ProductHint(
            product="Google Artifact Registry",
            sentence="a list of tags holds every digest; credHelpers with gcloud logs"
            " in",
        ),
    ),
    (
        lambda said: said.host == "quay.io" or said.realm_path == "/v2/auth",
        ProductHint(
            product="Quay",
            sentence="a robot account (NAMESPACE+NAME) reads one namespace; each can"
            ' have its own section: [registry."HOST/NAMESPACE"]',
        ),
    ),
    (
        lambda said: bool(
            said.field("X-JFrog-Version") or said.field("X-Artifactory-Id")
        ),
        ProductHint(
            product="Artifactory",
            sentence="an API key or identity token is the password",
        ),
    ),
    (
        lambda said: said.field("Server").startswith("Nexus/"),
        ProductHint(
            product="Nexus",
            sentence="each docker repository has a port or a host of its own",
        ),
    ),
)  # fmt: skip


def product_hint(
    registry: str, headers: Headers | None, challenge: Challenge | None
) -> ProductHint | None:
    """The product behind `registry`, by its name, ping and challenge; None: unknown."""
    parameters = {} if challenge is None else challenge.parameters
    try:
        realm = urlsplit(parameters.get("realm", ""))
        realm_host = (realm.hostname or "").lower()
    except ValueError:
        realm, realm_host = urlsplit(""), ""

    def field(name: str) -> str:
        return (headers.get(name) or "") if headers is not None else ""

    said = _Said(
        host=registry.partition(":")[0],
        realm_path=realm.path if realm.netloc else "",
        realm_host=realm_host,
        service=parameters.get("service", ""),
        field=field,
    )
    for is_it, hint in _HINTS:
        if is_it(said):
            return hint
    return None
