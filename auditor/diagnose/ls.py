"""What a registry lists, without an audit of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing

import anyio

from auditor.errors import Failure, FailureKind, ProtocolError, unwrap_exception_group
from auditor.fast_dataclass import dataclass
from auditor.input.expand import expand
from auditor.input.listings import repositories_of
from auditor.input.lists import Listed
from auditor.input.steps import Asked, Expansion, Pattern, Refused
from auditor.input.tag_filter import Selection
from auditor.oci.reference import Reference, TagPattern, parse_registry, parse_selector
from auditor.oci.reference_grammar import ANY_DEPTH, RepositoryPattern, is_glob
from auditor.registry.registries import Registries
from auditor.util.deadline import Deadline

# -- list_target --
# What `auditor ls` is asked to list: repositories, or tags.
#
# HOST                         the repositories of a registry
# HOST/path-pattern            those that match
# [HOST/]repository            the tags of a repository
# [HOST/]repository:pattern    those that match
# HOST/path-pattern:pattern    the tags that match, of the repositories that match

EVERYTHING = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListTarget:
    """`pattern` says whose tags; with `repositories_only`, their names are meant."""

    pattern: TagPattern | RepositoryPattern
    repositories_only: bool = False


def parse_list_target(text: str) -> ListTarget:
    """What is to be listed; `ProtocolError(INVALID_REFERENCE)` says what is wrong."""
    text = text.removeprefix("docker://")
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
    is_tagged = text.endswith(f":{selector.tag}")
    return ListTarget(
        pattern=TagPattern(
            registry=selector.registry,
            repository=selector.repository,
            pattern=selector.tag if is_tagged and selector.tag else EVERYTHING,
        )
    )


def host_alone(text: str) -> str | None:
    """The registry that is named with nothing below it; None: it is more than that.

    `ProtocolError(INVALID_REFERENCE)` for a host that is none.
    """
    host, slash, path = text.removeprefix("docker://").partition("/")
    if path or not (slash or _is_host(host)):
        return None
    return parse_registry(host)


def _is_host(text: str) -> bool:
    """Whether a name alone is a registry's: as in a reference, but for its path."""
    try:
        parse_registry(text)
    except ProtocolError:
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A repository that a catalog names."""

    registry: str
    name: str


Line = Repository | Asked | Refused


async def list_target(
    target: ListTarget,
    *,
    registries: Registries,
    selection: Selection,
    put: Callable[[Line], bool],
) -> Expansion:
    """Give every line to `put` as it is read, until it says false.

    What the lists came to is in the answer.
    """
    seen = Expansion()
    pattern = target.pattern
    with unwrap_exception_group():
        if target.repositories_only:
            assert isinstance(pattern, RepositoryPattern)
            await _repositories(pattern, registries, selection, seen, put)
        else:
            await _tags(pattern, registries, selection, seen, put)
    return seen


async def _tags(
    pattern: Pattern,
    registries: Registries,
    selection: Selection,
    seen: Expansion,
    put: Callable[[Line], bool],
) -> None:
    async with anyio.create_task_group() as group:
        async for entry in expand(
            [Listed(selector=pattern, place="")],
            registries=registries,
            group=group,
            seen=seen,
            deadline=Deadline(),
            selection=selection,
        ):
            if not put(entry):
                break
        group.cancel_scope.cancel()


async def _repositories(
    pattern: RepositoryPattern,
    registries: Registries,
    selection: Selection,
    seen: Expansion,
    put: Callable[[Line], bool],
) -> None:
    found = repositories_of(
        pattern, registries=registries, selection=selection, listings=seen.listings
    )
    async with aclosing(found):
        async for one in found:
            if isinstance(one, Failure):
                put(Refused(text=str(pattern), place="", failure=one, pattern=pattern))
                continue
            seen.asked += 1
            if not put(Repository(registry=pattern.registry, name=one)):
                return
