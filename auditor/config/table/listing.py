"""Who lists what a registry holds."""

from __future__ import annotations

from auditor.config.option import Group, Option, Where
from auditor.config.settings import ListerName
from auditor.config.values import choice, several
from auditor.config.values.texts import REPOSITORY, URL

LISTING: tuple[Option, ...] = (
    Option(
        name="lister",
        value=choice(ListerName),
        help="Who lists repositories and tags: the registry, or its product's own API.",
        where=Where.REGISTRY,
        group=Group.NETWORK,
    ),
    Option(
        name="api_url",
        value=URL,
        help="Where the product's API is, if it is not at the registry.",
        where=Where.REGISTRY,
        group=Group.NETWORK,
    ),
    Option(
        name="list_namespaces",
        value=several(REPOSITORY),
        help="The namespaces to list where everything in the registry is wanted.",
        where=Where.REGISTRY,
        group=Group.NETWORK,
    ),
)
