"""`--visual-tokens` and `--compressor` reach the engine from every command that loads one to ask it."""

from __future__ import annotations

import pytest

from sensorium.cli.serve import _choice
from sensorium.engine.loading import load_engine
from sensorium.engine.torch import TorchEngine
from sensorium.errors import SensoriumError
from sensorium.model.fewer import fewer_tokens


@pytest.fixture
def loaded(monkeypatch):
    """What each command asks to be loaded; nothing is."""
    seen: list[dict[str, object]] = []

    def load(name, progress=None, **options):
        seen.append(options)
        raise SensoriumError("loading", "was asked for.")

    monkeypatch.setattr("sensorium.engine.loading.load_engine", load)
    return seen


@pytest.fixture
def scenes(tmp_path):
    folder = tmp_path / "scenes" / "test_seen"
    folder.mkdir(parents=True)
    (folder / "probes.jsonl").write_text("")
    about = '{"format": "sensorium-conversations-1", "name": "none", "fingerprint": "f", "splits": {"test_seen": {}}}'
    (tmp_path / "scenes" / "dataset.json").write_text(about)
    return tmp_path / "scenes"


@pytest.mark.parametrize("command", ["chat", "serve", "evaluate scenes", "evaluate scenes-mme"])
def test_every_command_that_asks_a_model_takes_a_budget(sensorium, loaded, model, scenes, tmp_path, command):
    given = {"chat": [model, "-q", "What?"], "serve": [model, "--no-page"]}.get(
        command, ["--data", scenes, "--out", tmp_path / "out", "--model", model]
    )
    words = [*command.split(), *given]
    assert "was asked for" in sensorium(*words, "--visual-tokens", 16, "--compressor", "tome").error
    assert "was asked for" in sensorium(*words).error
    assert [(one["visual_tokens"], one["compressor"]) for one in loaded] == [(16, "tome"), (None, None)]


def test_a_budget_of_nothing_is_no_number_of_tokens(sensorium, model):
    assert sensorium("chat", model, "--visual-tokens", 0).code == 2


def test_a_method_that_is_not_known_is_found_before_anything_is_loaded(sensorium, model):
    words = ("chat", model, "-q", "What?", "--visual-tokens", 4)
    assert "Did you mean `prumerge`" in sensorium(*words, "--compressor", "prumerg").error


@pytest.mark.parametrize(("way", "offered"), [("tome", {"torch", "llamacpp"}), ("fastv", {"torch"})])
def test_the_page_offers_no_engine_that_cannot_see_so(tiny_model, way, offered):
    pytest.importorskip("gradio", reason="the page is part of the extra `serve`")
    choice = _choice(TorchEngine(tiny_model), "default", load_engine, fewer_tokens(24, way))
    assert choice.first_name == "torch" and set(choice.names) == offered
