"""SIGINT, SIGTERM, SIGHUP where no event loop hears them: a sentence, an exit code.

Python's own answer is a traceback, or none. This is loaded before anything else, and
loads hardly anything itself.
"""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False  # of `typing`: see above

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType
    from typing import Any

_OWN: dict[signal.Signals, Callable[[int, FrameType | None], Any] | int] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGHUP: signal.SIG_DFL,
}
# As shells have it (POSIX, "Exit Status for Commands"), and `ExitCode`.
_SIGNALLED = 128


class Ended(BaseException):
    """A signal, where something has to be put away before the program ends.

    No `Exception`, and no `KeyboardInterrupt` either, of which libraries make
    something else.
    """

    def __init__(self, number: int) -> None:
        super().__init__(_sentence(number))
        self.code = _SIGNALLED + number


_raises = False
_code: int | None = None


def heed() -> None:
    """From now on each of them ends the program; one that is ignored stays ignored."""
    for number, own in _OWN.items():
        if signal.getsignal(number) is own:
            signal.signal(number, _end)


def leave() -> None:
    """Leave them to Python, as before."""
    for number, own in _OWN.items():
        if signal.getsignal(number) is _end:
            signal.signal(number, own)


def decided(code: int) -> int:
    """The same code: from now on a signal changes nothing about it."""
    global _code  # noqa: PLW0603  (one process, one end)
    _code = code
    return code


class PutAwayFirst:
    """Makes each of them an `Ended` while what is made has to be taken away again.

    Not around an import: there it may come where Python lets no exception out.
    """

    def __enter__(self) -> None:
        global _raises  # noqa: PLW0603
        _raises = True

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        global _raises  # noqa: PLW0603
        _raises = False


def _end(number: int, _: FrameType | None) -> None:
    if _code is not None:
        os._exit(_code)
    if _raises:
        raise Ended(number)
    # Whatever is loaded by now may be half made: `say` and standard error, too.
    try:  # noqa: SIM105  (contextlib is not loaded)
        os.write(2, f"auditor: {_sentence(number)}\n".encode())
    except OSError:
        pass
    os._exit(_SIGNALLED + number)


def _sentence(number: int) -> str:
    return f"{signal.Signals(number).name}: ended before anything was audited"
