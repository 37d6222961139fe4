"""A hook of MkDocs: pages may link to files of the repository outside of `docs/`.

`[...](../../deploy/cron/README.md)` works on GitHub and in an editor. For the site, the
file is copied to `repository/deploy/cron/README.md`, and the link leads there. A
Markdown file becomes a page, whose own links are treated in the same way.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
FOLDER = "repository"
# `](target#anchor)` of a relative link; code has no such text in this repository.
_LINK = re.compile(r"\]\((?![a-z]+:|#)([^)\s#]+)(#[^)\s]+)?\)")


def linked_files(path: PurePosixPath) -> list[str]:
    """The files outside of `docs/` that this Markdown file links to."""
    text = (ROOT / path).read_text(encoding="utf-8")
    targets = (_target(path, match[1]) for match in _LINK.finditer(text))
    return [
        target
        for target in targets
        if not target.startswith("docs/") and (ROOT / target).is_file()
    ]


def _target(source: PurePosixPath, link: str) -> str:
    """The path of a link's target in the repository."""
    return os.path.normpath(source.parent / link)


def _site_path(target: str) -> str:
    """Where a file of the repository is in the site."""
    return (
        target.removeprefix("docs/")
        if target.startswith("docs/")
        else (f"{FOLDER}/{target}")
    )


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the linked files, and those that the added pages link to."""
    waiting = [
        PurePosixPath("docs", file.src_uri) for file in files.documentation_pages()
    ]
    added: set[str] = set()
    while waiting:
        for target in linked_files(waiting.pop()):
            if target in added:
                continue
            added.add(target)
            file = File.generated(
                config, f"{FOLDER}/{target}", abs_src_path=str(ROOT / target)
            )
            file.inclusion = InclusionLevel.NOT_IN_NAV
            files.append(file)
            if target.endswith(".md"):
                waiting.append(PurePosixPath(target))
    return files


def on_page_markdown(
    markdown: str,
    page: Page,
    config: MkDocsConfig,  # noqa: ARG001
    files: Files,  # noqa: ARG001
) -> str:
    """Let links to files outside of `docs/` lead to their copies."""
    here = PurePosixPath(page.file.src_uri)
    inside = here.parts[0] != FOLDER
    source = PurePosixPath("docs", here) if inside else here.relative_to(FOLDER)

    def rewrite(match: re.Match[str]) -> str:
        target = _target(source, match[1])
        if inside and target.startswith("docs/"):
            return match[0]
        link = os.path.relpath(_site_path(target), here.parent)
        return f"]({link}{match[2] or ''})"

    return _LINK.sub(rewrite, markdown)
