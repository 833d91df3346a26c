import json

import pytest

from proximity.feeds import FORMATS, Incoming, Rejected
from proximity.feeds import native as module
from proximity.ingest.ingest import Receipt
from proximity.model import Event, Fix, Sighting

FIX = {"type": "fix", "subject": "s", "at": 1767225600.0, "lon": 2.35, "lat": 48.85}
SIGHTING = {
    "type": "sighting", "gateway": "gw-1", "at": 1767225600.0, "rssi_dbm": -60,
    "beacon": {"format": "ibeacon", "uuid": "f7826da6-4fa2-4e98-8024-bc5b71e0893e", "major": 1, "minor": 7},
}  # fmt: skip
EVENT = {"type": "event", "subject": "s", "at": "2026-01-01T00:00:00Z", "name": "bought"}


def line(**fields):
    return json.dumps({**FIX, **fields}).encode()


def decode(body, name="fixes", speaks_for=None, **more):
    return FORMATS[name].decode(Incoming(body=body, speaks_for=speaks_for, **more))


@pytest.mark.parametrize(
    "body",
    [
        line(),
        line() + b"\n",
        b"\xef\xbb\xbf" + line(),
        b"[" + line() + b"]",
        json.dumps(FIX, indent=2).encode(),
        json.dumps([FIX], indent=2).encode(),
        b"\r\n" + line() + b"\r\n",
    ],
)
def test_a_line_an_array_an_object(body):
    decoded = decode(body)
    assert decoded.records == (Fix(subject="s", at=1767225600.0, lon=2.35, lat=48.85),)
    assert decoded.rejected == ()


def test_lines_count_as_in_the_file_blank_ones_too():
    decoded = decode(line() + b"\n\n" + line(id="b") + b"\n  \n" + line(id="c"))
    assert decoded.lines == (1, 3, 5)
    assert [record.id for record in decoded.records] == [None, "b", "c"]


def test_each_type_is_taken_on_each_path():
    body = b"\n".join(json.dumps(one).encode() for one in (FIX, SIGHTING, EVENT))
    for name in ("fixes", "sightings", "events"):
        kinds = [type(record) for record in decode(body, name).records]
        assert kinds == [Fix, Sighting, Event]


def test_a_missing_type_is_that_of_the_path():
    for name, one in (("fixes", FIX), ("sightings", SIGHTING), ("events", EVENT)):
        bare = {key: value for key, value in one.items() if key != "type"}
        decoded = decode(json.dumps(bare).encode(), name)
        assert decoded.rejected == ()
        assert decoded.records == decode(json.dumps(one).encode(), name).records


@pytest.mark.parametrize("accuracy", [None, 0, -1, -0.5])
def test_unknown_accuracy(accuracy):
    assert decode(line(accuracy_m=accuracy)).records[0].accuracy_m is None


def test_null_means_absent():
    decoded = decode(line(mock=None, speed_mps=None, id=None, received_at=None))
    assert decoded.records == decode(line()).records


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"x", "malformed"),
        (b"{", "truncated"),
        (b"7", "Expected `object`"),
        (line(lat=91), "lat 91.0 is outside"),
        (line(lon=None), "missing required field `lon`"),
        (line(subject=""), "1 to 128 characters"),
        (line(subject=7), "Expected `str`"),
        (line(at="2026-01-01T00:00:00"), "lacks a time zone"),
        (line(type="visit"), "Invalid value 'visit'"),
        (b'{"type":"fix","lat":1e999}', "out of range"),
        (b'{"type":"fix","subject":"\xff"}', "utf-8"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (line(subject="x" * 100_000), "1 to 128 characters"),
        (line(at="9" * 100_000), "…"),
    ],
)
@pytest.mark.parametrize("place", [1, 2, 3])
def test_one_bad_record_costs_itself_alone(bad, reason, place):
    lines = [line(id="a"), line(id="b")]
    lines.insert(place - 1, bad)
    decoded = decode(b"\n".join(lines))
    assert [one.line for one in decoded.rejected] == [place]
    assert reason in decoded.rejected[0].reason
    assert len(decoded.rejected[0].reason) <= 200
    assert [record.id for record in decoded.records] == ["a", "b"]
    assert decoded.lines == tuple(n for n in (1, 2, 3) if n != place)


def test_one_bad_record_of_an_array():
    decoded = decode(b"[" + line(id="a") + b',{"lat":1},' + line(id="b") + b",null]")
    assert decoded.lines == (1, 3)
    assert [one.line for one in decoded.rejected] == [2, 4]


def test_two_values_on_a_line_are_that_lines_fault():
    decoded = decode(line(id="a") + b"\n" + line() + line() + b"\n\n" + line(id="b"))
    assert decoded.lines == (1, 4)
    assert [one.line for one in decoded.rejected] == [2]


@pytest.mark.parametrize("body", [b"[", b"[1,", b"[" + line()])
def test_a_broken_array_is_refused_as_one(body):
    decoded = decode(body)
    assert decoded.records == ()
    assert [one.line for one in decoded.rejected] == [1]


@pytest.mark.parametrize("body", [b"", b"\n\n", b"[]"])
def test_nothing_is_nothing(body):
    decoded = decode(body)
    assert (decoded.records, decoded.rejected, decoded.refusal) == ((), (), 0)


def test_a_token_speaks_for_its_own_id_alone():
    body = b"\n".join([line(), line(subject="other"), json.dumps(EVENT).encode(), b"x"])
    decoded = decode(body, speaks_for="s")
    assert decoded.lines == (1, 3)
    assert [one.line for one in decoded.rejected] == [2, 4]
    assert "speaks for 's' alone" in decoded.rejected[0].reason
    sightings = json.dumps(SIGHTING).encode()
    assert len(decode(sightings, "sightings", speaks_for="gw-1").records) == 1
    assert decode(sightings, "sightings", speaks_for="s").records == ()


def test_a_missing_subject_is_the_one_spoken_for_or_the_files():
    bare = json.dumps({key: value for key, value in FIX.items() if key != "subject"}).encode()
    assert decode(bare, speaks_for="phone-1").records[0].subject == "phone-1"
    assert decode(bare, otherwise="walk").records[0].subject == "walk"
    assert "subject" in decode(bare).rejected[0].reason


@pytest.mark.parametrize(
    "body",
    [
        b"\n".join([b'{"type":"fix","subject":"s","at":1,"lon":1,"lat":1}'] * 100_001),
        b"x\n" * 100_001,
        b"[" + b"0," * 100_000 + b"0]",
        b"\n" * (100_000 * 20 + 1),
        b"[" + b"," * (100_000 * 20 + 1),
    ],
)
def test_a_batch_beyond_the_bound_is_refused_whole(body):
    decoded = decode(body)
    assert (decoded.records, decoded.refusal) == ((), 413)
    answer = FORMATS["fixes"].answer(decoded, None)
    assert (answer.status, answer.content_type) == (413, "application/problem+json")
    assert "send them in parts" in json.loads(answer.body)["detail"]


def test_the_bound_itself_is_allowed():
    body = b'{"type":"fix","subject":"s","at":1,"lon":1,"lat":1}\n' * module.MOST_RECORDS
    assert len(decode(body).records) == module.MOST_RECORDS


def test_answer_is_the_contracts():
    receipt = Receipt(accepted=3, duplicate=1, unconsented=2, rejected=(Rejected(2, "future"),))
    answer = FORMATS["fixes"].answer(decode(line() + b"\nx\n"), receipt)
    assert (answer.status, answer.content_type) == (202, "application/json")
    body = json.loads(answer.body)
    assert [one.pop("line") for one in body["rejected"]] == [2, 2]
    assert list(body) == ["accepted", "duplicate", "unconsented", "rejected"]
    assert (body["accepted"], body["duplicate"], body["unconsented"]) == (3, 1, 2)


def test_answer_without_a_receipt_and_with_late_ones():
    nothing = json.loads(FORMATS["fixes"].answer(decode(b""), None).body)
    assert nothing == {"accepted": 0, "duplicate": 0, "unconsented": 0, "rejected": []}
    late = FORMATS["fixes"].answer(decode(line()), Receipt(late=1))
    assert json.loads(late.body)["late"] == 1
