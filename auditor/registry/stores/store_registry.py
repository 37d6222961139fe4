"""A store on disk that answers like a registry.

There is one `StoreRegistry` for each folder or archive, because content that one store
has is not in another. It sends no request, needs no login and is not cached: files can
change at any time, and reading them is cheap.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import anyio
from multidict import CIMultiDict

from auditor.config import RegistrySettings
from auditor.errors import Failure, FailureKind, Stage
from auditor.model import Access, AccessState
from auditor.oci.descriptor import Descriptor, is_digest, matches_digest
from auditor.oci.reference import StoreKind
from auditor.registry.auth.authorization import Authorization
from auditor.registry.client import BlobStat, Registry
from auditor.registry.listing.interface import ListedTag, Page
from auditor.registry.stores.store_contents import (
    Contents,
    DockerArchiveContents,
    LayoutContents,
    NamedManifest,
)
from auditor.registry.stores.store_files import (
    ArchiveFiles,
    FolderFiles,
    StoreError,
)
from auditor.util.tasks import call_in_thread
from auditor.util.text import safe_text
from auditor.wire.response import Response

_ANONYMOUS = Authorization(header=None, access=Access(state=AccessState.ANONYMOUS))
# Names of a store that a message lists.
_NAMES_SHOWN = 5


class StoreRegistry(Registry):
    """The registry of one store: `name` is `oci:PATH`, and it has one repository."""

    def __init__(
        self, name: str, kind: StoreKind, path: str, settings: RegistrySettings
    ) -> None:
        # Not that of `Registry`: there is no host to connect to.
        self.name = name
        self.settings = settings
        self._kind = kind
        self._path = path
        self._lock = anyio.Lock()
        self._contents: Contents | Failure | None = None
        self.pull_auth = lambda _: _NoAuth()  # type: ignore[assignment]
        self.blobs = _StoreBlobs(self)  # type: ignore[assignment]
        self.referrers = _StoreReferrers(self)  # type: ignore[assignment]
        self.list_tags = self.list_every_tag = self._list_names

    async def contents(self) -> Contents | Failure:
        """The content of the store, read once; the failure if it cannot be read."""
        async with self._lock:
            if self._contents is None:
                # An archive with gzip is read to its end: the program can end earlier.
                self._contents = await call_in_thread(self._open)
        return self._contents

    def _open(self) -> Contents | Failure:
        max_bytes = self.settings.max_manifest_bytes
        path, where = Path(self._path), safe_text(self._path, 200)
        try:
            if self._kind is StoreKind.OCI:
                return LayoutContents(FolderFiles(path), where, max_bytes)
            files = ArchiveFiles(path, max_bytes)
            if self._kind is StoreKind.OCI_ARCHIVE:
                return LayoutContents(files, where, max_bytes)
            return DockerArchiveContents(files, where, max_bytes)
        except StoreError as error:
            return error.failure

    async def read(
        self, digest: str, *, max_bytes: int | None = None
    ) -> bytes | Failure:
        """The bytes of a manifest, config or SBOM, not verified."""
        contents = await self.contents()
        if isinstance(contents, Failure):
            return contents
        try:
            data = contents.read(digest, max_bytes or self.settings.max_manifest_bytes)
        except StoreError as error:
            return error.failure
        return self._missing(digest) if data is None else data

    def _missing(self, what: str) -> Failure:
        detail = f"{safe_text(self.name, 200)} does not have {safe_text(what, 200)}"
        return Failure(kind=FailureKind.NOT_FOUND, detail=detail)

    def get_manifest(
        self,
        _repository: str,
        reference: str,
        *,
        new_connection: bool = False,  # noqa: ARG002
    ) -> Awaitable[Response | Failure]:
        """The manifest of a name or a digest; of "", the only one."""
        return self._get_manifest(reference)

    async def _get_manifest(self, reference: str) -> Response | Failure:
        contents = await self.contents()
        if isinstance(contents, Failure):
            return contents
        media_type, digest = None, reference
        if not is_digest(reference):
            found = self._choose(contents, reference)
            if isinstance(found, Failure):
                return found
            media_type, digest = found.media_type, found.digest
        body = await self.read(digest)
        if isinstance(body, Failure):
            return body
        if (
            digest != reference
            and is_digest(digest)
            and not matches_digest(body, digest)
        ):
            return Failure(
                kind=FailureKind.DIGEST_MISMATCH,
                detail=f"the content of {digest} has another digest",
            )
        headers: CIMultiDict[str] = CIMultiDict({"Docker-Content-Digest": digest})
        if media_type is not None:
            headers["Content-Type"] = media_type
        return Response(status=200, headers=headers, body=body, url=self.name)

    def _choose(self, contents: Contents, name: str) -> NamedManifest | Failure:
        found = contents.named(name) if name else list(contents.listed)
        digests = {one.digest for one in found}
        if len(digests) == 1:
            return found[0]
        store = safe_text(self.name, 200)
        if name and found:
            detail = f"{store} has {len(digests)} images of this name; use its digest"
        elif name:
            return self._missing(f"an image {name}; {_names_text(contents)}")
        elif not found:
            return self._missing("any image")
        else:
            detail = (
                f"{store} has {len(digests)} images; add the name of one, or :* for all"
                f" of them; {_names_text(contents)}"
            )
        return Failure(kind=FailureKind.INVALID_REFERENCE, detail=detail)

    async def get_blob(
        self,
        _repository: str,
        digest: str,
        *,
        max_bytes: int | None = None,
        stage: Stage = Stage.CONFIG,
    ) -> bytes | Failure:
        """The verified bytes of a config, an SBOM or a signature."""
        data = await self.read(digest, max_bytes=max_bytes)
        if isinstance(data, Failure):
            return data.at(stage)
        if not matches_digest(data, digest):
            return Failure(
                kind=FailureKind.DIGEST_MISMATCH,
                detail=f"the content of {digest} has another digest",
                stage=stage,
            )
        return data

    async def _list_names(
        self,
        repository: str,  # noqa: ARG002
    ) -> AsyncIterator[Page[ListedTag] | Failure]:
        """One page with every name, and the digests of images without a name."""
        contents = await self.contents()
        if isinstance(contents, Failure):
            yield contents.at(Stage.LIST)
            return
        tags: dict[str, ListedTag] = {}
        attached: frozenset[str] = frozenset()
        if any(one.name is None for one in contents.listed):
            # Reads every manifest.
            attached = await call_in_thread(lambda: _attached(contents))
        for one in contents.listed:
            if one.name is not None or one.digest not in attached:
                name = one.name or one.digest
                tags.setdefault(name, ListedTag(name, media_type=one.media_type))
        yield Page(entries=tuple(tags.values()), number=1, last=True, end_verified=True)


def _attached(contents: Contents) -> frozenset[str]:
    """The digests that are attachments of an image of the store."""
    return frozenset(
        one.digest
        for image in contents.listed
        for one in contents.referrers(image.digest)
    )


def _names_text(contents: Contents) -> str:
    names = [safe_text(one.name, 100) for one in contents.listed if one.name]
    if not names:
        return "it has no names"
    more = len(names) - _NAMES_SHOWN
    shown = ", ".join(names[:_NAMES_SHOWN])
    return f"it has {shown}" + (f" and {more} more" if more > 0 else "")


class _NoAuth:
    """The authorization of a store: none is needed."""

    def needs_fetch(self) -> bool:
        return False

    def cached(self) -> Authorization:
        return _ANONYMOUS

    async def authorization(self) -> Authorization:
        return _ANONYMOUS


class _StoreBlobs:
    """Checks which blobs a store has; see `Blobs`."""

    def __init__(self, registry: StoreRegistry) -> None:
        self._registry = registry

    async def stat(self, _repository: str, digest: str) -> BlobStat | Failure:
        contents = await self._registry.contents()
        if isinstance(contents, Failure):
            return contents.at(Stage.BLOB)
        try:
            size = contents.size(digest)
        except StoreError as error:
            return error.failure.at(Stage.BLOB)
        if size is None:
            detail = f"{safe_text(self._registry.name, 200)} does not have {digest}"
            return Failure(kind=FailureKind.NOT_FOUND, detail=detail, stage=Stage.BLOB)
        return BlobStat(size=size)


class _StoreReferrers:
    """The referrers in a store; see `Referrers`. None: only fallback tags may exist."""

    def __init__(self, registry: StoreRegistry) -> None:
        self._registry = registry

    async def list(
        self, _repository: str, digest: str
    ) -> tuple[Descriptor, ...] | Failure | None:
        contents = await self._registry.contents()
        if isinstance(contents, Failure):
            return contents
        return contents.referrers(digest) or None
