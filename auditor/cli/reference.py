"""A reference given as an argument."""

from __future__ import annotations

from auditor.errors import ProtocolError, UsageError
from auditor.oci.reference import Reference, parse_reference


def reference_argument(text: str) -> Reference:
    """The reference, or a `UsageError` that says what is wrong with it."""
    try:
        return parse_reference(text)
    except ProtocolError as error:
        raise UsageError(error.detail) from None
