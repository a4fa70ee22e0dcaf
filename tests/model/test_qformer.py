"""The Q-Former against transformers' BLIP-2, and its start from a BERT."""

from __future__ import annotations

import shutil

import pytest
import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertModel, Blip2QFormerConfig, Blip2QFormerModel

from sensorium.errors import SensoriumError
from sensorium.model.checkpoint import load_model, save_model
from sensorium.model.connectors import QFormerConfig
from sensorium.model.multimodal import ModelConfig
from sensorium.model.summary import summarise

SMALL_QFORMER = QFormerConfig(n_queries=8, n_layers=4, width=64)


@pytest.fixture(autouse=True)
def _same_numbers_every_time():
    torch.manual_seed(0)


@torch.no_grad()
def test_the_qformer_computes_blip2s_qformer_and_projection():
    ours = SMALL_QFORMER.build(40, 24).eval()
    theirs = Blip2QFormerModel(
        Blip2QFormerConfig(hidden_size=64, num_hidden_layers=4, num_attention_heads=1, intermediate_size=256,
                           encoder_hidden_size=40, attn_implementation="eager")
    ).eval()  # fmt: skip
    theirs.load_state_dict(ours.qformer.state_dict())
    features = 5 * torch.randn(2, 9, 40) + 3
    normed = (features - features.mean(-1, keepdim=True)) / (features.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    read = theirs(query_embeds=ours.queries.expand(2, -1, -1), encoder_hidden_states=normed).last_hidden_state
    expected = read @ ours.projection.weight.T + ours.projection.bias
    torch.testing.assert_close(ours(features, (3, 3)), expected, atol=1e-5, rtol=1e-4)


def test_the_default_qformer_is_blip2s_in_size():
    with torch.device("meta"):
        connector = QFormerConfig().build(1408, 2560)
    assert connector.queries.shape == (1, 32, 768)
    crossing = [i for i, layer in enumerate(connector.qformer.encoder.layer) if layer.has_cross_attention]
    assert crossing == [0, 2, 4, 6, 8, 10]
    # A layer of 768: 4 attention matrices, 2 of the feed-forward, two norms; a cross-attention reads 1408 channels.
    attention, forward, norm = 4 * (768 * 768 + 768), 2 * 768 * 3072 + 3072 + 768, 2 * 768
    crossed = 2 * (768 * 768 + 768) + 2 * (1408 * 768 + 768) + norm
    expected = 12 * (attention + forward + 2 * norm) + 6 * crossed + norm
    assert sum(p.numel() for p in connector.qformer.parameters()) == expected


def test_the_queries_start_small_and_apart():
    queries = QFormerConfig(n_layers=1).build(8, 8).queries
    assert queries.std().item() == pytest.approx(0.02, rel=0.05)
    assert queries.mean().item() == pytest.approx(0, abs=0.001)


@pytest.fixture(scope="module")
def bert():
    shape = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 1, "intermediate_size": 256}
    return BertModel(BertConfig(**shape, vocab_size=30))


def assert_equals_bert(connector, bert):
    for ours, theirs in zip(connector.qformer.encoder.layer, bert.encoder.layer, strict=True):
        for name in ("query", "key", "value"):
            mine, their = getattr(ours.attention.attention, name), getattr(theirs.attention.self, name)
            assert torch.equal(mine.weight, their.weight) and torch.equal(mine.bias, their.bias)
        assert torch.equal(ours.attention.output.dense.weight, theirs.attention.output.dense.weight)
        assert torch.equal(ours.attention.output.LayerNorm.weight, theirs.attention.output.LayerNorm.weight)
        assert torch.equal(ours.intermediate_query.dense.weight, theirs.intermediate.dense.weight)
        assert torch.equal(ours.output_query.dense.weight, theirs.output.dense.weight)
        assert torch.equal(ours.output_query.LayerNorm.bias, theirs.output.LayerNorm.bias)
    assert torch.equal(connector.qformer.layernorm.weight, bert.embeddings.LayerNorm.weight)


def test_bert_is_loaded_where_names_match_and_the_rest_is_told(bert):
    connector = SMALL_QFORMER.build(40, 24)
    cross_before = connector.qformer.encoder.layer[0].crossattention.attention.key.weight.clone()
    report = connector.load_bert(bert.state_dict())
    assert_equals_bert(connector, bert)
    assert report.missing and all(".crossattention." in name for name in report.missing)
    assert len(report.missing) == 2 * 10  # two crossing layers: q, k, v, dense and norm, weight and bias each
    assert "embeddings.word_embeddings.weight" in report.unused and "pooler.dense.weight" in report.unused
    assert len(report.loaded) + len(report.missing) == len(connector.qformer.state_dict())
    assert torch.equal(connector.qformer.encoder.layer[0].crossattention.attention.key.weight, cross_before)


def test_bert_is_loaded_from_a_folder_a_file_and_under_its_oldest_names(bert, tmp_path):
    def oldest(name):
        return "bert." + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")

    old = {oldest(name): tensor for name, tensor in bert.state_dict().items()}
    (tmp_path / "folder").mkdir()
    save_file({name: tensor.contiguous() for name, tensor in old.items()}, tmp_path / "folder" / "model.safetensors")
    torch.save(bert.state_dict(), tmp_path / "weights.bin")
    for source in (old, tmp_path / "folder", str(tmp_path / "weights.bin")):
        connector = SMALL_QFORMER.build(40, 24)
        connector.load_bert(source)
        assert_equals_bert(connector, bert)


def test_bert_that_does_not_fit_is_refused_in_words(bert, tmp_path):
    connector = SMALL_QFORMER.build(40, 24)
    with pytest.raises(SensoriumError, match="does not exist"):
        connector.load_bert(tmp_path / "nowhere.safetensors")
    with pytest.raises(SensoriumError, match="has neither model"):
        connector.load_bert(tmp_path)
    for name in ("damaged.safetensors", "damaged.bin", "empty.bin"):
        (tmp_path / name).write_bytes(b"" if name == "empty.bin" else b"not weights at all")
        with pytest.raises(SensoriumError, match="cannot be read as weights"):
            connector.load_bert(tmp_path / name)
    with pytest.raises(SensoriumError, match="no weights of a BERT"):
        connector.load_bert({"decoder.weight": torch.zeros(2)})
    with pytest.raises(SensoriumError, match="the Q-Former needs"):
        QFormerConfig(n_layers=4, width=128).build(40, 24).load_bert(bert.state_dict())


@pytest.fixture
def recipe_tree(tiny_model_tree, bert, tmp_path):
    """The `model:` tree of a recipe whose Q-Former begins with the weights of a BERT folder."""
    bert.save_pretrained(tmp_path / "bert")
    connector = {"kind": "qformer", "n_queries": 4, "n_layers": 4, "width": 64, "bert": str(tmp_path / "bert")}
    return tiny_model_tree | {"connector": connector}


def test_a_recipe_names_the_bert_to_begin_with(recipe_tree, bert):
    assert_equals_bert(ModelConfig.model_validate(recipe_tree).build().connector, bert)
    parts = summarise(ModelConfig.model_validate(recipe_tree | {"connector": recipe_tree["connector"]}))
    assert len(parts.sight.views((640, 480)).layout) == 4
    missing = recipe_tree | {"connector": recipe_tree["connector"] | {"bert": "user/no-such-bert"}}
    with pytest.raises(SensoriumError, match="user/no-such-bert: cannot be read"):
        ModelConfig.model_validate(missing).build()


def test_a_trained_checkpoint_needs_no_bert(recipe_tree, tmp_path):
    model = ModelConfig.model_validate(recipe_tree).build()
    for parameter in model.connector.parameters():
        parameter.data += 1
    folder = save_model(model, tmp_path / "model", ["connector"], dtype=torch.float32)
    shutil.rmtree(tmp_path / "bert")
    loaded = load_model(folder)
    assert loaded.config.connector.bert is None
    for name, tensor in model.connector.state_dict().items():
        assert torch.equal(loaded.connector.state_dict()[name], tensor)
