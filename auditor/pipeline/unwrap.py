"""Exception groups, as the person at the command line should see them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from auditor.errors import AuditorError


@contextmanager
def unwrapped() -> Iterator[None]:
    """Let the first `AuditorError` out of an exception group; leave other groups whole.

    Of several things that went wrong at once, ours says what to do; the rest are its
    consequences. A group without one is a bug, and is shown with all it holds.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        ours, _ = group.split(AuditorError)
        if ours is None:
            raise
        error: BaseException = ours
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from group
