"""The question: which table of which database is meant, and is it there as it is mapped?

What is not there is not made: SQLite would make a file of any name. Knows URLs and types of
columns; what is in the rows is ``foreign``'s to read.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.exc import NoSuchModuleError, NoSuchTableError, SQLAlchemyError

from proximity.model import ProximityError
from proximity.tomltable import nearest

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from proximity.sync.mapping import Mapping_

__all__ = ["open_table", "reason"]


def open_table(url: str, mapping: Mapping_) -> tuple[Engine, sa.Table]:
    """Open somebody else's database and read what its table is like.

    Raises ProximityError where it cannot be opened, or is not as it is mapped.
    """
    parsed = _address(url)
    try:
        engine = sa.create_engine(parsed, hide_parameters=True)  # cells are people's
    except NoSuchModuleError:
        raise ProximityError(
            f"{parsed.drivername}: no such kind of database is known: write sqlite:///FILE or "
            "postgresql://USER@HOST/NAME"
        ) from None
    except ModuleNotFoundError as error:
        raise ProximityError(
            f"this database needs its driver, {error.name}: for PostgreSQL pip install "
            "'proximity-engine[postgres]'"
        ) from None
    except SQLAlchemyError as error:
        raise ProximityError(f"the database cannot be opened ({reason(error)})") from None
    try:
        return engine, _mapped(engine, mapping)
    except ProximityError:
        engine.dispose()
        raise


def _mapped(engine: Engine, mapping: Mapping_) -> sa.Table:
    """Read what a table is like; raises ProximityError where it is not as it is mapped."""
    try:
        table = _reflected(engine, mapping)
    except NoSuchTableError:
        there = sa.inspect(engine).get_table_names(schema=mapping.schema)
        raise ProximityError(
            f"table {mapping.table!r:.80}: this database has none; "
            f"{nearest(mapping.table, there):.400}"
        ) from None
    except SQLAlchemyError as error:
        raise ProximityError(f"the database cannot be opened ({reason(error)})") from None
    named = (mapping.key, mapping.changed_at, mapping.erased_at, *mapping.columns, *mapping.flags)
    missing = [name for name in named if name is not None and name not in table.c]
    if missing:
        raise ProximityError(
            *(
                f"table {mapping.table!r:.80}: there is no column {name!r:.80}; "
                f"{nearest(name, [*table.c.keys()]):.400}"
                for name in missing
            )
        )
    return table


def _reflected(engine: Engine, mapping: Mapping_) -> sa.Table:
    """Read of a table which columns it has, and of which type each is."""
    strange: set[str] = set()
    if engine.dialect.name == "sqlite":
        from sqlalchemy.dialects.sqlite.base import ischema_names

        # Of a type without a meaning to SQLite, such as UUID, the library takes cells for numbers.
        asked = sa.text("SELECT name, type FROM pragma_table_info(:table, :schema)")
        said = {"table": mapping.table, "schema": mapping.schema or "main"}
        with engine.connect() as connection:
            for name, type_ in connection.execute(asked, said):
                if type_.partition("(")[0].strip().upper() not in ischema_names:
                    strange.add(name)
    meta = sa.MetaData()

    @sa.event.listens_for(meta, "column_reflect")
    def as_it_stands(_: object, __: object, column: dict[str, Any]) -> None:
        if column["name"] in strange and isinstance(column["type"], sa.Numeric):
            column["type"] = sa.types.NullType()

    return sa.Table(mapping.table, meta, schema=mapping.schema, autoload_with=engine)


def _address(url: str) -> sa.URL:
    """Read a database's URL; raises ProximityError where it is none, or of a file that is absent.

    SQLite itself would make the file, and the mistake would show as a table that is missing.
    """
    try:
        parsed = sa.make_url(url.strip())
    except (SQLAlchemyError, ValueError):
        # It is not quoted: there may be a password in it.
        raise ProximityError(
            "--sql is no URL of a database: write sqlite:///FILE or postgresql://USER@HOST/NAME"
        ) from None
    backend = parsed.get_backend_name()
    if backend in {"postgresql", "postgres"}:  # the latter is libpq's other name for it
        return parsed.set(drivername="postgresql+psycopg")
    if backend == "sqlite":
        name = parsed.database or ""
        if parsed.host or name in {"", ":memory:"}:
            raise ProximityError(
                "--sql names no file: write sqlite:///FILE, and for one from the root "
                "sqlite:////FOLDER/FILE"
            )
        if not name.startswith("file:") and not Path(name).is_file():
            raise ProximityError(
                f"{Path(name).absolute()}: there is no database here: give the shop's own file, "
                "sqlite:///FILE from this folder or sqlite:////FOLDER/FILE from the root"
            )
    return parsed


def reason(error: SQLAlchemyError) -> str:
    """Say what went wrong, in the driver's first line; parameters are people's and stay hidden."""
    return str(getattr(error, "orig", None) or error).strip().splitlines()[0][:200]
