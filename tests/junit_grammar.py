"""The grammar of JUnit XML, as in junit-10.xsd of the xunit plugin of Jenkins.

There is no standard. Written by hand: for each element, its required and optional
attributes and its child elements.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

_COUNTS = frozenset({"tests", "failures", "errors", "skipped"})
_SUITE = frozenset({"name", "time"}) | _COUNTS
# required attributes, optional ones, children
_GRAMMAR: dict[str, tuple[frozenset[str], frozenset[str], frozenset[str]]] = {
    "testsuites": (frozenset(), _SUITE, frozenset({"testsuite"})),
    "testsuite": (frozenset({"name"}) | _COUNTS, _SUITE, frozenset({"testcase"})),
    "testcase": (
        frozenset({"name", "classname"}),
        frozenset({"time"}),
        frozenset({"failure", "skipped"}),
    ),
    "failure": (frozenset(), frozenset({"message", "type"}), frozenset()),
    "skipped": (frozenset(), frozenset({"message"}), frozenset()),
}


def check_junit(root: Element) -> None:
    """Assert that a document follows the grammar and that its counts are correct."""
    assert root.tag == "testsuites"
    for element in root.iter():
        required, optional, children = _GRAMMAR[element.tag]
        assert required <= set(element.keys()) <= required | optional, element.tag
        assert {child.tag for child in element} <= children, element.tag
        assert element.tag == "failure" or not (element.text or "").strip()
    for suite in (root, *root):
        cases = list(suite.iter("testcase"))
        assert int(suite.get("tests", "")) == len(cases) > 0
        assert int(suite.get("failures", "")) == len(list(suite.iter("failure")))
        assert int(suite.get("skipped", "")) == len(list(suite.iter("skipped")))
        assert all(len(case) <= 1 for case in cases)
