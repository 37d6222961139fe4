"""The APIs in which registry products tell what they hold, out of memory.

    lab(content, routes=dtr_api(content, [ADMIN]))

Each speaks as its product's API reference shows it: paths, pages, counts, logins.
Routes are added to a registry's own, or make an application by themselves.
"""

from __future__ import annotations

from auditor.sandbox.products.dtr import dtr_api
from auditor.sandbox.products.gitea import gitea_api
from auditor.sandbox.products.gitlab import gitlab_api
from auditor.sandbox.products.google import google_tags
from auditor.sandbox.products.harbor import harbor_api
from auditor.sandbox.products.hub import hub_api
from auditor.sandbox.products.quay import quay_api
from auditor.sandbox.products.routes import PUSHED_EPOCH, Routes

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
