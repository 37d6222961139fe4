"""A real registry with the images of `tests.real.images`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.real.docker_registry import Flavour, RunningRegistry, running_registry
from tests.real.images import push_all
from tests.real.skopeo import Skopeo
from tests.real.token_server import PUSHER, TokenServer
from tests.support.token_service import certificate_pem


@dataclass(frozen=True, slots=True, kw_only=True)
class FilledRegistry:
    """A filled registry. `digests` are those of the layouts, by `repository:tag`.

    `keys` is the certificate bundle of the token service, `root` the store's folder.
    """

    registry: RunningRegistry
    tokens: TokenServer
    skopeo: Skopeo
    digests: dict[str, str]
    keys: Path
    root: Path

    @property
    def host(self) -> str:
        return self.registry.host

    @property
    def flavour(self) -> Flavour:
        return self.registry.flavour


@contextmanager
def filled_registry(
    flavour: Flavour, tokens: TokenServer, place: Path
) -> Iterator[FilledRegistry]:
    """Start a registry with its files below `place`, and push every image."""
    with running_registry(
        flavour, place, root=place / "root", tokens=tokens.service, realm=tokens.realm
    ) as registry:
        skopeo = Skopeo(registry.host, PUSHER, place)
        keys = place / "trusted.pem"
        keys.write_bytes(certificate_pem(tokens.service.key))
        digests = push_all(registry, skopeo, tokens.service, place / "layouts")
        yield FilledRegistry(
            registry=registry,
            tokens=tokens,
            skopeo=skopeo,
            digests=digests,
            keys=keys,
            root=place / "root",
        )
