"""What is written and shown of an evaluation."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from sensorium.errors import SensoriumError
from sensorium.evaluation import Report, evaluate_scenes, evaluate_speech, speech_references


@pytest.fixture
def report(dataset, seeing):
    made = Report({"name": "rule", "fingerprint": "m"}, {"name": "tiny", "fingerprint": "d"}, limit=None)
    made.add(evaluate_scenes(seeing, dataset, "test_seen"))
    made.add(evaluate_scenes(seeing, dataset, "test_seen", blind=True))
    return made


def test_each_score_stands_beside_blind_and_chance(report):
    rows = {row[1]: row for row in report.rows()}
    split, _, score, interval, blind, chance, pictures, details = rows["existence (of 200)"]
    assert (split, score, interval, blind, chance, pictures) == (
        "test_seen", "200.0", "200.0–200.0", "50.0", "75.0", "3",
    )  # fmt: skip
    assert "accuracy+ 100.0" in details
    assert "unparsed 0" in details
    # Blind it gives the whole picture, of which each true box is a quarter.
    assert rows["grounding (IoU ≥ 0.5)"][2:6] == ("1.00", "0.44–1.00", "0.00", "0.00")
    assert rows["caption (F1)"][2] == "1.00"


def test_results_and_table_are_written_whole(report, tmp_path, seeing):
    report.speech = evaluate_speech(seeing, speech_references(seeing, ["Hello"]))
    report.write(tmp_path / "out")
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["format"] == "sensorium-evaluation-1"
    assert results["splits"]["test_seen"]["seen"]["existence"]["score"] == {"value": 200, "low": 200, "high": 200}
    assert results["splits"]["test_seen"]["blind"]["existence"]["score"]["value"] == 50
    assert results["splits"]["test_seen"]["chance"]["existence"] == 75
    assert results["speech"]["equal"] == 1
    table = (tmp_path / "out" / "table.md").read_text()
    lines = table.splitlines()
    assert len({line.count("|") for line in lines[: 2 + len(report.rows())]}) == 1
    assert "a fair coin" in table
    assert "100% of the greedy replies" in table
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["results.json", "table.md"]


def test_the_terminal_shows_all_rows(report):
    console = Console(width=110, record=True, file=io.StringIO())
    console.print(report.table())
    shown = console.export_text()
    assert all(row[1] in shown for row in report.rows())


def test_a_folder_that_cannot_be_written_is_named(report, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SensoriumError, match=r"results\.json"):
        report.write(tmp_path / "file")
