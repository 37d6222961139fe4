"""The APIs of registry products, in memory, after their API references.

    lab(content, routes=dtr_api(content, [ADMIN]))

Paths, pages, counts and logins are those of the product. The routes are added to those
of a registry, or make an application of their own.
"""

from __future__ import annotations

from tests.support.products.acr import acr_api
from tests.support.products.artifactory import artifactory_api
from tests.support.products.dtr import dtr_api
from tests.support.products.ghcr import ghcr_api
from tests.support.products.gitea import gitea_api
from tests.support.products.gitlab import gitlab_api
from tests.support.products.google import google_tags
from tests.support.products.harbor import harbor_api
from tests.support.products.hub import hub_api
from tests.support.products.nexus import nexus_api
from tests.support.products.quay import quay_api
from tests.support.products.routes import PUSHED_EPOCH, Routes

__all__ = [
    "PUSHED_EPOCH",
    "Routes",
    "acr_api",
    "artifactory_api",
    "dtr_api",
    "ghcr_api",
    "gitea_api",
    "gitlab_api",
    "google_tags",
    "harbor_api",
    "hub_api",
    "nexus_api",
    "quay_api",
]
