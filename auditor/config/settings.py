"""What a run is told to do, resolved: the defaults stand here and nowhere else."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import field
from enum import StrEnum

from auditor.fast_dataclass import dataclass
from auditor.model import Order, Shape
from auditor.util.secret import Secret
from auditor.util.shard import Shard
from auditor.wire.credential import Credential


class ImageConfigMode(StrEnum):
    """When an image's config blob is fetched."""

    AUTO = "auto"  # where the platform cannot be known without it
    ALWAYS = "always"
    NEVER = "never"


class AttachmentMode(StrEnum):
    """Where it is looked for what is attached to an image."""

    NONE = "none"
    INDEX = "index"  # what the image's own index says: costs nothing
    ALL = "all"  # referrers, cosign's tags, and what attestations are about, too


class Engine(StrEnum):
    """Where the shares of a run are audited."""

    LOCAL = "local"
    DASK = "dask"


class Progress(StrEnum):
    """When progress is shown on standard error."""

    AUTO = "auto"  # where that is a terminal
    ALWAYS = "always"
    NEVER = "never"


class ListerName(StrEnum):
    """Who lists what a registry holds: its catalog, or its product's API."""

    AUTO = "auto"  # the catalog, but where it is known to be closed
    CATALOG = "catalog"
    DTR = "dtr"
    HARBOR = "harbor"
    HUB = "hub"
    QUAY = "quay"
    GITLAB = "gitlab"
    GOOGLE = "google"
    GITEA = "gitea"


class LogLevel(StrEnum):
    """The least severe message that is logged on standard error."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class RateLimitPolicy(StrEnum):
    """What to do as the allowance that a registry grants comes to its end."""

    STOP = "stop"  # what is left to do fails, without a request
    SPREAD = "spread"  # what is left of it over the time until there is more
    IGNORE = "ignore"


class LogFormat(StrEnum):
    """What a line on standard error is."""

    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySettings:
    """How one registry is asked. A password never comes without a username.

    `plain_http` is null where nobody has said which scheme to use. `proxy` is a
    URL or `none`; null leaves it to the environment. `mirror` is a registry, or a
    part of one (`host/namespace`), that has this one's repositories.
    """

    username: str | None = None
    password: Secret | None = None
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
    # Browsers open six connections to a host. At 50 ms an answer, eight at once are
    # 160 a second, below the request limits that hosted registries publish.
    requests_at_once: int = 8
    # As quick as the slots and the registry allow.
    requests_per_second: float | None = None
    max_requests: int | None = None
    # Hours of waiting are somebody's choice; that a report is not whole is told.
    allowance: RateLimitPolicy = RateLimitPolicy.STOP
    tries: int = 3
    # A SYN is sent again after 1, 3 and 7 s: ten seconds outlast three losses.
    connect_timeout_s: float = 10.0
    # Registries behind object storage take seconds for their first byte, not tens.
    read_timeout_s: float = 30.0
    # The largest manifest (4 MiB) within this is 35 KB/s: slower is a slow drip.
    request_timeout_s: float = 120.0
    # distribution refuses to store a larger manifest (distribution/distribution,
    # registry/handlers/manifests.go: maxManifestBodySize).
    max_manifest_bytes: int = 4 * 1024 * 1024
    # The largest page that distribution and ECR grant.
    page_size: int = 1000
    immutable_tags: tuple[str, ...] = ()
    lister: ListerName = ListerName.AUTO
    api_url: str | None = None
    list_namespaces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything a command needs to know beside its own arguments.

    `lists` are paths, or "-" for standard input. From `include` to `since` it is about
    listed tags only (`TagFilter`, `parse_since`). `output` is a path, or "-" for
    standard output. `platforms` (none: all) and `labels` (patterns; none: no labels)
    are what is said of an image. `window` is how many finished records may wait for
    their turn; `workers` are those of one registry, null: twice as many as it is sent
    requests at once. `deadline_s` is the time that the whole run has,
    `reference_timeout_s` what one reference may take; null: no limit.
    `cache` is a path (null: in the cache directory) of at most `cache_max_size` bytes;
    a part of an image that is in it is taken to be in the registry, too, until
    `cache_recheck_s` after the registry last gave it.
    `shard` is the share of the repositories that is audited (null: all), while
    `runs_at_once` runs ask the same registries: the limits of `registries` are what is
    left for this one. `processes`, `engine`, `scheduler` and `parts` share a run out.
    `registries` is keyed by `Reference.registry`; a registry that is not in it
    is asked as `default_registry` says. `namespaces` are the logins of parts of
    registries, by `registry/namespace`.
    """

    references: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    exclude_repositories: tuple[str, ...] = ()
    omit_digest_tags: bool = False
    latest: int | None = None
    since: str | None = None
    dry_run: bool = False
    output: str = "-"
    summary: str | None = None
    metrics: str | None = None
    shape: Shape = Shape.IMAGE
    image_config: ImageConfigMode = ImageConfigMode.AUTO
    platforms: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    attachments: AttachmentMode = AttachmentMode.INDEX
    verify_blobs: bool = False
    order: Order = Order.INPUT
    workers: int | None = None
    window: int = 1024
    cache: str | None = None
    no_cache: bool = False
    # An index of the Docker Official Images takes 3.3 KB in it, with all below it and
    # its tags (python -m bench.digest_cache): 300,000 of them.
    cache_max_size: int = 1024**3
    # A week: what a registry has lost is known after that, for a seventh of the
    # requests of asking every night.
    cache_recheck_s: float = 7 * 24 * 3600.0
    resume: bool = False
    deadline_s: float | None = None
    reference_timeout_s: float | None = None
    docker_config: bool = True
    authfile: str | None = None
    shard: Shard | None = None
    runs_at_once: int = 1
    processes: int = 1
    engine: Engine = Engine.LOCAL
    scheduler: str | None = None
    parts: str | None = None
    progress: Progress = Progress.AUTO
    log_level: LogLevel = LogLevel.WARNING
    log_format: LogFormat = LogFormat.TEXT
    registries: Mapping[str, RegistrySettings] = field(default_factory=dict)
    default_registry: RegistrySettings = field(default_factory=RegistrySettings)
    namespaces: Mapping[str, Credential] = field(default_factory=dict)

    @property
    def max_requests(self) -> int | None:
        """The most requests of the whole run: what is said for every registry."""
        return self.default_registry.max_requests

    def workers_of(self, registry: Hashable) -> int:
        """How many references of a registry are worked on at once.

        A worker whose image somebody else is just putting together sends nothing:
        with twice as many as slots, the slots are always busy (docs/development/performance.md).
        """
        known = self.default_registry
        if isinstance(registry, str):
            known = self.registry(registry)
        return self.workers or 2 * known.requests_at_once

    def registry(self, name: str) -> RegistrySettings:
        """The settings of the registry of that name."""
        return self.registries.get(name, self.default_registry)
