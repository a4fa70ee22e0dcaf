"""GGUF files: what llama.cpp will read is what the model holds, and what it cannot compute is refused by name."""

from __future__ import annotations

import json

import pytest
import torch
from gguf import GGUFReader, dequantize

from sensorium.errors import SensoriumError
from sensorium.export.gguf import export_gguf
from sensorium.export.gguf_text import _to_pairs
from sensorium.model.checkpoint import load_model, save_model
from sensorium.model.gguf_folder import GgufFolder, NotInLlamaCpp
from sensorium.model.gguf_language import _to_half_split
from sensorium.model.multimodal import ADDED_TOKENS, ModelConfig


@pytest.fixture
def saved(tiny_model_tree, tmp_path):
    """Save the tiny model with some settings changed."""

    def save(**changes: object):
        tree = tiny_model_tree | changes
        torch.manual_seed(0)
        return save_model(ModelConfig.model_validate(tree).build(), tmp_path / "model", [], {}, torch.float32)

    return save


def _tensors(path) -> dict[str, torch.Tensor]:
    return {t.name: torch.from_numpy(dequantize(t.data, t.tensor_type).copy()) for t in GGUFReader(path).tensors}


def test_every_weight_is_there_and_where_llamacpp_looks_for_it(saved, tmp_path):
    folder = saved()
    model = load_model(folder)
    found = GgufFolder.read(export_gguf(folder, tmp_path / "out", "f16"))
    text, vision = _tensors(found.text), _tensors(found.vision)
    table = torch.cat([model.language.get_input_embeddings().weight, model.added_embeddings])
    table = table.detach().clone()
    table[model.slot_id] = 0  # never said
    torch.testing.assert_close(text["token_embd.weight"], table, atol=1e-3, rtol=1e-3)
    assert "output.weight" not in text  # one table for both
    query = model.decoder.layers[1].self_attn.q_proj.weight.detach()
    torch.testing.assert_close(_to_half_split(text["blk.1.attn_q.weight"], 4), query, atol=1e-3, rtol=1e-3)
    assert len(text) == 2 + 2 * 9
    # One block of the stem, one of the tail; 16 patches, whose class position comes last.
    assert vision["v.position_embd.weight"].shape == (17, 32)
    own = model.vision.stem.embeddings.position_embeddings[0]
    torch.testing.assert_close(vision["v.position_embd.weight"][-1], own[0].detach())
    tail = model.vision.tail[0]
    torch.testing.assert_close(vision["v.blk.1.ls2.weight"], tail.layer_scale2.lambda1.detach())
    torch.testing.assert_close(vision["v.post_ln.weight"], model.vision.norm.weight.detach())
    assert vision["mm.model.mlp.1.weight"].shape == (32, 128)


def test_the_tokenizer_knows_our_tokens_and_shows_boxes_only(saved, tmp_path):
    folder = saved()
    model = load_model(folder)
    found = GgufFolder.read(export_gguf(folder, tmp_path / "out"))
    fields = {name: field.contents() for name, field in GGUFReader(found.text).fields.items()}
    tokens, kinds = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    assert len(tokens) == model.vocabulary_size + len(ADDED_TOKENS) == fields["llama.vocab_size"]
    shown = {token: kind for token, kind in zip(tokens, kinds, strict=True) if token in (*ADDED_TOKENS, "<|im_end|>")}
    control, user_defined = 3, 4
    assert shown["<|im_end|>"] == shown["<visual>"] == shown["<img>"] == shown["</img>"] == control
    assert {shown[mark] for mark in ("<ref>", "</ref>", "<box>", "</box>")} == {user_defined}
    assert fields["tokenizer.ggml.pre"] == "gpt-2" and fields["tokenizer.ggml.add_bos_token"] is False
    assert (len(found.sight.views((640, 480)).layout), found.image_size, found.context_length) == (4, 56, 512)
    assert found.tokenizer().convert_tokens_to_ids("<visual>") == model.slot_id


@pytest.mark.parametrize(("quantization", "error"), [("f16", 1e-3), ("q8_0", 1e-2), ("q4_0", 0.15)])
def test_fewer_bits_are_less_exact_and_smaller(saved, tmp_path, quantization, error):
    folder = saved()
    weight = load_model(folder).decoder.layers[0].mlp.up_proj.weight.detach()
    found = GgufFolder.read(export_gguf(folder, tmp_path / "out", quantization))
    written = _tensors(found.text)["blk.0.ffn_up.weight"]
    off = float((written - weight).norm() / weight.norm())
    assert error / 50 < off < error
    kinds = {t.name: t.tensor_type.name for t in GGUFReader(found.text).tensors}
    assert kinds["blk.0.ffn_up.weight"] == quantization.upper() and kinds["blk.0.ffn_norm.weight"] == "F32"
    assert kinds["token_embd.weight"] == ("Q8_0" if quantization == "q4_0" else quantization.upper())


def test_rows_for_rotary_positions_are_turned_back_by_the_reader():
    weight = torch.arange(48.0).view(12, 4)  # two heads of six rows
    assert _to_pairs(weight, 2)[:6, 0].tolist() == [0, 12, 4, 16, 8, 20]
    assert torch.equal(_to_half_split(_to_pairs(weight, 2), 2), weight)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"connector": {"kind": "linear"}}, r"connector: is `linear`; only `pixel_shuffle`"),
        ({"fresh_norm": False}, r"vision\.fresh_norm: is false"),
        ({"views": {"fit": "pad"}}, r"views\.fit: is `pad`"),
    ],
)
def test_what_llamacpp_does_not_compute_is_refused_by_name(saved, tiny_model_tree, tmp_path, changes, message):
    if "fresh_norm" in changes:
        changes = {"vision": tiny_model_tree["vision"] | changes}
    folder = saved(**changes)
    with pytest.raises(NotInLlamaCpp, match=message):
        export_gguf(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_bad_requests_are_one_line_and_leave_nothing(saved, tmp_path):
    folder = saved()
    with pytest.raises(SensoriumError, match=r"`q8` is not known.*q8_0"):
        export_gguf(folder, tmp_path / "out", "q8")  # type: ignore[arg-type]
    (tmp_path / "there").mkdir()
    with pytest.raises(SensoriumError, match="exists already"):
        export_gguf(folder, tmp_path / "there")
    assert not (tmp_path / "out").exists() and not list((tmp_path / "there").iterdir())


@pytest.mark.parametrize("content", ["", "[]", '{"format": "other"}', '{"format": "sensorium-gguf-1", "more": 1}'])
def test_a_folder_that_is_damaged_says_so(tmp_path, content):
    (tmp_path / "sensorium.json").write_text(content)
    with pytest.raises(SensoriumError, match=r"sensorium\.json"):
        GgufFolder.read(tmp_path)


def test_the_description_survives_a_round_trip(saved, tmp_path):
    found = GgufFolder.read(export_gguf(saved(), tmp_path / "out", "q4_0"))
    content = json.loads((tmp_path / "out" / "sensorium.json").read_text())
    assert content["quantization"] == found.quantization == "q4_0"
    found.write()
    assert GgufFolder.read(tmp_path / "out") == found
