"""A store outlives the software: a newer kioskd brings it along, an older one refuses it, and nothing is lost."""

import shutil
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sql
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from kioskd.edges import store_versions, tables
from kioskd.edges.store import SqlStore, engine_of
from kioskd.errors import StoreFailed
from tests.store.test_sql_store import ALIAS, CARD, RECORDS

LATER = "9999"
LATER_THAN_0001 = ("ALTER TABLE cards DROP COLUMN aes_bits",)
"""Takes from a store what revisions have added since versions are kept."""
NEXT = f"""
import sqlalchemy as sql
from alembic import op

revision, down_revision = "{LATER}", "{tables.HEAD}"

def upgrade() -> None:
    with op.batch_alter_table("leases") as leases:
        leases.add_column(sql.Column("since", sql.BigInteger, nullable=False, server_default="0"))
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "access.db"


@pytest.fixture
def next_revisions(tmp_path: Path) -> Path:
    """The revisions of a kioskd that does not exist yet: one more than today's."""
    folder = tmp_path / "revisions"
    shutil.copytree(store_versions.REVISIONS, folder)
    (folder / "versions" / "r9999_leases_know_their_time.py").write_text(NEXT)
    return folder


def opened(file: Path) -> SqlStore:
    return SqlStore(f"sqlite:///{file}")


async def fill(file: Path) -> None:
    store = opened(file)
    for record in RECORDS:
        await store.append(CARD, record, None)
    assert await store.firm_lease(CARD, "k1", "t1", 0) == 1
    store.close()


async def is_whole(file: Path) -> None:
    store = opened(file)
    assert await store.records(CARD) == RECORDS
    assert await store.find((ALIAS,)) == CARD
    assert await store.fence(CARD) == 1
    store.close()


def rows(file: Path, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(file)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def change(file: Path, *statements: str) -> None:
    connection = sqlite3.connect(file)
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def upgrade(file: Path, revisions: Path) -> None:
    """What a later kioskd does when it opens the store."""
    engine = engine_of(f"sqlite:///{file}")
    with engine.begin() as connection:
        store_versions.upgrade(connection, tables.HEAD, revisions)
    engine.dispose()


def test_the_newest_revision_is_the_one_that_the_tables_are() -> None:
    assert ScriptDirectory(str(store_versions.REVISIONS)).get_heads() == [tables.HEAD]


def test_the_revisions_make_the_very_tables_that_a_new_store_has() -> None:
    engine = sql.create_engine("sqlite://")
    with engine.begin() as connection:
        store_versions.upgrade(connection, "nothing")
        assert (
            compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), tables.METADATA) == []
        )


async def test_a_new_store_says_its_version(file: Path) -> None:
    await fill(file)
    assert rows(file, "SELECT version_num FROM alembic_version") == [(tables.HEAD,)]


async def test_a_store_from_before_versions_were_kept_is_brought_along(file: Path) -> None:
    await fill(file)
    change(file, "DROP TABLE alembic_version", "DROP TABLE revocations", "DROP TABLE certificates", *LATER_THAN_0001)
    await is_whole(file)
    assert rows(file, "SELECT version_num FROM alembic_version") == [(tables.HEAD,)]
    assert rows(file, "SELECT count(*) FROM certificates") == [(0,)]


async def test_a_later_version_keeps_what_is_in_the_store(file: Path, next_revisions: Path) -> None:
    await fill(file)
    before = rows(file, "SELECT card, fence, terminal, tap FROM leases")
    upgrade(file, next_revisions)
    assert rows(file, "SELECT version_num FROM alembic_version") == [(LATER,)]
    assert rows(file, "SELECT card, fence, terminal, tap FROM leases") == before
    assert rows(file, "SELECT since FROM leases") == [(0,)]


async def test_an_older_kioskd_refuses_a_later_store_in_one_sentence(file: Path, next_revisions: Path) -> None:
    await fill(file)
    upgrade(file, next_revisions)
    before = file.read_bytes()
    with pytest.raises(StoreFailed) as refused:
        opened(file)
    assert str(refused.value) == (
        f"the store is of version {LATER}, this software knows {tables.HEAD}: "
        "install the kioskd again that wrote it, or put back the backup from before it"
    )
    assert file.read_bytes() == before


async def test_an_upgrade_that_fails_half_way_leaves_the_store_as_it_was(file: Path, next_revisions: Path) -> None:
    await fill(file)
    broken = next_revisions / "versions" / "r9999_leases_know_their_time.py"
    broken.write_text(f'{NEXT}    op.drop_table("nowhere")\n')
    with pytest.raises(sql.exc.OperationalError, match="nowhere"):
        upgrade(file, next_revisions)
    await is_whole(file)
    assert rows(file, "SELECT version_num FROM alembic_version") == [(tables.HEAD,)]
