"""What the hospital's HL7 messages told of patients and orders."""

from __future__ import annotations

import sqlalchemy as sa

from dicom_node.store.tables.base import metadata

# HL7 messages that came in, each once: what was done with it. The text is not kept.
message = sa.Table(
    "message",
    metadata,
    sa.Column("message_id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("received_utc", sa.Float, nullable=False),
    sa.Column("sender", sa.String, nullable=False),  # MSH-3|MSH-4
    sa.Column("control_id", sa.String, nullable=False),  # MSH-10
    sa.Column("sha256", sa.String, nullable=False),
    sa.Column("type", sa.String, nullable=False),  # MSH-9, e.g. ADT^A40
    sa.Column("state", sa.String, nullable=False),  # applied | ignored | refused
    sa.Column("text", sa.String, nullable=False, default=""),  # one sentence, without identifiers
    sa.UniqueConstraint("sender", "control_id", "sha256"),
)

# What the hospital's messages told of a patient. ``patient`` is ID and issuer as ``core.identifiers.patient_key`` joins them.
patient = sa.Table(
    "patient",
    metadata,
    sa.Column("patient", sa.String, primary_key=True),
    sa.Column("birth_date", sa.String, nullable=False, default=""),  # DA
    sa.Column("sex", sa.String, nullable=False, default=""),
    sa.Column("merged_into", sa.String, nullable=False, default=""),  # the surviving patient
    sa.Column("changed_utc", sa.Float, nullable=False),
)

# What they told of an order, by accession number.
order = sa.Table(
    "imaging_order",
    metadata,
    sa.Column("accession_number", sa.String, primary_key=True),
    sa.Column("patient", sa.String, nullable=False, default=""),
    sa.Column("priority", sa.String, nullable=False, default=""),  # stat | urgent | routine; empty: not said
    sa.Column("indication", sa.String, nullable=False, default=""),
    sa.Column("procedure", sa.String, nullable=False, default=""),
    sa.Column("report_status", sa.String, nullable=False, default=""),  # OBR-25 of the RIS: P, F, C, …; never ours
    sa.Column("report_utc", sa.Float),
    sa.Column("changed_utc", sa.Float, nullable=False),
)

# What laboratories said (OBX of ORU^R01, FHIR Observations): final values, corrections, and what was taken back, without its value.
# Rows are not changed, apart from ``replaced_by``; which of them hold is judged by ``orders.standing_values``.
lab_result = sa.Table(
    "lab_result",
    metadata,
    sa.Column("lab_result_id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("patient", sa.String, nullable=False),  # key; empty: of a FHIR resource that is nobody's any more
    sa.Column("code", sa.String, nullable=False),  # code^scheme; empty: this version of the resource says nothing
    sa.Column("value", sa.String, nullable=False),
    sa.Column("unit", sa.String, nullable=False, default=""),
    sa.Column("status", sa.String, nullable=False),  # F | C | D, W: taken back
    sa.Column("observed_utc", sa.Float),
    sa.Column("received_utc", sa.Float, nullable=False),
    sa.Column("source", sa.String, nullable=False, default="hl7", server_default="hl7"),  # hl7 | fhir
    sa.Column("resource", sa.String, nullable=False, default="", server_default=""),  # of FHIR: server|Observation/id
    sa.Column("stated_utc", sa.Float),  # when it was said: OBR-22, MSH-7; issued
    sa.Column("version_utc", sa.Float),  # of FHIR: meta.lastUpdated
    sa.Column("replaced_by", sa.Integer),  # of FHIR: the first row of the version that came after this one
    sa.Index("lab_result_patient", "patient"),
    sa.Index("lab_result_resource", "resource"),
)
