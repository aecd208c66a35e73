"""What people say about results, what they are asked, and who is logged in."""

from __future__ import annotations

import sqlalchemy as sa

from dicom_node.store import append_only
from dicom_node.store.tables.base import metadata

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
