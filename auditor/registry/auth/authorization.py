"""What one request carries to be let in."""

from __future__ import annotations

from typing import Protocol

from auditor.errors import Failure
from auditor.fast_dataclass import dataclass
from auditor.model import Access, AccessState, CredentialSource
from auditor.registry.access.login_trial import LoginTrial
from auditor.registry.access.tokens import HeldToken, TokenKey
from auditor.wire.challenge import Challenge, Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """`header` is the Authorization field; null sends none.

    `token`, `key` and `scope` are those of a token that can be renewed; `fixed` says
    that there is no other than this: a password, or a token that was given as it is.
    `trial` is that of a password which was not accepted yet.
    """

    header: str | None
    access: Access
    fixed: bool = False
    key: TokenKey | None = None
    scope: Scope | None = None
    token: HeldToken | None = None
    trial: LoginTrial | None = None

    def age_s(self, now: float) -> float | None:
        """Seconds since its token was asked for; null without a token."""
        return None if self.token is None else now - self.token.obtained_at

    def is_old(self, now: float) -> bool:
        """Whether its token has expired."""
        return self.token is not None and now >= self.token.expires_at

    def __repr__(self) -> str:
        return f"Authorization(***, access={self.access})"


class Authorizer(Protocol):
    """Where authorizations for one repository or catalog come from."""

    def at_hand(self) -> Authorization | None:
        """One that is good now, if it is known without asking or waiting."""

    async def authorization(self) -> Authorization | Failure:
        """One that is good now."""

    async def again(
        self, refused: Authorization, challenge: Challenge | None
    ) -> Authorization | Failure:
        """Another one, after `refused` was answered 401 with `challenge`."""


def access_untold(
    state: AccessState,
    *,
    subject: str | None = None,
    credential: CredentialSource | None = None,
) -> Access:
    """The access of somebody whom no token tells what is granted."""
    return Access(
        state=state,
        actions=(),
        subject=subject,
        issuer=None,
        verified=False,
        credential=credential,
    )


ANONYMOUS = Authorization(header=None, access=access_untold(AccessState.ANONYMOUS))
