"""Dockerfiles as lists. The cases follow BuildKit's grammar: frontend/dockerfile."""

from __future__ import annotations

import pytest

from auditor.input.variables import VariableError, expand_word
from tests.unit.input.test_documents import dedented
from tests.unit.input.test_lists import summaries


def test_a_dockerfile_gives_the_images_it_builds_from() -> None:
    data = dedented("""
        # syntax=docker/dockerfile:1
        ARG GO=1.22 REGISTRY=a.io
        ARG SUFFIX="-alpine" UNSET
        FROM --platform=$BUILDPLATFORM ${REGISTRY}/golang:${GO}${SUFFIX} AS Build
        RUN <<EOF
        FROM not/an/image
        EOF
        RUN echo $((1<<N))
        FROM build AS test
        FROM scratch
        FROM \\
          # the last one
          a.io/base:1
        COPY --from=build /app /app
        COPY --chown=1 --from=ghcr.io/astral-sh/uv:0.5 /uv /bin/
        COPY --from=0 /x /x
        RUN --mount=type=bind,from=a.io/tools,target=/t --mount=type=cache,target=/c x
        FROM app:$UNSET
    """)
    assert summaries(data) == [
        "4 a.io/golang:1.22-alpine",
        "11 a.io/base:1",
        "15 ghcr.io/astral-sh/uv:0.5",
        "17 a.io/tools:latest",
        "18 ! the variable UNSET has no default here: the image is not known; list it"
        " separately",
    ]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("from alpine", ["1 docker.io/library/alpine:latest"]),
        ("FROM --platform=x", ["1 ! FROM has no image"]),
        ("FROM a.io/x b", ["1 ! expected FROM image, or FROM image AS stage"]),
        ("FROM a.io/x # b", ["1 ! expected FROM image, or FROM image AS stage"]),
        ("FROM a.io/x AS b\nFROM B", ["1 a.io/x:latest"]),
        ("FROM a.io/x\nHEREDOC\nHEREDOC EOF", ["1 a.io/x:latest"]),
        ("FROM a.io/x \\", ["1 a.io/x:latest"]),
        ("FROM a.io/x\\\\", ['1 ! "a.io/x\\" is not a reference: it contains']),
        ("ARG A=$B\nFROM $A", ["2 ! the variable A has no default here"]),
        ("ARG A=a.io/x\nFROM '$A'", ['2 ! "$A" is not a reference']),
        ("ARG A='a.io/x' B=\"$A:1\"\nFROM $B", ["2 a.io/x:1"]),
        ("ARG A=a.io B=${A}/${C:-x:${D:-2}}\nFROM $B", ["2 a.io/x:2"]),
        ("ARG A=a.io/x\nFROM $A\nARG A=a.io/y\nFROM $A", ["2 a.io/x", "4 a.io/x"]),
        ("FROM a.io/x:${V:?no}", ["1 ! the variable V must be set"]),
        ("FROM a.io/x:${V#v}", ["1 ! ${V#v} is not a variable with a plain default"]),
        ('FROM "a.io/x', ["1 ! a quote is not closed: the image is not known"]),
        # A stage may be named before it is defined, but not as a base.
        ("FROM a.io/x\nCOPY --from=late /a /\nFROM a.io/y AS late", ["1", "3"]),
        ("FROM late\nFROM a.io/y AS late", ["1 docker.io/library/late", "2 a.io/y"]),
        ("FROM a.io/x\nCOPY --from='a.io/y' /a /", ["1 a.io/x", "2 a.io/y"]),
        ("FROM a.io/x\nCOPY --link --from=a.io/y /a /", ["1 a.io/x", "2 a.io/y"]),
        ("FROM a.io/x\nCOPY -- --from=a.io/y /a /", ["1 a.io/x"]),
        ("FROM a.io/x\nCOPY /a --from=a.io/y /", ["1 a.io/x"]),
        ("FROM a.io/x\nRUN echo --mount=from=a.io/y", ["1 a.io/x"]),
        ("FROM a.io/x\nRUN --mount=FROM=a.io/y ls", ["1 a.io/x", "2 a.io/y"]),
        ('FROM a.io/x\nRUN --mount="from=a.io/y,dst=/ a" ls', ["1", "2 a.io/y"]),
        ("FROM a.io/x\nRUN --mount='\"from=a.io/y\",rw' ls", ["1 a.io/x", "2 a.io/y"]),
        ("FROM a.io/x\nRUN --mount=from=$A ls", ["1 a.io/x", "2 ! the variable A has"]),
    ],
)  # fmt: skip
def test_instructions(data: str, expected: list[str]) -> None:
    found = summaries(data.encode())
    assert len(found) == len(expected), found
    assert all(map(str.startswith, found, expected)), found


# Each text is followed by "FROM a.io/y" on a line of its own; `True` if that line is an
# instruction. parser.go: `trimContinuationCharacter`, directives.go: `ParseLine`.
@pytest.mark.parametrize(
    ("text", "is_instruction"),
    [
        ("RUN a \\", False),
        ("RUN a \\ \t", False),
        ("RUN a \\\r", False),
        ("RUN a \\\n", False),  # an empty line does not end it
        ("RUN a \\\n  # comment", False),
        ("RUN a \\\n# comment \\", False),
        ("RUN a \\\\", True),
        ("RUN a \\ b", True),
        ("\\", False),
        ("# comment \\", True),
        ("RUN a `", True),
    ],
)
def test_continued_lines(text: str, is_instruction: bool) -> None:
    found = summaries(f"FROM a.io/x\n{text}\nFROM a.io/y".encode())
    assert (found[1:] == [f"{text.count(chr(10)) + 3} a.io/y:latest"]) is is_instruction


def test_continued_lines_are_joined_without_a_blank() -> None:
    data = dedented("""
        FROM a.io/x
        RUN --mount=type=bind,\\
        from=golang:1.22,\\
        # comment

        target=/t ls
        COPY --fr\\
        om=a.io/to\\
        ols:1 /a /
        FR\\
        OM a.io/z
    """)
    assert summaries(data) == [
        "1 a.io/x:latest",
        "2 docker.io/library/golang:1.22",
        "7 a.io/tools:1",
        "10 a.io/z:latest",
    ]


@pytest.mark.parametrize(
    ("start", "is_directive"),
    [
        ("# escape=`\n", True),
        ("  #escape = `  \n", True),
        ("# Escape=`\r\n", True),
        ("# syntax=docker/dockerfile:1\n# escape=`\n", True),
        ("#check=skip=all\n# escape=`\n", True),
        ("# a comment\n# escape=`\n", False),
        ("# key=value\n# escape=`\n", False),
        ("\n# escape=`\n", False),
        ("#\n# escape=`\n", False),
    ],
)
def test_directives_are_the_first_lines(start: str, is_directive: bool) -> None:
    data = f"{start}FROM `\na.io/x"
    found = summaries(data.encode())
    assert (found == [f"{start.count(chr(10)) + 1} a.io/x:latest"]) is is_directive


# The line that begins here-documents, and the lines in them. parser.go:
# `heredocsFromLine`, `heredocFromMatch`; the Dockerfile reference, "Here-documents".
@pytest.mark.parametrize(
    ("instruction", "lines"),
    [
        ("RUN <<EOF", "FROM b\nEOF"),
        ("RUN 3<<EOF", "FROM b\nEOF"),
        ("RUN <<EOF", "\tEOF\n EOF\nEOF \nEOFF\nEOF"),
        ("RUN <<-EOF", "FROM b\n\t\tEOF"),
        ("RUN <<-EOF", " \tEOF\nEOF"),
        ("RUN <<'EOF'", "FROM b\nEOF"),
        ('RUN <<-"EOF"', "FROM b\n\tEOF"),
        ("RUN <<E'O'\"F\"", "FROM b\nEOF"),
        ("RUN <<E\\OF", "FROM b\nEOF"),
        ("RUN <<eo\\'f", "FROM b\neo'f"),
        ("RUN <<'one two'", "FROM b\none two"),
        ("RUN <<END-OF-FILE", "END\nFROM b\nEND-OF-FILE"),
        ("RUN <<file.txt", "FROM b\nfile.txt"),
        ("RUN <<1", "FROM b\n1"),
        ("RUN <<ENDE\u00fc", "FROM b\nENDE\u00fc"),
        ("RUN <<$EOF", "FROM b\n$EOF"),
        ("RUN <<${EOF}", "FROM b\n${EOF}"),
        ("RUN <<  EOF", "FROM b\nEOF"),
        ("RUN << -EOF", "\t-EOF\n-EOF"),
        ("RUN <<EOF cat > /a", "FROM b\nEOF"),
        ("RUN <<EOF>a", "EOF\nEOF>a"),
        ("RUN cat <<A <<-'B' | sh", "B\nA\nA\n\tB"),
        ("RUN --mount=type=cache,target=/c <<EOF", "FROM b\nEOF"),
        ("COPY <<A <<B /d/", "FROM b\nA\nFROM b\nB"),
        ("ADD <<EOF /d", "FROM b\nEOF"),
        ("ONBUILD RUN <<EOF", "FROM b\nEOF"),
        ("onbuild copy --chown=1 <<'E' /d", "FROM b\nE"),
        ("RUN cat \\\n <<EOF", "FROM b\nEOF"),
        ("RUN <<EOF", "FROM b \\\nEOF"),
        ("RUN <<EOF", "# comment\nEOF\r"),
        ('RUN ["a" <<EOF', "FROM b\nEOF"),
    ],
)  # fmt: skip
def test_here_documents(instruction: str, lines: str) -> None:
    head = f"FROM a.io/x\n{instruction}\n"
    after = f"{head}{lines}\nFROM a.io/y"
    assert summaries(after.encode()) == [
        "1 a.io/x:latest",
        f"{after.count(chr(10)) + 1} a.io/y:latest",
    ]
    unclosed = summaries(f"{head}FROM a.io/y".encode())
    assert len(unclosed) == 2, unclosed
    assert unclosed[1].endswith("is not closed")


@pytest.mark.parametrize(
    "instruction",
    [
        "RUN '<<EOF'",
        'RUN "<<EOF"',
        "RUN \\<<EOF",
        "RUN <<<EOF",
        "RUN << EOF EOF <",
        "RUN <<",
        "RUN <<- EOF",
        "RUN a<<EOF",
        "RUN echo $((1<<N))",
        'RUN ["cat", "<<EOF"]',
        'COPY ["<<EOF", "/"]',
        "RUN echo it's <<EOF",
        "RUN echo ${a <<EOF",
        "USER <<EOF",
        "ENV A=<<EOF",
        "ONBUILD USER <<EOF",
        "# RUN <<EOF",
    ],
)
def test_other_words_begin_no_here_document(instruction: str) -> None:
    found = summaries(f"FROM a.io/x\n{instruction}\nFROM a.io/y".encode())
    expected = instruction == "RUN << EOF EOF <"  # a blank may follow <<
    assert (found == ["1 a.io/x:latest", "3 a.io/y:latest"]) is not expected, found


# shell/lex.go; PWD is /home, NULL is empty, X is not set.
@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("hello", "hello"),
        ("he'll'o", "hello"),
        ("he'llo", None),
        (r"he\'llo", "he'llo"),
        (r"he\\'llo", None),
        (r"abc\tdef", "abctdef"),
        (r'"abc\tdef"', r"abc\tdef"),
        (r"'abc\tdef'", r"abc\tdef"),
        ("hello\\", "hello"),
        (r"'hello\'", "hello\\"),
        (r'"hello\"', None),
        ('"hel\'lo"', "hel'lo"),
        ("$.", "$."),
        ("he$PWD", "he/home"),
        (r"he\$PWD", "he$PWD"),
        (r"he\\$PWD", r"he\/home"),
        (r'"he\$PWD"', "he$PWD"),
        (r"\${}", "${}"),
        ("${}", None),
        ("${:-a}", None),
        ("he${PWD}", "he/home"),
        ("he${X}", None),
        ("he${.}", None),
        ("he${X:-000}xx", "he000xx"),
        ("he${PWD:-${X}}xx", "he/homexx"),
        ("he${X:-$PWD}xx", "he/homexx"),
        ("he${X:-${Y:-yyy}}xx", "heyyyxx"),
        ("he${NULL-a}", "he"),
        ("he${NULL:-a}", "hea"),
        ("he${NULL+a}", "hea"),
        ("he${NULL:+a}", "he"),
        ("he${X:+${PWD}}xx", "hexx"),
        ("he${PWD:+${PWD}:}xx", "he/home:xx"),
        ("he${PWD?no}", "he/home"),
        ("he${NULL:?no}", None),
        ("he${X?}", None),
        ("he${X:=000}", None),
        ("he${PWD", None),
        (r"he${X:-\$PWD:}xx", "he$PWD:xx"),
        (r"he${X:-\${PWD}z}xx", "he${PWDz}xx"),
        ("'he${X}'", "he${X}"),
        ("\"he'$PWD'\"", "he'/home'"),
        ("${X:-'a}'}b", "a}b"),
        ("${X:-bbb}}", "bbb}"),
    ],
)
def test_words_are_expanded_as_in_a_shell(word: str, expected: str | None) -> None:
    values = {"PWD": "/home", "NULL": ""}
    if expected is None:
        with pytest.raises(VariableError):
            expand_word(word, values, "\\")
    else:
        assert expand_word(word, values, "\\") == expected
        changed = word.replace("\\", "`")
        assert expand_word(changed, values, "`") == expected.replace("\\", "`")


def test_arguments_that_double_each_other_are_capped() -> None:
    doubling = "".join(f"ARG A{n + 1}=$A{n}$A{n}\n" for n in range(40))
    found = summaries(f"ARG A0=x\n{doubling}FROM a.io/$A10\nFROM a.io/$A40".encode())
    assert found[0].startswith('42 ! "a.io/xxx')  # 1,024 characters
    assert found[1].startswith("43 ! the variable A40 has no default here")
    nested = "${B:-" * 20 + "$A" * 3 + "}" * 20
    with pytest.raises(VariableError, match="it has more than 4,096 characters"):
        expand_word(nested, {"A": "x" * 2000}, "\\")


def test_the_values_of_many_arguments_are_bounded() -> None:
    # 20,000 such lines, 290 kB, kept 80 MB.
    lines = "".join(f"ARG x{n}=$a-\n" for n in range(2000))
    images = "FROM a.io/${x10:+y}\nFROM a.io/${x1999:+z}\nFROM a.io/$x1999"
    found = summaries(f"ARG a={'x' * 4000}\n{lines}{images}".encode())
    assert found[0] == "2002 a.io/y:latest"
    assert found[1].startswith("2003 !")
    assert found[2].startswith("2004 ! the variable x1999 has no default here")


# Dockerfile reference, "Automatic platform ARGs in the global scope".
@pytest.mark.parametrize(
    ("image", "is_stage"),
    [
        ("build-${TARGETARCH}", True),
        ("build-$TARGETOS-$TARGETARCH$TARGETVARIANT", True),
        ("${NAME}-$BUILDARCH", True),
        ("Build-${TARGETARCH:-x}", True),
        ("other-${TARGETARCH}", False),
        ("build-${ARCH}", False),
        ("a.io/${TARGETARCH}/x", False),
    ],
)
def test_a_stage_for_each_platform_is_no_image(image: str, is_stage: bool) -> None:
    stages = "FROM a.io/x AS build-arm64\nFROM scratch AS build-linux-armv7\n"
    found = summaries(f"ARG NAME=build\n{stages}FROM {image}\n".encode())
    assert found[0] == "2 a.io/x:latest"
    assert [line[:3] for line in found[1:]] == ([] if is_stage else ["4 !"])
