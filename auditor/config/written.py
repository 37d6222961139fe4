"""Which file a run writes in whose place."""

from __future__ import annotations

from posixpath import normpath

from auditor.config.options import BY_NAME
from auditor.config.taker import Values
from auditor.config.validation_errors import Mistakes
from auditor.util.text import safe_text

# What a run writes, and what stands beside it while it is written.
_WRITTEN = {
    "output": (
        "",
        ".partial",
        ".partial.old",
        ".partial.sorted",
        ".journal",
        ".journal.old",
    ),
    "summary": ("", ".partial"),
    "metrics": ("", ".partial"),
}


def check_written(run: Values, mistakes: Mistakes) -> None:
    """Nothing is written over a list that is read, or over what else is written."""
    lists = run.get("lists") or ()
    assert isinstance(lists, tuple)
    read = {normpath(path): path for path in lists}
    written: dict[str, str] = {}
    for name, endings in _WRITTEN.items():
        flag, path = BY_NAME[name].flag, str(run.get(name) or "-")
        if path == "-":
            if name != "output" and run.get(name):
                mistakes.add(flag, "a file is wanted; standard output is the report's")
            continue
        for file in (normpath(path + ending) for ending in endings):
            if file in read:
                shown = safe_text(read[file], 200)
                mistakes.add(
                    flag, f"it would take the place of the list {shown}; name another"
                )
                break
            if file in written:
                mistakes.add(flag, f"the same file as {written[file]}")
                break
            written[file] = flag
