"""The memory of an audit of a registry that sends the largest documents it may.

`python -m bench.large_documents` audits six registries (in another process each) and
prints the peak resident set and the longest line of the report:

- index: an index of 21 KB names one manifest of 4 MB under 100 platforms.
- manifests: 300 tags, each with a manifest of 3.6 MB of its own.
- recorded: the same with 1.9 MB, as much as a record can have.
- tags: a tag list of 125 KB that gunzips to 128 MB; values: one of the largest size.
- names: a million tags of 40 characters in one response, of which none is selected.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
CONFIG = "application/vnd.oci.image.config.v1+json"
TAGS = 300

# The body and the media type (or encoding) of a path below /v2/r/.
Document = tuple[bytes, str]


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _manifest(seed: int, size: int) -> bytes:
    """A manifest of this many bytes, with as many layers as fit."""

    def layers() -> Iterator[str]:
        for number in range(size // 152):
            name = hashlib.sha256(b"%d/%d" % (seed, number)).hexdigest()
            yield (
                f'{{"mediaType":"{LAYER}","digest":"sha256:{name}","size":{number}}}'
            )

    config = f'{{"mediaType":"{CONFIG}","digest":"{_digest(b"{}")}","size":2}}'
    return (
        f'{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{config},'
        f'"layers":[{",".join(layers())}]}}'
    ).encode()


def index_of_one_manifest() -> Callable[[str], Document | None]:
    child = _manifest(0, 4_000_000)
    children = ",".join(
        f'{{"mediaType":"{OCI_MANIFEST}","digest":"{_digest(child)}",'
        f'"size":{len(child)},"platform":{{"os":"linux","architecture":"a{number}"}}}}'
        for number in range(100)
    )
    root = f'{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{children}]}}'
    documents = {
        "manifests/1": (root.encode(), OCI_INDEX),
        f"manifests/{_digest(child)}": (child, OCI_MANIFEST),
    }
    return documents.get


def large_manifests(size: int) -> Callable[[str], Document | None]:
    def document(path: str) -> Document | None:
        tag = path.removeprefix("manifests/")
        return (_manifest(int(tag), size), OCI_MANIFEST) if tag.isdigit() else None

    return document


def large_tag_list(name: str, count: int) -> Callable[[str], Document | None]:
    names = b"".join(f'"{name % number}",'.encode() for number in range(count))
    body = b'{"name":"r","tags":[' + names + b'"b"]}'
    return {"tags/list": (gzip.compress(body, 9), "gzip")}.get


KINDS: dict[str, tuple[Callable[[], Callable[[str], Document | None]], list[str]]] = {
    "index": (index_of_one_manifest, ["1"]),
    "manifests": (lambda: large_manifests(3_600_000), list(map(str, range(TAGS)))),
    "recorded": (lambda: large_manifests(1_900_000), list(map(str, range(TAGS)))),
    "tags": (lambda: large_tag_list("a%.0s", 32_000_000), ["*"]),
    "values": (lambda: large_tag_list("a%.0s", 12_000_000), ["*"]),
    "names": (lambda: large_tag_list("%040d", 1_000_000), ["none*"]),
}


def serve(kind: str) -> None:
    """Serve one of the kinds on a free port, which is printed."""
    document_of = KINDS[kind][0]()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = urlsplit(self.path).path.removeprefix("/v2/r/")
            found = (b"{}", "application/json") if path == "/v2/" else document_of(path)
            body, kind = found or (b"{}", "application/json")
            self.send_response(200 if found else 404)
            if kind == "gzip":
                self.send_header("Content-Encoding", "gzip")
            else:
                self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815  (the name that http.server calls)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


def measured(kind: str, folder: Path) -> tuple[float, float, int]:
    """Peak resident MB, seconds of CPU, and the bytes of the longest line."""
    report = folder / "report.jsonl"
    with subprocess.Popen(
        [sys.executable, "-m", "bench.large_documents", kind],
        stdout=subprocess.PIPE,
        text=True,
    ) as registry:
        assert registry.stdout is not None
        port = int(registry.stdout.readline())
        references = [f"127.0.0.1:{port}/r:{tag}" for tag in KINDS[kind][1]]
        audit = subprocess.Popen(
            [sys.executable, "-m", "auditor", "audit", "-o", str(report),
             "--cache", str(folder / "cache"), "--progress", "never",
             "--image-config", "never", *references],
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        _, _, usage = os.wait4(audit.pid, 0)
        registry.terminate()
    longest = max(map(len, report.open("rb")), default=0) if report.exists() else 0
    return usage.ru_maxrss * 1024 / 1e6, usage.ru_utime + usage.ru_stime, longest


def main() -> None:
    if len(sys.argv) > 1:
        serve(sys.argv[1])
        return
    print("registry   resident     CPU  longest line")
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            resident, cpu, longest = measured(kind, Path(folder))
        print(f"{kind:10} {resident:5.0f} MB  {cpu:5.1f} s  {longest / 1e6:9.1f} MB")


if __name__ == "__main__":
    main()
