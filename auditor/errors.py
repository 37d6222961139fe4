"""Failures as values, errors as exceptions, and the exit codes.

A reference that cannot be audited yields a `Failure`, a value that becomes a record of
the report. Exceptions are for errors that stop a command:

    AuditorError                 (base class, not raised itself)
     ├─ UsageError               wrong command line or input                  exit 2
     │   └─ ConfigError          all errors of a configuration at once        exit 2
     ├─ OutputError              the report cannot be written                 exit 3
     ├─ LockedError              another run is writing the report            exit 5
     └─ ProtocolError            a header or document violates its grammar;
                                 raised by `auditor.oci` and `auditor.wire`,
                                 turned into a `Failure` by `auditor.registry`

Any other exception that escapes is a bug (exit 70).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import IntEnum, StrEnum
from typing import Self

from auditor.fast_dataclass import dataclass


class ExitCode(IntEnum):
    """Exit codes of the `auditor` command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    OUTPUT = 3
    LOCKED = 5
    BUG = 70
    HANGUP = 129
    INTERRUPTED = 130
    TERMINATED = 143


class Stage(StrEnum):
    """The step in the audit of a reference at which it failed."""

    INPUT = "input"
    LIST = "list"
    TOKEN = "token"
    MANIFEST = "manifest"
    CONFIG = "config"
    BLOB = "blob"


class Blame(StrEnum):
    """Which side has to act on a failure; `NOBODY`: another run may succeed."""

    USER = "user"
    REGISTRY = "registry"
    NETWORK = "network"
    NOBODY = "nobody"


class FailureKind(StrEnum):
    """Why a reference has no image record. The values are part of the report.

    `retryable`: the same request may succeed a moment later. `blame`: which side has to
    act so that the next run succeeds.
    """

    retryable: bool
    blame: Blame

    def __new__(
        cls, value: str, retryable: bool = False, blame: Blame = Blame.NOBODY
    ) -> Self:
        """Define a kind; with `value` alone, `FailureKind(...)` finds one."""
        kind = str.__new__(cls, value)
        kind._value_ = value
        kind.retryable = retryable
        kind.blame = blame
        return kind

    INVALID_REFERENCE = "invalid_reference", False, Blame.USER
    DNS = "dns", True, Blame.NETWORK
    CONNECT = "connect", True, Blame.NETWORK
    TLS = "tls", False, Blame.NETWORK
    TIMEOUT = "timeout", True, Blame.NETWORK
    REALM_REFUSED = "realm_refused", False, Blame.REGISTRY
    REDIRECT_REFUSED = "redirect_refused", False, Blame.REGISTRY
    TOKEN_REJECTED = "token_rejected", False, Blame.REGISTRY
    NO_PULL_GRANT = "no_pull_grant", False, Blame.USER
    DENIED = "denied", False, Blame.USER
    NOT_FOUND = "not_found", False, Blame.USER
    VANISHED = "vanished", False, Blame.NOBODY
    RATE_LIMITED = "rate_limited", True, Blame.NOBODY
    SERVER_ERROR = "server_error", True, Blame.REGISTRY
    PROTOCOL_VIOLATION = "protocol_violation", False, Blame.REGISTRY
    TOO_LARGE = "too_large", False, Blame.REGISTRY
    DIGEST_MISMATCH = "digest_mismatch", False, Blame.REGISTRY
    DIGEST_CHANGED = "digest_changed", False, Blame.NOBODY
    AMBIGUOUS_DOCUMENT = "ambiguous_document", False, Blame.REGISTRY
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type", False, Blame.REGISTRY
    INCOMPLETE_LISTING = "incomplete_listing", False, Blame.REGISTRY
    INTERRUPTED = "interrupted", False, Blame.NOBODY


class FailureReason(StrEnum):
    """Why a connection failed, in more detail than `FailureKind`.

    The advice for the user depends on it (`advice`, and `auditor doctor`). The report
    does not contain it. Certificate reasons are OpenSSL's verification errors.
    """

    UNKNOWN_HOST = "unknown_host"
    LOOKUP_TIMEOUT = "lookup_timeout"
    CONNECTION_REFUSED = "connection_refused"
    CONNECT_TIMEOUT = "connect_timeout"
    READ_TIMEOUT = "read_timeout"
    NOT_TLS = "not_tls"
    PLAIN_HTTP_TO_TLS = "plain_http_to_tls"
    UNTRUSTED_CA = "untrusted_ca"
    CERTIFICATE_EXPIRED = "certificate_expired"
    CERTIFICATE_NOT_YET_VALID = "certificate_not_yet_valid"
    CERTIFICATE_WRONG_NAME = "certificate_wrong_name"
    CERTIFICATE_NOT_RFC5280 = "certificate_not_rfc5280"
    CLIENT_CERTIFICATE_REQUIRED = "client_certificate_required"
    CLIENT_CERTIFICATE_REJECTED = "client_certificate_rejected"
    PROXY_UNREACHABLE = "proxy_unreachable"
    PROXY_LOGIN_REQUIRED = "proxy_login_required"
    PROXY_REFUSED = "proxy_refused"
    NO_DESCRIPTOR = "no_descriptor"

    @property
    def advice(self) -> str | None:
        """One sentence on what to do next, which ends the failure's `detail`."""
        return _ADVICE.get(self)


_CLIENT_CERTIFICATE = (
    "the server may require a client certificate, or another one: --cert-file,"
    " --key-file (cert_file, key_file in the configuration)"
)
_ADVICE = {
    FailureReason.NOT_TLS: "if the server speaks plain HTTP, use --plain-http"
    " (plain_http = true in the configuration)",
    FailureReason.PLAIN_HTTP_TO_TLS: "the server expects TLS: use --no-plain-http"
    " (plain_http = false in the configuration), and --ca-file for a private CA",
    FailureReason.UNTRUSTED_CA: "for a private CA, give its certificate with --ca-file"
    " FILE (ca_file in the configuration)",
    FailureReason.CERTIFICATE_NOT_RFC5280: "RFC 5280 requires it, and Python 3.13 and"
    " newer insist: issue a new certificate, or run auditor with Python 3.12",
    FailureReason.CLIENT_CERTIFICATE_REQUIRED: _CLIENT_CERTIFICATE,
    FailureReason.CLIENT_CERTIFICATE_REJECTED: _CLIENT_CERTIFICATE,
    FailureReason.NO_DESCRIPTOR: "raise the limit of open files (ulimit -n), or end"
    " programs that hold many files open",
    FailureReason.PROXY_LOGIN_REQUIRED: "put the proxy's user name and password into"
    " HTTPS_PROXY (http://USER:PASSWORD@HOST:PORT)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a step failed; becomes a failure record of the report.

    `detail` is one sentence that is safe to print: no secret, no query string, no raw
    error body. `status` is the HTTP status of the response, if there was one. `reason`
    is set for failed connections.
    """

    kind: FailureKind
    detail: str
    stage: Stage = Stage.MANIFEST
    status: int | None = None
    attempts: int = 1
    reason: FailureReason | None = None

    @property
    def code(self) -> str:
        """What `auditor explain` says most about: the reason if one is known."""
        return self.kind if self.reason is None else self.reason

    @property
    def detail_without_advice(self) -> str:
        """The detail without the advice of `reason` at its end."""
        advice = None if self.reason is None else self.reason.advice
        return (
            self.detail if advice is None else self.detail.removesuffix(f"; {advice}")
        )

    def at(self, stage: Stage) -> Failure:
        """The same failure at another stage."""
        return replace(self, stage=stage)


class AuditorError(Exception):
    """Base class of the errors that this package raises on purpose."""

    exit_code = ExitCode.BUG


class UsageError(AuditorError):
    """The command line, or a file that it names, cannot be used."""

    exit_code = ExitCode.USAGE


class ConfigError(UsageError):
    """All errors of a configuration, each with its file and line, flag or variable."""

    def __init__(self, mistakes: tuple[str, ...]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class OutputError(AuditorError):
    """The report cannot be written."""

    exit_code = ExitCode.OUTPUT


class LockedError(AuditorError):
    """Another run is writing the same report."""

    exit_code = ExitCode.LOCKED


class ProtocolError(AuditorError):
    """A header, token or document that violates its grammar or a limit."""

    def __init__(
        self, detail: str, kind: FailureKind = FailureKind.PROTOCOL_VIOLATION
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.kind = kind


@contextmanager
def unwrap_exception_group() -> Iterator[None]:
    """Raise the first `AuditorError` of an exception group in place of the group.

    It has a message for the user; the other exceptions are its consequences. A group
    without an `AuditorError` is a bug and is raised unchanged.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        matching, _ = group.split(AuditorError)
        if matching is None:
            raise
        error: BaseException = matching
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from group
