"""Which report a page was made of: the digest of its bytes, and its dates."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from auditor.analysis.reports import report_paths
from auditor.errors import UsageError
from auditor.fast_dataclass import dataclass

# More files than a person compares by eye; the digest over all of them says the rest.
MAX_FILES_NAMED = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A report file. `digest` is `sha256:...` of its bytes, as they are on disk."""

    name: str
    digest: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The files of a report.

    `digest` is that of the file, or, of several, that of what `sha256sum` prints for
    them in the order of their names.
    """

    files: tuple[File, ...]
    file_count: int
    digest: str
    size: int

    @property
    def name(self) -> str:
        """The first file's name, and how many more there are."""
        more = f" and {self.file_count - 1:,} more" if self.file_count > 1 else ""
        return self.files[0].name + more


def read_source(paths: Sequence[str]) -> Source:
    """Read the files of paths and globs once; `UsageError` where that fails."""
    files = [_file(path) for path in report_paths(paths)]
    listing = "".join(f"{one.digest[7:]}  {one.name}\n" for one in files)
    listed = hashlib.sha256(listing.encode("utf-8", "surrogateescape")).hexdigest()
    return Source(
        files=tuple(files[:MAX_FILES_NAMED]),
        file_count=len(files),
        digest=files[0].digest if len(files) == 1 else f"sha256:{listed}",
        size=sum(one.size for one in files),
    )


def _file(path: str) -> File:
    try:
        with Path(path).open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            size = stream.tell()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    return File(name=Path(path).name, digest=f"sha256:{digest}", size=size)
