"""Report files made from records."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from pathlib import Path

from auditor.model import Record, Shape
from auditor.report.shapes import encoder


def write_report(path: Path, records: Iterable[Record]) -> str:
    """The file's name. A name that ends in `.gz` is compressed."""
    encode = encoder(Shape.IMAGE)
    data = b"".join(map(encode, records))
    path.write_bytes(gzip.compress(data, 1) if path.suffix == ".gz" else data)
    return str(path)
