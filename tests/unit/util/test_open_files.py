"""How many descriptors are left for connections."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from auditor.util.open_files import free_descriptors


def test_each_open_file_leaves_one_less(monkeypatch: pytest.MonkeyPatch) -> None:
    in_use = sum(1 for _ in Path("/dev/fd").iterdir()) - 1
    limit = in_use + 16 + 40
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    assert free_descriptors() == 40
    one = os.open(os.devnull, os.O_RDONLY)
    try:
        assert free_descriptors() == 39
    finally:
        os.close(one)


def test_a_low_limit_leaves_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (8, 8))
    assert free_descriptors() == 4
