"""What a command line gave, as a command line again: for the runs that share a run."""

from __future__ import annotations

from collections.abc import Mapping

from auditor.config import OPTIONS, Option

# What is said of the whole run and not of a share, or said of each share anew.
_OF_THE_WHOLE = frozenset(
    {"output", "summary", "metrics", "progress", "resume", "dry_run"}
    | {"shard", "runs_at_once", "processes", "engine", "scheduler", "parts"}
)


def flags_of_shares(flags: Mapping[str, object]) -> dict[str, object]:
    """Those of the flags that hold for every share, by option name."""
    return {
        name: value
        for name, value in flags.items()
        if name not in _OF_THE_WHOLE and value not in (None, ())
    }


def words_of(flags: Mapping[str, object]) -> list[str]:
    """The words that say so, for `auditor audit`."""
    words: list[str] = []
    behind: list[str] = []
    for option in OPTIONS:
        value = flags.get(option.name)
        if value is None:
            continue
        values = value if isinstance(value, tuple | list) else (value,)
        if option.positional:
            behind.extend(map(str, values))
        elif isinstance(value, bool):
            words.append(_switch(option, value))
        else:
            # One word each: a value may begin with a dash.
            words.extend(f"{option.flag}={one}" for one in values)
    return [*words, "--", *behind] if behind else words


def _switch(option: Option, value: bool) -> str:
    yes, _, no = option.flags[-1].partition("/")
    if not value and not no:
        raise ValueError(f"{option.name} cannot be switched off by a flag")
    return yes if value else no
