import io
import json
import resource
import subprocess
import sys
from collections import Counter

import msgspec
import pytest

from proximity.model import Event, Fix, Sighting
from simulator.reading import LONGEST_LINE
from simulator.trace import TraceError, merge, read_trace, write_record

AT = 1767225600.0
TEXT = "2026-01-01T00:00:00Z"
FIX = '{"type":"fix","subject":"s","at":1767225600,"lon":2.35,"lat":48.85}'
SIGHTING = '{"type":"sighting","gateway":"g","at":1767225600,"rssi_dbm":-60,"beacon":{"format":"ibeacon","uuid":"u"}}'
EVENT = '{"type":"event","subject":"s","at":1767225600,"name":"bought"}'
OVERLAND = {
    "locations": [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [2.35, 48.85]},
            "properties": {"timestamp": TEXT, "device_id": ""},
        },
        {"type": "Feature", "properties": {"action": "visit"}},
    ]
}


class Trickle(io.RawIOBase):
    """A stream that gives seven bytes at a time, as a slow pipe may."""

    def __init__(self, content):
        self.content, self.at = content, 0

    def read(self, size=-1):
        self.at += 7
        return self.content[self.at - 7 : min(self.at, self.at - 7 + max(size, 0))]


def read(content, name="walk.any", **more):
    content = content.encode() if isinstance(content, str) else content
    return list(read_trace(io.BytesIO(content), name, **more))


def refusal(content, name="walk.any"):
    with pytest.raises(TraceError) as caught:
        read(content, name)
    assert str(caught.value).startswith(name)
    assert "\n" not in str(caught.value)
    return caught.value


def one(**more):
    return Fix(**{"subject": "walk", "at": AT, "lon": 2.35, "lat": 48.85, **more})


# --- JSON lines and documents ----------------------------------------------------------------


def test_records_of_every_type():
    kinds = [type(record) for record in read(f"{FIX}\n{SIGHTING}\n\n{EVENT}")]
    assert kinds == [Fix, Sighting, Event]


@pytest.mark.parametrize(
    "content",
    [
        FIX,
        "\ufeff" + FIX + "\n",
        "\n\n  " + FIX,
        f"[{FIX}]",
        json.dumps(json.loads(FIX), indent=2),
        json.dumps([json.loads(FIX)], indent=2),
        FIX.replace('"subject":"s",', ""),
    ],
)
def test_a_record_in_every_frame(content):
    (record,) = read(content)
    assert record == one(subject=record.subject)
    assert record.subject == ("s" if '"subject"' in content else "walk")


def test_a_slow_stream_gives_the_same():
    content = ("\n".join([FIX, SIGHTING, EVENT] * 50)).encode()
    assert list(read_trace(Trickle(content), "x")) == read(content)


def test_line_numbers_reach_across_blocks():
    lines = [FIX] * 9000
    lines[7654] = FIX.replace("48.85", "98.85")
    problem = refusal("\n".join(lines))
    assert (problem.line, problem.mend) == (7655, "mend or remove it")
    assert "lat 98.85" in problem.what


def test_what_comes_before_a_bad_line_is_given_first():
    trace = read_trace(io.BytesIO(f"{FIX}\n{FIX}\nx\n{FIX}".encode()), "w")
    assert [next(trace), next(trace)] == [one(subject="s")] * 2
    with pytest.raises(TraceError, match="w, line 3: "):
        next(trace)


def test_bad_records_can_be_left_out_and_are_counted():
    bad, counts = [], Counter()
    content = f'{FIX}\nx\n{FIX}\n\n{{"type":"fix"}}\n{EVENT}'
    assert len(read(content, on_bad=bad.append, counts=counts)) == 3
    assert [problem.line for problem in bad] == [2, 5]
    assert counts == {"read": 3, "bad": 2, "ignored": 0}


def test_bad_records_of_an_array_are_numbered():
    assert refusal(f"[{','.join([FIX] * 10_500)},null]").line == 10_501


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(OVERLAND),
        json.dumps(OVERLAND) + "\n",
        json.dumps(OVERLAND, indent=1),
        json.dumps(OVERLAND["locations"]),
        json.dumps(OVERLAND["locations"][0]),
    ],
)
def test_overland_batches(content):
    counts = Counter()
    if content.startswith('{"type"'):  # a lone feature is no batch
        assert "no list of locations" in str(refusal(content))
        return
    assert read(content, counts=counts) == [one()]
    assert counts == {"read": 1, "ignored": 1}


def test_overland_batches_a_line_each():
    line = json.dumps(OVERLAND)
    assert read("\n".join([line] * 3)) == [one()] * 3


def test_a_batch_longer_than_a_block():
    batch = json.dumps({"locations": OVERLAND["locations"][:1] * 2000})
    assert len(read(f"{batch}\n{batch}\n")) == 4000
    assert len(read(batch)) == 2000


def test_owntracks_and_transistor_by_line_and_by_array():
    own = {"_type": "location", "lat": 48.85, "lon": 2.35, "tst": AT}
    sdk = {"location": {"timestamp": TEXT, "coords": {"latitude": 48.85, "longitude": 2.35}}}
    for message in (own, sdk, sdk["location"]):
        line = json.dumps(message)
        assert read(line) == [one()]
        assert read(f"{line}\n{line}") == [one()] * 2
        assert read(f"[{line},{line}]") == [one()] * 2


def test_a_file_has_no_now():
    problem = refusal('{"_type":"location","lat":1,"lon":2}')
    assert "the record has no time" in problem.what


def test_owntracks_rec():
    message = {"_type": "location", "lat": 48.85, "lon": 2.35, "tst": AT, "tid": "an"}
    counts = Counter()
    content = "\n".join(
        [
            f"2026-01-01T00:00:00Z\t*                 \t{json.dumps(message)}",
            '2026-01-01T00:00:01Z\tlwt               \t{"_type":"lwt","tst":1}',
            "2026-01-01T00:00:01Z\tstatus            \tgone",
            '2026-01-01T00:00:09Z\t*                 \t{"_type":"location","lat":48.85,"lon":2.35}',
        ]
    )
    assert read(content, counts=counts) == [one(subject="an"), one(at=AT + 9)]
    assert counts == {"read": 2, "ignored": 2}
    problem = refusal(content + "\n2026-01-01T00:00:09Z\t*  \tnonsense")
    assert problem.line == 5


# --- CSV -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "row", "more"),
    [
        ("time,lon,lat", "1767225600,2.35,48.85", {}),
        ("time,lon,lat", "1767225600000,2.35,48.85", {}),
        ("\ufeffTimestamp;Latitude;Longitude;Accuracy", f"{TEXT};48,85;2,35;0", {}),
        ("lat\tlng\tdate time\thacc\n", "48.85\t2.35\t2026-01-01 00:00:00\t12\n", {"accuracy_m": 12}),
        ("user_id|tracked_at|x|y", "7|2026-01-01T01:00:00+01:00|2.35|48.85", {"subject": "7"}),
        ("Date,Time,Lat,Lon,Speed (km/h)", "2026-01-01,00:00:00,48.85,2.35,36", {"speed_mps": 10.0}),
        ("at,lon,lat,speed_kmh,course_deg", f"{TEXT},2.35,48.85,36,90", {"speed_mps": 10, "course_deg": 90}),
        ("at,lon,lat,knots,alt,floor", f"{TEXT},2.35,48.85,3600,9,2", {"speed_mps": 1852.0, "altitude_m": 9, "floor": 2}),
        ("at,lon,lat,id,subject,mock,motion,received_at", f"{TEXT},2.35,48.85,i,s,true,still,{TEXT}",
         {"id": "i", "subject": "s", "mock": True, "motion": "stationary", "received_at": AT}),
    ],
)  # fmt: skip
def test_csv_as_found(header, row, more):
    (found,) = read(f"{header}\n{row}\n")
    expected = one(**more)
    for field in Fix.__struct_fields__:
        want = getattr(expected, field)
        assert getattr(found, field) == (pytest.approx(want) if type(want) is float else want)


def test_a_csv_id_that_comes_again_is_a_subject_else_a_rows():
    rows = "id,time,lon,lat\n{},1767225600,2.35,48.85\n{},1767225601,2.35,48.85\n\n"
    assert [r.subject for r in read(rows.format("a", "a") + "b,1767225602,1,1\n")] == [
        "a",
        "a",
        "b",
    ]
    plain = read(rows.format("1", "2") + "3,1767225602,1,1\n")
    assert [(r.subject, r.id) for r in plain] == [("walk", "1"), ("walk", "2"), ("walk", "3")]


def test_csv_rows_without_a_position_are_ignored_and_bad_ones_named():
    counts = Counter()
    content = f"time,lon,lat\n{TEXT},,\n\n{TEXT},2.35,48.85\n,2.35,48.85\n{TEXT},x,1\n"
    bad = []
    assert read(content, counts=counts, on_bad=bad.append) == [one()]
    assert [problem.line for problem in bad] == [5, 6]
    assert counts == {"read": 1, "ignored": 1, "bad": 2}


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("a,b\n1,2\n", "no column tells time, lon, lat"),
        ("1767225600,2.35,48.85\n", "no column tells"),
        ("time,lon\n1,2\n", "no column tells lat"),
        (b"time,lon,lat\n1,2,3\n\xff,2,3\n", "no UTF-8"),
        ('time,lon,lat\n1,2,"' + "x" * 200_000, "no row of CSV"),
    ],
)
def test_csv_refusals(content, what):
    assert what in refusal(content).what


def test_blebeacon_reports():
    rows = [
        "Entry_id,Beacon_id,RSSI,Timestamp,RPi_id",
        "1,17,-71,2016-09-15 16:20:39.5,3",
        "2,F7826DA6-4FA2-4E98-8024-BC5B71E0893E,127,1473956439,4",
    ]
    first, second = read("\n".join(rows))
    assert (first.gateway, first.at, first.rssi_dbm, first.id) == ("3", 1473956439.5, -71.0, "1")
    assert (first.beacon.format, first.beacon.major, first.beacon.minor) == ("ibeacon", 0, 17)
    assert second.beacon.uuid == "f7826da6-4fa2-4e98-8024-bc5b71e0893e"
    assert not second.measured
    for row, what in (("3,x,-70,1,3", "neither"), ("3,1,,1,3", "no RSSI"), ("3,1,-70,,3", "no Timestamp"),
                      ("3,1,-70,1,", "no RPi_id"), ("3,70000,-70,1,3", "neither")):  # fmt: skip
        assert what in refusal("\n".join([*rows, row])).what


def test_real_phone_tables(shared_data):
    folder = shared_data("phone-tracks-accuracy")
    google = list(read_trace(folder / "google_trajectory.csv"))
    posmo = list(read_trace(str(folder / "posmo_trajectory.csv")))
    assert len(google) == len((folder / "google_trajectory.csv").read_text().splitlines()) - 1
    assert len(posmo) == len((folder / "posmo_trajectory.csv").read_text().splitlines()) - 1
    assert google[0] == Fix(
        subject="1", at=1355866235, lon=8.5484732, lat=47.3766094, accuracy_m=20, altitude_m=0
    )
    assert posmo[0] == Fix(subject="0", at=1548446416.178999, lon=7.0389004, lat=47.0516249)


# --- GPX -------------------------------------------------------------------------------------

POINT = f'<trkpt lat="48.85" lon="2.35"><time>{TEXT}</time></trkpt>'


def gpx(inside):
    return f'<?xml version="1.0"?>\n<gpx xmlns="http://www.topografix.com/GPX/1/1">{inside}</gpx>'


def test_gpx_points_with_all_they_tell():
    inside = (
        '<wpt lat="1" lon="2"/><rte><rtept lat="1" lon="2"/></rte>'
        '<trk><name>x</name><trkseg><trkpt lat="48.85" lon="2.35"><ele>31</ele>'
        f"<time> {TEXT} </time><hdop>2</hdop><extensions><q:TrackPointExtension><q:speed>1.5</q:speed>"
        "<q:course>90</q:course></q:TrackPointExtension></extensions></trkpt></trkseg><trkseg/></trk>"
        f'<trk><trkseg><trkpt lat="1" lon="2"/>{POINT}</trkseg></trk>'
    )
    counts = Counter()
    found = read(gpx(inside), counts=counts)
    assert found == [
        one(accuracy_m=10, altitude_m=31, speed_mps=1.5, course_deg=90),
        one(),
    ]
    assert counts == {"read": 2, "ignored": 3}


def test_gpx_in_utf16_and_after_blank_lines():
    assert read(gpx(POINT).encode("utf-16")) == [one()]
    assert read("\ufeff" + gpx(POINT)) == [one()]
    assert read("\n\n" + gpx(POINT)) == [one()]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (gpx(""), "holds no track (0 route points, 0 waypoints)"),
        (gpx('<trkpt lat="1" lon="2"/>'), "none of its 1 track points has a time"),
        (gpx('<trkpt lat="1" lon="2"><time>1901-12-13T20:45:52Z</time></trkpt>'), "since 1970"),
        (gpx('<trkpt lat="95" lon="2"><time>2026-01-01</time></trkpt>'), "outside -90 to 90"),
        (gpx('<trkpt lon="2"><time>2026-01-01</time></trkpt>'), "no position"),
        (gpx("<trkpt><time>2026-01-01</time></trkpt>"), "no lon and lat"),
        (gpx('<trkpt lat="1" lon="2"><time>noon</time></trkpt>'), "is no time"),
        ("<html></html>", "not <gpx>"),
        ("<gpx><trk>", "the XML is broken (no element found)"),
        ("<gpx></trk></gpx>", "mismatched tag"),
        ("<gpx>" + "<a>" * 200, "nest more than 100"),
        ('<?xml version="1.0" encoding="klingon"?><gpx/>', "unknown encoding"),
        ("<gpx><trk name='" + "x" * (2 * 1024 * 1024), "a tag or a text of more than"),
        (
            '<!DOCTYPE gpx [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><gpx>&b;</gpx>',
            "document type",
        ),
        ('<!DOCTYPE gpx SYSTEM "file:///etc/passwd"><gpx/>', "document type"),
    ],
)
def test_gpx_refusals(content, what):
    assert what in refusal(content).what


def test_bad_gpx_points_can_be_left_out():
    bad = []
    inside = '<trkpt lat="95" lon="2"><time>2026-01-01</time></trkpt>' + POINT
    assert read(gpx(inside), on_bad=bad.append) == [one()]
    assert [problem.line for problem in bad] == [2]


GPX_VARIETY = {
    "around-visnjan-with-car.gpx": 104, "cerknicko-jezero-no-creator.gpx": 296,
    "cerknicko-jezero-with-elevations-zero.gpx": 296, "cerknicko-jezero-without-elevations.gpx": 295,
    "cerknicko-jezero.gpx": 296, "cerknicko-without-times.gpx": 5, "first_and_last_elevation.gpx": 10,
    "gpx-with-node-with-comments.gpx": 1, "gpx1.0_with_all_fields.gpx": 1,
    "gpx1.1_with_all_fields.gpx": 1, "korita-zbevnica.gpx": 513, "track-with-empty-segment.gpx": 9,
    "track-with-less-sec-time.gpx": 2, "track_with_speed.gpx": 3,
    "Mojstrovka.gpx": "none of its 184", "custom_schema_locations.gpx": "no track (0 route",
    "default_schema_locations.gpx": "no track", "gpx1.1_with_extensions.gpx": "1 waypoints",
    "gpx1.1_with_extensions_without_namespaces.gpx": "1 waypoints",
    "gpx_with_garmin_extension.gpx": "1 waypoints", "route.gpx": "55 route points",
    "track-with-extremes.gpx": "none of its 25", "track-with-small-floats.gpx": "none of its 3",
    "track_with_dilution_errors.gpx": "none of its 1", "unicode.gpx": "6 waypoints",
    "unicode2.gpx": "no track", "unicode_with_bom.gpx": "1 waypoints",
    "unicode_with_bom_noencoding.gpx": "1 waypoints",
}  # fmt: skip


def test_real_gpx_of_every_kind(shared_data):
    folder = shared_data("gpx-variety")
    assert {path.name for path in folder.glob("*.gpx")} == set(GPX_VARIETY)
    for name, expected in GPX_VARIETY.items():
        if isinstance(expected, int):
            records = list(read_trace(folder / name))
            assert len(records) == expected
            assert {record.subject for record in records} == {name.removesuffix(".gpx")}
            continue
        with pytest.raises(TraceError) as caught:
            list(read_trace(folder / name))
        assert expected in caught.value.what
        assert caught.value.mend == "export a recorded track, with times"
        assert name in str(caught.value)


# --- what is no trace ------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf", b"[]"])
def test_an_empty_file_is_a_trace_of_nothing(content):
    assert read(content) == []


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\x1f\x8b\x08\0", "packed (gzip)"), (b"PK\3\4", "packed (zip)"),
        ("hello".encode("utf-16"), "UTF-16"), (b"\0\1\2\3", "not known"), (b"hello\n", "not known"),
        (b'{"type":"FeatureCollection","features":[]}', "GeoJSON"),
        (b'{"type":"FeatureCollection",\n"features":[]}', "GeoJSON"),
        (b'{"type":"fix",\n', "cannot be read"), (b"[" * 100_000, "cannot be read"), (b"[1,", "cannot be read"),
        (b"{nonsense\n" + FIX.encode(), "malformed"),
        (b"[" + b"0," * 100_000 + b"0]", "holds no records"),
        (b'["' + b" " * 33 * 1024 * 1024, "more than 33554432 bytes"),
        (FIX.encode() + b"\n" + b" " * (LONGEST_LINE + 300_000), "longer than 16777216"),
    ],
)  # fmt: skip
def test_what_is_no_trace_is_refused(content, what):
    assert what in refusal(content).what


def test_files_that_cannot_be_opened_or_read(tmp_path):
    for path in (tmp_path / "absent.jsonl", tmp_path, "nul\0byte"):
        with pytest.raises(TraceError, match=r"cannot be (opened|read)"):
            list(read_trace(path))


class Failing(io.RawIOBase):
    def read(self, _size=-1):
        raise OSError(5, "Input/output error")


def test_a_disk_that_fails_is_named():
    with pytest.raises(TraceError, match=r"walk: cannot be read \(Input/output error\)"):
        list(read_trace(Failing(), "walk"))


def test_standard_input(tmp_path):
    script = "from simulator.trace import read_trace; print([r.subject for r in read_trace('-')])"
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=FIX.replace('"subject":"s",', ""), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "['standard input']"


def test_a_long_trace_is_streamed():
    class Endless(io.RawIOBase):
        left = 400

        def read(self, size=-1):
            self.left -= 1
            return (FIX + "\n").encode() * (size // len(FIX)) if self.left > 0 else b""

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert sum(1 for _ in read_trace(Endless(), "x")) > 700_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # kB of 50 MB


# --- merging and writing ---------------------------------------------------------------------


def fixes(subject, *times, received=()):
    received = received or [None] * len(times)
    return [
        Fix(subject=subject, at=at, lon=0, lat=0, received_at=got)
        for at, got in zip(times, received, strict=True)
    ]


def merged(*traces, size=2):
    """Merge traces whose records come `size` at a time."""
    cut = [[trace[n : n + size] for n in range(0, len(trace), size)] for trace in traces]
    return [record for part in merge(map(iter, cut)) for record in part]


def test_merge_by_time_then_by_argument_and_never_against_a_files_order():
    a = fixes("a", 10, 30, 20, 40)
    b = fixes("b", 10, 30, 35)
    found = [(record.subject, record.at) for record in merged(a, b)]
    assert found == [
        ("a", 10), ("b", 10), ("a", 30), ("a", 20), ("b", 30), ("b", 35), ("a", 40),
    ]  # fmt: skip


def test_merge_goes_by_what_was_received():
    a = fixes("a", 10, 50, received=(100, 101))
    b = fixes("b", 99, 100, 102)
    assert [record.subject for record in merged(a, b)] == ["b", "a", "b", "a", "b"]


def test_merge_of_one_and_of_none_and_lazily():
    a = fixes("a", 3, 1, 2)
    assert merged(a) == a
    assert merged() == []

    def endless():
        at = 0.0
        while True:
            at += 1
            yield fixes("e", at)

    stream = merge([endless(), iter([a])])
    subjects = [record.subject for _ in range(4) for record in next(stream)]
    assert subjects == ["e", "e", "e", "a", "a", "a"]


def test_what_one_trace_has_before_any_other_comes_in_one_piece():
    days = [[fixes("a", 1, 2, 3)], [fixes("b", 10, 20, 30), fixes("b", 40)], [fixes("c", 35)]]
    assert [len(part) for part in merge(map(iter, days))] == [3, 3, 1, 1]


def test_what_is_written_reads_back_the_same():
    records = read(f"{FIX}\n{SIGHTING}\n{EVENT}") + fixes("r", 10.25, received=(11.5,))
    lines = b"".join(write_record(record) for record in records)
    assert read(lines) == records
    first = msgspec.json.decode(lines.splitlines()[0])
    assert list(first)[:3] == ["type", "subject", "at"]
    assert first["at"] == "2026-01-01T00:00:00.000Z"


def test_a_quote_that_is_never_closed_takes_no_rows_with_it():
    content = 'time,lon,lat,note\n1,2,48,a\n2,2,48,"b\n3,2,48,c\n4,2,48,d\n'
    found = refusal(content)
    assert (found.line, found.what) == (3, "a quote is never closed")
    assert len(read(content.replace("b\n", 'b"\n'))) == 4
    assert refusal('"time,lon,lat\n1,2,48\n').line == 1


def test_two_columns_that_tell_the_same_are_refused():
    assert "two columns tell time" in str(refusal("time,Time,lon,lat\n1,2,2,48\n"))
    assert len(read("time,lon,lat,x,y,note,note\n1,2,48,7,8,a,b\n")) == 1
