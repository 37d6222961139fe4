"""Calls blocking functions of libraries in threads that the program need not wait for.

A library that waits for a network without an answer cannot be cancelled. Its thread is
a daemon: the program goes on after the time limit, and ends without it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

import anyio

Result = TypeVar("Result")


async def call_in_thread(
    function: Callable[[], Result], *, timeout_s: float | None = None
) -> Result:
    """The result of a blocking function, or its exception.

    Raises `TimeoutError` after `timeout_s`, if it is given. The function then goes on,
    as after a cancellation, and its result is dropped.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_Outcome[Result]] = loop.create_future()

    def finish(outcome: _Outcome[Result]) -> None:
        if not done.done():
            done.set_result(outcome)

    def run() -> None:
        outcome: _Outcome[Result] = _Outcome()
        try:
            outcome.results.append(function())
        except BaseException as error:  # noqa: BLE001  (raised again by the caller)
            outcome.error = error
        with suppress(RuntimeError):  # the loop is closed: the run has ended
            loop.call_soon_threadsafe(finish, outcome)

    threading.Thread(target=run, name="blocking-call", daemon=True).start()
    with anyio.fail_after(timeout_s):
        outcome = await done
    if outcome.error is not None:
        raise outcome.error
    return outcome.results[0]


class _Outcome(Generic[Result]):
    """One result, or an error."""

    def __init__(self) -> None:
        self.results: list[Result] = []
        self.error: BaseException | None = None
