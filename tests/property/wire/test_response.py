from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from auditor.errors import FailureKind, ProtocolError
from auditor.wire.response import next_page
from auditor.wire.url_policy import origin_of
from tests.examples import examples

PAGE = "https://h.example/v2/a/tags/list?n=2"
CURSOR = st.text("abcXYZ09-._~%,;=:+/", max_size=20)
QUOTED = st.text("abc ,;<>=", max_size=8)
RELATION = st.sampled_from(["next", "NEXT", '"next"', '"prev next"', '"Next\tlast"'])
SEMICOLON = st.sampled_from([";", " ; "])
OTHER = st.sampled_from(["first", '"last"', '"prev up"', '""'])


def check_refusal(error: ProtocolError, kind: FailureKind) -> None:
    assert error.kind is kind
    assert error.detail.isprintable()


@st.composite
def links(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A cursor, and Link lines with it as the next page among other links."""
    cursor = draw(CURSOR)
    following = f"</v2/a/tags/list?last={cursor}>; rel={draw(RELATION)}"
    values = [
        f'</other>{draw(SEMICOLON)}title="{draw(QUOTED)}"; rel={draw(OTHER)}'
        for _ in range(draw(st.integers(0, 3)))
    ]
    values.insert(draw(st.integers(0, len(values))), following)
    if draw(st.booleans()):
        return cursor, values
    return cursor, [draw(st.sampled_from([",", ", ", " , ,"])).join(values)]


@given(links())
def test_the_cursor_is_unchanged(written: tuple[str, list[str]]) -> None:
    cursor, lines = written
    assert next_page(lines, PAGE) == f"https://h.example/v2/a/tags/list?last={cursor}"


@given(links(), st.data())
def test_a_truncated_line_never_leads_to_another_page(
    written: tuple[str, list[str]], data: st.DataObject
) -> None:
    cursor, lines = written
    line = ", ".join(lines)
    cut = line[: data.draw(st.integers(0, len(line)))]
    try:
        found = next_page([cut], PAGE)
    except ProtocolError as error:
        check_refusal(error, FailureKind.INCOMPLETE_LISTING)
        return
    assert found in {None, f"https://h.example/v2/a/tags/list?last={cursor}"}


@examples(300)
@given(st.lists(st.text() | st.text('<>;,="\\ \t/relnxt:'), max_size=3))
def test_any_link_header_leads_to_the_same_origin_or_an_incomplete_listing(
    lines: list[str],
) -> None:
    try:
        url = next_page(lines, PAGE)
    except ProtocolError as error:
        check_refusal(error, FailureKind.INCOMPLETE_LISTING)
        return
    assert url is None or origin_of(url) == origin_of(PAGE)
