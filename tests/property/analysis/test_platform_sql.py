"""Platforms have the same names in SQL as in Python."""

# ruff: noqa: S608  (the SQL is made of constants)

from __future__ import annotations

import duckdb
from hypothesis import given
from hypothesis import strategies as st

from auditor.analysis.platform_sql import normalized_names, platform_name
from auditor.oci.platform import ARCHITECTURE_NAMES, platform_text

_OS = st.sampled_from(["linux", "Linux", "windows", "macos", "macOS", "", "unknown"])
_ARCHITECTURES = st.sampled_from(
    [
        *ARCHITECTURE_NAMES,
        *("amd64", "AMD64", "arm64", "arm", "386", "wasm", "riscv64", "ppc64le", ""),
    ]
) | st.text("armx86v_-", max_size=8)
_VARIANTS = st.sampled_from(
    [
        *(None, "", "v1", "v2", "v3", "v5", "v6", "v7", "v8", "V8", "8", "7", "08"),
        *("v8.0", "V8.1", "v9", "9", "9.0", "v9.0", "8.0", "arm", "armhf", "386"),
        *("i386", "macos"),
    ]
) | st.text("v0123456789.", max_size=4)
_PLATFORMS = st.tuples(_OS, _ARCHITECTURES, _VARIANTS)


def _one(query: str, value: object) -> object:
    with duckdb.connect() as connection:
        ((found,),) = connection.execute(query, [value]).fetchall()
    return found


@given(st.lists(_PLATFORMS, max_size=20))
def test_a_platform_has_the_same_name_in_sql(
    platforms: list[tuple[str, str, str | None]],
) -> None:
    fields = ("os", "architecture", "variant")
    structs = [dict(zip(fields, platform, strict=True)) for platform in platforms]
    query = f"""
        SELECT [{platform_name("p")} FOR p IN platforms]
        FROM (SELECT ?::STRUCT(os VARCHAR, architecture VARCHAR, variant VARCHAR)[]
                AS platforms)"""
    expected = [platform_text(*platform) or "" for platform in platforms]
    assert _one(query, structs) == expected


@given(st.lists(_PLATFORMS, max_size=8))
def test_names_of_earlier_reports_are_normalised(
    platforms: list[tuple[str, str, str | None]],
) -> None:
    known = [platform for platform in platforms if platform[0] and platform[1]]
    names = sorted({"/".join(filter(None, platform)) for platform in known})
    query = f"SELECT {normalized_names('names')} FROM (SELECT ?::VARCHAR[] AS names)"
    expected = sorted({str(platform_text(*platform)) for platform in known})
    assert _one(query, names) == expected
