"""The SBOM file of an audit: JSON lines beside its report (`audit --sbom FILE`).

A line is a document of an attachment, with its packages: there are too many of them
for the lines of a report, and many images have the same. The attachments of a report
lead to the lines by `attachment`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from dataclasses import asdict
from pathlib import Path

import orjson

from auditor.errors import FailureKind, OutputError
from auditor.fast_dataclass import dataclass
from auditor.model import SCHEMA
from auditor.oci.sbom_packages import SbomPackage
from auditor.util.atomic_file import atomic_file
from auditor.util.compressed_file import compressing
from auditor.util.text import format_count


@dataclass(frozen=True, kw_only=True)
class SbomRecord:
    """A document of an attachment, or why it could not be read."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class SbomCounts:
    """The member `sboms` of a summary: how reading the SBOMs ended.

    `read` SBOMs list `packages`; `from_cache` of all were read by an earlier audit.
    `unreadable`: the document is at fault; `failed`: it could not be fetched. `written`
    is false if there is no new file: the audit was interrupted, or the disk failed.
    """

    written: bool
    read: int = 0
    from_cache: int = 0
    packages: int = 0
    unreadable: int = 0
    failed: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether the file has everything that another audit could find."""
        return self.written and not self.failed

    def to_json(self) -> dict[str, bool | int]:
        """The member of the summary."""
        return asdict(self)

    def text(self) -> str:
        """The counts for people; `not written` without a file."""
        if not self.written:
            return "not written"
        text = f"{format_count(self.read, 'SBOM')}, "
        text += format_count(self.packages, "package")
        if self.from_cache:
            text += f"; {self.from_cache} from the cache"
        if self.unreadable:
            text += f"; {self.unreadable} could not be read"
        if self.failed:
            text += f"; {self.failed} could not be fetched"
        return text


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
