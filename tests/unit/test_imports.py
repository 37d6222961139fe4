"""Imports point one way; the network and the terminal stay where they belong."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import auditor

ROOT = Path(auditor.__file__).parent
REPO = Path(__file__).parent.parent.parent
# What each package (or file at the top of the package) may import of the others. This
# is the table of docs/development/architecture.md.
BASE = ("version", "fast_dataclass", "errors", "util", "model")
PURE = (*BASE, "oci", "wire")
READS = (*PURE, "config")
LAYERS: dict[str, tuple[str, ...]] = {
    "version": (),
    "fast_dataclass": (),
    "errors": ("fast_dataclass",),
    "util": ("fast_dataclass", "errors"),
    "model": ("fast_dataclass", "errors", "util"),
    "oci": BASE,
    "wire": (*BASE, "oci"),
    "config": PURE,
    "registry": READS,
    "cache": READS,
    "report": READS,
    "analysis": (*READS, "report"),
    "input": (*READS, "registry", "report"),
    "audit": (*READS, "registry", "cache", "input", "report"),
    "diagnose": (*READS, "registry", "cache", "input", "report", "audit"),
    "scale": (*READS, "registry", "cache", "input", "report", "audit"),
    "nightly": (*READS, "report", "analysis"),
    "demo": (*READS,),
    "api": (*READS, "registry", "cache", "input", "report", "audit"),
    "cli": (
        *READS, "registry", "cache", "input", "report", "audit", "analysis",
        "diagnose", "scale", "nightly", "demo",
    ),
    "__main__": ("cli",),
    "__init__": ("api", *READS),
}  # fmt: skip
IMPURE = frozenset(
    {
        "aiohttp", "anyio", "asyncio", "os", "pathlib", "random", "secrets", "shutil",
        "socket", "subprocess", "tempfile", "threading", "time", "trio", "yarl",
    }
)  # fmt: skip
SHORT_FILE_LINES = 40
MAX_SHORT_FILES = 9
# One file of each family may have the family's name for such a file.
SHARED_FILE_NAMES = frozenset({"__init__.py", "interface.py", "text.py"})


def _files() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _package(path: Path) -> str:
    """The package below `auditor` that a file is in, or its own name at the top."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def _imports(path: Path) -> frozenset[str]:
    """The absolute names that a file imports, inside functions too."""
    return frozenset(_imported_names(path))


def _imported_names(path: Path) -> Iterator[str]:
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{_name(path)}:{node.lineno}: a relative import"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _top_level(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in _imports(path)}


def test_imports_follow_the_table_of_layers() -> None:
    assert len(_files()) > 200
    for path in _files():
        package = _package(path)
        assert package in LAYERS, f"add {package} to the table in this test"
        imported = {
            name.split(".")[1] for name in _imports(path) if name.startswith("auditor.")
        }
        assert imported - {package} <= set(LAYERS[package]), _name(path)


def test_the_table_of_layers_has_no_cycle() -> None:
    TopologicalSorter(LAYERS).prepare()  # raises `CycleError`, which names the cycle


def test_dataclasses_are_made_by_the_fast_decorator() -> None:
    users = {
        _package(path) for path in _files() if "dataclasses.dataclass" in _imports(path)
    }
    assert users <= {"fast_dataclass"}, "see fast_dataclass.py"


def _imported_files(path: Path) -> set[Path]:
    """The files of this package that a file imports: a module, or a name in it.

    Packages are left out: they re-export what their files define.
    """
    found = set()
    for name in _imports(path):
        parts = name.split(".")[1:] if name.startswith("auditor.") else []
        for end in range(max(1, len(parts) - 1), len(parts) + 1):
            file = ROOT.joinpath(*parts[:end]).with_suffix(".py")
            if file.is_file():
                found.add(file)
    return found - {path}


def test_no_files_import_each_other_in_a_cycle() -> None:
    """Not inside functions either, and not for types."""
    graph = {path: _imported_files(path) for path in _files()}
    assert sum(map(len, graph.values())) > len(graph)
    TopologicalSorter(graph).prepare()


def test_every_file_is_imported_or_started_by_its_name() -> None:
    imported = {file for path in _files() for file in _imported_files(path)}
    alone = {
        _name(path)
        for path in _files()
        if path not in imported
        and not path.name.endswith(("_command.py", "__init__.py"))
    }
    assert alone == {"__main__.py", "cli/worker_main.py"}


def test_public_class_names_are_unique() -> None:
    counts = Counter(
        node.name
        for path in _files()
        for node in _tree(path).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert [name for name, count in counts.items() if count > 1] == []


def test_file_names_are_unique() -> None:
    counts = Counter(path.name for path in _files())
    repeated = {name for name, count in counts.items() if count > 1}
    assert repeated - SHARED_FILE_NAMES == set()


def test_every_file_named_in_a_docstring_or_comment_exists() -> None:
    folders = ("auditor", "bench", "scripts", "tests")
    names = {one.name for folder in folders for one in (REPO / folder).rglob("*.py")}
    named = {
        (_name(path), name)
        for path in _files()
        for name in re.findall(r"\b[a-z0-9_]+\.py\b", path.read_text(encoding="utf-8"))
    }
    assert len(named) > 100
    assert [one for one in named if one[1] not in names] == []


def test_few_files_are_short() -> None:
    """A short file is usually a part of a subject whose other parts are elsewhere."""
    short = [
        _name(path)
        for path in _files()
        if path.name != "__init__.py"
        and len(path.read_text(encoding="utf-8").splitlines()) < SHORT_FILE_LINES
    ]
    assert len(short) <= MAX_SHORT_FILES, short


@pytest.mark.parametrize(
    "path",
    [path for path in _files() if path.name == "__init__.py" and path.parent != ROOT],
    ids=_name,
)
def test_every_package_has_a_theory_of_operation(path: Path) -> None:
    docstring = ast.get_docstring(_tree(path)) or ""
    assert len(docstring.splitlines()) >= 5


@pytest.mark.parametrize(
    "path",
    [path for path in _files() if _package(path) in {"oci", "wire"}],
    ids=_name,
)
def test_documents_and_http_rules_use_no_clock_no_randomness_and_no_network(
    path: Path,
) -> None:
    assert not _top_level(path) & IMPURE
    # `datetime.now` is a clock too
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Attribute):
            assert node.attr not in {"now", "utcnow", "today", "urandom"}, node.lineno
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"open", "print", "input"}, node.lineno


def test_only_the_transport_imports_http_clients() -> None:
    for path in _files():
        if _package(path) == "demo":
            continue
        name = _name(path)
        if not name.startswith("registry/transport/aiohttp_"):
            assert not _top_level(path) & {"aiohttp", "yarl"}, name
        if not name.startswith("registry/transport/"):
            assert not _top_level(path) & {"httptools", "aiohappyeyeballs"}, name
            assert not any(
                one.startswith("auditor.registry.transport.http1")
                for one in _imports(path)
            ), name


def test_only_commands_reports_and_analyses_use_the_terminal() -> None:
    drawing = {
        _name(path)
        for path in _files()
        if _package(path) not in {"cli", "report", "analysis"}
        and _top_level(path) & {"rich", "click"}
    }
    assert drawing <= {"util/terminal.py"}  # the one place that draws


def test_rich_is_imported_where_it_is_needed() -> None:
    """It takes tenths of a second: never at the top of a module."""
    for path in _files():
        at_the_top = {
            name.partition(".")[0]
            for node in _tree(path).body
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
            )
        }
        assert "rich" not in at_the_top, _name(path)


def _modules_after(program: str) -> set[str]:
    script = f"import sys\n{program}\nprint(*sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stderr.split())


def test_the_version_is_printed_without_the_network_or_the_terminal() -> None:
    loaded = _modules_after(
        "from auditor.cli.main import run\nassert run(['--version']) == 0"
    )
    assert "auditor.cli.main" in loaded
    heavy = {
        "aiohttp", "anyio", "asyncio", "cryptography", "jwt", "orjson", "rich", "ssl",
        "uvloop", "yarl", "httptools",
    }  # fmt: skip
    assert not loaded & heavy


@pytest.mark.parametrize(
    "module", ["auditor.registry.transport.transport", "auditor.audit.job"]
)
def test_requests_to_a_registry_need_neither_aiohttp_nor_cryptography(
    module: str,
) -> None:
    assert not _modules_after(f"import {module}") & {"aiohttp", "cryptography"}


CLOUD_LIBRARIES = {"boto3", "botocore", "google.auth", "azure", "requests", "msal"}


def test_an_audit_without_clouds_loads_none_of_their_libraries() -> None:
    """Neither does a registry of a cloud, until it asks for a login."""
    loaded = _modules_after(
        "import anyio\n"
        "from auditor.config import Settings\n"
        "from auditor.registry.registries import open_registries\n"
        "from auditor.util.clock import SystemClock\n"
        "async def run():\n"
        "    settings = Settings(docker_config=False)\n"
        "    async with open_registries(settings, clock=SystemClock()) as registries:\n"
        "        await registries.get('registry.example.com')\n"
        "        await registries.get('gcr.io')\n"
        "anyio.run(run)"
    )
    assert "auditor.registry.registries" in loaded
    assert not {name for name in loaded if name.startswith("auditor.registry.auth.cl")}
    assert not loaded & CLOUD_LIBRARIES


def test_importing_the_package_loads_neither_network_nor_terminal() -> None:
    assert not _modules_after("import auditor") & {"aiohttp", "rich", "click"}


@pytest.mark.parametrize("command", ["--help", "schema"])
def test_commands_without_requests_do_not_load_the_network(command: str) -> None:
    loaded = _modules_after(
        f"from auditor.cli.main import run\nassert run([{command!r}]) == 0"
    )
    assert not loaded & {"aiohttp", "rich", "cryptography"}


def test_an_audit_loads_no_reader_of_documents_and_nothing_for_rare_cases() -> None:
    """Each took milliseconds of every start: what a list of references needs not."""
    loaded = _modules_after(
        "from auditor.config import Settings\n"
        "from auditor.audit.job import open_job\n"
        "from auditor.input.lists import input_items\n"
        "settings = Settings(references=('localhost/team/app:1',))\n"
        "assert len(list(input_items(settings))) == 1"
    )
    assert "auditor.input.lists" in loaded
    assert not {name for name in loaded if name.startswith("auditor.input.doc")} - {
        "auditor.input.document_format"
    }
    # Earlier versions of the libraries load some of these themselves.
    by_libraries = _modules_after("import anyio, httptools, orjson, uvloop")
    rare = {"html", "pickle", "tempfile", "yaml", "ijson"}
    assert not loaded & (rare - by_libraries)
