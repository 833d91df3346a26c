from __future__ import annotations

import pytest

from geofences import GeofenceError, table


def lines(text):
    return text.splitlines(keepends=True)


@pytest.mark.parametrize(
    "header",
    ["lon,lat", "LON,LAT", "lng,latitude", " Longitude , Latitude ", "x,y", "\ufefflong,lat"],
)
def test_points_under_the_usual_spellings(header):
    assert list(table.points(lines(f"{header}\n1,2\n\n 3 , 4 \n"), "p.csv")) == [
        ("0", 1.0, 2.0),
        ("1", 3.0, 4.0),
    ]


def test_points_keep_their_ids():
    found = list(table.points(lines('id,lat,lon\n"a,b",2,1\n'), "p.csv"))
    assert found == [("a,b", 1.0, 2.0)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "p.csv: has no header, line 1; begin with"),
        ("a,b\n1,2\n", "p.csv: has no column lon, line 1; name one of its columns lon, lng"),
        ("lon,b\n1,2\n", "has no column lat"),
        ("lon,lat\n1,2\n\n1,x\n", "p.csv: has lat 'x', line 4; write degrees within ±90"),
        ("lon,lat\n1\n", "has lat '', line 2"),
        ("lon,lat\n181,0\n", "has lon '181', line 2"),
        ("lon,lat\nnan,0\n", "has lon 'nan'"),
        ("lon,lat\n1,inf\n", "has lat 'inf'"),
        ('lon,lat\n1,"' + "9" * 200_000, "is not CSV"),
    ],
)
def test_rows_that_are_no_points(text, expected):
    with pytest.raises(GeofenceError, match=r"p\.csv") as caught:
        list(table.points(lines(text), "p.csv"))
    assert expected in str(caught.value)


def test_bytes_that_are_no_text(tmp_path):
    path = tmp_path / "p.csv"
    path.write_bytes(b"lon,lat\n1,2\n\xff,3\n")
    with path.open(encoding="utf-8") as file, pytest.raises(GeofenceError, match="not UTF-8"):
        list(table.points(file, "p.csv"))


def test_circles():
    text = (
        "Name,LAT,LON,radius_m,tags,exclude,floor,zip\nA,48,2,75,x; y,TRUE,1,00123\nB,49,3,,,,,\n"
    )
    one, two = table.circles(lines(text), "c.csv", 50.0)
    assert one == {
        "type": "Feature",
        "id": "A",
        "properties": {
            "Name": "A",
            "tags": ["x", "y"],
            "exclude": True,
            "floor": 1,
            "zip": "00123",
            "radius_m": 75,
        },
        "geometry": {"type": "Point", "coordinates": [2.0, 48.0]},
    }
    assert two["properties"] == {"Name": "B", "radius_m": 50.0}


def test_ids_of_circles_differ_even_where_names_do_not():
    ids = [f["id"] for f in table.circles(lines("name,lat,lon\nA,1,1\nA,2,2\n"), "c", 9.0)]
    assert ids == ["0", "1"]
    ids = [f["id"] for f in table.circles(lines("id,name,lat,lon\n7,A,1,1\n8,A,2,2\n"), "c", 9.0)]
    assert ids == ["7", "8"]
    ids = [f["id"] for f in table.circles(lines("id,name,lat,lon\n7,A,1,1\n,B,2,2\n"), "c", 9.0)]
    assert ids == ["A", "B"]


def test_every_bad_circle_is_named():
    with pytest.raises(GeofenceError) as caught:
        table.circles(lines("lat,lon\n1,x\n2,2\n99,3\n"), "c.csv", 9.0)
    assert [problem.where for problem in caught.value.problems] == ["line 2", "line 4"]


def test_a_radius_is_optional_until_it_is_judged():
    (one,) = table.circles(lines("lat,lon\n1,2\n"), "c.csv", None)
    assert "radius_m" not in one["properties"]
    (two,) = table.circles(lines("lat,lon,radius\n1,2,wide\n"), "c.csv", None)
    assert two["properties"]["radius_m"] == "wide"


def test_every_bad_row_of_points_is_named():
    text = "lon,lat,id\n1,2,a\n181,91,b\n3,4,\n5,6,ok\n7,8,a\x01b\n"
    rows = table.points(lines(text), "p.csv")
    assert next(rows) == ("a", 1.0, 2.0)
    with pytest.raises(GeofenceError) as caught:
        list(rows)
    assert [str(problem).split(";")[0] for problem in caught.value.problems] == [
        "p.csv: has lon '181', line 3",
        "p.csv: has lat '91', line 3",
        "p.csv: has id '', line 4",
        "p.csv: has id 'a\\x01b', line 6",
    ]


def test_a_table_of_nothing_but_bad_rows_is_not_told_to_its_end():
    with pytest.raises(GeofenceError) as caught:
        list(table.points(lines("lon,lat\n" + "x,1\n" * 1000), "p.csv"))
    assert len(caught.value.problems) == table.MOST_NAMED + 1
    assert "has more of these" in str(caught.value)


def test_bad_rows_are_named_beside_what_ends_the_reading():
    with pytest.raises(GeofenceError) as caught:
        list(table.points(lines('lon,lat\n1,x\n2,"' + "9" * 200_000), "p.csv"))
    assert "has lat 'x', line 2" in str(caught.value)
    assert "is not CSV" in str(caught.value)


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_another_separator_is_named(separator):
    text = separator.join(("lon", "lat")) + "\n" + separator.join(("2,35", "48,85")) + "\n"
    with pytest.raises(GeofenceError, match="has its columns apart by"):
        list(table.points(lines(text), "p.csv"))


def test_two_columns_of_one_name_are_refused():
    with pytest.raises(GeofenceError, match="has two columns 'lon', line 1; keep the one"):
        list(table.points(lines("lon,lat,lon\n1,2,3\n"), "p.csv"))
    with pytest.raises(GeofenceError, match="has two columns 'tags'"):
        table.circles(lines("lon,lat,tags,tags\n1,2,a,b\n"), "c.csv", 9.0)
    assert list(table.points(lines("lon,lat,LON,note,note,,\n1,2,3\n"), "p.csv"))


def test_the_line_of_bytes_that_are_no_text(tmp_path):
    path = tmp_path / "p.csv"
    for good in (1, 3000):
        path.write_bytes(b"lon,lat\r\n" + b"1,2\r\n" * good + b"\xe9,3\r\n" + b"1,2\r\n" * 3000)
        with (
            path.open(encoding="utf-8-sig", newline="") as file,
            pytest.raises(GeofenceError) as caught,
        ):
            list(table.points(file, "p.csv"))
        assert f"is not UTF-8 text, line {good + 2};" in str(caught.value)


def test_bad_circles_are_left_out_where_that_is_asked():
    bad = []
    found = table.circles(lines("lat,lon\n1,x\n2,2\n99,3\n3,3\n"), "c.csv", 9.0, bad)
    assert [each["id"] for each in found] == ["1", "3"]  # still the numbers of their rows
    assert [problem.where for problem in bad] == ["line 2", "line 4"]


def test_a_quote_that_is_never_closed_takes_no_rows_with_it():
    text = 'lon,lat,note\n1,2,a\n1,2,"5 inch\n3,4,b\n5,6,c\n'
    for read in (lambda: list(table.points(lines(text), "p.csv")),
                 lambda: table.circles(lines(text), "p.csv", 9.0)):  # fmt: skip
        with pytest.raises(GeofenceError, match="has a quote that is never closed, line 3; close"):
            read()
    with pytest.raises(GeofenceError, match="never closed, line 1"):
        list(table.points(lines('lon,lat,"note\n1,2,a\n'), "p.csv"))
    closed = text.replace("c\n", 'c"\n')
    assert [point.lon for point in table.points(lines(closed), "p.csv")] == [1.0, 1.0]
