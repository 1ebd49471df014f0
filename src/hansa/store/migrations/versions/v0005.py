"""What a server has heard in sessions that are not settled, in PostgreSQL; beside SQLite it has a
file of its own.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Double, LargeBinary, Text

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the tables of `hansa.loops.journal`."""
    if op.get_bind().dialect.name != "postgresql":
        return
    op.create_table(
        "heard",
        Column("run", Text, primary_key=True),
        Column("seq", BigInteger, primary_key=True),
        Column("epoch", BigInteger, nullable=False),
        Column("number", BigInteger, nullable=False),
        Column("state", BigInteger, nullable=False),
        Column("reply", LargeBinary, nullable=False),
    )
    op.create_table(
        "asked",
        Column("run", Text, primary_key=True),
        Column("epoch", BigInteger, primary_key=True),
        Column("number", BigInteger, primary_key=True),
        Column("round", BigInteger, nullable=False),
        Column("who", Text, nullable=False),
        Column("open", BigInteger, nullable=False),
        Column("ended", BigInteger),
    )
    op.create_table(
        "broadcasts",
        Column("run", Text, primary_key=True),
        Column("round", BigInteger, primary_key=True),
        Column("request", LargeBinary, nullable=False),
    )
    op.create_table(
        "sessions",
        Column("run", Text, primary_key=True),
        Column("epoch", BigInteger, primary_key=True),
        Column("number", BigInteger, primary_key=True),
        Column("clients", Text, nullable=False),
        Column("start", Text, nullable=False),
        Column("running", Double, nullable=False),
        Column("clock", Double, nullable=False),
    )
