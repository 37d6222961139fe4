"""The settings of a run, resolved. Every default is here and nowhere else.

The option of each field, with its flag, value type and help, is in `option_table.py`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import field
from enum import StrEnum

from auditor.config.requests_at_once import (
    DEFAULT_REQUESTS_AT_ONCE,
    RequestsAtOnce,
)
from auditor.config.validation_errors import LoginLocation
from auditor.fast_dataclass import dataclass
from auditor.model import Order, Shape
from auditor.util.secret import Secret
from auditor.util.shard import MAX_SHARDS, Shard
from auditor.wire.credential import Login

# No more shards than this exist, so no more runs share an audit.
MAX_RUNS_AT_ONCE = MAX_SHARDS


class ImageConfigMode(StrEnum):
    """When to fetch an image's config blob."""

    AUTO = "auto"  # if the platform is unknown without it
    ALWAYS = "always"
    NEVER = "never"


class AttachmentMode(StrEnum):
    """Where to look for the attachments of an image."""

    NONE = "none"
    INDEX = "index"  # in the image's own index: takes no request
    ALL = "all"  # also referrers, cosign tags, and the predicates of attestations


class SourceMode(StrEnum):
    """When records say where the input names their reference."""

    AUTO = "auto"  # unless the input is one plain list, or arguments
    ALWAYS = "always"
    NEVER = "never"


class EngineName(StrEnum):
    """Where the shards of a run are audited."""

    LOCAL = "local"
    DASK = "dask"


class ReportFormat(StrEnum):
    """What an audit prints on standard output; a report file has JSON lines."""

    AUTO = "auto"  # a table if it is a terminal
    TABLE = "table"
    JSONL = "jsonl"


class ProgressMode(StrEnum):
    """When progress is shown on standard error."""

    AUTO = "auto"  # if it is a terminal
    ALWAYS = "always"
    NEVER = "never"


class ListerName(StrEnum):
    """How the repositories and tags of a registry are listed."""

    AUTO = "auto"  # the catalog, except where it is known to be closed
    CATALOG = "catalog"
    DTR = "dtr"
    HARBOR = "harbor"
    HUB = "hub"
    QUAY = "quay"
    GITLAB = "gitlab"
    GOOGLE = "google"
    GITEA = "gitea"
    GHCR = "ghcr"
    ECR = "ecr"
    ACR = "acr"
    ARTIFACTORY = "artifactory"
    NEXUS = "nexus"


class CloudLogin(StrEnum):
    """When to log in to a cloud's registry with the identity of this machine."""

    AUTO = "auto"  # if there is no other login for it
    ALWAYS = "always"  # before the files of docker and podman; an error without one
    OFF = "off"


class LogLevel(StrEnum):
    """The minimum severity of messages logged on standard error."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class RateLimitPolicy(StrEnum):
    """What to do when the rate limit of a registry is nearly used up."""

    STOP = "stop"  # the remaining references fail without a request
    SPREAD = "spread"  # spread the remaining requests over the rest of the window
    IGNORE = "ignore"


class LogFormat(StrEnum):
    """The format of a line on standard error."""

    TEXT = "text"
    JSON = "json"


class FailOn(StrEnum):
    """The least severity of a policy violation that fails a night."""

    ERROR = "error"
    WARNING = "warning"
    NEVER = "never"


class NotifyOn(StrEnum):
    """When a night sends a notification."""

    CHANGE = "change"  # something failed, changed, or breaks the policy
    FAILURE = "failure"  # the exit code is not 0
    ALWAYS = "always"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepRules:
    """How many nights are kept, by restic's rules: the newest of each period.

    `last` counts nights, the others days, weeks, months and years that have a night.
    """

    last: int = 0
    daily: int = 30
    weekly: int = 12
    monthly: int = 12
    yearly: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifySettings:
    """Where notifications go: a variable or a file with the services' URLs."""

    urls_env: str | None = None
    urls_file: str | None = None
    on: NotifyOn = NotifyOn.CHANGE


@dataclass(frozen=True, slots=True, kw_only=True)
class NightlySettings:
    """What `auditor nightly` does besides the audit. `folder` is the state folder.

    `run_after` is a command with its arguments. `keep` of None keeps every night.
    """

    folder: str
    policy: str | None = None
    fail_on: FailOn = FailOn.ERROR
    keep: KeepRules | None = None
    notify: NotifySettings | None = None
    run_after: tuple[str, ...] = ()
    ping_url: str | None = None
    push_url: str | None = None
    otlp_url: str | None = None
    page: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterResource:
    """Custom resources to list: `api` is a group with its version.

    `images` are paths of images besides those of containers: `spec.parts[*].image`.
    """

    api: str
    resource: str
    images: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """Which images of a Kubernetes cluster are audited.

    Namespaces are names with wildcards, none means all of them. `server`, `token_file`
    and `ca_file` of None are those of the pod.
    """

    namespaces: tuple[str, ...] = ()
    exclude_namespaces: tuple[str, ...] = ()
    workloads: bool = True
    resources: tuple[ClusterResource, ...] = ()
    pull_secrets: bool = False
    server: str | None = None
    token_file: str | None = None
    ca_file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginProgram:
    """A program that prints a login: a credential helper, or any other command.

    Either `helper` is the NAME of `docker-credential-NAME`, or `command` (a program
    with its arguments) prints the password of `username`.
    """

    helper: str | None = None
    command: tuple[str, ...] = ()
    username: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySettings:
    """How to send requests to one registry.

    A password never comes without a username; `login_program` is in place of both.
    `cloud_login` is for registries of clouds, `aws_profile` and `role_arn` for ECR.
    `plain_http` is None if the scheme is not configured. `proxy` is a URL or `none`;
    None means the proxy of the environment. `mirror` is a registry, or
    `host/namespace`, with the same repositories. `requests_at_once`: a number is a
    fixed one; `concurrency` has its bounds.
    """

    username: str | None = None
    password: Secret | None = None
    login_program: LoginProgram | None = None
    cloud_login: CloudLogin = CloudLogin.AUTO
    aws_profile: str | None = None
    role_arn: str | None = None
    token_url: str | None = None
    service: str | None = None
    token_keys: str | None = None
    realm_hosts: tuple[str, ...] = ()
    plain_http: bool | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    proxy: str | None = None
    mirror: str | None = None
    requests_at_once: RequestsAtOnce | int = DEFAULT_REQUESTS_AT_ONCE
    requests_per_second: float | None = None
    max_requests: int | None = None
    # Waiting for hours must be chosen; an incomplete report says that it is one.
    rate_limit_policy: RateLimitPolicy = RateLimitPolicy.STOP
    tries: int = 3
    # TCP repeats a SYN after 1, 3 and 7 s: ten seconds survive three lost packets.
    connect_timeout_s: float = 10.0
    # Registries with object storage take seconds to the first byte, but not tens.
    read_timeout_s: float = 30.0
    # The largest manifest (4 MiB) in this time is 35 KB/s.
    request_timeout_s: float = 120.0
    # distribution refuses to store a larger manifest (distribution/distribution,
    # registry/handlers/manifests.go: maxManifestBodySize).
    max_manifest_bytes: int = 4 * 1024 * 1024
    # The largest page that distribution and ECR allow.
    page_size: int = 1000
    immutable_tags: tuple[str, ...] = ()
    lister: ListerName = ListerName.AUTO
    api_url: str | None = None
    list_namespaces: tuple[str, ...] = ()

    @property
    def concurrency(self) -> RequestsAtOnce:
        """The bounds of concurrent requests to a registry that is not a public one."""
        bounds = self.requests_at_once
        return RequestsAtOnce.fixed(bounds) if isinstance(bounds, int) else bounds


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a run.

    Input: `lists` and `output` are paths, or "-" for standard input and output. A list
    that names no reference is an error unless `allow_empty` is set.
    `include` to `since` apply to listed tags only (`Selection`, `parse_since`).
    Records: `platforms` empty means all of them, `labels` (patterns) empty means none.
    `verify_signatures` is the path of a signature policy.
    Limits: `workers` is per registry, None means two for each concurrent request;
    `deadline_s`
    is for the run, `reference_timeout_s` for one reference, None means no limit.
    Cache: `cache` is a path, None means the user's cache directory. A cached part of an
    image is assumed to exist until `cache_recheck_s` after the registry last sent it.
    Scale: `shard` selects repositories, None means all. `runs_at_once` runs share the
    limits of the registries; those in `registries` are already this run's part.
    `registries` is keyed by `Reference.registry`; `default_registry` applies to all
    others. `namespaces` has the logins of parts of registries, by `registry/namespace`.
    `login_locations`: where logins were configured, by registry or namespace.
    `nightly` and `cluster` are the tables of these names.
    """

    references: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    allow_empty: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    exclude_repositories: tuple[str, ...] = ()
    omit_digest_tags: bool = False
    untagged: bool = False
    latest: int | None = None
    since: str | None = None
    dry_run: bool = False
    output: str = "-"
    summary: str | None = None
    metrics: str | None = None
    sbom: str | None = None
    format: ReportFormat = ReportFormat.AUTO
    shape: Shape = Shape.IMAGE
    image_config: ImageConfigMode = ImageConfigMode.AUTO
    sources: SourceMode = SourceMode.AUTO
    platforms: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    attachments: AttachmentMode = AttachmentMode.INDEX
    verify_blobs: bool = False
    check_bases: bool = False
    verify_signatures: str | None = None
    order: Order = Order.INPUT
    workers: int | None = None
    window: int = 1024
    cache: str | None = None
    no_cache: bool = False
    # Enough for 300,000 indexes of Docker Official Images: each takes 3.3 KB with its
    # manifests, configs and tags (python -m bench.digest_cache).
    cache_max_size: int = 1024**3
    # A lost blob is found after a week at most, for a seventh of the requests of
    # checking every night.
    cache_recheck_s: float = 7 * 24 * 3600.0
    resume: bool = False
    # Longer than a night's audit, and shorter than the time to the next night.
    resume_max_age_s: float = 12 * 3600.0
    retry_failed: bool = False
    deadline_s: float | None = None
    reference_timeout_s: float | None = None
    docker_config: bool = True
    authfiles: tuple[str, ...] = ()
    registries_conf: bool = True
    shard: Shard | None = None
    runs_at_once: int = 1
    processes: int = 1
    engine: EngineName = EngineName.LOCAL
    scheduler: str | None = None
    shard_dir: str | None = None
    progress: ProgressMode = ProgressMode.AUTO
    quiet: bool = False
    verbose: bool = False
    log_level: LogLevel = LogLevel.WARNING
    log_format: LogFormat = LogFormat.TEXT
    registries: Mapping[str, RegistrySettings] = field(default_factory=dict)
    default_registry: RegistrySettings = field(default_factory=RegistrySettings)
    namespaces: Mapping[str, Login | LoginProgram] = field(default_factory=dict)
    login_locations: Mapping[str, LoginLocation] = field(default_factory=dict)
    nightly: NightlySettings | None = None
    cluster: ClusterSettings | None = None

    @property
    def has_input(self) -> bool:
        """Whether there is anything to audit."""
        return bool(self.references or self.lists or self.cluster)

    @property
    def max_requests(self) -> int | None:
        """The maximum number of requests of the whole run."""
        return self.default_registry.max_requests

    def workers_of(self, registry: Hashable) -> int:
        """The number of references of a registry to process concurrently.

        A worker that waits for the response to another worker sends no request: with
        twice as many workers as slots, the slots are always in use
        (docs/development/performance.md).
        """
        settings = self.default_registry
        if isinstance(registry, str):
            settings = self.registry(registry)
        return self.workers or 2 * settings.concurrency.of_registry(str(registry)).most

    def registry(self, name: str) -> RegistrySettings:
        """The settings of the registry of that name."""
        return self.registries.get(name, self.default_registry)
