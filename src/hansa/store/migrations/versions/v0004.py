"""The schema of hansa 0.2: runs, their rounds, the files that count, and where each client's memory
lies.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Double, ForeignKey, Integer, Text

revision = "0004"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "runs",
        Column("id", Text, primary_key=True),
        Column("app", Text, nullable=False),
        Column("plan", Text, nullable=False),
        Column("digest", Text, nullable=False),
        Column("settings", Text, nullable=False),
        Column("planned", Integer),
        Column("started", Text, nullable=False),
        Column("status", Text, nullable=False),
    )
    op.create_table(
        "rounds",
        Column("run", Text, ForeignKey("runs.id"), primary_key=True),
        Column("round", Integer, primary_key=True),
        Column("metrics", Text, nullable=False),
        Column("scores", Text, nullable=False),
        Column("spent", Text, nullable=False),
        Column("participants", Text, nullable=False),
        Column("excluded", Text, nullable=False),
        Column("skipped", Text, nullable=False),
        Column("seconds", Double, nullable=False),
        Column("named", Integer, nullable=False),
    )
    op.create_table(
        "files",
        Column("run", Text, ForeignKey("runs.id"), primary_key=True),
        Column("name", Text, primary_key=True),
        Column("kind", Text, nullable=False),
        Column("round", Integer, nullable=False),
        Column("sha256", Text, nullable=False),
    )
    op.create_table(
        "memories",
        Column("run", Text, ForeignKey("runs.id"), primary_key=True),
        Column("who", Text, primary_key=True),
        Column("file", Text, nullable=False),
    )
    op.create_index("memories_file", "memories", ["run", "file"])
