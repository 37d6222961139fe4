"""What refers to a manifest (OCI distribution-spec v1.1, "Listing Referrers").

No filter is sent, since everything is recorded; so `OCI-Filters-Applied` says nothing
to us. A registry with the API never answers 404 to this request ("Backwards
Compatibility"). Those without it answer 404, other client errors, a web page, or
redirect to one (GHCR): none of these is a list.
"""

from __future__ import annotations

from collections.abc import Callable

from auditor.errors import Failure, FailureKind, ProtocolError
from auditor.oci import descriptor
from auditor.oci.descriptor import Descriptor
from auditor.oci.manifest import Index, parse_manifest
from auditor.registry.auth.authorization import Authorizer
from auditor.registry.request import Exchange, RequestKind
from auditor.wire.response import Answer, next_page

# A registry that keeps this many things about one image is not asked for the rest.
MAX_REFERRERS = 10_000
MAX_PAGES = 100
_HEADERS = {"Accept": descriptor.OCI_INDEX}
_NO_API = frozenset({400, 404, 405, 406, 410, 501})
# Of these, what may be said of one request: of a digest by another algorithm, say.
_NOT_FOR_THIS_ONE = frozenset({400, 406})


class Referrers:
    """The referrers of one registry. Remembers who has the API at all.

    That is asked of each namespace: behind one host there may be several registries,
    told apart by the beginning of the path, or repositories of several kinds.
    """

    def __init__(
        self,
        base_url: str,
        *,
        max_bytes: int,
        exchange: Exchange,
        pull_auth: Callable[[str], Authorizer],
    ) -> None:
        self._base_url = base_url
        self._max_bytes = max_bytes
        self._exchange = exchange
        self._pull_auth = pull_auth
        self._there: dict[str, bool] = {}  # by namespace

    async def of(
        self, repository: str, digest: str
    ) -> tuple[Descriptor, ...] | Failure | None:
        """What refers to a digest, in the registry's order; null without the API."""
        namespace = repository.partition("/")[0]
        if self._there.get(namespace) is False:
            return None
        url: str | None = f"{self._base_url}/v2/{repository}/referrers/{digest}"
        found: list[Descriptor] = []
        seen: set[str] = set()
        while url is not None:
            seen.add(url)
            answer = await self._exchange.send(
                RequestKind.REFERRERS,
                "GET",
                url,
                headers=_HEADERS,
                max_bytes=self._max_bytes,
                authorizer=self._pull_auth(repository),
                redirects=False,
                wanted=_NO_API if len(seen) == 1 else (),
            )
            if len(seen) == 1 and _is_no_api(answer):
                # What once answered has the API: this is about the one repository.
                if not _is_about_this_one(answer):
                    self._there.setdefault(namespace, False)
                return None
            if isinstance(answer, Failure):
                return answer
            self._there[namespace] = True
            try:
                found += _children(answer)
                url = next_page(answer.headers.getall("Link", ()), answer.url)
            except ProtocolError as error:
                return Failure(kind=error.kind, detail=error.detail)
            too_many = len(found) > MAX_REFERRERS or len(seen) >= MAX_PAGES
            if url is not None and (too_many or url in seen):
                return Failure(
                    kind=FailureKind.INCOMPLETE_LISTING,
                    detail=f"the referrers of {digest} do not end"
                    f" (page {len(seen)}, {len(found)} so far)",
                )
        return tuple(found)


def _children(answer: Answer) -> tuple[Descriptor, ...]:
    manifest = parse_manifest(answer.body, answer.content_type)
    if not isinstance(manifest, Index):
        raise ProtocolError("the list of referrers is not an index")
    return manifest.children


def _is_no_api(answer: Answer | Failure) -> bool:
    if isinstance(answer, Failure):
        return answer.kind is FailureKind.REDIRECT_REFUSED
    # Web applications answer 200 to any path.
    said = descriptor.essence(answer.content_type)
    return answer.status in _NO_API or said != descriptor.OCI_INDEX


def _is_about_this_one(answer: Answer | Failure) -> bool:
    return not isinstance(answer, Failure) and answer.status in _NOT_FOR_THIS_ONE
