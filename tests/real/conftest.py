from __future__ import annotations

from collections.abc import Iterator

import pytest

from auditor.config import ImageConfigMode
from tests.real.audits import Lines, audit_all
from tests.real.corpus import corpus
from tests.real.corpus_entry import Entry
from tests.real.docker_registry import FLAVOURS
from tests.real.filled_registry import FilledRegistry, filled_registry
from tests.real.layouts import Layout
from tests.real.other_registries import PRODUCTS
from tests.real.stocked_registry import StockedRegistry, stocked_registry
from tests.real.token_server import TokenServer, running_token_server


@pytest.fixture(scope="session")
def tokens() -> Iterator[TokenServer]:
    """A token service that all registries of a run trust."""
    with running_token_server() as server:
        yield server


@pytest.fixture(scope="session", params=FLAVOURS, ids=str)
def filled(
    request: pytest.FixtureRequest,
    tokens: TokenServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[FilledRegistry]:
    """Each registry program in turn, with every image pushed."""
    place = tmp_path_factory.mktemp(str(request.param))
    with filled_registry(request.param, tokens, place) as filled:
        yield filled


@pytest.fixture(scope="session")
def full_records(filled: FilledRegistry) -> Lines:
    """The records of all images, with every config read."""
    return audit_all(filled, ImageConfigMode.ALWAYS)


@pytest.fixture(scope="session")
def default_records(filled: FilledRegistry) -> Lines:
    """The records of all images, with the configs read that are needed."""
    return audit_all(filled, ImageConfigMode.AUTO)


@pytest.fixture(scope="session")
def written_corpus(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Layout, tuple[Entry, ...]]:
    layout = Layout(tmp_path_factory.mktemp("corpus") / "layout")
    return layout, tuple(corpus(layout))


@pytest.fixture(scope="session")
def read_by_digest() -> dict[str, bytes]:
    """What crane has read by digest, from whichever registry."""
    return {}


@pytest.fixture(scope="session", params=PRODUCTS, ids=str)
def stocked(
    request: pytest.FixtureRequest,
    tokens: TokenServer,
    written_corpus: tuple[Layout, tuple[Entry, ...]],
    read_by_digest: dict[str, bytes],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[StockedRegistry]:
    """Each registry that others wrote in turn, with the corpus pushed."""
    with stocked_registry(
        request.param,
        *written_corpus,
        tokens=tokens,
        place=tmp_path_factory.mktemp(str(request.param)),
        known=read_by_digest,
    ) as stocked:
        yield stocked
