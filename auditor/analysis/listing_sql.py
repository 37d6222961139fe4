"""SQL about listings that failed, which stand in a report as one failure each.

Such a failure is of all tags that a pattern matches: it has neither tag nor digest, and
its reference is `registry/repository:pattern`. DuckDB's GLOB reads tag patterns as
`fnmatch.fnmatchcase` does.
"""

from __future__ import annotations

# The condition of a failed listing. A pattern that matches no tag ("not found" without
# an HTTP status) is none: its listing succeeded.
FAILED_LISTING = """
    kind = 'failure' AND repository IS NOT NULL AND tag IS NULL AND digest IS NULL
    AND NOT (failure = 'not_found' AND status IS NULL)"""

# The pattern of tags, from the reference of a failed listing.
TAG_PATTERN = "substr(reference, length(registry) + length(repository) + 3)"


def path_glob(repository: str) -> str:
    """A glob that matches at least what the pattern matches: `*` also matches `/`."""
    glob = repository
    for stars in ("/**/", "**/", "**"):
        glob = f"replace({glob}, '{stars}', '*')"
    return f"CASE WHEN regexp_matches({repository}, '[*?[]') THEN {glob} END"
