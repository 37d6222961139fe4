"""Which product a registry is: by its name, its ping and its challenge.

No product has to identify itself. `product_hint` accepts any sign, because its hint is
only shown. `recognised_api` decides where a login is sent, and accepts only a challenge
that is unambiguous. Sources: the products' documentation, and the challenges in
docs/registries.md, which have tests.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from auditor.fast_dataclass import dataclass
from auditor.oci.reference import DOCKER_HUB
from auditor.registry.products.dtr import Dtr
from auditor.registry.products.gitlab import GitLab
from auditor.registry.products.harbor import Harbor
from auditor.registry.products.product_api import Product
from auditor.wire.challenge import Challenge
from auditor.wire.response import Headers
from auditor.wire.url_policy import origin_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductHint:
    """A product's name, and one sentence about auditing it."""

    product: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signs:
    """By what a product is recognised.

    `services` and `realm_paths` (without a slash at the end) are those of its
    challenge. `hosts` are registries and `realm_hosts` token services; a name with a
    leading dot matches its subdomains. `fields` are header fields of the ping and the
    beginnings of their values.
    """

    hint: ProductHint
    services: tuple[str, ...] = ()
    realm_paths: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    realm_hosts: tuple[str, ...] = ()
    fields: tuple[tuple[str, str], ...] = ()


_HUB = _Signs(
    services=("registry.docker.io",),
    hosts=(DOCKER_HUB,),
    hint=ProductHint(
        product="Docker Hub",
        sentence="official images are docker.io/library/NAME; GET of a manifest counts"
        " as a pull, HEAD does not; without a catalog, patterns need a namespace"
        " (docker.io/NAMESPACE/*:*)",
    ),
)
_HARBOR = _Signs(
    # Harbor's core, src/core/service/token: the service of every registry it runs.
    services=("harbor-registry",),
    realm_paths=("/service/token",),
    hint=ProductHint(
        product="Harbor",
        sentence='only administrators can list the catalog; lister = "harbor" lists'
        " the projects of any account; robot accounts are named robot$NAME",
    ),
)
_DTR = _Signs(
    realm_paths=("/auth/token", "/auth/v2/token"),  # old and new releases
    hint=ProductHint(
        product="Docker Trusted Registry (MSR)",
        sentence='lister = "dtr" lists the repositories and tags that the account can'
        " see; start from configs/dtr.toml",
    ),
)
_GITLAB = _Signs(
    # GitLab's documentation, "Container registry: auth token realm".
    services=("container_registry",),
    realm_paths=("/jwt/auth",),
    hint=ProductHint(
        product="GitLab",
        sentence='there is no catalog; lister = "gitlab" lists the repositories of a'
        " group; tokens come from GitLab's own host and expire after minutes",
    ),
)
_GITHUB = _Signs(
    services=("ghcr.io",),
    hosts=("ghcr.io",),
    hint=ProductHint(
        product="GitHub Container Registry",
        sentence="tokens are opaque, so their grants cannot be read; there is no"
        " catalog",
    ),
)
_ECR = _Signs(
    services=("ecr.amazonaws.com",),
    hosts=("public.ecr.aws",),
    realm_hosts=(".amazonaws.com",),
    hint=ProductHint(
        product="Amazon ECR",
        sentence="passwords expire after 12 hours; the credential helper ecr-login"
        " (credHelpers) renews them",
    ),
)
_AZURE = _Signs(
    hosts=(".azurecr.io",),
    realm_hosts=(".azurecr.io",),
    hint=ProductHint(
        product="Azure Container Registry",
        sentence="az acr login stores an identity token in docker's config.json",
    ),
)
_GOOGLE = _Signs(
    hosts=("gcr.io", ".gcr.io", ".pkg.dev"),
    hint=ProductHint(
        product="Google Artifact Registry",
        sentence="the listing of tags includes digests; the credential helper gcloud"
        " (credHelpers) logs in",
    ),
)
_QUAY = _Signs(
    hosts=("quay.io",),
    realm_paths=("/v2/auth",),
    hint=ProductHint(
        product="Quay",
        sentence="a robot account (NAMESPACE+NAME) can read one namespace; each can"
        ' have its own section: [registry."HOST/NAMESPACE"]',
    ),
)
_ARTIFACTORY = _Signs(
    fields=(("X-JFrog-Version", ""), ("X-Artifactory-Id", "")),
    hint=ProductHint(
        product="Artifactory",
        sentence="an API key or identity token is the password",
    ),
)
_NEXUS = _Signs(
    fields=(("Server", "Nexus/"),),
    hint=ProductHint(
        product="Nexus",
        sentence="each docker repository has its own port or host",
    ),
)
# If several match, the first one is reported.
_PRODUCTS = (
    _HUB, _HARBOR, _DTR, _GITLAB, _GITHUB, _ECR, _AZURE, _GOOGLE, _QUAY, _ARTIFACTORY,
    _NEXUS,
)  # fmt: skip


def product_hint(
    registry: str, headers: Headers | None, challenge: Challenge | None
) -> ProductHint | None:
    """The product of a registry by its name, its ping's headers and its challenge."""
    host = registry.partition(":")[0]
    parameters = {} if challenge is None else challenge.parameters
    service, realm = parameters.get("service"), _realm(parameters.get("realm"))
    for signs in _PRODUCTS:
        if (
            service in signs.services
            or _matches(host, signs.hosts)
            or (realm is not None and _matches_realm(signs, realm))
            or (headers is not None and _matches_fields(signs, headers))
        ):
            return signs.hint
    return None


def recognised_api(
    realm: str | None, service: str | None, *, base_url: str
) -> tuple[Product, str] | None:
    """The product with this realm and service, and the URL of its API.

    None if the product cannot be told for certain. The realm must have passed the
    realm policy (`check_realm`).
    """
    if realm is None:
        return None
    if service in _HARBOR.services:
        return Harbor(), base_url
    url = realm.partition("?")[0].rstrip("/")
    # Neither is enough: others use this service name, and a path may have a prefix.
    if service in _GITLAB.services and url.endswith(_GITLAB.realm_paths):
        return GitLab(), str(origin_of(realm))
    if url in {base_url + path for path in _DTR.realm_paths}:
        return Dtr(), base_url
    return None


def _realm(text: str | None) -> tuple[str, str] | None:
    """Host and path of a realm; None if it is not an absolute URL."""
    try:
        realm = urlsplit(text or "")
        return (realm.hostname or "", realm.path.rstrip("/")) if realm.netloc else None
    except ValueError:
        return None


def _matches_realm(signs: _Signs, realm: tuple[str, str]) -> bool:
    host, path = realm
    return path in signs.realm_paths or _matches(host, signs.realm_hosts)


def _matches_fields(signs: _Signs, headers: Headers) -> bool:
    values = ((headers.get(name), start) for name, start in signs.fields)
    return any(value and value.startswith(start) for value, start in values)


def _matches(host: str, names: Iterable[str]) -> bool:
    return any(
        host.endswith(name) if name.startswith(".") else host == name for name in names
    )
