"""What each code means and what to do about it: the only place of these texts.

`auditor explain` prints them, and docs/reference/failures.md is written from them.
Rules of a policy are explained where they are defined
(`analysis/check/rules.py`).
"""

from __future__ import annotations

from auditor.errors import Blame, ExitCode, FailureKind, FailureReason
from auditor.fast_dataclass import dataclass
from auditor.model import WarningCode


@dataclass(frozen=True, slots=True)
class Explanation:
    """A code: its meaning in one line, and what to do, step by step.

    `meaning` is Markdown without blocks, such as "`HEAD` is refused".
    """

    meaning: str
    steps: tuple[str, ...]


# Who can fix a failure, in the table of docs/reference/failures.md.
WHO = {
    Blame.USER: "you",
    Blame.REGISTRY: "registry",
    Blame.NETWORK: "network",
    Blame.NOBODY: "no action",
}

_DOCTOR = "auditor doctor REFERENCE shows each step and where it fails"
_LATER = "run the audit again later with --resume, which audits what is missing"
_OPERATOR = "report it to the operator of the registry, with the detail of the record"
_CURL = "look at the response: curl -i https://HOST/v2/REPOSITORY/manifests/TAG"

FAILURES: dict[FailureKind, Explanation] = {
    FailureKind.INVALID_REFERENCE: Explanation(
        "the text is not a reference",
        (
            "the detail names the list and the line, and what is wrong",
            "a reference is HOST/REPOSITORY:TAG or HOST/REPOSITORY@sha256:DIGEST;"
            " without a host it is an image of Docker Hub",
        ),
    ),
    FailureKind.DNS: Explanation(
        "the host name does not resolve",
        (
            "check the spelling of the host",
            "check that this machine resolves it: getent hosts HOST",
            "if only a proxy can resolve it, set HTTPS_PROXY or --proxy",
        ),
    ),
    FailureKind.CONNECT: Explanation(
        "no connection, or it broke, after all retries",
        (
            "check host and port, and that the registry runs: curl -v https://HOST/v2/",
            "check for a firewall; if the host is behind a proxy, set HTTPS_PROXY or"
            " --proxy",
            _LATER,
        ),
    ),
    FailureKind.TLS: Explanation(
        "no TLS connection, or its certificate is not trusted; not retried",
        (
            "for a private CA, give its certificate: --ca-file FILE (ca_file)",
            "for a registry that speaks plain HTTP: --plain-http (plain_http = true)",
            _DOCTOR + ", and the names, issuer and dates of the certificate",
        ),
    ),
    FailureKind.TIMEOUT: Explanation(
        "no answer in time, after all retries",
        (
            "if many references fail, the registry is overloaded: lower"
            " --requests-at-once",
            "if the host is slow, raise --read-timeout or --connect-timeout",
            "if nothing answers, a firewall may drop packets: curl -v https://HOST/v2/",
        ),
    ),
    FailureKind.REALM_REFUSED: Explanation(
        "the registry names a token service to which no credential may go",
        (
            "if that host is the registry's token service, allow it: realm_host ="
            ' ["HOST"] in [registry."NAME"]',
            "otherwise ask the operator why the registry names it: somebody may collect"
            " passwords",
        ),
    ),
    FailureKind.REDIRECT_REFUSED: Explanation(
        "the registry redirects to where no request may go",
        (
            "the detail has the target and the reason, such as a private address or"
            " plain HTTP",
            _OPERATOR,
        ),
    ),
    FailureKind.TOKEN_REJECTED: Explanation(
        "the token service's response contains no usable token",
        (
            "look at the response: curl -u USER"
            " 'REALM?service=SERVICE&scope=repository:NAME:pull'",
            "if another token service is right, set token_url in the configuration",
            _OPERATOR,
        ),
    ),
    FailureKind.NO_PULL_GRANT: Explanation(
        "the token does not grant `pull`; no manifest was requested",
        (
            "auditor token REFERENCE shows account, credential and grant",
            "without a login: docker login HOST, or username and password_env in"
            ' [registry."HOST"]',
            "with one: ask the owner of the repository to grant pull to this account,"
            ' or configure another account: [registry."HOST/NAMESPACE"]',
        ),
    ),
    FailureKind.DENIED: Explanation(
        "401 or 403: the login is missing, wrong, or has no right to pull",
        (
            "401 with a login: the password is wrong or expired; the detail says where"
            " it is from",
            "401 without a login: docker login HOST, or username and password_env in"
            ' [registry."HOST"]',
            "403: ask the owner of the repository for the right to pull",
            _DOCTOR,
        ),
    ),
    FailureKind.NOT_FOUND: Explanation(
        "404, or no tag matches the pattern; can also mean `not allowed`",
        (
            "auditor ls HOST/REPOSITORY lists tags, auditor ls HOST repositories",
            "many registries answer 404 for private repositories: auditor token"
            " REFERENCE shows whether this account may pull",
            "an HTML page: this may not be a registry; auditor doctor HOST",
        ),
    ),
    FailureKind.VANISHED: Explanation(
        "the registry listed the tag but no longer has it",
        (
            "nothing, if the tag was deleted during the audit",
            "if it comes back every night, the registry lists what it does not have:"
            " its storage or database is damaged",
        ),
    ),
    FailureKind.RATE_LIMITED: Explanation(
        "429 after all retries, or the rate limit is used up"
        " (`--rate-limit-policy stop`); wait",
        (
            "log in: accounts mostly have a higher limit than anonymous clients",
            "let audits wait for the limit: --rate-limit-policy spread",
            "lower --requests-per-second or --requests-at-once",
            _LATER,
        ),
    ),
    FailureKind.SERVER_ERROR: Explanation(
        "5xx after all retries",
        (
            _LATER,
            "if one image fails always, its storage may be damaged: look into the"
            " registry's log",
        ),
    ),
    FailureKind.PROTOCOL_VIOLATION: Explanation(
        "a response that breaks the protocol",
        (
            "check that the host is a registry and not a web page or a login portal: "
            + _CURL.removeprefix("look at the response: "),
            _OPERATOR,
        ),
    ),
    FailureKind.TOO_LARGE: Explanation(
        "above `max_manifest_bytes`, too many children, or a listing of more than 1.25"
        " million values or 48 MiB in one response",
        (
            "if this manifest is meant to be so large, raise --max-manifest-bytes",
            _OPERATOR,
        ),
    ),
    FailureKind.DIGEST_MISMATCH: Explanation(
        "the content does not match its digest, twice in a row",
        (
            "do not use the image: its content is not what the digest says",
            "a proxy may change responses: audit without it (--proxy none)",
            "otherwise the registry's storage is damaged: push the image again",
        ),
    ),
    FailureKind.AMBIGUOUS_DOCUMENT: Explanation(
        "two readers could read it differently (CVE-2021-41190)",
        (
            "do not use the image: two tools may run different things",
            "build and push it again with a current tool",
        ),
    ),
    FailureKind.UNSUPPORTED_MEDIA_TYPE: Explanation(
        "an unknown kind of manifest",
        (
            "the detail has the media type; it is no Docker or OCI manifest",
            _CURL,
        ),
    ),
    FailureKind.INCOMPLETE_LISTING: Explanation(
        "a listing could not be read to its end",
        (
            "images are missing in this report: do not compare it with others",
            _LATER,
            "auditor ls HOST/REPOSITORY shows where the listing ends",
        ),
    ),
    FailureKind.INTERRUPTED: Explanation(
        "not reached before `--deadline`, or beyond `--max-requests`; or no connection"
        " could be opened for a minute, for lack of file descriptors",
        (
            "complete the report with --resume",
            "raise --deadline or --max-requests, or start earlier",
            "if the detail names file descriptors, raise the limit: ulimit -n",
        ),
    ),
    FailureKind.DIGEST_CHANGED: Explanation("reserved", ("nothing",)),
}

_KNOWN = "nothing: the record is complete, and other tools may be stricter"
_PUSH = "push the image again, or delete the tag"

WARNINGS: dict[WarningCode, Explanation] = {
    WarningCode.DIGEST_HEADER_DIFFERS: Explanation(
        "`Docker-Content-Digest` is not the digest of the content, twice in a row",
        (
            "the record has the digest of the content, which is the true one",
            "a proxy or the registry changes or mixes up responses: report it",
        ),
    ),
    WarningCode.NO_DIGEST_HEADER: Explanation("the header is missing", (_KNOWN,)),
    WarningCode.MEDIA_TYPE_DIFFERS: Explanation(
        "`Content-Type` and the document name different manifest types",
        (_KNOWN, "a registry or tool that is too old for this type is the usual cause"),
    ),
    WarningCode.CHILD_MISSING: Explanation(
        "an index names a manifest that the registry does not have",
        (
            "this platform cannot be pulled",
            "a copy without all platforms, or garbage collection, is the usual cause: "
            + _PUSH,
        ),
    ),
    WarningCode.CHILD_SIZE_DIFFERS: Explanation(
        "a manifest has another size than the index that lists it states",
        (
            "containerd refuses to pull this platform: " + _PUSH,
            "a tool that changed a manifest, and not its index, is the usual cause",
        ),
    ),
    WarningCode.CHILD_UNSUPPORTED: Explanation(
        "an index names something of an unknown media type or digest algorithm; it is"
        " left out",
        (_KNOWN,),
    ),
    WarningCode.CONFIG_MISSING: Explanation(
        "a manifest names a config that the registry does not have",
        ("the image cannot be run: " + _PUSH,),
    ),
    WarningCode.CONFIG_UNREADABLE: Explanation(
        "a config is not JSON in UTF-8, has a key twice, is too large, or its digest"
        " cannot be verified; the platform is that of the index",
        ("created, user and labels are unknown; build and push the image again",),
    ),
    WarningCode.PLATFORM_UNKNOWN: Explanation(
        "no index and no config that was read names the platform",
        ("audit with --image-config always", "otherwise build it with a --platform"),
    ),
    WarningCode.PLATFORM_DIFFERS: Explanation(
        "index and config disagree on the platform",
        (
            "clients choose by the index and run what the config says: the image may"
            " not run",
            "build it again for the right platform",
        ),
    ),
    WarningCode.SIGNATURE_INVALID: Explanation(
        "a signature of a schema 1 manifest does not verify",
        ("the manifest was changed after it was signed; push the image again",),
    ),
    WarningCode.FOREIGN_LAYER: Explanation(
        "a layer is at a URL of its own; it is never fetched",
        ("nothing: Windows base layers are such; an air gap needs a copy of them",),
    ),
    WarningCode.LABELS_LEFT_OUT: Explanation(
        "more than 64 KiB of selected labels", ("select fewer labels: --label PATTERN",)
    ),
    WarningCode.PARTS_LEFT_OUT: Explanation(
        "layers, config fields, annotations or attachments are too long for a record;"
        " the number is in `detail`",
        ("auditor inspect REFERENCE shows one image; --platform records fewer",),
    ),
    WarningCode.BLOB_MISSING: Explanation(
        "`--verify-blobs`: the registry does not have a layer or config in this"
        " repository",
        ("the image cannot be pulled: " + _PUSH,),
    ),
    WarningCode.BLOB_SIZE_DIFFERS: Explanation(
        "`--verify-blobs`: the size differs from the manifest",
        ("the image cannot be pulled: the storage is damaged; push it again",),
    ),
    WarningCode.BLOB_UNVERIFIED: Explanation(
        "`--verify-blobs`: the registry did not answer whether it has the blob",
        ("audit again; the detail says what it answered",),
    ),
    WarningCode.ATTACHMENTS_UNKNOWN: Explanation(
        "attachments could not be read, or only in part",
        ("signed, has_sbom and has_provenance may be null; the detail says why",),
    ),
    WarningCode.SIGNATURES_UNKNOWN: Explanation(
        "`--verify-signatures`: not all signatures of the image could be read",
        (
            "audit again; the detail says why",
            "a key in neither verified_by nor not_verified_by may have signed it",
        ),
    ),
    WarningCode.NOT_AT_MIRROR: Explanation(
        "the mirror failed; the image came from the registry",
        ("check the mirror: auditor doctor MIRROR/REPOSITORY:TAG",),
    ),
    WarningCode.BASE_UNKNOWN: Explanation(
        "`--check-bases`: the registry of a base image did not say what its name points"
        " at now",
        (
            "the detail says what it answered; the image itself was audited",
            "a private base needs a login for its registry, and a section of its own"
            " if it has a local address",
        ),
    ),
    WarningCode.AGE_UNKNOWN: Explanation(
        "`--since` kept the image, because neither the listing nor each platform has a"
        " date",
        ("nothing: an image without a date is not left out",),
    ),
    WarningCode.NO_WANTED_PLATFORM: Explanation(
        "the image has none of the platforms of `--platform`",
        ("auditor inspect REFERENCE shows its platforms",),
    ),
}


def _reason(reason: FailureReason, meaning: str, *steps: str) -> Explanation:
    """An explanation that begins with the advice that ends the failure's detail."""
    return Explanation(meaning, (*filter(None, (reason.advice,)), *steps))


_CLOCK = "check this machine's clock: timedatectl"
_RENEW = "ask the operator to renew the certificate"
_PROXY = "check HTTPS_PROXY and NO_PROXY, or bypass the proxy with --proxy none"

REASONS: dict[FailureReason, Explanation] = {
    reason: _reason(reason, meaning, *steps)
    for reason, meaning, *steps in (
        (
            FailureReason.UNKNOWN_HOST,
            "no DNS server knows the host",
            "check the spelling; getent hosts HOST shows what this machine resolves",
        ),
        (
            FailureReason.LOOKUP_TIMEOUT,
            "no DNS server answered",
            "check /etc/resolv.conf, and that the DNS server can be reached",
        ),
        (
            FailureReason.CONNECTION_REFUSED,
            "the host refuses connections to this port",
            "check the port, and that the registry runs: curl -v https://HOST/v2/",
        ),
        (
            FailureReason.CONNECT_TIMEOUT,
            "no connection within --connect-timeout",
            "check for a firewall that drops packets",
        ),
        (
            FailureReason.READ_TIMEOUT,
            "connected, but nothing came within --read-timeout",
            "the registry is overloaded: lower --requests-at-once; or raise"
            " --read-timeout",
        ),
        (FailureReason.NOT_TLS, "the server does not speak TLS"),
        (FailureReason.PLAIN_HTTP_TO_TLS, "plain HTTP was sent to a TLS server"),
        (
            FailureReason.UNTRUSTED_CA,
            "the certificate is signed by a CA that this machine does not trust",
            "auditor doctor HOST shows the issuer whose certificate is missing",
        ),
        (
            FailureReason.CERTIFICATE_EXPIRED,
            "the certificate has expired",
            _RENEW,
            _CLOCK,
        ),
        (
            FailureReason.CERTIFICATE_NOT_YET_VALID,
            "the certificate is not valid yet",
            _CLOCK,
        ),
        (
            FailureReason.CERTIFICATE_WRONG_NAME,
            "the certificate is for other host names",
            "auditor doctor HOST shows its names; use one of them",
        ),
        (
            FailureReason.CERTIFICATE_NOT_RFC5280,
            "the certificate, or that of its CA, lacks what RFC 5280 requires",
        ),
        (
            FailureReason.CLIENT_CERTIFICATE_REQUIRED,
            "the server asks for a client certificate",
        ),
        (
            FailureReason.CLIENT_CERTIFICATE_REJECTED,
            "the server refuses the client certificate",
        ),
        (FailureReason.PROXY_UNREACHABLE, "no connection to the proxy", _PROXY),
        (
            FailureReason.PROXY_LOGIN_REQUIRED,
            "the proxy asks for a login (407)",
        ),
        (
            FailureReason.PROXY_REFUSED,
            "the proxy refuses to connect to this host",
            _PROXY,
        ),
        (
            FailureReason.NO_DESCRIPTOR,
            "the process has no file descriptor left",
        ),
    )
}

EXIT_CODES: dict[ExitCode, Explanation] = {
    ExitCode.OK: Explanation("all references were audited", ("nothing",)),
    ExitCode.FAILED: Explanation(
        "finished with failed references, or the answer is no",
        (
            "the summary names the failures; auditor explain FAILURE says what to do",
            "in cron, let the code 1 not stop the rest: the report is complete",
        ),
    ),
    ExitCode.USAGE: Explanation(
        "the command line, the configuration or the input cannot be used",
        ("the message names the flag, or the file and line",),
    ),
    ExitCode.OUTPUT: Explanation(
        "the report could not be written, or memory ran out",
        (
            "check space and rights: df -h, ls -ld; then continue with --resume",
            "an earlier report of this name is unchanged",
        ),
    ),
    ExitCode.LOCKED: Explanation(
        "another run is writing the same report",
        ("wait until it ends, or choose another file with -o",),
    ),
    ExitCode.BUG: Explanation(
        "a bug in auditor", ("please report the lines that were printed",)
    ),
    ExitCode.HANGUP: Explanation(
        "interrupted because the terminal was closed (SIGHUP)",
        ("complete the report with --resume",),
    ),
    ExitCode.INTERRUPTED: Explanation(
        "interrupted with Ctrl-C (SIGINT)", ("complete the report with --resume",)
    ),
    ExitCode.TERMINATED: Explanation(
        "terminated by another program (SIGTERM)",
        ("complete the report with --resume",),
    ),
}

# The failure that an HTTP status becomes.
STATUSES = {
    "401": FailureKind.DENIED,
    "403": FailureKind.DENIED,
    "404": FailureKind.NOT_FOUND,
    "429": FailureKind.RATE_LIMITED,
    **dict.fromkeys(("500", "502", "503", "504"), FailureKind.SERVER_ERROR),
}
