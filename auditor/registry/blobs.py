"""Whether a registry has a blob, without fetching it.

OCI distribution-spec v1.1, "Checking if content exists in the registry": HEAD, with
200 or 404. Registries may answer with a redirect to their storage (distribution with
S3 does); it is followed, without the registry's Authorization, because only the
storage knows whether the content is still there. Some products refuse HEAD, and some
storages refuse HEAD to a URL that was signed for GET: then one byte is asked for.
"""

from __future__ import annotations

from collections.abc import Callable

from auditor.errors import Failure, FailureKind, Stage
from auditor.fast_dataclass import dataclass
from auditor.registry.auth.authorization import Authorizer
from auditor.registry.request import Exchange, RequestKind
from auditor.wire.response import Answer, complete_length, content_length
from auditor.wire.retry_policy import failure_of
from auditor.wire.url_policy import origin_of

_HEAD = {"Accept": "*/*"}
_FIRST_BYTE = {"Accept": "*/*", "Range": "bytes=0-0"}
# HEAD is not allowed, or not known.
_NO_HEAD = frozenset({405, 501})
# What storages say to a URL that was signed for another method.
_NOT_SIGNED_FOR = frozenset({400, 403})
# RFC 9110 section 15.5.17: there, and without a first byte, because it is empty.
_NO_SUCH_RANGE = 416
# One byte is asked for. A registry that sends the whole blob is not listened to.
MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobThere:
    """The blob is there. `size` is its bytes, null where the answer does not say."""

    size: int | None


class Blobs:
    """The blobs of one registry."""

    def __init__(
        self,
        base_url: str,
        *,
        exchange: Exchange,
        pull_auth: Callable[[str], Authorizer],
    ) -> None:
        self._base_url = base_url
        self._exchange = exchange
        self._pull_auth = pull_auth
        self._heads = True  # until the registry itself refuses one

    async def look(self, repository: str, digest: str) -> BlobThere | Failure:
        """Whether the blob is there; `NOT_FOUND` if not. Other failures say nothing."""
        url = f"{self._base_url}/v2/{repository}/blobs/{digest}"
        if self._heads:
            answer = await self._exchange.send(
                RequestKind.BLOB_CHECK,
                "HEAD",
                url,
                headers=_HEAD,
                max_bytes=0,
                authorizer=self._pull_auth(repository),
                wanted=_NO_HEAD | _NOT_SIGNED_FOR,
            )
            if isinstance(answer, Failure):
                return answer.at(Stage.BLOB)
            if answer.status < 300:
                return BlobThere(size=_length(answer))
            elsewhere = origin_of(answer.url) != origin_of(url)
            if answer.status not in _NO_HEAD and not elsewhere:
                return failure_of(answer).at(Stage.BLOB)
            self._heads = elsewhere
        return await self._first_byte(repository, url)

    async def _first_byte(self, repository: str, url: str) -> BlobThere | Failure:
        answer = await self._exchange.send(
            RequestKind.BLOB_CHECK,
            "GET",
            url,
            headers=_FIRST_BYTE,
            max_bytes=MAX_BYTES,
            authorizer=self._pull_auth(repository),
            wanted={_NO_SUCH_RANGE},
        )
        if isinstance(answer, Failure):
            if answer.kind is FailureKind.TOO_LARGE:
                return BlobThere(size=None)  # the whole of it was on its way
            return answer.at(Stage.BLOB)
        if answer.status == 200:
            return BlobThere(size=len(answer.body))
        return BlobThere(size=complete_length(answer.headers.get("Content-Range")))


def _length(answer: Answer) -> int | None:
    """What GET would have sent; what is encoded has another length."""
    if (answer.headers.get("Content-Encoding") or "identity") != "identity":
        return None
    return content_length(answer.headers.get("Content-Length"))
