"""Tags that stand for another image's digest: `sha256-<hex>`, with or without suffix.

What cosign attaches (`.sig`, `.att`, `.sbom`; cosign, specs/SIGNATURE_SPEC.md), and the
fallback of the OCI distribution-spec, section "Referrers Tag Schema".
"""

from __future__ import annotations

import re

from auditor.oci import reference_grammar as grammar

_DIGEST_TAG = re.compile(
    "(?:"
    + "|".join(f"{a}-[a-f0-9]{{{n}}}" for a, n in grammar.HEX_CHARS.items())
    + r")(?:\.[a-z0-9]+)?"
)


def is_digest_tag(tag: str) -> bool:
    """Whether a tag only says of which digest it holds something."""
    return _DIGEST_TAG.fullmatch(tag) is not None
