"""The limit of open files (`ulimit -n`), which connections and reports share."""

from __future__ import annotations

import resource
from contextlib import suppress
from errno import EMFILE, ENFILE
from pathlib import Path
from typing import TypeGuard

# Files that a program opens later, beside its connections: report and journal, the
# resume index, the records that wait, lists, CA files, a module. The digest cache is
# open before: it is in use.
_OWN_FILES = 16
# Where the open files cannot be counted: standard streams, the event loop's own.
_OPEN_AT_START = 16
# The highest limit that is asked for. Programs that are started inherit it, and old
# ones close every possible descriptor first: a million of them takes seconds.
MAX_OPEN_FILES = 65_536


def raise_open_files_limit(files: int = MAX_OPEN_FILES) -> None:
    """Raise the soft limit, 1,024 on most systems, to `files` if the hard one allows.

    If that is refused, the limit stays as it is.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < files:
        new = files if hard == resource.RLIM_INFINITY else min(files, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (new, hard))


def free_descriptors() -> int:
    """How many descriptors can be used for connections: at least 4."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        soft = MAX_OPEN_FILES
    try:
        in_use = len(list(Path("/dev/fd").iterdir())) - 1  # the folder's own
    except OSError:
        in_use = _OPEN_AT_START
    return max(4, soft - in_use - _OWN_FILES)


def is_out_of_descriptors(error: object) -> TypeGuard[OSError]:
    """Whether the limit of this process, or of the whole system, is reached."""
    return isinstance(error, OSError) and error.errno in {EMFILE, ENFILE}
