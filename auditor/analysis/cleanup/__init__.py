"""Rehearsal of a clean-up: what deletions would free, leave and break. Deletes nothing.

`inventory.py` loads reports into tables: the manifests of each repository, which of
them need others, and the blobs of each. `selection.py` marks what would be deleted:
patterns, references, a query, or what rules (`keep_rules.py`) do not keep.
`rehearsal.py` finds the manifests that live before and after the deletions; their
difference is what a garbage collection frees. `plan.py` and `protection.py` read the
results, `plan_text.py` prints them.

All of it is SQL in DuckDB, so that a report of millions of lines needs no more memory
than a small one.
"""
