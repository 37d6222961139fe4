from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from auditor.errors import ProtocolError
from auditor.wire.challenge import Scope, parse_actions, parse_scope, repository_scope

SCOPES = st.builds(
    Scope,
    type=st.text("abcz09", min_size=1),
    resource_class=st.none() | st.text("abcz09", min_size=1),
    name=st.text("abAB09:/._-[]*", min_size=1),
    actions=st.lists(st.sampled_from(["pull", "push", "delete", "*"])).map(tuple),
)


@given(SCOPES)
def test_a_scope_is_read_as_it_is_written(scope: Scope) -> None:
    assert parse_scope(str(scope)) == scope


@given(SCOPES)
def test_equal_rights_have_equal_texts(scope: Scope) -> None:
    again = Scope(
        type=scope.type,
        resource_class=scope.resource_class,
        name=scope.name,
        actions=tuple(reversed(scope.actions)) + scope.actions,
    )
    assert str(again) == str(scope)


@given(st.text())
def test_any_text_is_a_scope_or_refused(text: str) -> None:
    try:
        scope = parse_scope(text)
    except ProtocolError:
        return
    assert parse_scope(str(scope)) == scope


@given(st.text() | st.text("pulsh,*_- "))
def test_any_text_is_actions_that_a_scope_holds_or_refused(text: str) -> None:
    try:
        actions = parse_actions(text)
    except ProtocolError:
        return
    assert actions
    assert parse_scope(str(repository_scope("a/b", actions))).actions == actions
