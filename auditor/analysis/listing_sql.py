"""SQL about listings that failed, which stand in a report as one failure each.

Such a failure is of all tags that a pattern matches: it has neither tag nor digest, and
its reference is `registry/repository:pattern`. DuckDB's GLOB reads tag patterns as
`fnmatch.fnmatchcase` does.
"""

from __future__ import annotations

from auditor.errors import FailureKind

# The kinds of failures of what a registry does not have.
NOT_THERE = f"'{FailureKind.VANISHED}', '{FailureKind.NOT_FOUND}'"

# The condition of a pattern that matches no tag: its listing succeeded.
MATCHES_NOTHING = f"""
    (failure = '{FailureKind.NOT_FOUND}' AND status IS NULL AND tag IS NULL
     AND digest IS NULL)"""

# The condition of a failed listing.
FAILED_LISTING = f"""
    kind = 'failure' AND repository IS NOT NULL AND tag IS NULL AND digest IS NULL
    AND NOT {MATCHES_NOTHING}"""

# The pattern of tags, from the reference of a failed listing.
TAG_PATTERN = "substr(reference, length(registry) + length(repository) + 3)"


def path_glob(repository: str) -> str:
    """A glob that matches at least what the pattern matches: `*` also matches `/`."""
    glob = repository
    for stars in ("/**/", "**/", "**"):
        glob = f"replace({glob}, '{stars}', '*')"
    return f"CASE WHEN regexp_matches({repository}, '[*?[]') THEN {glob} END"
