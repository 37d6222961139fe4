"""The name under which a registry is known: that of `Reference.registry`."""

from __future__ import annotations

from auditor.errors import FailureKind, ProtocolError
from auditor.oci.reference import parse_reference
from auditor.util.text import safe_text


def registry_name(host: str) -> str:
    """Canonical form of `host[:port]`: `index.docker.io` is `docker.io`.

    `ProtocolError(INVALID_REFERENCE)` says why it is no registry. As in references
    (github.com/distribution/reference), a host has a dot or a port, or is
    `localhost`: anything else is the first part of a repository's name.
    """
    if "/" in host:
        raise _invalid(host, "a registry is named by its host or host:port alone")
    try:
        found = parse_reference(f"{host}/a")
    except ProtocolError:
        raise _invalid(host, "it is not a host or host:port") from None
    if found.repository not in ("a", "library/a"):
        raise _invalid(host, "it has neither a dot nor a port")
    return found.registry


def _invalid(host: str, why: str) -> ProtocolError:
    return ProtocolError(
        f'"{safe_text(host, 80)}" is not the name of a registry: {why}',
        FailureKind.INVALID_REFERENCE,
    )


def namespace_name(text: str) -> str:
    """Canonical form of `host[:port]/namespace`, a part of a registry.

    The namespace may be a whole repository's name. `ProtocolError(INVALID_REFERENCE)`
    says why it is none.
    """
    host, _, namespace = text.partition("/")
    registry = registry_name(host)
    try:
        # As the beginning of a longer name: "docker.io/team" alone is a repository of
        # "library".
        found = parse_reference(f"{host}/{namespace}/a")
    except ProtocolError:
        found = None
    if found is None or found.repository != f"{namespace}/a":
        raise ProtocolError(
            f'"{safe_text(text, 80)}" is not a part of a registry: after the host'
            " stands the beginning of a repository's name",
            FailureKind.INVALID_REFERENCE,
        )
    return f"{registry}/{namespace}"
