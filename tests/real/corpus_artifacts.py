"""What registries store that is no image: charts, modules, models, plain artifacts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.manifests import DOCKER_CONFIG, DOCKER_MANIFEST
from tests.real.corpus_entry import Entry
from tests.real.layouts import MANIFEST, Descriptor, Layout

EMPTY = "application/vnd.oci.empty.v1+json"
OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"
ORAS_ARTIFACT = "application/vnd.cncf.oras.artifact.manifest.v1+json"


def artifact(
    layout: Layout,
    config_type: str,
    layers: Mapping[str, bytes],
    *,
    config: bytes = b"{}",
    **more: Any,
) -> Descriptor:
    """A manifest of OCI image-spec, "Guidelines for Artifact Usage"."""
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        **more,
        "config": layout.blob(config, config_type),
        "layers": [layout.blob(content, kind) for kind, content in layers.items()],
    }
    return layout.document(document, MANIFEST)


def artifacts(layout: Layout) -> Iterator[Entry]:
    helm = "application/vnd.cncf.helm."
    yield _config_typed(
        layout,
        "helm",
        helm + "config.v1+json",
        {
            helm + "chart.content.v1.tar+gzip": b"a chart",
            helm + "chart.provenance.v1.prov": b"its signature",
        },
        config=b'{"name": "app", "version": "1.0.0", "apiVersion": "v2"}',
    )
    # CNCF TAG Runtime, "Wasm OCI Artifact layout".
    yield _config_typed(
        layout,
        "wasm",
        "application/vnd.wasm.config.v0+json",
        {"application/wasm": b"\0asm\1\0\0\0"},
        config=b'{"architecture": "wasm", "os": "wasip2", "layerDigests": []}',
    )
    # oras 0.x and Bazel: a config type of their own, or "unknown".
    yield _config_typed(
        layout,
        "oras0",
        "application/vnd.unknown.config.v1+json",
        {"text/plain": b"hello"},
    )
    yield _config_typed(
        layout,
        "kitops",
        "application/vnd.kitops.modelkit.config.v1+json",
        {"application/vnd.kitops.modelkit.model.v1.tar+gzip": b"a model"},
    )
    model = "application/vnd.cncf.model.manifest.v1+json"
    yield Entry(
        repository="corpus/model",
        root=artifact(
            layout,
            "application/vnd.cncf.model.config.v1+json",
            {"application/vnd.cncf.model.weight.v1.raw": b"weights"},
            artifactType=model,
        ),
        content="artifact",
        artifact_type=model,
    )
    yield Entry(
        repository="corpus/ollama",
        root=_ollama(layout),
    )
    yield Entry(
        repository="corpus/typed",
        root=artifact(
            layout,
            EMPTY,
            {"application/vnd.example.data": b"data"},
            artifactType="application/vnd.example.thing",
            annotations={"org.opencontainers.image.created": "2026-01-02T03:04:05Z"},
        ),
        content="artifact",
        artifact_type="application/vnd.example.thing",
    )
    yield Entry(
        repository="corpus/no-layers",
        root=artifact(layout, EMPTY, {}, artifactType="application/vnd.example.none"),
        content="artifact",
        artifact_type="application/vnd.example.none",
    )
    # The drafts of OCI 1.1 and of ORAS: manifests without a config.
    for name, kind in (("oci-rc", OCI_ARTIFACT), ("oras-draft", ORAS_ARTIFACT)):
        yield Entry(
            repository=f"corpus/{name}",
            root=layout.document(
                {
                    "mediaType": kind,
                    "artifactType": "application/vnd.example.old",
                    "blobs": [layout.blob(b"old", "application/vnd.example.data")],
                },
                kind,
            ),
            failure="unsupported_media_type",
        )


def _config_typed(
    layout: Layout,
    name: str,
    config_type: str,
    layers: Mapping[str, bytes],
    config: bytes = b"{}",
) -> Entry:
    """The type of the artifact is that of its config."""
    return Entry(
        repository=f"corpus/{name}",
        root=artifact(layout, config_type, layers, config=config),
        content="artifact",
        artifact_type=config_type,
    )


def _ollama(layout: Layout) -> Descriptor:
    """A Docker manifest with the config of an image and no layer of one."""
    config = b'{"model_format": "gguf", "architecture": "amd64", "os": "linux"}'
    document = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": layout.blob(config, DOCKER_CONFIG),
        "layers": [layout.blob(b"gguf", "application/vnd.ollama.image.model")],
    }
    return layout.document(document, DOCKER_MANIFEST)
