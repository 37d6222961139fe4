"""The largest documents that a registry may send: memory is bounded in bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from auditor.audit.manifest_part import Level
from auditor.audit.run import AuditRun
from auditor.config import AttachmentMode
from auditor.demo.artifact_builder import artifact
from auditor.demo.demo_registry import DemoContent
from auditor.demo.image_builder import BuiltImage, image, index, layer
from auditor.model import WarningCode
from auditor.report.writer import Report
from auditor.util.lru import Lru
from tests.flow.harness import BLOBS, TAGS, lab, simple
from tests.flow.reporting import lines_of, report_to
from tests.support.attached_images import attested_index, digest_tag, referrers_index
from tests.support.fault_actions import Answer, Gate, Hold
from tests.support.registry import Behaviour
from tests.support.spilled_values import note_spilled

pytestmark = pytest.mark.anyio

CATALOG = "/v2/_catalog"
SHARE = 40_000  # of a record, instead of 2 MiB
LARGE = [layer(str(number)) for number in range(400)]
LARGE_SIZE = sum(one.size or 0 for one in LARGE)
SMALL = [layer("base"), layer("app")]
PLATFORMS = [f"linux/arch{number}" for number in range(20)]


@pytest.fixture
def small_records(monkeypatch: pytest.MonkeyPatch) -> None:
    level = Level(depth=0, max_bytes=SHARE)
    monkeypatch.setattr("auditor.audit.assemble._WHOLE", level)


def _content() -> DemoContent:
    content = DemoContent()
    children = [
        image("app", platform=one, layers=LARGE if number % 2 else SMALL)
        for number, one in enumerate(PLATFORMS)
    ]
    content.add("r", index(children), "index")
    content.add("r", index([index(children[:2]), *children[2:]]), "nested")
    content.add("r", image("app", layers=LARGE), "one")
    content.add("r", image("app", layers=SMALL), "small")
    return content


@pytest.mark.usefixtures("small_records")
async def test_what_is_too_long_for_a_record_is_left_out_with_a_warning(
    tmp_path: Path,
) -> None:
    """An index of 21 KB can name a manifest of 4 MB a hundred times."""
    async with lab(_content()) as here:
        cache = str(tmp_path / "cache")
        whole: list[list[Any]] = []
        for night in ("cold", "warm"):
            output = tmp_path / night
            await report_to(here, output, here.ref("r:*"), cache=cache, no_cache=False)
            lines = output.read_bytes().splitlines()
            whole.append(list(map(orjson.loads, lines)))
            longest = max(map(len, lines))
            assert longest < SHARE + 700 * len(PLATFORMS) + 300 * len(PLATFORMS)
    for line in [*whole[0], *whole[1]]:
        line.pop("audited_at")
    assert whole[0] == whole[1]
    records = {line["tag"]: line for line in whole[0]}
    assert records["small"]["warnings"] == []
    for tag, count in (("index", 10), ("nested", 10), ("one", 1)):
        record = records[tag]
        codes = [warning["code"] for warning in record["warnings"]]
        assert codes == [WarningCode.PARTS_LEFT_OUT] * count
        assert "400 layers of sha256:" in record["warnings"][0]["detail"]
        # Everything else is that of the whole image.
        assert len(record["architectures"]) == len(record["platforms"])
        sizes = [one["size"] for one in record["platforms"]]
        assert LARGE_SIZE in sizes
        assert [one["layers"] is None for one in record["platforms"]].count(True) == (
            count
        )
    assert records["one"]["size"] == LARGE_SIZE


@pytest.fixture
def filled(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """The bytes that were put into each cache; the cache never has more than it may."""
    total: dict[int, int] = {}
    put = Lru.put

    def checked(self: Lru[Any, Any], key: Any, value: Any, size: int = 0) -> None:
        put(self, key, value, size)
        total[id(self)] = total.get(id(self), 0) + size
        assert self.bytes <= self._max_bytes

    monkeypatch.setattr(Lru, "put", checked)
    return total


async def test_caches_of_a_run_are_bounded_in_bytes(
    filled: dict[int, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """300 tags, each with a manifest of 3.6 MB, took 2.9 GB."""
    bound = 200_000
    for name in (
        "content_cache.MAX_MANIFESTS_BYTES",
        "assemble.MAX_IMAGES_BYTES",
        "resolve.MAX_PARSED_BYTES",
    ):
        monkeypatch.setattr(f"auditor.audit.{name}", bound)
    monkeypatch.setattr("auditor.report.shapes.MAX_ENCODED_BYTES", bound)
    content = DemoContent()
    for number in range(30):
        layers = [layer(f"{number}/{index}") for index in range(100)]
        content.add("r", image(str(number), layers=layers), str(number))
    async with lab(content) as here:
        await report_to(here, tmp_path / "out", here.ref("r:*"))
    assert len([size for size in filled.values() if size > 3 * bound]) >= 4


@pytest.mark.parametrize("listing", [TAGS, CATALOG])
@pytest.mark.parametrize(("names", "fails"), [(100, False), (101, True)])
async def test_the_values_of_a_listing_are_counted_before_they_are_parsed(
    listing: str, names: int, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tag list of 117 KB that gunzips to 128 MB took 3.6 GB."""
    # Two keys, and the names.
    monkeypatch.setattr("auditor.registry.listing.json_fields.MAX_VALUES", 100)
    async with lab(simple(["r:1"])) as here:
        key = "tags" if listing == TAGS else "repositories"
        body: dict[str, Any] = {"name": "r", key: ["1" if key == "tags" else "r"]}
        body[key] *= names
        here.faults.on("GET", listing, Answer(200, {}, orjson.dumps(body)))
        asked = "r:*" if listing == TAGS else "r*:1"
        outcome = await here.audit(here.ref(asked))
    if not fails:
        assert outcome.kinds == ["image"]
        return
    assert outcome.kinds == ["too_large"]
    assert "101 values in one response, more than 100" in outcome.failure.detail


async def test_records_that_wait_are_bounded_in_bytes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The window counts records; a record may have 2 MiB."""
    bound, gate = 20_000, Gate()
    monkeypatch.setattr("auditor.audit.run.MAX_WAITING_BYTES", bound)
    names = [f"r:{number}" for number in range(40)]
    most = 0
    async with lab(simple(names)) as here:
        here.faults.on("GET", "/v2/r/manifests/0", Hold(gate))

        @asynccontextmanager
        async def meanwhile(run: AuditRun, report: Report) -> AsyncIterator[None]:
            spilled = note_spilled(run._pool.spill_file)

            def all_others() -> bool:
                nonlocal most
                most = max(most, run._pool.bytes_in_memory)
                return here.good(BLOBS) == len(names) - 1

            async with here.when(all_others, gate.open):
                yield
            assert sum(spilled) > bound

        asked = map(here.ref, names)
        await report_to(here, tmp_path / "out", *asked, meanwhile=meanwhile, workers=2)
    assert 0 < most < bound + 2 * 10_000
    tags = [line["tag"] for line in lines_of(tmp_path / "out")]
    assert tags == [name[2:] for name in names]


SIGNED = image("signed", layers=SMALL)


@pytest.fixture
def few_attachments(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("assemble", "image_attachments"):
        monkeypatch.setattr(f"auditor.audit.{place}.MAX_ATTACHMENTS_BYTES", 10_000)


@pytest.mark.usefixtures("few_attachments")
@pytest.mark.parametrize(
    ("count", "place"),
    [(20, "referrers"), (100, "referrers"), (20, "tags"), (100, "tags")],
)
async def test_attachments_beyond_the_limit_of_a_record_leave_the_answer_open(
    count: int, place: str
) -> None:
    """99 pages of 4 MB named referrers for a line of 240 MB, which no command read."""
    content = DemoContent()
    content.add("r", SIGNED, "1")
    found = [
        artifact(str(number), subject=SIGNED.root, artifact_type="application/x")
        for number in range(count)
    ]
    for one in found:
        content.add("r", one)
    if place == "tags":
        listed = referrers_index([one.root for one in found])
        content.add("r", listed, digest_tag(SIGNED.root))
    behaviour = Behaviour(referrers=place == "referrers", referrers_page=10)
    async with lab(content, behaviour=behaviour) as here:
        outcome = await here.audit(here.ref("r:1"), attachments=AttachmentMode.ALL)
    record = outcome.image
    codes = [warning.code for warning in record.warnings]
    if count == 20:
        assert (len(record.attachments), record.signed, codes) == (20, False, [])
    else:
        assert (record.attachments, record.signed) == ((), None)
        assert codes == [WarningCode.ATTACHMENTS_UNKNOWN]


@pytest.mark.usefixtures("few_attachments")
@pytest.mark.parametrize("count", [20, 100])
@pytest.mark.parametrize("mode", [AttachmentMode.INDEX, AttachmentMode.ALL])
async def test_an_index_of_too_many_attachments_is_recorded_without_them(
    count: int, mode: AttachmentMode
) -> None:
    artifacts = [
        artifact(str(number), artifact_type="application/x") for number in range(count)
    ]
    content = DemoContent()
    content.add("r", index([SIGNED, *artifacts]), "1")
    async with lab(content) as here:
        record = (await here.audit(here.ref("r:1"), attachments=mode)).image
    codes = [warning.code for warning in record.warnings]
    assert len(record.platforms) == 1
    if count == 20:
        assert (len(record.attachments), codes) == (20, [])
    else:
        assert (record.attachments, codes) == ((), [WarningCode.PARTS_LEFT_OUT])
        assert record.signed is None


@pytest.mark.parametrize(("pages", "is_known"), [(1, True), (3, False)])
async def test_the_pages_of_one_list_of_referrers_are_bounded_in_bytes(
    pages: int, is_known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auditor.registry.client.MAX_REFERRERS_BYTES", 2000)
    content = DemoContent()
    content.add("r", SIGNED, "1")
    for number in range(3 * pages):
        content.add("r", artifact(str(number), subject=SIGNED.root))
    async with lab(content, behaviour=Behaviour(referrers_page=3)) as here:
        outcome = await here.audit(here.ref("r:1"), attachments=AttachmentMode.ALL)
    assert (outcome.image.signed is False) is is_known
    assert ("more than 2000 bytes" in str(outcome.image.warnings)) is not is_known


LONG = "x" * 30_000


@pytest.mark.parametrize(
    "built",
    [
        # The config, which a hundred children of an index can share.
        image("app", platform=f"linux/{LONG}"),
        index([image("app", platform=f"linux/{LONG}")]),
        index([image("app", platform=f"linux/arm/{LONG}")]),
        image("app", layers=[layer("app", media_type=f"application/{LONG}")]),
        artifact("app", artifact_type=f"application/{LONG}", layers=SMALL),
        attested_index([SIGNED], [f"https://example.com/{LONG}"]),
    ],
    ids=["config", "index", "variant", "layer", "artifact", "predicate"],
)
async def test_a_name_that_is_much_too_long_is_cut(
    built: BuiltImage, tmp_path: Path
) -> None:
    """A config of 4 MB that 100 platforms share named its architecture 100 times."""
    content = DemoContent()
    content.add("r", built, "1")
    async with lab(content) as here:
        asked = here.ref("r:1")
        await report_to(here, tmp_path / "out", asked, attachments=AttachmentMode.ALL)
    assert "x" * 900 in (tmp_path / "out").read_text()
    assert LONG not in (tmp_path / "out").read_text()
    assert lines_of(tmp_path / "out")[0]["digest"] == built.root.digest
