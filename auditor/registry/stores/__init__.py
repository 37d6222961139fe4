"""Images on disk: OCI layouts, archives of them, and docker save's archives.

A `StoreRegistry` answers like the `Registry` of a host, so that everything after it is
the same for both: `store_files` reads files of a folder or a tar archive,
`store_contents` finds the names, manifests and blobs in them, `store_registry` makes
responses of these. Nothing is unpacked. Links in a folder are followed, as Bazel writes
layouts; those in an archive only to its members.
"""
