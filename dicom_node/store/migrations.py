"""From one schema to the next: a node that is installed over an older one keeps its rows.

New tables need no step: ``create_all`` makes what is missing. A step here changes tables that are there. Steps add, one renames;
a column that is not used any more stays until nobody runs the node that wrote it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from alembic.operations import Operations


def _to_2(op: Operations) -> None:
    """Legal hold and retention of studies; how a delivery was proved."""
    op.add_column("study", sa.Column("legal_hold", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("study", sa.Column("pixels_deleted_utc", sa.Float))
    op.add_column("delivery", sa.Column("proof", sa.String, nullable=False, server_default=""))
    op.add_column("delivery", sa.Column("proved_utc", sa.Float))
    op.add_column("delivery", sa.Column("proof_attempt", sa.Integer, nullable=False, server_default="0"))
    op.add_column("delivery", sa.Column("proof_detail", sa.String, nullable=False, server_default=""))
    op.add_column("study", sa.Column("committed_utc", sa.Float))
    op.add_column("instance", sa.Column("deleted_utc", sa.Float))
    op.add_column("delivery", sa.Column("begun_utc", sa.Float))
    # an object is told from another by a faster function now; what schema 1 wrote keeps its value and says what made it
    op.alter_column("instance", "sha256", new_column_name="digest")
    op.execute("UPDATE instance SET digest = 'sha256:' || digest")
    op.create_index("run_rule_requested", "run", ["rule", "requested_utc"])
    # of what is not over in schema 1, nobody knows whether the peer has it
    op.execute("UPDATE delivery SET begun_utc = planned_utc WHERE attempt > 0 AND done_utc IS NULL")
    op.create_index("instance_study_state", "instance", ["study_key", "state"])
    op.drop_index("instance_study", table_name="instance")
    # what schema 1 called done was the peer's answer, and nothing more is known of it
    op.execute("UPDATE delivery SET proof = 'answer', proved_utc = done_utc WHERE state IN ('done', 'done_with_warning')")


def _to_3(_op: Operations) -> None:
    """Answers, tasks, opt-outs: new tables only. The number is raised because an older node would analyse who opted out."""


def _to_4(op: Operations) -> None:
    """Where a laboratory value came from. Runs may wait for values now, and an older node would leave them waiting for ever."""
    if not sa.inspect(op.get_bind()).has_table("lab_result"):  # schema 1: it is made whole
        return
    op.add_column("lab_result", sa.Column("source", sa.String, nullable=False, server_default="hl7"))
    op.add_column("lab_result", sa.Column("resource", sa.String, nullable=False, server_default=""))
    op.create_index("lab_result_resource", "lab_result", ["resource"])


def _to_5(op: Operations) -> None:
    """When a laboratory said a value, and what replaced it. An older node would read what was taken back as a value."""
    if not sa.inspect(op.get_bind()).has_table("lab_result"):
        return
    op.add_column("lab_result", sa.Column("stated_utc", sa.Float))
    op.add_column("lab_result", sa.Column("version_utc", sa.Float))
    op.add_column("lab_result", sa.Column("replaced_by", sa.Integer))


#: The step that leads to each schema, from the one before it.
STEPS: dict[int, Callable[[Operations], None]] = {2: _to_2, 3: _to_3, 4: _to_4, 5: _to_5}


def migrate(connection: sa.Connection, found: int, wanted: int) -> None:
    """Bring the tables from schema ``found`` to ``wanted`` in the caller's transaction; ``KeyError`` where no step leads on."""
    from alembic.migration import MigrationContext  # only where there is something to do: it costs a third of a second
    from alembic.operations import Operations

    operations = Operations(MigrationContext.configure(connection))
    for version in range(found + 1, wanted + 1):
        STEPS[version](operations)
