"""The picture of a run shows the journal's numbers, one stage after the other."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from sensorium.errors import SensoriumError
from sensorium.training.journal import Journal
from sensorium.training.losses import loss_figure, plot_losses


def _journal(path: Path, rows) -> Path:
    with Journal(path) as journal:
        for row in rows:
            journal.write(row)
    return path


def _curves(panel) -> dict:
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in panel.lines}


def test_the_picture_shows_losses_one_stage_after_the_other_and_validation(journal_rows):
    losses, shares = loss_figure(journal_rows).axes
    curves = _curves(losses)
    assert curves["each step"] == ([1, 2], [5.0, 4.0])
    assert curves["validation"] == ([4], [2.6])  # step 2 of align comes after the 2 steps of warm
    assert curves["smoothed"][1] == pytest.approx([5.0, (0.8 * 5 + 4) / 1.8])
    assert [text.get_text() for text in losses.texts] == ["warm", "align", "instruct"]
    assert [text.get_position()[0] for text in losses.texts] == [1, 3, 6]
    assert _curves(shares)["existence"] == ([4], [0.7])


def test_steps_that_count_through_the_run_keep_their_places():
    rows = [{"stage": "a" if step <= 10 else "b", "step": step, "loss": 1.0} for step in range(1, 21)]
    losses = loss_figure(rows).axes[0]
    assert sorted({x for line in losses.lines for x in line.get_xdata()}) == list(range(1, 21))
    assert [text.get_position()[0] for text in losses.texts] == [1, 11]


def test_numbers_of_another_size_get_a_panel_of_their_own():
    rows = [{"step": step, "loss": 2.0, "validation": {"perplexity": 20.0, "count": 0.6}} for step in (1, 2)]
    figure = loss_figure(rows)
    assert [panel.get_ylabel() for panel in figure.axes] == ["loss", "validation", "validation, 0–1"]


def test_one_wild_step_does_not_press_the_rest_flat():
    rows = [{"step": step, "loss": 500.0 if step == 60 else 2.0 - step / 100} for step in range(1, 101)]
    bottom, top = loss_figure(rows).axes[0].get_ylim()
    assert 0 < bottom < 1.2 and top < 500


def test_the_png_is_whole_and_drawn_without_pyplot(tmp_path, journal_rows):
    path = _journal(tmp_path / "j", [*journal_rows, {"stage": "instruct", "step": 2, "loss": math.nan}])
    script = (
        "import sys; from pathlib import Path; from sensorium.training.losses import plot_losses\n"
        "plot_losses(Path(sys.argv[1]), Path(sys.argv[2])); assert 'matplotlib.pyplot' not in sys.modules"
    )
    source = Path(__file__).parents[2] / "src"
    png = tmp_path / "plots" / "loss.png"
    environment = os.environ | {"PYTHONPATH": str(source), "DISPLAY": ""}
    subprocess.run([sys.executable, "-c", script, path, png], env=environment, check=True, timeout=60)
    with Image.open(png) as image:
        image.load()
        assert image.format == "PNG" and image.width > 800
    assert [found.name for found in png.parent.iterdir()] == ["loss.png"]


def test_a_journal_without_losses_is_not_drawn(tmp_path):
    path = _journal(tmp_path / "j", [{"stage": "warm", "step": 1, "loss": None}])
    with pytest.raises(SensoriumError, match="there is no loss in it to draw"):
        plot_losses(path, tmp_path / "loss.png")
    assert not (tmp_path / "loss.png").exists()
