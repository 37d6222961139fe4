"""The table of options: one row for each, read by the resolver and the command line."""

from __future__ import annotations

from dataclasses import MISSING, fields
from enum import Enum, StrEnum
from typing import Any

from auditor.config.settings import (
    AttachmentMode,
    Engine,
    ImageConfigMode,
    ListerName,
    LogFormat,
    LogLevel,
    Progress,
    RateLimitPolicy,
    RegistrySettings,
    Settings,
)
from auditor.config.values import (
    HOST,
    LABEL,
    MIRROR,
    PATH,
    PLATFORM,
    PROXY,
    REFERENCE,
    REPOSITORY,
    REPOSITORY_PATTERN,
    SHARD,
    SINCE,
    TAG_PATTERN,
    TEXT,
    URL,
    USERNAME,
    VARIABLE,
    Value,
    choice,
    number,
    seconds,
    several,
    size,
    span,
    switch,
    whole,
)
from auditor.fast_dataclass import dataclass
from auditor.model import Order, Shape
from auditor.util.shard import Shard

# -- option --
# One option: a row of the table.
#
# A row knows its key in a configuration file (`name`), its environment variable, its
# flags, the kind of its value and the sentence that explains it. Its default is that
# of the field of the same name in `Settings` or `RegistrySettings`.

ENVIRONMENT_PREFIX = "AUDITOR_"


class Where(Enum):
    """Where in a configuration file an option may stand."""

    NOWHERE = "nowhere"
    TOP = "top"
    TOP_AND_REGISTRY = "top and registry"  # at the top: for every registry
    REGISTRY = "registry"  # said of one registry only, so neither flag nor variable


class Group(StrEnum):
    """What an option is about: a command takes whole groups. Also a help heading."""

    INPUT = "Input"
    SELECTION = "Selection"
    IMAGE = "Image"
    REPORT = "Report"
    RUN = "Run"
    CACHE = "Digest cache"
    SCALE = "Scale"
    CREDENTIALS = "Credentials"
    NETWORK = "Network"


_DEFAULTS = {
    field.name: None if field.default is MISSING else field.default
    for cls in (RegistrySettings, Settings)
    for field in fields(cls)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option. `flags` are spelled as click declares them: "--yes/--no"."""

    name: str
    value: Value
    help: str
    where: Where
    group: Group
    flags: tuple[str, ...] = ()
    positional: bool = False

    @property
    def default(self) -> object:
        """The value where nobody gives one."""
        return _DEFAULTS.get(self.name)

    @property
    def variable(self) -> str | None:
        """The environment variable; null for what is said of one registry only."""
        if self.where is Where.REGISTRY:
            return None
        return ENVIRONMENT_PREFIX + self.name.upper()

    @property
    def flag(self) -> str:
        """The long flag, as messages name it."""
        if self.positional:
            return self.value.metavar
        return self.flags[-1].partition("/")[0]

    @property
    def metavar(self) -> str:
        """The word that stands for the value in a help text."""
        return self.value.metavar

    @property
    def choices(self) -> tuple[str, ...]:
        """The words to choose from; none where it is no choice."""
        return self.value.choices

    @property
    def is_switch(self) -> bool:
        """Whether its flag takes no value."""
        return self.value.is_switch

    @property
    def multiple(self) -> bool:
        """Whether its flag may stand several times."""
        return self.value.multiple


# -- credentials --
# Whom the registries see.

CREDENTIALS: tuple[Option, ...] = (
    Option(
        name="docker_config",
        value=switch(),
        help="Use the credentials and certs.d folders of docker, podman and skopeo.",
        where=Where.TOP,
        group=Group.CREDENTIALS,
        flags=("--docker-config/--no-docker-config",),
    ),
    Option(
        name="authfile",
        value=PATH,
        help="The config.json or auth.json to use instead of theirs.",
        where=Where.TOP,
        group=Group.CREDENTIALS,
        flags=("--authfile",),
    ),
    Option(
        name="username",
        value=USERNAME,
        help="The user to log in as.",
        where=Where.REGISTRY,
        group=Group.CREDENTIALS,
    ),
    Option(
        name="username_env",
        value=VARIABLE,
        help="The environment variable that holds the user to log in as.",
        where=Where.REGISTRY,
        group=Group.CREDENTIALS,
    ),
    Option(
        name="password_env",
        value=VARIABLE,
        help="The environment variable that holds the password.",
        where=Where.REGISTRY,
        group=Group.CREDENTIALS,
    ),
    Option(
        name="password_file",
        value=PATH,
        help="The file that holds the password and nothing else.",
        where=Where.REGISTRY,
        group=Group.CREDENTIALS,
    ),
)


# -- image --
# What is said about an image.

IMAGE: tuple[Option, ...] = (
    Option(
        name="platforms",
        value=several(PLATFORM),
        help="Only this platform of each image; others are not fetched.",
        where=Where.TOP,
        group=Group.IMAGE,
        flags=("--platform",),
    ),
    Option(
        name="labels",
        value=several(LABEL),
        help="Record the labels of this name or pattern; fetches every image config.",
        where=Where.TOP,
        group=Group.IMAGE,
        flags=("--label",),
    ),
    Option(
        name="attachments",
        value=choice(AttachmentMode),
        help="Where to look for signatures and SBOMs; all: costs requests per image.",
        where=Where.TOP,
        group=Group.IMAGE,
        flags=("--attachments",),
    ),
    Option(
        name="verify_blobs",
        value=switch(),
        help="Ask for every layer and config by HEAD; report those that are missing.",
        where=Where.TOP,
        group=Group.IMAGE,
        flags=("--verify-blobs",),
    ),
)


# -- input --
# What is audited.

INPUT: tuple[Option, ...] = (
    Option(
        name="references",
        value=several(REFERENCE),
        help="References and patterns to audit.",
        where=Where.TOP,
        group=Group.INPUT,
        positional=True,
    ),
    Option(
        name="lists",
        value=several(PATH),
        help="A list: text, JSON lines, CSV, what kubectl prints as JSON or YAML,"
        " skopeo's sync YAML, a compose file or a Dockerfile; - is standard input.",
        where=Where.TOP,
        group=Group.INPUT,
        flags=("-f", "--list"),
    ),
    Option(
        name="config",
        value=PATH,
        help="A TOML file with settings; flags and AUDITOR_... variables override it.",
        where=Where.NOWHERE,
        group=Group.CREDENTIALS,
        flags=("-c", "--config"),
    ),
)


# -- listing --
# Who lists what a registry holds.

LISTING: tuple[Option, ...] = (
    Option(
        name="lister",
        value=choice(ListerName),
        help="Who lists repositories and tags: the registry, or its product's own API.",
        where=Where.REGISTRY,
        group=Group.NETWORK,
    ),
    Option(
        name="api_url",
        value=URL,
        help="Where the product's API is, if it is not at the registry.",
        where=Where.REGISTRY,
        group=Group.NETWORK,
    ),
    Option(
        name="list_namespaces",
        value=several(REPOSITORY),
        help="The namespaces to list where everything in the registry is wanted.",
        where=Where.REGISTRY,
        group=Group.NETWORK,
    ),
)


# -- network --
# How registries are talked to.

NETWORK: tuple[Option, ...] = (
    Option(
        name="plain_http",
        value=switch(),
        help="Talk plain HTTP to the registries.",
        where=Where.TOP_AND_REGISTRY,
        group=Group.NETWORK,
        flags=("--plain-http",),
    ),
    Option(
        name="ca_file",
        value=PATH,
        help="CA certificates (PEM) to trust beside the system's.",
        where=Where.TOP_AND_REGISTRY,
        group=Group.NETWORK,
        flags=("--ca-file",),
    ),
    Option(
        name="cert_file",
        value=PATH,
        help="The client certificate (PEM) to show to the registries.",
        where=Where.TOP_AND_REGISTRY,
        group=Group.NETWORK,
        flags=("--cert-file",),
    ),
    Option(
        name="key_file",
        value=PATH,
        help="The private key of --cert-file, where it stands in a file of its own.",
        where=Where.TOP_AND_REGISTRY,
        group=Group.NETWORK,
        flags=("--key-file",),
    ),
    Option(
        name="proxy",
        value=PROXY,
        help="The proxy to use instead of that of HTTPS_PROXY, or none.",
        where=Where.TOP_AND_REGISTRY,
        group=Group.NETWORK,
        flags=("--proxy",),
    ),
    Option(
        name="mirror",
        value=MIRROR,
        help="The registry, or HOST/NAMESPACE in one, to ask for images first.",
        where=Where.REGISTRY,
        group=Group.NETWORK,
    ),
    Option(
        name="requests_at_once",
        # Beyond a few hundred connections, servers and NAT tables refuse one client.
        value=whole(1, 256),
        help="How many requests one registry is sent at once.",
        where=Where.TOP_AND_REGISTRY,
        group=Group.NETWORK,
        flags=("--requests-at-once",),
    ),
    Option(
        name="requests_per_second",
        # One in 100 s is the Docker Hub's allowance for a night; a thousand a second
        # is more than one process sends.
        value=number(0.01, 1000),
        help="How many requests one registry is sent in a second, at most.",
        where=Where.TOP_AND_REGISTRY,
        group=Group.NETWORK,
        flags=("--requests-per-second",),
    ),
    Option(
        name="max_requests",
        # A million references with a token, a manifest and some children each.
        value=whole(1, 100_000_000),
        help="How many requests the run sends, at most; in a section: to a registry.",
        where=Where.TOP_AND_REGISTRY,
        group=Group.NETWORK,
        flags=("--max-requests",),
    ),
    Option(
        name="allowance",
        value=choice(RateLimitPolicy),
        help="As a registry's allowance (ratelimit headers) ends: stop there,"
        " spread requests until there is more, or ignore it.",
        where=Where.TOP_AND_REGISTRY,
        group=Group.NETWORK,
        flags=("--allowance",),
    ),
    Option(
        name="tries",
        # With delays that double up to 30 s, twenty tries last about eight minutes.
        value=whole(1, 20),
        help="How often a request is tried before it counts as failed.",
        where=Where.TOP_AND_REGISTRY,
        group=Group.NETWORK,
        flags=("--tries",),
    ),
    Option(
        name="connect_timeout_s",
        value=seconds(0.1, 600),
        help="How long a connection may take to come about.",
        where=Where.TOP_AND_REGISTRY,
        group=Group.NETWORK,
        flags=("--connect-timeout",),
    ),
    Option(
        name="read_timeout_s",
        value=seconds(0.1, 3600),
        help="How long a registry may be silent while it answers.",
        where=Where.TOP_AND_REGISTRY,
        group=Group.NETWORK,
        flags=("--read-timeout",),
    ),
    Option(
        name="request_timeout_s",
        value=seconds(0.1, 3600),
        help="How long a whole request may take.",
        where=Where.TOP_AND_REGISTRY,
        group=Group.NETWORK,
        flags=("--request-timeout",),
    ),
    Option(
        name="max_manifest_bytes",
        # Enough for any manifest that exists; a run holds `workers` of them at once.
        value=whole(1024, 256 * 1024 * 1024),
        help="The largest manifest or image config that is read.",
        where=Where.TOP_AND_REGISTRY,
        group=Group.NETWORK,
        flags=("--max-manifest-bytes",),
    ),
    Option(
        name="page_size",
        # Registries that grant more than 1,000 exist; none is known beyond 10,000.
        value=whole(1, 10_000),
        help="How many names to ask for in one page of a list.",
        where=Where.TOP_AND_REGISTRY,
        group=Group.NETWORK,
        flags=("--page-size",),
    ),
)


# -- report --
# The report: what its lines say and where they go.

REPORT: tuple[Option, ...] = (
    Option(
        name="output",
        value=PATH,
        help="Where the report goes; - is standard output.",
        where=Where.TOP,
        group=Group.REPORT,
        flags=("-o", "--output"),
    ),
    Option(
        name="summary",
        value=PATH,
        help="Write the summary as JSON to this file, too.",
        where=Where.TOP,
        group=Group.REPORT,
        flags=("--summary",),
    ),
    Option(
        name="metrics",
        value=PATH,
        help="Write the run's metrics to this Prometheus textfile, too.",
        where=Where.TOP,
        group=Group.REPORT,
        flags=("--metrics",),
    ),
    Option(
        name="shape",
        value=choice(Shape),
        help="What a line of the report is: an image, a platform or a layer.",
        where=Where.TOP,
        group=Group.REPORT,
        flags=("--shape",),
    ),
    Option(
        name="image_config",
        value=choice(ImageConfigMode),
        help="When to fetch image configs; auto: if the platform is not known without.",
        where=Where.TOP,
        group=Group.REPORT,
        flags=("--image-config",),
    ),
    Option(
        name="order",
        value=choice(Order),
        help="The order of the report's lines.",
        where=Where.TOP,
        group=Group.REPORT,
        flags=("--order",),
    ),
)


# -- run --
# How a run goes about its work.

RUN: tuple[Option, ...] = (
    Option(
        name="dry_run",
        value=switch(),
        help="Read the lists and print what would be audited; fetch nothing else.",
        where=Where.TOP,
        group=Group.RUN,
        flags=("--dry-run",),
    ),
    Option(
        name="workers",
        # More than a thousand tasks wait for the same few slots of each host.
        value=whole(1, 1024),
        help="How many references of one registry are worked on at once"
        " (default: twice --requests-at-once).",
        where=Where.TOP,
        group=Group.RUN,
        flags=("--workers",),
    ),
    Option(
        name="window",
        # A record with hundreds of layers is some 100 KB: 65,536 are 6.5 GB at worst.
        value=whole(1, 65_536),
        help="How many finished records may wait for their turn in input order.",
        where=Where.TOP,
        group=Group.RUN,
        flags=("--window",),
    ),
    Option(
        name="resume",
        value=switch(),
        help="Go on with the unfinished report that an earlier run left beside -o.",
        where=Where.TOP,
        group=Group.RUN,
        flags=("--resume",),
    ),
    Option(
        name="deadline_s",
        # A month is longer than any interval at which somebody starts an audit.
        value=span(0.1, 31 * 86_400),
        help="How long the run may take; what was not reached then is a failure.",
        where=Where.TOP,
        group=Group.RUN,
        flags=("--deadline",),
    ),
    Option(
        name="reference_timeout_s",
        # A day: more than any registry answers to one reference's requests.
        value=span(0.1, 86_400),
        help="How long one reference may take, retries and waiting included.",
        where=Where.TOP,
        group=Group.RUN,
        flags=("--reference-timeout",),
    ),
    Option(
        name="progress",
        value=choice(Progress),
        help="When to show progress on standard error; auto: if that is a terminal.",
        where=Where.TOP,
        group=Group.RUN,
        flags=("--progress",),
    ),
    Option(
        name="log_level",
        value=choice(LogLevel),
        help="The least severe messages to log on standard error.",
        where=Where.TOP,
        group=Group.RUN,
        flags=("--log-level",),
    ),
    Option(
        name="log_format",
        value=choice(LogFormat),
        help="What a line on standard error is: text, or a JSON object.",
        where=Where.TOP,
        group=Group.RUN,
        flags=("--log-format",),
    ),
)


# -- scale --
# A run that is shared out: over shares, processes and machines.

SCALE: tuple[Option, ...] = (
    Option(
        name="shard",
        value=SHARD,
        help="Audit one share of the repositories; auto: JOB_COMPLETION_INDEX says it.",
        where=Where.TOP,
        group=Group.SCALE,
        flags=("--shard",),
    ),
    Option(
        name="runs_at_once",
        # As many as there are shares.
        value=whole(1, 10_000),
        help="So many runs ask at the same time: keep to a part of the limits.",
        where=Where.TOP,
        group=Group.SCALE,
        flags=("--runs-at-once",),
    ),
    Option(
        name="processes",
        # More cores than one machine has that is used for this.
        value=whole(1, 64),
        help="Audit with so many processes of this machine, a share each.",
        where=Where.TOP,
        group=Group.SCALE,
        flags=("--processes",),
    ),
    Option(
        name="engine",
        value=choice(Engine),
        help="Where the shares are audited: on this machine or on a Dask cluster.",
        where=Where.TOP,
        group=Group.SCALE,
        flags=("--engine",),
    ),
    Option(
        name="scheduler",
        value=TEXT,
        help="The address of the Dask scheduler, such as tcp://dask.example.com:8786.",
        where=Where.TOP,
        group=Group.SCALE,
        flags=("--scheduler",),
    ),
    Option(
        name="parts",
        value=TEXT,
        help="Where shares leave their reports: a folder, or a URL such as"
        " s3://bucket/parts (any that fsspec reads); default: OUTPUT.parts.",
        where=Where.TOP,
        group=Group.SCALE,
        flags=("--parts",),
    ),
)


# -- selection --
# Which of what the registries list is audited.

SELECTION: tuple[Option, ...] = (
    Option(
        name="include",
        value=several(TAG_PATTERN),
        help="Of listed tags, only those that match this pattern.",
        where=Where.TOP,
        group=Group.SELECTION,
        flags=("--include",),
    ),
    Option(
        name="exclude",
        value=several(TAG_PATTERN),
        help="Of listed tags, none that match this pattern.",
        where=Where.TOP,
        group=Group.SELECTION,
        flags=("--exclude",),
    ),
    Option(
        name="exclude_repositories",
        value=several(REPOSITORY_PATTERN),
        help="Of catalogued repositories, none that match this pattern: team/old/**.",
        where=Where.TOP,
        group=Group.SELECTION,
        flags=("--exclude-repository",),
    ),
    Option(
        name="omit_digest_tags",
        value=switch(),
        help="Leave out listed tags like sha256-<hex>.sig, which say of which digest.",
        where=Where.TOP,
        group=Group.SELECTION,
        flags=("--omit-digest-tags",),
    ),
    Option(
        name="latest",
        # They are held until a list is at its end: some megabytes at once.
        value=whole(1, 10_000),
        help="Of each list of tags, only so many: the newest versions.",
        where=Where.TOP,
        group=Group.SELECTION,
        flags=("--latest",),
    ),
    Option(
        name="since",
        value=SINCE,
        help="Of listed tags, only images made since: 30d, 12h, 2026-01-31.",
        where=Where.TOP,
        group=Group.SELECTION,
        flags=("--since",),
    ),
)


# -- digest cache --

CACHE: tuple[Option, ...] = (
    Option(
        name="cache",
        value=PATH,
        help="File of the digest cache (default: in the user's cache directory).",
        where=Where.TOP,
        group=Group.CACHE,
        flags=("--cache",),
    ),
    Option(
        name="no_cache",
        value=switch(),
        help="Use a temporary digest cache that is deleted at the end of the run.",
        where=Where.TOP,
        group=Group.CACHE,
        flags=("--no-cache",),
    ),
    Option(
        name="cache_max_size",
        # Below a megabyte SQLite's own pages are most of it; no disk is larger.
        value=size(1024**2, 1024**5),
        help="Maximum size of the digest cache: bytes, 500M or 2G.",
        where=Where.TOP,
        group=Group.CACHE,
        flags=("--cache-max-size",),
    ),
    Option(
        name="cache_recheck_s",
        # Ten years: never, in effect.
        value=span(0, 10 * 365 * 24 * 3600),
        help="How long children and configs are used from the cache without asking"
        " the registry again.",
        where=Where.TOP,
        group=Group.CACHE,
        flags=("--cache-recheck",),
    ),
    Option(
        name="immutable_tags",
        value=several(TEXT),
        help="Tags (name or pattern) that never move: asked for once, ever.",
        where=Where.TOP_AND_REGISTRY,
        group=Group.CACHE,
        flags=("--immutable-tag",),
    ),
)


# -- tokens --
# Where tokens come from and what verifies them.

TOKENS: tuple[Option, ...] = (
    Option(
        name="token_url",
        value=URL,
        help="Where to get tokens, instead of where the registry's challenge says.",
        where=Where.REGISTRY,
        group=Group.NETWORK,
    ),
    Option(
        name="service",
        value=TEXT,
        help="The service to ask tokens for, instead of the challenge's.",
        where=Where.REGISTRY,
        group=Group.NETWORK,
    ),
    Option(
        name="realm_hosts",
        value=several(HOST),
        help="Hosts that may ask for the password though their address is local.",
        where=Where.REGISTRY,
        group=Group.NETWORK,
    ),
    Option(
        name="token_keys",
        value=PATH,
        help="Keys that verify tokens: a PEM bundle or a JWKS file.",
        where=Where.TOP_AND_REGISTRY,
        group=Group.NETWORK,
        flags=("--keys",),
    ),
)


# What changes records beside everything that is said about an image.
_DECISIVE = frozenset({"shape", "image_config", "shard"})

OPTIONS: tuple[Option, ...] = (
    *INPUT,
    *SELECTION,
    *IMAGE,
    *REPORT,
    *RUN,
    *SCALE,
    *CACHE,
    *CREDENTIALS,
    *TOKENS,
    *NETWORK,
    *LISTING,
)

BY_NAME: dict[str, Option] = {option.name: option for option in OPTIONS}


def decisive(settings: Settings) -> dict[str, Any]:
    """The settings that decide what a record says, by name, as JSON has them.

    A report is made with one choice of these: two halves of different ones are none.
    """
    return {
        option.name: _plain(getattr(settings, option.name))
        for option in OPTIONS
        if option.group is Group.IMAGE or option.name in _DECISIVE
    }


def decisive_of_shares(settings: Settings) -> dict[str, Any]:
    """The same where several runs share one audit: they must agree in what is selected
    and in its order, too, and differ in their share."""
    selected = {
        option.name: _plain(getattr(settings, option.name))
        for option in OPTIONS
        if option.group is Group.SELECTION or option.name == "order"
    }
    return {**decisive(settings), **selected, "shard": None}


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return list(map(_plain, value))
    if isinstance(value, Shard):
        return str(value)
    return value.value if isinstance(value, Enum) else value


def options_of(*groups: Group) -> tuple[Option, ...]:
    """The options of these groups that a command line can give, in table order."""
    return tuple(
        option
        for option in OPTIONS
        if option.group in groups and option.where is not Where.REGISTRY
    )
