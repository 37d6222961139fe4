"""Certificates read for display."""

from __future__ import annotations

import ssl
import time
from datetime import timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from auditor.diagnose.server_certificate import read_certificate
from tests.certificates import Authority


def _der(path: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(path.read_text())


def test_subject_issuer_names_and_days_left_are_read(tmp_path: Path) -> None:
    pair = Authority(tmp_path).pair(
        "registry.test", "192.0.2.1", lasts=timedelta(days=30, hours=1)
    )
    found = read_certificate(_der(pair.cert))
    assert found is not None
    assert found.subject == "registry.test"
    assert found.issuer == "an authority of the tests"
    assert found.names == ("registry.test", "192.0.2.1")
    assert not found.self_issued
    assert found.days_left(time.time()) == 30
    assert found.days_left(time.time() + 31 * 86_400) == -1


def test_a_ca_certificate_is_self_issued_and_has_no_names(tmp_path: Path) -> None:
    found = read_certificate(_der(Authority(tmp_path).file))
    assert found is not None
    assert found.self_issued
    assert found.names == ()


@given(st.binary(max_size=200))
def test_noise_is_not_a_certificate(data: bytes) -> None:
    assert read_certificate(data) is None
