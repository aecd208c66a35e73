"""An inbox on a database of its own."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dicom_node.orders import step
from dicom_node.orders.messages.contract import Merge
from dicom_node.orders.settings import OrdersSettings
from dicom_node.store.connect import default_url, open_database
from tests.factories.hl7_messages import answer


@dataclass
class Desk:
    """Takes messages; keeps the merges that were told on."""

    database: sa.Engine
    settings: OrdersSettings = field(default_factory=OrdersSettings)
    merges: list[Merge] = field(default_factory=list)

    @property
    def inbox(self) -> step.Inbox:
        return step.Inbox(self.database, self.settings, dt.UTC, "AINODE", lambda _connection, merge: self.merges.append(merge))

    def take(self, *messages: bytes) -> list[str]:
        """Return the acknowledgement codes."""
        return [answer(step.take(self.inbox, one))[0] for one in messages]

    def ask(self, question: Callable[..., Any], *arguments: Any) -> Any:
        with self.database.connect() as connection:
            return question(connection, *arguments)

    def rows(self, table: sa.Table) -> list[Any]:
        with self.database.connect() as connection:
            return list(connection.execute(sa.select(table)))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    database = open_database(default_url(tmp_path))
    yield Desk(database)
    database.dispose()
