"""What is asked about privacy on the command line? What is kept, what is due, who leaves.

``privacy`` looks after the whole store, ``person export`` and ``person erase`` after one person.
Each takes ``--data DIR`` or, where a running server can answer, ``--server URL --token T``.
"""

from __future__ import annotations

import sys
import time
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from proximity.commands.questions import FILE, FOLDER, echo_json, where
from proximity.inputs import STANDARD
from proximity.model import ProximityError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection
    from typing_extensions import TypeIs

    from proximity.commands.asking import Http
    from proximity.privacy.policy import Policy
    from proximity.store import Store

_JSON = click.option("--json", "as_json", is_flag=True, help="All of it as JSON.")
_POLICY = click.option("--privacy", "policy_file", type=FILE, help="The server's privacy file.")
# An erasure beside a running server waits for a snapshot and for the log; this is patience enough.
_PATIENCE_S = 300.0
_LOOK_S = 0.2


@click.group()
def privacy() -> None:
    """Say what is kept of people, and see that no more is."""


@privacy.command("map")
@_POLICY
def privacy_map(policy_file: Path | None) -> None:
    """Print the data map: every table and column, its class, purpose and how long it stays."""
    from proximity.privacy.datamap import render

    click.echo(render(_policy(policy_file).days if policy_file else None), nl=False)


@privacy.command("report")
@where
@_POLICY
@_JSON
def privacy_report(
    data: Path | None, server: str | None, token: str | None, policy_file: Path | None,
    *, as_json: bool,
) -> None:  # fmt: skip
    """Count what is kept, what is past its time, and erasures."""
    from proximity.privacy.report import PrivacyReport, render, report

    with _either(data, server, token) as there:
        if _is_http(there):
            body = there.ask("GET", "/v1/privacy") or b"{}"
            found = msgspec.json.decode(body, type=PrivacyReport)
        else:
            days = _policy(policy_file).days
            found = there.read(lambda conn: report(conn, time.time(), days))
    if as_json:
        echo_json(found)
    else:
        click.echo(render(found))


@privacy.command("scan")
@click.option("--data", type=FOLDER, required=True, help="Folder of the server's state.")
@click.option("--id", "ids", multiple=True, help="An id that no file may hold; once for each.")
@click.option("--site", type=FILE, help="Site file, to judge its places.")
@click.option("--campaigns", type=FILE, help="Campaigns file, to judge where its campaigns run.")
@_POLICY
def privacy_scan(
    data: Path, ids: tuple[str, ...], site: Path | None, campaigns: Path | None,
    policy_file: Path | None,
) -> int:  # fmt: skip
    """Look for what should not be: rows past their time, columns without purpose, sensitive places.

    With --id every file of the folder is searched for these ids, byte by byte. Exit 1 where
    something was found.
    """
    from proximity.privacy.report import report, search
    from proximity.server.settings import Settings, places_problems, read_files

    if "" in ids:  # such as an unset variable of a script: nothing found would say nothing
        raise ProximityError("--id is empty: write the id that no file may hold")
    policy = _policy(policy_file)
    files = read_files(Settings(data=data, site=site, campaigns=campaigns, privacy=policy_file))
    with _either(data, None, None) as store:
        assert not _is_http(store)
        problems = list(store.read(lambda c: report(c, time.time(), policy.days)).problems)
        problems += places_problems(files, store)
    problems += search(data, ids)  # after closing: the log is folded in, as it lies at rest
    for problem in problems:
        click.echo(problem)
    return 1 if problems else 0


@privacy.command("sweep")
@click.option("--data", type=FOLDER, required=True, help="Folder of the server's state.")
@_POLICY
def privacy_sweep(data: Path, policy_file: Path | None) -> None:
    """Delete now what is past its time; a running server does so by itself every hour."""
    from collections import Counter

    from proximity.privacy.retention import sweep

    policy = _policy(policy_file)
    with _either(data, None, None) as store:
        assert not _is_http(store)
        swept: Counter[str] = Counter()
        for table, rows in sweep(store, time.time(), policy.days):
            swept[table] += rows
        store.cut_log()
    for table, rows in sorted(swept.items()):
        click.echo(f"{table}: {rows} rows deleted")


@privacy.command("approve")
@where
@click.argument("what")
@click.option("--who", help="Your name (--data); a server goes by the token.")
@click.option("--reason", required=True, help="Why it may be used all the same.")
def privacy_approve(
    data: Path | None, server: str | None, token: str | None, what: str, who: str | None,
    reason: str,
) -> None:  # fmt: skip
    """Vouch for WHAT a refusal named; it takes two different people, and is kept."""
    from proximity.commands.inforce import InForce
    from proximity.privacy.approvals import ENOUGH, approve
    from proximity.privacy.sensitive import unmet

    def look(connection: Connection) -> str | None:
        world = InForce(connection)
        return unmet(what, {*world.index.ids, *world.site.named})

    with _either(data, server, token) as there:
        if _is_http(there):
            body = there.ask("POST", "/v1/approvals", body={"what": what, "reason": reason})
            told = msgspec.json.decode(body or b"{}", type=dict[str, Any])
            count, note = told.get("approvals", 0), told.get("note")
        else:
            if not who:
                raise ProximityError("--data needs --who: the name under which it is kept")
            name = who
            count = there.write(
                lambda conn: approve(conn, what, name, reason, now=time.time())
            ).result()
            note = there.read(look)
    left = ENOUGH - count
    sys.stderr.write(
        f"proximity: recorded; {f'{left} more must vouch' if left > 0 else 'it may be used now'}\n"
    )
    if note is not None:
        sys.stderr.write(f"proximity: {note}\n")


@privacy.command("approvals")
@where
def privacy_approvals(data: Path | None, server: str | None, token: str | None) -> None:
    """List who vouched for what, when and why, a JSON object a line."""
    from proximity.privacy.approvals import approvals

    with _either(data, server, token) as there:
        if _is_http(there):
            body = there.ask("GET", "/v1/approvals") or b"{}"
            found: list[Any] = msgspec.json.decode(body, type=dict[str, list[Any]])["items"]
        else:
            found = list(there.read(approvals))
    for one in found:
        echo_json(one)


@privacy.command("erasures")
@where
def privacy_erasures(data: Path | None, server: str | None, token: str | None) -> None:
    """List erasures: state, receipt, and which processors have said that it is done."""
    from proximity.server.erasures import list_erasures

    with _either(data, server, token) as there:
        if _is_http(there):
            body = there.ask("GET", "/v1/erasures") or b"{}"
            found: list[Any] = msgspec.json.decode(body, type=dict[str, list[Any]])["items"]
        else:
            found = list(there.read(list_erasures))
    for one in found:
        echo_json(one)


@privacy.command("acknowledge")
@where
@click.argument("erasure")
@click.option("--processor", required=True, help="Who has erased as well.")
def privacy_acknowledge(
    data: Path | None, server: str | None, token: str | None, erasure: str, processor: str
) -> int:
    """Record that a processor has erased for ERASURE."""
    from proximity.privacy.notices import acknowledge

    with _either(data, server, token) as there:
        if _is_http(there):
            path = f"/v1/erasures/{urllib.parse.quote(erasure, safe='')}/acknowledgements"
            said = {"processor": processor}
            done = there.ask("POST", path, body=said, missing=True) is not None
        else:
            done = there.write(
                lambda conn: acknowledge(conn, erasure, processor, now=time.time())
            ).result()
    if not done:
        sys.stderr.write("proximity: this processor was not asked to erase for that erasure\n")
    return 0 if done else 1


@privacy.command("verify-receipt")
@where
@click.argument("file", type=FILE)
@click.option("--person", help="And it must be this person's.")
def privacy_verify_receipt(
    data: Path | None, server: str | None, token: str | None, file: Path, person: str | None
) -> int:
    """Tell whether the receipt in FILE is genuine and untouched; exit 1 where it is not."""
    from proximity.inputs import called, open_input
    from proximity.privacy.receipts import Receipt, genuine

    try:
        with open_input(file) as stream:
            receipt = msgspec.json.decode(stream.read(2**20), type=Receipt)
    except OSError as error:
        raise ProximityError(f"{called(file)}: cannot be read: {error.strerror}") from None
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ProximityError(f"{called(file)}: is no receipt: {error}") from None
    with _either(data, server, token) as there:
        if _is_http(there):
            asked = {"receipt": receipt, "person": person}
            body = there.ask("POST", "/v1/receipts", body=asked) or b"{}"
            found = bool(msgspec.json.decode(body, type=dict[str, Any]).get("genuine"))
        else:
            found = there.read(lambda conn: genuine(conn, receipt, person))
    click.echo("genuine" if found else "not genuine")
    return 0 if found else 1


@click.command("export")
@where
@click.argument("person")
@click.option(
    "--out", type=click.Path(path_type=Path), help="A .json file, a .zip of CSV, or a folder of it."
)
def person_export(
    data: Path | None, server: str | None, token: str | None, person: str, out: Path | None
) -> int:
    """Write all that is known of PERSON: JSON to standard output, or to --out, also as CSV."""
    from proximity.people.people import People
    from proximity.privacy.exportfile import write_export
    from proximity.privacy.exporting import Export, export_person

    with _either(data, server, token) as there:
        if _is_http(there):
            path = f"/v1/people/{urllib.parse.quote(person, safe='')}/export"
            body = there.ask("GET", path, missing=True)
            found = None if body is None else msgspec.json.decode(body, type=Export)
        else:
            people = People(there)
            found = there.read(lambda conn: export_person(conn, people, person))
    if found is None:
        sys.stderr.write("proximity: nothing is known of this person\n")
        return 1
    if out == STANDARD:
        out = None
    try:
        text = write_export(found, out)
    except OSError as error:
        raise ProximityError(f"{out}: cannot be written: {error.strerror}") from None
    if out is None:
        click.echo(text)
    return 0


def put_export(data: Path | None, server: str | None, token: str | None, file: Path) -> None:
    """Write what ``person export`` wrote elsewhere: ``person import`` comes here with it."""
    from proximity.people.people import People
    from proximity.privacy.exportfile import read_export
    from proximity.privacy.exporting import import_person

    export = read_export(file)
    with _either(data, server, token) as there:
        if _is_http(there):
            body = there.ask("POST", "/v1/exports", body=export) or b"{}"
            rows = msgspec.json.decode(body, type=dict[str, dict[str, int]]).get("rows", {})
        else:
            people, now = People(there), time.time()
            rows = there.write(lambda conn: import_person(conn, people, export, now=now)).result()
    sys.stderr.write(f"proximity: 1 person with {sum(rows.values())} rows written\n")


@click.command("erase")
@where
@click.argument("person")
@click.option("--receipt", "receipt_file", type=FILE, help="Write the receipt here as well.")
@_POLICY
def person_erase(
    data: Path | None, server: str | None, token: str | None, person: str,
    receipt_file: Path | None, policy_file: Path | None,
) -> int:  # fmt: skip
    """Erase PERSON: every trace, so that they do not come back. Prints a signed receipt.

    With --data no server may run on the folder; --privacy names who else has to erase, which a
    server knows by itself. Exit 1 where nothing is known of them.
    """
    from proximity.commands.asking import alone
    from proximity.privacy.leaving import erase_alone

    if receipt_file == STANDARD:
        receipt_file = None  # it is printed anyway
    if receipt_file is not None:
        _see_writable(receipt_file)
    with _either(data, server, token) as there:
        if _is_http(there):
            receipt = _erase_over(there, person)
        else:
            if not alone(there):
                raise ProximityError(
                    "a running server has this folder and knows where the person is: "
                    "ask it with --server URL --token T instead of --data"
                )
            named = [one.id for one in _policy(policy_file).processors]
            found = erase_alone(there, person, now=time.time(), source="command", processors=named)
            if found is not None and found[1] is None:
                sys.stderr.write(
                    "proximity: begun; the last server did not end well, and its next start "
                    "finishes it\n"
                )
                return 0
            receipt = None if found is None else msgspec.to_builtins(found[1])
    if receipt is None:
        sys.stderr.write("proximity: nothing is known of this person\n")
        return 1
    echo_json(receipt)
    if receipt_file is not None:
        try:
            receipt_file.write_bytes(msgspec.json.encode(receipt))
        except OSError as error:
            raise ProximityError(
                f"{receipt_file}: cannot be written: {error.strerror}: the person is erased, and "
                "`proximity privacy erasures` has the receipt"
            ) from None
    return 0


def _see_writable(file: Path) -> None:
    """See that a receipt can be written, while nobody is erased yet. Raises ProximityError."""
    new = not file.exists()
    try:
        with file.open("ab"):
            pass
        if new:
            file.unlink()
    except OSError as error:
        raise ProximityError(
            f"{file}: cannot be written: {error.strerror}: nobody was erased"
        ) from None


def _erase_over(http: Http, person: str) -> dict[str, Any] | None:
    """Have a server erase, and wait for the receipt; None where nothing is known of them."""
    body = http.ask("POST", "/v1/erasures", body={"person": person}, missing=True)
    if body is None:
        return None
    erasure = msgspec.json.decode(body, type=dict[str, Any])["id"]
    ends = time.monotonic() + _PATIENCE_S
    while time.monotonic() < ends:
        body = http.ask("GET", f"/v1/erasures/{erasure}") or b"{}"
        found = msgspec.json.decode(body, type=dict[str, Any])
        if found.get("state") == "done":
            return dict(found["receipt"])
        time.sleep(_LOOK_S)
    raise ProximityError(
        f"erasure {erasure} is begun and not finished yet: see `proximity privacy erasures`"
    )


def _policy(file: Path | None) -> Policy:
    from proximity.privacy.policy import Policy, load_policy

    return Policy() if file is None else load_policy(file)


def _either(
    data: Path | None, server: str | None, token: str | None
) -> AbstractContextManager[Store | Http]:
    from proximity.commands.asking import open_either

    return open_either(data, server, token)


def _is_http(there: Store | Http) -> TypeIs[Http]:
    from proximity.commands.asking import Http

    return isinstance(there, Http)


OF_A_PERSON = (person_export, person_erase)
COMMANDS = (privacy,)
