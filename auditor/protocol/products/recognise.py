"""Products that show in the challenge with which they ask for a token."""

from __future__ import annotations

from auditor.protocol.products.dtr import Dtr
from auditor.protocol.products.gitlab import GitLab
from auditor.protocol.products.harbor import Harbor
from auditor.protocol.products.product import Product
from auditor.protocol.url import origin_of

# Harbor's core, src/core/service/token: the service of every registry that it runs.
_HARBOR = "harbor-registry"
# GitLab's documentation, "Container registry: auth token realm".
_GITLAB = "container_registry"
_GITLAB_PATH = "/jwt/auth"
# DTR's and MSR's, of old and new releases.
_DTR_PATHS = ("/auth/token", "/auth/v2/token")


def recognised(
    realm: str | None, service: str | None, *, base_url: str
) -> tuple[Product, str] | None:
    """The product that names this realm and service, and where its API is.

    Null for a product that does not show so. The realm has passed the realm policy.
    """
    if realm is None:
        return None
    if service == _HARBOR:
        return Harbor(), base_url
    path = realm.partition("?")[0].rstrip("/")
    if service == _GITLAB and path.endswith(_GITLAB_PATH):
        return GitLab(), str(origin_of(realm))
    if path in {base_url + one for one in _DTR_PATHS}:
        return Dtr(), base_url
    return None
