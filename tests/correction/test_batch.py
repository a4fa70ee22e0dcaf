"""Many texts: every row is answered once, whatever happens to the others or to the run."""

from __future__ import annotations

import json

import pytest

from sensorium.correction.batch import correct_rows
from sensorium.errors import SensoriumError


@pytest.fixture
def rows(tmp_path, scene):
    lines = [
        {"id": "a", "image": scene.image, "text": "The car is red."},
        {"id": "b", "image": "missing.png", "text": "A dog."},
        {"id": "c", "image": scene.image, "text": "", "question": "What is it?"},
        {"id": "d", "text": "no picture"},
        {"image": scene.image, "text": "Yes.", "question": "Is there a cat?"},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n\n")
    return path


def answers(path):
    return {row["id"]: row for row in map(json.loads, path.read_text().splitlines())}


def test_a_bad_row_is_answered_with_its_error_and_stops_nothing(corrector, rows, tmp_path):
    tally = correct_rows(corrector, rows, tmp_path / "out.jsonl")
    found = answers(tmp_path / "out.jsonl")
    assert (tally.corrected, tally.before, tally.failed) == (2, 0, 3)
    assert found["a"]["report"]["output"] == "The car is blue." and found["5"]["report"]["output"] == "No."
    assert "does not exist" in found["b"]["error"] and "is empty" in found["c"]["error"]
    assert "row 4: image" in found["d"]["error"]


def test_a_stopped_run_goes_on_where_it_was(corrector, rows, tmp_path):
    out = tmp_path / "out.jsonl"
    correct_rows(corrector, rows, out)
    whole = out.read_text()
    out.write_text("".join(whole.splitlines(keepends=True)[:2]) + '{"id": "c", "err')
    tally = correct_rows(corrector, rows, out)
    assert (tally.corrected, tally.before) == (1, 2)
    again, first = answers(out), {row["id"]: row for row in map(json.loads, whole.splitlines())}
    assert again.keys() == first.keys() and len(out.read_text().splitlines()) == 5
    assert all(again[id].get("error") == first[id].get("error") for id in first)


def test_a_file_that_is_no_list_of_rows_is_named(corrector, tmp_path):
    (tmp_path / "rows.jsonl").write_text("not json\n")
    with pytest.raises(SensoriumError, match=r"rows.jsonl row 1: is not JSON"):
        correct_rows(corrector, tmp_path / "rows.jsonl", tmp_path / "out.jsonl")
    (tmp_path / "out.jsonl").write_text("someone's notes\n")
    (tmp_path / "rows.jsonl").write_text('{"image": "a", "text": "b"}\n')
    with pytest.raises(SensoriumError, match=r"out.jsonl row 1: is no answer"):
        correct_rows(corrector, tmp_path / "rows.jsonl", tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_text() == "someone's notes\n"
