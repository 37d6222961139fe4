"""A registry that fills in a template: any number of tags, without stored content.

Each tag has its own manifest, made for each request, or an index of several. It speaks
just enough HTTP/1.1 for auditor, and takes little CPU, so that a benchmark measures the
client. `python -m bench.template_registry TAGS_PER_REPOSITORY CHILDREN` prints its
port.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from typing import cast
from urllib.parse import parse_qs, urlsplit

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
PAGE = 1000
_LAYERS = ",".join(
    '{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip",'
    f'"digest":"sha256:{hashlib.sha256(b"%d" % number).hexdigest()}","size":{number}}}'
    for number in range(1, 6)
)


def manifest(repository: str, tag: str) -> bytes:
    """The manifest of a tag: five layers that all tags share, and its own config."""
    config = hashlib.sha256(f"{repository}:{tag}".encode()).hexdigest()
    return (
        f'{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":'
        '"application/vnd.oci.image.config.v1+json",'
        f'"digest":"sha256:{config}","size":1234}},"layers":[{_LAYERS}]}}'
    ).encode()


class _Images:
    """Manifests by tag; those in an index are kept until they are requested."""

    def __init__(self, children: int) -> None:
        self._children = children
        self._named: dict[str, bytes] = {}

    def of(self, repository: str, reference: str) -> tuple[bytes, str]:
        """The bytes and the media type."""
        if reference in self._named:
            return self._named.pop(reference), OCI_MANIFEST
        if not self._children:
            return manifest(repository, reference), OCI_MANIFEST
        descriptors = []
        for number in range(self._children):
            child = manifest(repository, f"{reference}-{number}")
            digest = f"sha256:{hashlib.sha256(child).hexdigest()}"
            self._named[digest] = child
            descriptors.append(
                f'{{"mediaType":"{OCI_MANIFEST}","digest":"{digest}",'
                f'"size":{len(child)},"platform":{{"os":"linux",'
                f'"architecture":"arch{number}"}}}}'
            )
        body = (
            f'{{"schemaVersion":2,"mediaType":"{OCI_INDEX}",'
            f'"manifests":[{",".join(descriptors)}]}}'
        )
        return body.encode(), OCI_INDEX


class _Connection(asyncio.Protocol):
    def __init__(self, tags: int, images: _Images) -> None:
        self._tags = tags
        self._images = images
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is its own

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            request, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
            method, target, _ = request.split(b"\r\n", 1)[0].decode().split(" ", 2)
            self._transport.write(self._answer(method, target))

    def _answer(self, method: str, target: str) -> bytes:
        path = urlsplit(target)
        parts = path.path.strip("/").split("/")
        headers = ""
        kind = "application/json"
        if parts[-2:] == ["tags", "list"]:
            body, headers = self._page(path.path, parse_qs(path.query))
        elif len(parts) > 2 and parts[-2] == "manifests":
            body, kind = self._images.of("/".join(parts[1:-2]), parts[-1])
            digest = hashlib.sha256(body).hexdigest()
            headers = f"Docker-Content-Digest: sha256:{digest}\r\n"
        else:
            body = b"{}"
        head = (
            f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(body)}\r\n{headers}\r\n"
        ).encode()
        return head if method == "HEAD" else head + body

    def _page(self, path: str, query: dict[str, list[str]]) -> tuple[bytes, str]:
        start = int(query.get("last", ["-1"])[0]) + 1
        end = min(start + PAGE, self._tags)
        tags = ",".join(f'"{number:07}"' for number in range(start, end))
        link = ""
        if end < self._tags:
            link = f'Link: <{path}?n={PAGE}&last={end - 1:07}>; rel="next"\r\n'
        return f'{{"name":"x","tags":[{tags}]}}'.encode(), link


async def main(tags: int, children: int) -> None:
    loop = asyncio.get_running_loop()
    images = _Images(children)
    server = await loop.create_server(lambda: _Connection(tags, images), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    work = main(int(sys.argv[1]), int(sys.argv[2]))
    try:
        import uvloop
    except ImportError:
        asyncio.run(work)
    else:
        uvloop.run(work)
