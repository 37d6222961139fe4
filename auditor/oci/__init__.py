"""OCI and Docker documents as values: pure parsing, no I/O.

`reference` parses what the user names: one image, or a pattern for many
(`reference_grammar` has the regular expressions, and explains mistakes).

A manifest response goes through `manifest.verify_manifest`: the digest is checked,
`strict_json` refuses ambiguous documents, and the result is an `ImageIndex` or
`ImageManifest` of `Descriptor`s, or a `Schema1Manifest`. `descriptor`
also has the digests, the media types and the Accept header. `image_config` parses the
config that an `ImageManifest` points to, `platform` compares and writes platforms, and
`attachments` classifies signatures, SBOMs and attestations. `content_kind` tells images
from attachments and other artifacts.

`cosign_signature` and `notation_signature` verify signatures of images with the keys of
`signing_keys` into a `SignatureVerdict`; `sbom` reads the packages of an SBOM, and
`tag_order` says which tag is newer. What checks signatures, also `jws`, imports
cryptography, which is slow, and so is imported only when there is something to check.

Invalid documents raise `ProtocolError`; nothing here knows the network or the report,
except that manifests produce `Warn`s and attachments are `model.Attachment`s.
"""
