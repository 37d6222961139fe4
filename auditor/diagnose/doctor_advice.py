"""One thing to try next, for each way in which a step can fail."""

from __future__ import annotations

from datetime import UTC, datetime

from auditor.diagnose.doctor_step import Case
from auditor.diagnose.server_certificate import ServerCertificate
from auditor.errors import Failure, FailureKind
from auditor.registry.transport.failures import STRICTER
from auditor.util.text import safe_text
from auditor.wire.url_policy import Origin

_NAMES_SHOWN = 5

_ADVICE = {
    FailureKind.DNS: "check the spelling, and what this machine's resolver says:"
    " getent hosts {host}; where only a proxy knows the name, say it with HTTPS_PROXY"
    " or --proxy",
    FailureKind.CONNECT: "check host and port, and that nothing between blocks them:"
    " curl -v {url}/; where the way leads through a proxy, say it with HTTPS_PROXY"
    " or --proxy",
    FailureKind.TIMEOUT: "a firewall may be swallowing what is sent: curl -v {url}/;"
    " for a host that is only slow there are --connect-timeout and --read-timeout, and"
    " for one behind a proxy --proxy",
    FailureKind.TLS: "look at what the server says: openssl s_client -connect"
    " {host}:{port} -servername {host}",
    FailureKind.DENIED: "log in as somebody who may: docker login {name} (or podman"
    ' login), or a section [registry."{name}"] with username and password_env in the'
    " configuration (docs/credentials.md)",
    FailureKind.NO_PULL_GRANT: "have pull granted to this account by whoever owns the"
    " repository, or name another account for it in the configuration, in a section"
    ' [registry."{name}/NAMESPACE"]',
    FailureKind.NOT_FOUND: "see what is there: auditor ls {name}, or auditor ls"
    " {repository}",
    FailureKind.RATE_LIMITED: "wait until the registry takes requests again; logged-in"
    " accounts mostly get more, --requests-per-second asks for less at a time, and"
    " --allowance spread makes an audit wait by itself",
    FailureKind.SERVER_ERROR: "try again in a minute (an audit does so by itself,"
    " --tries); if it stays so, the registry's own log says why",
    FailureKind.REDIRECT_REFUSED: "find out where it is redirected to, curl -I"
    " {url}/v2/, and name that host instead; realm_hosts in the configuration allows"
    " a host",
    FailureKind.TOKEN_REJECTED: "ask the token service by hand and look at its answer:"
    " curl -u USER '{realm}?service=SERVICE&scope=repository:NAME:pull'; token_url in"
    " the configuration names another one",
    FailureKind.TOO_LARGE: "if such a manifest is meant to be there, raise"
    " --max-manifest-bytes",
}
_PROXY = (
    "see whether the proxy {proxy}, which {named_by} names, lets anybody through: curl"
    " -v -x {proxy} https://HOST/v2/; a password for it can stand in HTTPS_PROXY"
    " (http://USER:PASSWORD@HOST:PORT), and NO_PROXY or --proxy none go round it"
)
_UNTRUSTED = (
    "get the certificate of its CA from whoever runs the host and give it with"
    " --ca-file FILE"
)
_ELSE = "look at the answer itself: curl -i {url}/v2/; it may not be a registry's"


def after(
    failure: Failure, case: Case, *, origin: Origin | None = None, realm: str = "REALM"
) -> str:
    """What to try after a failure of `origin`, null: of the registry."""
    proxy = case.registry.line().proxy
    if proxy is not None and failure.detail.startswith("the proxy "):
        return _PROXY.format(proxy=proxy.origin, named_by=proxy.named_by)
    if failure.kind is FailureKind.TLS and "not trusted" in failure.detail:
        return _UNTRUSTED
    asked, reference = origin or case.registry.origin, case.reference
    repository = f"{case.name}/REPOSITORY"
    if reference is not None:
        repository = f"{case.name}/{reference.repository}"
    return _ADVICE.get(failure.kind, _ELSE).format(
        host=asked.host,
        port=asked.port,
        url=asked,
        name=case.name,
        repository=repository,
        realm=realm,
    )


def after_realm(case: Case, host: str) -> str:
    """What to try where the token service may not be sent a password."""
    return (
        f"if you know that {host} is the registry's token service, allow it in the"
        f' configuration: realm_hosts = ["{host}"] in [registry."{case.name}"];'
        " otherwise ask who runs the registry why it names that host"
    )


def after_tls(
    failure: Failure, case: Case, certificate: ServerCertificate | None
) -> str:
    """What to try after a handshake that failed, in view of what the server showed."""
    origin, detail = case.registry.origin, failure.detail
    if certificate is None:
        if "does not speak TLS" in detail:
            return "if it is meant to be plain HTTP, say so: --plain-http"
        if "client certificate" in detail:
            return "give the client certificate: --cert-file FILE --key-file FILE"
        return after(failure, case)
    if "expired" in detail:
        return (
            "have the certificate renewed by whoever runs the host; if it is not"
            f" expired, this machine's clock is wrong ({_date(case.clock.epoch())})"
        )
    if "not yet valid" in detail:
        return f"check this machine's clock: it says {_date(case.clock.epoch())}"
    if "mismatch" in detail or "doesn't match" in detail:
        names = ", ".join(
            safe_text(name, 80) for name in certificate.names[:_NAMES_SHOWN]
        )
        return (
            f"ask for the registry by a name that its certificate holds ({names}), or"
            f" have one made that holds {origin.host}"
            if names
            else f"have a certificate made that holds {origin.host}; this one holds no"
            " name at all"
        )
    if STRICTER in detail:
        return (
            "have the certificate made anew with what is missing by whoever runs the"
            " host, or run auditor with Python 3.12 until then"
        )
    if certificate.self_issued:
        what = "the certificate itself"
    else:
        what = f"the certificate of the CA {safe_text(certificate.issuer, 80)}"
    return (
        f"get {what} from whoever runs the host and give it with --ca-file FILE, or"
        f" put it into ~/.config/containers/certs.d/{case.name}/ca.crt"
    )


def _date(epoch_s: float) -> str:
    return f"{datetime.fromtimestamp(epoch_s, UTC):%Y-%m-%d %H:%M} UTC"
