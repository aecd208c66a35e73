"""Runs, what was made of them, and where it went."""

from __future__ import annotations

import sqlalchemy as sa

from dicom_node.store.tables.base import metadata

# One row a run: one pipeline on one study in one revision.
run = sa.Table(
    "run",
    metadata,
    sa.Column("run_key", sa.String, primary_key=True),
    sa.Column("study_key", sa.String, sa.ForeignKey("study.study_key"), nullable=False),
    sa.Column("pipeline", sa.String, nullable=False),
    sa.Column("rule", sa.String, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("state", sa.String, nullable=False),  # waiting | queued | running; analysed | not_analysed | failed | cancelled | …
    sa.Column("request", sa.JSON, nullable=False),  # the RunRequest: policy, release, destinations, instances read, bundles
    sa.Column("summary", sa.JSON),  # decision, zone, probabilities, code, reason: what lists show
    sa.Column("requested_utc", sa.Float, nullable=False),  # the time stamp of everything the run creates
    sa.Column("finished_utc", sa.Float),
    sa.Column("crashes", sa.Integer, nullable=False, default=0),  # times a worker died in it: our own poison counter
    sa.UniqueConstraint("study_key", "pipeline", "revision"),
    sa.Index("run_state", "state"),
    sa.Index("run_rule_requested", "rule", "requested_utc"),
)

# What a run takes from a laboratory, a row a part: for whom values are waited for, and whose later ones are told. No value.
lab_input = sa.Table(
    "lab_input",
    metadata,
    sa.Column("run_key", sa.String, sa.ForeignKey("run.run_key"), primary_key=True),
    sa.Column("part", sa.String, primary_key=True),
    sa.Column("study_key", sa.String, nullable=False),
    sa.Column("name", sa.String, nullable=False),  # for people
    sa.Column("number", sa.String, nullable=False),  # Patient ID of the images, as compared
    sa.Column("issuer", sa.String, nullable=False),
    sa.Column("codes", sa.JSON, nullable=False),  # code^scheme, a list
    sa.Column("choices", sa.JSON, nullable=False),  # what a person may say: value and words, a list
    sa.Column("late_utc", sa.Float),  # when a value came that the run did not use any more
    sa.Index("lab_input_number", "number"),
    sa.Index("lab_input_study", "study_key"),
)

# One row an object made from a run. The bytes lie below HOME/results.
artifact = sa.Table(
    "artifact",
    metadata,
    sa.Column("artifact_id", sa.String, primary_key=True),  # ar_…, derived from run and role
    sa.Column("run_key", sa.String, sa.ForeignKey("run.run_key"), nullable=False),
    sa.Column("role", sa.String, nullable=False),  # kind[:variant]
    sa.Column("media_type", sa.String, nullable=False),
    sa.Column("identifier", sa.String, nullable=False),  # SOP Instance UID, FHIR identifier, MSH-10
    sa.Column("sop_class_uid", sa.String, nullable=False, default=""),
    sa.Column("refusal", sa.Boolean, nullable=False, default=False),
    sa.Column("storage_key", sa.String, nullable=False),
    sa.Column("sha256", sa.String, nullable=False),
    sa.UniqueConstraint("run_key", "role"),
    sa.Index("artifact_identifier", "identifier"),
)

# Under which numbers receivers know a result: OBR-3, identifiers of FHIR reports and observations, a hash of each accession number.
# Answers name them; later results of a study keep them. ``erase`` removes the rows of the patient's runs.
result_number = sa.Table(
    "result_number",
    metadata,
    sa.Column("number", sa.String, primary_key=True),
    sa.Column("run_key", sa.String, sa.ForeignKey("run.run_key"), primary_key=True),
    sa.Index("result_number_run", "run_key"),
)

# One row an artifact and destination.
delivery = sa.Table(
    "delivery",
    metadata,
    sa.Column("delivery_id", sa.String, primary_key=True),  # dl_…, derived from artifact and destination
    sa.Column("artifact_id", sa.String, sa.ForeignKey("artifact.artifact_id"), nullable=False),
    sa.Column("run_key", sa.String, nullable=False),
    sa.Column("study_key", sa.String, nullable=False),
    sa.Column("destination", sa.String, nullable=False),
    sa.Column("state", sa.String, nullable=False),  # core.delivery.DeliveryState
    sa.Column("attempt", sa.Integer, nullable=False, default=0),  # number of the attempt submitted last
    sa.Column("planned_utc", sa.Float, nullable=False),
    sa.Column("next_attempt_utc", sa.Float),
    sa.Column("done_utc", sa.Float),
    sa.Column("detail", sa.String, nullable=False, default=""),  # the peer's words
    sa.Column("begun_utc", sa.Float),  # since when the peer may have it; NULL: it surely has not
    sa.Column("proof", sa.String, nullable=False, default=""),  # core.delivery.Proof; empty: none yet
    sa.Column("proved_utc", sa.Float),
    sa.Column("proof_attempt", sa.Integer, nullable=False, default=0),  # times the archive was asked whether it keeps it
    sa.Column("proof_detail", sa.String, nullable=False, default=""),  # what came of that, one sentence
    sa.UniqueConstraint("artifact_id", "destination"),
    sa.Index("delivery_state", "state"),
)
