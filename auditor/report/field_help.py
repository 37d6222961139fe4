"""What each field of a report and of the summary means.

docs/reference/report.md is written from these texts, and `auditor schema` has those of
the records as descriptions. A test holds the names equal to the fields. Markdown;
`null` is the JSON value of None.
"""

from __future__ import annotations

from auditor.wire.host_concurrency import MOVE_TEXT

_LAYER = {
    "digest": "of the blob",
    "size": "compressed bytes; `null` for schema 1, which states none",
    "media_type": "as the manifest states it; `null` for schema 1",
}
_REFERENCE = {
    "schema": "the schema number of this document",
    "kind": "tells the kinds of lines apart",
    "reference": "registry, repository, and tag or digest, in canonical form",
    "registry": "the host, with its port if there is one; `oci`, `oci-archive` or"
    " `docker-archive` for an image on disk",
    "repository": "the repository in its registry; the path of an image on disk",
    "tag": "`null` for a reference by digest",
}
_INPUT = {
    "sources": "where the input names the reference; `null` if it is not recorded"
    " (`--sources`)",
    "sources_left_out": "number of sources beyond the limit of 20",
    "input_labels": "other columns and keys of the input, such as `team`: the values"
    " of each name; `null` if they are not recorded",
    "input_labels_left_out": "number of values beyond the limits: 20 for each name,"
    " 1,000 characters each, 4 KiB in all",
    "audited_at": "when the record was made, RFC 3339 in UTC, to the second",
}
_LISTED = {
    "pushed_at": "when the tag was last pushed, as the listing of this run says, RFC"
    " 3339 in UTC; `null` if there was no listing, or it has no such time",
    "pulled_at": "when the tag was last pulled, likewise; also `null` if the product"
    " has recorded no pull",
    "untagged": "`true` if the listing has the manifest without a tag (`--untagged`),"
    " `false` for a tag, `null` for a digest that the input names",
}
_PRESENT = {
    "signed": "whether a signature is attached to what the reference names, or to each"
    " of its platforms. It is not verified. `null` if attachments were not looked for"
    " or could not all be read",
    "has_sbom": "the same of an SBOM",
    "has_provenance": "the same of provenance: an attestation with such a predicate",
}
_VERIFIED = {
    "verified_by": "keys of the signature policy that verify a signature of the image;"
    " `null` if no policy names the image",
    "not_verified_by": "keys of the policy that verify none; a key in neither list is"
    " unknown: not all signatures could be read, or the image came from a mirror",
}
_SIZES = {
    "manifest_size": "bytes of its manifest; `null` if the registry does not have it",
    "config_size": "bytes of its image config; also `null` for schema 1, which has"
    " none",
}
_TRAITS = "how its layers differ from gzip-compressed tar archives, sorted"
_CONTENT = (
    "what the reference names: an `image`; an `attachment` (a signature, SBOM or"
    " attestation, anything with a `subject`, and unless it is an image, what a tag"
    " such as `sha256-<hex>.sig` names); another `artifact`, such as a Helm chart; or"
    " `unknown` for an index in which nothing could be read"
)

# By the class of the record, and the name of the field.
FIELD_HELP: dict[str, dict[str, str]] = {
    "ImageRecord": {
        **_REFERENCE,
        "digest": "SHA-256 of the bytes of the manifest that the reference names; of"
        " the payload for signed schema 1",
        "media_type": "of that manifest",
        "schema_version": "1 or 2; 1 is the format of old registries",
        "artifact_type": "what an artifact is, by `artifactType` or the media type of"
        " its config. Types are cut after 1,000 characters, and so are predicates and"
        " the parts of a platform",
        "content": _CONTENT,
        "architectures": "its platforms as `os/architecture[/variant]`, without those"
        " that the registry does not have; sorted, each once, and normalised as"
        " containerd does: `arm64/v8` and `aarch64` are `arm64`, `arm` is `arm/v7`",
        "platforms": "its platforms in the order of the index; an artifact has one"
        " without os and architecture. Those of one record have 2 MiB, shared equally:"
        " 13,000 layers of one platform, or 130 of each of a hundred",
        "platforms_left_out": "number of platforms that `--platform` excluded",
        "attachments": "signatures, SBOMs, attestations and other manifests about the"
        " image (`--attachments`), in 4 MiB: ten thousand. In an index with images,"
        " also its other children: those that it marks as `unknown/unknown` or with"
        " `vnd.docker.reference.type`, attestations that lost these marks in a copy,"
        " and artifacts such as a chart",
        **_PRESENT,
        "size": "compressed bytes of the distinct layers of all platforms; 0 for an"
        " index that lists nothing, `null` if the size of a layer is unknown",
        "annotations": "those of the manifest that the reference names, in 2 MiB",
        "access": "what the token grants",
        "location": "`registry/repository` that was asked instead of the one in the"
        " reference: a mirror, or where registries.conf moves it; otherwise `null`",
        **_LISTED,
        "subject": "the digest that the manifest names as its `subject`",
        "manifest_size": "bytes of the manifest that the reference names",
        "other_children": "manifests below an index that are neither in `platforms`"
        " nor in `attachments`: nested indexes, excluded platforms, and what could not"
        " be read",
        "bases": "the base images that its platforms name, with what the names point"
        " at now; `null` without `--check-bases`",
        "bases_left_out": "number of base images beyond 16, which were not asked for",
        **_INPUT,
        **_VERIFIED,
        "signatures": "its signatures, verified ones first, at most 50; `null` if no"
        " policy names the image",
        "signatures_left_out": "number of signatures beyond 50; of more than 100,"
        " the others are not verified",
        "warnings": "problems that did not prevent the record",
    },
    "PlatformRecord": {
        "os": "as the registry gave it; `null` for an artifact",
        "architecture": "as the registry gave it; `null` for an artifact",
        "variant": "as the registry gave it, such as `v7`",
        "os_version": "the build of Windows",
        "digest": "of the platform's manifest",
        "media_type": "of the platform's manifest",
        "config_digest": "of its image config",
        "created": "when it was built, RFC 3339, from the config; `null` if no config"
        " was fetched",
        "config": "more of the image config; `null` if none was fetched",
        "base": "the image that it was built on; `null` if neither the image nor its"
        " index names one",
        "size": "compressed bytes of its distinct layers",
        "layers": "base first; with the empty layers of schema 1. `null` if the"
        " registry does not have the manifest (`child_missing`), or if the layers are"
        " too many for a record (`parts_left_out`); its `size` is that of all",
        "layer_traits": _TRAITS,
        "alternatives": "the same platform in other formats, such as zstd or Nydus."
        " They count neither in sizes nor in the flat shapes",
        **_SIZES,
    },
    "ConfigDetails": {
        "user": "the user it runs as; `null`: the config names none, so it is root",
        "history": "number of build steps",
        "labels": "those selected with `--label`, at most 64 KiB per platform; `null`"
        " without `--label`",
    },
    "BaseImage": {
        "name": "`org.opencontainers.image.base.name`: an annotation or a label",
        "digest": "`org.opencontainers.image.base.digest`, likewise",
    },
    "Layer": _LAYER,
    "Alternative": {
        "digest": "of its manifest",
        "media_type": "of its manifest",
        "config_digest": "of its image config",
        "size": "compressed bytes of its distinct layers",
        "layers": "base first",
        "layer_traits": _TRAITS,
        **_SIZES,
    },
    "Attachment": {
        "kind": "`signature` (cosign, Notation, a signing sigstore bundle), `sbom`"
        " (SPDX, CycloneDX, Syft), `attestation` (in-toto), or `artifact` (anything"
        " else)",
        "artifact_type": "its `artifactType`, or the media type of its config or"
        " layers",
        "digest": "of its manifest",
        "subject": "the digest of the manifest that it is about",
        "predicates": "types of its in-toto statements, sorted; `null` if unknown",
        "size": "bytes of its manifest; `null` if nothing states them",
        "blobs": "its config and layers; `null` if its manifest was not read",
        "tag": "the tag that names it (cosign's) or lists it (the fallback tag);"
        " `null` in an index or from the referrers API",
        "in_index": "whether the index of the image lists it; the index is incomplete"
        " without it",
        "annotations": "those of its manifest, or of its entry in a list of"
        " referrers: at most 8, with 1,024 characters in all",
        "annotations_left_out": "number of annotations beyond these limits",
    },
    "Access": {
        "state": "`granted` or `denied`, as the token says; `unverifiable` if it"
        " cannot be read (an opaque token, Basic); `anonymous` if the registry asks"
        " for no credential",
        "actions": "those that the token grants for the repository",
        "subject": "the account that the token names",
        "issuer": "who issued the token, as it says",
        "verified": "whether the signature of the token was checked with your keys"
        " (`--token-keys`)",
        "credential": "where the credential is from: your configuration, a file of"
        " docker or podman, a credential `helper`, a `password_command`, or the"
        " identity of the machine; `null` without a login",
        "login_unused": "whether a login is configured that the registry did not ask"
        " for: the request was anonymous",
    },
    "ChildManifest": {
        "digest": "of the manifest",
        "media_type": "as the index states it",
        "size": "bytes, as the index states them",
    },
    "BaseCheck": {
        "name": "the base image as its builder named it",
        "reference": "what was asked; `null` if nothing was",
        "digest": "of the base image when the image was built",
        "current_digest": "what the name points at now",
        "is_stale": "whether the base has other content for these platforms now, so"
        " that a rebuild would change them; `null` if that is not known",
        "platforms": "the platforms that this is about",
        "detail": "why `is_stale` is not known",
    },
    "Source": {
        "list": "the list as it was given, `stdin`, or `cluster` for `--cluster`;"
        " `null` for an argument or a reference of the configuration",
        "place": "the list with the line or the object: `owners.csv:12`,"
        " `pods.json:shop/web-1/app`; the first pod of a workload",
        "namespace": "that of Kubernetes, or the `name` of a compose file",
        "workload": "`Deployment/web`, `CronJob/backup`, ...; `service/NAME` in a"
        " compose file; `stage/NAME`, or its number, in a Dockerfile",
        "container": "the container, or the volume with an image",
    },
    "ImageSignature": {
        "digest": "the manifest that contains it",
        "format": "how it is stored; `cosign` is a simple signing payload",
        "state": "`verified` by a key of the policy that may sign the image;"
        " `untrusted`: by none of these keys; `invalid`: damaged, expired, by an unfit"
        " certificate, or copied from another image; `unverifiable`: not with keys, or"
        " not offline; `unknown`: it could not be fetched",
        "keys": "names of the keys that verify it",
        "reason": "why it is not verified",
        "identity": "who it says that it is from or for: the docker-reference of"
        " cosign, or the subject of the certificate. Do not trust it unless the state"
        " is `verified`",
        "signed_at": "when it was made, as the signer says, RFC 3339 in UTC",
    },
    "Warn": {
        "code": "what is wrong; `auditor explain CODE` says what to do",
        "detail": "a sentence for people",
    },
    "FailureRecord": {
        **_REFERENCE,
        "reference": "in canonical form, or the text that is no reference; the pattern"
        " if a listing failed",
        "digest": "of a reference by digest",
        "stage": "what was being done",
        "failure": "what went wrong; `auditor explain FAILURE` says what to do",
        "status": "the HTTP status; `null` if there was no response",
        "detail": "one sentence for people, without secrets",
        "attempts": "requests sent; 0: none",
        **_INPUT,
    },
    "PlatformRow": {
        **_REFERENCE,
        "digest": "of the manifest that the reference names",
        "content": "as in an ImageRecord",
        "platform": "`os/architecture[/variant]`, normalised; `null` for an artifact",
        "os": "as the registry gave it",
        "architecture": "as the registry gave it",
        "variant": "as the registry gave it",
        "os_version": "the build of Windows",
        "platform_digest": "of the platform's manifest; `null` if the image has no"
        " platform",
        "media_type": "of the platform's manifest",
        "config_digest": "of its image config",
        "created": "when it was built, RFC 3339",
        "user": "as in ConfigDetails",
        "history": "as in ConfigDetails",
        "labels": "as in ConfigDetails",
        "base_name": "the image that it was built on",
        "base_digest": "of that image when this one was built",
        "base_current_digest": "what the name points at now (`--check-bases`)",
        "base_is_stale": "whether a rebuild would change the platform; `null` if that"
        " is not known",
        "size": "compressed bytes of its distinct layers",
        **_SIZES,
        "layers": "number of its layers",
        "layer_traits": _TRAITS,
        **dict.fromkeys(
            (*_PRESENT, *_LISTED, *_VERIFIED), "of the image, as in an ImageRecord"
        ),
        **_INPUT,
    },
    "LayerRow": {
        **_REFERENCE,
        "digest": "of the manifest that the reference names",
        "content": "as in an ImageRecord",
        "platform": "`os/architecture[/variant]`, normalised; `null` for an artifact",
        "platform_digest": "of the platform's manifest; `null` if the image has no"
        " platform",
        "position": "0 is the base; `null` if the platform has no layers, or they are"
        " unknown",
        "layer_digest": "of the blob",
        "layer_size": "compressed bytes; `null` for schema 1",
        "layer_media_type": "as the manifest states it",
        **dict.fromkeys(_LISTED, "of the image, as in an ImageRecord"),
        "audited_at": _INPUT["audited_at"],
    },
    "SbomRecord": {
        "schema": _REFERENCE["schema"],
        "kind": _REFERENCE["kind"],
        "attachment": "the manifest of the attachment, as `digest` in the report",
        "digest": "of the document in it; `null` if the manifest could not be read",
        "media_type": "of the document",
        "size": "bytes of the document",
        "format": "`spdx`, `cyclonedx` or `syft`; `null` if it was not read",
        "format_version": "such as `2.3`",
        "subjects": "the digests that the in-toto statement around it names",
        "packages": "its packages, sorted by name, each once",
        "packages_left_out": "number of packages beyond 50,000, or 16 MiB of them",
        "failure": "why there are no packages",
        "detail": "a sentence about the failure",
        "warnings": "sentences about what was not understood",
    },
    "SbomPackage": {
        "name": "the package, with its owner or group",
        "version": "as the SBOM has it",
        "type": "that of the package URL, such as `deb`, `rpm`, `apk`, `npm`, `pypi`",
        "purl": "the package URL",
        "license": "an SPDX expression, or a name",
        "source": "the source package of a binary one, such as `openssl` of `libssl3`",
        "source_version": "its version, if the SBOM has it",
    },
}

# By the path of the field: its meaning, and how `auditor merge` combines the values of
# shards. `[]` is each object of a list, `*` each member of a map.
SUMMARY_HELP: dict[str, tuple[str, str]] = {
    "schema": ("the schema number", ""),
    "kind": ("`summary`", ""),
    "started_at": ("RFC 3339 in UTC", "first start"),
    "finished_at": ("RFC 3339 in UTC", "last end"),
    "duration_s": ("seconds", "slowest shard"),
    "interrupted": (
        "whether a signal stopped the run, or a shard failed: the report is incomplete",
        "whether any was",
    ),
    "deadline_reached": (
        "whether the deadline ended the run; what was not audited by then is a failure",
        "whether any was",
    ),
    "resumed": (
        "after `--resume`: records `kept` and `left_out` because the input no longer"
        " names them; otherwise `null`",
        "sums",
    ),
    "output": ("the report file", "the merged report"),
    "references.asked": (
        "distinct references, and entries of the input that are none; always `audited"
        " + failed + filtered + to_do`",
        "sum",
    ),
    "references.all_listed": (
        "whether the input and its listings were read to their end; if not, more than"
        " `to_do` is left",
        "whether all were",
    ),
    "references.duplicates": ("repeated references, audited once", "sum"),
    "references.audited": ("records of images", "sum"),
    "references.failed": ("records of failures", "sum"),
    "references.filtered": ("images that are too old for `--since`", "sum"),
    "references.to_do": ("references without a record", "sum"),
    "references.not_asked": ("failures that cost no request", "sum"),
    "failures.*.count": ("failures of this kind", "sum"),
    "failures.*.example": ("the first one: `reference` and `detail`", "of a shard"),
    "content": ("number of records by `content`", "sums"),
    "warnings": ("number of warnings by code", "sums"),
    "architectures": ("number of images by platform", "sums"),
    "media_types": ("number of records by media type", "sums"),
    "lists.repositories": (
        "the catalogs: number of `lists`, their `pages` and `entries`, entries that"
        " were `filtered`, `untagged` manifests, and lists by `state`",
        "a catalog, which every shard reads, counts once",
    ),
    "lists.tags": ("the same of the lists of tags", "sums"),
    "lists.not_shown": ("number of listings that are not in `listings`", "sum"),
    "lists.untagged_unknown": (
        "by registry: number of tag lists for which `--untagged` found no manifests"
        " because the API does not list them",
        "sums",
    ),
    "listings": (
        "listings one by one, with their `selector`, numbers and `state`: `complete`,"
        " `empty`, `suspicious` (it may be truncated), `denied` or `incomplete`. Of"
        " catalogs, and of tag lists, at most 1,000 without a problem and 1,000 with"
        " one; a tag list of a repository pattern only with a problem",
        "all, catalogs once",
    ),
    "locations": (
        "number of records by the registry that was asked instead of the one in the"
        " reference",
        "sums",
    ),
    "registries_conf": ("the files of registries.conf in force", "each once"),
    "requests": ("requests sent, by kind, retries included", "sums"),
    "max_requests": ("the limit of `--max-requests`, or `null`", "sum"),
    "unused_logins[]": (
        "a login that the registry did not ask for: `registry`, and where it is"
        " configured (`login`)",
        "each once",
    ),
    "rate_limits[]": (
        "the rate limit that a `registry` announced last: `remaining` of `limit`"
        " requests in `window_s` seconds, and by what it counts (`counted_by`)",
        "the lowest of each registry",
    ),
    "hosts[].host": ("a host that was sent requests, with its port", ""),
    "hosts[].limit": ("the concurrent requests allowed at the end", "sum, see `runs`"),
    "hosts[].lowest": ("the lowest limit of the run", "sum, see `runs`"),
    "hosts[].highest": ("the highest limit of the run", "sum, see `runs`"),
    "hosts[].least": ("the lower bound of the limit", "sum, see `runs`"),
    "hosts[].most": ("the upper bound of the limit", "sum, see `runs`"),
    "hosts[].runs": (
        "1",
        "number of shards that ran at the same time, of which the sums are",
    ),
    "hosts[].round_trip_min_ms": (
        "the round trip without a queue, in milliseconds; `null` if not known",
        "lowest",
    ),
    "hosts[].round_trip_ms": (
        "the last round trips, in milliseconds; `null` if not known",
        "mean",
    ),
    "hosts[].last_move": (
        "why the limit moved last: a cause of `moves`, or `start` if it did not",
        "of the last shard",
    ),
    "hosts[].moves": (
        "how often the limit moved, by cause: "
        + "; ".join(f"`{move}` ({text})" for move, text in MOVE_TEXT.items()),
        "sums",
    ),
    "hosts[].per_second": (
        "the learned pace at the end, in requests per second, because the host refused"
        " even the least at once; `null` without one",
        "sum, see `runs`",
    ),
    "hosts[].lowest_per_second": (
        "the lowest learned pace, in requests per second; `null` if there was none",
        "sum, see `runs`",
    ),
    "hosts_left_out": ("number of hosts beyond 100", "a lower bound"),
    "repeated": ("retries among `requests`, by reason", "sums"),
    "saved.manifests": ("manifests that were fetched earlier in the run", "sum"),
    "saved.configs": ("image configs that were fetched earlier in the run", "sum"),
    "saved.known_tags": ("unchanged tags: a HEAD was enough", "sum"),
    "saved.known_digests": ("digests in the cache: a HEAD was enough", "sum"),
    "saved.listed_tags": ("unchanged tags, by their listing: no request", "sum"),
    "saved.listed_digests": (
        "manifests without a tag in the cache, by their listing: no request",
        "sum",
    ),
    "saved.immutable_tags": ("immutable tags in the cache: no request", "sum"),
    "saved.stored_manifests": ("children in the cache", "sum"),
    "saved.stored_configs": ("image configs in the cache", "sum"),
    "sboms": (
        "`--sbom`: whether the file was `written`, SBOMs `read`, those of them"
        " `from_cache`, their `packages`, `unreadable` documents, and SBOMs that"
        " `failed` to be fetched; `null` without it",
        "",
    ),
    "blobs": (
        "`--verify-blobs`: blobs `checked`, each once per repository: `there`,"
        " `missing` or `unverified`; `size_differs` counts manifests with a wrong"
        " size",
        "sums",
    ),
    "store.damaged": ("damaged entries of the digest cache; fetched again", "sum"),
    "store.not_stored": ("entries dropped because the disk was too slow", "sum"),
}
