"""Time and peak memory of `auditor packages` and of a query on SBOMs.

    python -m bench.packages --records 1000000 --sboms 10000 --packages 500

Every image of a synthetic report has one of the SBOMs. Each command is a process of its
own, measured by the kernel. The files are in a temporary folder (`TMPDIR`).
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import orjson

from auditor.model import Attachment, AttachmentKind, ImageRecord, Shape
from auditor.report.shapes import encoder
from bench.analysis import measure
from bench.synthetic_report import records

COUNT = "SELECT type, count(*) AS n, count(DISTINCT reference) FROM packages GROUP BY 1"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--sboms", type=int, default=10_000)
    parser.add_argument("--packages", type=int, default=500)
    parser.add_argument("--query", action="store_true", help="also count everything")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="auditor-bench-") as folder:
        report, sboms = Path(folder, "report.jsonl"), Path(folder, "sboms.jsonl")
        _write_report(report, given.records, given.sboms)
        _write_sboms(sboms, given.sboms, given.packages)
        for file in (report, sboms):
            print(f"{file.name}: {file.stat().st_size / 1e6:,.0f} MB")
        common = [str(report), "--sbom", str(sboms)]
        commands = [
            ["packages", *common, "package-7", "--version", "<1.50", "--format", "csv"]
        ]
        if given.query:
            commands.append(["query", *common, COUNT])
        for arguments in commands:
            done = measure(arguments)
            print(
                f"auditor {arguments[0]}: exit code {done.code},"
                f" {done.seconds:.1f} s, {done.peak_mib:,.0f} MiB"
            )


def _digest(number: int) -> str:
    return f"sha256:{number:064x}"


def _write_report(path: Path, count: int, sboms: int) -> None:
    encode = encoder(Shape.IMAGE)
    with path.open("wb") as out:
        for number, record in enumerate(records(count)):
            if isinstance(record, ImageRecord):
                attachment = Attachment(
                    kind=AttachmentKind.SBOM,
                    artifact_type="application/spdx+json",
                    digest=_digest(number % sboms),
                    subject=record.digest,
                    predicates=None,
                )
                made = replace(record, attachments=(attachment,), has_sbom=True)
                out.write(encode(made))
            else:
                out.write(encode(record))


def _write_sboms(path: Path, count: int, packages: int) -> None:
    with path.open("wb") as out:
        for number in range(count):
            listed = [
                {
                    "name": f"package-{(number + place) % 5000}",
                    "version": f"1.{(number * 7 + place) % 100}.0-1",
                    "type": "deb",
                    "purl": f"pkg:deb/debian/package-{(number + place) % 5000}@1.0",
                    "license": "MIT",
                    "source": None,
                    "source_version": None,
                }
                for place in range(packages)
            ]
            record = {
                "schema": 1, "kind": "sbom", "attachment": _digest(number),
                "digest": _digest(number), "media_type": None, "size": 1,
                "format": "spdx", "format_version": "2.3", "subjects": [],
                "packages": listed, "packages_left_out": 0, "failure": None,
                "detail": None, "warnings": [],
            }  # fmt: skip
            out.write(orjson.dumps(record) + b"\n")


if __name__ == "__main__":
    main()
