"""Assembled images in the digest store: on a warm night, what stands below a manifest
need not be read, checked and put together again.

They say only what the manifests and configs below say, which the store holds as well:
what is missing, damaged, of other rules or options, or made of something that has to be
asked for again, is as good as absent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from functools import lru_cache
from typing import Any

import orjson

from auditor.audit.content_cache import SharedContent
from auditor.audit.image_metadata import Answers, Facts, Wanted
from auditor.model import (
    Attachment,
    AttachmentKind,
    BaseImage,
    ConfigFacts,
    Layer,
    LayerTrait,
    Platform,
    Warn,
    WarningCode,
)
from auditor.util.lru import Lru
from auditor.version import __version__

# What is made of the same manifests may differ between programs with other rules: a
# test holds what they give, and says that this number has to rise when that changes.
RULES = 1
# A larger one is put together again: 256 KiB are some thousand layers.
MAX_BYTES = 256 * 1024
# Digests, some 200 bytes each.
MAX_ABSENT = 1024


class StoredFacts:
    """The facts of images, as the options want them, in the store of `content`."""

    def __init__(
        self, content: SharedContent, wanted: Wanted, *, recheck_s: float
    ) -> None:
        self._content = content
        self._variant = variant_of(wanted, recheck_s)
        # Of these there are none: whoever reads the manifest then asks once more.
        self._absent: Lru[tuple[str, str], bool] = Lru(MAX_ABSENT)
        # Blobs are named by facts, and only those of a run that verifies them.
        self._unused = wanted.verify_blobs or content.store.path is None

    def get(self, registry: str, digest: str, media_type: str) -> Facts | None:
        """The facts of this manifest, if all below it is taken to be there still."""
        if self._unused or self._absent.get((registry, digest)):
            return None
        facts = self._read(registry, digest, media_type)
        if facts is None:
            self._absent.put((registry, digest), True)
        return facts

    def _read(self, registry: str, digest: str, media_type: str) -> Facts | None:
        store = self._content.store
        stored = store.image(registry, digest, variant=self._variant)
        if stored is None:
            return None
        try:
            facts, manifests, configs = decode(stored.body)
        except (AttributeError, LookupError, TypeError, ValueError):
            facts = None
        if facts is None or facts.digest != digest:
            store.drop_image(registry, digest)
            return None
        if facts.media_type != media_type:
            return None  # the registry says now that it is something else
        if stored.is_due:
            store.use((digest, *manifests, *configs))
        self._content.saved["stored_manifests"] += len(manifests)
        self._content.saved["stored_configs"] += len(configs)
        return facts

    def put(
        self,
        registry: str,
        facts: Facts,
        manifests: Collection[str],
        configs: Collection[str],
    ) -> None:
        """Remember facts that were made of these manifests and configs, beside the
        image's own manifest."""
        if self._unused or not (manifests or configs):
            return
        span = self._content.trusted_span(registry, manifests, configs)
        if span is None:
            return
        self._absent.drop((registry, facts.digest))
        body = encode(facts, manifests, configs)
        if len(body) <= MAX_BYTES:
            self._content.store.put_image(
                registry, facts.digest, body, variant=self._variant, span=span
            )


def variant_of(wanted: Wanted, recheck_s: float) -> bytes:
    """Which rules and options facts depend on, beside the content."""
    said = (
        RULES,
        __version__,
        wanted.image_config,
        wanted.platforms,
        wanted.labels and wanted.labels.patterns,
        wanted.attachments,
        recheck_s,
    )
    return hashlib.blake2b(repr(said).encode(), digest_size=8).digest()


def encode(facts: Facts, manifests: Collection[str], configs: Collection[str]) -> bytes:
    """The facts as a row holds them; what blobs they name is not in it."""
    return orjson.dumps(
        {
            "manifests": sorted(manifests),
            "configs": sorted(configs),
            "digest": facts.digest,
            "media_type": facts.media_type,
            "schema_version": facts.schema_version,
            "artifact_type": facts.artifact_type,
            "platforms": facts.platforms,
            "platforms_left_out": facts.platforms_left_out,
            "attachments": facts.attachments,
            "annotations": dict(facts.annotations),
            "warnings": facts.warnings,
            "answers": facts.answers,
        }
    )


def decode(body: bytes) -> tuple[Facts, list[str], list[str]]:
    """The facts again, and the manifests and configs that they were made of. Raises
    what Python raises for a document of another shape."""
    row: dict[str, Any] = orjson.loads(body)
    manifests, configs = row.pop("manifests"), row.pop("configs")
    row["platforms"] = tuple([_platform(one) for one in row["platforms"]])
    row["attachments"] = tuple([_attachment(one) for one in row["attachments"]])
    row["warnings"] = tuple(
        [Warn(code=WarningCode(one["code"]), detail=one["detail"])
         for one in row["warnings"]]
    )  # fmt: skip
    row["answers"] = Answers(**row["answers"])
    return Facts(**row), manifests, configs


def _platform(row: dict[str, Any]) -> Platform:
    config, base, layers = row["config"], row["base"], row["layers"]
    if config is not None:
        row["config"] = ConfigFacts(**config)
    if base is not None:
        row["base"] = BaseImage(**base)
    if layers is not None:
        row["layers"] = tuple(
            [_layer(one["digest"], one["size"], one["media_type"]) for one in layers]
        )
    row["layer_traits"] = tuple([LayerTrait(one) for one in row["layer_traits"]])
    return Platform(**row)


# Images built on the same base share its layers: made once, some 300 bytes each.
@lru_cache(maxsize=4096)
def _layer(digest: str, size: int | None, media_type: str | None) -> Layer:
    return Layer(digest=digest, size=size, media_type=media_type)


def _attachment(row: dict[str, Any]) -> Attachment:
    row["kind"] = AttachmentKind(row["kind"])
    if row["predicates"] is not None:
        row["predicates"] = tuple(row["predicates"])
    return Attachment(**row)
