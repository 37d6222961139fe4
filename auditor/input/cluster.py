"""The images of a cluster as a part of the input.

They are read at once, not as they are needed: a cluster has some thousand images, its
lists expire after minutes, and its pull secrets are needed before the first request to
a registry.
"""

from __future__ import annotations

import functools

from auditor.config import Settings
from auditor.errors import UsageError
from auditor.fast_dataclass import dataclass
from auditor.input.input_items import InputItem
from auditor.registry.auth.docker_config import PullSecret
from auditor.util.tasks import call_in_thread


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterImages:
    """What was read from a cluster: the items of the input, and its pull secrets."""

    items: tuple[InputItem, ...] = ()
    pull_secrets: tuple[PullSecret, ...] = ()


async def read_cluster(settings: Settings) -> ClusterImages:
    """The images of the cluster of the settings; none without a cluster.

    Raises `UsageError` if the API server does not answer, lists no pods, or has no
    image and the settings do not allow an empty input.
    """
    if settings.cluster is None:
        return ClusterImages()
    if settings.shard is not None:
        raise UsageError(
            "--cluster: each shard would read another state of the cluster; audit it"
            " without --shard"
        )
    # Imports an HTTP client, which no other input needs.
    from auditor.input.cluster_objects import read_objects  # noqa: PLC0415

    # The program can end while the API server does not answer.
    items, secrets = await call_in_thread(
        functools.partial(read_objects, settings.cluster)
    )
    if not items and not settings.allow_empty:
        raise UsageError(
            "cluster: no pod or workload has an image; check namespaces in [cluster]"
            " (--allow-empty accepts an empty input)"
        )
    return ClusterImages(items=tuple(items), pull_secrets=tuple(secrets))
