"""What passed between the node and its peers, and which of its own processes are alive."""

from __future__ import annotations

import sqlalchemy as sa

from dicom_node.store.tables.base import metadata

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
