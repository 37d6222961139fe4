"""What one account's token for one repository grants."""

from __future__ import annotations

from auditor.errors import Failure
from auditor.fast_dataclass import dataclass
from auditor.model import Access, AccessState
from auditor.registry.client import Registry
from auditor.registry.host_plan import Scheme
from auditor.util.secret import Secret
from auditor.wire.challenge import repository_scope


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
