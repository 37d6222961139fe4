"""The sources of every reference are those that a slow comparison with every use finds.

tests/flow/test_sources.py compares reports with the same oracle.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import anyio
import orjson
from hypothesis import given
from hypothesis import strategies as st

from auditor.config import Settings, SourceMode
from auditor.input.source_scan import open_input
from auditor.oci.reference import parse_reference
from tests.examples import examples
from tests.support.expected_sources import ListedLines, Use, expected_sources, source

HOST = "r.example.com"
NAMES = ("a", "b/c", "b/d")
TAGS = ("1", "2", "10")
REFERENCES = tuple(f"{HOST}/{name}:{tag}" for name in NAMES for tag in TAGS)
PATTERNS = tuple(
    f"{HOST}/{name}"
    for name in ("a:*", "b/c:1*", "b/*:*", "b/**:2", "*:1", "[ab]:[12]")
)
# Some labels are long, so that both limits are reached.
labels = st.dictionaries(
    st.sampled_from(["team", "owner", "Cost Centre", "\N{GREEK SMALL LETTER ALPHA}"]),
    st.one_of(
        st.sampled_from(["x", "y", "=1", "\N{EURO SIGN}"]),
        st.integers(0, 40).map(str),
        st.integers(500, 990).map(lambda size: "w" * size),
    ),
    max_size=3,
)
uses = st.lists(
    st.tuples(st.sampled_from(REFERENCES + PATTERNS), labels), min_size=1, max_size=40
)


@st.composite
def inputs(draw: st.DrawFn) -> list[ListedLines]:
    """Lists of all forms, the number of each in its name."""
    forms = draw(
        st.lists(st.sampled_from(["text", "csv", "json"]), min_size=1, max_size=3)
    )
    return [
        ListedLines(
            name=f"{number}.{form}",
            form=form,
            uses=tuple(draw(uses)),
        )
        for number, form in enumerate(forms)
    ]


@examples(60)
@given(lists=inputs(), arguments=st.lists(st.sampled_from(REFERENCES), max_size=3))
def test_the_sources_are_those_of_a_slow_comparison(
    lists: list[ListedLines], arguments: list[str]
) -> None:
    expected = [
        Use(reference=one, source=source(None, f"reference {number}"))
        for number, one in enumerate(arguments, 1)
    ]
    for one in lists:
        expected += one.expected()

    async def main(folder: Path) -> dict[str, Any]:
        names = {}
        for one in lists:
            path = folder / one.name
            path.write_text(one.text())
            names[str(path)] = one.name
        settings = Settings(
            references=tuple(arguments), lists=tuple(names), sources=SourceMode.ALWAYS
        )
        async with open_input(settings, names=names) as opened:
            assert opened.sources is not None
            found = {
                reference: orjson.loads(
                    orjson.dumps(
                        opened.sources.of_reference(parse_reference(reference))
                    )
                )
                for reference in REFERENCES
            }
            # Read again by the audit, nothing has changed.
            items = list(opened.items)
        assert len(items) == len(expected)
        return found

    with tempfile.TemporaryDirectory() as folder:
        found = anyio.run(main, Path(folder))
    for reference in REFERENCES:
        assert found[reference] == expected_sources(reference, expected)
