"""The JSON documents that commands print: their schemas, and classes of some.

A document is written from a dataclass, here or where its values are made, and `auditor
schema NAME` prints the schema that is derived from the same class. Unknown
values are null, not absent. Times are RFC 3339 in UTC if they are texts, and seconds
since the epoch if they are numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from auditor.fast_dataclass import dataclass
from auditor.model import SCHEMA, Access, FailureRecord, ImageRecord
from auditor.util.json_schema import json_schema

# -- token -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPartDocument:
    """The header or payload of a JWT. `error` is None if it is intact."""

    members: Mapping[str, Any]
    size_bytes: int
    error: str | None
    error_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedKeyDocument:
    """The public key in a JWT's header, and whether the signature verifies with it."""

    claimed_id: str | None
    computed_id: str | None
    matches: bool
    signed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenGrantDocument:
    """One entry of the `access` claim."""

    type: str
    name: str
    resource_class: str | None
    actions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenClaimsDocument:
    """The claims of a JWT, unverified. `grants` is None without a readable `access`."""

    grants: tuple[TokenGrantDocument, ...] | None
    subject: str | None
    issuer: str | None
    audience: tuple[str, ...]
    issued_at: float | None
    not_before: float | None
    expires_at: float | None
    token_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationDocument:
    """Whether one of the given keys verifies the token, and why."""

    verified: bool
    reason: str
    key_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenExplanationDocument:
    """A token taken apart. `intact` is whether it is a JWT with three readable parts.

    `verification` is None without --token-keys.
    """

    form: str
    explained_at: float
    header: TokenPartDocument | None
    payload: TokenPartDocument | None
    signature_bytes: int | None
    embedded_key: EmbeddedKeyDocument | None
    claims: TokenClaimsDocument | None
    verification: VerificationDocument | None
    intact: bool
    findings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenDocument:
    """The token for pulling from one repository, and what it grants.

    `token` is None if the registry does not use tokens.
    """

    registry: str
    repository: str
    authentication: str
    realm: str | None
    service: str | None
    scope: str
    account: str | None
    credential: str | None
    pull: bool
    access: Access
    token: TokenExplanationDocument | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFailureDocument:
    """Why there is no token for a repository."""

    pull: Literal[False] = False
    failure: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PullAccessDocument:
    """One line of `auditor token` for several repositories.

    `pull` is None if it is unknown. `beyond_pull` are granted actions other than pull.
    `more_refused` is true if the service refused all requested actions together, and
    only pull was requested then. `failure` and `detail` are None for a success.
    """

    registry: str | None
    repository: str | None
    text: str
    pull: bool | None
    state: str
    actions: tuple[str, ...]
    beyond_pull: tuple[str, ...]
    asked: tuple[str, ...]
    more_refused: bool
    authentication: str | None
    account: str | None
    credential: str | None
    verified: bool | None
    failure: str | None
    status: int | None
    detail: str | None


# -- ls --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryDocument:
    """A repository of a catalog."""

    registry: str
    repository: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TagDocument:
    """A listed tag. From `digest` on, what the listing has of it; else None."""

    registry: str
    repository: str
    tag: str | None
    reference: str
    digest: str | None
    media_type: str | None
    size: int | None
    created: str | None
    pushed: str | None


# -- audit --dry-run --summary ---------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastReferences:
    """Numbers of references. `all_listed` is false if the input was not read to its
    end, and `refused` counts entries that are no references."""

    asked: int
    all_listed: bool
    duplicates: int
    refused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastRequests:
    """Numbers of requests that the audit of one registry takes at least."""

    manifest_get: int
    manifest_head: int
    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastRateLimit:
    """The rate limit of a registry, and the time that exceeding it takes."""

    remaining: int
    limit: int | None
    window_s: float | None
    wait_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryForecast:
    """What the audit of one registry takes."""

    registry: str
    references: int
    repositories: int
    scopes: tuple[str, ...]
    requests: ForecastRequests
    known_without_request: int
    rate_limit: ForecastRateLimit | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastDocument:
    """The forecast of `auditor audit --dry-run`. `listing_requests` is by kind, and
    `not_counted` are options that take more requests for each image."""

    schema: int = SCHEMA
    kind: str = "forecast"
    references: ForecastReferences
    registries: tuple[RegistryForecast, ...]
    listing_requests: Mapping[str, int]
    least_requests: int
    not_counted: tuple[str, ...]
    max_requests: int | None
    lists: Mapping[str, object]
    listings: tuple[Mapping[str, object], ...]


# -- schemas ---------------------------------------------------------------------

# Each name that `auditor schema` takes, and what it describes.
SCHEMAS = {
    "report": "a line of a report",
    "inspect": "auditor inspect --format json",
    "doctor": "auditor doctor --format json",
    "token": "auditor token --format json, of one repository",
    "token-list": "a line of auditor token --format json, of several repositories",
    "token-decode": "auditor token --decode --format json",
    "ls": "a line of auditor ls --format json",
    "dry-run": "the summary file of auditor audit --dry-run",
    "cache-info": "auditor cache info --format json",
    "diff": "a line of auditor diff --format jsonl",
    "layers": "a line of auditor layers --format jsonl",
    "check": "a line of auditor check --format jsonl",
}


def schema_of(name: str) -> dict[str, Any]:
    """The JSON Schema of the documents of that name, one of `SCHEMAS`."""
    if name == "report":
        from auditor.report.shapes import report_schema

        return report_schema()
    return json_schema(
        *_documents(name), title=SCHEMAS[name], urn=f"urn:auditor:{name}:{SCHEMA}"
    )


def _documents(name: str) -> Iterator[type]:
    # Some of these load DuckDB, or the network.
    match name:
        case "inspect":
            yield from (ImageRecord, FailureRecord)
        case "doctor":
            from auditor.diagnose.doctor import DoctorReport

            yield DoctorReport
        case "token":
            yield from (TokenDocument, TokenFailureDocument)
        case "token-list":
            yield PullAccessDocument
        case "token-decode":
            yield TokenExplanationDocument
        case "ls":
            yield from (RepositoryDocument, TagDocument)
        case "dry-run":
            yield ForecastDocument
        case "cache-info":
            from auditor.cache.maintenance import CacheInfo

            yield CacheInfo
        case "diff":
            from auditor.analysis.diff import Difference, DiffTotals

            yield from (Difference, DiffTotals)
        case "layers":
            from auditor.analysis import find_digest, layers

            yield from (layers.Usage, layers.SharedLayer, layers.Base)
            yield from (layers.NamedBase, layers.LayerTotals)
            yield from (find_digest.DigestUse, find_digest.DigestTotals)
        case "check":
            from auditor.analysis.check.formats.jsonl import CheckLine, ViolationLine

            yield from (ViolationLine, CheckLine)
