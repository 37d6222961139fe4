"""How the host lets somebody in: ping, challenge, realm, credential."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import assert_never

from auditor.diagnose import doctor_advice
from auditor.diagnose.doctor_step import (
    Case,
    Step,
    StepName,
    StepState,
    safe_or_null,
    skipped,
)
from auditor.diagnose.doctor_token import scope_of, token_steps
from auditor.errors import Failure, ProtocolError
from auditor.registry.auth.scope_auth import Account
from auditor.registry.auth.token_service import allowed_realm
from auditor.registry.host_plan import Plan, Scheme
from auditor.registry.products.recognise import product_hint
from auditor.registry.request import RequestKind
from auditor.util.text import safe_text, safe_url
from auditor.wire.challenge import Challenge, parse_challenges, preferred_challenge
from auditor.wire.credential import Credential, IdentityToken, Login, RegistryToken
from auditor.wire.response import Response
from auditor.wire.url_policy import origin_of

VERSION_FIELD = "Docker-Distribution-Api-Version"


async def access_steps(case: Case) -> AsyncIterator[Step]:
    """The steps up to a token. What closes the case is that nobody is let in."""
    plan = case.registry.auth.plan.known
    if plan is not None:
        yield skipped(
            StepName.PING,
            "token_url is configured, so that an audit sends none",
        )
    else:
        with case.timed() as watch:
            found = await case.registry.auth.plan.get()
        yield _ping(case, found, watch.ms)
        if isinstance(found, Failure):
            case.closed = "the ping came to nothing"
            return
        plan = found
    if plan.scheme in {Scheme.NONE, Scheme.UNKNOWN}:
        plan = await _by_manifest(case, plan)
    yield _challenge(case, plan)
    if case.closed:
        return
    yield (realm := _realm(case, plan))
    if realm.state is StepState.FAILED:
        case.closed = "no token can be had"
        return
    if plan.scheme in {Scheme.NONE, Scheme.UNKNOWN}:
        for name in (StepName.CREDENTIAL, StepName.TOKEN, StepName.GRANT):
            yield skipped(name, "nobody asks for one")
        return
    with case.timed() as watch:
        account = await case.registry.auth.account(scope_of(case))
    yield _credential(case, account, watch.ms)
    if isinstance(account, Failure):
        case.closed = "the credential cannot be used"
        return
    async for step in token_steps(case, plan, account):
        yield step


def _ping(case: Case, found: Plan | Failure, ms: float) -> Step:
    if isinstance(found, Failure):
        return Step(
            name=StepName.PING,
            state=StepState.FAILED,
            says=found.detail,
            ms=ms,
            next=doctor_advice.advise(found, case),
            facts={"failure": found.kind.value, "status": found.status},
        )
    answer = case.heard.answer(RequestKind.PING)
    assert answer is not None, "there is a plan that it says"
    version = answer.headers.get(VERSION_FIELD)
    hint = product_hint(case.name, answer.headers, _asked(answer))
    says = [f"{answer.status}"]
    says.append(f"API {safe_text(version, 40)}" if version else f"no {VERSION_FIELD}")
    if hint is not None:
        says.append(f"it looks like {hint.product}: {hint.sentence}")
    state, following = StepState.OK, None
    if answer.status != 401 and not 200 <= answer.status < 300:
        # An audit asks on, without a credential, until somebody asks for one.
        state = StepState.FAILED if case.reference is None else StepState.WARNING
        following = (
            f"find out whether this is a registry: curl -i {case.registry.base_url}/v2/"
            " should answer 200 or 401; it may stand at another host or port"
        )
    return Step(
        name=StepName.PING,
        state=state,
        says=", ".join(says[:2]) + "".join(f"; {more}" for more in says[2:]),
        ms=ms,
        next=following,
        facts={
            "status": answer.status,
            "api_version": None if version is None else safe_text(version),
            "server": safe_or_null(answer.headers.get("Server")),
            "product": None if hint is None else hint.product,
        },
    )


def _challenges(answer: Response | None) -> tuple[Challenge, ...]:
    if answer is None:
        return ()
    return parse_challenges(answer.headers.getall("WWW-Authenticate", ()))


def _asked(answer: Response | None) -> Challenge | None:
    return preferred_challenge(_challenges(answer))


async def _by_manifest(case: Case, plan: Plan) -> Plan:
    """The plan after a manifest: a registry may open its ping to all, and not that."""
    if case.reference is None:
        return plan
    await case.registry.head_manifest(
        case.reference.repository, case.reference.manifest_reference
    )
    return case.registry.auth.plan.known or plan


def _challenge(case: Case, plan: Plan) -> Step:
    name = StepName.CHALLENGE
    if case.registry.settings.token_url:
        return Step(
            name=name,
            state=StepState.OK,
            says="the configuration's: Bearer, service"
            f" {safe_text(plan.service or '-', 80)}",
            facts=_challenge_facts(plan, ()),
        )
    ping = case.heard.answer(RequestKind.PING)
    challenges = _challenges(ping) or _challenges(case.heard.first(RequestKind.HEAD))
    facts = _challenge_facts(plan, challenges)
    match plan.scheme:
        case Scheme.NONE:
            return Step(
                name=name,
                state=StepState.OK,
                says="none: it asks for no credential",
                facts=facts,
            )
        case Scheme.UNKNOWN:
            asks = ping is not None and ping.status == 401
            state = StepState.WARNING if case.reference else StepState.FAILED
            return Step(
                name=name,
                state=state if asks else StepState.OK,
                says="none that can be answered: an audit asks on without a credential",
                next="have the registry, or the proxy before it, send WWW-Authenticate"
                " with its 401; where it never does, token_url and service in the"
                " configuration say where tokens come from"
                if asks
                else None,
                facts=facts,
            )
        case Scheme.BASIC | Scheme.BEARER:
            said = next(
                (one for one in challenges if one.scheme == plan.scheme.value), None
            )
            scope = None if said is None else said.parameters.get("scope")
            more = ", ".join(
                safe_text(one.scheme, 20)
                for one in challenges
                if one.scheme != plan.scheme.value
            )
            says = [plan.scheme.value.capitalize()]
            if plan.scheme is Scheme.BEARER:
                says.append(f"realm {safe_url(plan.realm or '')}")
                says.append(f"service {safe_text(plan.service or '-', 80)}")
            if scope:
                says.append(f"scope {safe_text(scope, 80)}")
            if more:
                says.append(f"also {more}")
            return Step(
                name=name, state=StepState.OK, says=", ".join(says), facts=facts
            )
        case _:
            assert_never(plan.scheme)


def _challenge_facts(
    plan: Plan, challenges: tuple[Challenge, ...]
) -> dict[str, object]:
    scopes = [one.parameters.get("scope") for one in challenges]
    return {
        "scheme": plan.scheme.value,
        "offered": [safe_text(one.scheme, 40) for one in challenges],
        "realm": None if plan.realm is None else safe_url(plan.realm),
        "service": safe_or_null(plan.service),
        "scope": safe_or_null(next(filter(None, scopes), None)),
    }


def _realm(case: Case, plan: Plan) -> Step:
    name, settings = StepName.REALM, case.registry.settings
    if plan.scheme is not Scheme.BEARER or plan.realm is None:
        why = "Basic goes to the registry itself" if plan.scheme is Scheme.BASIC else ""
        return skipped(name, why or "no token service is named")
    url = safe_url(plan.realm)
    try:
        allowed_realm(plan.realm, registry=case.registry.origin, settings=settings)
        host = origin_of(plan.realm).host
    except ProtocolError as error:
        try:
            host = origin_of(plan.realm).host
        except ProtocolError:
            host = "HOST"
        return Step(
            name=name,
            state=StepState.FAILED,
            says=error.detail,
            next=doctor_advice.advise_on_realm(case, host),
            facts={"realm": url, "allowed": False},
        )
    if plan.realm == settings.token_url:
        why = "the configuration's own word"
    elif host == case.registry.origin.host:
        why = "the registry's own host"
    elif host in settings.realm_hosts:
        why = "allowed by realm_hosts"
    else:
        why = "another host, at an address that is checked when it is asked"
    return Step(
        name=name,
        state=StepState.OK,
        says=f"may be sent the credential: {why}",
        facts={"realm": url, "allowed": True},
    )


def _credential(case: Case, account: Account | Failure, ms: float) -> Step:
    name = StepName.CREDENTIAL
    if isinstance(account, Failure):
        return Step(
            name=name,
            state=StepState.FAILED,
            says=account.detail,
            ms=ms,
            next="repair what is named there, or log in anew (docker login"
            f" {case.name}); --no-docker-config leaves docker's files out",
            facts={"failure": account.kind.value},
        )
    found = account.found
    if found is None:
        where = "the configuration"
        if case.settings.docker_config:
            where += " or in docker's and podman's files"
        return Step(
            name=name,
            state=StepState.OK,
            says=f"none: nothing in {where} is for it; it is asked anonymously",
            ms=ms,
            facts={"source": None, "place": None, "kind": None, "account": None},
        )
    who = "" if account.username is None else f" of {safe_text(account.username, 80)!r}"
    return Step(
        name=name,
        state=StepState.OK,
        says=f"{_kind(found.login)}{who} from {safe_text(found.place, 300)}",
        ms=ms,
        facts={
            "source": found.source.value,
            "place": safe_text(found.place, 300),
            "kind": _kind(found.login),
            "account": safe_or_null(account.username),
        },
    )


def _kind(login: Credential) -> str:
    match login:
        case Login():
            return "password"
        case IdentityToken():
            return "identity token"
        case RegistryToken():
            return "registry token"
        case _:
            assert_never(login)
