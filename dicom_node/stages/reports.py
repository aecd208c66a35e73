"""Is the radiologist's report there already? Then an answer of this node comes too late to help, and may only disturb."""

from __future__ import annotations

import sqlalchemy as sa

from dicom_node.core.run import Priority
from dicom_node.orders import step as orders
from dicom_node.studies import step as studies


def report_is_final(connection: sa.Connection, study_key: str) -> bool:
    """Say whether a final report is known for any order of the study."""
    return any(order.report_final for order in _orders(connection, study_key))


def most_urgent(connection: sa.Connection, study_key: str, of_rule: Priority) -> Priority:
    """Return the priority of a run: the rule's, or the order's where that is more urgent. Never that of a C-STORE request."""
    said = [Priority[order.priority.upper()] for order in _orders(connection, study_key) if order.priority.upper() in _NAMES]
    return min((of_rule, *said))


_NAMES = frozenset(priority.name for priority in Priority)


def _orders(connection: sa.Connection, study_key: str) -> list[orders.Order]:
    found = (orders.order_of(connection, *named) for named in studies.orders_named(connection, study_key))
    return [order for order in found if order is not None]
