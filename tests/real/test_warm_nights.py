"""A second run against real registries sends one HEAD for each tag."""

from __future__ import annotations

from pathlib import Path

import pytest

from auditor.config import ImageConfigMode
from tests.real.audits import audit, content, login
from tests.real.filled_registry import FilledRegistry
from tests.real.images import names
from tests.real.token_server import PUSHER

pytestmark = pytest.mark.real


@pytest.mark.parametrize("mode", ImageConfigMode)
def test_a_warm_run_has_the_same_records_without_fetching(
    filled: FilledRegistry, tmp_path: Path, mode: ImageConfigMode
) -> None:
    wanted = names(filled.flavour)
    nights = [
        audit(
            filled.host,
            *wanted,
            registry=login(PUSHER),
            image_config=mode,
            cache=str(tmp_path / "store"),
        )
        for _ in range(2)
    ]
    cold, warm = ([content(line) for line in night.lines] for night in nights)
    assert warm == cold
    assert all(line["kind"] == "image" for line in warm)
    requests = nights[1].summary.requests
    assert requests["head"] == len(wanted)
    assert "manifest" not in requests
    assert "blob" not in requests
