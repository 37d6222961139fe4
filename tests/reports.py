"""Report files made from records."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from pathlib import Path

from auditor.model import Record, Shape
from auditor.report.shapes import encoder


def write_report(path: Path, records: Iterable[Record]) -> str:
    """Write a report, compressed if the name ends in `.gz`; return its name."""
    encode = encoder(Shape.IMAGE)
    data = b"".join(map(encode, records))
    path.write_bytes(gzip.compress(data, 1) if path.suffix == ".gz" else data)
    return str(path)
