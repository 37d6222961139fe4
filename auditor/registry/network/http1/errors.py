"""What can go wrong between a request and its whole answer.

`transport.failure_of_exception` says what each means for a reference. Besides these,
`OSError`, `ssl.SSLError` and `socket.gaierror` come out as the system raises them.
"""

from __future__ import annotations


class NotHttpError(ValueError):
    """What came is not an HTTP/1 answer, or breaks the rules of its framing.

    The text never quotes what came: that may hold a secret.
    """


class NoConnectionError(OSError):
    """No connection could be made. `strerror` is the system's word."""


class UnansweredError(ConnectionError):
    """The connection ended before the answer's first byte."""


class BrokenOffError(ConnectionError):
    """The connection ended within the answer, or its content is damaged."""


class NoConnectionInTimeError(TimeoutError):
    """No connection within `connect_s`."""


class SilentError(TimeoutError):
    """Nothing came for `read_s`."""
