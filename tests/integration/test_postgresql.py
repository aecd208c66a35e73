"""The same journey on PostgreSQL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from dicom_node.demo.peers import OrthancPacs
from tests.integration.running_node import RunningNode, configuration
from tests.integration.test_kill import kill_and_count


def test_every_acknowledged_study_is_answered_once_on_postgresql(
    postgresql: str, pacs: OrthancPacs, make_node: Callable[[dict[str, Any]], RunningNode]
) -> None:
    """On PostgreSQL too, each acknowledged study has its results exactly once after kill -9."""
    node = make_node({**configuration(pacs_port=pacs.dicom_port), "database_url": postgresql})
    assert kill_and_count(node, pacs, count=3, kills=1, seed=3) == Counter()
