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
