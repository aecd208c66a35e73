"""The tables. Rows are the truth; the engine only runs them. Times are UTC, seconds since 1970 (float), one clock a host."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

#: Bumped when a column changes; ``connect.open_database`` refuses a database of another number and says what to do.
SCHEMA_VERSION = 2

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
    sa.Column("legal_hold", sa.Boolean, nullable=False, default=False),  # a person said: nothing of it is deleted
    sa.Column("pixels_deleted_utc", sa.Float),  # when retention removed the received objects; NULL: they are there
    sa.Column("committed_utc", sa.Float),  # when the node took responsibility for objects of it towards their sender
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
    sa.Column("digest", sa.String, nullable=False),  # data set bytes as received, "blake3:…"; of schema 1 "sha256:…"
    sa.Column("size", sa.Integer, nullable=False),  # bytes on disk
    sa.Column("storage_key", sa.String, nullable=False),  # path below HOME/store, never from the sender
    sa.Column("facts", sa.JSON, nullable=False),  # HeaderFacts.to_json
    sa.Column("state", sa.String, nullable=False),  # studies.arrivals.InstanceState
    sa.Column("calling_ae", sa.String, nullable=False),
    sa.Column("called_ae", sa.String, nullable=False),
    sa.Column("received_utc", sa.Float, nullable=False),
    sa.Column("deleted_utc", sa.Float),  # when retention decided to remove the file; NULL: it is there
    sa.Index("instance_study_state", "study_key", "state"),
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
    sa.Column("state", sa.String, nullable=False),  # queued | running; analysed | not_analysed | failed | cancelled | …
    sa.Column("request", sa.JSON, nullable=False),  # the RunRequest: policy, release, destinations, instances read, bundles
    sa.Column("summary", sa.JSON),  # decision, zone, probabilities, code, reason: what lists show
    sa.Column("requested_utc", sa.Float, nullable=False),  # the time stamp of everything the run creates
    sa.Column("finished_utc", sa.Float),
    sa.Column("crashes", sa.Integer, nullable=False, default=0),  # times a worker died in it: our own poison counter
    sa.UniqueConstraint("study_key", "pipeline", "revision"),
    sa.Index("run_state", "state"),
    sa.Index("run_rule_requested", "rule", "requested_utc"),
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
    sa.Column("begun_utc", sa.Float),  # since when the peer may have it; NULL: it surely has not
    sa.Column("proof", sa.String, nullable=False, default=""),  # core.delivery.Proof; empty: none yet
    sa.Column("proved_utc", sa.Float),
    sa.Column("proof_attempt", sa.Integer, nullable=False, default=0),  # times the archive was asked whether it keeps it
    sa.Column("proof_detail", sa.String, nullable=False, default=""),  # what came of that, one sentence
    sa.UniqueConstraint("artifact_id", "destination"),
    sa.Index("delivery_state", "state"),
)

# One row an association that a peer opened, or tried to: the diary that IT exports for a vendor.
association = sa.Table(
    "association",
    metadata,
    sa.Column("association_id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("receiver", sa.String, nullable=False),  # host and process that took it
    sa.Column("started_utc", sa.Float, nullable=False),
    sa.Column("ended_utc", sa.Float),  # NULL: open, or the receiver died
    sa.Column("calling_ae", sa.String, nullable=False),
    sa.Column("called_ae", sa.String, nullable=False),
    sa.Column("address", sa.String, nullable=False),
    sa.Column("tls", sa.String, nullable=False, default=""),  # version, cipher and certificate's common name; empty: none
    sa.Column("implementation", sa.String, nullable=False, default=""),  # what the peer says it is
    sa.Column("outcome", sa.String, nullable=False),  # accepted | rejected
    sa.Column("contexts", sa.JSON, nullable=False, default=list),  # [abstract syntax, transfer syntax taken or "", why refused]
    sa.Column("objects", sa.Integer, nullable=False, default=0),
    sa.Column("bytes", sa.BigInteger, nullable=False, default=0),
    sa.Column("refused", sa.Integer, nullable=False, default=0),
    sa.Column("seconds_busy", sa.Float, nullable=False, default=0.0),  # first byte to last answer: the rate is over this
    sa.Column("ended_by", sa.String, nullable=False, default=""),  # peer released | peer aborted | node aborted: … | …
    sa.Column("reason", sa.String, nullable=False, default=""),  # of a rejection, in words
    sa.Index("association_started", "started_utc"),
)

# Storage commitment. ``asked``: we asked a PACS about our deliveries. ``answered``: a modality asked us about its objects.
commitment = sa.Table(
    "commitment",
    metadata,
    sa.Column("transaction_uid", sa.String, primary_key=True),
    sa.Column("direction", sa.String, nullable=False),  # asked | answered
    sa.Column("peer", sa.String, nullable=False),  # name of the destination; AE title of the modality
    sa.Column("state", sa.String, nullable=False),  # open | reported | expired | undeliverable
    sa.Column("items", sa.JSON, nullable=False),  # see delivery.commitment_repository
    sa.Column("requested_utc", sa.Float, nullable=False),
    sa.Column("reported_utc", sa.Float),
    sa.Column("attempt", sa.Integer, nullable=False, default=0),
    sa.Column("next_attempt_utc", sa.Float),
    sa.Column("detail", sa.String, nullable=False, default=""),
    sa.Index("commitment_state", "state"),
)

# What an archive said when it was asked about a study (how many instances, which patient).
archive_answer = sa.Table(
    "archive_answer",
    metadata,
    sa.Column("answer_id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("study_key", sa.String, nullable=False),
    sa.Column("at_utc", sa.Float, nullable=False),
    sa.Column("archive", sa.String, nullable=False),
    sa.Column("question", sa.String, nullable=False),  # count | patient
    sa.Column("answer", sa.JSON, nullable=False),
    sa.Index("archive_answer_study", "study_key"),
)

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

# Laboratory results (OBX of ORU^R01), final ones only.
lab_result = sa.Table(
    "lab_result",
    metadata,
    sa.Column("lab_result_id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("patient", sa.String, nullable=False),
    sa.Column("code", sa.String, nullable=False),  # code^scheme
    sa.Column("value", sa.String, nullable=False),
    sa.Column("unit", sa.String, nullable=False, default=""),
    sa.Column("status", sa.String, nullable=False),  # F | C
    sa.Column("observed_utc", sa.Float),
    sa.Column("received_utc", sa.Float, nullable=False),
    sa.Index("lab_result_patient", "patient"),
)

# Who is alive: one row a worker process, and one for what only one of them may do (``timers``). Times by the database's clock.
lease = sa.Table(
    "lease",
    metadata,
    sa.Column("name", sa.String, primary_key=True),  # executor id, or the thing held
    sa.Column("holder", sa.String, nullable=False),
    sa.Column("role", sa.String, nullable=False),
    sa.Column("started_utc", sa.Float, nullable=False),
    sa.Column("beat_utc", sa.Float, nullable=False),
)
