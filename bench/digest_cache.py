"""The cost of the digest cache: bytes for the Docker Official Images, CPU per row.

python -m bench.digest_cache
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from auditor.cache.digest_cache import DigestCache
from auditor.demo.demo_images import official_images
from auditor.demo.image_builder import PlacedImage

HOST = "registry.example.com"


def _timed(work: Callable[[], object], count: int) -> str:
    """CPU seconds of this thread and of all threads, per row, for `count` rows."""
    process, thread = time.process_time(), time.thread_time()
    work()
    thread, process = time.thread_time() - thread, time.process_time() - process
    return (
        f"{thread / count * 1e6:5.1f} us ({process / count * 1e6:.1f} with the writer)"
    )


def main() -> None:
    images = list(official_images())
    manifests = [one for placed in images for one in placed.image.manifests]
    tags = [(placed, tag) for placed in images for tag in placed.tags]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "store")

        def fill() -> None:
            with DigestCache(path, now=time.time) as cache:
                for number, one in enumerate(manifests):
                    cache.put(HOST, one.digest, one.raw, content_type=one.media_type)
                    if number % 64 == 0:  # an audit waits for the network meanwhile
                        time.sleep(0.005)
                assert not cache.not_stored

        def name() -> None:
            with DigestCache(path, now=time.time) as cache:
                for placed, tag in tags:
                    _put_tag(cache, placed, tag)

        print(f"content put   {_timed(fill, len(manifests))}")
        print(f"tag put       {_timed(name, len(tags))}")
        with DigestCache(path, now=time.time) as cache:

            def read() -> None:
                for one in manifests:
                    assert cache.get(HOST, one.digest) is not None

            def look() -> None:
                for placed, tag in tags:
                    assert cache.tag(HOST, placed.repository, tag) is not None

            print(f"content read  {_timed(read, len(manifests))}")
            print(f"tag read      {_timed(look, len(tags))}")
        size, raw = path.stat().st_size, sum(len(one.raw) for one in manifests)
        print(
            f"{len(images)} indexes, {len(manifests)} manifests ({raw / 1e6:.1f} MB),"
            f" {len(tags)} tags: {size / 1e6:.1f} MB, {size / len(images):.0f} bytes"
            " for an index with all below it and its tags"
        )


def _put_tag(cache: DigestCache, placed: PlacedImage, tag: str) -> None:
    root = placed.image.root
    cache.put_tag(
        HOST,
        placed.repository,
        tag,
        digest=root.digest,
        header=root.digest,
        content_type=root.media_type,
    )


if __name__ == "__main__":
    main()
