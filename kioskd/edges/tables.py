"""The tables of the access server's store, by SQLAlchemy, as the newest revision has them.

A change here needs a revision in store_revisions/, which brings the stores that there are to it.
"""

import sqlalchemy as sql

METADATA = sql.MetaData()

HEAD = "0002"
"""The revision that these tables are."""

VERSION = sql.Table("alembic_version", METADATA, sql.Column("version_num", sql.String(32), primary_key=True))
"""Alembic's own: which revision this store has."""

IDS = sql.Table(
    "card_ids",
    METADATA,
    sql.Column("id", sql.String, primary_key=True),
    sql.Column("card_kind", sql.String, nullable=False),
    sql.Column("card_value", sql.LargeBinary, nullable=False),
)
RECORDS = sql.Table(
    "records",
    METADATA,
    sql.Column("position", sql.Integer, primary_key=True, autoincrement=True),
    sql.Column("card", sql.String, nullable=False, index=True),
    sql.Column("kind", sql.String, nullable=False),
    # The script number of an intent and NULL elsewhere: two conversations cannot both write script 7.
    sql.Column("intent", sql.Integer, nullable=True),
    sql.Column("body", sql.Text, nullable=False),
    sql.UniqueConstraint("card", "intent"),
)
LEASES = sql.Table(
    "leases",
    METADATA,
    sql.Column("card", sql.String, primary_key=True),
    sql.Column("fence", sql.Integer, nullable=False),
    sql.Column("terminal", sql.String, nullable=False),
    sql.Column("tap", sql.String, nullable=False),
)
CHARGES = sql.Table(
    "charges",
    METADATA,
    sql.Column("terminal", sql.String, primary_key=True),
    sql.Column("card", sql.String, primary_key=True),
    sql.Column("count", sql.Integer, nullable=False),
)
CARDS = sql.Table(
    "cards",
    METADATA,
    sql.Column("card", sql.String, primary_key=True),
    sql.Column("last", sql.Integer, nullable=False),  # the newest script's number
    sql.Column("settled", sql.Integer, nullable=False),  # the number up to which everything is proven
    sql.Column("epoch", sql.Integer, nullable=False),  # of the proven replacement set; 0: none yet
    sql.Column("sent_epoch", sql.Integer, nullable=False),  # of a replacement set that was sent since; 0: none
    sql.Column("generation", sql.Integer, nullable=False),
    sql.Column("kvn", sql.Integer, nullable=False),
    sql.Column("install", sql.Integer, nullable=False),
    sql.Column("aes_bits", sql.Integer, nullable=False),  # of an AES master set on a card of 3DES sets; 0: none
)
CAMPAIGNS = sql.Table(
    "campaigns",
    METADATA,
    sql.Column("id", sql.String, primary_key=True),
    sql.Column("state", sql.String, nullable=False),
    sql.Column("body", sql.Text, nullable=False),
)
CODES = sql.Table(
    "enrolment_codes",
    METADATA,
    sql.Column("entry", sql.String, primary_key=True),
    sql.Column("name", sql.String, nullable=False, index=True),
    sql.Column("role", sql.String, nullable=False),
    sql.Column("salt", sql.LargeBinary, nullable=False),
    sql.Column("digest", sql.LargeBinary, nullable=False),
    sql.Column("until", sql.BigInteger, nullable=False),
    sql.Column("attempts", sql.Integer, nullable=False),
    sql.Column("used", sql.BigInteger, nullable=False),  # when; 0: not yet
)
CERTIFICATES = sql.Table(
    "certificates",
    METADATA,
    sql.Column("serial", sql.String, primary_key=True),
    sql.Column("name", sql.String, nullable=False, index=True),
    sql.Column("role", sql.String, nullable=False),
    sql.Column("begin", sql.BigInteger, nullable=False),
    sql.Column("until", sql.BigInteger, nullable=False),
    sql.Column("renewals", sql.Integer, nullable=False),
    sql.Column("revoked", sql.BigInteger, nullable=False),  # when; 0: not
)
REVOCATIONS = sql.Table(
    "revocations",
    METADATA,
    # Only ever added to: their number tells whether anything has changed.
    sql.Column("position", sql.Integer, primary_key=True, autoincrement=True),
    sql.Column("name", sql.String, nullable=False),
    sql.Column("at", sql.BigInteger, nullable=False),
)
