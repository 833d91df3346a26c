"""What is kept on disk: every table and column, what class of content it is, and what it is for.

The same definitions make the tables of SQLite and of PostgreSQL. This file knows no connection and
no rule. A column's ``info`` names its class, so that a person's whole trace can be found, exported
and erased by reading the schema instead of the code:

* ``none``: neither a person nor a place of theirs can be learned from it;
* ``pseudonym``: an id of a subject, person or visit;
* ``location``: where a subject was;
* ``personal``: what a person is or agreed to;
* ``secret``: a credential, even if hashed.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
)

# The migration that these definitions stand for; `migrations/versions` ends with it.
REVISION = "0003"

metadata = MetaData()
# Alembic's own table of one row: the revision that the tables are at.
version = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)

# SQLite numbers rows by itself only where the key is spelled INTEGER; PostgreSQL's is too narrow.
_Serial = BigInteger().with_variant(Integer(), "sqlite")


def _column(name: str, type_: Any, kind: str, purpose: str, **options: Any) -> Column[Any]:
    """Make a column that says what class of content it holds and why it is there."""
    options.setdefault("nullable", bool(options.pop("optional", False)))
    return Column(name, type_, info={"class": kind, "purpose": purpose}, **options)


def _key(name: str, type_: Any, kind: str, purpose: str, **options: Any) -> Column[Any]:
    return _column(name, type_, kind, purpose, primary_key=True, **options)


meta = Table(
    "meta",
    metadata,
    _key("key", Text, "none", "name of a fact about this store"),
    _column("value", Text, "none", "the fact: positions, versions, the site in force"),
)

journal = Table(
    "journal",
    metadata,
    _key("position", _Serial, "none", "order of application", autoincrement=False),
    _column("kind", Text, "none", "records, tick, fences, site, enrolments, forget"),
    _column("now", Double, "none", "the server's time of it, Unix seconds, never falling"),
    _column("version", Text, "none", "hash of the fences, site and campaigns in force"),
    _column("payload", LargeBinary, "location", "msgpack; gone soon after a snapshot covers it"),
)

snapshots = Table(
    "snapshots",
    metadata,
    _key("position", _Serial, "none", "the journal row it stands after", autoincrement=False),
    _column("now", Double, "none", "that row's time, Unix seconds"),
    _column("state", LargeBinary, "location", "the engine's state, or the last of its pieces"),
)

snapshot_pieces = Table(
    "snapshot_pieces",
    metadata,
    _key("number", _Serial, "none", "order of writing"),
    _column("position", _Serial, "none", "the snapshot it is of"),
    _column("state", LargeBinary, "location", "a piece of the engine's state"),
    Index("snapshot_pieces_by_position", "position"),
)

fences = Table(
    "fences",
    metadata,
    _key("id", Text, "none", "the fence's id"),
    _column("feature", Text, "none", "its GeoJSON feature"),
    _column("etag", Text, "none", "hash of the feature"),
    _column("source", Text, "none", "file (read-only over HTTP) or http"),
)

enrolments = Table(
    "enrolments",
    metadata,
    _key("kind", Text, "none", "place, gateway or beacon"),
    _key("id", Text, "pseudonym", "the entry's id, which may be a tag's identity"),
    _column("record", Text, "secret", "the entry (JSON); of a rotating beacon with its key"),
)

ledger = Table(
    "ledger",
    metadata,
    _key("seq", _Serial, "none", "order of appending; the cursor of lists and streams"),
    _column("kind", Text, "none", "transition, decision or delivery"),
    _column("id", Text, "none", "deterministic id: found again after a crash, written once"),
    _column("subject", Text, "pseudonym", "whose", optional=True),
    _column("place", Text, "location", "where", optional=True),
    _column("person", Text, "pseudonym", "whose", optional=True),
    _column("visit", Text, "pseudonym", "of which visit", optional=True),
    _column("campaign", Text, "none", "of which campaign", optional=True),
    _column("at", Double, "none", "when it was decided or done, Unix seconds"),
    _column("record", Text, "location", "the line that files and HTTP carry (JSON)"),
    UniqueConstraint("kind", "id", name="ledger_once"),
    Index("ledger_by_kind", "kind", "seq"),
    Index("ledger_by_subject", "subject", "seq"),
    Index("ledger_by_place", "place", "seq"),
    sqlite_autoincrement=True,
)

triggers = Table(
    "triggers",
    metadata,
    _key("seq", _Serial, "none", "order of arrival"),
    _column("id", Text, "none", "the decision's id", unique=True),
    _column("trigger", LargeBinary, "location", "msgpack of the trigger"),
    _column("due_at", Double, "none", "not to be decided before, Unix seconds"),
    _column("state", Text, "none", "ready, leased, or aside: it cannot be read"),
    _column("owner", Text, "none", "who holds the lease", optional=True),
    _column("lease_until", Double, "none", "end of the lease, Unix seconds", optional=True),
    _column("token", Integer, "none", "counts leases: an older holder is fenced off"),
    _column("attempts", Integer, "none", "how often it was claimed"),
    Index("triggers_by_due", "due_at", "seq"),
    sqlite_autoincrement=True,
)

sends = Table(
    "sends",
    metadata,
    _key("decision", Text, "none", "the decision that reserved it"),
    _column("person", Text, "pseudonym", "whose caps it counts against"),
    _column("campaign", Text, "none", "whose cooldown it starts"),
    _column("purpose", Text, "none", "which caps it counts against"),
    _column("place", Text, "location", "where it was triggered"),
    _column("visit", Text, "pseudonym", "in which visit"),
    _column("at", Double, "none", "when it was decided, Unix seconds"),
    Index("sends_by_person", "person", "at"),
)

outbox = Table(
    "outbox",
    metadata,
    _key("key", Text, "none", "the decision; receivers collapse on it"),
    _key("channel", Text, "none", "which channel is to carry it"),
    _column("offer", LargeBinary, "personal", "msgpack of the offer"),
    _column("created_at", Double, "none", "Unix seconds"),
    _column("expires_at", Double, "none", "not to be sent after, Unix seconds"),
    _column("next_at", Double, "none", "not to be tried before, Unix seconds"),
    _column("state", Text, "none", "ready or leased"),
    _column("owner", Text, "none", "who holds the lease", optional=True),
    _column("lease_until", Double, "none", "end of the lease, Unix seconds", optional=True),
    _column("token", Integer, "none", "counts leases: an older holder is fenced off"),
    _column("attempts", Integer, "none", "how often it was tried"),
    Index("outbox_by_next", "next_at"),
)

people = Table(
    "people",
    metadata,
    _key("person", Text, "pseudonym", "the person's id"),
    _column("record", Text, "personal", "zone, languages, attributes (JSON)"),
)

subjects = Table(
    "subjects",
    metadata,
    _key("subject", Text, "pseudonym", "a device or tag"),
    _column("person", Text, "pseudonym", "who carries it"),
    Index("subjects_by_person", "person"),
)

consents = Table(
    "consents",
    metadata,
    _key("seq", _Serial, "none", "order of recording; rows are never changed"),
    _column("person", Text, "pseudonym", "who agreed, or withdrew"),
    _column("purpose", Text, "personal", "to what", optional=True),
    _column("channel", Text, "personal", "on which channel", optional=True),
    _column("since", Double, "personal", "from when, Unix seconds", optional=True),
    _column("until", Double, "personal", "until when, Unix seconds", optional=True),
    _column("recorded_at", Double, "none", "when it was written, Unix seconds"),
    _column("source", Text, "personal", "where it came from"),
    Index("consents_by_person", "person", "seq"),
    sqlite_autoincrement=True,
)

tokens = Table(
    "tokens",
    metadata,
    _key("id", Text, "none", "what it is listed and revoked by"),
    _column("role", Text, "none", "what it may do"),
    _column("subject", Text, "pseudonym", "the one id it speaks for", optional=True),
    _column("hash", Text, "secret", "of the token, which is shown once", unique=True),
    _column("created_at", Double, "none", "Unix seconds"),
    _column("revoked_at", Double, "none", "Unix seconds", optional=True),
)

gateway_secrets = Table(
    "gateway_secrets",
    metadata,
    _key("id", Text, "none", "what it is listed and revoked by"),
    _column("gateway", Text, "none", "whose requests it signs"),
    _column("secret", Text, "secret", "as it was shown, once: a signature needs it itself"),
    _column("created_at", Double, "none", "Unix seconds"),
    _column("until", Double, "none", "not after, Unix seconds", optional=True),
)

signed_requests = Table(
    "signed_requests",
    metadata,
    _key("gateway", Text, "none", "who signed"),
    _key("message", Text, "none", "its webhook-id: taken once"),
    _column("at", Double, "none", "when it was signed, Unix seconds; forgotten with its tolerance"),
    Index("signed_requests_by_at", "at"),
)

gateway_clocks = Table(
    "gateway_clocks",
    metadata,
    _key("gateway", Text, "none", "whose clock"),
    _key("boot", Text, "none", "since which start of the machine"),
    _column("offset_s", Double, "none", "Unix seconds at which its monotonic clock was 0"),
    _column("since", Double, "none", "when that was last found to be much less, Unix seconds"),
    _column("heard_at", Double, "none", "when it was last heard, Unix seconds"),
    _column("trusted", Integer, "none", "1: known well enough to date what seems late"),
)
