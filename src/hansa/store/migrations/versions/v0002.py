"""Rounds say whether their noise grows from a secret that a simulation names."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Integer

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column; of rounds that are stored already, the noise grew from the plan's seed, which the plan names."""
    op.add_column("rounds", Column("named", Integer, nullable=False, server_default="1"))
