"""What shows that a registry has the referrers API, and what shows that it has not.

"No such API" makes an image unsigned, so that only the body, or a status that the
specification names, may say so.
"""

from __future__ import annotations

import orjson
import pytest

from auditor.demo.demo_registry import DemoContent
from auditor.model import ImageRecord, WarningCode
from auditor.oci.descriptor import OCI_INDEX
from tests.flow.harness import lab
from tests.flow.test_audit_attachments import (
    ALL,
    CHILDREN,
    PLAIN,
    REFERRERS,
    answers,
    audited,
    of,
)
from tests.support.attached_images import notation_signature
from tests.support.fault_actions import Answer, Edit

pytestmark = pytest.mark.anyio


def _signed_by_referrer() -> DemoContent:
    content = of(PLAIN, "1", "2")
    content.add("team/app", notation_signature(PLAIN.root))
    return content


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",  # Harbor 2.8 to 2.10, harbor#19690
        "text/plain; charset=utf-8",  # crane's registry, go-containerregistry#1760
        "text/html",
        "application/octet-stream",
        "application/vnd.oci.image.manifest.v1+json",
        None,
    ],
)
@pytest.mark.parametrize("has_media_type", [True, False])
async def test_a_list_of_referrers_is_one_with_any_content_type(
    content_type: str | None, has_media_type: bool
) -> None:
    def body(real: bytes) -> bytes:
        document = orjson.loads(real)
        if not has_media_type:
            del document["mediaType"]
        return orjson.dumps(document)

    async with lab(_signed_by_referrer()) as here:
        edit = Edit(headers={"Content-Type": content_type}, body=body)
        here.faults.on("GET", REFERRERS, edit, forever=True)
        record = await audited(here)
        assert here.faults.count("*", REFERRERS) == 1 + len(CHILDREN)
    assert record.signed is True
    assert record.warnings == ()


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, {"Content-Type": "application/json"}, b'{"errors": []}'),
        Answer(200, {"Content-Type": "text/plain"}, b"not found"),
        Answer(200, {"Content-Type": "text/html"}, b""),
        Answer(200, {"Content-Type": OCI_INDEX}, b"<html>an application</html>"),
        Answer(403),
    ],
    ids=["another document", "a sentence", "nothing", "a page as an index", "403"],
)
async def test_neither_a_list_of_referrers_nor_a_page_leaves_the_referrers_unknown(
    answer: Answer,
) -> None:
    """Only a status of the specification, a page or a redirect means "no API"."""
    async with lab(_signed_by_referrer()) as here:
        here.faults.on("GET", REFERRERS, answer, forever=True)
        record = await audited(here)
    assert answers(record) == (None, None, None)
    codes = {one.code for one in record.warnings}
    assert codes == {WarningCode.ATTACHMENTS_UNKNOWN}


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_one_bad_answer_does_not_mean_that_there_is_no_referrers_api(
    status: int,
) -> None:
    async with lab(_signed_by_referrer()) as here:
        here.faults.on("GET", REFERRERS, Answer(status))
        record = await audited(here)
    assert record.signed is True


async def test_a_404_of_an_api_that_exists_leaves_the_referrers_unknown() -> None:
    """Spec, "Backwards Compatibility": a registry with the API never answers 404."""
    content = _signed_by_referrer()
    content.add("team/other", PLAIN, "1")
    async with lab(content) as here:
        here.faults.on("GET", "/v2/team/other/referrers/*", Answer(404), forever=True)
        outcome = await here.audit(
            here.ref("team/app:1"), here.ref("team/other:1"), attachments=ALL, workers=1
        )
    found = [one.signed for one in outcome.records if isinstance(one, ImageRecord)]
    assert found == [True, None]
