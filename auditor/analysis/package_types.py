"""Types of packages that conditions name and no SBOM has: they may be misspelt.

A misspelt type finds nothing, which looks like an answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import duckdb

from auditor.analysis.package_uses import PackageCondition
from auditor.config.validation_errors import unknown
from auditor.fast_dataclass import dataclass
from auditor.oci.sbom_packages import SCHEME
from auditor.util.text import safe_text

# Of packages without a package URL.
NO_TYPE = "unknown"

# The registered types (package-url/purl-spec, types/), and those of syft, trivy and
# cdxgen that are not registered. Others count as known if a package has them.
KNOWN_TYPES = frozenset(
    (
        *("alpm", "apk", "bazel", "binary", "bitbucket", "bitnami", "brew", "cargo"),
        *("carthage", "chef", "chocolatey", "chrome-extension", "clojars", "cocoapods"),
        *("composer", "conan", "conda", "cpan", "cran", "crystal", "dart", "deb"),
        *("docker", "drupal", "ebuild", "elm", "gem", "generic", "gitea", "github"),
        *("gitlab", "golang", "gradle", "guix", "hackage", "haxe", "helm", "hex"),
        *("huggingface", "jenkins", "julia", "k8s", "linux-kernel"),
        *("linux-kernel-module", "lua", "luarocks", "maven", "mlflow", "nix", "npm"),
        *("nuget", "oci", "opam", "otp", "p2", "pear", "pecl", "platformio", "portage"),
        *("pub", "puppet", "pypi", "qpkg", "r", "redhat", "rpm", "snap", "sourceforge"),
        *("swid", "swift", "terraform", "unity", "vcs", "vim", "vscode-extension"),
        *("wordpress-plugin", "yocto"),
    )
)
# Types in the sentence.
_MAX_TYPES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class AbsentType:
    """A type that the condition of this number names, and no package has.

    `present` are the types that packages have, by their number.
    """

    condition: int
    type: str
    present: tuple[str, ...]

    @property
    def is_known(self) -> bool:
        """Whether package URLs have this type."""
        return self.type in KNOWN_TYPES or self.type == NO_TYPE

    @property
    def text(self) -> str:
        """What is wrong and which types there are, safe to print."""
        name = safe_text(self.type, 60)
        shown = ", ".join(safe_text(one, 60) for one in self.present[:_MAX_TYPES])
        more = len(self.present) - _MAX_TYPES
        there = f"they have {shown}" + (f" and {more} more" if more > 0 else "")
        text = (
            f"no package in the SBOMs has the type {name};"
            f" {there if self.present else 'they have no packages at all'}"
        )
        if self.is_known:
            return text
        valid = {*KNOWN_TYPES, *self.present, NO_TYPE}
        return f"{name}: {unknown('type of packages', self.type, valid)}; {text}"


def absent_types(
    connection: duckdb.DuckDBPyConnection, conditions: Sequence[PackageCondition]
) -> Iterator[AbsentType]:
    """The types that conditions name and no SBOM has.

    The connection has the tables of `create_package_uses`. The SBOMs are read once
    more, and only if there is a type of which nothing was found.
    """
    found = {
        (number, kind)
        for number, kind in connection.execute(
            "SELECT DISTINCT condition, coalesce(type, ?) FROM matching", [NO_TYPE]
        ).fetchall()
    }
    sought = [
        (number, kind)
        for number, condition in enumerate(conditions)
        for kind in _types(condition)
        if (number, kind) not in found
    ]
    if not sought:
        return
    rows = connection.execute(_PRESENT, [NO_TYPE]).fetchall()
    present = tuple(kind for (kind,) in rows)
    for number, kind in sought:
        if kind not in present:
            yield AbsentType(condition=number, type=kind, present=present)


def _types(condition: PackageCondition) -> Iterator[str]:
    """The types of a condition, also that of its package URL, in small letters."""
    yield from (one.lower() for one in condition.types)
    name = (condition.name or "").lower()
    if name.startswith(SCHEME):
        yield name.removeprefix(SCHEME).partition("/")[0]


# -- SQL --

_PRESENT = """
    SELECT coalesce(p.type, ?) AS type
    FROM (SELECT unnest(packages) AS p FROM sbom_lines WHERE kind = 'sbom')
    GROUP BY ALL ORDER BY count(*) DESC, type"""
