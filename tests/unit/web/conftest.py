"""A node with pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.factories.shown_results import Office, office


@pytest.fixture
def made(tmp_path: Path) -> Office:
    """A node whose results can be looked at."""
    return office(tmp_path)
