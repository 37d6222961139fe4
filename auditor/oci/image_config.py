"""Image configs (OCI image-spec config.md; Docker image specification v1.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from auditor.fast_dataclass import dataclass
from auditor.oci.encoding import parse_object
from auditor.oci.platform import PlatformSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """What an inventory needs of a config; the environment is left out on purpose,
    it often holds secrets. `created` is RFC 3339 as it stands there."""

    platform: PlatformSpec
    created: str | None
    author: str | None
    user: str | None
    working_directory: str | None
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    exposed_ports: tuple[str, ...]
    labels: Mapping[str, str]
    history_length: int


def parse_image_config(raw: bytes) -> ImageConfig:
    """The facts of a config blob, or `ProtocolError` where it is not a JSON object."""
    document = parse_object(raw, "image config")
    inner = document.get("config")
    runtime: Mapping[str, Any] = inner if isinstance(inner, dict) else {}
    ports = runtime.get("ExposedPorts")
    labels = runtime.get("Labels")
    history = document.get("history")
    return ImageConfig(
        platform=PlatformSpec(
            os=_text(document.get("os")),
            architecture=_text(document.get("architecture")),
            variant=_text(document.get("variant")),
            os_version=_text(document.get("os.version")),
        ),
        created=_text(document.get("created")),
        author=_text(document.get("author")),
        user=_text(runtime.get("User")),
        working_directory=_text(runtime.get("WorkingDir")),
        entrypoint=_words(runtime.get("Entrypoint")),
        command=_words(runtime.get("Cmd")),
        exposed_ports=tuple(sorted(ports)) if isinstance(ports, dict) else (),
        labels={key: text for key, text in labels.items() if isinstance(text, str)}
        if isinstance(labels, dict)
        else {},
        history_length=len(history) if isinstance(history, list) else 0,
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _words(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list):
        return tuple(word for word in value if isinstance(word, str))
    return ()
