"""What the files are that analyses read: reports and SBOM files, both JSON lines."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path

from auditor.errors import UsageError
from auditor.util.compressed_file import ZSTD, is_complete_zstd
from auditor.util.text import safe_text


class FileKind(StrEnum):
    """What a file of JSON lines is."""

    REPORT = "report"
    SBOMS = "SBOM file"

    @property
    def noun(self) -> str:
        """With an article."""
        return f"a {self}" if self is FileKind.REPORT else f"an {self}"

    @property
    def origin(self) -> str:
        """What writes it."""
        option = "-o" if self is FileKind.REPORT else "--sbom"
        return f"auditor audit {option}"


def check_readable(file: str, kind: FileKind) -> None:
    """Raise `UsageError` if a file cannot be read, or is obviously not of this kind."""
    if Path(file).is_dir():
        raise UsageError(f"{safe_text(file)}: is a folder; name the files in it")
    try:
        with Path(file).open("rb") as opened:
            if not opened.seekable():
                raise UsageError(f"{safe_text(file)}: {kind.noun} cannot be a pipe")
            if other := _other_format(file, opened.read(_SNIFFED_BYTES), kind):
                raise UsageError(f"{safe_text(file)}: {other}")
            if file.endswith(ZSTD) and not is_complete_zstd(opened):
                raise UsageError(
                    f"{safe_text(file)}: the file is truncated or not a zstd file"
                )
    except OSError as error:
        raise UsageError(f"{safe_text(file)}: {error.strerror or error}") from None


_SNIFFED_BYTES = 1024
_MAGIC_BYTES = {
    b"PAR1": "a Parquet file",
    b"SQLite format 3": "an SQLite database",
    b"<": "a page or an XML file",
}
_COMPRESSIONS = {b"\x1f\x8b": ".gz", b"\x28\xb5\x2f\xfd": ".zst"}


def _other_format(file: str, start: bytes, kind: FileKind) -> str | None:
    """What is wrong with a file that begins like one of another format."""
    for magic, suffix in _COMPRESSIONS.items():
        if start.startswith(magic) and not file.endswith((".gz", ".zst")):
            return f"the file is compressed; its name must end in {suffix}"
    if file.endswith((".gz", ".zst")):
        return None
    found = next(
        (_MAGIC_BYTES[one] for one in _MAGIC_BYTES if start.startswith(one)), ""
    )
    if start[8:12] == b"DUCK":
        found = "a DuckDB database"
    elif re.match(rb"[A-Za-z_\"]+,", start):
        found = "a CSV file"
    elif re.match(rb"\s*\[\s*[\[{\"0-9]", start):
        found = "a JSON array"
    elif re.match(rb"\s*\{\s*\n", start):
        found = "a JSON document of several lines"
    elif not found and re.match(rb"\s*[^\s{]", start) and not _BOM.match(start):
        found = "another file: it does not begin with a JSON object"
    if not found:
        return None
    return f"not {kind.noun} but {found}; {kind.noun} is what {kind.origin} writes"


# Of UTF-8 and UTF-16: DuckDB says that these are not supported.
_BOM = re.compile(rb"\xef\xbb\xbf|\xfe\xff|\xff\xfe")
