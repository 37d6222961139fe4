"""Resolves host names with the system's resolver, in threads of its own.

`getaddrinfo` knows everything that this machine is configured for (/etc/hosts,
nsswitch.conf, search domains, mDNS), but it blocks, for minutes if no DNS server
answers, and cannot be cancelled. Therefore

- every name has at most one look-up in progress, which all callers share and which goes
  on if they give up: a name that never resolves occupies one thread, not all of them;
- the threads are not those of the event loop, of which there are few and for which the
  loop waits at its end. They are daemons: the program ends without them.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress

import aiohappyeyeballs

from auditor.registry.transport.http_defaults import DNS_CACHE_S
from auditor.util.tasks import ResizableSemaphore, SingleFlight

# Names that are looked up at the same time. Names of silent DNS servers delay others
# only beyond that; a thread that waits for DNS takes some 30 KB.
MAX_LOOKUPS = 256

Addresses = Sequence[aiohappyeyeballs.AddrInfoType]
_Outcome = Addresses | OSError | UnicodeError
_Name = tuple[str, int]


class LookupTimeoutError(socket.gaierror):
    """No answer about a host name within `connect_s`."""


class Lookup:
    """A look-up in progress, or its outcome."""

    __slots__ = ("_outcome",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # Errors are values here: a look-up that no caller waits for may fail.
        self._outcome: asyncio.Future[_Outcome] = loop.create_future()

    @property
    def is_done(self) -> bool:
        """Whether there is an outcome."""
        return self._outcome.done()

    async def addresses(self) -> Addresses:
        """The addresses, in the system's order.

        Raises `OSError`, mostly `gaierror`, and `UnicodeError` for a name that cannot
        be one. Cancelling it does not end the look-up, which others may wait for.
        """
        outcome = await asyncio.shield(self._outcome)
        if isinstance(outcome, (OSError, UnicodeError)):
            # One for each caller: raising an exception changes it.
            raise type(outcome)(*outcome.args)
        return outcome

    def finish(self, outcome: _Outcome) -> None:
        """Set the outcome."""
        if not self.is_done:  # the end of the loop cancels it
            self._outcome.set_result(outcome)


class NameLookups:
    """The look-ups of a run, of all its hosts. Addresses are kept for `DNS_CACHE_S`."""

    def __init__(self, max_at_once: int = MAX_LOOKUPS) -> None:
        self._turns = ResizableSemaphore(max_at_once)
        self._starting: SingleFlight[_Name, Lookup] = SingleFlight()
        self._running: dict[_Name, Lookup] = {}
        # With the time at which they expire, in the loop's time.
        self._known: dict[_Name, tuple[float, Lookup]] = {}

    def start_now(self, host: str, port: int) -> Lookup | None:
        """The look-up of a name, in progress or done; None if it has to wait for its
        turn."""
        name = host, port
        if (running := self._running.get(name)) is not None:
            return running
        loop = asyncio.get_running_loop()
        known = self._known.get(name)
        if known is not None and loop.time() < known[0]:
            return known[1]
        if _is_address(host):
            lookup = Lookup(loop)  # it needs no DNS and never blocks
            lookup.finish(_getaddrinfo(name))
            return lookup
        if self._starting.in_flight(name) or not self._turns.take():
            return None
        return self._run(name)

    async def start(self, host: str, port: int) -> Lookup:
        """The look-up of a name, as soon as it is in progress.

        The wait for its turn is never the host's fault: start the time limits of a
        connection afterwards, and hold no permit for one meanwhile.
        """
        if (lookup := self.start_now(host, port)) is not None:
            return lookup
        name = host, port
        return await self._starting.run(name, lambda: self._wait_and_run(name))

    def forget(self, host: str, port: int) -> None:
        """Look the name up again for the next connection: its address may be wrong."""
        self._known.pop((host, port), None)

    async def _wait_and_run(self, name: _Name) -> Lookup:
        await self._turns.acquire()
        return self._run(name)

    def _run(self, name: _Name) -> Lookup:
        """Start a look-up, whose turn has come."""
        loop = asyncio.get_running_loop()
        lookup = self._running[name] = Lookup(loop)

        def finish(outcome: _Outcome) -> None:
            self._turns.release()
            del self._running[name]
            lookup.finish(outcome)
            if isinstance(outcome, Sequence):
                self._known[name] = loop.time() + DNS_CACHE_S, lookup

        def look_up() -> None:
            outcome = _getaddrinfo(name)
            with suppress(RuntimeError):  # the loop is closed: the run has ended
                loop.call_soon_threadsafe(finish, outcome)

        try:
            threading.Thread(target=look_up, name="look-up", daemon=True).start()
        except RuntimeError as error:  # the system's limit of threads
            finish(OSError(errno.EAGAIN, str(error)))
        return lookup


def _getaddrinfo(name: _Name) -> _Outcome:
    host, port = name
    try:
        return socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
    except UnicodeError as error:
        return error
    except OSError as error:
        # The resolver may call a lack of descriptors "name resolution failed".
        try:
            os.close(os.open(os.devnull, os.O_RDONLY))
        except OSError as shortage:
            return shortage
        return error


def _is_address(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError, ValueError):
            socket.inet_pton(family, host.partition("%")[0])
            return True
    return False
