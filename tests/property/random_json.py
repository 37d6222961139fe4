"""Strategies for random JSON that resembles manifests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import strategies as st

from auditor.errors import ProtocolError
from tests.manifests import (
    DOCKER_CONFIG,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    SCHEMA1,
    SIGNED_SCHEMA1,
)

Value = TypeVar("Value")
KEYS = st.sampled_from(
    [
        "schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests",
        "digest", "size", "platform", "os", "architecture", "variant", "os.version",
        "annotations", "subject", "urls", "fsLayers", "history", "signatures",
        "blobSum", "v1Compatibility", "name", "tag", "created", "author", "Labels",
        "ExposedPorts", "Cmd", "Entrypoint", "User", "protected", "header",
        "vnd.docker.reference.type", "vnd.docker.reference.digest", "Layers", "OS",
    ]
)  # fmt: skip
TYPES = st.sampled_from(
    [
        OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST, SCHEMA1, SIGNED_SCHEMA1,
        OCI_CONFIG, DOCKER_CONFIG, "text/html", "application/json", "",
    ]
)  # fmt: skip
DIGESTS = st.sampled_from("0123456789abcdef").map(lambda digit: "sha256:" + digit * 64)
SCALARS = (
    st.none()
    | st.booleans()
    | st.sampled_from([0, 1, 2, -1, 2**63 - 1, 2**63, 2**64 - 1])
    | st.floats(allow_nan=False, allow_infinity=False)
    | TYPES
    | DIGESTS
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            KEYS | st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
            inner,
            max_size=6,
        )
    ),
    max_leaves=25,
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=8)


def damaged(value: Any) -> st.SearchStrategy[Any]:
    """The document with some values, at any depth, replaced by random ones."""
    inner: st.SearchStrategy[Any]
    if isinstance(value, dict):
        inner = st.fixed_dictionaries(
            {key: damaged(member) for key, member in value.items()}
        )
    elif isinstance(value, list):
        inner = st.tuples(*[damaged(member) for member in value]).map(list)
    else:
        inner = st.just(value)
    # One value in eight is replaced, so that most of the document stays valid.
    return st.integers(0, 7).flatmap(lambda dice: inner if dice else VALUES)


def outcome(read: Callable[[], Value]) -> Value | ProtocolError:
    """The result of `read`, or its `ProtocolError`, whose detail is printable."""
    try:
        return read()
    except ProtocolError as error:
        raised = error
    assert raised.detail.isprintable()
    return raised
