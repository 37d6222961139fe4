"""The parts of a run put together: one report, one summary."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from auditor.config import Shape
from auditor.engines.unmatched import unmatched
from auditor.errors import OutputError, UsageError
from auditor.report.merge import merged, read_parts
from auditor.report.shapes import encoder
from auditor.report.summary import combined, with_failures
from auditor.report.writer import ReportWriter
from auditor.scale.parts import is_url, open_part

# Beside the output: its `.partial` may be that of another run, which can be resumed.
_SUFFIX = ".merged"


async def join(names: Sequence[str], output: str) -> dict[str, Any]:
    """Write the report of all parts to `output`; the summary of the whole.

    Patterns that matched nothing in any share are its last records.

    Raises `UsageError` for parts that are not all the shares of one audit, and
    `OutputError` for what cannot be written.
    """
    _check_output(names, output)
    parts = read_parts(names, open_part)
    whole = combined([part.head.summary for part in parts], output=output)
    nothing = list(unmatched(whole))
    encode = encoder(Shape(parts[0].head.settings["shape"]))
    writer = ReportWriter(output)
    final = writer.final
    if final is not None:
        writer = ReportWriter(f"{final}{_SUFFIX}")
    async with writer:
        try:
            for record in merged(parts, open_part):
                await writer.write(record)
            for failure in nothing:
                await writer.write(encode(failure))
            await writer.commit()
        except BaseException:
            # All that it holds is in the parts.
            if writer.partial is not None:
                writer.partial.unlink(missing_ok=True)
            raise
    if final is not None and writer.final is not None:
        _rename(writer.final, final)
    return with_failures(whole, nothing)


def _check_output(names: Sequence[str], output: str) -> None:
    final = ReportWriter(output).final
    ours = {Path(name).resolve() for name in names if not is_url(name)}
    if final is not None and final.resolve() in ours:
        raise UsageError(f"--output: {output} is one of the parts")


def _rename(source: Path, target: Path) -> None:
    try:
        source.replace(target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise OutputError(
            f"{target}: the report cannot be written: {error.strerror}"
        ) from None
