"""What the views of a report and their columns mean, each in one line.

`auditor query REPORT` and docs/reference/views.md have them; a test holds them equal to
the views of `analysis.report_views`.
"""

from __future__ import annotations

from auditor.fast_dataclass import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewHelp:
    """A view: what one of its rows is, and the meaning of each column by name."""

    row: str
    columns: dict[str, str]


# Only with several reports.
REPORT_COLUMN = ("report", "the file that the row is from")

_NAME = {
    "reference": "registry, repository, and tag or digest",
    "registry": "the host",
    "repository": "the repository, without its registry",
    "tag": "null for a reference by digest",
}
_IMAGE_DIGEST = {"image_digest": "the manifest that the reference names"}
_CONTENT = {"content": "image, attachment, artifact or unknown"}
_AUDITED = {"audited_at": "when it was audited, UTC"}
_KIND = {"kind": "image or failure"}
_SOURCES = {
    "sources": "structures; see the view; null: not recorded",
    "sources_left_out": "how many are beyond the limit of 20",
    "input_labels": "a map of name to values; see the view",
    "input_labels_left_out": "how many values are beyond the limits",
}
_PLATFORM = {"platform": "such as linux/arm64; null for an artifact"}

VIEW_HELP: dict[str, ViewHelp] = {
    "images": ViewHelp(
        row="a reference that was audited",
        columns={
            "schema": "the schema number of the record",
            "kind": "always image",
            **_NAME,
            "digest": "the manifest that the reference names",
            "media_type": "of that manifest",
            "schema_version": "1 or 2; 1 is the format of old registries",
            "artifact_type": "what an artifact is, such as a Helm chart",
            **_CONTENT,
            "architectures": "its platforms, such as linux/arm64; a list",
            "platforms": "as structures; see the view platforms",
            "platforms_left_out": "how many --platform excluded",
            "attachments": "as structures; see the view attachments",
            "signed": "is a signature attached? null: not looked for",
            "has_sbom": "is an SBOM attached? null: not looked for",
            "has_provenance": "is provenance attached? null: not looked for",
            "size": "compressed bytes of all distinct layers",
            "annotations": "a map of those of the manifest",
            "access": "a structure: what the token grants",
            "location": "what was asked instead, such as a mirror",
            "subject": "the digest that the manifest has as subject",
            "manifest_size": "bytes of that manifest",
            "other_children": "other manifests below an index, structures",
            "bases": "structures; see the view; null: not asked for",
            "bases_left_out": "how many base images are beyond the limit",
            "untagged": "true: listed without a tag (audit --untagged)",
            **_SOURCES,
            "verified_by": "keys of the signature policy; null: not asked",
            "not_verified_by": "keys that verify no signature of it",
            "signatures": "as structures; see the view signatures",
            "signatures_left_out": "how many more signatures it has",
            "warnings": "as structures; see the view warnings",
            "pushed_at": "when the tag was pushed, by its listing, UTC",
            "pulled_at": "when it was last pulled, by its listing, UTC",
            **_AUDITED,
            "end_of_life": "the last day of support, by an attachment",
            "created": "when its youngest platform was built, UTC",
        },
    ),
    "platforms": ViewHelp(
        row="a platform of an image",
        columns={
            **_NAME,
            **_IMAGE_DIGEST,
            **_CONTENT,
            **_PLATFORM,
            "os": "as the registry gave it",
            "architecture": "as the registry gave it",
            "variant": "as the registry gave it, such as v7",
            "os_version": "the build of Windows",
            "digest": "the platform's manifest",
            "media_type": "of that manifest",
            "config_digest": "its image config",
            "created": "when it was built, UTC; null if unknown",
            "user": "the user it runs as; null: root, or unknown",
            "history": "number of build steps",
            "labels": "a map of the labels selected with audit --label",
            "base_name": "the image it was built on",
            "base_digest": "the digest of that image",
            "size": "compressed bytes of its distinct layers",
            "manifest_size": "bytes of that manifest",
            "config_size": "bytes of its image config",
            "layer_count": "number of layers",
            "layers": "as structures, base first; see the view layers",
            "layer_traits": "such as zstd or encrypted",
            "alternatives": "the same platform in other compressions, structures",
            **_AUDITED,
        },
    ),
    "layers": ViewHelp(
        row="a layer of a platform",
        columns={
            **_NAME,
            **_IMAGE_DIGEST,
            **_CONTENT,
            **_PLATFORM,
            "platform_digest": "the manifest that lists the layer",
            "position": "0 is the base",
            "digest": "the layer's blob",
            "size": "compressed bytes; null for schema 1",
            "media_type": "of the layer",
            **_AUDITED,
        },
    ),
    "attachments": ViewHelp(
        row="a manifest about an image: signature, SBOM, attestation",
        columns={
            **_NAME,
            **_IMAGE_DIGEST,
            "kind": "signature, sbom, attestation or artifact",
            "artifact_type": "its type",
            "digest": "the attachment's manifest",
            "subject": "the digest of what it is about",
            "predicates": "types of its in-toto statements, a list",
            "size": "bytes of its manifest",
            "blobs": "config and layers, structures; null: not read",
            "attachment_tag": "the tag that names or lists it, such as cosign's",
            "in_index": "does the index of the image list it?",
            "annotations": "a map of those of its manifest, bounded",
            "annotations_left_out": "how many are too many or too long",
            **_AUDITED,
        },
    ),
    "bases": ViewHelp(
        row="a base image that an image names (audit --check-bases)",
        columns={
            **_NAME,
            **_IMAGE_DIGEST,
            "name": "the base as its builder named it",
            "base_reference": "what was asked, in full; null if nothing was",
            "digest": "of the base when the image was built",
            "current_digest": "what the name points at now",
            "is_stale": "would a rebuild change it? null: not known",
            "platforms": "the platforms that this is about, a list",
            "detail": "why it is not known",
            **_AUDITED,
        },
    ),
    "signatures": ViewHelp(
        row="a signature of an image, audited with --verify-signatures",
        columns={
            **_NAME,
            **_IMAGE_DIGEST,
            "format": "cosign, bundle, notation or other",
            "state": "verified, invalid, untrusted, unverifiable or unknown",
            "keys": "names of the keys that verify it, a list",
            "reason": "why it is not verified",
            "identity": "who or what it says that it is from or for",
            "signed_at": "when, as its signer says, UTC",
            "digest": "the manifest that contains it",
            **_AUDITED,
        },
    ),
    "warnings": ViewHelp(
        row="a problem that did not prevent the record",
        columns={
            **_NAME,
            **_IMAGE_DIGEST,
            "code": "auditor explain CODE says what to do",
            "detail": "the sentence for people",
            **_AUDITED,
        },
    ),
    "untagged": ViewHelp(
        row="a manifest without a tag (audit --untagged)",
        columns={
            "reference": "registry, repository and digest",
            "registry": "the host",
            "repository": "the repository, without its registry",
            "digest": "of the manifest",
            "media_type": "of the manifest",
            **_CONTENT,
            "size": "compressed bytes of all distinct layers",
            "unused": "true: no tag needs it; null: unknown",
            "needed_as": "child, attachment or tag: of needed_by",
            "needed_by": "a reference that needs it, one with a tag first",
            "pushed_at": "when it was pushed, by its listing, UTC",
            "pulled_at": "when it was last pulled, by its listing, UTC",
            **_AUDITED,
        },
    ),
    "failures": ViewHelp(
        row="a reference that could not be audited",
        columns={
            "schema": "the schema number of the record",
            "kind": "always failure",
            "reference": "as canonical text, or the invalid text",
            "registry": "the host; null if the text is no reference",
            "repository": "the repository, without its registry",
            "tag": "null for a reference by digest",
            "digest": "of a reference by digest",
            "stage": "input, list, token, manifest, config or blob",
            "failure": "auditor explain FAILURE says what to do",
            "status": "the HTTP status, if there was a response",
            "detail": "the sentence for people",
            "attempts": "requests sent; 0: none",
            **_SOURCES,
            **_AUDITED,
        },
    ),
    "sources": ViewHelp(
        row="a use of a reference in the input",
        columns={
            **_NAME,
            **_KIND,
            "list": "the list, cluster, or null for an argument",
            "place": "the line or the object",
            "namespace": "of Kubernetes, or the compose project",
            "workload": "such as Deployment/web; service/NAME, stage/NAME",
            "container": "the container or volume",
            "input_labels": "a map of name to values, of all uses",
            **_AUDITED,
        },
    ),
    "input_labels": ViewHelp(
        row="a value of another column or key of the input",
        columns={
            **_NAME,
            **_KIND,
            "name": "the column or key, such as team",
            "value": "one of its values for this reference",
            **_AUDITED,
        },
    ),
}

_SBOM_PLATFORM = {"platform": "that the SBOM is about; null for all of the image"}
_SBOM_DIGEST = {"sbom_digest": "the document in that attachment"}

# With SBOM files only (`auditor query --sbom`).
SBOM_VIEW_HELP: dict[str, ViewHelp] = {
    "sboms": ViewHelp(
        row="an SBOM of an image",
        columns={
            **_NAME,
            **_IMAGE_DIGEST,
            **_SBOM_PLATFORM,
            "attachment": "the manifest of the attachment",
            "subject": "the digest of what that is about",
            **_SBOM_DIGEST,
            "format": "spdx, cyclonedx or syft; null if not read",
            "format_version": "such as 2.3",
            "package_count": "number of its packages",
            "packages_left_out": "how many more there are than are kept",
            "failure": "why it was not read; null if it was",
            "detail": "the sentence for people about that",
            "warnings": "a list of sentences",
            "subjects": "a list of the digests in its in-toto statement",
            "about_image": "false: about another image; null: not read",
            **_AUDITED,
        },
    ),
    "packages": ViewHelp(
        row="a package in an SBOM of an image",
        columns={
            **_NAME,
            **_IMAGE_DIGEST,
            **_SBOM_PLATFORM,
            "name": "the package, with its owner or group",
            "version": "as the SBOM has it",
            "type": "deb, rpm, apk, npm, pypi, ...; null without purl",
            "purl": "the package URL",
            "license": "an SPDX expression, or a name",
            "source": "the source package of a binary one",
            "source_version": "its version if the SBOM has it",
            "attachment": "the manifest of the attachment",
            **_SBOM_DIGEST,
            **_AUDITED,
        },
    ),
}
