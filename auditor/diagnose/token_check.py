"""Checks what an account's tokens grant, for one repository or many.

Requesting a token for an action does not perform it: the token service returns a token
for what it grants of the requested actions, and the token is not used.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable

from anyio.abc import TaskGroup

from auditor.audit.pool import Pool
from auditor.diagnose.ls import RepositoryName
from auditor.errors import Failure, FailureKind, unwrap_exception_group
from auditor.fast_dataclass import dataclass
from auditor.input.input_items import InputItem, RejectedEntry
from auditor.input.list_reader import read_in_thread
from auditor.input.listings import list_repositories
from auditor.input.tag_filter import Selection
from auditor.model import Access, AccessState
from auditor.oci.reference import RepositoryPattern
from auditor.registry.client import Registry
from auditor.registry.host_plan import Scheme
from auditor.registry.listing.interface import first_page
from auditor.registry.registries import Registries
from auditor.report.listing_stats import Listings
from auditor.util.secret import Secret
from auditor.wire.challenge import beyond_pull, pull_scope, repository_scope

PULL = ("pull",)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCheck:
    """A requested token and what it grants. `token` is None without Bearer.

    `credential` is where the login is configured, None for anonymous requests;
    `unused_login` is where one is that the registry did not ask for. Without a token,
    access was tried: the tags of the repository were listed.
    """

    registry: str
    repository: str
    scheme: Scheme
    realm: str | None
    service: str | None
    scope: str
    account: str | None
    credential: str | None
    access: Access
    token: Secret | None
    unused_login: str | None

    @property
    def pull(self) -> bool:
        """Whether this account is known to be able to pull."""
        return (
            self.scheme is Scheme.BASIC  # tried
            or self.access.state in {AccessState.GRANTED, AccessState.ANONYMOUS}
        )


async def check_token(
    registry: Registry, repository: str, actions: tuple[str, ...] = PULL
) -> TokenCheck | Failure:
    """Request the token for these actions on `repository`."""
    scope = repository_scope(repository, actions)
    auth = registry.auth
    authorization = await auth.for_scope(scope).unchecked_authorization()
    if not isinstance(authorization, Failure) and authorization.header is None:
        # A ping without a challenge does not prove that anyone may pull.
        page = await first_page(registry.list_every_tag(repository))
        if isinstance(page, Failure):
            return page
        # The response to the listing may have had a challenge.
        authorization = await auth.for_scope(scope).unchecked_authorization()
    if isinstance(authorization, Failure):
        return authorization
    plan = await auth.plan.get()
    if isinstance(plan, Failure):
        return plan
    if plan.scheme is Scheme.BASIC and authorization.header is not None:
        # There is no token that would show it.
        page = await first_page(registry.list_every_tag(repository))
        if isinstance(page, Failure):
            return page
    found = token = unused_login = None
    if authorization.header is None:
        namespace = auth.namespace_of(scope)
        unused_login = auth.credentials.location_of(registry.name, namespace)
    else:
        account = await auth.account(scope)
        if isinstance(account, Failure):
            return account
        found = account.found
        if plan.scheme is Scheme.BEARER:
            token = Secret(authorization.header.removeprefix("Bearer "))
    return TokenCheck(
        registry=registry.name,
        repository=repository,
        scheme=plan.scheme,
        realm=plan.realm,
        service=plan.service,
        scope=str(scope),
        account=None if found is None else found.account,
        credential=None if found is None else found.location,
        access=authorization.access,
        token=token,
        unused_login=unused_login,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PullAccess:
    """The actions granted on one repository, or why they are not known.

    `repository` is None for an input line or a catalog that failed. `more_refused`: the
    service refused the requested actions, so that only pull was requested. `unproven`:
    none of the configured keys verifies the token.
    """

    text: str
    repository: RepositoryName | None
    requested: tuple[str, ...]
    check: TokenCheck | None = None
    failure: Failure | None = None
    more_refused: bool = False
    unproven: bool = False

    @property
    def pull(self) -> bool | None:
        """Whether the account may pull; None if the token does not show it."""
        if self.check is None or self.check.access.state is AccessState.DENIED:
            return False
        return self.check.pull or None

    def beyond(self, allowed: Iterable[str] = PULL) -> tuple[str, ...]:
        """The granted actions other than pull and the allowed actions."""
        if self.check is None:
            return ()
        return beyond_pull(self.check.access.actions, allowed)


class PullAccessCheck:
    """Checks the tokens for every repository that some input items name, each once.

    `listings` has the statistics of the catalogs that were read.
    """

    def __init__(
        self,
        items: Iterable[InputItem],
        *,
        registries: Registries,
        selection: Selection,
        actions: tuple[str, ...],
        workers: Callable[[Hashable], int],
        window: int,
        write: Callable[[PullAccess], Awaitable[None]],
    ) -> None:
        self._items = items
        self._registries = registries
        self._selection = selection
        self._actions = actions
        self.listings = Listings()
        # Namespaces of registries whose login was accepted: as many as logins.
        self._accepted: set[tuple[str, str]] = set()
        self._pool: Pool[RepositoryName | PullAccess, PullAccess] = Pool(
            workers=workers,
            window=window,
            in_order=True,
            work=self._check,
            write=write,
            lane=lambda job: job.registry if isinstance(job, RepositoryName) else "",
        )

    async def run(self) -> None:
        """Pass every repository's access to `write`, in the order of the items."""
        with unwrap_exception_group():
            await self._pool.run(self._jobs)

    def stop(self) -> None:
        """Stop at once."""
        self._pool.stop(0)

    async def _jobs(
        self, group: TaskGroup
    ) -> AsyncIterator[RepositoryName | PullAccess]:
        del group
        seen: set[int] = set()  # hashes: 64 bits for each repository
        async for batch in read_in_thread(self._items):
            for item in batch:
                async for job in self._repositories(item):
                    if isinstance(job, RepositoryName):
                        if hash(job) in seen:
                            continue
                        seen.add(hash(job))
                    yield job

    async def _repositories(
        self, item: InputItem
    ) -> AsyncIterator[RepositoryName | PullAccess]:
        """The repositories that an item names, or a failure. Tags are not listed."""
        if isinstance(item, RejectedEntry):
            yield self._failed(item.text, item.failure)
            return
        selector = item.selector
        if not isinstance(selector, RepositoryPattern) and selector.is_store:
            failure = Failure(
                kind=FailureKind.INVALID_REFERENCE,
                detail="images on disk need no token",
                attempts=0,
            )
            yield self._failed(str(selector), failure)
            return
        if not isinstance(selector, RepositoryPattern):
            yield RepositoryName(
                registry=selector.registry, repository=selector.repository
            )
            return
        async for name in list_repositories(
            selector,
            registries=self._registries,
            selection=self._selection,
            listings=self.listings,
        ):
            if isinstance(name, Failure):
                yield self._failed(str(selector), name)
            else:
                yield RepositoryName(registry=selector.registry, repository=name)

    def _failed(
        self, text: str, failure: Failure, repository: RepositoryName | None = None
    ) -> PullAccess:
        return PullAccess(
            text=text, repository=repository, requested=self._actions, failure=failure
        )

    async def _check(self, job: RepositoryName | PullAccess) -> PullAccess:
        if isinstance(job, PullAccess):
            return job
        text = f"{job.registry}/{job.repository}"
        place = self._registries.location(job.registry, job.repository)
        if isinstance(place, Failure):
            return self._failed(text, place, job)
        registry = await self._registries.get(place.registry)
        actions, more_refused = self._actions, False
        check = await self._request(registry, place.repository)
        if (
            isinstance(check, Failure)
            and check.kind is FailureKind.DENIED
            and actions != PULL
        ):
            # Some services refuse the token if one of its actions is not granted.
            actions, more_refused = PULL, True
            check = await check_token(registry, place.repository)
        if isinstance(check, Failure):
            return self._failed(text, check, job)
        return PullAccess(
            text=text,
            repository=job,
            requested=actions,
            check=check,
            more_refused=more_refused,
            unproven=check.token is not None
            and not check.access.verified
            and self._registries.keys(place.registry) is not None,
        )

    async def _request(
        self, registry: Registry, repository: str
    ) -> TokenCheck | Failure:
        """Request all actions, after a first request for pull with the same login.

        If a service refuses more than pull to a new login, that would look like a wrong
        password, and `TokenService` would not use the login again.
        """
        if self._actions != PULL:
            scope = pull_scope(repository)
            login = registry.name, registry.auth.namespace_of(scope)
            if login not in self._accepted:
                check = await check_token(registry, repository)
                if isinstance(check, Failure):
                    return check
                self._accepted.add(login)
        return await check_token(registry, repository, self._actions)
