"""What all tables share: one ``MetaData``, and the number of the schema."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

#: Bumped when a column changes; ``connect.open_database`` refuses a database of another number and says what to do.
SCHEMA_VERSION = 5

schema = sa.Table("schema_version", metadata, sa.Column("version", sa.Integer, primary_key=True))
