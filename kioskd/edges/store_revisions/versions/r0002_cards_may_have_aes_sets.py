"""The index says which cards went from 3DES to AES sets; none had before."""

import sqlalchemy as sql
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Adds the column."""
    with op.batch_alter_table("cards") as cards:
        cards.add_column(sql.Column("aes_bits", sql.Integer, nullable=False, server_default="0"))
