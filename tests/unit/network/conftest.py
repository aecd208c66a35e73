"""Certificates for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.factories.certificates import Certificates, certificates


@pytest.fixture
def pki(tmp_path: Path) -> Certificates:
    """Fresh copies, so that a test may exchange them."""
    return certificates(tmp_path / "certs")
