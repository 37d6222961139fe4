"""What a run writes to its spill file."""

from __future__ import annotations

from auditor.audit.spill_file import SpilledValue, SpillFile


def note_spilled(file: SpillFile) -> list[int]:
    """The sizes in bytes of the values that are put into the file from now on."""
    sizes: list[int] = []
    put = file.put

    def noted(value: object) -> SpilledValue:
        spilled = put(value)
        sizes.append(spilled.size)
        return spilled

    file.put = noted  # type: ignore[method-assign]
    return sizes
