"""Imports point one way; the network and the terminal stay where they belong."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import auditor

ROOT = Path(auditor.__file__).parent
LEAVES = frozenset(
    {
        "counted",
        "errors",
        "pattern",
        "records",
        "safe_text",
        "secret",
        "values",
        "version",
    }
)
# What each part may import of the others; itself and the leaves always.
ALLOWED: dict[str, frozenset[str]] = {
    **dict.fromkeys(LEAVES, frozenset()),
    "protocol": frozenset(),
    "config": frozenset({"protocol"}),
    "sources": frozenset({"protocol", "config"}),
    "reports": frozenset({"protocol", "config"}),
    "analysis": frozenset({"protocol", "config", "reports"}),
    "registry": frozenset({"protocol", "config"}),
    "store": frozenset({"protocol", "config"}),
    "pipeline": frozenset(
        {"protocol", "config", "registry", "store", "sources", "reports"}
    ),
    "engines": frozenset(
        {"protocol", "config", "registry", "sources", "reports", "pipeline"}
    ),
    "sandbox": frozenset({"protocol", "config"}),
    "cli": frozenset(
        {
            "protocol",
            "config",
            "registry",
            "store",
            "sources",
            "reports",
            "analysis",
            "pipeline",
            "engines",
            "sandbox",
        }
    ),
    # the public face: what `import auditor` and `python -m auditor` offer
    "__init__": frozenset(
        {
            "protocol",
            "config",
            "registry",
            "store",
            "sources",
            "reports",
            "pipeline",
            "api",
        }
    ),
    "api": frozenset(
        {"protocol", "config", "registry", "store", "sources", "reports", "pipeline"}
    ),
    "__main__": frozenset({"cli"}),
}
# A leaf sees leaves only where it has to.
ALLOWED_LEAVES = {
    "values": frozenset[str](),
    "errors": frozenset({"values"}),
    "secret": frozenset[str](),
    "counted": frozenset[str](),
    "safe_text": frozenset[str](),
    "version": frozenset[str](),
    "pattern": frozenset[str](),
    "records": frozenset({"errors", "values"}),
}
IMPURE = frozenset(
    {
        "aiohttp", "anyio", "asyncio", "os", "pathlib", "random", "secrets", "shutil",
        "socket", "subprocess", "tempfile", "threading", "time", "trio", "yarl",
    }
)  # fmt: skip


def _files() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _part(path: Path) -> str:
    """The package below `auditor` that a file is in, or its own name at the top."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@cache
def _imports(path: Path) -> frozenset[str]:
    """The absolute names that a file imports, inside functions too."""
    return frozenset(_walk(path))


def _walk(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{_name(path)}:{node.lineno}: a relative import"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _top_level(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in _imports(path)}


@pytest.mark.parametrize("path", _files(), ids=_name)
def test_imports_point_one_way(path: Path) -> None:
    part = _part(path)
    assert part in ALLOWED, f"say in this test what {part} may import"
    seen = {
        name.split(".")[1] for name in _imports(path) if name.startswith("auditor.")
    }
    leaves = ALLOWED_LEAVES.get(part, LEAVES)
    assert seen - {part} <= ALLOWED[part] | leaves


@pytest.mark.parametrize("path", _files(), ids=_name)
def test_dataclasses_are_those_that_are_quick_to_define(path: Path) -> None:
    if _part(path) != "values":
        assert "dataclasses.dataclass" not in _imports(path), "see auditor/values.py"


def _imported_files(path: Path) -> set[Path]:
    """The files of this package that a file imports: a module, or what is in it.

    Packages are left out: they hand on what their files hold.
    """
    found = set()
    for name in _imports(path):
        parts = name.split(".")[1:] if name.startswith("auditor.") else []
        for end in range(max(1, len(parts) - 1), len(parts) + 1):
            file = ROOT.joinpath(*parts[:end]).with_suffix(".py")
            if file.is_file():
                found.add(file)
    return found - {path}


def test_no_files_import_each_other_in_a_circle() -> None:
    """Not inside functions either, and not for types."""
    graph = {path: _imported_files(path) for path in _files()}
    assert sum(map(len, graph.values())) > len(graph)
    TopologicalSorter(graph).prepare()  # raises `CycleError`, which names the circle


@pytest.mark.parametrize("path", sorted((ROOT / "protocol").rglob("*.py")), ids=_name)
def test_the_protocol_has_no_clock_no_dice_and_no_network(path: Path) -> None:
    assert not _top_level(path) & IMPURE
    # `datetime.now` is a clock too
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            assert node.attr not in {"now", "utcnow", "today", "urandom"}, node.lineno
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"open", "print", "input"}, node.lineno


@pytest.mark.parametrize("path", _files(), ids=_name)
def test_only_the_transport_knows_the_http_client(path: Path) -> None:
    """aiohttp, and the client of our own for the registry itself."""
    if _part(path) == "sandbox":
        return
    if not _name(path).startswith("registry/network/library/"):
        assert not _top_level(path) & {"aiohttp", "yarl"}
    if _name(path) in {
        "registry/network/line.py",
        "registry/network/transport.py",
        "registry/network/transport_failures.py",
    }:
        return
    if not _name(path).startswith("registry/network/http1/"):
        assert not _top_level(path) & {"httptools", "aiohappyeyeballs"}
        assert not any(
            name.startswith("auditor.registry.transport.http1")
            for name in _imports(path)
        )


@pytest.mark.parametrize("path", _files(), ids=_name)
def test_the_network_and_the_pool_do_not_know_the_terminal(path: Path) -> None:
    if _part(path) in {"cli", "reports", "analysis"}:
        return
    assert not _top_level(path) & {"rich", "click"}


@pytest.mark.parametrize("path", _files(), ids=_name)
def test_signatures_and_terminals_are_imported_where_they_are_needed(
    path: Path,
) -> None:
    """rich takes tenths of a second: never at the top of a module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    at_the_top = {
        name.partition(".")[0]
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
        )
    }
    assert "rich" not in at_the_top


def _modules_after(program: str) -> set[str]:
    script = f"import sys\n{program}\nprint(*sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stderr.split())


def test_the_version_is_told_without_the_network_or_the_terminal() -> None:
    loaded = _modules_after(
        "from auditor.cli.main import run\nassert run(['--version']) == 0"
    )
    assert "auditor.cli.main" in loaded
    heavy = {
        "aiohttp", "anyio", "asyncio", "cryptography", "jwt", "orjson", "rich", "ssl",
        "uvloop", "yarl", "httptools",
    }  # fmt: skip
    assert not loaded & heavy


def test_asking_the_registry_itself_does_not_load_aiohttp() -> None:
    assert "aiohttp" not in _modules_after("import auditor.registry.network.transport")
    assert "aiohttp" not in _modules_after("import auditor.pipeline.run")


def test_importing_the_package_loads_neither_network_nor_terminal() -> None:
    assert not _modules_after("import auditor") & {"aiohttp", "rich", "click"}


@pytest.mark.parametrize("command", ["--help", "schema"])
def test_commands_that_ask_nobody_do_not_load_the_network(command: str) -> None:
    loaded = _modules_after(
        f"from auditor.cli.main import run\nassert run([{command!r}]) == 0"
    )
    assert not loaded & {"aiohttp", "rich", "cryptography"}
