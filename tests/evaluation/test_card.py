"""A card's tables come from runs, and nothing else in the card changes."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

from sensorium.errors import SensoriumError
from sensorium.evaluation.card import benchmarks_table, put_into_card, read_results
from sensorium.model.checkpoint import save_model

CARD = (
    "# Card\nMy words.\n<!-- scores: scenes -->\nold\n<!-- end -->\nMore words.\n"
    "<!-- scores: benchmarks -->\n<!-- end -->\n"
)


def test_only_what_stands_between_the_marks_is_written(tmp_path):
    card = tmp_path / "card.md"
    card.write_text(CARD)
    put_into_card(card, "scenes", "| a \\1 |\n\n")
    assert card.read_text() == CARD.replace("old\n", "| a \\1 |\n")
    put_into_card(card, "benchmarks", "new")
    assert card.read_text() == CARD.replace("old\n", "| a \\1 |\n").replace("benchmarks -->\n", "benchmarks -->\nnew\n")
    for broken, times in (("no marks", 0), (CARD + CARD, 2)):
        card.write_text(broken)
        with pytest.raises(SensoriumError, match=f"has {times} places"):
            put_into_card(card, "scenes", "x")
    with pytest.raises(SensoriumError, match="rescore"):
        read_results(tmp_path)


def test_make_scores_runs_the_commands_and_fills_the_card(tiny_model, dataset, tmp_path, own_cache, monkeypatch):
    model = save_model(tiny_model, tmp_path / "model", ["vision"])
    card = tmp_path / "card.md"
    card.write_text(CARD)
    script = Path(__file__).parents[2] / "benchmarks" / "scores.py"
    words = ["--model", model, "--scenes", dataset.root, "--out", tmp_path / "scores", "--card", card, "--limit", 2,
             "--precision", "float32", "--forms", "scenes-mme", "scenes-refcoco"]  # fmt: skip

    monkeypatch.setattr(sys, "argv", ["scores.py", *map(str, words)])
    runpy.run_path(str(script), run_name="__main__")
    written = card.read_text()
    assert written.startswith("# Card\nMy words.\n") and "More words." in written
    assert "| test_seen | existence (of 200) |" in written
    runs = [read_results(tmp_path / "scores" / name) for name in ("scenes-mme", "scenes-refcoco")]
    assert benchmarks_table(runs) in written
    perception = next(score for score in runs[0].scores if score.name == "perception")
    assert re.search(rf"\| scenes-mme \| perception \| {perception.value:.2f}", written)
    assert "- scenes-mme: gain of seeing over no-picture" in written and "replies unread" in written
    assert all(run.answered <= 2 * 2 * 2 for run in runs), "the limit is handed on"
