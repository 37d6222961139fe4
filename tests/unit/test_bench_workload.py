"""What the bench asks for is the fewest requests that read everything."""

from __future__ import annotations

from bench.throughput.workload import some_repositories, workload


def test_each_tag_and_each_other_manifest_is_asked_for_once() -> None:
    todo = workload(some_repositories(3))
    assert len(set(todo.paths)) == len(todo.paths)
    by_tag = [path for path in todo.paths if "/sha256:" not in path]
    assert len(by_tag) == len(todo.names)
    digests = {path.rpartition("/")[2] for path in todo.paths} - {
        path.rpartition("/")[2] for path in by_tag
    }
    roots = {one.image.root.digest for one in todo.images}
    held = {manifest.digest for one in todo.images for manifest in one.image.manifests}
    assert digests == held - roots


def test_some_repositories_are_spread_over_all() -> None:
    few = some_repositories(3)
    assert len(set(few)) == 3
    assert few[0][:9] < few[-1][:9]
