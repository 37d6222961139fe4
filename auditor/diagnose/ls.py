"""`auditor ls`: list the repositories of a registry, or tags, without auditing them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import cast

import anyio

from auditor.errors import Failure, FailureKind, ProtocolError, unwrap_exception_group
from auditor.fast_dataclass import dataclass
from auditor.input.expand import expand
from auditor.input.input_items import (
    ExpansionCounts,
    InputSelector,
    ReferenceEntry,
    RejectedEntry,
)
from auditor.input.listings import list_repositories
from auditor.input.tag_filter import Selection
from auditor.oci.reference import (
    ANY_DEPTH,
    Reference,
    RepositoryPattern,
    TagPattern,
    parse_registry,
    parse_selector,
)
from auditor.oci.reference_grammar import is_glob, transport_of
from auditor.registry.registries import Registries
from auditor.util.deadline import Deadline

EVERYTHING = "*"
# Names in a suggestion, and how long a large catalog is read for them.
MAX_NAMES_BELOW = 5
SUGGESTION_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ListTarget:
    """What to list: tags that match, or with `repositories_only` their repositories."""

    pattern: TagPattern | RepositoryPattern
    repositories_only: bool = False


def parse_list_target(text: str) -> ListTarget:
    """The target of `auditor ls`.

        HOST                         the repositories of a registry
        HOST/path-pattern            those that match
        [HOST/]repository            the tags of a repository
        [HOST/]repository:pattern    those that match
        HOST/path-pattern:pattern    the matching tags of the matching repositories

    Raises `ProtocolError(INVALID_REFERENCE)`.
    """
    text = text.removeprefix("docker://")
    if transport_of(text) is not None:
        selector = parse_selector(text)
        if isinstance(selector, Reference) and selector.tag is None:
            selector = parse_selector(f"{text}:{EVERYTHING}")
        if isinstance(selector, TagPattern):
            return ListTarget(pattern=selector)
        raise ProtocolError(
            f'"{selector}" is one image; name the store to list its images',
            FailureKind.INVALID_REFERENCE,
        )
    if (registry := host_alone(text)) is not None:
        return ListTarget(
            pattern=RepositoryPattern(
                registry=registry, repository=ANY_DEPTH, pattern=EVERYTHING
            ),
            repositories_only=True,
        )
    path = text.partition("/")[2]
    if is_glob(path) and not {":", "@"} & set(path):
        pattern = parse_selector(f"{text}:{EVERYTHING}")
        assert isinstance(pattern, RepositoryPattern)
        return ListTarget(pattern=pattern, repositories_only=True)
    selector = parse_selector(text)
    if not isinstance(selector, Reference):
        return ListTarget(pattern=selector)
    if selector.digest is not None:
        raise ProtocolError(
            f'"{selector}" is one image; name a repository to list its tags',
            FailureKind.INVALID_REFERENCE,
        )
    has_tag = selector.tag is not None and text.endswith(f":{selector.tag}")
    return ListTarget(
        pattern=TagPattern(
            registry=selector.registry,
            repository=selector.repository,
            pattern=selector.tag if has_tag and selector.tag else EVERYTHING,
        )
    )


def host_alone(text: str) -> str | None:
    """The registry, if `text` names a registry without a repository; else None.

    Raises `ProtocolError(INVALID_REFERENCE)` for an invalid host.
    """
    host, slash, path = text.removeprefix("docker://").partition("/")
    if path or not (slash or _is_host(host)):
        return None
    return parse_registry(host)


def _is_host(text: str) -> bool:
    try:
        parse_registry(text)
    except ProtocolError:
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryName:
    """A repository of a registry."""

    registry: str
    repository: str


ListLine = RepositoryName | ReferenceEntry | RejectedEntry


async def list_target(
    target: ListTarget,
    *,
    registries: Registries,
    selection: Selection,
    put: Callable[[ListLine], bool],
) -> ExpansionCounts:
    """Pass every line to `put` as its page is read, until it returns false.

    Returns the statistics of the listings that were read.
    """
    expansion = ExpansionCounts()
    with unwrap_exception_group():
        async with anyio.create_task_group() as group:
            if target.repositories_only:
                lines = _repositories(target.pattern, registries, selection, expansion)
            else:
                lines = expand(
                    [InputSelector(selector=target.pattern, place="")],
                    registries=registries,
                    group=group,
                    counts=expansion,
                    deadline=Deadline(),
                    selection=selection,
                )
            async with aclosing(cast(AsyncGenerator[ListLine, None], lines)) as opened:
                async for line in opened:
                    if not put(line):
                        break
                group.cancel_scope.cancel()
    return expansion


async def repositories_below(
    missing: TagPattern, *, registries: Registries
) -> list[str]:
    """The first repositories below the name of one that does not exist.

    Empty if the catalog has none, cannot be read, or takes too long for a suggestion.
    """
    names: list[str] = []

    def put(line: ListLine) -> bool:
        if isinstance(line, RepositoryName):
            names.append(line.repository)
        return len(names) <= MAX_NAMES_BELOW

    below = RepositoryPattern(
        registry=missing.registry,
        repository=f"{missing.repository}/{ANY_DEPTH}",
        pattern=EVERYTHING,
    )
    with anyio.move_on_after(SUGGESTION_S):
        await list_target(
            ListTarget(pattern=below, repositories_only=True),
            registries=registries,
            selection=Selection(),
            put=put,
        )
    return names


async def _repositories(
    pattern: TagPattern | RepositoryPattern,
    registries: Registries,
    selection: Selection,
    expansion: ExpansionCounts,
) -> AsyncIterator[ListLine]:
    assert isinstance(pattern, RepositoryPattern)
    names = list_repositories(
        pattern, registries=registries, selection=selection, listings=expansion.listings
    )
    async with aclosing(names):
        async for name in names:
            if isinstance(name, Failure):
                yield RejectedEntry(
                    text=str(pattern), place="", failure=name, pattern=pattern
                )
            else:
                expansion.entries += 1
                yield RepositoryName(registry=pattern.registry, repository=name)
