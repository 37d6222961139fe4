"""SIGINT, SIGTERM and SIGHUP before an event loop handles them.

Each ends the program with a message and the signal's exit code, while Python's default
is a traceback, or nothing. This file is loaded before anything else and imports hardly
anything itself.
"""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False  # importing `typing` would take longer than this file

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

_DEFAULT_HANDLERS: dict[
    signal.Signals, Callable[[int, FrameType | None], Any] | int
] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGHUP: signal.SIG_DFL,
}
# As shells report it (POSIX, "Exit Status for Commands"); equal to `ExitCode`.
_SIGNAL_EXIT_CODE = 128


class EarlyInterrupt(BaseException):
    """A signal inside `RaiseOnSignal`.

    Neither `Exception` nor `KeyboardInterrupt`, which libraries catch.
    """

    def __init__(self, number: int) -> None:
        super().__init__(_message(number))
        self.code = _SIGNAL_EXIT_CODE + number


_raises = False
_exit_code: int | None = None
_when = ""


def install(message: str = "before anything was done") -> None:
    """Make each signal end the program; an ignored signal stays ignored.

    `message` ends the sentence "interrupted by SIGTERM ...".
    """
    global _exit_code, _when
    _exit_code, _when = None, message
    for number, default in _DEFAULT_HANDLERS.items():
        if signal.getsignal(number) is default:
            signal.signal(number, _end)


def uninstall() -> None:
    """Restore Python's handlers."""
    for number, default in _DEFAULT_HANDLERS.items():
        if signal.getsignal(number) is _end:
            signal.signal(number, default)


def exit_code(code: int) -> int:
    """Return `code`; a later signal does not change it."""
    global _exit_code  # noqa: PLW0603  (one process, one exit code)
    _exit_code = code
    return code


class RaiseOnSignal:
    """Raises `EarlyInterrupt` at a signal, so that files made inside are removed.

    Must not contain an import: there the exception may occur where Python ignores it.
    """

    def __enter__(self) -> None:
        global _raises  # noqa: PLW0603
        _raises = True

    def __exit__(self, *_: object) -> None:
        global _raises  # noqa: PLW0603
        _raises = False


def _end(number: int, _: FrameType | None) -> None:
    if _exit_code is not None:
        os._exit(_exit_code)
    if _raises:
        raise EarlyInterrupt(number)
    # Modules may be half loaded: not even standard error can be relied on.
    try:  # noqa: SIM105  (contextlib is not loaded)
        os.write(2, f"auditor: {_message(number)}\n".encode())
    except OSError:
        pass
    os._exit(_SIGNAL_EXIT_CODE + number)


def _message(number: int) -> str:
    return f"interrupted by {signal.Signals(number).name} {_when}"
