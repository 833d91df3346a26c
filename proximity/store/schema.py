"""What is kept on disk: every table and column, what class of content it is, and what it is for.

The same definitions make the tables of SQLite and of PostgreSQL. This file knows no connection and
no rule. A column's ``info`` names its class, so that a person's whole trace can be found, exported
and erased by reading the schema instead of the code:

* ``none``: neither a person nor a place of theirs can be learned from it;
* ``pseudonym``: an id of a subject, person or visit;
* ``location``: where a subject was;
* ``personal``: what a person is or agreed to;
* ``secret``: a credential, even if hashed.

A table's ``info`` says how long its rows are kept (names of ``privacy.retention``'s schedule), and
how those of one person are found when they are erased: by its columns of these names, or
``rewritten`` (the person's part of each row is taken out), ``hashed`` (it knows them by a keyed
hash alone, and stays). A column that is kept for another time than its table says so itself.
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
    UniqueConstraint,
)
from sqlalchemy import Text as _Text

# The migration that these definitions stand for; `migrations/versions` ends with it.
REVISION = "0007"

metadata = MetaData()
# Alembic's own table of one row: the revision that the tables are at.
version = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)

# Texts are in the order of their characters: a PostgreSQL may have another, by its language.
Text = _Text().with_variant(_Text(collation="C"), "postgresql")

# SQLite numbers rows by itself only where the key is spelled INTEGER; PostgreSQL's is too narrow.
_Serial = BigInteger().with_variant(Integer(), "sqlite")


def _column(name: str, type_: Any, kind: str, purpose: str, **options: Any) -> Column[Any]:
    """Make a column that says what class of content it holds and why it is there."""
    options.setdefault("nullable", bool(options.pop("optional", False)))
    info = {"class": kind, "purpose": purpose}
    if "retention" in options:
        info["retention"] = options.pop("retention")
    return Column(name, type_, info=info, **options)


def _kept(retention: str, *, erased: str = "") -> dict[str, str]:
    """Say how long a table's rows are kept, and how those of a person are found."""
    return {"retention": retention, "erased": erased}


def _key(name: str, type_: Any, kind: str, purpose: str, **options: Any) -> Column[Any]:
    return _column(name, type_, kind, purpose, primary_key=True, **options)


meta = Table(
    "meta",
    metadata,
    _key("key", Text, "none", "name of a fact about this store"),
    _column("value", Text, "none", "the fact: positions, versions, the site in force"),
    info=_kept("kept"),
)

journal = Table(
    "journal",
    metadata,
    _key("position", _Serial, "none", "order of application", autoincrement=False),
    _column("kind", Text, "none", "records, tick, fences, site, enrolments, forget"),
    _column("now", Double, "none", "the server's time of it, Unix seconds, never falling"),
    _column("version", Text, "none", "hash of the fences, site and campaigns in force"),
    _column("payload", LargeBinary, "location", "msgpack; gone soon after a snapshot covers it"),
    info=_kept("traces", erased="rewritten"),
)

snapshots = Table(
    "snapshots",
    metadata,
    _key("position", _Serial, "none", "the journal row it stands after", autoincrement=False),
    _column("now", Double, "none", "that row's time, Unix seconds"),
    _column("state", LargeBinary, "location", "the engine's state, or the last of its pieces"),
    info=_kept("traces", erased="rewritten"),
)

snapshot_pieces = Table(
    "snapshot_pieces",
    metadata,
    _key("number", _Serial, "none", "order of writing"),
    _column("position", _Serial, "none", "the snapshot it is of"),
    _column("state", LargeBinary, "location", "a piece of the engine's state"),
    Index("snapshot_pieces_by_position", "position"),
    info=_kept("traces", erased="rewritten"),
)

admitted = Table(
    "admitted",
    metadata,
    _key("position", _Serial, "none", "the last journal row it covers", autoincrement=False),
    _column("now", Double, "none", "that row's time, Unix seconds"),
    _column("packed", LargeBinary, "location", "what those rows held, by which repeats are known"),
    info=_kept("traces", erased="rewritten"),
)

fences = Table(
    "fences",
    metadata,
    _key("id", Text, "none", "the fence's id"),
    _column("feature", Text, "none", "its GeoJSON feature"),
    _column("etag", Text, "none", "hash of the feature"),
    _column("source", Text, "none", "file (read-only over HTTP) or http"),
    info=_kept("kept"),
)

enrolments = Table(
    "enrolments",
    metadata,
    _key("kind", Text, "none", "place, gateway or beacon"),
    _key("id", Text, "pseudonym", "the entry's id, which may be a tag's identity"),
    _column("record", Text, "secret", "the entry (JSON); of a rotating beacon with its key"),
    info=_kept("person", erased="rewritten"),
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
    info=_kept("visits decisions", erased="person subject"),
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
    _column("person", Text, "pseudonym", "whose: erasure finds it by this", optional=True),
    _column("moment", Text, "pseudonym", "of which transition: rivals meet in it", optional=True),
    Index("triggers_by_due", "due_at", "seq"),
    Index("triggers_by_person", "person"),
    Index("triggers_by_moment", "moment"),
    sqlite_autoincrement=True,
    info=_kept("queue", erased="person"),
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
    _column("channel", Text, "none", "which channel carries it", optional=True),
    _column("system", Text, "none", "which other system sent it; null: we", optional=True),
    _column("moment", Text, "pseudonym", "of which moment: its contest is won", optional=True),
    Index("sends_by_person", "person", "at"),
    info=_kept("sends", erased="person"),
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
    _column("state", Text, "none", "ready, leased, or aside: it cannot be read"),
    _column("owner", Text, "none", "who holds the lease", optional=True),
    _column("lease_until", Double, "none", "end of the lease, Unix seconds", optional=True),
    _column("token", Integer, "none", "counts leases: an older holder is fenced off"),
    _column("attempts", Integer, "none", "how often it was tried"),
    _column("person", Text, "pseudonym", "whose: a withdrawal finds it by this", optional=True),
    _column("onward", Integer, "none", "channels left to try after this one", optional=True),
    _column("doubt", Integer, "none", "1: a channel before may have got it there", optional=True),
    Index("outbox_by_channel", "channel", "attempts", "next_at", "onward"),
    Index("outbox_by_person", "person"),
    info=_kept("queue", erased="person"),
)

offers = Table(
    "offers",
    metadata,
    _key("key", Text, "none", "the decision; the same on every channel"),
    _column("person", Text, "pseudonym", "whose"),
    _column("campaign", Text, "none", "of which campaign"),
    _column("place", Text, "location", "where it was triggered"),
    _column("offer", LargeBinary, "personal", "msgpack of the offer, as it was decided"),
    _column("created_at", Double, "none", "Unix seconds"),
    _column("expires_at", Double, "none", "good until, Unix seconds"),
    _column("state", Text, "none", "what became of it, on whichever channel"),
    _column("changed", _Serial, "none", "which change in all was its last: a reader's cursor"),
    _column("in_inbox", Integer, "none", "1: it lies in the inbox; -1: its reader set it aside"),
    _column("read_at", Double, "personal", "when it was opened first, Unix seconds", optional=True),
    _column("redeemed_at", Double, "personal", "when it was used, Unix seconds", optional=True),
    Index("offers_by_person", "person", "changed"),
    Index("offers_by_changed", "changed"),
    info=_kept("decisions", erased="person"),
)

codes = Table(
    "codes",
    metadata,
    _key("code", Text, "none", "what is shown at the till; no two offers have the same"),
    _column("key", Text, "none", "of which offer", unique=True),
    _column("person", Text, "pseudonym", "who redeemed it"),
    _column("at", Double, "none", "when, Unix seconds"),
    Index("codes_by_person", "person"),
    info=_kept("decisions", erased="person"),
)

gone_endpoints = Table(
    "gone_endpoints",
    metadata,
    _key("person", Text, "pseudonym", "whose"),
    _key("channel", Text, "none", "of which channel"),
    _key("hash", Text, "pseudonym", "HMAC-SHA256 of the address under the store's key"),
    _column("reason", Text, "none", "what the provider said of it, or that another has it"),
    _column("at", Double, "none", "when, Unix seconds"),
    info=_kept("person", erased="person"),
)

held_endpoints = Table(
    "held_endpoints",
    metadata,
    _key("hash", Text, "pseudonym", "HMAC-SHA256 of a device's address under the store's key"),
    _column("person", Text, "pseudonym", "whose it is: a device is one person's at a time"),
    Index("held_endpoints_by_person", "person"),
    info=_kept("person", erased="person"),
)

people = Table(
    "people",
    metadata,
    _key("person", Text, "pseudonym", "the person's id"),
    _column(
        "record", Text, "personal", "zone, languages, attributes, preferences, endpoints (JSON)"
    ),
    info=_kept("person", erased="person"),
)

attributes = Table(
    "attributes",
    metadata,
    _key("person", Text, "pseudonym", "whose"),
    _key("name", Text, "none", "name of the attribute; a list has a row for each of its items"),
    _key("item", Integer, "none", "place in a list, else 0"),
    _column("text", Text, "personal", "its value where it is text", optional=True),
    _column("number", Double, "personal", "where it is a number; flags are 0 and 1", optional=True),
    Index("attributes_by_text", "name", "text"),
    Index("attributes_by_number", "name", "number"),
    info=_kept("person", erased="person"),
)

wishes = Table(
    "wishes",
    metadata,
    _key("person", Text, "pseudonym", "whose"),
    _key("number", Integer, "none", "place among their preferences: a later one wins"),
    _column("topic", Text, "personal", "about what; null: whatever it is", optional=True),
    _column("channel", Text, "personal", "on which channel; null: any", optional=True),
    _column("place", Text, "personal", "where; null: anywhere", optional=True),
    _column("allow", Integer, "personal", "1: they want it; 0: they do not"),
    info=_kept("person", erased="person"),
)

subjects = Table(
    "subjects",
    metadata,
    _key("subject", Text, "pseudonym", "a device or tag"),
    _column("person", Text, "pseudonym", "who carries it"),
    Index("subjects_by_person", "person"),
    info=_kept("person", erased="person"),
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
    _column("precision", Text, "personal", "exact, geohash-6 or venue; null: exact", optional=True),
    _column("method", Text, "personal", "form, spoken, link, import, …", optional=True),
    _column("text", Text, "none", "SHA-256 of the text that was shown", optional=True),
    Index("consents_by_person", "person", "seq"),
    sqlite_autoincrement=True,
    info=_kept("person", erased="person"),
)

consent_texts = Table(
    "consent_texts",
    metadata,
    _key("sha256", Text, "none", "of the text, hexadecimal"),
    _column("purpose", Text, "none", "what it asks for"),
    _column("version", Text, "none", "as its authors count"),
    _column("locale", Text, "none", "its language tag"),
    _column("text", Text, "none", "what was shown, to the letter"),
    _column("benefit", Text, "none", "its sentence that says what it is good for", optional=True),
    _column("recorded_at", Double, "none", "when it was registered, Unix seconds"),
    info=_kept("kept"),
)

consent_chain = Table(
    "consent_chain",
    metadata,
    _key("seq", _Serial, "none", "the consents row it seals", autoincrement=False),
    _column("mac", Text, "none", "HMAC-SHA256 of that row under its person's key"),
    _column("hash", Text, "none", "SHA-256 over the hash before, seq, mac and recorded_at"),
    _column("recorded_at", Double, "none", "when it was written, Unix seconds"),
    _column(
        "erased", Text, "none", "HMAC under the store's key: its row was erased", optional=True
    ),
    info=_kept("kept"),
)

person_keys = Table(
    "person_keys",
    metadata,
    _key("person", Text, "pseudonym", "whose"),
    _column("key", LargeBinary, "secret", "destroyed with the person: what it sealed stays sealed"),
    _column("created_at", Double, "none", "Unix seconds"),
    info=_kept("person", erased="person"),
)

store_keys = Table(
    "store_keys",
    metadata,
    _key("name", Text, "none", "what it is for: links, objections, receipts"),
    _column("key", LargeBinary, "secret", "32 random bytes, made when first needed"),
    _column("created_at", Double, "none", "Unix seconds"),
    info=_kept("kept"),
)

objections = Table(
    "objections",
    metadata,
    _key("hash", Text, "pseudonym", "HMAC-SHA256 of an id under the store's key"),
    _key("kind", Text, "none", "objected: no marketing is sent; erased: it does not come back"),
    _column("at", Double, "none", "since when, Unix seconds"),
    _column("source", Text, "none", "where it came from"),
    info=_kept("kept", erased="hashed"),
)

last_seen = Table(
    "last_seen",
    metadata,
    _key("person", Text, "pseudonym", "whose"),
    _column(
        "day", Double, "personal", "the last on which anything was known of them, Unix seconds"
    ),
    info=_kept("person", erased="person"),
)

events = Table(
    "events",
    metadata,
    _key("seq", _Serial, "none", "order of arrival"),
    _column("id", Text, "none", "hash of sender and the event's own id: written once", unique=True),
    _column("person", Text, "pseudonym", "whose"),
    _column("subject", Text, "pseudonym", "which of their subjects"),
    _column("name", Text, "personal", "what was done"),
    _column("at", Double, "none", "when, Unix seconds"),
    _column("place", Text, "location", "where they were by then, if in a place", optional=True),
    _column("properties", Text, "personal", "as the tagging plan has them (JSON)"),
    Index("events_by_person", "person", "at"),
    Index("events_by_name", "name", "person", "at"),
    sqlite_autoincrement=True,
    info=_kept("events", erased="person subject"),
)

quarantine = Table(
    "quarantine",
    metadata,
    _key("seq", _Serial, "none", "order of arrival"),
    _column("id", Text, "none", "as of an event: written once", unique=True),
    _column("person", Text, "pseudonym", "whose"),
    _column("name", Text, "personal", "what it calls itself"),
    _column("at", Double, "none", "when it came, Unix seconds"),
    _column("problem", Text, "personal", "what the tagging plan says against it"),
    _column("event", Text, "personal", "as it came (JSON)"),
    Index("quarantine_by_person", "person"),
    sqlite_autoincrement=True,
    info=_kept("quarantine", erased="person"),
)

visits = Table(
    "visits",
    metadata,
    _key("visit", Text, "pseudonym", "its id"),
    _column("person", Text, "pseudonym", "whose"),
    _column("subject", Text, "pseudonym", "which of their subjects"),
    _column("place", Text, "location", "where"),
    _column("enter_at", Double, "location", "Unix seconds"),
    _column("exit_at", Double, "location", "Unix seconds; null: not over", optional=True),
    Index("visits_by_person", "person", "enter_at"),
    Index("visits_by_place", "place", "enter_at"),
    info=_kept("visits", erased="person subject"),
)

stocks = Table(
    "stocks",
    metadata,
    _key("stock", Text, "none", "whose units"),
    _key("window", Text, "none", "which window of its budget, or empty: for good"),
    _column("used", Integer, "none", "units that are reserved or gone"),
    info=_kept("kept"),
)

reservations = Table(
    "reservations",
    metadata,
    _key("decision", Text, "none", "which decision took the unit"),
    _key("stock", Text, "none", "of what"),
    _column("window", Text, "none", "of which window"),
    info=_kept("sends", erased="decision"),
)

erasures = Table(
    "erasures",
    metadata,
    _key("id", Text, "none", "the receipt's id"),
    _column("hash", Text, "pseudonym", "HMAC-SHA256 of the person's id under the store's key"),
    _column("at", Double, "none", "when, Unix seconds"),
    _column("receipt", Text, "none", "what was erased, counted and signed (JSON)", optional=True),
    _column(
        "pending", Text, "pseudonym", "whom, until it is done (JSON)", optional=True,
        retention="notices",
    ),
    info=_kept("kept", erased="hashed"),
)  # fmt: skip

erasure_notices = Table(
    "erasure_notices",
    metadata,
    _key("erasure", Text, "none", "of which erasure"),
    _key("processor", Text, "none", "who is to erase as well"),
    _column("told_at", Double, "none", "when they were told, Unix seconds", optional=True),
    _column("acknowledged_at", Double, "none", "when they said it is done", optional=True),
    _column("person", Text, "pseudonym", "whom, until all have acknowledged", optional=True),
    info=_kept("notices", erased="person"),
)

approvals = Table(
    "approvals",
    metadata,
    _key("what", Text, "none", "the fence or campaign and its hash"),
    _key("who", Text, "none", "who vouches for it"),
    _column("at", Double, "none", "when, Unix seconds"),
    _column("reason", Text, "none", "why it may be used all the same"),
    info=_kept("kept"),
)

reports = Table(
    "reports",
    metadata,
    _key("report", Text, "none", "which report: visits, funnel, …"),
    _key("start", Double, "none", "begin of its day or week, Unix seconds"),
    _column("rows", Text, "none", "numbers of ten people or more, without their last digit (JSON)"),
    _column("made_at", Double, "none", "when it was made, once and for all, Unix seconds"),
    info=_kept("kept"),
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
    info=_kept("revoked", erased="subject"),
)

gateway_secrets = Table(
    "gateway_secrets",
    metadata,
    _key("id", Text, "none", "what it is listed and revoked by"),
    _column("gateway", Text, "none", "whose requests it signs"),
    _column("secret", Text, "secret", "as it was shown, once: a signature needs it itself"),
    _column("created_at", Double, "none", "Unix seconds"),
    _column("until", Double, "none", "not after, Unix seconds", optional=True),
    info=_kept("revoked"),
)

signed_requests = Table(
    "signed_requests",
    metadata,
    _key("gateway", Text, "none", "who signed"),
    _key("message", Text, "none", "its webhook-id: taken once"),
    _column("at", Double, "none", "when it was signed, Unix seconds; forgotten with its tolerance"),
    Index("signed_requests_by_at", "at"),
    info=_kept("requests"),
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
    info=_kept("requests"),
)

outbound = Table(
    "outbound",
    metadata,
    _key("subscriber", Text, "none", "who is told, by the name in the subscribers' file"),
    _key("feed", Text, "none", "of what: the ledger, or people's changes"),
    _column("position", _Serial, "none", "the last row that they have"),
    _column("state", Text, "none", "on; gone, given_up or left: they are told no more"),
    _column(
        "failing_since", Double, "none", "since when they take nothing, Unix seconds", optional=True
    ),
    _column("moved_at", Double, "none", "when it was last written, Unix seconds"),
    info=_kept("kept"),
)

changes = Table(
    "changes",
    metadata,
    _key("person", Text, "pseudonym", "whose"),
    _column("seq", _Serial, "none", "which change in all was their last: a reader's cursor"),
    _column("clocks", Text, "personal", "of each field when it was last said, and by whom (JSON)"),
    Index("changes_by_seq", "seq"),
    info=_kept("person", erased="person"),
)

peers = Table(
    "peers",
    metadata,
    _key("id", Text, "none", "who is kept alike with us: a CRM, a shop, another engine"),
    _column("heard_at", Double, "none", "when a round with them last ended well, Unix seconds"),
    _column("position", Text, "none", "how far we are in what they say", optional=True),
    _column("cursor", _Serial, "none", "how far they are in our changes"),
    _column("counts", Text, "none", "what became of what they said (JSON)"),
    info=_kept("kept"),
)

messages = Table(
    "messages",
    metadata,
    _key("peer", Text, "none", "who sent it"),
    _key("id", Text, "none", "hash of what they call it: taken once"),
    _column("at", Double, "none", "when it came, Unix seconds"),
    Index("messages_by_at", "at"),
    info=_kept("requests"),
)
