"""The audit: from the items of an input to one record each.

Theory of operation. `open_job` (job.py) opens registries, digest cache and report and
makes an `AuditRun` (run.py). The run takes entries from `auditor.input.expand` and
gives them to a `Pool` (pool.py), which has workers for each registry and fetches tokens
ahead of them. A worker calls `ImageAuditor.audit` (image.py) for each reference:

    Resolver                 the reference's manifest: from the cache, by HEAD or GET
    MetadataAssembler        its children and configs, once per digest
    RepositoryDataCollector  attachments and missing blobs, once per repository

Resolver and assembler take manifests and configs by digest from one `ContentCache`
(content_cache.py), which keeps them between runs in the digest cache; both fetch with
`fetch_manifest`. Sizes in bytes are bounded (memory_sizes.py). Pure functions in
image_metadata.py and platform_records.py turn manifests into the parts of a record. The
pool passes the records to the report in input order; what waits for a slow host is in a
file (spill_file.py).

Each step calls the next and returns a value; a `Failure` ends the reference, not the
run. N entries of the input give exactly N records, except for images that `--since`
filters out.
"""
