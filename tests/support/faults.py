"""Programmable faults and a log of requests, in front of any web application.

    faults = Faults()
    faults.on("GET", "/v2/*/manifests/*", Answer(429, {"Retry-After": "1"}), Close())
    faults.on("GET", "/token", Answer(503), forever=True)
    app = registry_app(content, middlewares=[faults.middleware])
    ...
    assert faults.count("GET", "/v2/*/manifests/*") == 3
    faults.assert_no_unmatched()

The first rule that matches and still has an action handles the request; then the
random mix, if there is one; then the application itself. `scripted_app` has only the
rules.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from fnmatch import fnmatchcase
from itertools import accumulate, count

from aiohttp import web
from aiohttp.typedefs import Handler
from multidict import CIMultiDictProxy

from auditor.fast_dataclass import dataclass
from tests.support.fault_actions import Action, Pass
from tests.support.fault_mix import Mix


@dataclass(slots=True, kw_only=True)
class Seen:
    """One request, and how it was handled.

    `status` is None while it runs and after an incomplete response. `fault` is the
    action that handled it, None for the application; `connection` is the client's
    port. `began` and `ended` count the beginnings and ends of all requests. `known` is
    whether the application has a route for it.
    """

    method: str
    path: str
    query: str
    headers: CIMultiDictProxy[str] = field(repr=False)
    connection: int
    began: int
    ended: int | None = None
    fault: Action | None = None
    known: bool = True
    status: int | None = None

    @property
    def target(self) -> str:
        """Path and query."""
        return f"{self.path}?{self.query}" if self.query else self.path

    def matches(self, method: str, path: str) -> bool:
        """Whether method ("*": any) and path (fnmatch; "*" matches "/") match."""
        return method in {"*", self.method} and fnmatchcase(self.path, path)


@dataclass(slots=True, kw_only=True)
class Rule:
    """Actions for matching requests, one each, after the first `skip`."""

    method: str
    path: str
    actions: Sequence[Action]
    query: Mapping[str, str] = field(default_factory=dict)
    skip: int = 0
    forever: bool = False
    matched: int = 0

    def next_action(self, seen: Seen, request: web.Request) -> Action | None:
        """The action for this request; None if the rule has none."""
        if not seen.matches(self.method, self.path):
            return None
        if any(request.query.get(name) != value for name, value in self.query.items()):
            return None
        position = self.matched - self.skip
        self.matched += 1
        if position < 0:
            return None
        if position < len(self.actions):
            return self.actions[position]
        return self.actions[-1] if self.forever else None

    @property
    def used_up(self) -> bool:
        """Whether every action was used at least once."""
        return self.matched >= self.skip + len(self.actions)


class Faults:
    """Rules, an optional random mix, and the log, for one event loop at a time."""

    def __init__(self, mix: Mix | None = None) -> None:
        self.rules: list[Rule] = []
        self.log: list[Seen] = []
        self.mix = mix
        self._ticks = count()
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    def on(
        self,
        method: str,
        path: str,
        *actions: Action,
        query: Mapping[str, str] | None = None,
        skip: int = 0,
        forever: bool = False,
    ) -> Rule:
        """Add a rule: the first match gets the first action, and so on.

        `skip` matches pass before that; with `forever` the last action is repeated.
        `query` has parameters that must match. Raises ValueError without an action:
        `Pass()` only expects a request.
        """
        if not actions:
            raise ValueError("a rule needs an action")
        rule = Rule(
            method=method,
            path=path,
            actions=actions,
            query=query or {},
            skip=skip,
            forever=forever,
        )
        self.rules.append(rule)
        return rule

    def requests(self, method: str = "*", path: str = "*") -> list[Seen]:
        """The requests so far, in the order of their arrival."""
        return [seen for seen in self.log if seen.matches(method, path)]

    def count(self, method: str = "*", path: str = "*") -> int:
        """The number of requests so far."""
        return len(self.requests(method, path))

    def repeated(self, method: str = "*", path: str = "*") -> list[str]:
        """The targets (path and query) that were requested more than once, sorted."""
        targets = Counter(one.target for one in self.requests(method, path))
        return sorted(target for target, times in targets.items() if times > 1)

    def peak(self, method: str = "*", path: str = "*") -> int:
        """The maximum number of requests that were handled at the same time."""
        seen = self.requests(method, path)
        changes = [(one.began, 1) for one in seen]
        changes += [(one.ended, -1) for one in seen if one.ended is not None]
        return max(accumulate(change for _, change in sorted(changes)), default=0)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition`; checked when a request begins, is held, or ends.

        `await faults.until(lambda: faults.count("GET", "/token") == 2)`
        """
        if condition():
            return
        waiting = condition, asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            await waiting[1]
        finally:
            self._waiting.remove(waiting)

    def assert_no_unmatched(self) -> None:
        """Fail if a request had neither a rule nor a route."""
        unmatched = [f"{one.method} {one.target}" for one in self.log if not one.known]
        if unmatched:
            raise AssertionError("unexpected: " + ", ".join(unmatched))

    def assert_used_up(self) -> None:
        """Fail if an action of a rule was never used."""
        unused = [rule for rule in self.rules if not rule.used_up]
        if unused:
            raise AssertionError(f"actions not used: {unused}")

    def scripted_app(self) -> web.Application:
        """An application with only the rules; 404 for everything else."""
        return web.Application(middlewares=[self.middleware])

    @web.middleware
    async def middleware(
        self, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        """Log a request, and let its fault or the application handle it."""
        seen = self._begin(request)
        try:
            response = await (seen.fault or Pass()).run(request, handler)
            if request.transport is not None and not request.transport.is_closing():
                seen.status = response.status
        except web.HTTPException as exc:
            seen.status = exc.status
            raise
        finally:
            seen.ended = next(self._ticks)
            self._check_waiting()
        return response

    def _begin(self, request: web.Request) -> Seen:
        peer = request.transport and request.transport.get_extra_info("peername")
        seen = Seen(
            method=request.method,
            path=request.path,
            query=request.query_string,
            headers=request.headers,
            connection=peer[1] if peer else 0,
            began=next(self._ticks),
        )
        self._choose(seen, request)
        self.log.append(seen)
        self._check_waiting()
        # Again when it has come to its gate, which counts those that wait.
        asyncio.get_running_loop().call_soon(self._check_waiting)
        return seen

    def _choose(self, seen: Seen, request: web.Request) -> None:
        for rule in self.rules:
            seen.fault = rule.next_action(seen, request)
            if seen.fault is not None:
                return
        if self.mix is not None:
            # A probe sends the same request without a login, and must not use up the
            # success that the request itself will get.
            login = "with" if "Authorization" in request.headers else "without"
            seen.fault = self.mix.next_action(
                f"{seen.method} {request.path_qs} {login} login"
            )
        seen.known = request.match_info.http_exception is None

    def _check_waiting(self) -> None:
        for condition, waiting in self._waiting:
            if not waiting.done() and condition():
                waiting.set_result(None)
