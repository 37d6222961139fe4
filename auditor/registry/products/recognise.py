"""Which product a registry is, by what it shows: its name, its ping, its challenge.

No product is bound to say who it is. For people any one sign is enough for a guess,
and nothing in an audit follows from it (`product_hint`). A login is sent to a
product's API only where the challenge says so beyond doubt (`recognised`). Sources:
the products' documentation, and the challenges that docs/registries.md has tests for.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from auditor.fast_dataclass import dataclass
from auditor.oci.reference import DOCKER_HUB
from auditor.registry.products.api import Product
from auditor.registry.products.dtr import Dtr
from auditor.registry.products.gitlab import GitLab
from auditor.registry.products.harbor import Harbor
from auditor.wire.challenge import Challenge
from auditor.wire.response import Headers
from auditor.wire.url_policy import origin_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductHint:
    """A product's name, and one sentence on what is special about auditing it."""

    product: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signs:
    """Where a product shows.

    `services` and `realm_paths` stand in its challenge, the paths without a slash at
    their end; `hosts` are names of registries, `realm_hosts` of token services, whole
    or, from a dot on, how they end. `fields` are header fields of the ping, and how
    their values begin.
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
        sentence="official images are docker.io/library/NAME; pulls are counted,"
        " HEAD is not; the catalog is closed, so that repository patterns are listed"
        " by a namespace's API (docker.io/NAMESPACE/*:*)",
    ),
)
_HARBOR = _Signs(
    # Harbor's core, src/core/service/token: the service of every registry it runs.
    services=("harbor-registry",),
    realm_paths=("/service/token",),
    hint=ProductHint(
        product="Harbor",
        sentence='the catalog is for administrators; lister = "harbor" lists the'
        " projects of any account. Robot accounts are named robot$NAME",
    ),
)
_DTR = _Signs(
    realm_paths=("/auth/token", "/auth/v2/token"),  # of old and new releases
    hint=ProductHint(
        product="Docker Trusted Registry (MSR)",
        sentence='lister = "dtr" lists the repositories and tags that the account'
        " may see; configs/dtr.toml is a configuration to start from",
    ),
)
_GITLAB = _Signs(
    # GitLab's documentation, "Container registry: auth token realm".
    services=("container_registry",),
    realm_paths=("/jwt/auth",),
    hint=ProductHint(
        product="GitLab",
        sentence='the catalog is closed; lister = "gitlab" lists a group\'s'
        " repositories. Tokens come from GitLab's own host and live for minutes",
    ),
)
_GITHUB = _Signs(
    services=("ghcr.io",),
    hosts=("ghcr.io",),
    hint=ProductHint(
        product="GitHub Container Registry",
        sentence="tokens are opaque, so that what they grant cannot be seen; there"
        " is no catalog",
    ),
)
_ECR = _Signs(
    services=("ecr.amazonaws.com",),
    hosts=("public.ecr.aws",),
    realm_hosts=(".amazonaws.com",),
    hint=ProductHint(
        product="Amazon ECR",
        sentence="passwords last for 12 hours; credHelpers with ecr-login renews them",
    ),
)
_AZURE = _Signs(
    hosts=(".azurecr.io",),
    realm_hosts=(".azurecr.io",),
    hint=ProductHint(
        product="Azure Container Registry",
        sentence="az acr login leaves an identity token in docker's file",
    ),
)
_GOOGLE = _Signs(
    hosts=("gcr.io", ".gcr.io", ".pkg.dev"),
    hint=ProductHint(
        product="Google Artifact Registry",
        sentence="a list of tags holds every digest; credHelpers with gcloud logs in",
    ),
)
_QUAY = _Signs(
    hosts=("quay.io",),
    realm_paths=("/v2/auth",),
    hint=ProductHint(
        product="Quay",
        sentence="a robot account (NAMESPACE+NAME) reads one namespace; each can"
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
        sentence="each docker repository has a port or a host of its own",
    ),
)
# Where two would do, the first is told.
_PRODUCTS = (
    _HUB, _HARBOR, _DTR, _GITLAB, _GITHUB, _ECR, _AZURE, _GOOGLE, _QUAY, _ARTIFACTORY,
    _NEXUS,
)  # fmt: skip


def product_hint(
    registry: str, headers: Headers | None, challenge: Challenge | None
) -> ProductHint | None:
    """The product behind `registry`, by its name, ping and challenge; None: unknown."""
    host = registry.partition(":")[0]
    parameters = {} if challenge is None else challenge.parameters
    service, realm = parameters.get("service"), _realm(parameters.get("realm"))
    for signs in _PRODUCTS:
        if (
            service in signs.services
            or _is_one_of(host, signs.hosts)
            or (realm is not None and _shows_in_realm(signs, realm))
            or (headers is not None and _shows_in_fields(signs, headers))
        ):
            return signs.hint
    return None


def recognised(
    realm: str | None, service: str | None, *, base_url: str
) -> tuple[Product, str] | None:
    """The product that names this realm and service, and where its API is.

    Null for a product that does not show so. The realm has passed the realm policy.
    """
    if realm is None:
        return None
    if service in _HARBOR.services:
        return Harbor(), base_url
    url = realm.partition("?")[0].rstrip("/")
    # The service alone is also that of others, and the path may be below another.
    if service in _GITLAB.services and url.endswith(_GITLAB.realm_paths):
        return GitLab(), str(origin_of(realm))
    if url in {base_url + path for path in _DTR.realm_paths}:
        return Dtr(), base_url
    return None


def _realm(text: str | None) -> tuple[str, str] | None:
    """Host and path of a challenge's realm; null where it is no whole URL."""
    try:
        realm = urlsplit(text or "")
        return (realm.hostname or "", realm.path.rstrip("/")) if realm.netloc else None
    except ValueError:
        return None


def _shows_in_realm(signs: _Signs, realm: tuple[str, str]) -> bool:
    host, path = realm
    return path in signs.realm_paths or _is_one_of(host, signs.realm_hosts)


def _shows_in_fields(signs: _Signs, headers: Headers) -> bool:
    found = ((headers.get(name), start) for name, start in signs.fields)
    return any(value and value.startswith(start) for value, start in found)


def _is_one_of(host: str, names: Iterable[str]) -> bool:
    return any(
        host.endswith(name) if name.startswith(".") else host == name for name in names
    )
