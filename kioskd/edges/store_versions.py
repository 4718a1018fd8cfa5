"""Brings a store that an older kioskd wrote to the tables of this one, by alembic."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection

from kioskd.edges.tables import HEAD
from kioskd.errors import StoreFailed
from kioskd.version import written_by_another

REVISIONS = Path(__file__).parent / "store_revisions"


def upgrade(connection: Connection, found: str, revisions: Path = REVISIONS) -> None:
    """Runs what is newer than `found`, in the transaction of `connection`; `StoreFailed` if `found` is unknown here."""
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(revisions).replace("%", "%%"))
    try:
        command.upgrade(config, "head")
    except CommandError as wrong:
        advice = "or put back the backup from before it"
        raise StoreFailed(f"the store {written_by_another(found, HEAD)}, {advice}") from wrong
