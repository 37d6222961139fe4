"""The doctor's steps of a login: ping, challenge, realm, credential, token, grant."""

from __future__ import annotations

from collections.abc import AsyncIterator

from auditor.diagnose.doctor_advice import advise, advise_on_realm
from auditor.diagnose.doctor_step import (
    DoctorSession,
    DoctorStep,
    StepName,
    StepState,
    failed_step,
    finished_step,
    safe_or_none,
    skipped_step,
)
from auditor.errors import Failure, FailureKind, ProtocolError
from auditor.model import Access, AccessState
from auditor.registry.auth.accounts import Account
from auditor.registry.auth.authorization import CachedToken, TokenKey
from auditor.registry.auth.token_service import allowed_realm
from auditor.registry.host_plan import AuthPlan, Scheme
from auditor.registry.products.recognise import recognise_product
from auditor.registry.request import RequestKind
from auditor.util.text import format_duration, safe_text, safe_url
from auditor.wire.challenge import (
    CATALOG_SCOPE,
    Challenge,
    Scope,
    beyond_pull,
    parse_challenges,
    preferred_challenge,
    pull_scope,
)
from auditor.wire.credential import Credential, IdentityToken, Login, RegistryToken
from auditor.wire.response import Response
from auditor.wire.token import read_claims
from auditor.wire.url_policy import origin_of

VERSION_FIELD = "Docker-Distribution-Api-Version"
# Distribution's registry tolerates this difference (registry/auth/token, Leeway).
MAX_SKEW_S = 60
_NO_REPOSITORY = "no repository was given"
_IS_PUBLIC = "not needed: the registry is public"
_KINDS: dict[type[Credential], str] = {
    Login: "password",
    IdentityToken: "identity token",
    RegistryToken: "registry token",
}
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
        yield _unused_credential(session)
        for name in (StepName.TOKEN, StepName.GRANT):
            yield skipped_step(name, _IS_PUBLIC)
        return
    with session.timed() as watch:
        account = await session.registry.auth.account(_session_scope(session))
    yield _credential(session, account, watch.ms)
    if isinstance(account, Failure):
        session.stopped = "the credential cannot be used"
        return
    session.found = account.found
    async for step in _token_steps(session, plan, account):
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
    is_page = "html" in (response.headers.get("Content-Type") or "").lower()
    message = f"{status}, {'an HTML page, ' if is_page else ''}{api}"
    if product is not None:
        message += f"; probably {product.name}: {product.hint}"
    state = advice = None
    if status != 401 and (is_page or not 200 <= status < 300):
        # An audit continues without a credential until it is challenged.
        state = StepState.FAILED if session.reference is None else StepState.WARNING
        advice = (
            f"check that this is a registry: curl -i {session.registry.base_url}/v2/"
            " should return 401, or 200 and no page; it may run on another host or port"
        )
    details = {
        "status": status,
        "api_version": safe_or_none(version),
        "server": safe_or_none(response.headers.get("Server")),
        "product": None if product is None else product.name,
    }
    return finished_step(
        StepName.PING, message, details, ms=ms, advice=advice, state=state
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
    state = advice = None
    if session.registry.settings.token_url:
        message = f"as configured: Bearer, service {safe_text(plan.service or '-', 80)}"
    elif plan.scheme is Scheme.NONE:
        message = "none: the registry is public"
    elif other := _other_host(session, ping):
        message = (
            f"none of its own: it redirects to {other}, which gets an anonymous token"
            " at most"
        )
        if _login_location(session) is not None:
            advice = f"to use a login, configure it for {other}, and use that name"
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
    return finished_step(
        StepName.CHALLENGE, message, details, advice=advice, state=state
    )


def _other_host(session: DoctorSession, ping: Response | None) -> str | None:
    """The host that the ping was redirected to."""
    if ping is None:
        return None
    origin = origin_of(ping.url)
    return None if origin == session.registry.origin else origin.host


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
    if plan.is_optional:
        words.append("offered, not required")
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
        return finished_step(
            StepName.REALM,
            error.detail,
            {"realm": url, "allowed": False},
            advice=advise_on_realm(session, host),
            state=StepState.FAILED,
        )
    if plan.realm == settings.token_url:
        reason = "configured with token_url"
    elif host == registry.origin.host:
        reason = "same host as the registry"
    elif host in settings.realm_hosts:
        reason = "allowed by realm_host"
    else:
        reason = "another host; its address is checked before each connection"
    message = f"may receive the credential: {reason}"
    return finished_step(StepName.REALM, message, {"realm": url, "allowed": True})


def _login_location(session: DoctorSession) -> str | None:
    auth = session.registry.auth
    namespace = auth.namespace_of(_session_scope(session))
    return auth.credentials.location_of(session.name, namespace)


def _unused_credential(session: DoctorSession) -> DoctorStep:
    """The credential step of a registry that asks for no login."""
    location = _login_location(session)
    if location is None:
        return skipped_step(StepName.CREDENTIAL, _IS_PUBLIC)
    location = safe_text(location, 300)
    return finished_step(
        StepName.CREDENTIAL,
        f"not used: the registry asks for no login; one is configured in {location}",
        {"source": None, "location": location, "kind": None, "account": None},
        advice="requests are anonymous; if some repositories need the login, configure"
        " the registry, or the proxy in front of it, to send WWW-Authenticate",
    )


def _credential(
    session: DoctorSession, account: Account | Failure, ms: float
) -> DoctorStep:
    if isinstance(account, Failure):
        advice = (
            "repair the file, program or identity named here, or log in again (docker"
            f" login {session.name}); --no-docker-config ignores docker's files, and"
            " --cloud-login off this machine's identity"
        )
        return failed_step(StepName.CREDENTIAL, account, advice, ms=ms)
    source = location = kind = None
    looked_at = session.registry.auth.credentials.looked_at
    if (found := account.found) is None:
        sources = ["the configuration", *map(str, looked_at)]
        message = f"none in {' or '.join(sources)}: requests are anonymous"
        hint = session.registry.auth.credentials.no_identity(session.name)
        if hint is not None:
            message += f"; {safe_text(hint, 600)}"
    else:
        source, location = found.source.value, safe_text(found.location, 300)
        kind = _KINDS[type(found.credential)]
        user = ""
        if found.machine is None and account.username is not None:
            user = f" of {safe_text(account.username, 80)!r}"
        message = f"{kind}{user} from {location}"
    details = {
        "source": source,
        "location": location,
        "kind": kind,
        "account": safe_or_none(None if found is None else found.account),
        "files": [
            {"path": safe_text(str(file.path), 300), "exists": file.config is not None}
            for file in looked_at
        ],
    }
    return finished_step(StepName.CREDENTIAL, message, details, ms=ms)


def _session_scope(session: DoctorSession) -> Scope:
    """The scope of the token: pull, or the catalog if there is no repository."""
    if session.reference is None:
        return CATALOG_SCOPE
    return pull_scope(session.reference.repository)


async def _token_steps(
    session: DoctorSession, plan: AuthPlan, account: Account
) -> AsyncIterator[DoctorStep]:
    """The token and what it grants."""
    if plan.scheme is Scheme.BEARER and session.reference is None:
        async for step in _login_without_scope(session, plan, account):
            yield step
        return
    with session.timed() as watch:
        authorization = await session.registry.auth.for_scope(
            _session_scope(session)
        ).unchecked_authorization()
    if isinstance(authorization, Failure):
        session.stopped = "not logged in"
        yield _no_token(session, authorization, watch.ms, plan)
        return
    if authorization.header is None:
        yield skipped_step(StepName.TOKEN, "not needed: requests are anonymous")
        yield _unknown_grant("requests are anonymous", authorization.access)
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
    advice = None
    if skew_s is not None and abs(skew_s) > MAX_SKEW_S:
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
        advice = "replace the token where the credential step found it"
    details = {
        "kind": "opaque" if claims is None else "jwt",
        "lifetime_s": lifetime_s,
        "clock_skew_s": skew_s,
    }
    return finished_step(
        StepName.TOKEN, ", ".join(words), details, ms=ms, advice=advice
    )


def _grant(session: DoctorSession, access: Access) -> DoctorStep:
    if access.state is AccessState.UNVERIFIABLE:
        return _unknown_grant("the token does not contain it", access)
    user = safe_text(access.subject, 80) if access.subject else "the anonymous user"
    actions = ", ".join(safe_text(action, 40) for action in access.actions)
    state = advice = None
    if access.state is AccessState.DENIED:
        state = StepState.FAILED
        no_grant = Failure(kind=FailureKind.NO_PULL_GRANT, detail="")
        advice = advise(no_grant, session)
    elif beyond_pull(access.actions):
        advice = (
            "use an account that may only pull: this one was granted more than was"
            " requested (auditor token --actions pull,push,delete shows all)"
        )
    message = f"{user} is granted {actions or 'nothing'}"
    return _grant_step(message, access, advice, state)


def _unknown_grant(reason: str, access: Access) -> DoctorStep:
    return _grant_step(f"unknown: {reason}; the manifest step shows it", access)


def _grant_step(
    message: str,
    access: Access,
    advice: str | None = None,
    state: StepState | None = None,
) -> DoctorStep:
    beyond = beyond_pull(access.actions)
    details = {
        "state": access.state.value,
        "actions": [safe_text(action, 40) for action in access.actions],
        "beyond_pull": [safe_text(action, 40) for action in beyond],
        "subject": safe_or_none(access.subject),
    }
    return finished_step(StepName.GRANT, message, details, advice=advice, state=state)
