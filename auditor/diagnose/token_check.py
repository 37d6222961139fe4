"""What one account's token for one repository grants."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

from anyio.abc import TaskGroup

from auditor.audit.pool import Pool, PoolSize
from auditor.errors import Failure, FailureKind, Stage, unwrap_exception_group
from auditor.fast_dataclass import dataclass
from auditor.input.expand import feed
from auditor.input.listings import repositories_of
from auditor.input.lists import Item, Malformed
from auditor.input.tag_filter import Selection
from auditor.model import Access, AccessState
from auditor.oci.reference_grammar import RepositoryPattern
from auditor.registry.client import Registry
from auditor.registry.host_plan import Scheme
from auditor.registry.registries import Registries
from auditor.report.listing_stats import Listings
from auditor.util.secret import Secret
from auditor.wire.challenge import beyond_pull, pull_scope, repository_scope


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCheck:
    """What was asked and what came back. `token` is null without Bearer.

    `credential` says where the login stands; null for the anonymous user.
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

    @property
    def pull(self) -> bool:
        """Whether it is known that this account may pull."""
        return self.access.state is AccessState.GRANTED or self.scheme is Scheme.NONE


async def check_token(
    registry: Registry, repository: str, actions: tuple[str, ...] = ("pull",)
) -> TokenCheck | Failure:
    """Ask for the token that these actions in `repository` take; nothing else."""
    scope = repository_scope(repository, actions)
    plan = await registry.auth.plan.get()
    if isinstance(plan, Failure):
        return plan
    granted = await registry.auth.grant(scope)
    if isinstance(granted, Failure):
        return granted
    found = None
    if plan.scheme in {Scheme.BASIC, Scheme.BEARER}:
        account = await registry.auth.account(scope)
        if isinstance(account, Failure):
            return account
        found = account.found
    token = None
    if plan.scheme is Scheme.BEARER and granted.header is not None:
        token = Secret(granted.header.removeprefix("Bearer "))
    return TokenCheck(
        registry=registry.name,
        repository=repository,
        scheme=plan.scheme,
        realm=plan.realm,
        service=plan.service,
        scope=str(scope),
        account=None if found is None else found.login.username,
        credential=None if found is None else found.place,
        access=granted.access,
        token=token,
    )


# -- token_list --
# What one account's tokens grant, for many repositories, each once.
#
# Asking for an action is not using it: a token service answers with what is granted of
# what was asked, and nothing is done with the token.

PULL = ("pull",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """What is asked about."""

    registry: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """What was seen of one repository, or of a line that names none.

    `more_refused`: the service refused to answer the whole question, and was asked for
    pull alone. `unproven`: there are keys, and none of them verifies the token.
    """

    text: str
    repository: Repository | None
    asked: tuple[str, ...]
    check: TokenCheck | None = None
    failure: Failure | None = None
    more_refused: bool = False
    unproven: bool = False

    @property
    def pull(self) -> bool | None:
        """Whether the account may pull; null where that cannot be seen."""
        if self.check is None:
            return False
        match self.check.access.state:
            case AccessState.GRANTED:
                return True
            case AccessState.DENIED:
                return False
            case AccessState.ANONYMOUS:
                return True if self.check.scheme is Scheme.NONE else None
            case AccessState.UNVERIFIABLE:
                return None

    def beyond(self, allowed: Iterable[str] = PULL) -> tuple[str, ...]:
        """What the grant holds beyond reading, and beyond what is allowed."""
        return (
            ()
            if self.check is None
            else beyond_pull(self.check.access.actions, allowed)
        )


class TokenList:
    """Asks for the tokens of every repository that some items name.

    `listings` has the account of the catalogs that were read for that.
    """

    def __init__(
        self,
        items: Iterable[Item],
        *,
        registries: Registries,
        selection: Selection,
        actions: tuple[str, ...],
        size: PoolSize,
        write: Callable[[Granted], Awaitable[None]],
    ) -> None:
        self._items = items
        self._registries = registries
        self._selection = selection
        self._actions = actions
        self.listings = Listings()
        # Parts of registries whose login was taken: as many as are configured.
        self._taken: set[tuple[str, str]] = set()
        self._pool: Pool[Repository | Granted, Granted] = Pool(
            size=size,
            in_order=True,
            work=self._work,
            write=write,
            lane=lambda job: job.registry if isinstance(job, Repository) else "",
        )

    async def run(self) -> None:
        """Give every repository's answer to `write`, in the order of the items."""
        with unwrap_exception_group():
            await self._pool.run(self._jobs)

    def stop(self) -> None:
        """End now: nobody wants to know any more."""
        self._pool.stop(0)

    async def _jobs(self, group: TaskGroup) -> AsyncIterator[Repository | Granted]:
        del group
        known: set[int] = set()  # 64 bits for each: see `Catalog`
        async for batch in feed(self._items):
            for item in batch:
                async for job in self._named(item):
                    if isinstance(job, Repository):
                        size = len(known)
                        known.add(hash(job))
                        if len(known) == size:
                            continue
                    yield job

    async def _named(self, item: Item) -> AsyncIterator[Repository | Granted]:
        """The repositories that an item names; nothing is asked about their tags."""
        if isinstance(item, Malformed):
            yield self._failed(
                item.text,
                Failure(
                    kind=FailureKind.INVALID_REFERENCE,
                    stage=Stage.INPUT,
                    detail=f"{item.place}: {item.detail}",
                ),
            )
        elif isinstance(item.selector, RepositoryPattern):
            async for job in self._catalogued(item.selector):
                yield job
        else:
            yield Repository(
                registry=item.selector.registry, name=item.selector.repository
            )

    async def _catalogued(
        self, pattern: RepositoryPattern
    ) -> AsyncIterator[Repository | Granted]:
        async for one in repositories_of(
            pattern,
            registries=self._registries,
            selection=self._selection,
            listings=self.listings,
        ):
            if isinstance(one, Failure):
                yield self._failed(str(pattern), one)
            else:
                yield Repository(registry=pattern.registry, name=one)

    def _failed(
        self, text: str, failure: Failure, repository: Repository | None = None
    ) -> Granted:
        return Granted(
            text=text, repository=repository, asked=self._actions, failure=failure
        )

    async def _work(self, job: Repository | Granted) -> Granted:
        if isinstance(job, Granted):
            return job
        registry = await self._registries.get(job.registry)
        text = f"{job.registry}/{job.name}"
        asked, refused = self._actions, False
        found = await self._ask(registry, job.name)
        if (
            isinstance(found, Failure)
            and found.kind is FailureKind.DENIED
            and asked != PULL
        ):
            # Some services answer to nothing where something of it is not granted.
            asked, refused = PULL, True
            found = await check_token(registry, job.name)
        if isinstance(found, Failure):
            return self._failed(text, found, job)
        return Granted(
            text=text,
            repository=job,
            asked=asked,
            check=found,
            more_refused=refused,
            unproven=found.token is not None
            and not found.access.verified
            and self._registries.keys(job.registry) is not None,
        )

    async def _ask(self, registry: Registry, name: str) -> TokenCheck | Failure:
        """Ask for everything, with a login that was taken before.

        A refusal of more than pull must not look like one of the login, which then
        would not be used again (`TokenService`): so pull comes first, once a login.
        """
        if self._actions != PULL:
            whose = registry.name, registry.auth.accounts.part(pull_scope(name))
            if whose not in self._taken:
                found = await check_token(registry, name)
                if isinstance(found, Failure):
                    return found
                self._taken.add(whose)
        return await check_token(registry, name, self._actions)
