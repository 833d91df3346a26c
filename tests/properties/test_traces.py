"""Whatever the file, a trace gives records or says in one line what is wrong with it."""

import io
from itertools import cycle

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from proximity.model import Event, Fix, Sighting
from simulator.trace import TraceError, merge, read_trace

STARTS = [
    b"", b"{", b"[", b"<gpx>", b'<?xml version="1.0"?><gpx><trk><trkpt lat="1" lon="2"><time>',
    b"time,lon,lat\n", b"Entry_id,Beacon_id,RSSI,Timestamp,RPi_id\n", b"\xef\xbb\xbf", b"id;t;x;y\n1;",
    b"2026-01-01T00:00:00Z\t*\t{", b'{"locations":[', b'[{"_type":"location",', b"\xff\xfe<\0", b"<!DOCTYPE",
]  # fmt: skip


@given(start=st.sampled_from(STARTS), rest=st.binary(max_size=200), skip=st.booleans())
def test_any_bytes(start, rest, skip):
    bad = []
    try:
        stream = io.BytesIO(start + rest)
        for record in read_trace(stream, "t", on_bad=bad.append if skip else None):
            assert isinstance(record, Fix | Sighting | Event)
    except TraceError as problem:
        bad.append(problem)
    for problem in bad:
        assert str(problem).startswith("t")
        assert "\n" not in str(problem)


times = st.lists(st.tuples(st.integers(0, 50), st.none() | st.integers(0, 50)), max_size=12)


@given(st.lists(times, max_size=4), st.lists(st.integers(0, 5), min_size=1, max_size=9))
def test_merge_keeps_each_files_order_and_the_clock(files, sizes):
    traces = [
        [
            Fix(subject=str(n), at=at, lon=0, lat=0, received_at=got, id=str(place))
            for place, (at, got) in enumerate(trace)
        ]
        for n, trace in enumerate(files)
    ]

    def parts(trace):
        """Cut a trace into pieces of any size, empty ones too."""
        rest = list(trace)
        for size in cycle([*sizes, 1]):
            if not rest:
                return
            yield rest[:size]
            rest = rest[size:]

    merged = [record for part in merge(map(parts, traces)) for record in part]
    for n, trace in enumerate(traces):
        assert [record for record in merged if record.subject == str(n)] == trace
    # The merged clock, the greatest time so far, is what each record would have met alone or later.
    heads, clock = [0] * len(traces), [0.0] * len(traces)
    for record in merged:
        waiting = []
        for n, trace in enumerate(traces):
            if heads[n] < len(trace):
                head = trace[heads[n]]
                time = head.at if head.received_at is None else head.received_at
                waiting.append((max(clock[n], time), n))
        soonest = min(waiting)
        assert int(record.subject) == soonest[1]
        clock[soonest[1]] = soonest[0]
        heads[soonest[1]] += 1


@given(st.lists(st.sampled_from(["fix", "blank", "bad"]), max_size=40), st.integers(1, 300))
def test_blocks_change_nothing(kinds, size):
    lines = {
        "fix": msgspec.json.encode(Fix(subject="s", at=1.0, lon=0, lat=0)),
        "blank": b"",
        "bad": b"{}",
    }

    class Pieces(io.BytesIO):
        def read(self, _size=-1):
            return super().read(size)

    bad = []
    content = b"\n".join([lines["fix"], *(lines[kind] for kind in kinds)])
    found = list(read_trace(Pieces(content), "t", on_bad=bad.append))
    assert len(found) == 1 + kinds.count("fix")
    assert [p.line for p in bad] == [n for n, kind in enumerate(kinds, 2) if kind == "bad"]
