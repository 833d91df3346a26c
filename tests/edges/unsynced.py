"""The programs as they are, but for one word: what is committed is not synced.

Only to show that the tests of power cuts notice it: ``python -m tests.edges.unsynced WORDS`` is
``proximity WORDS`` with ``synchronous = NORMAL``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from proximity.__main__ import main
from proximity.store import connecting

if TYPE_CHECKING:
    from sqlalchemy import Engine

_speak = connecting._speak_sqlite


def _speak_carelessly(engine: Engine) -> None:
    _speak(engine)

    def connected(raw: Any, _record: object) -> None:
        raw.execute("PRAGMA synchronous = NORMAL")

    sa.event.listen(engine, "connect", connected)


if __name__ == "__main__":
    connecting._speak_sqlite = _speak_carelessly
    main()
