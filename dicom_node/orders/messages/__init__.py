"""Kinds of messages: one module a kind, each with ``HANDLERS`` (message type -> function). A new kind is a module named here."""

from __future__ import annotations

from collections.abc import Mapping

from dicom_node.orders.messages import adt, order, result
from dicom_node.orders.messages.contract import Handler

HANDLERS: Mapping[str, Handler] = {**adt.HANDLERS, **order.HANDLERS, **result.HANDLERS}
