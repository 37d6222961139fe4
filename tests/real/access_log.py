"""The access log of a registry, in Apache's combined format."""

from __future__ import annotations

import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.patience import HANG_S

_LINE = re.compile(r'"([A-Z]+) (\S+) HTTP/[\d.]+" (\d{3}) \d+ "[^"]*" "([^"]*)"$')
_POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class Logged:
    """One request. `path` is without the query."""

    method: str
    path: str
    query: str
    status: int
    agent: str


class AccessLog:
    """The access log of a running registry at `url`."""

    def __init__(self, file: Path, url: str) -> None:
        self._file = file
        self._url = url
        self._marks = 0

    def mark(self) -> int:
        """The size of the log, in bytes, after all requests so far."""
        self._marks += 1
        text = f"mark={self._marks}"
        try:
            urllib.request.urlopen(f"{self._url}/v2/?{text}").close()  # noqa: S310
        except urllib.error.HTTPError as error:
            error.close()  # 401 without a token
        wait_until(lambda: text in self._text(0), "the registry's log has the mark")
        return self._file.stat().st_size

    def auditors(self, since: int, *, at_least: int = 0) -> list[Logged]:
        """The requests of auditor after a mark, in the order in which they ended.

        Waits until there are `at_least` of them.
        """

        def read() -> list[Logged]:
            found = map(_parsed, self._text(since).splitlines())
            return [one for one in found if one and one.agent.startswith("auditor")]

        self.mark()
        wait_until(
            lambda: len(read()) >= at_least, f"the registry's log has {at_least} lines"
        )
        return read()

    def _text(self, since: int) -> str:
        return self._file.read_bytes()[since:].decode()


def _parsed(line: str) -> Logged | None:
    match = _LINE.search(line)
    if match is None:
        return None
    method, target, status, agent = match.groups()
    path, _, query = target.partition("?")
    return Logged(method, path, query, int(status), agent)


def wait_until(
    condition: Callable[[], bool], what: str, *, within_s: float = HANG_S
) -> None:
    """Poll until the condition holds; AssertionError at the deadline."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        time.sleep(_POLL_S)
