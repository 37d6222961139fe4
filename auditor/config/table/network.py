"""How registries are talked to."""

from __future__ import annotations

from auditor.config.option import Group, Option, Where
from auditor.config.settings import AllowanceUse
from auditor.config.values import choice, switch
from auditor.config.values.numbers import number, seconds, whole
from auditor.config.values.texts import MIRROR, PATH, PROXY

NETWORK: tuple[Option, ...] = (
    Option(
        name="insecure_http",
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
        value=choice(AllowanceUse),
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
