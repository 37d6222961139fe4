"""The unfinished report that `--resume` continues if its name has placeholders.

A run of another day, or of another minute, wrote it under another name: it is the
newest of the files that the name could have become on this host.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from auditor.config.file_names import expand, glob_of, values_in
from auditor.fast_dataclass import dataclass
from auditor.report.locked_journal import read_header
from auditor.util.text import format_duration, safe_text

# What a run leaves next to its report: see writer.py and scale/shard_dir.py.
_LEFT_BEHIND = (".partial", ".journal", ".shards")


@dataclass(frozen=True, slots=True)
class _Unfinished:
    path: str
    values: dict[str, str]

    @property
    def age_key(self) -> tuple[str, str]:
        return self.values.get("date", ""), self.values.get("time", "")

    @property
    def begun_s(self) -> float:
        """When it was begun, in epoch seconds."""
        with suppress(OSError, TypeError, ValueError):
            header = read_header(Path(f"{self.path}.journal")) or {}
            return datetime.fromisoformat(header["since"]).timestamp()
        # A run in shards removes its journal when it is interrupted.
        shards = Path(f"{self.path}.shards")
        times = [file.stat().st_mtime for file in (*shards.glob("*"), shards)]
        return min(times)


def resumed_values(
    name: str,
    values: Mapping[str, str],
    *,
    now_s: float,
    max_age_s: float,
    notify: Callable[[str], None],
) -> dict[str, str]:
    """The values of the placeholders with which a resumed run names its files.

    `values` are those of now. If the newest unfinished report of this `name` was begun
    at most `max_age_s` ago, they are its own, so that the run completes it; `notify`
    gets a sentence about it, or about an older one that stays.
    """
    path = expand(name, values)
    newest = max(_unfinished(name, values), key=lambda one: one.age_key, default=None)
    if newest is None or newest.path == path:
        return dict(values)
    try:
        age_s = abs(now_s - newest.begun_s)
    except OSError:  # another run has just completed it
        return dict(values)
    shown = safe_text(newest.path)
    if age_s > max_age_s:
        notify(
            f"{shown}: left by an unfinished run that began more than"
            f" {format_duration(max_age_s)} ago (--resume-max-age); it stays, and"
            f" {safe_text(path)} is a new report"
        )
        return dict(values)
    notify(f"continuing {shown}, which an earlier run left unfinished")
    return {**values, **newest.values}


def _unfinished(name: str, values: Mapping[str, str]) -> list[_Unfinished]:
    found: dict[str, _Unfinished] = {}
    for suffix in _LEFT_BEHIND:
        for file in glob.glob(glob_of(name, values) + suffix):  # noqa: PTH207
            path = file.removesuffix(suffix)
            if (then := values_in(path, name, values)) is not None:
                found[path] = _Unfinished(path, then)
    return list(found.values())
