"""What a token service gives, and what that grants."""

from __future__ import annotations

from collections.abc import AsyncIterator

from auditor.diagnose import doctor_advice
from auditor.diagnose.doctor_step import (
    Case,
    Step,
    StepName,
    StepState,
    safe_or_null,
    skipped,
)
from auditor.errors import Failure, FailureKind
from auditor.model import Access, AccessState
from auditor.registry.auth.authorization import CachedToken, TokenKey
from auditor.registry.auth.scope_auth import Account
from auditor.registry.host_plan import Plan, Scheme
from auditor.registry.request import RequestKind
from auditor.util.text import format_duration, safe_text, safe_url
from auditor.wire.challenge import CATALOG_SCOPE, Scope, beyond_pull, pull_scope
from auditor.wire.credential import RegistryToken
from auditor.wire.token import read_claims
from auditor.wire.url_policy import origin_of

# distribution's registry forgives a clock this much (registry/auth/token, Leeway).
MAX_SKEW_S = 60


def scope_of(case: Case) -> Scope:
    """What a token is asked for: pulling, or the catalog where nothing is named."""
    if case.reference is None:
        return CATALOG_SCOPE
    return pull_scope(case.reference.repository)


async def token_steps(case: Case, plan: Plan, account: Account) -> AsyncIterator[Step]:
    """The steps from the login to what it may do."""
    if plan.scheme is Scheme.BASIC:
        granted = await case.registry.auth.grant(scope_of(case))
        if isinstance(granted, Failure):
            case.closed = "nobody is let in"
            yield _no_token(case, granted, 0.0, plan)
            return
        yield skipped(StepName.TOKEN, "Basic has none: the password itself is sent")
        yield _cannot_see("Basic has no token", granted.access)
        return
    if case.reference is None:
        async for step in _login_alone(case, plan, account):
            yield step
        return
    with case.timed() as watch:
        granted = await case.registry.auth.grant(scope_of(case))
    if isinstance(granted, Failure):
        case.closed = "no token was given"
        yield _no_token(case, granted, watch.ms, plan)
        return
    text = (granted.header or "").removeprefix("Bearer ")
    yield _token(case, text, granted.token, watch.ms)
    yield (step := _grant(case, granted.access))
    if step.state is StepState.FAILED:
        case.denied = "pull is not granted"


async def _login_alone(case: Case, plan: Plan, account: Account) -> AsyncIterator[Step]:
    """Without a repository: a token for nothing, which is what `docker login` tries."""
    without = "that takes a repository"
    if account.login is None or isinstance(account.login, RegistryToken):
        yield skipped(StepName.TOKEN, without)
    else:
        key = TokenKey(
            part="", realm=plan.realm or "", service=plan.service, scope=None
        )
        with case.timed() as watch:
            held = await case.registry.auth.tokens.get(key)
        if isinstance(held, Failure):
            case.closed = "no token was given"
            yield _no_token(case, held, watch.ms, plan)
            return
        text = held.authorization.removeprefix("Bearer ")
        yield _token(case, text, held, watch.ms)
    yield skipped(StepName.GRANT, without)


def _no_token(case: Case, failure: Failure, ms: float, plan: Plan) -> Step:
    origin = None if plan.realm is None else origin_of(plan.realm)
    if failure.kind is FailureKind.REALM_REFUSED and origin is not None:
        following = doctor_advice.advise_on_realm(case, origin.host)
    else:
        url = safe_url(plan.realm or "")
        following = doctor_advice.advise(failure, case, origin=origin, realm=url)
    return Step(
        name=StepName.TOKEN,
        state=StepState.FAILED,
        says=failure.detail,
        ms=ms,
        next=following,
        facts={"failure": failure.kind.value, "status": failure.status},
    )


def _token(case: Case, text: str, held: CachedToken | None, ms: float) -> Step:
    claims = read_claims(text)
    kind = "opaque" if claims is None else "jwt"
    says = ["an opaque token" if claims is None else "a JWT"]
    lifetime_s = None
    if held is None:
        says.append("given as it is")
        if claims is not None and claims.expires_at is not None:
            lifetime_s = claims.expires_at - case.clock.epoch()
    else:
        lifetime_s = held.expires_at - held.obtained_at
    if lifetime_s is not None:
        says.append(f"good for {format_duration(lifetime_s)}")
    skew_s = case.heard.skew_s(RequestKind.TOKEN)
    if skew_s is None:
        skew_s = case.heard.skew_s(RequestKind.PING)
    state, following = StepState.OK, None
    if skew_s is not None and abs(skew_s) > MAX_SKEW_S:
        state = StepState.WARNING
        ahead = "ahead of" if skew_s > 0 else "behind"
        says.append(
            f"this machine's clock is {format_duration(abs(skew_s))} {ahead} the"
            " service's"
        )
        following = (
            "set this machine's clock (chronyc tracking, timedatectl): tokens seem to"
            " have expired, or not to have begun, where clocks differ"
        )
    elif lifetime_s is not None and lifetime_s <= 0:
        state = StepState.WARNING
        following = "put a new token where this one stands"
    return Step(
        name=StepName.TOKEN,
        state=state,
        says=", ".join(says),
        ms=ms,
        next=following,
        facts={"kind": kind, "lifetime_s": lifetime_s, "clock_skew_s": skew_s},
    )


def _grant(case: Case, access: Access) -> Step:
    who = safe_text(access.subject, 80) if access.subject else "the anonymous user"
    if access.state is AccessState.UNVERIFIABLE:
        return _cannot_see("the token does not say", access)
    actions = ", ".join(safe_text(one, 40) for one in access.actions) or "nothing"
    more = beyond_pull(access.actions)
    state, following = StepState.OK, None
    if access.state is AccessState.DENIED:
        state = StepState.FAILED
        following = (
            "have pull granted to this account by whoever owns the repository, or name"
            " another account for it in the configuration, in a section"
            f' [registry."{case.name}/NAMESPACE"]'
        )
    elif more:
        state = StepState.WARNING
        following = (
            "only pull was asked for: use an account that may read and no more for"
            " audits (auditor token --actions pull,push,delete shows what this one may)"
        )
    return Step(
        name=StepName.GRANT,
        state=state,
        says=f"{who} is granted {actions}",
        next=following,
        facts=_grant_facts(access),
    )


def _cannot_see(why: str, access: Access) -> Step:
    return Step(
        name=StepName.GRANT,
        state=StepState.OK,
        says=f"cannot be seen, {why}; the manifest tells",
        facts=_grant_facts(access),
    )


def _grant_facts(access: Access) -> dict[str, object]:
    return {
        "state": access.state.value,
        "actions": [safe_text(one, 40) for one in access.actions],
        "beyond_pull": [safe_text(one, 40) for one in beyond_pull(access.actions)],
        "subject": safe_or_null(access.subject),
    }
