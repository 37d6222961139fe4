"""The doctor's advice for each failure of a step.

The advice depends on `Failure.reason` (`FailureReason.advice` in errors, which every
command prints) or else on `Failure.kind`; never on the text of a failure. For a
certificate that is not trusted (unknown CA, expired, wrong name),
`advise_on_certificate` adds what the certificate of the server shows.
"""

from __future__ import annotations

from datetime import UTC, datetime

from auditor.diagnose.doctor_step import DoctorSession
from auditor.diagnose.server_certificate import ServerCertificate
from auditor.errors import Failure, FailureKind, FailureReason
from auditor.model import CredentialSource
from auditor.registry.auth.docker_config import FoundCredential
from auditor.util.text import safe_text
from auditor.wire.url_policy import Origin

# Of the names in a certificate, as many as fit on a line or two.
_NAMES_SHOWN = 5

_PROXY_REASONS = {
    FailureReason.PROXY_UNREACHABLE,
    FailureReason.PROXY_LOGIN_REQUIRED,
    FailureReason.PROXY_REFUSED,
}
_PROXY = (
    "check that the proxy {proxy} (set by {named_by}) lets connections through: curl -v"
    " -x {proxy} https://HOST/v2/; put its password into HTTPS_PROXY"
    " (http://USER:PASSWORD@HOST:PORT), or bypass it with NO_PROXY or --proxy none"
)
_PROXY_NOT_THERE = (
    "check the proxy {proxy} (set by {named_by}): curl -v {proxy}; bypass it with"
    " NO_PROXY or --proxy none"
)
_BY_KIND = {
    FailureKind.DNS: "check the spelling, and that this machine resolves the name:"
    " getent hosts {host}; if only a proxy can resolve it, set HTTPS_PROXY or --proxy",
    FailureKind.CONNECT: "check host and port, and that no firewall blocks them:"
    " curl -v {url}/; if the host is behind a proxy, set HTTPS_PROXY or --proxy",
    FailureKind.TIMEOUT: "check for a firewall that drops packets: curl -v {url}/;"
    " raise --connect-timeout or --read-timeout for a slow host, and set --proxy for a"
    " host behind a proxy",
    FailureKind.TLS: "look at the handshake: openssl s_client -connect {host}:{port}"
    " -servername {host}",
    FailureKind.DENIED: "log in with an account that can pull: docker login {name} (or"
    ' podman login), or username and password_env in a section [registry."{name}"] of'
    " the configuration (auditor config example accounts)",
    FailureKind.NO_PULL_GRANT: "ask the owner of the repository to grant pull to this"
    " account, or configure another account for it in a section"
    ' [registry."{name}/NAMESPACE"]',
    FailureKind.NOT_FOUND: "list what exists: auditor ls {name}, or auditor ls"
    " {repository}",
    FailureKind.RATE_LIMITED: "wait until the registry accepts requests again; log in"
    " (accounts mostly have a higher limit), lower --requests-per-second, or let audits"
    " wait: --rate-limit-policy spread",
    FailureKind.SERVER_ERROR: "try again in a minute (an audit retries by itself,"
    " --tries); if it persists, look into the registry's log",
    FailureKind.REDIRECT_REFUSED: "look at the redirect, curl -I {url}/v2/, and use"
    " that host instead, or allow it with realm_host in the configuration",
    FailureKind.TOKEN_REJECTED: "look at the response of the token service: curl -u"
    " USER '{realm}?service=SERVICE&scope=repository:NAME:pull'; token_url in the"
    " configuration sets another token service",
    FailureKind.TOO_LARGE: "if this manifest is meant to be so large, raise"
    " --max-manifest-bytes",
}
_OTHER = "look at the response: curl -i {url}/v2/; it may not be a registry's"


def advise(
    failure: Failure,
    session: DoctorSession,
    *,
    origin: Origin | None = None,
    realm: str = "REALM",
) -> str:
    """The advice after a failure.

    `origin` is the host that failed, None for the registry; `realm` is the URL of the
    token service.
    """
    proxy = session.registry.connection_probe().proxy
    if failure.reason in _PROXY_REASONS and proxy is not None:
        return _PROXY.format(proxy=proxy.origin, named_by=proxy.named_by)
    if proxy is not None and origin == proxy.origin:
        return _PROXY_NOT_THERE.format(proxy=proxy.origin, named_by=proxy.named_by)
    origin = origin or session.registry.origin
    reference = session.reference
    repository = "REPOSITORY" if reference is None else reference.repository
    if failure.reason is not None and failure.reason.advice is not None:
        return failure.reason.advice
    if failure.kind is FailureKind.DENIED and session.found is not None:
        return advise_on_login(failure, session.name, session.found)
    kind = failure.kind
    if kind is FailureKind.NO_PULL_GRANT and session.found is None:
        kind = FailureKind.DENIED  # what an account gets is not known yet
    return _BY_KIND.get(kind, _OTHER).format(
        host=origin.host,
        port=origin.port,
        url=origin,
        name=session.name,
        repository=f"{session.name}/{repository}",
        realm=realm,
    )


def advise_on_login(failure: Failure, name: str, found: FoundCredential) -> str:
    """What to do about a credential that was refused, by where it is from."""
    where = safe_text(found.location, 200)
    if failure.status == 403:
        return (
            f"ask the owner of the repository to let {found.name} pull, or use another"
            f" account; this one is from {where}"
        )
    match found.source:
        case CredentialSource.CONFIG:
            return f"set the right user name and password in {where}"
        case CredentialSource.HELPER:
            return (
                f"the login is from {where}: log in again, docker login {name}, or the"
                " way in which this helper gets its logins"
            )
        case _:
            program = "podman" if "auth.json" in where else "docker"
            return f"log in again, {program} login {name}: it replaces {where}"


def advise_on_realm(session: DoctorSession, host: str) -> str:
    """What to do if the password may not be sent to the token service at `host`."""
    return (
        f"if {host} is the registry's token service, allow it in the configuration:"
        f' realm_host = ["{host}"] in [registry."{session.name}"]; otherwise ask the'
        " operator of the registry why it names that host"
    )


def advise_on_certificate(
    failure: Failure, session: DoctorSession, certificate: ServerCertificate | None
) -> str:
    """What to do after a failed handshake, given the certificate the server sent."""
    if certificate is None:
        return advise(failure, session)
    now = f"{datetime.fromtimestamp(session.clock.epoch(), UTC):%Y-%m-%d %H:%M} UTC"
    match failure.reason:
        case FailureReason.CERTIFICATE_EXPIRED:
            return (
                "ask the operator to renew the certificate; if it has not expired, this"
                f" machine's clock is wrong: it shows {now}"
            )
        case FailureReason.CERTIFICATE_NOT_YET_VALID:
            return f"check this machine's clock: it shows {now}"
        case FailureReason.CERTIFICATE_WRONG_NAME:
            return _wrong_name(session, certificate)
        case FailureReason.CERTIFICATE_NOT_RFC5280:
            return (
                "ask the operator to issue a certificate that has what is missing, or"
                " run auditor with Python 3.12 until then"
            )
        case FailureReason.UNTRUSTED_CA:
            missing = "the certificate itself"
            if not certificate.self_issued:
                issuer = safe_text(certificate.issuer, 80)
                missing = f"the certificate of the CA {issuer}"
            return (
                f"get {missing} from the operator and give it with --ca-file FILE, or"
                f" put it into ~/.config/containers/certs.d/{session.name}/ca.crt"
            )
        case _:
            return advise(failure, session)


def _wrong_name(session: DoctorSession, certificate: ServerCertificate) -> str:
    host = session.registry.origin.host
    names = ", ".join(safe_text(name, 80) for name in certificate.names[:_NAMES_SHOWN])
    if not names:
        return f"ask for a certificate that contains {host}; this one contains no name"
    return (
        f"use a name of the registry that its certificate contains ({names}), or ask"
        f" for a certificate that contains {host}"
    )
