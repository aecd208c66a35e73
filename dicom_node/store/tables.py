"""The tables. Rows are the truth; the engine only runs them. Times are UTC, seconds since 1970 (float), one clock a host."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

#: Bumped when a column changes; ``connect.open_database`` refuses a database of another number and says what to do.
SCHEMA_VERSION = 1

schema = sa.Table("schema_version", metadata, sa.Column("version", sa.Integer, primary_key=True))

# One row a study the node has heard of.
study = sa.Table(
    "study",
    metadata,
    sa.Column("study_key", sa.String, primary_key=True),  # st_…, derived from the UID
    sa.Column("study_instance_uid", sa.String, nullable=False, unique=True),
    sa.Column("state", sa.String, nullable=False),  # receiving | routed | held
    sa.Column("hold_reason", sa.String, nullable=False, default=""),  # key of core/abstentions.py
    sa.Column("first_received_utc", sa.Float, nullable=False),
    sa.Column("last_received_utc", sa.Float, nullable=False),
    sa.Column("deadline_utc", sa.Float),  # when it counts as complete; NULL: nothing to start
    sa.Column("ceiling_utc", sa.Float, nullable=False),  # the deadline is never moved past this
    sa.Column("revision", sa.Integer, nullable=False, default=1),  # +1 when identity or the images read change
    sa.Index("study_deadline", "deadline_utc"),
)

# One row a version of an instance: the same SOP Instance UID with other bytes is another row.
instance = sa.Table(
    "instance",
    metadata,
    sa.Column("instance_id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("study_key", sa.String, sa.ForeignKey("study.study_key"), nullable=False),
    sa.Column("sop_instance_uid", sa.String, nullable=False),
    sa.Column("sop_class_uid", sa.String, nullable=False),
    sa.Column("series_instance_uid", sa.String, nullable=False),
    sa.Column("transfer_syntax_uid", sa.String, nullable=False),
    sa.Column("sha256", sa.String, nullable=False),  # data set bytes as received
    sa.Column("size", sa.Integer, nullable=False),  # bytes on disk
    sa.Column("storage_key", sa.String, nullable=False),  # path below HOME/store, never from the sender
    sa.Column("facts", sa.JSON, nullable=False),  # HeaderFacts.to_json
    sa.Column("state", sa.String, nullable=False),  # current | superseded | held | ours (our own result come back)
    sa.Column("calling_ae", sa.String, nullable=False),
    sa.Column("called_ae", sa.String, nullable=False),
    sa.Column("received_utc", sa.Float, nullable=False),
    sa.Index("instance_study", "study_key"),
    sa.Index("instance_sop", "sop_instance_uid"),
)

# What happened to a study, room by room, in order: the story that people read. Append only. No identifiers in ``text``.
story = sa.Table(
    "story",
    metadata,
    sa.Column("story_id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("study_key", sa.String, nullable=False),
    sa.Column("at_utc", sa.Float, nullable=False),
    sa.Column("room", sa.String, nullable=False),  # reception | studies | routing | inference | results | delivery
    sa.Column("event", sa.String, nullable=False),  # noun.participle: "run.requested", "study.held"
    sa.Column("reason", sa.String, nullable=False, default=""),  # key of core/abstentions.py where there is one
    sa.Column("text", sa.String, nullable=False),  # one sentence
    sa.Index("story_study", "study_key"),
)

# Objects refused at the door, which belong to no study: nothing of them was acknowledged.
refused_object = sa.Table(
    "refused_object",
    metadata,
    sa.Column("refused_id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("at_utc", sa.Float, nullable=False),
    sa.Column("calling_ae", sa.String, nullable=False),
    sa.Column("called_ae", sa.String, nullable=False),
    sa.Column("status", sa.Integer, nullable=False),  # DIMSE status answered
    sa.Column("text", sa.String, nullable=False),  # the Error Comment
)

# One row a run: one pipeline on one study in one revision.
run = sa.Table(
    "run",
    metadata,
    sa.Column("run_key", sa.String, primary_key=True),
    sa.Column("study_key", sa.String, sa.ForeignKey("study.study_key"), nullable=False),
    sa.Column("pipeline", sa.String, nullable=False),
    sa.Column("rule", sa.String, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("state", sa.String, nullable=False),  # queued | running | analysed | not_analysed | failed | cancelled | unchanged
    sa.Column("request", sa.JSON, nullable=False),  # the RunRequest: policy, release, destinations, instances read, bundles
    sa.Column("summary", sa.JSON),  # decision, zone, probabilities, code, reason: what lists show
    sa.Column("requested_utc", sa.Float, nullable=False),  # the time stamp of everything the run creates
    sa.Column("finished_utc", sa.Float),
    sa.Column("crashes", sa.Integer, nullable=False, default=0),  # times a worker died in it: our own poison counter
    sa.UniqueConstraint("study_key", "pipeline", "revision"),
    sa.Index("run_state", "state"),
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
    sa.UniqueConstraint("artifact_id", "destination"),
    sa.Index("delivery_state", "state"),
)
