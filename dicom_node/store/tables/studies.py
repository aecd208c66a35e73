"""Studies, what arrived of them, and their story."""

from __future__ import annotations

import sqlalchemy as sa

from dicom_node.store.tables.base import metadata

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

# One row a slice that a person marked on the node; marks in documents of the study stand in those.
slice_mark = sa.Table(
    "slice_mark",
    metadata,
    sa.Column("study_key", sa.String, sa.ForeignKey("study.study_key"), primary_key=True),
    sa.Column("sop_instance_uid", sa.String, primary_key=True),
    sa.Column("frame", sa.Integer, primary_key=True),  # from 1, of a multi-frame object; 0: a single image
    sa.Column("marked_utc", sa.Float, nullable=False),
)

# What a person said of a study that a laboratory would say, one row a part and time; the newest counts.
lab_answer = sa.Table(
    "lab_answer",
    metadata,
    sa.Column("lab_answer_id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("study_key", sa.String, sa.ForeignKey("study.study_key"), nullable=False),
    sa.Column("part", sa.String, nullable=False),  # as in ``lab_input``
    sa.Column("code", sa.String, nullable=False),  # code^scheme under which a pipeline reads it
    sa.Column("value", sa.String, nullable=False),  # empty: nobody knows it
    sa.Column("login", sa.String, nullable=False),  # who said it
    sa.Column("said_utc", sa.Float, nullable=False),
    sa.Index("lab_answer_study", "study_key"),
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
