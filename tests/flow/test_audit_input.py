"""References and patterns from arguments and lists of all formats."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from auditor.demo.demo_registry import DemoContent
from auditor.demo.image_builder import image
from auditor.errors import FailureKind, Stage
from auditor.model import FailureRecord
from tests.flow.harness import MANIFESTS, TAGS, lab, simple
from tests.support.fault_actions import Answer, Edit
from tests.support.registry import Behaviour

pytestmark = pytest.mark.anyio

NAMES = [f"team/app:{number}" for number in range(8)]


def _names(references: list[str]) -> list[str]:
    return [one.partition("/")[2] for one in references]


async def test_arguments_and_lists_of_all_formats_are_audited_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lab(simple(NAMES)) as here:
        text, rows, lines = (tmp_path / name for name in ("a.txt", "b.csv", "c.jsonl"))
        text.write_text(
            f"# nightly\n\n{here.ref('team/app:1')}  # the second\r\n"
            f"docker://{here.ref('team/app:2')}"
        )
        rows.write_text(
            "owner;tag;repository\n" + f'"a;b";3;{here.host}/team/app\n', "utf-8-sig"
        )
        lines.write_text(
            f'{{"registry":"{here.host}","repository":"team/app","tags":["4","5"]}}\n'
            f'{{"reference":"{here.ref("team/app:6")}","kind":"failure"}}\n'
        )
        (tmp_path / "stdin").write_text(here.ref("team/app:7") + "\n")
        with (tmp_path / "stdin").open() as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            outcome = await here.audit(
                here.ref("team/app:0"), lists=(str(text), str(rows), "-", str(lines))
            )
    assert _names(outcome.references) == [
        f"team/app:{number}" for number in (0, 1, 2, 3, 7, 4, 5, 6)
    ]
    assert outcome.kinds == ["image"] * 8


async def test_a_malformed_line_gets_a_record_at_its_position(
    tmp_path: Path,
) -> None:
    async with lab(simple(NAMES)) as here:
        path = tmp_path / "list.txt"
        path.write_bytes(
            f"{here.ref('team/app:0')}\nTeam/App:1\n".encode()
            + b"team/\xff\n"
            + f"{here.ref('team/app:1')}\n{here.host}/team/*\n".encode()
        )
        outcome = await here.audit(lists=(str(path),))
    assert outcome.kinds == [
        "image",
        "invalid_reference",
        "invalid_reference",
        "image",
        "invalid_reference",
    ]
    for line, number in ((2, 1), (3, 2), (5, 4)):
        record = outcome.records[number]
        assert isinstance(record, FailureRecord)
        assert record.detail.startswith(f"{path}:{line}: ")
        assert record.stage is Stage.INPUT
        assert (record.registry, record.repository, record.tag) == (None, None, None)
    assert outcome.summary.asked == 5


async def test_an_invalid_argument_is_named_by_its_number() -> None:
    async with lab() as here:
        outcome = await here.audit("UPPER/case")
    assert outcome.failure.detail.startswith("reference 1: ")


@pytest.mark.parametrize("absolute", [False, True])
async def test_a_tag_pattern_matches_tags_of_all_pages(absolute: bool) -> None:
    tags = [f"1.{number:02}" for number in range(10)] + ["2.0", "latest"]
    content = simple(f"team/app:{tag}" for tag in tags)
    behaviour = Behaviour(max_page=5, absolute_links=absolute)
    async with lab(content, behaviour=behaviour) as here:
        outcome = await here.audit(here.ref("team/app:1.*"), page_size=4)
        assert here.targets(TAGS) == [
            "/v2/team/app/tags/list?n=4",
            "/v2/team/app/tags/list?last=1.03&n=4",
            "/v2/team/app/tags/list?last=1.07&n=4",
        ]
    assert _names(outcome.references) == [f"team/app:{tag}" for tag in tags[:10]]
    assert outcome.kinds == ["image"] * 10
    (listing,) = outcome.summary.listings.shown
    assert (listing.pages, listing.tags, listing.matched) == (3, 12, 10)
    assert listing.complete
    assert not listing.suspicious


@pytest.mark.parametrize(
    ("pattern", "matching"),
    [
        ("*", ["1", "1.0", "1.1", "2", "v1"]),
        ("1*", ["1", "1.0", "1.1"]),
        ("?", ["1", "2"]),
        ("1.[01]", ["1.0", "1.1"]),
        ("[!1]*", ["2", "v1"]),
    ],
)
async def test_tag_patterns_are_shell_patterns(
    pattern: str, matching: list[str]
) -> None:
    content = simple(f"app:{tag}" for tag in ("1", "1.0", "1.1", "2", "v1"))
    async with lab(content) as here:
        outcome = await here.audit(here.ref(f"app:{pattern}"))
    assert _names(outcome.references) == [f"app:{tag}" for tag in matching]


async def test_tag_patterns_and_references_keep_the_input_order() -> None:
    content = simple([f"r{number}:{tag}" for number in range(9) for tag in "ab"])
    async with lab(content) as here:
        asked = [f"r{number}:{'*' if number % 3 else 'b'}" for number in range(9)]
        outcome = await here.audit(*map(here.ref, asked))
    assert _names(outcome.references) == [
        f"r{number}:{tag}"
        for number in range(9)
        for tag in ("ab" if number % 3 else "b")
    ]


async def test_a_tag_pattern_without_a_match_is_a_failure_with_the_number_of_tags() -> (
    None
):
    async with lab(simple(NAMES)) as here:
        failure = (await here.audit(here.ref("team/app:v*"))).failure
    assert failure.failure is FailureKind.NOT_FOUND
    assert failure.stage is Stage.LIST
    assert failure.reference == here.ref("team/app:v*")
    assert failure.detail == "none of the 8 tags of team/app matches v*"


async def test_a_missing_repository_is_a_failure_of_the_listing() -> None:
    async with lab() as here:
        failure = (await here.audit(here.ref("team/app:*"))).failure
    assert (failure.stage, failure.failure, failure.status) == (
        Stage.LIST,
        FailureKind.NOT_FOUND,
        404,
    )
    assert failure.repository == "team/app"


async def test_a_listing_that_breaks_off_is_incomplete_and_its_tags_are_audited() -> (
    None
):
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", TAGS, Answer(404), skip=1)
        outcome = await here.audit(here.ref("team/app:*"), page_size=3)
    assert outcome.kinds == ["image"] * 3 + ["incomplete_listing"]
    (listing,) = outcome.summary.listings.shown
    assert not listing.complete
    assert listing.failure == "incomplete_listing"


async def test_a_listing_whose_links_form_a_loop_ends() -> None:
    async with lab(simple(NAMES)) as here:
        link = {"Link": '</v2/team/app/tags/list?n=1000>; rel="next"'}
        here.faults.on("GET", TAGS, Edit(headers=link), forever=True)
        outcome = await here.audit(here.ref("team/app:*"))
        assert here.faults.count("GET", TAGS) == 1
    assert outcome.kinds == ["image"] * 8 + ["incomplete_listing"]


async def test_a_listing_link_to_another_host_is_not_followed() -> None:
    async with lab(simple(NAMES)) as here, lab() as elsewhere:
        link = {"Link": f'<http://{elsewhere.host}/v2/x/tags/list>; rel="next"'}
        here.faults.on("GET", TAGS, Edit(headers=link), forever=True)
        outcome = await here.audit(here.ref("team/app:*"))
        assert elsewhere.faults.count() == 0
    assert outcome.kinds[-1] == "incomplete_listing"


@pytest.mark.parametrize("status", [400, 405])
async def test_a_rejected_page_size_is_left_out(
    status: int,
) -> None:
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", TAGS, Answer(status), query={"n": "1000"})
        outcome = await here.audit(here.ref("team/app:*"))
        assert here.targets(TAGS)[1:] == ["/v2/team/app/tags/list"]
    assert outcome.kinds == ["image"] * 8


async def test_a_listing_that_times_out_is_retried_with_small_pages() -> None:
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", TAGS, Answer(504), query={"n": "1000"}, forever=True)
        outcome = await here.audit(here.ref("team/app:*"), tries=2)
        assert here.targets(TAGS)[-1] == "/v2/team/app/tags/list?n=100"
    assert outcome.kinds == ["image"] * 8


async def test_nulls_digests_and_invalid_names_in_a_listing_are_not_references() -> (
    None
):
    digest = "sha256:" + "a" * 64
    body = f'{{"tags":["1","../../admin",null,"1","{digest}"]}}'.encode()
    async with lab(simple(["app:1"])) as here:
        here.faults.on("GET", TAGS, Answer(body=body))
        outcome = await here.audit(here.ref("app:*"))
        assert here.targets(MANIFESTS) == ["/v2/app/manifests/1"]
    assert outcome.kinds == ["image", "incomplete_listing"]
    assert outcome.summary.duplicates == 1


async def test_a_null_tag_list_is_empty() -> None:
    async with lab() as here:
        here.faults.on("GET", TAGS, Answer(body=b'{"name":"app","tags":null}'))
        outcome = await here.audit(here.ref("app:*"))
    assert outcome.records == []
    assert outcome.summary.asked == 0


async def test_a_listed_tag_that_is_missing_has_vanished() -> None:
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", "/v2/team/app/manifests/3", Answer(404), forever=True)
        listed = await here.audit(here.ref("team/app:3*"))
        named = await here.audit(here.ref("team/app:3"))
    assert listed.failure.failure is FailureKind.VANISHED
    assert named.failure.failure is FailureKind.NOT_FOUND


# distribution 2.8 does not page tag lists.
DISTRIBUTION_2 = Behaviour(tags_pages=False)


@pytest.mark.parametrize(("count", "suspicious"), [(99, False), (100, True)])
async def test_exactly_a_hundred_tags_without_a_next_page_look_truncated(
    count: int, suspicious: bool
) -> None:
    content = DemoContent()
    content.add("app", image("app"), *(f"{number:03}" for number in range(count)))
    async with lab(content, behaviour=DISTRIBUTION_2) as here:
        outcome = await here.audit(here.ref("app:*"))
    assert outcome.kinds == ["image"] * count
    assert outcome.summary.listings.shown[0].suspicious is suspicious


async def test_duplicates_are_audited_once_in_any_spelling(
    tmp_path: Path,
) -> None:
    async with lab(simple(NAMES)) as here:
        path = tmp_path / "list.txt"
        path.write_text(f"docker://{here.ref('team/app:1')}\n" * 3)
        outcome = await here.audit(
            here.ref("team/app:1"),
            here.ref("team/app:2"),
            here.ref("team/app:[12]"),
            lists=(str(path),),
        )
        assert here.faults.repeated() == []
    assert _names(outcome.references) == ["team/app:1", "team/app:2"]
    assert (outcome.summary.asked, outcome.summary.duplicates) == (2, 5)


async def test_the_output_of_kubectl_is_a_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = simple(["team/app:1", "team/app:2"])
    runs = content.repositories["team/app"].tags["2"]
    async with lab(content) as here:
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"namespace": "shop", "name": "web-0"},
            "spec": {
                "containers": [{"name": "app", "image": here.ref("team/app:1")}],
                "initContainers": [{"name": "wait", "image": "Wrong"}],
            },
            "status": {
                "containerStatuses": [
                    {"name": "app", "imageID": here.ref(f"team/app@{runs}")}
                ]
            },
        }
        pods = {"apiVersion": "v1", "kind": "List", "items": [pod, pod]}
        (tmp_path / "stdin").write_text(json.dumps(pods, indent=4))
        with (tmp_path / "stdin").open() as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            outcome = await here.audit(lists=("-",))
    assert outcome.kinds == ["invalid_reference", "image", "image"]
    wrong, declared, running = outcome.records
    assert isinstance(wrong, FailureRecord)
    assert wrong.detail.startswith("stdin:shop/web-0/wait: ")
    assert (declared.tag, running.tag, running.digest) == ("1", None, runs)


async def test_skopeo_yaml_is_a_list_with_tags_by_regex_and_by_version(
    tmp_path: Path,
) -> None:
    tags = ["1.13.1-alpine-perl", "1.13.2-alpine-perl", "1.13.3", "3.11", "3.12", "v4"]
    content = simple([f"team/app:{tag}" for tag in tags] + ["all:1", "all:2"])
    async with lab(content) as here:
        path = tmp_path / "sync.yaml"
        path.write_text(
            f"{here.host}:\n"
            "  tls-verify: false\n"
            "  images: {all: [], team/app: [1.13.3, '3.11']}\n"
            "  images-by-tag-regex:\n"
            "    team/app: ^1\\.13\\.[12]-alpine-perl$\n"
            "  images-by-semver:\n"
            "    team/app: '>= 3.12'\n"
        )
        outcome = await here.audit(lists=(str(path),))
    assert _names(outcome.references) == [
        "all:1",
        "all:2",
        "team/app:1.13.3",
        "team/app:3.11",
        "team/app:1.13.1-alpine-perl",
        "team/app:1.13.2-alpine-perl",
        "team/app:3.12",
        "team/app:v4",
    ]
    assert outcome.kinds == ["image"] * 8
