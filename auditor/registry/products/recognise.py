"""Recognises the product of a registry by its name, its ping and its challenge.

No product has to identify itself. `recognise_product` accepts any sign, because its
result is only printed. `recognise_api` decides where a login is sent, and accepts only
an unambiguous challenge. Sources: the products' documentation, and the challenges in
docs/registries/index.md, which have tests.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from urllib.parse import urlsplit

from auditor.fast_dataclass import dataclass
from auditor.oci.reference import DOCKER_HUB
from auditor.registry.products.dtr import Dtr
from auditor.registry.products.gitlab import GitLab
from auditor.registry.products.harbor import Harbor
from auditor.registry.products.product import Product
from auditor.wire.challenge import Challenge
from auditor.wire.response import Headers
from auditor.wire.url_policy import origin_of


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownProduct:
    """A product: one sentence about auditing it, and the signs that identify it.

    `services` and `realm_paths` (without a slash at the end) are those of its
    challenge; `shared_service` is one that several products use, with the end of the
    realm's path that tells them apart. `hosts` are registries and `realm_hosts` token
    services; a name with a leading dot matches its subdomains. `fields` are header
    fields of the ping and the beginnings of their values.
    """

    name: str
    hint: str
    services: tuple[str, ...] = ()
    shared_service: tuple[str, str] | None = None
    realm_paths: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    realm_hosts: tuple[str, ...] = ()
    fields: tuple[tuple[str, str], ...] = ()


_HUB = KnownProduct(
    name="Docker Hub",
    hint="official images are docker.io/library/NAME; GET of a manifest counts"
    " as a pull, HEAD does not; without a catalog, patterns need a namespace"
    " (docker.io/NAMESPACE/*:*)",
    services=("registry.docker.io",),
    hosts=(DOCKER_HUB,),
)
_HARBOR = KnownProduct(
    name="Harbor",
    hint='only administrators can list the catalog; lister = "harbor" lists'
    " the projects of any account; robot accounts are named robot$NAME",
    # Harbor's core, src/core/service/token: the service of every registry it runs.
    services=("harbor-registry",),
    realm_paths=("/service/token",),
)
_DTR = KnownProduct(
    name="Docker Trusted Registry (MSR)",
    hint='lister = "dtr" lists the repositories and tags that the account can'
    " see; start from: auditor config example dtr",
    realm_paths=("/auth/token", "/auth/v2/token"),  # old and new releases
)
_GITLAB = KnownProduct(
    name="GitLab",
    hint='there is no catalog; lister = "gitlab" lists the repositories of a'
    " group; tokens come from GitLab's own host and expire after minutes",
    # GitLab's documentation, "Container registry: auth token realm".
    shared_service=("container_registry", "/jwt/auth"),
    hosts=("registry.gitlab.com",),
    realm_paths=("/jwt/auth",),
)
_GITEA = KnownProduct(
    name="Gitea or Forgejo",
    hint="an access token can be the password; the catalog lists what the account can"
    ' see, and lister = "gitea" the packages of an owner',
    # go-gitea/gitea, routers/api/packages/container: the same service as GitLab's.
    shared_service=("container_registry", "/v2/token"),
    hosts=("codeberg.org", "gitea.com"),
)
_GITHUB = KnownProduct(
    name="GitHub Container Registry",
    hint="tokens are opaque, so their grants cannot be read; there is no catalog:"
    ' lister = "ghcr" lists the packages of an organisation or a user',
    services=("ghcr.io",),
    hosts=("ghcr.io",),
)
_ECR = KnownProduct(
    name="Amazon ECR",
    hint="passwords expire after 12 hours; the extra aws logs in with this machine's"
    ' identity, and lister = "ecr" lists tags with digests',
    services=("ecr.amazonaws.com",),
    hosts=("public.ecr.aws",),
    realm_hosts=(".amazonaws.com",),
)
_AZURE = KnownProduct(
    name="Azure Container Registry",
    hint="the extra azure logs in with this machine's identity; az acr login stores an"
    " identity token in docker's config.json",
    hosts=(".azurecr.io",),
    realm_hosts=(".azurecr.io",),
)
_GOOGLE = KnownProduct(
    name="Google Artifact Registry",
    hint="the listing of tags includes digests; the extra google logs in with this"
    " machine's identity",
    hosts=("gcr.io", ".gcr.io", ".pkg.dev"),
)
_QUAY = KnownProduct(
    name="Quay",
    hint="a robot account (NAMESPACE+NAME) can read one namespace; each can"
    ' have its own section: [registry."HOST/NAMESPACE"]',
    hosts=("quay.io",),
    realm_paths=("/v2/auth",),
)
_ARTIFACTORY = KnownProduct(
    name="Artifactory",
    hint="an API key or identity token is the password",
    fields=(("X-JFrog-Version", ""), ("X-Artifactory-Id", "")),
)
_NEXUS = KnownProduct(
    name="Nexus",
    hint='each docker repository has its own port or host; lister = "nexus" lists tags'
    " with digests",
    fields=(("Server", "Nexus/"),),
)
# If several match, the first one is reported.
_PRODUCTS = (
    _HUB, _HARBOR, _DTR, _GITLAB, _GITEA, _GITHUB, _ECR, _AZURE, _GOOGLE, _QUAY,
    _ARTIFACTORY, _NEXUS,
)  # fmt: skip


def recognise_product(
    registry: str, headers: Headers | None, challenge: Challenge | None
) -> KnownProduct | None:
    """The product of a registry by its name, its ping's headers and its challenge."""
    host = registry.partition(":")[0]
    parameters = {} if challenge is None else challenge.parameters
    service = parameters.get("service")
    realm_host, realm_path = _host_and_path(parameters.get("realm") or "")
    for product in _PRODUCTS:
        if (
            service in product.services
            or _matches_shared_service(product, service, realm_path)
            or _matches(host, product.hosts)
            or realm_path in product.realm_paths
            or _matches(realm_host, product.realm_hosts)
            or (headers is not None and _matches_fields(product, headers))
        ):
            return product
    return None


def recognise_api(
    realm: str | None, service: str | None, *, base_url: str
) -> tuple[Product, str] | None:
    """The product with this realm and service, and the URL of its API.

    None if the product is not certain. The realm must have passed the realm policy
    (`check_realm`).
    """
    if realm is None:
        return None
    if service in _HARBOR.services:
        return Harbor(), base_url
    url = realm.partition("?")[0].rstrip("/")
    # Neither is enough: others use this service name, and a path may have a prefix.
    if _matches_shared_service(_GITLAB, service, url):
        return GitLab(), str(origin_of(realm))
    if url in {base_url + path for path in _DTR.realm_paths}:
        return Dtr(), base_url
    return None


def _matches_shared_service(
    product: KnownProduct, service: str | None, realm_path: str
) -> bool:
    if product.shared_service is None:
        return False
    name, suffix = product.shared_service
    return service == name and realm_path.endswith(suffix)


def _host_and_path(url: str) -> tuple[str, str]:
    """The host and path of a URL; empty if it is not absolute."""
    with suppress(ValueError):
        parts = urlsplit(url)
        if parts.netloc:
            return parts.hostname or "", parts.path.rstrip("/")
    return "", ""


def _matches_fields(product: KnownProduct, headers: Headers) -> bool:
    values = ((headers.get(name), start) for name, start in product.fields)
    return any(value and value.startswith(start) for value, start in values)


def _matches(host: str, names: Iterable[str]) -> bool:
    return any(
        host.endswith(name) if name.startswith(".") else host == name for name in names
    )
