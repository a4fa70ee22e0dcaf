"""From a model's name to the engine that is asked for, or the one that can be."""

from __future__ import annotations

import pytest

from sensorium.engine import loading
from sensorium.engine.loading import exported, load_engine
from sensorium.errors import SensoriumError
from sensorium.model.compressors import COMPRESSORS
from sensorium.model.compressors.pooling import Pool

pytest.importorskip("xllamacpp", reason="xllamacpp has no wheel for this platform")


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    """Where a GPU is, auto means torch."""
    monkeypatch.setattr(loading, "_has_gpu", lambda: False)


def _kind(engine) -> str:
    name = type(engine).__name__
    if hasattr(engine, "close"):
        engine.close()
    return name


@pytest.fixture
def saved(tiny_model_tree, tmp_path, own_cache):
    """Save the tiny model, some of its settings changed."""
    import torch

    from sensorium.model.checkpoint import save_model
    from sensorium.model.multimodal import ModelConfig

    def save(**changes):
        return save_model(ModelConfig.model_validate(tiny_model_tree | changes).build(), tmp_path / "model", [], {},
                          torch.float32)

    return save


def test_each_engine_by_its_name_and_the_fast_one_where_it_can_be(saved):
    folder = saved()
    assert _kind(load_engine(folder)) == _kind(load_engine(folder, engine="torch")) == "TorchEngine"
    for name in ("auto", "llamacpp"):
        assert _kind(load_engine(folder, engine=name)) == "LlamaCppEngine"
    assert _kind(load_engine(exported(folder, "q8_0"))) == "LlamaCppEngine"  # which nothing else runs


def test_what_llamacpp_cannot_run_goes_to_torch_unless_asked_for(saved):
    folder = saved(connector={"kind": "linear"})
    assert _kind(load_engine(folder, engine="auto")) == "TorchEngine"
    with pytest.raises(SensoriumError, match="only `pixel_shuffle` is written"):
        load_engine(folder, engine="llamacpp")


def test_another_llamacpp_than_the_known_one_is_not_used(saved, monkeypatch):
    def refuse():
        raise SensoriumError("xllamacpp", "is version 1; the one known to work is 2.")

    monkeypatch.setattr(loading, "library", refuse)
    assert _kind(load_engine(saved(), engine="auto")) == "TorchEngine"


def test_a_model_is_exported_once_for_each_content(saved):
    folder = saved()
    first = exported(folder, "q8_0")
    written = (first / "model.gguf").stat().st_mtime_ns
    assert exported(folder, "q8_0") == first and (first / "model.gguf").stat().st_mtime_ns == written
    assert exported(folder, "q4_0") != first
    (folder / "config.json").write_text((folder / "config.json").read_text() + "\n")
    assert exported(folder, "q8_0") != first


@pytest.mark.parametrize(("options", "said"), [({"engine": "llama"}, "Did you mean `llamacpp`"),
                                               ({"quantization": "q8"}, "`q8` is not known")])
def test_names_that_are_not_known_are_refused(saved, options, said):
    with pytest.raises(SensoriumError, match=said):
        load_engine(saved(), **options)


def test_a_compression_reaches_each_engine_that_runs_our_models_and_is_refused_for_others(saved, tmp_path):
    folder = saved()
    for engine in ("torch", "llamacpp"):
        found = load_engine(folder, engine=engine, visual_tokens=1, compressor="tome")
        assert (found.card.visual_tokens, found.card.provenance["compression"]) == (1, "tome:1")
        assert _kind(found).lower() == f"{engine}engine"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"model_type": "llava", "architectures": ["Llava"]}')
    for name, engine in ((tmp_path / "other", "transformers"), ("http://localhost:1/v1", "remote")):
        with pytest.raises(SensoriumError, match=rf"this one is for {engine}\. Leave --visual-tokens out"):
            load_engine(name, visual_tokens=1)


def test_a_compressor_that_one_engine_alone_has_decides_between_them(saved, monkeypatch):
    class InTorch(Pool):
        engines = ("torch",)

    monkeypatch.setitem(COMPRESSORS, "in-torch", InTorch)
    folder = saved()
    assert _kind(load_engine(folder, engine="auto", visual_tokens=1, compressor="in-torch")) == "TorchEngine"
    with pytest.raises(SensoriumError, match="by `in-torch` where a model of ours runs in torch"):
        load_engine(folder, engine="llamacpp", visual_tokens=1, compressor="in-torch")
