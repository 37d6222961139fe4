"""A demo registry, a clock without real time, and audits of the registry.

async with lab(content, tokens=service) as here:
    outcome = await here.audit(here.ref("team/app:*"))
    assert here.faults.count("GET", "/token") == 1
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from auditor.audit.job import open_hosts
from auditor.audit.run import AuditRun
from auditor.config import RegistrySettings, Settings
from auditor.demo.demo_registry import AccessControl, DemoContent, serve
from auditor.demo.demo_tokens import BearerAccess, DemoAccount, DemoTokenService
from auditor.demo.image_builder import image
from auditor.input.lists import input_items
from auditor.model import FailureRecord, ImageRecord, Record
from auditor.report.summary import Summary
from auditor.util.secret import Secret
from tests.clock import LATE_S, FakeClock
from tests.patience import HANG_S
from tests.support.faults import Faults, Seen
from tests.support.registry import Behaviour, registry_app
from tests.support.token_service import FakeTokenService

PATIENCE_S = HANG_S

ADMIN = DemoAccount("admin", "secret", {"*": ("*",)})
TAGS = "/v2/*/tags/list"
MANIFESTS = "/v2/*/manifests/*"
BY_DIGEST = "/v2/*/manifests/sha256:*"
BLOBS = "/v2/*/blobs/*"
TOKENS = "/token"


@dataclass(frozen=True, slots=True)
class Passes:
    """A fault: the real response, after `seconds` of the fake clock."""

    clock: FakeClock
    seconds: float

    async def run(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.clock.now += self.seconds
        return await handler(request)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The records of an audit, in the order in which they were written."""

    records: list[Record]
    summary: Summary

    @property
    def references(self) -> list[str]:
        return [record.reference for record in self.records]

    @property
    def image(self) -> ImageRecord:
        """The only record, an image record."""
        (record,) = self.records
        assert isinstance(record, ImageRecord), record
        return record

    @property
    def failure(self) -> FailureRecord:
        """The only record, a failure record."""
        (record,) = self.records
        assert isinstance(record, FailureRecord), record
        return record

    @property
    def kinds(self) -> list[str]:
        """`image`, or the kind of failure, of each record."""
        return [
            record.failure.value if isinstance(record, FailureRecord) else "image"
            for record in self.records
        ]


@dataclass(slots=True, kw_only=True)
class Lab:
    """A running registry, and the settings to audit it."""

    host: str
    content: DemoContent
    faults: Faults
    clock: FakeClock
    login: RegistrySettings = field(default_factory=RegistrySettings)

    def ref(self, name: str) -> str:
        """`repository:tag` as a reference to this registry."""
        return f"{self.host}/{name}"

    def settings(self, *references: str, **changes: Any) -> Settings:
        """The settings of a run; registry settings apply to this registry."""
        registry_changes = {
            name: changes.pop(name)
            for name in set(changes) & set(RegistrySettings.__slots__)
        }
        return Settings(
            references=references,
            registries={
                self.host: replace(self.login, **registry_changes),
                **changes.pop("registries", {}),
            },
            **{
                "docker_config": False,
                "registries_conf": False,
                "no_cache": "cache" not in changes,
                **changes,
            },
        )

    async def audit(
        self,
        *references: str,
        expire_when: Callable[[], bool] | None = None,
        **changes: Any,
    ) -> Outcome:
        """Audit these references; the deadline expires when `expire_when` is true."""
        records: list[Record] = []

        async def write(record: Record) -> None:
            records.append(record)

        if expire_when is not None:
            changes["deadline_s"] = LATE_S
        settings = self.settings(*references, **changes)
        with anyio.fail_after(PATIENCE_S):
            async with open_hosts(settings, clock=self.clock) as (registries, cache):
                run = AuditRun(
                    settings,
                    input_items(settings),
                    registries=registries,
                    clock=self.clock,
                    write=write,
                    cache=cache,
                )
                async with self.when(expire_when or (lambda: False), run.expire):
                    await run.run()
        return Outcome(records=records, summary=run.summary())

    @asynccontextmanager
    async def when(
        self, condition: Callable[[], bool], then: Callable[[], object]
    ) -> AsyncIterator[None]:
        """Call `then` as soon as the condition is true, while the body runs."""

        async def watch() -> None:
            await self.faults.until(condition)
            then()

        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            yield
            group.cancel_scope.cancel()

    def good(self, path: str) -> int:
        """The number of GET requests for this path that were answered with 200."""
        return sum(one.status == 200 for one in self.faults.requests("GET", path))

    def answered(self, status: int) -> list[str]:
        """`METHOD target` of the requests with this status, in order."""
        return [
            f"{one.method} {one.target}"
            for one in self.faults.log
            if one.status == status
        ]

    def targets(self, path: str) -> list[str]:
        """The targets of the GET requests for this path, in order."""
        return [one.target for one in self.faults.requests("GET", path)]


@asynccontextmanager
async def lab(
    content: DemoContent | None = None,
    *,
    tokens: DemoTokenService | None = None,
    access: AccessControl | None = None,
    behaviour: Behaviour | None = None,
    faults: Faults | None = None,
    login: DemoAccount | None = None,
    tls: ssl.SSLContext | None = None,
    routes: Iterable[web.AbstractRouteDef] = (),
    dialect: Iterable[Middleware] = (),
) -> AsyncIterator[Lab]:
    """A registry with this content and access; audits log in as `login`.

    With `tokens` it requires their tokens, and the login defaults to `ADMIN`. A request
    that the registry does not know fails the test. `routes` are those of a product
    API, `dialect` the middlewares that imitate a product.
    """
    content = content or DemoContent()
    faults = faults or Faults()
    clock = FakeClock()
    if tokens is not None:
        tokens.clock = clock.epoch
        access = BearerAccess(tokens)
        login = login or ADMIN
    app = registry_app(
        content,
        access=access,
        behaviour=behaviour,
        routes=routes,
        middlewares=[faults.middleware, *dialect],
    )
    async with serve(app, tls=tls) as url:
        here = Lab(
            host=url.partition("://")[2],
            content=content,
            faults=faults,
            clock=clock,
        )
        if login is not None and login.name:
            here.login = RegistrySettings(
                username=login.name, password=Secret(login.password)
            )
        yield here
    faults.assert_no_unmatched()


def service(*accounts: DemoAccount, **changes: Any) -> FakeTokenService:
    """A token service with these accounts, by default `ADMIN`."""
    return FakeTokenService(accounts=accounts or (ADMIN,), **changes)


def simple(names: Iterable[str]) -> DemoContent:
    """A distinct image for each `repository:tag`."""
    content = DemoContent()
    for name in names:
        repository, _, tag = name.partition(":")
        content.add(repository, image(name), tag)
    return content


def tokens_sent(requests: Iterable[Seen]) -> list[str]:
    """The distinct Authorization fields of requests, in order."""
    return list(dict.fromkeys(one.headers.get("Authorization", "") for one in requests))
