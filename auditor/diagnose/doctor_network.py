"""How the host is reached: route, name, TCP, TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator

from auditor.diagnose import doctor_advice
from auditor.diagnose.doctor_step import Case, Step, StepName, StepState, skipped
from auditor.diagnose.server_certificate import ServerCertificate, read_certificate
from auditor.errors import Failure
from auditor.registry.transport.connection_probe import Address, ConnectionProbe
from auditor.util.clock import rfc3339
from auditor.util.text import format_count, safe_text
from auditor.wire.url_policy import is_loopback_host

# Certificates are renewed a month (ACME's, of 90 days) or some weeks before they end.
SOON_DAYS = 14
# More addresses than any registry has; each may cost --connect-timeout.
MAX_ADDRESSES = 8
_NAMES_SHOWN = 3


async def network_steps(case: Case) -> AsyncIterator[Step]:
    """The steps up to a connection. One that fails closes the case."""
    line = case.registry.connection_probe()
    yield _route(case, line)
    with case.timed() as watch:
        found = await line.addresses()
    host = safe_text(line.origin.host)
    whose = "" if line.proxy is None else f"the proxy's name {host}: "
    if isinstance(found, Failure):
        case.closed = "the name does not resolve"
        yield _failed(
            StepName.NAME,
            found,
            watch.ms,
            doctor_advice.advise(found, case, origin=line.origin),
        )
        yield skipped(StepName.TCP, case.closed)
        yield skipped(StepName.TLS, case.closed)
        return
    found = list({address.text: address for address in found}.values())
    yield Step(
        name=StepName.NAME,
        state=StepState.OK,
        says=whose + ", ".join(f"{one.text} ({one.family})" for one in found),
        ms=watch.ms,
        facts={"host": host, "addresses": [one.text for one in found]},
    )
    answering: list[Address] = []
    yield await _tcp(case, line, found[:MAX_ADDRESSES], answering)
    if not answering:
        case.closed = "no connection can be made"
        yield skipped(StepName.TLS, case.closed)
        return
    yield await _tls(case, line, answering[0])


def _route(case: Case, line: ConnectionProbe) -> Step:
    registry, mirror = case.registry, case.registry.settings.mirror
    says = [registry.base_url, "directly" if line.proxy is None else ""]
    if line.proxy is not None:
        says[1] = f"through the proxy {line.proxy}"
    if registry.origin.scheme == "http":
        says.append(_why_plain(case))
    if mirror is not None:
        says.append(
            f"manifests are looked for at the mirror {mirror} first (auditor doctor"
            f" {mirror}/REPOSITORY examines it)"
        )
    return Step(
        name=StepName.ROUTE,
        state=StepState.OK,
        says="; ".join((f"{says[0]} {says[1]}", *says[2:])),
        facts={
            "url": registry.base_url,
            "proxy": None if line.proxy is None else str(line.proxy.origin),
            "proxy_named_by": None if line.proxy is None else line.proxy.named_by,
            "mirror": mirror,
        },
    )


def _why_plain(case: Case) -> str:
    if case.registry.settings.plain_http:
        return "plain HTTP because the settings say so (plain_http, --plain-http)"
    return (
        "plain HTTP because it is a loopback address of which the settings say nothing;"
        " --ca-file FILE, or plain_http = false, asks it over TLS"
    )


async def _tcp(
    case: Case,
    line: ConnectionProbe,
    addresses: list[Address],
    answering: list[Address],
) -> Step:
    port = line.origin.port
    tried: list[dict[str, object]] = []
    lines: list[str] = []
    last: Failure | None = None
    with case.timed() as watch:
        for address in addresses:
            with case.timed() as one:
                outcome = await line.connect(address)
            fact = {"address": address.text, "family": address.family, "ms": one.ms}
            if isinstance(outcome, Failure):
                last = outcome
                reason = outcome.detail.rpartition(": ")[2]
                lines.append(f"{address.text}: {reason}")
                tried.append({**fact, "failure": outcome.kind.value})
            else:
                outcome.close()
                answering.append(address)
                lines.append(f"{address.text} in {one.ms:.0f} ms")
                tried.append({**fact, "failure": None})
    state, following = StepState.OK, None
    if not answering and last is not None:
        state, following = (
            StepState.FAILED,
            doctor_advice.advise(last, case, origin=line.origin),
        )
    elif last is not None:
        state = StepState.WARNING
        following = (
            "every new connection may first try an address that is dead; have it taken"
            " out of the DNS, or its way repaired"
        )
    return Step(
        name=StepName.TCP,
        state=state,
        says=f"port {port}: " + ", ".join(lines),
        ms=watch.ms,
        next=following,
        facts={"port": port, "tried": tried},
    )


async def _tls(case: Case, line: ConnectionProbe, address: Address) -> Step:
    if line.origin.scheme == "http":
        if line.proxy is not None:
            why = (
                "the proxy makes the connection; the certificate is checked in the"
                " ping that goes through it"
            )
        else:
            why = "it is asked over plain HTTP"
            if not is_loopback_host(line.origin.host):
                why += ", in which passwords and tokens can be read on the way"
        return skipped(StepName.TLS, why)
    with case.timed() as watch:
        agreed = await line.secure(address)
    if isinstance(agreed, Failure):
        case.closed = "no TLS connection can be made"
        shown = await line.look(address)
        certificate = None if shown is None else read_certificate(shown)
        return _failed(
            StepName.TLS,
            agreed,
            watch.ms,
            doctor_advice.advise_on_certificate(agreed, case, certificate),
            **_certificate_facts(certificate, case),
        )
    certificate = read_certificate(agreed.certificate)
    trusted_by = "the system's CAs"
    if line.tls.ca_files and isinstance(
        await line.secure(address, system_only=True), Failure
    ):
        trusted_by = safe_text(", ".join(line.tls.ca_files), 500)
    own = None if line.tls.cert_file is None else safe_text(line.tls.cert_file, 300)
    says = [agreed.version, _certificate_words(certificate, case)]
    says.append(f"trusted by {trusted_by}")
    if own is not None:
        says.append(f"our certificate is {own}")
    state, following = StepState.OK, None
    if (
        certificate is not None
        and certificate.days_left(case.clock.epoch()) < SOON_DAYS
    ):
        state = StepState.WARNING
        following = "have the certificate renewed before audits fail"
    return Step(
        name=StepName.TLS,
        state=state,
        says="; ".join(says),
        ms=watch.ms,
        next=following,
        facts={
            "version": agreed.version,
            "cipher": agreed.cipher,
            **_certificate_facts(certificate, case),
            "trusted_by": trusted_by,
            "client_certificate": own,
        },
    )


def _certificate_words(certificate: ServerCertificate | None, case: Case) -> str:
    if certificate is None:
        return "a certificate that cannot be read"
    names = [safe_text(name, 80) for name in certificate.names[:_NAMES_SHOWN]]
    more = len(certificate.names) - len(names)
    return (
        f"certificate of {', '.join(names) or safe_text(certificate.subject, 80)}"
        + (f" and {more} more" if more else "")
        + f" by {safe_text(certificate.issuer, 80)},"
        f" {format_count(certificate.days_left(case.clock.epoch()), 'day')} left"
    )


def _certificate_facts(
    certificate: ServerCertificate | None, case: Case
) -> dict[str, object]:
    if certificate is None:
        return {"certificate": None}
    return {
        "certificate": {
            "subject": safe_text(certificate.subject),
            "issuer": safe_text(certificate.issuer),
            "names": [safe_text(name) for name in certificate.names],
            "not_before": rfc3339(certificate.not_before),
            "not_after": rfc3339(certificate.not_after),
            "days_left": certificate.days_left(case.clock.epoch()),
            "self_issued": certificate.self_issued,
        }
    }


def _failed(
    name: StepName, failure: Failure, ms: float, following: str, **facts: object
) -> Step:
    return Step(
        name=name,
        state=StepState.FAILED,
        says=failure.detail,
        ms=ms,
        next=following,
        facts={"failure": failure.kind.value, **facts},
    )
