"""Reports say where the input names each reference, however they are made."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from auditor.config import SourceMode
from auditor.model import Order, Shape
from auditor.scale.merge_shards import merge_shards
from auditor.util.shard import Shard
from tests.examples import examples
from tests.flow.commands import auditor
from tests.flow.harness import MANIFESTS, Lab, lab, simple
from tests.flow.reporting import lines_of, report_to
from tests.support.expected_sources import ListedLines, Use, expected_sources

NAMES = [f"{name}:{tag}" for name in ("a", "b/c", "b/d") for tag in ("1", "2", "10")]
GONE = ("a:9", "gone:1")
PATTERNS = ("a:*", "b/c:1*", "b/*:*", "b/**:2", "*:1")
SHARDS = 3

labels = st.dictionaries(
    st.sampled_from(["team", "owner"]),
    st.sampled_from(["x", "y", "z", "w" * 900]),
    max_size=2,
)
uses = st.lists(
    st.tuples(st.sampled_from([*NAMES, *GONE, *PATTERNS]), labels),
    min_size=1,
    max_size=30,
)
lists = st.lists(
    st.tuples(st.sampled_from(["text", "csv", "json"]), uses), min_size=1, max_size=3
)


def _write(here: Lab, folder: Path, drawn: Any) -> tuple[tuple[str, ...], list[Use]]:
    """The paths of the lists, and the uses that they name."""
    paths, expected = [], []
    for number, (form, listed) in enumerate(drawn):
        path = folder / f"{number}.{form}"
        one = ListedLines(
            name=str(path),
            form=form,
            uses=tuple((here.ref(name), added) for name, added in listed),
        )
        path.write_text(one.text())
        paths.append(str(path))
        expected += one.expected()
    return tuple(paths), expected


def _check(lines: Sequence[dict[str, Any]], expected: list[Use]) -> None:
    references = [line["reference"] for line in lines]
    assert len(set(references)) == len(references)
    for use in expected:
        assert "*" in use.reference or use.reference in references
    for line in lines:
        found = expected_sources(line["reference"], expected)
        assert {name: line[name] for name in found} == found


@examples(24, suppress_health_check=[HealthCheck.too_slow])
@given(
    drawn=lists,
    changed=lists,
    order=st.sampled_from(Order),
    stop_at_request=st.integers(1, 12),
)
def test_every_record_has_the_sources_of_a_slow_comparison(
    drawn: Any, changed: Any, order: Order, stop_at_request: int
) -> None:
    async def main(folder: Path) -> None:
        always: dict[str, Any] = {"sources": SourceMode.ALWAYS, "order": order}
        async with lab(simple(NAMES)) as here:
            paths, expected = _write(here, folder, drawn)
            report = folder / "report.jsonl"
            await report_to(here, report, lists=paths, **always)
            _check(lines_of(report), expected)

            # Stopped; then the lists are others when it is resumed.
            before = here.faults.count(path=MANIFESTS)
            meanwhile = lambda run, _: here.when(  # noqa: E731
                lambda: here.faults.count(path=MANIFESTS) >= before + stop_at_request,
                lambda: run.stop(0.0),
            )
            report = folder / "resumed.jsonl"
            await report_to(here, report, lists=paths, meanwhile=meanwhile, **always)
            if not report.exists():
                paths, expected = _write(here, folder, changed)
                await report_to(here, report, lists=paths, resume=True, **always)
            _check(lines_of(report), expected)

            shards = [folder / f"{number}.jsonl" for number in range(1, SHARDS + 1)]
            for number, shard in enumerate(shards, 1):
                await report_to(
                    here,
                    shard,
                    lists=paths,
                    shard=Shard(number=number, of=SHARDS),
                    sources=SourceMode.ALWAYS,
                )
            merged = folder / "merged.jsonl"
            await merge_shards(list(map(str, shards)), str(merged))
            _check(lines_of(merged), expected)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Path(folder)))


CSV = """reference,team,cost centre
{host}/a:1,web,42
{host}/b/c:*,ops,
{host}/a:1,data,42
not a reference!,web,7
"""


@pytest.mark.anyio
@pytest.mark.parametrize(
    "options", [(), ("--order", "completion"), ("--processes", "2")]
)
async def test_a_list_on_standard_input_is_read_to_its_end_first(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    async with lab(simple(NAMES)) as here:
        flags = ["--no-cache", "--plain-http", "-f", "-", "-o", str(tmp_path / "out")]
        done = await auditor(
            "audit", *flags, *options, stdin=CSV.format(host=here.host).encode()
        )
        assert done.code == 1, done.stderr
        lines = {line["reference"]: line for line in lines_of(tmp_path / "out")}
        first = lines[here.ref("a:1")]
        listed = lines[here.ref("b/c:10")]
    assert [one["place"] for one in first["sources"]] == ["stdin:2", "stdin:4"]
    assert first["input_labels"] == {"cost centre": ["42"], "team": ["data", "web"]}
    assert listed["input_labels"] == {"team": ["ops"]}
    malformed = lines["not a reference!,web,7"]
    assert malformed["failure"] == "invalid_reference"
    assert malformed["input_labels"] == {"cost centre": ["7"], "team": ["web"]}


@pytest.mark.anyio
@pytest.mark.parametrize("shape", Shape)
async def test_a_plain_list_has_sources_only_if_they_are_wanted(
    shape: Shape, tmp_path: Path
) -> None:
    listed = tmp_path / "list.txt"
    async with lab(simple(["a:1"])) as here:
        listed.write_text(f"{here.ref('a:1')}\n{here.ref('gone:1')}\n")
        found = {}
        for mode in SourceMode:
            report = tmp_path / mode
            await report_to(
                here, report, lists=(str(listed),), shape=shape, sources=mode
            )
            # In the shape `layer` a reference has several lines.
            by_reference = {
                line["reference"]: line.get("sources", "none")
                for line in lines_of(report)
            }
            found[mode] = list(by_reference.values())
    image = "none" if shape is Shape.LAYER else None
    assert found[SourceMode.AUTO] == found[SourceMode.NEVER] == [image, None]
    places = [
        one if one == "none" else one[0]["place"] for one in found[SourceMode.ALWAYS]
    ]
    lines = [f"{listed}:1", f"{listed}:2"]
    assert places == (["none", lines[1]] if shape is Shape.LAYER else lines)


@pytest.mark.anyio
async def test_the_failure_of_a_pattern_has_the_sources_of_the_pattern(
    tmp_path: Path,
) -> None:
    listed = tmp_path / "list.csv"
    async with lab(simple(["a:1"])) as here:
        listed.write_text(f"reference,team\n{here.ref('gone:*')},web\n")
        await report_to(here, tmp_path / "out", lists=(str(listed),))
    (line,) = lines_of(tmp_path / "out")
    assert line["kind"] == "failure"
    assert line["input_labels"] == {"team": ["web"]}


@pytest.mark.anyio
async def test_a_resumed_record_whose_owner_changed_is_audited_again(
    tmp_path: Path,
) -> None:
    listed, report = tmp_path / "list.csv", tmp_path / "out"
    async with lab(simple(["a:1", "b:1", "c:1"])) as here:
        rows = [f"{here.ref(name)},web" for name in ("a:1", "b:1", "c:1")]
        listed.write_text("\n".join(["reference,team", *rows]))
        stopped = lambda run, _: here.when(  # noqa: E731
            lambda: here.faults.count(path=MANIFESTS) >= 3, lambda: run.stop(60.0)
        )
        options: dict[str, Any] = {"lists": (str(listed),), "requests_at_once": 1}
        await report_to(here, report, meanwhile=stopped, workers=1, **options)
        assert not report.exists()
        listed.write_text(listed.read_text().replace("b:1,web", "b:1,ops"))
        before = here.faults.count(path="/v2/b/manifests/*")
        kept = here.faults.count(path="/v2/a/manifests/*")
        await report_to(here, report, resume=True, **options)
        assert here.faults.count(path="/v2/b/manifests/*") == before + 1
        assert here.faults.count(path="/v2/a/manifests/*") == kept
    teams = [line["input_labels"]["team"] for line in lines_of(report)]
    assert teams == [["web"], ["ops"], ["web"]]


@pytest.mark.anyio
async def test_a_report_as_a_list_carries_its_sources_and_labels_over(
    tmp_path: Path,
) -> None:
    listed, report = tmp_path / "list.csv", tmp_path / "first.jsonl"
    async with lab(simple(["a:1"])) as here:
        listed.write_text(f"reference,team\n{here.ref('a:1')},web\n")
        await report_to(here, report, lists=(str(listed),))
        await report_to(here, tmp_path / "again.jsonl", lists=(str(report),))
    assert lines_of(tmp_path / "again.jsonl") == lines_of(report)
