"""The doctor's steps up to a login: ping, challenge, realm, credential."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import assert_never

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
from auditor.diagnose.doctor_token import session_scope, token_steps
from auditor.errors import Failure, ProtocolError
from auditor.registry.auth.scope_auth import Account
from auditor.registry.auth.token_service import allowed_realm
from auditor.registry.host_plan import AuthPlan, Scheme
from auditor.registry.products.recognise import recognise_product
from auditor.registry.request import RequestKind
from auditor.util.text import safe_text, safe_url
from auditor.wire.challenge import Challenge, parse_challenges, preferred_challenge
from auditor.wire.credential import Credential, IdentityToken, Login, RegistryToken
from auditor.wire.response import Response
from auditor.wire.url_policy import origin_of

VERSION_FIELD = "Docker-Distribution-Api-Version"
_ANONYMOUS_SCHEMES = {Scheme.NONE, Scheme.UNKNOWN}


async def access_steps(session: DoctorSession) -> AsyncIterator[DoctorStep]:
    """The steps from the ping to the grant; without a login the session stops."""
    plan = session.registry.auth.plan.known
    if plan is not None:
        yield skipped_step(StepName.PING, "not needed: token_url is configured")
    else:
        with session.timed() as watch:
            pinged = await session.registry.auth.plan.get()
        yield _ping(session, pinged, watch.ms)
        if isinstance(pinged, Failure):
            session.stopped = "the ping failed"
            return
        plan = pinged
    if plan.scheme in _ANONYMOUS_SCHEMES and session.reference is not None:
        # A registry may answer the ping to everybody, and not requests for manifests.
        await session.registry.head_manifest(
            session.reference.repository, session.reference.manifest_reference
        )
        plan = session.registry.auth.plan.known or plan
    yield _challenge(session, plan)
    realm_step = _realm(session, plan)
    yield realm_step
    if realm_step.state is StepState.FAILED:
        session.stopped = "no token can be requested"
        return
    if plan.scheme in _ANONYMOUS_SCHEMES:
        for name in (StepName.CREDENTIAL, StepName.TOKEN, StepName.GRANT):
            yield skipped_step(name, "not needed: the registry is public")
        return
    with session.timed() as watch:
        account = await session.registry.auth.account(session_scope(session))
    yield _credential(session, account, watch.ms)
    if isinstance(account, Failure):
        session.stopped = "the credential cannot be used"
        return
    async for step in token_steps(session, plan, account):
        yield step


def _ping(session: DoctorSession, pinged: AuthPlan | Failure, ms: float) -> DoctorStep:
    if isinstance(pinged, Failure):
        return failed_step(StepName.PING, pinged, advise(pinged, session), ms=ms)
    response = session.responses.last(RequestKind.PING)
    assert response is not None, "the plan was read from it"
    status, version = response.status, response.headers.get(VERSION_FIELD)
    product = recognise_product(
        session.name, response.headers, preferred_challenge(_challenges(response))
    )
    api = f"no {VERSION_FIELD}" if version is None else f"API {safe_text(version, 40)}"
    message = f"{status}, {api}"
    if product is not None:
        message += f"; probably {product.name}: {product.hint}"
    state, advice = StepState.OK, None
    if status != 401 and not 200 <= status < 300:
        # An audit continues without a credential until it is challenged.
        state = StepState.FAILED if session.reference is None else StepState.WARNING
        advice = (
            f"check that this is a registry: curl -i {session.registry.base_url}/v2/"
            " should return 200 or 401; it may run on another host or port"
        )
    return DoctorStep(
        name=StepName.PING,
        state=state,
        message=message,
        ms=ms,
        next=advice,
        details={
            "status": status,
            "api_version": safe_or_none(version),
            "server": safe_or_none(response.headers.get("Server")),
            "product": None if product is None else product.name,
        },
    )


def _challenges(response: Response | None) -> tuple[Challenge, ...]:
    if response is None:
        return ()
    return parse_challenges(response.headers.getall("WWW-Authenticate", ()))


def _challenge(session: DoctorSession, plan: AuthPlan) -> DoctorStep:
    ping = session.responses.last(RequestKind.PING)
    challenges = _challenges(ping) or _challenges(
        session.responses.first(RequestKind.HEAD)
    )
    scopes = [challenge.parameters.get("scope") for challenge in challenges]
    details: dict[str, object] = {
        "scheme": plan.scheme.value,
        "offered": [safe_text(challenge.scheme, 40) for challenge in challenges],
        "realm": None if plan.realm is None else safe_url(plan.realm),
        "service": safe_or_none(plan.service),
        "scope": safe_or_none(next(filter(None, scopes), None)),
    }
    state, advice = StepState.OK, None
    if session.registry.settings.token_url:
        message = f"as configured: Bearer, service {safe_text(plan.service or '-', 80)}"
    elif plan.scheme is Scheme.NONE:
        message = "none: the registry is public"
    elif plan.scheme is Scheme.UNKNOWN:
        message = "none that auditor supports: requests are sent without a credential"
        if ping is not None and ping.status == 401:
            state = StepState.WARNING if session.reference else StepState.FAILED
            advice = (
                "configure the registry, or the proxy in front of it, to send"
                " WWW-Authenticate with a 401; otherwise set token_url and service in"
                " the configuration"
            )
    else:
        message = _challenge_text(plan, challenges)
    return DoctorStep(
        name=StepName.CHALLENGE,
        state=state,
        message=message,
        next=advice,
        details=details,
    )


def _challenge_text(plan: AuthPlan, challenges: tuple[Challenge, ...]) -> str:
    """`Bearer, realm ..., service ..., scope ..., also Basic`."""
    words = [plan.scheme.value.capitalize()]
    if plan.scheme is Scheme.BEARER:
        words.append(f"realm {safe_url(plan.realm or '')}")
        words.append(f"service {safe_text(plan.service or '-', 80)}")
    others = []
    for challenge in challenges:
        if challenge.scheme != plan.scheme.value:
            others.append(safe_text(challenge.scheme, 20))
        elif scope := challenge.parameters.get("scope"):
            words.append(f"scope {safe_text(scope, 80)}")
    if others:
        words.append(f"also {', '.join(others)}")
    return ", ".join(words)


def _realm(session: DoctorSession, plan: AuthPlan) -> DoctorStep:
    registry, settings = session.registry, session.registry.settings
    if plan.scheme is Scheme.BASIC:
        return skipped_step(StepName.REALM, "not needed: the registry uses Basic")
    if plan.scheme is not Scheme.BEARER or plan.realm is None:
        return skipped_step(StepName.REALM, "not needed: there is no token service")
    url, host = safe_url(plan.realm), "HOST"
    try:
        host = origin_of(plan.realm).host
        allowed_realm(plan.realm, registry=registry.origin, settings=settings)
    except ProtocolError as error:
        return DoctorStep(
            name=StepName.REALM,
            state=StepState.FAILED,
            message=error.detail,
            next=advise_on_realm(session, host),
            details={"realm": url, "allowed": False},
        )
    if plan.realm == settings.token_url:
        reason = "configured with token_url"
    elif host == registry.origin.host:
        reason = "same host as the registry"
    elif host in settings.realm_hosts:
        reason = "allowed by realm_host"
    else:
        reason = "a public host; its address is checked before each connection"
    return DoctorStep(
        name=StepName.REALM,
        state=StepState.OK,
        message=f"may receive the credential: {reason}",
        details={"realm": url, "allowed": True},
    )


def _credential(
    session: DoctorSession, account: Account | Failure, ms: float
) -> DoctorStep:
    if isinstance(account, Failure):
        advice = (
            "repair the file or helper named here, or log in again (docker login"
            f" {session.name}); --no-docker-config ignores docker's files"
        )
        return failed_step(StepName.CREDENTIAL, account, advice, ms=ms)
    found = account.found
    if found is None:
        sources = "the configuration"
        if session.settings.docker_config:
            sources += " or in the files of docker and podman"
        message = f"none in {sources}: requests are anonymous"
        source = location = kind = None
    else:
        source, location = found.source.value, safe_text(found.location, 300)
        kind = _credential_kind(found.credential)
        user = ""
        if account.username is not None:
            user = f" of {safe_text(account.username, 80)!r}"
        message = f"{kind}{user} from {location}"
    return DoctorStep(
        name=StepName.CREDENTIAL,
        state=StepState.OK,
        message=message,
        ms=ms,
        details={
            "source": source,
            "location": location,
            "kind": kind,
            "account": safe_or_none(account.username),
        },
    )


def _credential_kind(credential: Credential) -> str:
    match credential:
        case Login():
            return "password"
        case IdentityToken():
            return "identity token"
        case RegistryToken():
            return "registry token"
        case _:
            assert_never(credential)
