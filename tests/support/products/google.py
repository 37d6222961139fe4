"""Google's tags response, which contains every digest of a repository."""

from __future__ import annotations

from typing import Any

from auditor.demo.demo_registry import DemoContent, DemoRepository
from tests.support.products.routes import PUSHED_EPOCH, below


def google_tags(content: DemoContent, name: str) -> dict[str, Any]:
    """Google's tags response: a map of manifests, and the child repositories."""
    repository = content.repositories.get(name) or DemoRepository()
    by_digest: dict[str, list[str]] = {digest: [] for digest in repository.manifests}
    for tag, digest in repository.tags.items():
        by_digest[digest].append(tag)
    names = {one.removeprefix(f"{name}/") for one in below(content, name)}
    return {
        "child": sorted({one.partition("/")[0] for one in names if one}),
        "manifest": {
            digest: {
                "imageSizeBytes": "1234",
                "layerId": "",
                "mediaType": repository.manifests[digest].media_type,
                "tag": tags,
                "timeCreatedMs": "0",
                "timeUploadedMs": f"{PUSHED_EPOCH}000",
            }
            for digest, tags in by_digest.items()
        },
        "name": name,
        "tags": sorted(repository.tags),
    }
