"""Counters for the site's monitoring, read from the rows at each scrape: they survive restarts and cannot drift from the truth."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

import sqlalchemy as sa
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from dicom_node.core.delivery import DeliveryState
from dicom_node.feedback.waiting import count_waiting, suspended
from dicom_node.store import tables
from dicom_node.store.connect import reading
from dicom_node.studies.disk import DiskState


class _Rows:
    """One scrape."""

    def __init__(
        self, database: sa.Engine, beats: dict[str, float], disks: Sequence[DiskState], certificates: Mapping[str, float]
    ) -> None:
        self._database = database
        self._beats = beats
        self._disks = disks
        self._certificates = certificates

    def collect(self) -> Iterable[Metric]:
        with reading(self._database) as connection:
            yield _by(connection, "dicom_node_studies", "Studies by state.", "state", tables.study.c.state)
            yield _held(connection)
            yield _by(connection, "dicom_node_instances", "Received instances by state.", "state", tables.instance.c.state)
            yield _by(connection, "dicom_node_runs", "Runs by state.", "state", tables.run.c.state)
            yield _by(
                connection,
                "dicom_node_refused_objects",
                "Objects refused at the door, by DIMSE status.",
                "status",
                tables.refused_object.c.status,
            )
            messages = GaugeMetricFamily("dicom_node_messages", "HL7 messages by type and outcome.", labels=["type", "state"])
            m = tables.message.c
            for kind, state, count in connection.execute(sa.select(m.type, m.state, sa.func.count()).group_by(m.type, m.state)):
                messages.add_metric([kind, state], count)
            yield messages
            deliveries = GaugeMetricFamily(
                "dicom_node_deliveries", "Deliveries by destination and state.", labels=["destination", "state"]
            )
            yield from _proofs(connection)
            d = tables.delivery.c
            for name, state, count in connection.execute(
                sa.select(d.destination, d.state, sa.func.count()).group_by(d.destination, d.state)
            ):
                deliveries.add_metric([name, state], count)
            yield deliveries
            yield _incomplete(connection)
            yield from _answers(connection)
            oldest = connection.execute(sa.select(sa.func.min(tables.study.c.deadline_utc))).scalar()
        overdue = max(0.0, time.time() - oldest) if oldest else 0.0
        yield GaugeMetricFamily("dicom_node_oldest_overdue_study_seconds", "How long the oldest due study waits.", value=overdue)
        ages = GaugeMetricFamily("dicom_node_heartbeat_age_seconds", "Seconds since a role was last heard of.", labels=["role"])
        for role, age in self._beats.items():
            ages.add_metric([role], age)
        yield ages
        yield from _disks(self._disks)
        left = GaugeMetricFamily(
            "dicom_node_certificate_expiry_seconds",
            "Seconds until a certificate expires, by the setting that names its file.",
            labels=["use"],
        )
        for use, seconds in self._certificates.items():
            left.add_metric([use], seconds)
        yield left


def _answers(connection: sa.Connection) -> Iterable[Metric]:
    """What people said about results, what came as an answer and does not count, and whose answers do not."""
    v = tables.verdict.c
    said = GaugeMetricFamily(
        "dicom_node_verdicts",
        "Rows of the log of answers, by channel, verdict and strength.",
        labels=["channel", "verdict", "strength"],
    )
    for *words, count in connection.execute(
        sa.select(v.channel, v.verdict, v.strength, sa.func.count()).group_by(v.channel, v.verdict, v.strength)
    ):
        said.add_metric(words, count)
    yield said
    came = GaugeMetricFamily("dicom_node_answers", "Objects and messages that may carry an answer, by state.", labels=["state"])
    for state, count in sorted(count_waiting(connection).items()):
        came.add_metric([state], count)
    yield came
    yield GaugeMetricFamily(
        "dicom_node_answer_channels_suspended",
        "Senders whose answers look mechanical and do not count: dicom-node answers --resume.",
        value=len(suspended(connection)),
    )


def _proofs(connection: sa.Connection) -> Iterable[Metric]:
    """How deliveries are known to have arrived, and how long the oldest is sent without that."""
    d, c = tables.delivery.c, tables.commitment.c
    proven = GaugeMetricFamily(
        "dicom_node_deliveries_proven", "Delivered, by destination and proof.", labels=["destination", "proof"]
    )
    rows = sa.select(d.destination, d.proof, sa.func.count()).where(d.proof != "").group_by(d.destination, d.proof)
    for name, proof, count in connection.execute(rows):
        proven.add_metric([name, proof], count)
    yield proven
    oldest = connection.execute(sa.select(sa.func.min(d.done_utc)).where(d.state == str(DeliveryState.SENT))).scalar()
    waits = max(0.0, time.time() - oldest) if oldest else 0.0
    yield GaugeMetricFamily("dicom_node_oldest_unproven_delivery_seconds", "How long the oldest delivery is unproven.", value=waits)
    asked = GaugeMetricFamily("dicom_node_commitments", "Transactions of storage commitment.", labels=["direction", "state"])
    for direction, state, count in connection.execute(
        sa.select(c.direction, c.state, sa.func.count()).group_by(c.direction, c.state)
    ):
        asked.add_metric([direction, state], count)
    yield asked


def _disks(states: Iterable[DiskState]) -> Iterable[Metric]:
    free = GaugeMetricFamily("dicom_node_disk_free_bytes", "Free bytes of a disk.", labels=["disk"])
    level = GaugeMetricFamily("dicom_node_disk_level", "0: room, 1: low, 2: full, objects are refused.", labels=["disk"])
    for state in states:
        free.add_metric([state.name], state.free)
        level.add_metric([state.name], state.level)
    yield free
    yield level


def _incomplete(connection: sa.Connection) -> Metric:
    """How many studies were started although the archive lists more than came, by what their rule says of it."""
    s = tables.story.c
    family = GaugeMetricFamily(
        "dicom_node_incomplete_studies", "Started although the archive lists more than came, by policy.", labels=["policy"]
    )
    query = sa.select(sa.func.count(sa.distinct(s.study_key)))
    for event, policy in (("study.incomplete", "analyse"), ("study.alert", "alert")):
        count = connection.execute(query.where(s.event == event, s.reason == "incomplete_study")).scalar_one()
        family.add_metric([policy], count)
    return family


def _held(connection: sa.Connection) -> Metric:
    family = GaugeMetricFamily("dicom_node_held_studies", "Held studies by reason.", labels=["reason"])
    s = tables.study.c
    query = sa.select(s.hold_reason, sa.func.count()).where(s.state == "held").group_by(s.hold_reason)
    for reason, count in connection.execute(query):
        family.add_metric([reason], count)
    return family


def _by(connection: sa.Connection, name: str, text: str, label: str, column: sa.Column[object]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for value, count in connection.execute(sa.select(column, sa.func.count()).group_by(column)):
        family.add_metric([str(value)], count)
    return family


def render_metrics(
    database: sa.Engine,
    beats: dict[str, float],
    disks: Sequence[DiskState] = (),
    certificates: Mapping[str, float] | None = None,
) -> bytes:
    """Return the metrics in Prometheus' text format. Labels are states, statuses and configured names, never a patient."""
    registry = CollectorRegistry()
    registry.register(_Rows(database, beats, disks, certificates or {}))
    return generate_latest(registry)
