"""An unnamed temporary file for values that are not needed in memory for now.

The file is created with the first value, and its space is used again when no value is
left. It has no name (`O_TMPFILE`, or unlinked at once), so that nothing remains of a
run that is killed and no other process can put values into it: they are pickled.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO

from auditor.fast_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class SpilledValue:
    """Where a value is in the file: `size` bytes from `offset`."""

    offset: int
    size: int


class SpillFile:
    """Values in a temporary file in `folder`, or where `TMPDIR` says.

    `count`: values in the file.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._file: BinaryIO | None = None
        self._end = 0
        self.count = 0

    @property
    def is_open(self) -> bool:
        """Whether values can be read."""
        return self._file is not None

    def put(self, value: object) -> SpilledValue:
        """Write a value. Raises `OSError`, and leaves no part of the value then."""
        import pickle  # noqa: PLC0415  (few runs need the file)

        if self._file is None:
            import tempfile  # noqa: PLC0415

            self._file = tempfile.TemporaryFile(  # noqa: SIM115  (closed by `close`)
                dir=self._folder, buffering=0
            )
        data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        view, offset = memoryview(data), self._end
        while view:
            written = os.pwrite(self._file.fileno(), view, offset)
            view, offset = view[written:], offset + written
        spilled = SpilledValue(self._end, len(data))
        self._end = offset
        self.count += 1
        return spilled

    def get(self, spilled: SpilledValue) -> Any:
        """Read a value, which stays in the file."""
        import pickle  # noqa: PLC0415

        assert self._file is not None
        data = bytearray()
        while len(data) < spilled.size:
            missing = spilled.size - len(data)
            piece = os.pread(self._file.fileno(), missing, spilled.offset + len(data))
            if not piece:
                raise OSError("a temporary file is shorter than it was")
            data += piece
        return pickle.loads(data)  # noqa: S301  (only this process can write it)

    def take(self, spilled: SpilledValue) -> Any:
        """Read a value and remove it from the file."""
        value = self.get(spilled)
        self.count -= 1
        if self.count == 0:
            assert self._file is not None
            os.ftruncate(self._file.fileno(), 0)
            self._end = 0
        return value

    def close(self) -> None:
        """Remove the file with all values."""
        if self._file is not None:
            self._file.close()
            self._file = None
