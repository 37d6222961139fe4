"""Two inputs have the same digest if they contain the same selectors."""

from __future__ import annotations

from pathlib import Path

import pytest

from auditor.config import Settings, SourceMode
from auditor.input.lists import input_items
from auditor.input.source_scan import InputDigest, digest_of_input


def digest(folder: Path, *lists: str, references: tuple[str, ...] = ()) -> str | None:
    paths = []
    for number, text in enumerate(lists):
        paths.append(folder / f"{len(list(folder.iterdir()))}-{number}")
        paths[-1].write_bytes(text.encode("utf-8", "surrogateescape"))
    names = tuple(map(str, paths))
    return digest_of_input(
        Settings(
            references=references,
            lists=names,
            allow_empty=True,
            sources=SourceMode.NEVER,
        )
    )


@pytest.mark.parametrize(
    ("same", "one", "other"),
    [
        (True, ["h.example/a:1\n"], ["h.example/a:1"]),
        (True, ["# why\nh.example/a:1\nno ref\n"], ["h.example/a:1\n\nno ref"]),
        (True, ["h.example/a:1\nh.example/b:*"], ["h.example/a:1", "h.example/b:*"]),
        (False, ["h.example/a:1\nh.example/b:1"], ["h.example/b:1\nh.example/a:1"]),
        (False, ["h.example/a:1"], ["h.example/a:1\nh.example/a:1"]),
        (False, ["h.example/a:1"], ["h.example/a:1*"]),
        (False, ["no ref 1"], ["no ref 2"]),
        (False, [""], ["h.example/a:1"]),
        (False, ["no \udcff"], ["no \udcfe"]),
    ],
)
def test_the_input_digest_covers_selectors_and_malformed_lines(
    same: bool, one: list[str], other: list[str], tmp_path: Path
) -> None:
    assert (digest(tmp_path, *one) == digest(tmp_path, *other)) is same


def test_an_argument_and_a_list_line_have_the_same_input_digest(tmp_path: Path) -> None:
    of_argument = digest(tmp_path, references=("h.example/a:1",))
    assert of_argument is not None
    assert of_argument == digest(tmp_path, "h.example/a:1")


def test_an_input_not_read_to_its_end_has_no_digest() -> None:
    items = input_items(Settings(references=("h.example/a:1", "h.example/a:2")))
    halfway = InputDigest(items)
    next(iter(halfway))
    assert halfway.value is None
