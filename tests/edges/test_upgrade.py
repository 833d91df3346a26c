"""A store of every released schema becomes today's, though it is killed again and again on the way."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from proximity.store import Store, migrations, schema

KILLS = 20
ROWS = 300
RELEASED = [
    script.revision
    for script in reversed(
        [*ScriptDirectory.from_config(migrations.configuration()).walk_revisions()]
    )
][:-1]

UPGRADE = textwrap.dedent("""
    import os, shutil, signal, sqlite3, sys, time
    import sqlalchemy as sa
    from proximity.store import Store, migrations
    path, kills = sys.argv[1], int(sys.argv[2])
    steps = 0

    most_steps = None

    def step(*_):
        global steps
        steps += 1
        if steps == most_steps:
            os.kill(os.getpid(), signal.SIGKILL)

    sa.event.listen(sa.Engine, "before_cursor_execute", step)
    sa.event.listen(sa.Engine, "commit", step)

    def live(path, most_s=None):
        if most_s:
            # Nobody waits for this signal: it ends the process wherever it is.
            signal.setitimer(signal.ITIMER_REAL, most_s)
        Store.open(path).close()

    def lives(path, at_step=None, most_s=None):
        global steps, most_steps
        steps, most_steps = 0, at_step
        child = os.fork()
        if child == 0:
            status = 1
            try:
                live(path, most_s)
                status = 0
            finally:
                os._exit(status)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def revision():
        db = sqlite3.connect(path)
        found = db.execute("SELECT version_num FROM alembic_version").fetchone()[0]
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        db.close()
        return found

    older, before = path + ".older", revision()
    shutil.copy(path, older)
    shutil.copy(path, path + ".rehearsal")
    began = time.monotonic()
    live(path + ".rehearsal")
    whole, whole_s = steps, time.monotonic() - began

    died = tried = 0
    while died < kills:
        # Each a little later than the one before: half of them at a statement, half at a moment.
        share = (died + 0.5) / kills
        tried += 1
        assert tried <= 5 * kills
        if died % 2:
            ended = lives(path, most_s=max(0.001, whole_s * share * 0.9**(tried - died)))
        else:
            ended = lives(path, at_step=1 + int(whole * share))
        died += ended in (-signal.SIGKILL, -signal.SIGALRM)
        if revision() != before:
            # It was quicker than at the rehearsal, or had committed when it died: once more.
            for beside in ("-wal", "-shm"):
                if os.path.exists(path + beside):
                    os.unlink(path + beside)
            shutil.copy(older, path)
    assert lives(path) == 0
    print(died)
""")


def made(path: Path, revision: str) -> dict[str, list[dict[str, Any]]]:
    """Make a store of an older schema, with rows in every table; give them."""
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")
    with engine.begin() as connection:
        command.upgrade(migrations.configuration(connection), revision)
        tables = sa.MetaData()
        tables.reflect(connection)
        for table in tables.sorted_tables:
            if table.name == schema.version.name:
                continue
            rows = [
                {column.name: _value(table, column, n) for column in table.columns}
                for n in range(1, ROWS + 1)
            ]
            connection.execute(table.insert(), rows)
    held = read(engine)
    engine.dispose()
    return held


def _value(table: sa.Table, column: sa.Column[Any], n: int) -> Any:
    """Something of the column's kind, and another thing in each row."""
    if isinstance(column.type, sa.LargeBinary):
        return msgspec.msgpack.encode({"person": f"person-{n}", "of": str(table.name)})
    if isinstance(column.type, sa.Integer):
        return n
    if isinstance(column.type, sa.Float):
        return n + 0.5
    if column.name in {"record", "feature", "properties", "event", "rows"}:
        return json.dumps({"person": f"person-{n}", "of": str(table.name)})
    return f"{table.name} {column.name} {n}"


def read(engine: sa.Engine) -> dict[str, list[dict[str, Any]]]:
    tables = sa.MetaData()
    with engine.connect() as connection:
        tables.reflect(connection)
        return {
            table.name: [
                dict(row)
                for row in connection.execute(
                    sa.select(table).order_by(*table.primary_key)
                ).mappings()
            ]
            for table in tables.sorted_tables
            if table.name != schema.version.name
        }


@pytest.mark.slow
@pytest.mark.parametrize("revision", RELEASED)
def test_every_released_schema_upgrades_though_killed_midway(tmp_path: Path, revision: str) -> None:
    path = tmp_path / "engine.db"
    before = made(path, revision)
    ended = subprocess.run(
        [sys.executable, "-c", UPGRADE, str(path), str(KILLS)],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == [str(KILLS)]
    print(f"from {revision}: killed {KILLS} times on the way, whole")  # noqa: T201 - shown with -s

    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []
        found = connection.scalar(sa.select(schema.version.c.version_num))
        assert found == schema.REVISION
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    after = read(engine)
    engine.dispose()
    for name, rows in before.items():
        columns = rows[0].keys()
        kept = [{column: row[column] for column in columns} for row in after[name]]
        assert kept == rows, f"{name} has other rows than before"
    for name in after.keys() - before.keys():
        assert after[name] == []
    Store.open(path).close()
