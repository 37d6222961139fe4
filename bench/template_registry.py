"""A registry that answers from a template: as many tags as one likes, and no content.

Each tag names an image manifest of its own, made when it is asked for. It speaks just
enough HTTP/1.1 to be asked by auditor, and costs little, so that what is measured is
the other side: `python -m bench.template_registry TAGS_PER_REPOSITORY` prints its port.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from typing import cast
from urllib.parse import parse_qs, urlsplit

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
PAGE = 1000
_LAYERS = ",".join(
    '{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip",'
    f'"digest":"sha256:{hashlib.sha256(b"%d" % number).hexdigest()}","size":{number}}}'
    for number in range(1, 6)
)


def manifest(repository: str, tag: str) -> bytes:
    """The manifest of a tag: five layers that all share, a config of its own."""
    config = hashlib.sha256(f"{repository}:{tag}".encode()).hexdigest()
    return (
        f'{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":'
        '"application/vnd.oci.image.config.v1+json",'
        f'"digest":"sha256:{config}","size":1234}},"layers":[{_LAYERS}]}}'
    ).encode()


class _Connection(asyncio.Protocol):
    def __init__(self, tags: int) -> None:
        self._tags = tags
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
            body = manifest("/".join(parts[1:-2]), parts[-1])
            kind = OCI_MANIFEST
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


async def main(tags: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(tags), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        asyncio.run(main(int(sys.argv[1])))
    else:
        uvloop.run(main(int(sys.argv[1])))
