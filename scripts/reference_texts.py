"""Texts of docs/reference/ about rules of a policy and keys of a night, in Markdown.

The program prints none of them. Tests hold the names equal to those in the code.
"""

from __future__ import annotations

_SIZE = '"2 GB" is decimal, "2 GiB" and "2G" are binary.'
_NO_SIZES = "Nothing more. Schema 1 has no sizes: unknown."
_NO_LAYERS = (
    "Nothing more. Unknown if the registry does not have a manifest, or if its layers"
    " are too long for a record (warning `parts_left_out`)."
)
_CONFIGS = "`audit --image-config always`."
_NOTHING = "Nothing more."
_BASES = (
    "Images that name their base, in `org.opencontainers.image.base.name` and"
    " `.digest`; where these are labels, `audit --image-config always`. An image that"
    " names none is unknown."
)
_PRODUCT_TIMES = (
    "Tags from a listing of a [product that has these"
    " times](../registries/product-apis.md#last-push-and-last-pull)."
)
_IMAGES = "For images only."

# By the name of the rule: the details of the requirement, and what it needs, which is
# mostly an option of the audit, with when it is unknown.
RULE_HELP: dict[str, tuple[str, str]] = {
    "required_platforms": (
        "Names are compared as containerd normalises them: `linux/arm64/v8` is"
        " `linux/arm64`, `linux/arm` is `linux/arm/v7`. A variant below counts, as for"
        " containerd: `linux/arm/v6` for `linux/arm/v7`, but not `linux/amd64/v3` for"
        f" `linux/amd64`, and no other architecture. {_IMAGES}",
        "Nothing more. Unknown are platforms that `audit --platform` excluded, and all"
        " that are not found in an image whose platform is unknown, or in an index"
        " whose children cannot be read.",
    ),
    "forbidden_media_types": ("", _NOTHING),
    "forbidden_layers": ("", _NO_LAYERS),
    "forbidden_packages": (
        "[Packages](../guide/check.md#packages) explains names, versions and types.",
        "`audit --sbom FILE`, and `check --sbom FILE`. An image with a platform"
        " without an SBOM that could be read is unknown, and so is a version whose"
        " order is not known.",
    ),
    "forbid_warnings": (
        "The codes are those of [Warnings](failures.md#warnings).",
        "For the codes `blob_...`, `audit --verify-blobs`.",
    ),
    "max_size": (_SIZE, _NO_SIZES),
    "max_platform_size": (_SIZE, _NO_SIZES),
    "max_layers": ("", _NO_LAYERS),
    "max_age": (
        "Not for signatures and other attachments.",
        f"{_CONFIGS} Otherwise the date is known only from the annotation"
        " `org.opencontainers.image.created`, or from a config that was fetched"
        " anyway. Dates before March 2013 (reproducible builds) and in the future are"
        " unknown. If the tag was pushed longer ago than the limit, its image is"
        " older, too.",
    ),
    "max_pushed_age": ("Not for attachments.", _PRODUCT_TIMES),
    "max_unpulled": (
        "Finds what nobody uses. Not for attachments.",
        f"{_PRODUCT_TIMES} A tag without a pull time is unknown, unless it was pushed"
        " within the limit: it was never pulled, or the product did not record it.",
    ),
    "forbidden_bases": (
        "Patterns of names (`docker.io/library/debian:1[01]*`), or digests.",
        _BASES,
    ),
    "allowed_bases": ("Patterns of names, or digests.", _BASES),
    "forbid_stale_base": (
        f"How to use it: [Stale base images](../how-to/stale-bases.md). {_IMAGES}",
        "`audit --check-bases`. A base that is [named by its digest"
        " alone](../how-to/stale-bases.md#a-base-without-a-tag) is unknown, unless a"
        " tag in the report has or had it.",
    ),
    "forbid_end_of_life": (
        "[End of life](../guide/check.md#end-of-life) says where the dates are from.",
        "A table `[end_of_life]` in the policy, or `audit --attachments all` for dates"
        " that are attached.",
    ),
    "forbid_root": (_IMAGES, _CONFIGS),
    "required_annotations": ("Not for attachments.", _NOTHING),
    "required_labels": (
        _IMAGES,
        "`audit --label NAME`. A report does not say which labels were selected; if no"
        " image at all has a required label, the check says that it may not have been"
        " selected. Schema 1 is unknown.",
    ),
    "required_attachments": (
        "`attestation` is one of any kind. They must be attached to what the tag"
        " points at, or to each of its platforms. Present is not valid: see"
        " `required_signature`. Not for attachments.",
        "`audit --attachments all`; otherwise only the attestations of BuildKit are"
        " known, and everything else counts as missing. Such an attestation contains"
        " provenance, an SBOM or both: without `--attachments all`, `attestation`"
        " accepts it, while `sbom` and `provenance` are unknown. So is an attachment"
        " that an index of several platforms lists without a subject.",
    ),
    "required_signature": (
        "Each of the keys. Not for attachments.",
        "[`audit --verify-signatures POLICY`](../guide/signatures.md), whose policy"
        " names the image and the keys. A key is unknown if not all signatures could"
        " be read, or if the image came from a mirror.",
    ),
    "allowed_grants": (
        "",
        "Tokens that can be read. Opaque tokens and Basic are unknown.",
    ),
    "forbid_failures": (
        "The kinds are those of [Failures](failures.md#failures).",
        _NOTHING,
    ),
    "forbid_latest_only": (
        "Signatures and other attachments do not count as a tag.",
        "All tags: `auditor audit 'HOST/REPO:*'`.",
    ),
    "immutable_tags": (
        "Not for attachments.",
        "An earlier report: `check --previous REPORT`.",
    ),
}

# By the key of the table [nightly].
NIGHTLY_HELP: dict[str, str] = {
    "folder": "The state folder; it is made if it is missing. The only key that is"
    " required.",
    "policy": "A policy file. Its rules about packages need the key `sbom`.",
    "fail_on": "The least severity of a violation that makes the exit code 1; `error`"
    " if it is not set.",
    "run_after": "A command with its arguments. It gets the night as JSON on standard"
    " input. After ten minutes, or when a signal ends auditor, it is ended with its"
    " children: SIGTERM, five seconds, SIGKILL.",
    "ping_url": "A dead man's switch: `/start` at the beginning, the URL itself or"
    " `/fail` at the end.",
    "push_url": "A Prometheus Pushgateway.",
    "otlp_url": "An OpenTelemetry collector:"
    " `http://collector.example.com:4318/v1/metrics` (extra `otlp`).",
    "page": "`false` makes no page.",
    "keep.last": "How many nights to keep. Without any of `keep`: all.",
    "keep.daily": "The number of days of which the last night is kept.",
    "keep.weekly": "The same of ISO weeks.",
    "keep.monthly": "The same of months.",
    "keep.yearly": "The same of years.",
    "notify.urls_env": "The variable that has the URLs of apprise.",
    "notify.urls_file": "The file that has them.",
    "notify.on": "When to notify: `change` (if anything changed, or the exit code is"
    " not 0; the default), `failure` (if the exit code is not 0) or `always`.",
}

# By the key of the table [cluster], and of its `resources`.
CLUSTER_HELP: dict[str, str] = {
    "namespaces": "Names or patterns (`*`, `?`); all of them if it is not set.",
    "exclude_namespaces": "Names or patterns of namespaces to leave out.",
    "workloads": "With `false`, only pods are listed.",
    "pull_secrets": "With `true`, use the image pull secrets of pods and service"
    " accounts.",
    "server": "An API server; that of the pod if it is not set.",
    "token_file": "The token for it; that of the pod if it is not set.",
    "ca_file": "Its CA certificates; those of the pod if it is not set.",
    "resources[].api": "A custom resource: its `GROUP/VERSION`.",
    "resources[].resource": "Its name in the plural.",
    "resources[].images": "Paths of images that are in no container, such as"
    " `spec.sidecars[*].image`.",
}
