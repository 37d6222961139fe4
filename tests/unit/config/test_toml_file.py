from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.config.toml_file import parse_toml, source_lines
from auditor.errors import ConfigError


def test_the_lines_of_sections_and_keys_are_found() -> None:
    text = """\
[rules.a]   # a comment
max_size = 1
list = [
    "x",
]
[rules."b c".sub]
'quoted' = 1
[[waivers]]
reason = "1"
[[waivers]]
reason = "[rules.z]"
[waivers.by]
who = "me"
"""
    assert source_lines(text) == {
        ("rules",): 1,
        ("rules", "a"): 1,
        ("rules", "a", "max_size"): 2,
        ("rules", "a", "list"): 3,
        ("rules", "b c"): 6,
        ("rules", "b c", "sub"): 6,
        ("rules", "b c", "sub", "quoted"): 7,
        ("waivers",): 8,
        ("waivers", 0): 8,
        ("waivers", 0, "reason"): 9,
        ("waivers", 1): 10,
        ("waivers", 1, "reason"): 11,
        ("waivers", 1, "by"): 12,
        ("waivers", 1, "by", "who"): 13,
    }


def test_text_in_strings_lists_and_comments_is_not_a_key() -> None:
    text = (
        'a = """\nworkers = 0\n[section]\n\\""" b = 1\n"""""\n'  # 1-5
        "c = '''\nworkers = 0\n'''''\n"  # 6-8
        "d = [ # ]\n  'workers = 0 ]',\n  [1, 2],\n\n]\n"  # 9-13
        "# workers = 0 [ \" '''\n\n"  # 14-15
        'x.y = {u = "}", "v w" = [1]}\r\n'  # 16
        "# no line break \u2028 for TOML\n"  # 17
        'workers = 0 # "\n' + "[registry.'a=b']"  # 18  # 19
    )
    tomllib.loads(text)
    assert source_lines(text) == {
        ("a",): 1,
        ("c",): 6,
        ("d",): 9,
        ("x",): 16,
        ("x", "y"): 16,
        ("x", "y", "u"): 16,
        ("x", "y", "v w"): 16,
        ("workers",): 18,
        ("registry",): 19,
        ("registry", "a=b"): 19,
    }


def test_keys_below_the_maximum_depth_are_ignored() -> None:
    deep = ".".join("a" * 500)
    assert max(map(len, source_lines(f"{deep} = 1\n[b.{deep}]"))) == 8


_TEXTS = st.text(st.sampled_from("a[]{}=#\n \"'\\.,é\u2028"), max_size=12)
_VALUES = st.one_of(
    _TEXTS.map(
        lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    ).filter(lambda text: "\n" not in text),
    _TEXTS.map(
        lambda text: '"""' + text.replace("\\", "\\\\").replace('"""', '""\\"') + '"""'
    ),
    _TEXTS.map(lambda text: "'''" + text.replace("'''", "") + "'''"),
    st.sampled_from(
        [
            "1",
            "true",
            "2027-01-31T00:00:00Z",
            "[\n]",
            "[ 1,\n# ]\n2 ]",
            "[{a = 1},\n{b = ']'}\n]",
            "{ a = 1, 'b' = [\n2] }",
        ]
    ),
)
_SEPARATORS = st.sampled_from(["", "\n", "# k0 = 1 [\n", "\r\n", " \t\n#'''\n"])
_HEADERS = st.sampled_from(["[s{}]", "[[s{}]]", "[ s{} . 'a.b' ] # [", '[s{}.""]'])


def _is_valid(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


@given(
    st.lists(st.tuples(_SEPARATORS, _VALUES.filter(lambda w: _is_valid(f"a = {w}")))),
    st.lists(st.tuples(_SEPARATORS, _HEADERS, _VALUES)),
)
def test_each_key_has_the_line_it_is_written_on(
    keys: list[tuple[str, str]], sections: list[tuple[str, str, str]]
) -> None:
    text, expected = "", {}
    for number, (between, written) in enumerate(keys):
        text += between
        expected[f"k{number}"] = text.count("\n") + 1
        text += f"k{number} = {written}\n"
    for number, (between, head, written) in enumerate(sections):
        if not _is_valid(f"a = {written}"):
            continue
        text += between
        expected[f"s{number}"] = text.count("\n") + 1
        text += f"{head.format(number)}\n"
        expected[f"in{number}"] = text.count("\n") + 1
        text += f" 'in{number}' = {written}\n"
    document = tomllib.loads(text)
    lines = source_lines(text)
    # A key is named by what it ends with: `sN` also begins the paths of what is in it.
    found = {
        str(path[-1]): line
        for path, line in lines.items()
        if path[-1] in expected and _is_there(document, path)
    }
    assert found == expected
    assert all(_is_there(document, path) for path in lines)


def _is_there(document: Any, path: tuple[str | int, ...]) -> bool:
    for part in path:
        try:
            document = document[part]
        except (KeyError, IndexError, TypeError):
            return False
    return True


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("a = 1\nb = " + "[" * 5000, "f:2:37: more than 32 levels of brackets"),
        ("b = " + "{b = " * 5000, "f:1:165: more than 32 levels of brackets"),
        ("a" + ".a" * 100_000 + " = 1", "f:1:64: a key with more than 32 parts"),
        ("[a" + ' . "b"' * 100_000 + "]", "f:1:190: a key with more than 32 parts"),
        ("a = " + "9" * 5000, "f:1:5: a number or key with more than 100 characters"),
        (
            "a = -0x" + "f" * 5000,
            "f:1:5: a number or key with more than 100 characters",
        ),
        ('a = "' + '\\"' * 50_000, "f:1:100006: not TOML: Unterminated string"),
    ],
)
def test_nesting_dotted_keys_and_huge_numbers_are_one_sentence(
    text: str, mistake: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_toml(text.encode(), "f")
    assert raised.value.mistakes == (mistake,)
    assert raised.value.exit_code == 2


def test_the_limits_of_toml_are_those_of_one_key_and_one_number() -> None:
    text = f"""
a.b = [{"1.5, " * 100}]  # {"[" * 100}
c = "{"[" * 100}{"." * 100}{"9" * 5000}"
d = '''{"[" * 100}'''
{"e" * 200} = {"[" * 32}{"]" * 32}
""" + "".join(f"[g.h{number}]\n" for number in range(100))
    assert len(parse_toml(text.encode(), "f").document) == 5
