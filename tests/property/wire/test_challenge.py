from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from auditor.errors import ProtocolError
from auditor.wire.challenge import (
    Challenge,
    Scope,
    parse_actions,
    parse_challenges,
    parse_scope,
    preferred_challenge,
    repository_scope,
)
from tests.examples import examples

TOKEN = st.text("abcXYZ019!#$%&'*+-.^_`|~", min_size=1, max_size=8)
VALUE = st.text(
    st.characters(min_codepoint=0x20, exclude_characters="\x7f"), max_size=12
)
BLANKS = st.sampled_from(["", " ", "\t", "  "])
PARAMETERS = st.dictionaries(TOKEN.map(str.lower), VALUE, min_size=1, max_size=4)


@st.composite
def challenges(draw: st.DrawFn) -> tuple[list[Challenge], str]:
    """Challenges and one of the ways to write them in a line."""
    made = [
        Challenge(scheme=draw(TOKEN).lower(), parameters=draw(PARAMETERS))
        for _ in range(draw(st.integers(0, 3)))
    ]
    written = []
    for challenge in made:
        parameters = []
        for name, value in challenge.parameters.items():
            quoted = "".join(
                f"\\{char}" if char in '"\\' or draw(st.integers(0, 9)) == 0 else char
                for char in value
            )
            shown = draw(st.sampled_from([name, name.upper()]))
            equals = f"{draw(BLANKS)}={draw(BLANKS)}"
            parameters.append(f'{shown}{equals}"{quoted}"')
        separator = f"{draw(BLANKS)},{draw(BLANKS)}"
        written.append(f"{challenge.scheme.upper()} {separator.join(parameters)}")
    return made, f"{draw(BLANKS)},{draw(BLANKS)}".join(written)


@given(challenges())
def test_serialised_challenges_are_parsed_unchanged(
    written: tuple[list[Challenge], str],
) -> None:
    made, line = written
    assert parse_challenges([line]) == tuple(made)


@given(challenges(), st.data())
def test_a_truncated_line_keeps_its_first_challenges(
    written: tuple[list[Challenge], str], data: st.DataObject
) -> None:
    made, line = written
    cut = line[: data.draw(st.integers(0, len(line)))]
    read = parse_challenges([cut])
    # A parameter without its "=" is parsed as another challenge.
    assert len(read) <= len(made) + 1
    for whole, part in zip(made, read[:-2], strict=False):
        assert part == whole


@examples(300)
@given(st.lists(st.text() | st.text('Bearer=", \\\t/realm'), max_size=3))
def test_no_line_raises(lines: list[str]) -> None:
    chosen = preferred_challenge(parse_challenges(lines))
    assert chosen is None or chosen.scheme in {"basic", "bearer"}


SCOPES = st.builds(
    Scope,
    type=st.text("abcz09", min_size=1),
    resource_class=st.none() | st.text("abcz09", min_size=1),
    name=st.text("abAB09:/._-[]*", min_size=1),
    actions=st.lists(st.sampled_from(["pull", "push", "delete", "*"])).map(tuple),
)


@given(SCOPES)
def test_a_serialised_scope_is_parsed_unchanged(scope: Scope) -> None:
    assert parse_scope(str(scope)) == scope


@given(SCOPES)
def test_equal_scopes_have_equal_texts(scope: Scope) -> None:
    again = Scope(
        type=scope.type,
        resource_class=scope.resource_class,
        name=scope.name,
        actions=tuple(reversed(scope.actions)) + scope.actions,
    )
    assert str(again) == str(scope)


SCOPE_PIECES = st.lists(
    st.sampled_from(
        ["repository", "registry", "(plugin)", "a/b", "h:5000/", "pull", "*", ":", ","]
    ),
    max_size=7,
).map("".join)


@given(st.text() | SCOPE_PIECES)
@example("repository(plugin):a/b:pull,push")
def test_any_text_is_a_scope_or_refused(text: str) -> None:
    try:
        scope = parse_scope(text)
    except ProtocolError:
        return
    assert parse_scope(str(scope)) == scope


@given(st.text() | st.text("pulsh,*_- "))
def test_any_text_is_a_list_of_actions_or_refused(text: str) -> None:
    try:
        actions = parse_actions(text)
    except ProtocolError:
        return
    assert actions
    assert parse_scope(str(repository_scope("a/b", actions))).actions == actions
