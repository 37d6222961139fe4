"""The doctor's steps up to a connection: route, DNS, TCP, TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator

from auditor.diagnose.doctor_advice import advise, advise_on_certificate
from auditor.diagnose.doctor_step import (
    DoctorSession,
    DoctorStep,
    StepName,
    StepState,
    failed_step,
    finished_step,
    skipped_step,
)
from auditor.diagnose.server_certificate import ServerCertificate, read_certificate
from auditor.errors import Failure
from auditor.registry.transport.connection_probe import Address, ConnectionProbe
from auditor.util.clock import rfc3339
from auditor.util.text import format_count, safe_text
from auditor.wire.url_policy import is_loopback_host

# A certificate with fewer days left is a warning. ACME clients renew a month, others
# some weeks before the end.
MIN_DAYS_LEFT = 14
# More addresses than any registry has; each may take `--connect-timeout`.
MAX_ADDRESSES = 8
_NAMES_SHOWN = 3


async def network_steps(session: DoctorSession) -> AsyncIterator[DoctorStep]:
    """The steps up to a connection; a failure stops the session."""
    if session.sources and isinstance(blocked := session.sources[-1], Failure):
        session.stopped = "registries.conf blocks it"
        advice = "unblock it there, or ignore the file with --no-registries-conf"
        yield failed_step(StepName.ROUTE, blocked, advice, ms=0.0)
        return
    probe = session.registry.connection_probe()
    yield _route(session, probe)
    with session.timed() as watch:
        addresses = await probe.addresses()
    host = safe_text(probe.origin.host)
    if isinstance(addresses, Failure):
        session.stopped = "the name does not resolve"
        advice = advise(addresses, session, origin=probe.origin)
        yield failed_step(StepName.DNS, addresses, advice, ms=watch.ms)
        return
    addresses = list({address.text: address for address in addresses}.values())
    shown = ", ".join(f"{address.text} ({address.family})" for address in addresses)
    yield finished_step(
        StepName.DNS,
        shown if probe.proxy is None else f"the proxy {host}: {shown}",
        {"host": host, "addresses": [address.text for address in addresses]},
        ms=watch.ms,
    )
    reachable: list[Address] = []
    yield await _tcp(session, probe, addresses[:MAX_ADDRESSES], reachable)
    if reachable:
        yield await _tls(session, probe, reachable[0])
    else:
        session.stopped = "no connection is possible"


def _route(session: DoctorSession, probe: ConnectionProbe) -> DoctorStep:
    registry, proxy = session.registry, probe.proxy
    path = "directly" if proxy is None else f"through the proxy {proxy}"
    sentences = [f"{registry.base_url} {path}"]
    if registry.origin.scheme == "http" and registry.settings.plain_http:
        sentences.append("plain HTTP as configured (--plain-http, plain_http)")
    elif registry.origin.scheme == "http" and session.conf.is_insecure(session.name):
        sentences.append("plain HTTP, because registries.conf has insecure = true")
    elif registry.origin.scheme == "http":
        sentences.append(
            "plain HTTP, the default for loopback addresses; for TLS use"
            " --no-plain-http or --ca-file FILE"
        )
    mirror = session.registry.settings.mirror
    mirrors = [
        safe_text(one.detail if isinstance(one, Failure) else str(one), 300)
        for one in session.sources[:-1]
    ]
    files = [safe_text(file, 300) for file in session.conf.files]
    if session.moved_from is not None:
        sentences.append(f"{session.moved_from} is read from here")
    if mirror is None and mirrors:
        sentences.append(
            f"manifests are requested from {', then '.join(mirrors)} first (check it"
            f" with: auditor doctor {mirrors[0]})"
        )
    elif mirror is not None:
        sentences.append(
            f"manifests are requested from the mirror {mirror} first (check it with:"
            f" auditor doctor {mirror}/REPOSITORY)"
        )
    if files:
        sentences.append(f"registries.conf: {', '.join(files)}")
    return finished_step(
        StepName.ROUTE,
        "; ".join(sentences),
        {
            "url": registry.base_url,
            "proxy": None if proxy is None else str(proxy.origin),
            "proxy_named_by": None if proxy is None else proxy.named_by,
            "mirror": mirror,
            "mirrors": mirrors,
            "registries_conf": files,
        },
    )


async def _tcp(
    session: DoctorSession,
    probe: ConnectionProbe,
    addresses: list[Address],
    reachable: list[Address],
) -> DoctorStep:
    """Connect to each address; those that accept are added to `reachable`."""
    port = probe.origin.port
    tried: list[dict[str, object]] = []
    outcomes: list[str] = []
    last_failure: Failure | None = None
    with session.timed() as watch:
        for address in addresses:
            with session.timed() as attempt:
                connection = await probe.connect(address)
            failure = None
            if isinstance(connection, Failure):
                failure = last_failure = connection
                outcomes.append(f"{address.text}: {connection.detail_without_advice}")
            else:
                connection.close()
                reachable.append(address)
                outcomes.append(f"{address.text} in {attempt.ms:.0f} ms")
            tried.append(
                {
                    "address": address.text,
                    "family": address.family,
                    "ms": attempt.ms,
                    "failure": None if failure is None else failure.kind.value,
                }
            )
    state = advice = None
    if last_failure is not None and not reachable:
        state = StepState.FAILED
        advice = advise(last_failure, session, origin=probe.origin)
    elif last_failure is not None:
        advice = (
            "remove the unreachable address from DNS, or repair the route to it: new"
            " connections may try it first"
        )
    return finished_step(
        StepName.TCP,
        f"port {port}: " + ", ".join(outcomes),
        {"port": port, "tried": tried},
        ms=watch.ms,
        advice=advice,
        state=state,
    )


async def _tls(
    session: DoctorSession, probe: ConnectionProbe, address: Address
) -> DoctorStep:
    if probe.origin.scheme == "http":
        return skipped_step(StepName.TLS, _why_no_tls(probe))
    with session.timed() as watch:
        handshake = await probe.secure(address)
    if isinstance(handshake, Failure):
        session.stopped = "no TLS connection is possible"
        der = await probe.peer_certificate(address)
        certificate = None if der is None else read_certificate(der)
        return failed_step(
            StepName.TLS,
            handshake,
            advise_on_certificate(handshake, session, certificate),
            ms=watch.ms,
            details={"certificate": _certificate_details(certificate, session)},
        )
    certificate = read_certificate(handshake.certificate)
    trusted_by = "the system's CAs"
    if probe.tls.ca_files and isinstance(
        await probe.secure(address, system_only=True), Failure
    ):
        trusted_by = safe_text(", ".join(probe.tls.ca_files), 500)
    cert_file = probe.tls.cert_file
    client_certificate = None if cert_file is None else safe_text(cert_file, 300)
    sentences = [handshake.version, f"trusted by {trusted_by}"]
    if certificate is not None:
        sentences.insert(1, _certificate_text(certificate, session))
    if client_certificate is not None:
        sentences.append(f"client certificate {client_certificate}")
    advice = None
    if certificate and certificate.days_left(session.clock.epoch()) < MIN_DAYS_LEFT:
        advice = "renew the certificate before audits fail"
    return finished_step(
        StepName.TLS,
        "; ".join(sentences),
        {
            "version": handshake.version,
            "cipher": handshake.cipher,
            "certificate": _certificate_details(certificate, session),
            "trusted_by": trusted_by,
            "client_certificate": client_certificate,
        },
        ms=watch.ms,
        advice=advice,
    )


def _why_no_tls(probe: ConnectionProbe) -> str:
    if probe.proxy is not None:
        return "the ping through the proxy checks the registry's certificate"
    if is_loopback_host(probe.origin.host):
        return "plain HTTP"
    return "plain HTTP, in which passwords and tokens can be read on the network"


def _certificate_text(certificate: ServerCertificate, session: DoctorSession) -> str:
    names = ", ".join(safe_text(name, 80) for name in certificate.names[:_NAMES_SHOWN])
    if (hidden := len(certificate.names) - _NAMES_SHOWN) > 0:
        names += f" and {hidden} more"
    issuer = "itself" if certificate.self_issued else safe_text(certificate.issuer, 80)
    days = format_count(certificate.days_left(session.clock.epoch()), "day")
    names = names or safe_text(certificate.subject, 80)
    return f"certificate for {names}, issued by {issuer}, {days} left"


def _certificate_details(
    certificate: ServerCertificate | None, session: DoctorSession
) -> dict[str, object] | None:
    if certificate is None:
        return None
    return {
        "subject": safe_text(certificate.subject),
        "issuer": safe_text(certificate.issuer),
        "names": [safe_text(name) for name in certificate.names],
        "not_before": rfc3339(certificate.not_before),
        "not_after": rfc3339(certificate.not_after),
        "days_left": certificate.days_left(session.clock.epoch()),
        "self_issued": certificate.self_issued,
    }
