"""Under which numbers receivers know a result."""

from __future__ import annotations

import sqlalchemy as sa

from dicom_node.core.artifact import Artifact
from dicom_node.core.phi import Phi
from dicom_node.results.numbers import numbers_of
from dicom_node.results.outputs import diagnostic_report, oru_message
from dicom_node.results.repository import record_accessions, record_artifacts
from dicom_node.store import tables
from dicom_node.store.connect import make_engine
from tests.factories.deliverables import artifact, context, record_run, request


def both() -> tuple[Artifact, Artifact]:
    grouped = context(requested_accessions=(Phi("ACC-1"), Phi("ACC-2")))
    return oru_message.build(grouped, ""), diagnostic_report.build(grouped, "")


def test_messages_are_known_by_every_order_and_observation() -> None:
    """One filler number an order, in both; an identifier each Observation; objects are known by their UID alone."""
    message, bundle = both()
    assert len(numbers_of(message)) == 2
    assert set(numbers_of(message)) < set(numbers_of(bundle))
    assert len(numbers_of(bundle)) == 2 + 3
    assert numbers_of(artifact("text_report")) == ()


def test_they_are_kept_once() -> None:
    """Recorded again, by whoever builds the run again, nothing is added; an accession number only as a hash."""
    database = make_engine("sqlite://")
    tables.metadata.create_all(database)
    for _ in range(2):
        with database.begin() as connection:
            if not connection.execute(sa.select(tables.run)).first():
                record_run(connection, request())
            record_artifacts(connection, both())
            record_accessions(connection, request().run_key, [Phi("ACC-1"), Phi(" acc-1 "), Phi("")])
    with database.connect() as connection:
        numbers = list(connection.execute(sa.select(tables.result_number.c.number)).scalars())
    assert len(numbers) == 6
    assert not any("ACC" in number.upper() for number in numbers if number.startswith("an_"))
