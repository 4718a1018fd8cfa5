"""The tables of kioskd 0.1.0. Its builds before this kept no version, and made tables as they needed them."""

import sqlalchemy as sql
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Makes what is not there."""
    _of_cards()
    _of_campaigns()
    _of_enrolment()


def _of_cards() -> None:
    op.create_table(
        "card_ids",
        sql.Column("id", sql.String, primary_key=True),
        sql.Column("card_kind", sql.String, nullable=False),
        sql.Column("card_value", sql.LargeBinary, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "records",
        sql.Column("position", sql.Integer, primary_key=True, autoincrement=True),
        sql.Column("card", sql.String, nullable=False),
        sql.Column("kind", sql.String, nullable=False),
        sql.Column("intent", sql.Integer, nullable=True),
        sql.Column("body", sql.Text, nullable=False),
        sql.UniqueConstraint("card", "intent"),
        if_not_exists=True,
    )
    op.create_index("ix_records_card", "records", ["card"], if_not_exists=True)
    op.create_table(
        "leases",
        sql.Column("card", sql.String, primary_key=True),
        sql.Column("fence", sql.Integer, nullable=False),
        sql.Column("terminal", sql.String, nullable=False),
        sql.Column("tap", sql.String, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "charges",
        sql.Column("terminal", sql.String, primary_key=True),
        sql.Column("card", sql.String, primary_key=True),
        sql.Column("count", sql.Integer, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "cards",
        sql.Column("card", sql.String, primary_key=True),
        sql.Column("last", sql.Integer, nullable=False),
        sql.Column("settled", sql.Integer, nullable=False),
        sql.Column("epoch", sql.Integer, nullable=False),
        sql.Column("sent_epoch", sql.Integer, nullable=False),
        sql.Column("generation", sql.Integer, nullable=False),
        sql.Column("kvn", sql.Integer, nullable=False),
        sql.Column("install", sql.Integer, nullable=False),
        if_not_exists=True,
    )


def _of_campaigns() -> None:
    op.create_table(
        "campaigns",
        sql.Column("id", sql.String, primary_key=True),
        sql.Column("state", sql.String, nullable=False),
        sql.Column("body", sql.Text, nullable=False),
        if_not_exists=True,
    )


def _of_enrolment() -> None:
    op.create_table(
        "enrolment_codes",
        sql.Column("entry", sql.String, primary_key=True),
        sql.Column("name", sql.String, nullable=False),
        sql.Column("role", sql.String, nullable=False),
        sql.Column("salt", sql.LargeBinary, nullable=False),
        sql.Column("digest", sql.LargeBinary, nullable=False),
        sql.Column("until", sql.BigInteger, nullable=False),
        sql.Column("attempts", sql.Integer, nullable=False),
        sql.Column("used", sql.BigInteger, nullable=False),
        if_not_exists=True,
    )
    op.create_index("ix_enrolment_codes_name", "enrolment_codes", ["name"], if_not_exists=True)
    op.create_table(
        "certificates",
        sql.Column("serial", sql.String, primary_key=True),
        sql.Column("name", sql.String, nullable=False),
        sql.Column("role", sql.String, nullable=False),
        sql.Column("begin", sql.BigInteger, nullable=False),
        sql.Column("until", sql.BigInteger, nullable=False),
        sql.Column("renewals", sql.Integer, nullable=False),
        sql.Column("revoked", sql.BigInteger, nullable=False),
        if_not_exists=True,
    )
    op.create_index("ix_certificates_name", "certificates", ["name"], if_not_exists=True)
    op.create_table(
        "revocations",
        sql.Column("position", sql.Integer, primary_key=True, autoincrement=True),
        sql.Column("name", sql.String, nullable=False),
        sql.Column("at", sql.BigInteger, nullable=False),
        if_not_exists=True,
    )
