"""What a person calls a run: its name, tags and a note; and what became of its trackers."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Text

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the columns; runs from before have no name, and were followed by no tracker."""
    for name, empty in (("name", ""), ("tags", "[]"), ("note", ""), ("tracked", "{}")):
        op.add_column("runs", Column(name, Text, nullable=False, server_default=empty))
