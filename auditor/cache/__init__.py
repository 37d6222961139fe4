"""The digest cache: manifests and configs kept between runs, in one SQLite file.

Theory of operation. A manifest or config never changes under its digest, so its raw
bytes are fetched once. A tag does change, so the cache keeps its last digest and the
headers of that response: with them a HEAD request is enough to see that the tag still
has the same digest. The cache never decides what a registry has. It records when each
registry last returned a content (a confirmation), and the caller decides how long to
rely on that.

- `DigestCache` (digest_cache.py) is the only object other packages use: contents, tags,
  and notes on hosts with unreliable HEAD responses or digest headers.
- `CacheStorage` (storage.py) reads single rows in the calling thread and gathers
  writes. Entries that are not written yet are answered from memory (`pending`).
- `BatchWriter` (batch.py) writes a batch in one transaction, in a thread, and prunes
  the least recently used contents when the cache is larger than its limit.
- `row_encoding.py` compresses bodies and verifies every row when it is read;
  `database.py` has the schema and opens the file; `maintenance.py` is what
  `auditor cache info|prune|verify` runs.

A read goes DigestCache -> pending entries -> SQLite -> verification. Several processes
can share a file. A cache that is damaged, locked or on a full disk costs a warning and
the time to fetch again, never a wrong record.
"""
