"""Every command of the documentation works as it is shown."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from auditor.demo.demo_images import demo_app, demo_images
from auditor.demo.demo_registry import DemoContent
from tests.flow.shell_program import shell_program
from tests.real.programs import required
from tests.support.doc_pages import blocks, first_missing, run_page, search_path
from tests.support.doc_registry import (
    PASSWORD,
    USER,
    change,
    documented_app,
    documented_content,
)
from tests.support.registry import registry_app, serve_in_thread
from tests.support.signed_images import documented_signatures

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / "tests" / "support" / "doc_programs"
PAGES = {
    path.relative_to(ROOT).as_posix(): path
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if not path.is_relative_to(ROOT / "docs" / "development")
}
WITH_COMMANDS = [
    name
    for name, path in PAGES.items()
    if any(block.commands and not block.not_run for block in blocks(path))
]
LANGUAGES = {"console", "json", "python", "sh", "sql", "text", "toml", "yaml"}
# Blocks that are not run, by page; each has a reason before it. A number that grows
# needs a good one.
NOT_RUN = {
    "README.md": 2,
    "docs/explanation/reliability.md": 1,
    "docs/guide/cloud-logins.md": 1,
    "docs/how-to/kubernetes.md": 1,
    "docs/how-to/least-privilege.md": 1,
    "docs/how-to/private-ca-air-gap.md": 1,
    "docs/how-to/schema1-before-containerd2.md": 1,
    "docs/how-to/unused-images.md": 1,
    "docs/tutorial.md": 3,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where pages are run: the programs, the hosts, and the files of two nights."""

    path: str
    names: dict[str, str]
    files: Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    files = tmp_path_factory.mktemp("files")
    content = documented_content()
    with (
        shell_program(tmp_path_factory.mktemp("server")) as programs,
        serve_in_thread(documented_app(content)) as url,
        serve_in_thread(documented_app(documented_content())) as other,
        serve_in_thread(demo_app(DemoContent.of(demo_images()))) as demo,
        serve_in_thread(registry_app(documented_signatures(files))) as signed,
    ):
        host = url.removeprefix("http://")
        elsewhere = other.removeprefix("http://").replace("127.0.0.1", "localhost")
        path = search_path(PROGRAMS, programs)

        def audit(name: str, registry: str = host) -> None:
            options = "--quiet --attachments all --image-config always --label *"
            words = ["auditor", "audit", f"{registry}/**:*", "-o", name]
            subprocess.run(
                [*words, *options.split()],
                executable=str(programs / "auditor"),
                cwd=files,
                env={"PATH": path, "HOME": str(files)},
                check=True,
            )

        for folder in ("etc/auditor", "nightly", "var/auditor", "var/node_exporter"):
            (files / folder).mkdir(parents=True)
        audit("yesterday.jsonl")
        audit("mirror.jsonl", elsewhere)
        change(content)
        audit("report.jsonl")
        (files / "sboms.jsonl").touch()
        report = (files / "report.jsonl").read_bytes()
        (files / "nightly/2026-11-24.jsonl.gz").write_bytes(gzip.compress(report))
        (files / "references.txt").write_text(f"{host}/team/app:1.1\n{host}/team/web\n")
        (files / "policy.toml").write_text('[rules.types]\nallowed_grants = ["pull"]\n')
        for policy in (ROOT / "auditor" / "examples").glob("policy-*.toml"):
            shutil.copy(policy, files)
        yield Place(
            path=path,
            names={
                "registry.example.com": host,
                "mirror.example.com": elsewhere,
                "images.example.com": signed.removeprefix("http://"),
                "127.0.0.1:5050": demo.removeprefix("http://"),
                "/var/lib": "var",
                "/etc/auditor": "etc/auditor",
            },
            files=files,
        )


@pytest.mark.parametrize("name", WITH_COMMANDS)
def test_every_command_of_the_page_works(
    name: str, place: Place, tmp_path: Path
) -> None:
    commands = "\n".join(
        block.commands for block in blocks(PAGES[name]) if block.not_run is None
    )
    for program in ("curl", "jq"):
        if re.search(rf"\b{program} ", commands):
            required(program)
    shutil.copytree(place.files, tmp_path / "work")
    variables = {"REGISTRY_USERNAME": USER, "REGISTRY_PASSWORD": PASSWORD}
    mistakes = run_page(
        PAGES[name],
        tmp_path,
        names=place.names,
        path=place.path,
        HOST=place.names["registry.example.com"],
        **variables,
    )
    assert not mistakes, "\n\n".join(mistakes)


def test_every_block_has_a_language() -> None:
    wrong = [
        f"{name}:{block.line}"
        for name, path in PAGES.items()
        # made from the code, and from a run of the program
        if not name.startswith(("docs/reference/", "docs/first-five-minutes"))
        for block in blocks(path)
        if block.language not in LANGUAGES
        or (block.language == "text" and block.text.startswith(("$ ", "auditor ")))
    ]
    assert wrong == []


def test_few_blocks_are_not_run_and_each_has_a_reason() -> None:
    counts = {
        name: sum(block.not_run is not None for block in blocks(path))
        for name, path in PAGES.items()
    }
    assert {name: count for name, count in counts.items() if count} == NOT_RUN


def test_a_wrong_command_and_a_wrong_output_are_found(
    tmp_path: Path, place: Place
) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```sh\nauditor --version\nauditor audit --no-such-option\n"
        "auditor diff a b  # exit code 1\n```\n\n"
        "```console\n$ auditor --version | cat\nauditor, version 99\n```\n"
    )
    shutil.copytree(place.files, tmp_path / "work")
    mistakes = run_page(page, tmp_path, names={}, path=place.path)
    assert [one.splitlines()[0] for one in mistakes] == [
        "page.md:2: exit code 2: auditor audit --no-such-option",
        "page.md:2: exit code 2: auditor diff a b  # exit code 1",
        "page.md:8: not printed: auditor, version 99",
    ]


def test_output_is_compared_line_by_line_and_dots_stand_for_anything() -> None:
    printed = "one\ntwo sha256:12\nthree\nfour\n"
    assert first_missing(["one", "two sha256:...", "three"], printed) is None
    assert first_missing(["one", "...", "four"], printed) is None
    assert first_missing(["one", "three"], printed) == "three"
    assert first_missing(["two"], printed) == "two"
