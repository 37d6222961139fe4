"""The SBOM file of an audit: JSON lines beside its report (`audit --sbom FILE`).

A line is a document of an attachment, with its packages: there are too many of them
for the lines of a report, and many images have the same. The attachments of a report
lead to the lines by `attachment`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from pathlib import Path

import orjson

from auditor.errors import FailureKind, OutputError
from auditor.fast_dataclass import dataclass
from auditor.model import SCHEMA
from auditor.oci.sbom_packages import SbomPackage
from auditor.util.atomic_file import atomic_file
from auditor.util.compressed_file import compressing


@dataclass(frozen=True, kw_only=True)
class SbomRecord:
    """A document of an attachment, or why it could not be read; unknown is None.

    `attachment` is the digest of the attachment's manifest, `digest` and `size` (in
    bytes) are those of the document in it, None if the manifest could not be read.
    `format` is spdx, cyclonedx or syft. `subjects` are the digests that the in-toto
    statement around the document names. `packages` are sorted by name and distinct;
    `packages_left_out` is how many more there are than fit into a line. `failure` and
    `detail` say why there are no packages; `warnings` are sentences.
    """

    schema: int = SCHEMA
    kind: str = "sbom"
    attachment: str
    digest: str | None
    media_type: str | None
    size: int | None
    format: str | None
    format_version: str | None
    subjects: tuple[str, ...]
    packages: tuple[SbomPackage, ...]
    packages_left_out: int
    failure: FailureKind | None
    detail: str | None
    warnings: tuple[str, ...]


async def write_sbom_file(path: Path, lines: AsyncIterable[list[bytes]]) -> None:
    """Replace a file by these JSON lines, compressed as its suffix says.

    It keeps its content if the lines raise, or are cancelled. Raises `OutputError`.
    """
    try:
        with atomic_file(path) as stream, compressing(stream, path.name) as compressed:
            async for batch in lines:
                data = b"".join(line + b"\n" for line in batch)
                # Compressing takes long: signals are received meanwhile.
                await asyncio.to_thread(compressed.write, data)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"{path}: cannot be written: {reason}") from None


def encode_record(record: SbomRecord) -> bytes:
    """The record as a JSON line, without its end."""
    return orjson.dumps(record)
