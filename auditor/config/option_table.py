"""The table of options: settings, flags, variables and help are made from it."""

from __future__ import annotations

from dataclasses import replace

from auditor.config.option import Option, OptionGroup, OptionScope
from auditor.config.settings import (
    MAX_RUNS_AT_ONCE,
    AttachmentMode,
    CloudLogin,
    EngineName,
    ImageConfigMode,
    ListerName,
    LogFormat,
    LogLevel,
    ProgressMode,
    RateLimitPolicy,
    ReportFormat,
    SourceMode,
)
from auditor.config.value_types import (
    BOOLEAN,
    FILE_NAME,
    HELPER,
    HOST,
    LABEL,
    MIRROR,
    NAMESPACE,
    PATH,
    PLATFORM,
    PROXY,
    REFERENCE,
    REPORT_NAME,
    REPOSITORY_PATTERN,
    REQUESTS_AT_ONCE,
    ROLE_ARN,
    SHARD,
    SINCE,
    TAG_PATTERN,
    TEXT,
    URL,
    USERNAME,
    VARIABLE,
    byte_size,
    duration,
    integer,
    list_of,
    member_of,
    number,
    one_or_list_of,
)
from auditor.model import Order, Shape
from auditor.wire.hosted_registries import HOSTED_MOST

_TABLE: dict[tuple[OptionGroup, OptionScope], dict[str, Option]] = {
    (OptionGroup.INPUT, OptionScope.RUN): {
        "reference": Option(
            list_of(REFERENCE),
            "References and patterns to audit.",
            plural="references",
            positional=True,
        ),
        "list": Option(
            list_of(PATH),
            "A list of references: text, JSON lines, CSV, kubectl's JSON or YAML,"
            " skopeo's sync YAML, a compose file or a Dockerfile; - is standard input.",
            plural="lists",
            short_flag="-f",
        ),
        "allow_empty": Option(
            BOOLEAN, "Accept a list that names no reference; without it, exit code 2."
        ),
    },
    (OptionGroup.INPUT, OptionScope.COMMAND_LINE): {
        "cluster": Option(
            BOOLEAN,
            "Audit the images of the pods and workloads of the Kubernetes cluster in"
            " which auditor runs; the section [cluster] of a file says which.",
            negatable=True,
        ),
    },
    (OptionGroup.SELECTION, OptionScope.RUN): {
        "include": Option(
            list_of(TAG_PATTERN), "Audit only the listed tags that match this pattern."
        ),
        "exclude": Option(
            list_of(TAG_PATTERN), "Skip listed tags that match this pattern."
        ),
        "exclude_repository": Option(
            list_of(REPOSITORY_PATTERN),
            "Skip repositories of a catalog that match this pattern: team/old/**.",
            plural="exclude_repositories",
        ),
        "omit_digest_tags": Option(
            BOOLEAN, "Skip listed tags that name a digest, such as sha256-<hex>.sig."
        ),
        "untagged": Option(
            BOOLEAN,
            "Also audit manifests without a tag, for patterns with the tag *, where the"
            " product's API lists them.",
        ),
        # The tags are held until the listing ends: a few megabytes at a time.
        "latest": Option(
            integer(1, 10_000), "Audit only the newest N versions of each tag listing."
        ),
        "since": Option(
            SINCE,
            "Audit only listed tags of images created since: 30d, 12h, 2026-01-31.",
        ),
    },
    (OptionGroup.IMAGE, OptionScope.RUN): {
        "platform": Option(
            list_of(PLATFORM),
            "Fetch only this platform of each image.",
            plural="platforms",
        ),
        "label": Option(
            list_of(LABEL),
            "Record labels with this name or pattern; fetches all image configs.",
            plural="labels",
        ),
        "attachments": Option(
            member_of(AttachmentMode),
            "Where to look for signatures and SBOMs; all sends requests per image.",
        ),
        "verify_blobs": Option(
            BOOLEAN,
            "Check with HEAD that layers and configs exist; report missing ones.",
        ),
        "check_bases": Option(
            BOOLEAN,
            "Ask with HEAD whether the base images that images name have moved, also at"
            " other registries.",
        ),
        "verify_signatures": Option(
            PATH,
            "Verify signatures of cosign and Notation with the keys of this policy.",
        ),
    },
    (OptionGroup.REPORT, OptionScope.RUN): {
        "output": Option(
            REPORT_NAME,
            "The report file, compressed if it ends in .gz or .zst; {date}, {time} and"
            " {host} are replaced; - is standard output.",
            short_flag="-o",
        ),
        "format": Option(
            member_of(ReportFormat),
            "What to print without -o; auto: a table if it is a terminal, or else JSON"
            " lines.",
        ),
        "summary": Option(FILE_NAME, "Also write the summary as JSON to this file."),
        "metrics": Option(
            FILE_NAME, "Also write metrics of the run to this Prometheus textfile."
        ),
        "sbom": Option(
            REPORT_NAME,
            "Also read the attached SBOMs, and write their packages to this file, for"
            " auditor packages; looks for all attachments.",
        ),
        "shape": Option(
            member_of(Shape),
            "What a line of the report describes: an image, a platform or a layer.",
        ),
        "image_config": Option(
            member_of(ImageConfigMode),
            "When to fetch image configs; auto: if the platform needs it.",
        ),
        "sources": Option(
            member_of(SourceMode),
            "When to record where the input names a reference, and its other columns;"
            " auto: unless the input is one plain list.",
        ),
        "order": Option(member_of(Order), "The order of the report's lines."),
    },
    (OptionGroup.RUN, OptionScope.RUN): {
        "dry_run": Option(
            BOOLEAN, "Print the references that would be audited; fetch no manifests."
        ),
        # More than a thousand tasks would wait for the same few slots of each host.
        "workers": Option(
            integer(1, 1024),
            "References of one registry to process concurrently"
            " (default: twice --requests-at-once).",
        ),
        # A record with hundreds of layers is about 100 KB: 65,536 are 6.5 GB.
        "window": Option(
            integer(1, 65_536),
            "Maximum finished records in memory; more go to a temporary file.",
        ),
        "resume": Option(
            BOOLEAN, "Continue the unfinished report that an earlier run left at -o."
        ),
        # 31 days: as for the deadline.
        "resume_max_age": Option(
            duration(0.1, 31 * 86_400),
            "Resume: audit records again that are older than this.",
        ),
        "retry_failed": Option(
            BOOLEAN, "Resume, and audit the failed references again."
        ),
        # 31 days: longer than any interval between scheduled audits.
        "deadline": Option(
            duration(0.1, 31 * 86_400),
            "Time limit of the run; references not reached by then are failures.",
        ),
        # One day: more than the requests of one reference ever take.
        "reference_timeout": Option(
            duration(0.1, 86_400),
            "Time limit of one reference, including retries and waiting.",
        ),
        "progress": Option(
            member_of(ProgressMode),
            "When to show progress on standard error; auto: if it is a terminal, and no"
            " program reads the report from a pipe.",
        ),
        "quiet": Option(
            BOOLEAN,
            "Print errors only: no progress, no summary, no warnings.",
            short_flag="-q",
        ),
        "verbose": Option(
            BOOLEAN,
            "Log every request; the same as --log-level debug.",
            short_flag="-v",
        ),
        "log_level": Option(
            member_of(LogLevel), "Minimum severity of log messages on standard error."
        ),
        "log_format": Option(
            member_of(LogFormat),
            "Format of lines on standard error: text, or a JSON object each.",
        ),
    },
    (OptionGroup.SCALE, OptionScope.RUN): {
        "shard": Option(
            SHARD,
            "Audit one shard of the repositories; auto: from JOB_COMPLETION_INDEX.",
        ),
        "runs_at_once": Option(
            integer(1, MAX_RUNS_AT_ONCE),
            "Number of runs that share the limits of registries at the same time.",
        ),
        # More cores than machines used for this have.
        "processes": Option(
            integer(1, 64), "Audit with N processes on this machine, one shard each."
        ),
        "engine": Option(
            member_of(EngineName),
            "Where to audit shards: on this machine or on a Dask cluster.",
        ),
        "scheduler": Option(
            TEXT,
            "The address of the Dask scheduler, such as tcp://dask.example.com:8786.",
        ),
        "shard_dir": Option(
            TEXT,
            "Where to write the reports of shards: a folder, or a URL such as"
            " s3://bucket/shards that fsspec supports (default: OUTPUT.shards).",
        ),
    },
    (OptionGroup.CACHE, OptionScope.RUN): {
        "cache": Option(
            PATH, "The digest cache, instead of the file in the user's cache directory."
        ),
        "no_cache": Option(BOOLEAN, "Neither read nor write the digest cache."),
        # Below a megabyte most of it is SQLite's own pages; no disk is larger.
        "cache_max_size": Option(
            byte_size(1024**2, 1024**5),
            "Maximum size of the digest cache, in bytes or as in 500M or 2G.",
        ),
        # Ten years: in effect never.
        "cache_recheck": Option(
            duration(0, 10 * 365 * 24 * 3600),
            "How long to assume that cached parts of images still exist.",
        ),
    },
    (OptionGroup.CACHE, OptionScope.RUN_AND_REGISTRY): {
        "immutable_tag": Option(
            list_of(TEXT),
            "Tags (name or pattern) that never move; cached ones cost no request.",
            plural="immutable_tags",
        )
    },
    (OptionGroup.CREDENTIALS, OptionScope.COMMAND_LINE): {
        "config": Option(
            PATH,
            "A TOML file with settings; flags and AUDITOR_... variables win.",
            short_flag="-c",
        )
    },
    (OptionGroup.CREDENTIALS, OptionScope.RUN): {
        "docker_config": Option(
            BOOLEAN,
            "Use credentials and certs.d folders of docker, podman and skopeo.",
            negatable=True,
        ),
        "authfile": Option(
            one_or_list_of(PATH),
            "A credential file to use instead of the default ones: config.json,"
            " auth.json or .dockercfg. The first with a login wins.",
            plural="authfiles",
        ),
    },
    (OptionGroup.CREDENTIALS, OptionScope.RUN_AND_REGISTRY): {
        "cloud_login": Option(
            member_of(CloudLogin),
            "When to log in to ECR, Google's and Azure's registries with this machine's"
            " identity; auto: if there is no other login.",
        ),
    },
    (OptionGroup.CREDENTIALS, OptionScope.REGISTRY): {
        "username": Option(USERNAME, "The user to log in as."),
        "username_env": Option(
            VARIABLE, "The environment variable that holds the user to log in as."
        ),
        "password_env": Option(
            VARIABLE, "The environment variable that holds the password."
        ),
        "password_file": Option(PATH, "A file that contains only the password."),
        "password_command": Option(
            list_of(TEXT),
            "A program and its arguments that print the password; run without a shell.",
            plural="password_command",
        ),
        "helper": Option(
            HELPER, "The credential helper docker-credential-NAME that has the login."
        ),
        "aws_profile": Option(
            TEXT, "The profile of AWS's configuration files, instead of AWS_PROFILE."
        ),
        "role_arn": Option(ROLE_ARN, "The AWS role to assume for this registry."),
    },
    (OptionGroup.NETWORK, OptionScope.RUN): {
        "registries_conf": Option(
            BOOLEAN,
            "Use the mirrors, locations and blocks of podman's registries.conf.",
            negatable=True,
        ),
    },
    (OptionGroup.NETWORK, OptionScope.REGISTRY): {
        "token_url": Option(
            URL, "The token service, instead of the realm of the registry's challenge."
        ),
        "service": Option(
            TEXT, "The service to request tokens for, instead of the challenge's."
        ),
        "realm_host": Option(
            list_of(HOST),
            "A token service with a local address that may get the password.",
            plural="realm_hosts",
        ),
        "mirror": Option(
            MIRROR, "A mirror to try first for images: a registry or HOST/NAMESPACE."
        ),
        "lister": Option(
            member_of(ListerName),
            "How to list repositories and tags: catalog, or a product's own API.",
        ),
        "api_url": Option(
            URL, "The URL of the product's API, if it is not on the registry's host."
        ),
        "list_namespace": Option(
            list_of(NAMESPACE),
            "A namespace to list when everything in the registry is requested.",
            plural="list_namespaces",
        ),
    },
    (OptionGroup.NETWORK, OptionScope.RUN_AND_REGISTRY): {
        "token_keys": Option(
            PATH, "Keys that verify tokens: a PEM bundle or a JWKS file."
        ),
        "plain_http": Option(
            BOOLEAN,
            "Use plain HTTP instead of HTTPS, or not; the default is HTTPS, and plain"
            " HTTP on loopback.",
            negatable=True,
        ),
        "ca_file": Option(
            PATH, "CA certificates (PEM) to trust in addition to the system's."
        ),
        "cert_file": Option(PATH, "The client certificate (PEM)."),
        "key_file": Option(
            PATH, "The private key of --cert-file, if it is in a separate file."
        ),
        "proxy": Option(
            PROXY, "The proxy to use instead of HTTPS_PROXY; none: no proxy."
        ),
        "requests_at_once": Option(
            REQUESTS_AT_ONCE,
            "Concurrent requests per registry: N, or as many between N and M as it"
            " answers without delay. Public registries get at most"
            f" {HOSTED_MOST} by default.",
        ),
        # One in 100 s spreads Docker Hub's rate limit over a night; 1,000 per
        # second is more than one process sends.
        "requests_per_second": Option(
            number(0.01, 1000), "Maximum requests per second and registry."
        ),
        # A million references with a token, a manifest and some children each.
        "max_requests": Option(
            integer(1, 100_000_000),
            "Maximum requests of the run; in a section: to that registry.",
        ),
        "rate_limit_policy": Option(
            member_of(RateLimitPolicy),
            "What to do when a registry's rate limit is nearly used up: stop,"
            " spread the remaining requests over its window, or ignore it.",
        ),
        # Delays double up to 30 s: twenty attempts take eight minutes.
        "tries": Option(
            integer(1, 20), "Maximum attempts of a request before it counts as failed."
        ),
        "connect_timeout": Option(
            duration(0.1, 600), "Time limit for opening a connection."
        ),
        "read_timeout": Option(
            duration(0.1, 3600), "Time limit for each wait for data of a response."
        ),
        "request_timeout": Option(
            duration(0.1, 3600), "Time limit of a whole request."
        ),
        # Enough for every known manifest; a run holds up to `workers` of them.
        "max_manifest_bytes": Option(
            byte_size(1024, 256 * 1024 * 1024),
            "Size of the largest manifest or image config to read.",
        ),
        # Some registries allow more than 1,000; none is known to allow over 10,000.
        "page_size": Option(
            integer(1, 10_000), "Names to request per page of a listing."
        ),
    },
}

# Options that change how, and not what, is audited; their defaults fit.
_EXPERT = frozenset(
    {
        "cache_recheck", "connect_timeout", "engine", "log_format",
        "max_manifest_bytes", "order", "page_size", "read_timeout",
        "reference_timeout", "request_timeout", "resume_max_age", "runs_at_once",
        "scheduler", "shard_dir", "token_keys", "tries", "window", "workers",
    }
)  # fmt: skip

OPTIONS: tuple[Option, ...] = tuple(
    replace(option, name=name, group=group, scope=scope, is_expert=name in _EXPERT)
    for (group, scope), options in _TABLE.items()
    for name, option in options.items()
)

OPTION_BY_NAME: dict[str, Option] = {option.name: option for option in OPTIONS}


def options_of(*groups: OptionGroup) -> tuple[Option, ...]:
    """The options of these groups that have a flag or arguments, in table order."""
    return tuple(
        option
        for option in OPTIONS
        if option.group in groups and option.scope is not OptionScope.REGISTRY
    )
