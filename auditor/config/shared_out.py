"""What a command line says of a run that is shared out, held against what shares it."""

from __future__ import annotations

from auditor.config.options import BY_NAME
from auditor.config.settings import Engine
from auditor.config.taker import Values
from auditor.config.validation_errors import Mistakes

_PROCESSES, _ENGINE = BY_NAME["processes"], BY_NAME["engine"]
_DASK = f"{_ENGINE.flag} {Engine.DASK}"


def check_shared_out(said: Values, run: Values, mistakes: Mistakes) -> None:
    """Note what flags ask for that the `run` which they are part of would not do.

    `said` are the flags alone: a file and an environment are those of many runs, and
    may hold the address of a cluster for the nights that use it.
    """
    on_cluster = run.get(_ENGINE.name) is Engine.DASK
    by_processes = _processes(run) > 1
    if "scheduler" in said and not on_cluster:
        mistakes.add(
            BY_NAME["scheduler"].flag,
            f"a cluster audits nothing without {_DASK}; give both or neither",
        )
    if "parts" in said and not on_cluster and not by_processes:
        mistakes.add(
            BY_NAME["parts"].flag,
            f"one process leaves no parts; share the run out with {_PROCESSES.flag} N"
            f" or {_DASK}, or leave it away",
        )
    if _processes(said) > 1 and on_cluster:
        mistakes.add(
            _PROCESSES.flag,
            f"with {_DASK} the workers of the cluster audit; give one of the two",
        )


def _processes(values: Values) -> int:
    found = values.get(_PROCESSES.name, 1)
    return found if isinstance(found, int) else 1
