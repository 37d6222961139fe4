"""Lists that are one document: YAML, JSON, Dockerfiles."""

from __future__ import annotations

import io
import json
import logging
import sys
from typing import Any

import pytest

from auditor.errors import UsageError
from auditor.input import document_format, document_parser, list_reader
from auditor.input.document_parser import read_yaml
from auditor.input.input_items import InputSelector
from auditor.input.list_reader import ListReader
from auditor.input.lists import read_list
from auditor.oci.reference import TagPattern
from tests.unit.input.test_lists import DIGEST, Trickle, items, summaries


def dedented(text: str) -> bytes:
    """The text without its first line break and the indentation of its first line."""
    lines = text.removeprefix("\n").split("\n")
    width = len(lines[0]) - len(lines[0].lstrip())
    return "\n".join(line[width:] for line in lines).encode()


# -- skopeo ----------------------------------------------------------------------

# The example of skopeo-sync(1).
MANUAL = f"""
    registry.example.com:
        images:
            busybox: []
            redis:
                - "1.0"
                - "2.0"
                - "{DIGEST}"
        images-by-tag-regex:
            nginx: ^1\\.13\\.[12]-alpine-perl$
        credentials:
            username: john
            password: this is a secret
        tls-verify: true
        cert-dir: /home/john/certs
    quay.io:
        tls-verify: false
        images:
            coreos/etcd:
                - latest
"""


def test_the_example_of_the_skopeo_manual_page() -> None:
    assert summaries(dedented(MANUAL)) == [
        "3 registry.example.com/busybox:*",
        "5 registry.example.com/redis:1.0",
        "6 registry.example.com/redis:2.0",
        f"7 registry.example.com/redis@{DIGEST}",
        "9 registry.example.com/nginx:^1\\.13\\.[12]-alpine-perl$",
        "19 quay.io/coreos/etcd:latest",
    ]


def test_unused_skopeo_settings_are_logged_without_the_password(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "auditor.input"):
        items(dedented(MANUAL))
    messages = [record.getMessage() for record in caplog.records]
    assert [line.partition(" of ")[0] for line in messages] == [
        "list:10: `credentials`",
        "list:14: `cert-dir`",
        "list:16: `tls-verify`",
    ]
    assert "username and password_env" in messages[0]
    assert "secret" not in "".join(messages)


def test_tags_by_regex_and_by_version_match_as_in_skopeo() -> None:
    data = dedented("""
        a.io:
          images-by-tag-regex: {x: "1\\\\.[0-9]+$"}
          images-by-semver: {y: ">= 3.12, < 4"}
    """)
    by_regex, by_version = (
        item.selector for item in items(data) if isinstance(item, InputSelector)
    )
    assert isinstance(by_regex, TagPattern)
    assert isinstance(by_version, TagPattern)
    tags = ["1.2", "v1.2", "1.2-rc", "3.12", "v3.99.1", "4", "3.13-alpine", "latest"]
    # Go's MatchString finds the expression anywhere in the tag.
    assert [tag for tag in tags if by_regex.matches(tag)] == ["1.2", "v1.2"]
    assert [tag for tag in tags if by_version.matches(tag)] == ["3.12", "v3.99.1"]


def test_a_regex_with_catastrophic_backtracking_takes_linear_time() -> None:
    (item,) = items(b"a.io:\n  images-by-tag-regex: {x: '^(a+)+$'}\n")
    assert isinstance(item, InputSelector)
    assert isinstance(item.selector, TagPattern)
    assert not item.selector.matches("a" * 127 + "!")


def test_a_regex_without_google_re2_is_an_error_with_the_command_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "re2", None)
    with pytest.raises(UsageError, match=r"^list:2: images-by-tag-regex needs google-"):
        items(b"a.io:\n  images-by-tag-regex: {x: a}\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("quay.io: {images: {a: [1.10, 2]}}", ["1 quay.io/a:1.10", "1 quay.io/a:2"]),
        ("docker.io: {images: {alpine: }}", ["1 docker.io/library/alpine:*"]),
        ("h:5000: {images: {a: [x]}}", ["1 h:5000/a:x"]),
        ("ghcr.io/org: {images: {a: [x]}}", ["1 ghcr.io/org/a:x"]),
        ('"a.io":\n  images:\n    x: []', ["3 a.io/x:*"]),
        ("---\na.io:\n  images:\n", []),
        (
            "a: {images: {x: []}}",
            ["1 ! the registry has no dot and no port"],
        ),
        (
            "a.io: {images: {x: [y]}}\nb.io:",
            ["1 a.io/x:y", "2 ! the registry is not a mapping"],
        ),
        ("a.io: {images: [x]}", ["1 ! images must be a mapping of repositories"]),
        ("a.io: {images: {x: 1}}", ["1 ! the tags are not a list"]),
        ("a.io: {images: {x: [{}]}}", ["1 ! a tag is not a string"]),
        (
            "a.io: {images: {x: [], }, image: {}}",
            ["1 a.io/x:*", "1 ! image is not a key"],
        ),
        ("a.io: {images: {'x:1': []}}", ["1 ! expected a repository without a tag"]),
        # A tag has no colon; skopeo takes each digest of go-digest.
        (
            f"a.io: {{images: {{x: ['sha512:{'a' * 128}']}}}}",
            [f"1 a.io/x@sha512:{'a' * 128}"],
        ),
        ("a.io: {images: {x: ['a b']}}", ['1 ! "a.io/x:a b" is not a reference']),
        (
            "a.io: {images-by-tag-regex: {x: '('}}",
            ['1 ! "(" is not a regular expression: missing ): ('],
        ),
        (
            "a.io: {images-by-semver: {x: new}}",
            ['1 ! "new" is not a version constraint'],
        ),
        (
            "a.io: {images-by-semver: {x: []}}",
            ["1 ! the value of images-by-semver must be a string"],
        ),
    ],
)
def test_skopeo_yaml_and_its_errors(text: str, expected: list[str]) -> None:
    found = summaries(text.encode())
    assert len(found) == len(expected)
    assert all(map(str.startswith, found, expected)), found


# -- Kubernetes ------------------------------------------------------------------


def pod(name: str = "web-0", **parts: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": "shop", "name": name},
        **parts,
    }


CONTAINERS = {
    "initContainers": [{"name": "wait", "image": "busybox"}],
    "containers": [{"name": "app", "image": "a.io/app:1"}],
    "ephemeralContainers": [{"name": "debug", "image": "a.io/tools:2"}],
    "volumes": [{"name": "model", "image": {"reference": "a.io/model:3"}}],
}
STATUS = {
    "initContainerStatuses": [
        {"name": "wait", "imageID": f"docker-pullable://busybox@{DIGEST}"}
    ],
    "containerStatuses": [
        {"name": "app", "image": "a.io/app:other", "imageID": f"a.io/app@{DIGEST}"},
        {"name": "app", "imageID": f"docker://{DIGEST}"},
        {"name": "app", "imageID": DIGEST},
        {"name": "app", "imageID": ""},
    ],
}


@pytest.mark.parametrize("form", ["pretty", "one line", "a pod a line", "yaml"])
def test_pods_give_their_images_and_running_digests_once(form: str) -> None:
    pods = [
        pod(spec=CONTAINERS, status=STATUS),
        pod("web-1", spec=CONTAINERS, status=STATUS),
    ]
    document = {"apiVersion": "v1", "kind": "List", "items": pods}
    text = {
        "pretty": json.dumps(document, indent=4),
        "one line": json.dumps(document),
        "a pod a line": json.dumps(pods[0]),
        "yaml": "---\n" + json.dumps(document, indent=1),
    }[form]
    every = items(text.encode())
    found = [item for item in every if not (item.origin and item.origin.is_repeat)]
    # Each image of the second pod is a repeat, which adds a source.
    assert len(every) == len(found) * (1 if form == "a pod a line" else 2)
    assert [
        str(item.selector) for item in found if isinstance(item, InputSelector)
    ] == [
        "docker.io/library/busybox:latest",
        "a.io/app:1",
        "a.io/tools:2",
        "a.io/model:3",
        f"docker.io/library/busybox@{DIGEST}",
        f"a.io/app@{DIGEST}",
    ]
    assert [item.place.rpartition(":")[2] for item in found] == [
        "shop/web-0/wait",
        "shop/web-0/app",
        "shop/web-0/debug",
        "shop/web-0/model",
        "shop/web-0/wait",
        "shop/web-0/app",
    ]


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("Deployment", {"template": {"spec": CONTAINERS}}),
        ("StatefulSet", {"template": {"spec": CONTAINERS}}),
        ("DaemonSet", {"template": {"spec": CONTAINERS}}),
        ("Job", {"template": {"spec": CONTAINERS}}),
        ("CronJob", {"jobTemplate": {"spec": {"template": {"spec": CONTAINERS}}}}),
        ("Service", {"selector": {}}),
    ],
)
def test_workloads_give_the_images_of_their_pod_template(
    kind: str, spec: dict[str, Any]
) -> None:
    document = {"apiVersion": "apps/v1", "kind": kind, "spec": spec}
    found = items(json.dumps(document, indent=2).encode())
    assert [item.place for item in found] == (
        []
        if kind == "Service"
        else [f"list:-/-/{one}" for one in ("wait", "app", "debug", "model")]
    )


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (None, []),
        ([], []),
        ({"containers": None}, []),
        ({"containers": [None, 1, {"image": None}, {"image": ""}]}, []),
        (
            {"containers": [{"name": 1, "image": 2}, {"image": "a.io/x"}]},
            ["shop/web-0/- ! the image is not a string", "shop/web-0/- a.io/x:latest"],
        ),
        (
            {"containers": [{"name": "c", "image": "A b"}]},
            ['shop/web-0/c ! "A b" is not a reference'],
        ),
    ],
)
def test_a_pod_with_invalid_values(spec: object, expected: list[str]) -> None:
    found = summaries(json.dumps(pod(spec=spec), indent=1).encode())
    assert len(found) == len(expected)
    assert all(map(str.startswith, found, expected)), found


def test_an_item_that_is_not_an_object_is_malformed() -> None:
    document = {
        "apiVersion": "v1",
        "kind": "PodList",
        "items": [1, {"spec": CONTAINERS}],
    }
    found = summaries(json.dumps(document, indent=1).encode())
    assert found[0] == "list ! an item of the list is not an object"
    assert len(found) == 5


@pytest.mark.parametrize("indent", [1, 2, 4, "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_list_larger_than_the_document_limit_is_read_object_by_object(
    monkeypatch: pytest.MonkeyPatch, indent: int | str, end: str
) -> None:
    monkeypatch.setattr(document_parser, "MAX_DOCUMENT_CHARS", 3000)
    monkeypatch.setattr(list_reader, "BLOCK_BYTES", 500)
    pods = [
        pod(f"web-{number}", spec={"containers": [{"image": f"a.io/x:{number}"}]})
        for number in range(200)
    ]
    document = {"apiVersion": "v1", "items": pods, "kind": "List", "metadata": {}}
    lines = json.dumps(document, indent=indent).split("\n")
    assert sum(map(len, lines)) > 3000 * 10
    found = items(end.join(lines).encode())
    assert [item.place for item in found] == [
        f"list:shop/web-{number}/-" for number in range(200)
    ]


def test_a_long_list_on_one_line_is_read_object_by_object(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(document_parser, "MAX_DOCUMENT_CHARS", 3000)
    monkeypatch.setattr(list_reader, "BLOCK_BYTES", 500)
    monkeypatch.setattr(document_format, "BLOCK_BYTES", 500)
    pods = [
        pod(f"web-{number}", spec={"containers": [{"image": f"a.io/x:{number}"}]})
        for number in range(200)
    ]
    document = {"apiVersion": "v1", "items": pods, "kind": "List"}
    text = json.dumps(document).encode() + b"\n"
    data = b"# kubectl get pods\n" + text
    assert [item.place for item in items(data + text.replace(b"x:", b"y:"))] == [
        f"list:shop/web-{number}/-" for number in (*range(200), *range(200))
    ]
    with pytest.raises(
        UsageError, match=r"^list:2:\d+: not JSON: invalid char in json text$"
    ):
        items(data.replace(b'"kind"', b"kind"))


@pytest.mark.parametrize(
    "entries",
    [
        [None, pod(spec=CONTAINERS), {"spec": CONTAINERS}],
        [{"spec": CONTAINERS}, pod(spec=CONTAINERS)],
        [pod(spec=CONTAINERS), 7, {"spec": CONTAINERS}, pod(spec=CONTAINERS)],
        [[pod()], pod(spec=CONTAINERS), []],
        [{"kind": "Pod", "spec": CONTAINERS}, pod()],
        [pod(), {"kind": None, "apiVersion": "v1", "spec": CONTAINERS}],
    ],
)
def test_mixed_entries_of_a_list_are_all_read(
    entries: list[Any],
) -> None:
    document = {"kind": "PodList", "items": entries, "apiVersion": "v1"}
    pretty = summaries(json.dumps(document, indent=2).encode())
    compact = summaries(json.dumps(document).encode())
    wrong = [line for line in compact if "not an object" in line]
    assert sorted({line.partition(" ")[2] for line in pretty}) == sorted(
        {line.partition(" ")[2] for line in compact}
    )
    assert [line for line in pretty if "not an object" in line] == [
        line.replace("1 !", "list !") for line in wrong
    ]


@pytest.mark.parametrize("at", ["{", "[", "items", "}, {"])
def test_a_list_may_have_line_breaks_anywhere(at: str) -> None:
    document = {"apiVersion": "v1", "kind": "List", "items": [pod("a"), pod("b")]}
    text = json.dumps(document)
    whole = summaries(text.encode())
    begin = text.index(at, 1) + len(at) - 1
    broken = f"{text[:begin]}{text[begin:].replace(', ', chr(10) + ', ', 1)}"
    assert broken.count("\n") == 1
    assert [line.partition(" ")[2] for line in summaries(broken.encode())] == [
        line.partition(" ")[2] for line in whole
    ]


def test_invalid_json_is_reported_with_its_line() -> None:
    document = {"apiVersion": "v1", "items": [pod(), pod("bad")], "kind": "List"}
    text = json.dumps(document, indent=4).replace('"bad"', "bad")
    line = text.split("\n").index(
        next(one for one in text.split("\n") if " bad" in one)
    )
    with pytest.raises(UsageError, match=rf"^list:{line + 1}:\d+: not JSON: "):
        items(text.encode())


def test_a_truncated_list_gives_its_complete_objects_then_an_error() -> None:
    document = {"apiVersion": "v1", "items": [pod(spec=CONTAINERS), pod()]}
    text = json.dumps(document, indent=4)
    data = text[: len(text) - 40].encode()
    found = read_list(ListReader(io.BytesIO(data), "list"))
    assert [str(next(found).place) for _ in range(4)] == [
        f"list:shop/web-0/{name}" for name in ("wait", "app", "debug", "model")
    ]
    with pytest.raises(
        UsageError, match=r"^list:\d+:\d+: not JSON: the document is incomplete$"
    ):
        next(found)


# -- invalid documents ---------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"a:\n  - [b", r"^list:3:1: not YAML: did not find expected"),
        (b"a:\n\tb: 1", r"^list:2:1: not YAML: found character that cannot start"),
        (b"a: \x01", r"^list: not YAML: "),
        (b"# c\n\na: 1\na: 2", r"^list:4: the key a occurs twice in one mapping$"),
        (
            b"a: b",
            r"^list: unknown format: neither a list of references nor Kubernetes ",
        ),
        (b"---\n- a.io/x", r"^list: unknown format: neither a list of references nor "),
        (b"a: *b", r"^list:1: the alias \*b has no complete anchor before it$"),
        (b"a: &b [*b]", r"^list:1: the alias \*b has no complete anchor before it$"),
        (b"? [a]\n: b\na: 1", r"."),
        (b"a: {[b]: c}", r"^list:1: a key is not a string$"),
        (
            b"a: {<<: b}",
            r"^list:1: the value of << must be a mapping or a list of mappings$",
        ),
        (b"a:\n  b: \xff", r"^list:2: the line is not UTF-8 text$"),
        (
            b'{\n"a": }',
            r"^list:2:6: not JSON: unallowed token at this point in JSON text$",
        ),
        (
            b'{\n"reference": "a.io/x"\n}\n{\n}',
            r"^list: unknown format: .*; write one reference or JSON object \(",
        ),
        (b"{\n}", r"^list: unknown format: neither a list of references nor "),
        (b"a: " + b"[" * 101, r"^list:1: more than 100 levels$"),
        # 4,301 digits end the process in ijson 3.6 (`int` raises ValueError).
        (b'{\n"a": ' + b"9" * 5000, r"^list:1: a number has thousands of digits$"),
        (b'{\n"a": 1.' + b"9" * 5000 + b"}", r"^list:1: a number has thousands of "),
    ],
)
def test_an_invalid_document_is_an_error_with_its_place(
    data: bytes, sentence: str
) -> None:
    if data.startswith(b"?"):
        assert summaries(data)  # no first line of a mapping: a list, with a bad line
        return
    with pytest.raises(UsageError, match=sentence):
        items(data)


@pytest.mark.parametrize("size", [1, 999, 4096, 100_000])
@pytest.mark.parametrize("is_text", [True, False])
def test_digits_in_a_string_are_no_number(size: int, *, is_text: bool) -> None:
    digits = "9" * 9000
    value = f'"{digits}"' if is_text else digits
    text = f'{{"apiVersion": "v1", "kind": "List",\n "items": [{{"a": {value}}}]}}'
    read = read_list(ListReader(Trickle(text.encode(), size), "list"))
    if is_text:
        assert list(read) == []
    else:
        with pytest.raises(UsageError, match="a number has thousands of digits"):
            list(read)


def test_nested_aliases_do_not_expand_to_a_billion_values() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [
        f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]"
        for level in range(1, 10)
    ]
    with pytest.raises(UsageError, match=r"^list:\d+: the list has more than 1,000,0"):
        items("\n".join(lines).encode())


def test_merged_mappings_are_counted_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(document_parser, "MAX_VALUES", 50)
    text = "a: &a {b: 1, c: 2, d: 3}\n" + "".join(
        f"x{number}: {{<<: [*a, *a]}}\n" for number in range(5)
    )
    with pytest.raises(UsageError, match="more than 50 values"):
        list(read_yaml(text, "list"))


def test_of_many_merged_mappings_the_first_wins() -> None:
    # Copying what is merged for each mapping took 20 s for 40,000 of them.
    mappings = ", ".join(f"{{a: {n}, b{n}: x}}" for n in range(40_000))
    (document,) = read_yaml(f"<<: [{mappings}]\nb1: y\n", "list")
    assert len(document) == 40_001
    assert (document["a"], document["b1"], document["b2"]) == ("0", "y", "x")


def test_a_document_larger_than_the_limit_is_an_error_with_advice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Endless(io.BytesIO):
        def read1(self, size: int | None = -1, /) -> bytes:
            return start.pop() if start else b' "a": 1,\n'

    monkeypatch.setattr(list_reader, "MAX_DOCUMENT_CHARS", 10)
    start = [b"services:\n"]
    with pytest.raises(UsageError, match=r"larger than 10 bytes; .*jq -c"):
        list(read_list(ListReader(Endless(), "list")))
    monkeypatch.setattr(document_parser, "MAX_DOCUMENT_CHARS", 100)
    start = [b"{\n"]
    with pytest.raises(UsageError, match=r"^list:\d+: an object is larger than 100 b"):
        list(read_list(ListReader(Endless(), "list")))
