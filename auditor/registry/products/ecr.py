"""The listings of Amazon ECR by its own API, with boto3.

Sources: Amazon ECR API Reference, DescribeRepositories and DescribeImages: pages of at
most 1,000 entries, `nextToken` until the last one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from auditor.config import RegistrySettings
from auditor.errors import Failure, FailureKind, ProtocolError, Stage
from auditor.oci.descriptor import INDEX_TYPES
from auditor.registry.listing.interface import (
    MAX_PAGES,
    Entry,
    ListedTag,
    Page,
    incomplete,
)
from auditor.registry.request import RequestKind, RequestSender
from auditor.util.clock import Clock
from auditor.util.tasks import ResizableSemaphore
from auditor.wire.cloud_hosts import CloudHost
from auditor.wire.retry_policy import THROTTLED_TRIES, full_jitter

if TYPE_CHECKING:
    from auditor.registry.auth.clouds.aws_identity import AwsIdentity

MAX_PAGE_SIZE = 1000
# Of one attempt; the library has shorter limits for the connection and the response.
_TIMEOUT_S = 30.0


class EcrLister:
    """A `Lister` of one private registry of ECR.

    `identity` gives the AWS identity, when it is first needed. boto3 sends the
    requests; `sender` counts them, and keeps to the settings' pace and quota. Those
    that may succeed later are repeated as requests to registries are.
    """

    def __init__(
        self,
        host: CloudHost,
        *,
        identity: Callable[[], AwsIdentity],
        settings: RegistrySettings,
        sender: RequestSender,
        clock: Clock,
        untagged: bool = False,
    ) -> None:
        self._host = host
        self._identity = identity
        self._sender = sender
        self._clock = clock
        self._tries = settings.tries
        self._page_size = min(settings.page_size, MAX_PAGE_SIZE)
        self._turns = ResizableSemaphore(settings.concurrency.most)
        self._untagged = untagged

    def tags(self, repository: str) -> AsyncIterator[Page[ListedTag] | Failure]:
        """The tags of a repository, with digests, sizes and times.

        With `untagged`, also the manifests without a tag: the children of indexes are
        among them.
        """
        return self._pages(
            f"tags of {repository}",
            "describe_images",
            _tags,
            repositoryName=repository,
            filter={"tagStatus": "ANY" if self._untagged else "TAGGED"},
        )

    def repositories(self, prefix: str | None) -> AsyncIterator[Page[str] | Failure]:
        """All repositories of the registry: the API cannot select by a prefix."""
        del prefix
        return self._pages("repositories", "describe_repositories", _names)

    async def _pages(
        self,
        listing: str,
        operation: str,
        parse: Callable[[dict[str, Any]], Iterable[Entry]],
        **parameters: Any,
    ) -> AsyncIterator[Page[Entry] | Failure]:
        parameters |= {"registryId": self._host.account, "maxResults": self._page_size}
        seen: set[str] = set()
        number = 0
        while True:
            response = await self._response(operation, parameters)
            if isinstance(response, Failure):
                if number:
                    response = incomplete(
                        f"{listing}: failed after {number} pages: {response.detail}"
                    )
                yield response
                return
            number += 1
            token = response.get("nextToken")
            yield Page(
                entries=tuple(parse(response)),
                number=number,
                last=not token,
                has_untagged=self._untagged,
            )
            if not token:
                return
            if token in seen or number >= MAX_PAGES:
                yield incomplete(f"{listing}: the pages repeat without an end")
                return
            seen.add(token)
            parameters["nextToken"] = token

    async def _response(
        self, operation: str, parameters: dict[str, Any]
    ) -> dict[str, Any] | Failure:
        """The response to a request, repeated if it fails and may succeed later."""
        attempt = 0
        while True:
            attempt += 1
            refusal = await self._sender.admit_other(
                RequestKind.LIST, is_retry=attempt > 1
            )
            if refusal is not None:
                return refusal.at(Stage.LIST)
            await self._turns.acquire()
            try:
                response = await self._call(operation, parameters)
            finally:
                self._turns.release()
            if not isinstance(response, Failure):
                return response
            throttled = response.kind is FailureKind.RATE_LIMITED and self._tries > 1
            limit = max(self._tries, THROTTLED_TRIES) if throttled else self._tries
            if not response.kind.retryable or attempt >= limit:
                return replace(response, attempts=attempt)
            random = self._clock.random()
            await self._clock.sleep(full_jitter(attempt, random=random))

    async def _call(
        self, operation: str, parameters: dict[str, Any]
    ) -> dict[str, Any] | Failure:
        from auditor.registry.auth.clouds.machine_token import (  # noqa: PLC0415
            MissingExtraError,
            call_library,
        )

        host = self._host

        def call() -> dict[str, Any] | None:
            identity = self._identity()
            client = identity.client(host)
            if client is None:
                return None
            found: dict[str, Any] = identity.call(
                host, getattr(client, operation), **parameters
            )
            return found

        try:
            response = await call_library(host.cloud, call, timeout_s=_TIMEOUT_S)
        except TimeoutError:
            detail = f"the API of ECR did not answer within {_TIMEOUT_S:g} s"
            return _failure(detail, FailureKind.TIMEOUT)
        except MissingExtraError as error:
            return _failure(f"the API of ECR: {error}")
        except ProtocolError as error:
            return _failure(f"the API of ECR: {error.detail}", error.kind)
        if response is None:
            return _failure(
                "the API of ECR needs an AWS identity, and this machine has none; give"
                " it a role or a profile, or use lister = catalog"
            )
        return response


def _names(response: dict[str, Any]) -> Iterable[str]:
    return [entry["repositoryName"] for entry in response["repositories"]]


def _tags(response: dict[str, Any]) -> Iterable[ListedTag]:
    for image in response["imageDetails"]:
        media_type = image.get("imageManifestMediaType")
        # Of an index it is the size of its largest image.
        size = None if media_type in INDEX_TYPES else image.get("imageSizeInBytes")
        # Without a tag only if these were asked for.
        for tag in image.get("imageTags") or (image["imageDigest"],):
            yield ListedTag(
                tag,
                digest=image.get("imageDigest"),
                media_type=media_type,
                size=size,
                pushed=_utc(image.get("imagePushedAt")),
                pulled=_utc(image.get("lastRecordedPullTime")),
            )


def _utc(time: datetime | None) -> datetime | None:
    return None if time is None else time.astimezone(UTC)


def _failure(detail: str, kind: FailureKind = FailureKind.DENIED) -> Failure:
    return Failure(kind=kind, detail=detail, stage=Stage.LIST)
