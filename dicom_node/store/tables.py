"""The tables. Rows are the truth; the engine only runs them. Times are UTC, seconds since 1970 (float), one clock a host."""

from __future__ import annotations

import sqlalchemy as sa

from dicom_node.store import append_only

metadata = sa.MetaData()

#: Bumped when a column changes; ``connect.open_database`` refuses a database of another number and says what to do.
SCHEMA_VERSION = 3

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

# What people say about results, one row a finding (or whole result), person and moment. Append only: triggers refuse update and
# delete. Each row carries the hash of the one before it. No identifiers: those lie in ``verdict_private``, which can be erased.
verdict = sa.Table(
    "verdict",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),  # 1, 2, 3, … without a gap
    sa.Column("feedback_id", sa.String, nullable=False, unique=True),  # uuid, in order of time
    sa.Column("at_utc", sa.Float, nullable=False),  # when the node recorded it
    sa.Column("said_utc", sa.Float, nullable=False),  # when the person said it, as the message has it
    sa.Column("source", sa.String, nullable=False),  # keyed hash of the message's own name and of the finding: never twice
    sa.Column("run_key", sa.String, nullable=False),
    sa.Column("study_key", sa.String, nullable=False),
    sa.Column("finding", sa.String, nullable=False, default=""),  # key; empty: the whole result
    sa.Column("verdict", sa.String, nullable=False),  # core.feedback.Verdict
    sa.Column("strength", sa.String, nullable=False),  # strong | weak
    sa.Column("channel", sa.String, nullable=False),
    sa.Column("context", sa.String, nullable=False),
    sa.Column("reader", sa.String, nullable=False, default=""),  # pseudonym rd_…; empty: unknown
    sa.Column("reader_role", sa.String, nullable=False, default=""),
    sa.Column("experience_years", sa.Integer),
    sa.Column("bundle_hash", sa.String, nullable=False, default=""),
    sa.Column("policy_hash", sa.String, nullable=False, default=""),
    sa.Column("ai_shown", sa.Boolean, nullable=False),
    sa.Column("ai_shown_utc", sa.Float),
    sa.Column("label_before", sa.String, nullable=False, default=""),  # positive | negative | review | not_assessed
    sa.Column("label_after", sa.String, nullable=False, default=""),
    sa.Column("assessment", sa.Float),
    sa.Column("confidence", sa.Integer),
    sa.Column("map_relevant", sa.String, nullable=False, default=""),
    sa.Column("reason", sa.String, nullable=False, default=""),
    sa.Column("seconds_spent", sa.Float),
    sa.Column("reference_standard", sa.String, nullable=False, default="none"),
    sa.Column("reference_value", sa.String, nullable=False, default=""),
    sa.Column("supersedes", sa.String, nullable=False, default=""),  # feedback_id that this row corrects
    sa.Column("private_hash", sa.String, nullable=False, default=""),  # of the row in ``verdict_private``, with its salt
    sa.Column("previous_hash", sa.String, nullable=False),
    sa.Column("row_hash", sa.String, nullable=False),
    sa.UniqueConstraint("source"),
    sa.Index("verdict_run", "run_key"),
    sa.Index("verdict_study", "study_key"),
)
append_only.guard(verdict, unique=("number", "feedback_id", "source"))

# What of an answer identifies somebody. ``dicom-node erase`` removes the row with its salt; the chain still verifies.
verdict_private = sa.Table(
    "verdict_private",
    metadata,
    sa.Column("feedback_id", sa.String, primary_key=True),
    sa.Column("study_key", sa.String, nullable=False),
    sa.Column("salt", sa.String, nullable=False),
    sa.Column("content", sa.JSON, nullable=False),  # UIDs, reader as said, comment, regions, dates, evidence, raw digest
    sa.Index("verdict_private_study", "study_key"),
)

# Objects that may carry an answer: everything sent to an answer AE title, and documents (SR, KOS, GSPS, assessment) that came to
# the node. One row an object and way; what became of it. The file is the instance's (``ingest``), or our own (``answer_ae``).
answer_object = sa.Table(
    "answer_object",
    metadata,
    sa.Column("object_id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("door", sa.String, nullable=False),  # answer_ae | ingest
    sa.Column("association", sa.String, nullable=False, default=""),  # answer_ae: which association brought it
    sa.Column("calling_ae", sa.String, nullable=False),
    sa.Column("called_ae", sa.String, nullable=False),
    sa.Column("study_key", sa.String, nullable=False),
    sa.Column("sop_instance_uid", sa.String, nullable=False),
    sa.Column("sop_class_uid", sa.String, nullable=False),
    sa.Column("digest", sa.String, nullable=False),
    sa.Column("storage_key", sa.String, nullable=False, default=""),  # path below HOME/store; empty: no file is kept
    sa.Column("received_utc", sa.Float, nullable=False),
    sa.Column("ended_utc", sa.Float),  # answer_ae: when its association ended
    sa.Column("state", sa.String, nullable=False),  # waiting | read | nothing | unclear | quarantined | suspended | unreadable
    sa.Column("run_key", sa.String, nullable=False, default=""),  # whose result it is about, once known
    sa.Column("text", sa.String, nullable=False, default=""),  # what became of it, one sentence without identifiers
    sa.Index("answer_object_state", "state"),
    sa.Index("answer_object_study", "study_key"),
    sa.Index("answer_object_received", "received_utc"),
    sa.Index("answer_object_association", "association"),
)

# Messages (HL7, FHIR) that look like an answer and match no result, or several: shown, never guessed. Their text is not kept.
answer_message = sa.Table(
    "answer_message",
    metadata,
    sa.Column("message_id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("at_utc", sa.Float, nullable=False),
    sa.Column("channel", sa.String, nullable=False),
    sa.Column("source", sa.String, nullable=False),  # keyed hash
    sa.Column("state", sa.String, nullable=False),  # read | nothing | unclear | quarantined
    sa.Column("study_key", sa.String, nullable=False, default=""),
    sa.Column("run_key", sa.String, nullable=False, default=""),
    sa.Column("text", sa.String, nullable=False),
    sa.UniqueConstraint("channel", "source"),
)

# FHIR servers that are asked for answers, by the name of the destination.
answer_poll = sa.Table(
    "answer_poll",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("since_utc", sa.Float),  # what changed before this is known; NULL: never asked
    sa.Column("asked_utc", sa.Float),
    sa.Column("wanted_utc", sa.Float),  # when something (an empty notification) asked for an early look; NULL: nothing did
    sa.Column("problem", sa.String, nullable=False, default=""),  # why it could not be asked last, in words; empty: it could
)

# A sender whose answers look mechanical: nothing of it counts until a person says so.
answer_channel = sa.Table(
    "answer_channel",
    metadata,
    sa.Column("name", sa.String, primary_key=True),  # calling AE title
    sa.Column("suspended_utc", sa.Float),  # NULL: it counts
    sa.Column("why", sa.String, nullable=False, default=""),
    sa.Column("resumed_utc", sa.Float),
    sa.Column("resumed_by", sa.String, nullable=False, default=""),
)

# Who saw a result, when. Seeing is never an answer.
exposure = sa.Table(
    "exposure",
    metadata,
    sa.Column("exposure_id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("at_utc", sa.Float, nullable=False),
    sa.Column("run_key", sa.String, nullable=False),
    sa.Column("study_key", sa.String, nullable=False),
    sa.Column("reader", sa.String, nullable=False, default=""),
    sa.Column("channel", sa.String, nullable=False),  # web | fhir
    sa.Index("exposure_run", "run_key"),
)

# Something a person is asked to do: answer in detail, audit, settle a difference. Closed by a row of ``verdict``.
task = sa.Table(
    "task",
    metadata,
    sa.Column("task_id", sa.String, primary_key=True),  # tk_…, derived from run and kind
    sa.Column("kind", sa.String, nullable=False),  # amend | a worklist: mandatory_audit, gray_zone, …
    sa.Column("run_key", sa.String, nullable=False),
    sa.Column("study_key", sa.String, nullable=False),
    sa.Column("why", sa.String, nullable=False),  # one sentence without identifiers
    sa.Column("opened_utc", sa.Float, nullable=False),
    sa.Column("due_utc", sa.Float),
    sa.Column("reader", sa.String, nullable=False, default=""),  # for whom; empty: anybody who has not read it
    sa.Column("closed_utc", sa.Float),
    sa.Column("closed_by", sa.String, nullable=False, default=""),  # feedback_id, or why it is no more needed
    sa.Index("task_run", "run_key"),
    sa.Index("task_open", "closed_utc", "kind"),
)

# Cases whose answer is known, shown now and then among the random ones without saying so: how good is a reader?
golden_case = sa.Table(
    "golden_case",
    metadata,
    sa.Column("study_key", sa.String, primary_key=True),
    sa.Column("finding", sa.String, primary_key=True),  # key
    sa.Column("label", sa.String, nullable=False),  # present | absent
    sa.Column("added_utc", sa.Float, nullable=False),
)

# Patients who said no. ``patient`` is a keyed hash: the table says nothing about who they are.
opt_out = sa.Table(
    "opt_out",
    metadata,
    sa.Column("patient", sa.String, primary_key=True),  # identity token, see dicom_node.home
    sa.Column("scope", sa.String, primary_key=True),  # analysis | learning
    sa.Column("at_utc", sa.Float, nullable=False),
    sa.Column("source", sa.String, nullable=False),  # command | csv | http
)

# Who is logged in to the pages. The cookie holds a random value; here is its hash.
web_session = sa.Table(
    "web_session",
    metadata,
    sa.Column("session", sa.String, primary_key=True),
    sa.Column("login", sa.String, nullable=False),
    sa.Column("role", sa.String, nullable=False),
    sa.Column("form_token", sa.String, nullable=False),  # forms carry it: a request made by another site does not count
    sa.Column("began_utc", sa.Float, nullable=False),
    sa.Column("seen_utc", sa.Float, nullable=False),
    sa.Column("ends_utc", sa.Float, nullable=False),
)
