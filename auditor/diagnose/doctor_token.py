"""The doctor's steps from the login to the grant."""

from __future__ import annotations

from collections.abc import AsyncIterator

from auditor.diagnose.doctor_advice import advise, advise_on_realm
from auditor.diagnose.doctor_step import (
    DoctorSession,
    DoctorStep,
    StepName,
    StepState,
    failed_step,
    safe_or_none,
    skipped_step,
)
from auditor.errors import Failure, FailureKind
from auditor.model import Access, AccessState
from auditor.registry.auth.authorization import CachedToken, TokenKey
from auditor.registry.auth.scope_auth import Account
from auditor.registry.host_plan import AuthPlan, Scheme
from auditor.registry.request import RequestKind
from auditor.util.text import format_duration, safe_text, safe_url
from auditor.wire.challenge import CATALOG_SCOPE, Scope, beyond_pull, pull_scope
from auditor.wire.credential import RegistryToken
from auditor.wire.token import read_claims
from auditor.wire.url_policy import origin_of

# Distribution's registry tolerates this difference (registry/auth/token, Leeway).
MAX_SKEW_S = 60
_NO_REPOSITORY = "no repository was given"


def session_scope(session: DoctorSession) -> Scope:
    """The scope of the token: pull, or the catalog if there is no repository."""
    if session.reference is None:
        return CATALOG_SCOPE
    return pull_scope(session.reference.repository)


async def token_steps(
    session: DoctorSession, plan: AuthPlan, account: Account
) -> AsyncIterator[DoctorStep]:
    """The token and what it grants."""
    if plan.scheme is Scheme.BEARER and session.reference is None:
        async for step in _login_without_scope(session, plan, account):
            yield step
        return
    with session.timed() as watch:
        authorization = await session.registry.auth.for_scope(
            session_scope(session)
        ).unchecked_authorization()
    if isinstance(authorization, Failure):
        session.stopped = "not logged in"
        yield _no_token(session, authorization, watch.ms, plan)
        return
    if plan.scheme is Scheme.BASIC:
        yield skipped_step(
            StepName.TOKEN, "not needed: Basic sends the password itself"
        )
        yield _unknown_grant("Basic has no token", authorization.access)
        return
    text = (authorization.header or "").removeprefix("Bearer ")
    yield _token(session, text, authorization.token, watch.ms)
    grant_step = _grant(session, authorization.access)
    yield grant_step
    if grant_step.state is StepState.FAILED:
        session.denied = "pull is not granted"


async def _login_without_scope(
    session: DoctorSession, plan: AuthPlan, account: Account
) -> AsyncIterator[DoctorStep]:
    """Without a repository: a token without a scope, as `docker login` requests it."""
    if account.credential is None or isinstance(account.credential, RegistryToken):
        yield skipped_step(StepName.TOKEN, _NO_REPOSITORY)
    else:
        key = TokenKey(
            namespace="", realm=plan.realm or "", service=plan.service, scope=None
        )
        with session.timed() as watch:
            token = await session.registry.auth.tokens.get(key)
        if isinstance(token, Failure):
            session.stopped = "not logged in"
            yield _no_token(session, token, watch.ms, plan)
            return
        text = token.authorization.removeprefix("Bearer ")
        yield _token(session, text, token, watch.ms)
    yield skipped_step(StepName.GRANT, _NO_REPOSITORY)


def _no_token(
    session: DoctorSession, failure: Failure, ms: float, plan: AuthPlan
) -> DoctorStep:
    origin = None if plan.realm is None else origin_of(plan.realm)
    if failure.kind is FailureKind.REALM_REFUSED and origin is not None:
        advice = advise_on_realm(session, origin.host)
    else:
        url = safe_url(plan.realm or "")
        advice = advise(failure, session, origin=origin, realm=url)
    return failed_step(StepName.TOKEN, failure, advice, ms=ms)


def _token(
    session: DoctorSession, text: str, token: CachedToken | None, ms: float
) -> DoctorStep:
    claims = read_claims(text)
    words = ["an opaque token" if claims is None else "a JWT"]
    lifetime_s = None
    if token is not None:
        lifetime_s = token.expires_at - token.obtained_at
    else:
        words.append("as configured")
        if claims is not None and claims.expires_at is not None:
            lifetime_s = claims.expires_at - session.clock.epoch()
    if lifetime_s is not None:
        words.append(f"valid for {format_duration(lifetime_s)}")
    skew_s = session.responses.clock_skew_s(RequestKind.TOKEN)
    if skew_s is None:
        skew_s = session.responses.clock_skew_s(RequestKind.PING)
    state, advice = StepState.OK, None
    if skew_s is not None and abs(skew_s) > MAX_SKEW_S:
        state = StepState.WARNING
        direction = "ahead of" if skew_s > 0 else "behind"
        words.append(
            f"this machine's clock is {format_duration(abs(skew_s))} {direction} the"
            " token service's"
        )
        advice = (
            "set this machine's clock (chronyc tracking, timedatectl): with different"
            " clocks, valid tokens seem expired or not yet valid"
        )
    elif lifetime_s is not None and lifetime_s <= 0:
        state = StepState.WARNING
        advice = "replace the token where the credential step found it"
    return DoctorStep(
        name=StepName.TOKEN,
        state=state,
        message=", ".join(words),
        ms=ms,
        next=advice,
        details={
            "kind": "opaque" if claims is None else "jwt",
            "lifetime_s": lifetime_s,
            "clock_skew_s": skew_s,
        },
    )


def _grant(session: DoctorSession, access: Access) -> DoctorStep:
    if access.state is AccessState.UNVERIFIABLE:
        return _unknown_grant("the token does not contain it", access)
    user = safe_text(access.subject, 80) if access.subject else "the anonymous user"
    actions = ", ".join(safe_text(action, 40) for action in access.actions)
    state, advice = StepState.OK, None
    if access.state is AccessState.DENIED:
        state = StepState.FAILED
        no_grant = Failure(kind=FailureKind.NO_PULL_GRANT, detail="")
        advice = advise(no_grant, session)
    elif beyond_pull(access.actions):
        state = StepState.WARNING
        advice = (
            "use an account that may only pull: this one was granted more than was"
            " requested (auditor token --actions pull,push,delete shows all)"
        )
    return DoctorStep(
        name=StepName.GRANT,
        state=state,
        message=f"{user} is granted {actions or 'nothing'}",
        next=advice,
        details=_grant_details(access),
    )


def _unknown_grant(reason: str, access: Access) -> DoctorStep:
    return DoctorStep(
        name=StepName.GRANT,
        state=StepState.OK,
        message=f"unknown: {reason}; the manifest step shows it",
        details=_grant_details(access),
    )


def _grant_details(access: Access) -> dict[str, object]:
    return {
        "state": access.state.value,
        "actions": [safe_text(action, 40) for action in access.actions],
        "beyond_pull": [
            safe_text(action, 40) for action in beyond_pull(access.actions)
        ],
        "subject": safe_or_none(access.subject),
    }
