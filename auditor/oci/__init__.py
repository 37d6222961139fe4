"""OCI and Docker documents as values: pure parsing, no I/O.

`reference` parses what the user names: one image, or a pattern for many
(`reference_grammar` has the regular expressions, `reference_errors` the explanations).

A manifest response goes through `manifest.verify_manifest`: the digest is checked
(`digest`), `encoding` parses JSON and refuses ambiguous documents, and the result is an
`ImageIndex` or `ImageManifest` of `descriptor.Descriptor`s, or a `Schema1Manifest`.
`image_config` parses the config that an `ImageManifest` points to, `platform` compares
and writes platforms, and `attachments` classifies signatures, SBOMs and attestations.
`media_types` has the types and the Accept header.

`schema1_signature` and `jws` check signatures. They import cryptography, which is slow,
and so are imported only when there is something to check.

Invalid documents raise `ProtocolError`; nothing here knows the network or the report,
except that manifests produce `Warn`s and attachments are `model.Attachment`s.
"""
