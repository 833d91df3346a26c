from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from geofences.__main__ import main
from tests.geofences.drawn import box, circle, feature, polygon, text

CROSSED = polygon([[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]], fence_id="crossed")


def run(*args, given=None):
    return CliRunner().invoke(main, [str(arg) for arg in args], input=given)


@pytest.fixture
def sound(tmp_path):
    path = tmp_path / "sound.geojson"
    path.write_text(text(box(0, 0, 1, 1, "b"), box(1, 0, 2, 1, "a"), circle(5, 5, 10, "c")))
    return path


@pytest.fixture
def bad(tmp_path):
    path = tmp_path / "bad.geojson"
    path.write_text(text(CROSSED, box(0, 0, 1, 1, "good"), feature(None, "empty")))
    return path


def test_check_passes_what_is_sound_and_marks_advice(sound):
    found = run("check", sound)
    assert found.exit_code == 0
    assert found.stdout == (
        f"{sound}: feature 'c': advice: is only 10 m wide each way, too small to decide at "
        "20 m accuracy; widen it, or use a beacon there\n"
    )
    assert "3 sound fences in 1 files, 0 faults, 1 pieces of advice" in found.stderr


def test_check_names_every_problem_of_every_file(sound, bad):
    found = run("check", bad, sound, "-", given="{")
    assert found.exit_code == 1
    faults = [each for each in found.stdout.splitlines() if "advice" not in each]
    assert len(faults) == 3
    assert faults[0] == (
        f"{bad}: feature 'crossed': the outline crosses itself, near longitude 1.000000, "
        "latitude 1.000000; redraw it there"
    )
    assert faults[2].startswith("-: is not JSON")


def test_check_prints_json(bad):
    found = run("check", bad, "--json")
    assert found.exit_code == 1
    first = json.loads(found.stdout)[0]
    assert first == {
        "file": str(bad),
        "feature": "crossed",
        "what": "the outline crosses itself",
        "where": "near longitude 1.000000, latitude 1.000000",
        "mend": "redraw it there",
        "advice": False,
    }


def test_names_that_no_terminal_can_write_are_escaped(tmp_path):
    path = tmp_path / "odd.geojson"
    path.write_text('{"type": "Feature", "properties": {}, "geometry": {"type": "\\ud800"}}')
    found = run("check", path)
    assert found.exit_code == 1
    assert "\\ud800" in found.stdout


def test_what_cannot_be_read_is_status_2_and_one_line(tmp_path, sound):
    points = tmp_path / "p.csv"
    points.write_text("lon,lat\n1,x\n")
    for args in (
        ("check", tmp_path / "absent.geojson"),
        ("check", tmp_path),
        ("locate", sound, tmp_path / "absent.csv"),
        ("locate", tmp_path / "absent.geojson", points),
        ("locate", sound, points),
        ("locate", sound, points, "--out", tmp_path / "absent" / "out.csv"),
        ("convert", tmp_path / "absent.geojson", tmp_path / "o.geojson"),
        ("convert", sound, tmp_path / "o.dxf"),
    ):
        found = run(*args)
        assert found.exit_code == 2, args
        assert len(found.stderr.splitlines()) == 1
        assert "Traceback" not in found.output


def test_locate_writes_pairs_in_the_order_of_the_points(sound):
    given = "id,lon,lat\np,1,0.5\nq,9,9\nr,5,5\nr,0,0\n"
    found = run("locate", sound, "-", given=given)
    assert found.exit_code == 0
    assert found.stdout == "id,fence\np,a\np,b\nr,c\nr,b\n"


def test_locate_numbers_the_points_and_writes_a_file(sound, tmp_path):
    points, out = tmp_path / "p.csv", tmp_path / "out.csv"
    points.write_text("LAT,LON\n9,9\n0.5,0.5\n")
    found = run("locate", sound, points, "--out", out)
    assert (found.exit_code, found.stdout) == (0, "")
    assert out.read_text() == "id,fence\n1,b\n"
    assert run("locate", "-", points, given=sound.read_text()).stdout == "id,fence\n1,b\n"


def test_locate_within_metres(sound):
    given = "lon,lat\n-0.001,0.5\n0.5,0.5\n"
    assert run("locate", sound, "-", "--within", "111", given=given).stdout == "id,fence\n1,b\n"
    assert run("locate", sound, "-", "--within", "112", given=given).stdout == (
        "id,fence\n0,b\n1,b\n"
    )


def test_locate_refuses_a_file_with_a_bad_fence_as_a_whole(bad, tmp_path):
    out = tmp_path / "out.csv"
    found = run("locate", bad, "-", "--out", out, given="lon,lat\n0.5,0.5\n")
    assert found.exit_code == 2
    assert len(found.stderr.splitlines()) == 2
    assert not out.exists()
    found = run("locate", bad, "-", "--skip-bad", given="lon,lat\n0.5,0.5\n")
    assert (found.exit_code, found.stdout) == (0, "id,fence\n0,good\n")
    assert "left out: " in found.stderr
    assert "crossed" in found.stderr


def test_locate_works_through_points_in_batches(sound, monkeypatch):
    monkeypatch.setattr("geofences.__main__.BATCH", 2)
    given = "lon,lat\n" + "0.5,0.5\n" * 5
    found = run("locate", sound, "-", given=given)
    assert found.stdout == "id,fence\n0,b\n1,b\n2,b\n3,b\n4,b\n"


def test_bad_usage_is_status_2(sound):
    assert run("locate", "-", "-").exit_code == 2
    assert run("locate", sound).exit_code == 2
    assert run("locate", sound, "-", "--within", "-1", given="").exit_code == 2
    assert run("convert", sound, "-", "--radius", "0").exit_code == 2
    assert run("check").exit_code == 2
    assert run("--help").exit_code == 0


def test_convert_reads_and_writes_standard_streams(sound, bad):
    found = run("convert", "-", "-", given=sound.read_text())
    assert found.exit_code == 0
    assert [each["id"] for each in json.loads(found.stdout)["features"]] == ["b", "a", "c"]
    found = run("convert", bad, "-", "--skip-bad")
    assert [each["id"] for each in json.loads(found.stdout)["features"]] == ["good"]
    assert "left out" in found.stderr


def test_convert_imports_stores(tmp_path):
    stores, out = tmp_path / "s.csv", tmp_path / "o.geojson"
    stores.write_text("LAT,LON\n48,2\n")
    assert run("convert", stores, out).exit_code == 2
    assert run("convert", stores, out, "--radius", "75").exit_code == 0
    assert run("check", out).exit_code == 0


def test_the_module_is_the_command(sound):
    done = subprocess.run(
        [sys.executable, "-m", "geofences", "locate", str(sound), "-"],
        input="lon,lat\n0.5,0.5\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "id,fence\n0,b\n")


def test_a_base_installation_is_told_what_is_missing():
    program = "import sys, runpy; sys.modules['numpy'] = None; runpy.run_module('geofences', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == (
        "this needs numpy, which is not installed: pip install 'proximity-engine[engine]'\n"
    )


def test_the_package_has_the_names_that_it_promises():
    import geofences

    for name in geofences.__all__:
        assert getattr(geofences, name)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = geofences.nonsense


def test_a_reader_that_has_seen_enough_is_no_error(sound):
    points = "lon,lat\n" + "0.5,0.5\n" * 200_000
    command = f"{sys.executable} -m geofences locate {sound} - | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], input=points, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "id,fence\n", "")


@pytest.mark.parametrize("ending", ["geojson", "csv", "kml", "gpkg", "shp", "fgb"])
def test_a_folder_that_is_not_there_is_one_line_in_every_format(tmp_path, ending):
    source = tmp_path / "in.geojson"
    source.write_text(text(circle(5, 5, 50, "c")))
    found = run("convert", source, tmp_path / "absent" / f"x.{ending}")
    assert found.exit_code == 2
    (line,) = found.stderr.splitlines()
    assert "its folder is not there" in line


def test_a_format_that_fails_without_a_word_is_found_out(sound, tmp_path, monkeypatch):
    monkeypatch.setattr("geofences.convert._write_layer", lambda *_: None)
    found = run("convert", sound, tmp_path / "x.kml")
    assert found.exit_code == 2
    assert "was not written" in found.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["locate", "FILE", "-", "--within", "nan"],
        ["locate", "FILE", "-", "--within", "inf"],
        ["convert", "FILE", "-", "--radius", "nan"],
        ["check", "-", "-"],
        ["locate", "-", "-"],
        ["locate", "FILE"],
        ["check", "--nonsense", "FILE"],
        ["nonsense"],
        [],
    ],
    ids=" ".join,
)
def test_bad_usage_is_one_line(sound, words):
    found = run(*(str(sound) if word == "FILE" else word for word in words), given="lon,lat\n0,0\n")
    assert (found.exit_code, found.stdout) == (2, "")
    (line,) = found.stderr.splitlines()
    assert line.startswith("geofences: ")


def test_convert_keeps_the_members_of_the_collection(sound):
    given = json.dumps(json.loads(sound.read_text()) | {"name": "shops"})
    for more in ([], ["--radius", "9"]):
        found = run("convert", "-", "-", *more, given=given)
        assert json.loads(found.stdout)["name"] == "shops"


@pytest.mark.parametrize("name", ["", "  ", "x" * 129])
def test_locate_names_the_row_whose_id_is_none(sound, name):
    found = run("locate", sound, "-", given=f"id,lon,lat\np,0,0\n{name},0.5,0.5\n")
    assert (found.exit_code, found.stdout) == (2, "")
    (line,) = found.stderr.splitlines()
    assert "line 3" in line


def shell(line, **names):
    """Run a line of shell in which `geofences` is the command, with buffered streams."""
    words = f'geofences() {{ "{sys.executable}" -m geofences "$@"; }}; {line}'
    given = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    given |= {name: str(value) for name, value in names.items()}
    return subprocess.run(
        ["bash", "-c", words], capture_output=True, text=True, check=False, env=given
    )


@pytest.mark.parametrize("words", ["check FILE", "check FILE --json", "convert FILE -", "--help"])
def test_who_has_seen_enough_gets_no_status_and_no_word(sound, words):
    reads, writes = os.pipe()
    os.close(reads)
    command = [sys.executable, "-m", "geofences", *words.replace("FILE", str(sound)).split()]
    done = subprocess.run(command, stdout=writes, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writes)
    assert done.returncode == 0
    assert "rror" not in done.stderr


@pytest.mark.parametrize(
    "words", ["check $F --json", "convert $F -", "locate $F $P", "locate $F $P --out /dev/full"]
)
def test_a_full_disk_is_one_line_with_the_name_of_what_is_full(sound, tmp_path, words):
    points = tmp_path / "p.csv"
    points.write_text("lon,lat\n0.5,0.5\n")
    done = shell(f"geofences {words} > /dev/full", F=sound, P=points)
    assert done.returncode == 2
    name = "/dev/full" if "--out" in words else "standard output"
    assert done.stderr == f"{name}: No space left on device; name a file that can be used\n"


def test_closed_streams_are_empty_ones(sound):
    assert shell("geofences convert $F - >&-", F=sound).returncode == 0
    done = shell("geofences locate $F - <&-", F=sound)
    assert (done.returncode, done.stderr) == (
        2,
        "-: has no header, line 1; begin with a line such as lon,lat,radius_m\n",
    )
    assert shell("geofences check - <&-").returncode == 1


def test_check_tells_of_the_files_that_are_there_beside_those_that_are_not(bad, tmp_path):
    found = run("check", tmp_path / "absent", bad, tmp_path)
    assert found.exit_code == 2
    assert "feature 'crossed': the outline crosses itself" in found.stdout
    assert found.stderr.splitlines() == [
        f"{tmp_path / 'absent'}: No such file or directory; name a file that can be used",
        f"{tmp_path}: Is a directory; name a file that can be used",
    ]
    assert len(json.loads(run("check", tmp_path / "absent", bad, "--json").stdout)) == 2


def test_a_bad_row_far_down_leaves_an_earlier_file_as_it_was(sound, tmp_path, monkeypatch):
    monkeypatch.setattr("geofences.__main__.BATCH", 2)
    out, points = tmp_path / "out.csv", tmp_path / "p.csv"
    out.write_text("of an earlier run\n")
    points.write_text("lon,lat\n" + "0.5,0.5\n" * 5 + "x,1\n")
    assert run("locate", sound, points, "--out", out).exit_code == 2
    assert out.read_text() == "of an earlier run\n"
    points.write_text("lon,lat\n0.5,0.5\n")
    assert run("locate", sound, points, "--out", out).exit_code == 0
    assert out.read_text() == "id,fence\n0,b\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv", "p.csv", sound.name]
    found = run("locate", sound, points, "--out", tmp_path / "absent" / "out.csv")
    assert found.stderr.startswith(f"{tmp_path / 'absent' / 'out.csv'}: No such file or directory;")


def test_a_problem_is_one_line_whatever_its_file_is_called(tmp_path):
    odd = tmp_path / "a\nb.geojson"
    odd.write_text('{"type": "Feature", "properties": {}}')
    found = run("check", odd, tmp_path / "no\rfile")
    assert (len(found.stdout.splitlines()), len(found.stderr.splitlines())) == (1, 1)
    assert "a b.geojson: feature '0'" in found.stdout
