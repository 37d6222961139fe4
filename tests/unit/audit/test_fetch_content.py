"""A blob of an attachment is what its descriptor says, or a failure."""

from __future__ import annotations

from typing import cast

import pytest

from auditor.audit.fetch_content import fetch_attached_blob
from auditor.errors import Failure, FailureKind
from auditor.oci.descriptor import Descriptor, parse_descriptors, sha256_digest
from auditor.registry.client import Registry

pytestmark = pytest.mark.anyio

CONTENT = b"twelve bytes"


class OneBlob:
    """A registry with one blob, which reads no more than it is asked to."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    async def get_blob(
        self, _repository: str, _digest: str, *, max_bytes: int, **_: object
    ) -> bytes | Failure:
        self.asked.append(max_bytes)
        if len(CONTENT) > max_bytes:
            return Failure(kind=FailureKind.TOO_LARGE, detail="too large")
        return CONTENT


def described(size: int, digest: str | None = None) -> Descriptor:
    value = {
        "mediaType": "text/plain",
        "size": size,
        "digest": digest or sha256_digest(CONTENT),
    }
    return parse_descriptors([value], "layers")[0]


@pytest.mark.parametrize(
    ("blob", "kind", "asked"),
    [
        (described(12), None, [12]),
        (described(11), FailureKind.TOO_LARGE, [11]),
        (described(13), FailureKind.DIGEST_MISMATCH, [13]),
        # Not a limit of 0, which would be none.
        (described(0), FailureKind.TOO_LARGE, [1]),
        (described(101), FailureKind.TOO_LARGE, []),
        (described(12, "blake3:" + "a" * 64), FailureKind.UNSUPPORTED_MEDIA_TYPE, []),
    ],
)
async def test_size_and_digest_are_those_of_the_descriptor(
    blob: Descriptor, kind: FailureKind | None, asked: list[int]
) -> None:
    registry = OneBlob()
    found = await fetch_attached_blob(
        cast("Registry", registry), "team/app", blob, max_bytes=100
    )
    assert registry.asked == asked
    if kind is None:
        assert found == CONTENT
    else:
        assert isinstance(found, Failure)
        assert found.kind is kind
