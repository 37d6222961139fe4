"""The APIs in which registry products tell what they hold, out of memory.

    lab(content, routes=dtr_api(content, [ADMIN]))

Each speaks as its product's API reference shows it: paths, pages, counts, logins.
Routes are added to a registry's own, or make an application by themselves.
"""

from __future__ import annotations

from tests.support.products.dtr import dtr_api
from tests.support.products.gitea import gitea_api
from tests.support.products.gitlab import gitlab_api
from tests.support.products.google import google_tags
from tests.support.products.harbor import harbor_api
from tests.support.products.hub import hub_api
from tests.support.products.quay import quay_api
from tests.support.products.routes import PUSHED_EPOCH, Routes

__all__ = [
    "PUSHED_EPOCH",
    "Routes",
    "dtr_api",
    "gitea_api",
    "gitlab_api",
    "google_tags",
    "harbor_api",
    "hub_api",
    "quay_api",
]
