"""How an older store becomes a current one: Alembic revisions, shipped with the package.

Imported only where a store is older than ``schema.REVISION``; a new one is made from ``schema``
and a test proves that both ways end alike.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from proximity.store import schema
from proximity.store.faults import StoreFailed

if TYPE_CHECKING:
    from sqlalchemy import Connection


def configuration(connection: Connection | None = None) -> Config:
    """Give Alembic's configuration for these revisions, to be run on ``connection``."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def upgrade(connection: Connection, found: str | None, name: str) -> None:
    """Bring the tables from revision ``found`` to the current one, in the caller's transaction.

    Raises StoreFailed where ``found`` is a revision that this version does not know.
    """
    config = configuration(connection)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise StoreFailed(
            f"{name}: a newer version of the program wrote it (schema {found}, this one knows "
            f"{schema.REVISION}); install that version, or restore an older copy"
        )
    command.upgrade(config, "head")
