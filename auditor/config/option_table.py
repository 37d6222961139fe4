"""The table of options: settings, flags, variables and help are made from it."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from typing import Any

from auditor.config.options import Option, OptionGroup, OptionScope
from auditor.config.settings import (
    MAX_RUNS_AT_ONCE,
    AttachmentMode,
    EngineName,
    ImageConfigMode,
    ListerName,
    LogFormat,
    LogLevel,
    ProgressMode,
    RateLimitPolicy,
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
    boolean,
    byte_size,
    duration,
    integer,
    list_of,
    member_of,
    number,
)
from auditor.model import Order, Shape
from auditor.util.shard import Shard

_TABLE: dict[OptionGroup, tuple[Option, ...]] = {
    OptionGroup.INPUT: (
        Option(
            name="reference",
            value=list_of(REFERENCE),
            help="References and patterns to audit.",
            plural="references",
            positional=True,
        ),
        Option(
            name="list",
            value=list_of(PATH),
            help="A list of references: text, JSON lines, CSV, kubectl's JSON or YAML,"
            " skopeo's sync YAML, a compose file or a Dockerfile; - is standard input.",
            plural="lists",
            short_flag="-f",
        ),
    ),
    OptionGroup.SELECTION: (
        Option(
            name="include",
            value=list_of(TAG_PATTERN),
            help="Audit only the listed tags that match this pattern.",
        ),
        Option(
            name="exclude",
            value=list_of(TAG_PATTERN),
            help="Skip listed tags that match this pattern.",
        ),
        Option(
            name="exclude_repository",
            value=list_of(REPOSITORY_PATTERN),
            help="Skip repositories of a catalog that match this pattern: team/old/**.",
            plural="exclude_repositories",
        ),
        Option(
            name="omit_digest_tags",
            value=boolean(),
            help="Skip listed tags that name a digest, such as sha256-<hex>.sig.",
        ),
        Option(
            name="latest",
            # The tags are held until the listing ends: a few megabytes at a time.
            value=integer(1, 10_000),
            help="Audit only the newest N versions of each tag listing.",
        ),
        Option(
            name="since",
            value=SINCE,
            help="Audit only listed tags whose image was created since: 30d, 12h,"
            " 2026-01-31.",
        ),
    ),
    OptionGroup.IMAGE: (
        Option(
            name="platform",
            value=list_of(PLATFORM),
            help="Fetch only this platform of each image.",
            plural="platforms",
        ),
        Option(
            name="label",
            value=list_of(LABEL),
            help="Record labels with this name or pattern; fetches all image configs.",
            plural="labels",
        ),
        Option(
            name="attachments",
            value=member_of(AttachmentMode),
            help="Where to look for signatures and SBOMs; all: requests per image.",
        ),
        Option(
            name="verify_blobs",
            value=boolean(),
            help="Check with HEAD that layers and configs exist; report missing ones.",
        ),
    ),
    OptionGroup.REPORT: (
        Option(
            name="output",
            value=PATH,
            help="The report file; - is standard output.",
            short_flag="-o",
        ),
        Option(
            name="summary",
            value=PATH,
            help="Also write the summary as JSON to this file.",
        ),
        Option(
            name="metrics",
            value=PATH,
            help="Also write metrics of the run to this Prometheus textfile.",
        ),
        Option(
            name="shape",
            value=member_of(Shape),
            help="What a line of the report is about: an image, a platform or a layer.",
        ),
        Option(
            name="image_config",
            value=member_of(ImageConfigMode),
            help="When to fetch image configs; auto: if the platform needs it.",
        ),
        Option(
            name="order",
            value=member_of(Order),
            help="The order of the report's lines.",
        ),
    ),
    OptionGroup.RUN: (
        Option(
            name="dry_run",
            value=boolean(),
            help="Print the references that would be audited; fetch no manifests.",
        ),
        Option(
            name="workers",
            # More than a thousand tasks would wait for the same few slots of each host.
            value=integer(1, 1024),
            help="References of one registry to process concurrently"
            " (default: twice --requests-at-once).",
        ),
        Option(
            name="window",
            # A record with hundreds of layers is about 100 KB: 65,536 are 6.5 GB.
            value=integer(1, 65_536),
            help="Finished records to hold back at most, to write them in input order.",
        ),
        Option(
            name="resume",
            value=boolean(),
            help="Continue the unfinished report that an earlier run left at -o.",
        ),
        Option(
            name="deadline",
            # 31 days: longer than any interval between scheduled audits.
            value=duration(0.1, 31 * 86_400),
            help="Time limit of the run; references not reached by then are failures.",
        ),
        Option(
            name="reference_timeout",
            # One day: more than the requests of one reference ever take.
            value=duration(0.1, 86_400),
            help="Time limit of one reference, including retries and waiting.",
        ),
        Option(
            name="progress",
            value=member_of(ProgressMode),
            help="When to show progress on standard error; auto: if it is a terminal.",
        ),
        Option(
            name="log_level",
            value=member_of(LogLevel),
            help="Minimum severity of log messages on standard error.",
        ),
        Option(
            name="log_format",
            value=member_of(LogFormat),
            help="Format of lines on standard error: text, or a JSON object each.",
        ),
    ),
    OptionGroup.SCALE: (
        Option(
            name="shard",
            value=SHARD,
            help="Audit one shard of the repositories; auto: by JOB_COMPLETION_INDEX.",
        ),
        Option(
            name="runs_at_once",
            value=integer(1, MAX_RUNS_AT_ONCE),
            help="Number of runs that share the limits of registries at the same time.",
        ),
        Option(
            name="processes",
            # More cores than machines used for this have.
            value=integer(1, 64),
            help="Audit with N processes on this machine, one shard each.",
        ),
        Option(
            name="engine",
            value=member_of(EngineName),
            help="Where to audit shards: on this machine or on a Dask cluster.",
        ),
        Option(
            name="scheduler",
            value=TEXT,
            help="The address of the Dask scheduler, such as tcp://dask.example.com:8786.",
        ),
        Option(
            name="shard_dir",
            value=TEXT,
            help="Where to write the reports of shards: a folder, or a URL such as"
            " s3://bucket/shards that fsspec supports (default: OUTPUT.shards).",
        ),
    ),
    OptionGroup.CACHE: (
        Option(
            name="cache",
            value=PATH,
            help="The digest cache, instead of the file in the user's cache directory.",
        ),
        Option(
            name="no_cache",
            value=boolean(),
            help="Neither read nor write the digest cache.",
        ),
        Option(
            name="cache_max_size",
            # Below a megabyte most of it is SQLite's own pages; no disk is larger.
            value=byte_size(1024**2, 1024**5),
            help="Maximum size of the digest cache, in bytes or as in 500M or 2G.",
        ),
        Option(
            name="cache_recheck",
            # Ten years: in effect never.
            value=duration(0, 10 * 365 * 24 * 3600),
            help="How long to assume that cached parts of images still exist.",
        ),
        Option(
            name="immutable_tag",
            value=list_of(TEXT),
            help="Tags (name or pattern) that never move; cached ones cost no request.",
            scope=OptionScope.RUN_AND_REGISTRY,
            plural="immutable_tags",
        ),
    ),
    OptionGroup.CREDENTIALS: (
        Option(
            name="config",
            value=PATH,
            help="A TOML file with settings; flags and AUDITOR_... variables win.",
            scope=OptionScope.COMMAND_LINE,
            short_flag="-c",
        ),
        Option(
            name="docker_config",
            value=boolean(),
            help="Use credentials and certs.d folders of docker, podman and skopeo.",
            negatable=True,
        ),
        Option(
            name="authfile",
            value=PATH,
            help="A config.json or auth.json to use instead of theirs.",
        ),
        Option(
            name="username",
            value=USERNAME,
            help="The user to log in as.",
            scope=OptionScope.REGISTRY,
        ),
        Option(
            name="username_env",
            value=VARIABLE,
            help="The environment variable that holds the user to log in as.",
            scope=OptionScope.REGISTRY,
        ),
        Option(
            name="password_env",
            value=VARIABLE,
            help="The environment variable that holds the password.",
            scope=OptionScope.REGISTRY,
        ),
        Option(
            name="password_file",
            value=PATH,
            help="The file that holds the password and nothing else.",
            scope=OptionScope.REGISTRY,
        ),
    ),
    OptionGroup.NETWORK: (
        Option(
            name="token_url",
            value=URL,
            help="The token service, instead of the realm of the registry's challenge.",
            scope=OptionScope.REGISTRY,
        ),
        Option(
            name="service",
            value=TEXT,
            help="The service to request tokens for, instead of the challenge's.",
            scope=OptionScope.REGISTRY,
        ),
        Option(
            name="realm_host",
            value=list_of(HOST),
            help="A token service with a local address that may get the password.",
            scope=OptionScope.REGISTRY,
            plural="realm_hosts",
        ),
        Option(
            name="token_keys",
            value=PATH,
            help="Keys that verify tokens: a PEM bundle or a JWKS file.",
            scope=OptionScope.RUN_AND_REGISTRY,
        ),
        Option(
            name="plain_http",
            value=boolean(),
            help="Use plain HTTP instead of HTTPS.",
            scope=OptionScope.RUN_AND_REGISTRY,
        ),
        Option(
            name="ca_file",
            value=PATH,
            help="CA certificates (PEM) to trust in addition to the system's.",
            scope=OptionScope.RUN_AND_REGISTRY,
        ),
        Option(
            name="cert_file",
            value=PATH,
            help="The client certificate (PEM).",
            scope=OptionScope.RUN_AND_REGISTRY,
        ),
        Option(
            name="key_file",
            value=PATH,
            help="The private key of --cert-file, if it is in a separate file.",
            scope=OptionScope.RUN_AND_REGISTRY,
        ),
        Option(
            name="proxy",
            value=PROXY,
            help="The proxy to use instead of HTTPS_PROXY; none: no proxy.",
            scope=OptionScope.RUN_AND_REGISTRY,
        ),
        Option(
            name="mirror",
            value=MIRROR,
            help="The registry, or HOST/NAMESPACE in one, to try first for images.",
            scope=OptionScope.REGISTRY,
        ),
        Option(
            name="requests_at_once",
            # With more connections, servers and NAT tables refuse the client.
            value=integer(1, 256),
            help="Maximum concurrent requests per registry.",
            scope=OptionScope.RUN_AND_REGISTRY,
        ),
        Option(
            name="requests_per_second",
            # One in 100 s spreads Docker Hub's rate limit over a night; 1,000 per
            # second is more than one process sends.
            value=number(0.01, 1000),
            help="Maximum requests per second and registry.",
            scope=OptionScope.RUN_AND_REGISTRY,
        ),
        Option(
            name="max_requests",
            # A million references with a token, a manifest and some children each.
            value=integer(1, 100_000_000),
            help="Maximum requests of the run; in a section: to that registry.",
            scope=OptionScope.RUN_AND_REGISTRY,
        ),
        Option(
            name="rate_limit_policy",
            value=member_of(RateLimitPolicy),
            help="What to do when a registry's rate limit is nearly used up: stop,"
            " spread the remaining requests over its window, or ignore it.",
            scope=OptionScope.RUN_AND_REGISTRY,
        ),
        Option(
            name="tries",
            # Delays double up to 30 s: twenty attempts take eight minutes.
            value=integer(1, 20),
            help="How often to try a request before it counts as failed.",
            scope=OptionScope.RUN_AND_REGISTRY,
        ),
        Option(
            name="connect_timeout",
            value=duration(0.1, 600),
            help="Time limit for opening a connection.",
            scope=OptionScope.RUN_AND_REGISTRY,
        ),
        Option(
            name="read_timeout",
            value=duration(0.1, 3600),
            help="Time limit for each wait for data of a response.",
            scope=OptionScope.RUN_AND_REGISTRY,
        ),
        Option(
            name="request_timeout",
            value=duration(0.1, 3600),
            help="Time limit of a whole request.",
            scope=OptionScope.RUN_AND_REGISTRY,
        ),
        Option(
            name="max_manifest_bytes",
            # Enough for every known manifest; a run holds up to `workers` of them.
            value=integer(1024, 256 * 1024 * 1024),
            help="Size of the largest manifest or image config to read.",
            scope=OptionScope.RUN_AND_REGISTRY,
        ),
        Option(
            name="page_size",
            # Some registries allow more than 1,000; none is known to allow over 10,000.
            value=integer(1, 10_000),
            help="Names to request per page of a listing.",
            scope=OptionScope.RUN_AND_REGISTRY,
        ),
        Option(
            name="lister",
            value=member_of(ListerName),
            help="How to list repositories and tags: catalog, or a product's own API.",
            scope=OptionScope.REGISTRY,
        ),
        Option(
            name="api_url",
            value=URL,
            help="The URL of the product's API, if it is not on the registry's host.",
            scope=OptionScope.REGISTRY,
        ),
        Option(
            name="list_namespace",
            value=list_of(REPOSITORY),
            help="A namespace to list when everything in the registry is requested.",
            scope=OptionScope.REGISTRY,
            plural="list_namespaces",
        ),
    ),
}

OPTIONS: tuple[Option, ...] = tuple(
    replace(option, group=group) for group, rows in _TABLE.items() for option in rows
)

OPTION_BY_NAME: dict[str, Option] = {option.name: option for option in OPTIONS}


def options_of(*groups: OptionGroup) -> tuple[Option, ...]:
    """The options of these groups that have a flag or arguments, in table order."""
    return tuple(
        option
        for option in OPTIONS
        if option.group in groups and option.scope is not OptionScope.REGISTRY
    )


# Options outside the group IMAGE that change the content of records.
_RECORD_OPTIONS = frozenset({"shape", "image_config", "shard"})


def record_settings(settings: Settings) -> dict[str, Any]:
    """The settings that determine the content of records, by option name, as JSON.

    A report can only be resumed with the settings that it was begun with.
    """
    return {
        option.name: _as_json(getattr(settings, option.field))
        for option in OPTIONS
        if option.group is OptionGroup.IMAGE or option.name in _RECORD_OPTIONS
    }


def sharded_run_settings(settings: Settings) -> dict[str, Any]:
    """The settings that all shards of one audit must have in common, as JSON.

    Besides `record_settings`: the selection of tags and the order, but not the shard.
    """
    selection = {
        option.name: _as_json(getattr(settings, option.field))
        for option in OPTIONS
        if option.group is OptionGroup.SELECTION or option.name == "order"
    }
    return {**record_settings(settings), **selection, "shard": None}


def _as_json(value: object) -> object:
    if isinstance(value, tuple):
        return list(map(_as_json, value))
    if isinstance(value, Shard):
        return str(value)
    return value.value if isinstance(value, Enum) else value
