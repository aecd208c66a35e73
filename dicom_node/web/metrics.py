"""Counters for the site's monitoring, read from the rows at each scrape: they survive restarts and cannot drift from the truth."""

from __future__ import annotations

import time
from collections.abc import Iterable

import sqlalchemy as sa
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from dicom_node.store import tables
from dicom_node.store.connect import reading


class _Rows:
    """One scrape."""

    def __init__(self, database: sa.Engine, beats: dict[str, float]) -> None:
        self._database = database
        self._beats = beats

    def collect(self) -> Iterable[Metric]:
        with reading(self._database) as connection:
            yield _by(connection, "dicom_node_studies", "Studies by state.", "state", tables.study.c.state)
            yield _by(connection, "dicom_node_instances", "Received instances by state.", "state", tables.instance.c.state)
            yield _by(connection, "dicom_node_runs", "Runs by state.", "state", tables.run.c.state)
            yield _by(
                connection,
                "dicom_node_refused_objects",
                "Objects refused at the door, by DIMSE status.",
                "status",
                tables.refused_object.c.status,
            )
            deliveries = GaugeMetricFamily(
                "dicom_node_deliveries", "Deliveries by destination and state.", labels=["destination", "state"]
            )
            d = tables.delivery.c
            for name, state, count in connection.execute(
                sa.select(d.destination, d.state, sa.func.count()).group_by(d.destination, d.state)
            ):
                deliveries.add_metric([name, state], count)
            yield deliveries
            oldest = connection.execute(sa.select(sa.func.min(tables.study.c.deadline_utc))).scalar()
        overdue = max(0.0, time.time() - oldest) if oldest else 0.0
        yield GaugeMetricFamily("dicom_node_oldest_overdue_study_seconds", "How long the oldest due study waits.", value=overdue)
        ages = GaugeMetricFamily("dicom_node_heartbeat_age_seconds", "Seconds since a role was last heard of.", labels=["role"])
        for role, age in self._beats.items():
            ages.add_metric([role], age)
        yield ages


def _by(connection: sa.Connection, name: str, text: str, label: str, column: sa.Column[object]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for value, count in connection.execute(sa.select(column, sa.func.count()).group_by(column)):
        family.add_metric([str(value)], count)
    return family


def render_metrics(database: sa.Engine, beats: dict[str, float]) -> bytes:
    """Return the metrics in Prometheus' text format. Labels are states, statuses and configured names, never a patient."""
    registry = CollectorRegistry()
    registry.register(_Rows(database, beats))
    return generate_latest(registry)
