"""Rounds say whether their noise grows from a secret that a simulation names."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Boolean, Column, false

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column; of rounds that are stored already, the noise grew from the plan's seed."""
    op.add_column("rounds", Column("named", Boolean, nullable=False, server_default=false()))
    op.execute("UPDATE rounds SET named = true")
