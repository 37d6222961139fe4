from __future__ import annotations

import pytest

from auditor.wire.challenge import Challenge, parse_challenges, preferred


def challenge(scheme: str, token68: str | None = None, **parameters: str) -> Challenge:
    return Challenge(scheme=scheme, parameters=parameters, token68=token68)


BEARER = challenge("bearer", realm="https://a.example/token", service="r")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], ()),
        ([""], ()),
        ([", ,"], ()),
        (['Bearer realm="https://a.example/token",service="r"'], (BEARER,)),
        (['bEARER  ReAlM = "https://a.example/token" , SERVICE=r'], (BEARER,)),
        (['Bearer realm="https://a.example/token" service="r"'], (BEARER,)),
        ([',, Bearer ,realm="https://a.example/token",, service=r,'], (BEARER,)),
        (
            ['Bearer scope="repository:a/b:pull,push",realm="x"'],
            (challenge("bearer", scope="repository:a/b:pull,push", realm="x"),),
        ),
        (
            [r'Basic realm="say \"hi\", \\ or Bearer realm=x"'],
            (challenge("basic", realm=r'say "hi", \ or Bearer realm=x'),),
        ),
        (
            ['Negotiate, Bearer realm="x", Basic realm="y"'],
            (
                challenge("negotiate"),
                challenge("bearer", realm="x"),
                challenge("basic", realm="y"),
            ),
        ),
        (
            ['Basic realm="y"', 'Bearer realm="x"'],
            (challenge("basic", realm="y"), challenge("bearer", realm="x")),
        ),
        (
            ["Negotiate YII+/abc==, Basic realm=y"],
            (challenge("negotiate", "YII+/abc=="), challenge("basic", realm="y")),
        ),
        (["Bearer realm=x, realm=y"], (challenge("bearer", realm="x"),)),
        (['Bearer realm=""'], (challenge("bearer", realm=""),)),
        (["Bearer"], (challenge("bearer"),)),
        # damage
        (['Bearer realm="x", service="unclosed'], (challenge("bearer", realm="x"),)),
        (['Bearer realm="x", service = "unclosed'], (challenge("bearer", realm="x"),)),
        (['Bearer realm="x", service=a:b, c=d'], (challenge("bearer", realm="x"),)),
        (['Bearer realm="x";service="y"'], (challenge("bearer"),)),
        (['realm="x"'], ()),
        (['"quoted" Bearer realm="x"'], ()),
        (['\x00 Bearer realm="x"', "Basic"], (challenge("basic"),)),
    ],
)
def test_challenges_are_read_up_to_the_damage(
    lines: list[str], expected: tuple[Challenge, ...]
) -> None:
    assert parse_challenges(lines) == expected


@pytest.mark.parametrize(
    ("lines", "scheme"),
    [
        ([], None),
        (["Negotiate"], None),
        (['Basic realm="y"', 'Bearer realm="x"'], "bearer"),
        (['Bearer, Basic realm="y"'], "basic"),
        (['Bearer realm="", Basic'], "basic"),
        (["Bearer service=x"], None),
    ],
)
def test_bearer_with_a_realm_comes_before_basic(
    lines: list[str], scheme: str | None
) -> None:
    chosen = preferred(parse_challenges(lines))
    assert (chosen.scheme if chosen else None) == scheme


def test_an_unclosed_quote_of_a_long_line_is_read_in_linear_time() -> None:
    line = 'Bearer realm="' + "\\a" * 100_000
    assert parse_challenges([line]) == (challenge("bearer"),)
