"""The reference engine: streams what it answers, batches what it answers alone, scores by the definition."""

from __future__ import annotations

import json

import pytest
import torch

from sensorium.conversation import Conversation, Image, Video, assistant, user
from sensorium.engine import JsonSchema, OneOf, Reply, Sampling
from sensorium.engine.seeing import Remembered
from sensorium.engine.torch import TorchEngine
from sensorium.model.checkpoint import save_model
from sensorium.model.language import LoraConfig
from sensorium.model.multimodal import ModelConfig
from sensorium.rendering.batching import collate

from .conftest import ASKED, BLUE, RED, SEVERAL, picture


@pytest.fixture
def engine(tiny_model) -> TorchEngine:
    return TorchEngine(tiny_model, "tiny")


def fresh(engine: TorchEngine, conversation: Conversation, sampling: Sampling) -> Reply:
    """What an engine says that has read nothing before."""
    return TorchEngine(engine.model).answer([conversation], sampling)[0]


def _reply(engine: TorchEngine, conversation: Conversation, **options: object) -> str:
    return engine.answer([conversation], Sampling(**options))[0].text


@pytest.mark.parametrize("options", [{}, {"temperature": 0.8, "seed": 9}])
@pytest.mark.parametrize("batch_size", [2, 32])
def test_a_batch_answers_what_each_alone_answers_in_order(engine, options, batch_size):
    sampling = Sampling(max_new_tokens=24, **options)
    engine = TorchEngine(engine.model, batch_size=batch_size)
    together = engine.answer(SEVERAL, sampling)
    assert together == [fresh(engine, conversation, sampling) for conversation in SEVERAL]
    assert len({reply.text for reply in together}) > 1
    assert engine.answer([], sampling) == []


def test_greedy_tokens_are_those_of_the_whole_forward_pass(engine):
    """Without the key-value cache: each token is the argmax after running prompt and reply anew."""
    model, renderer = engine.model, engine.renderer
    prompt = renderer.render(ASKED, generate=True)
    ids, said = list(prompt.ids), []
    pixels = engine._visual(RED)
    for _ in range(12):
        with torch.inference_mode():
            embeddings = model.embed_ids(torch.tensor([ids]))
            embeddings[0, prompt.slots[0].start : prompt.slots[0].start + 4] = pixels
            hidden = model.language_states(embeddings, torch.ones(1, len(ids), dtype=torch.bool))
            token = int(model.head(hidden[0, -1]).argmax())
        if token in renderer.stop_ids:
            break
        ids, said = [*ids, token], [*said, token]
    assert _reply(engine, ASKED, max_new_tokens=12) == renderer.decode(said).rstrip("\ufffd")


def test_the_end_of_turn_stops_and_is_not_shown(engine):
    """A model that always says the same token and then the turn's end."""
    end = engine.renderer.turn_end[-1]
    word = engine.renderer.encode_text("cat")
    planned = iter([*word, end, end, end])
    engine.model.head = lambda states: torch.nn.functional.one_hot(torch.tensor([next(planned)]), 500).float()
    reply = engine.answer([Conversation((user("Hi"),))])[0]
    assert (reply.text, reply.finish, reply.n_tokens) == ("cat", "stop", len(word))


def test_scores_are_log_probabilities_summed_over_the_answer_and_its_end(engine):
    """By the definition, token by token, from a plain forward pass over the rendered conversation with the answer."""
    model, renderer = engine.model, engine.renderer
    for candidate in ("a cat", "dog", "", "🦊 in <ref>the</ref><box>(1,2),(3,4)</box>"):
        rendered = renderer.render(ASKED + assistant(candidate))
        with torch.inference_mode():
            batch = collate([rendered], 0, torch.stack([engine_pixels(engine, RED)]))
            log_p = torch.log_softmax(model(batch), -1)
            labels = [label for label in rendered.labels if label != -100]
            expected = sum(float(log_p[i, label]) for i, label in enumerate(labels))
        assert engine.score(ASKED, [candidate])[0] == pytest.approx(expected, abs=1e-3)


def engine_pixels(engine: TorchEngine, image: Image) -> torch.Tensor:
    from sensorium.media import open_image
    from sensorium.model.views import make_views

    return make_views(open_image(image), engine.model.sight)[0]


def test_scores_end_with_the_turn_even_where_the_text_ends_otherwise(engine):
    """Llama 3 and Gemma end a turn with another token than a text."""
    before = engine.score(ASKED, ["cat"])
    engine.model.tokenizer.eos_token = "<|im_start|>"
    assert TorchEngine(engine.model).score(ASKED, ["cat"]) == pytest.approx(before)


def test_a_picture_is_encoded_once_however_often_it_is_shown(engine, tmp_path):
    calls = []
    engine.model.vision.register_forward_hook(lambda *_: calls.append(1))
    engine.model.connector.register_forward_hook(lambda *_: calls.append(1))
    (tmp_path / "copy.png").write_bytes(RED.source)
    again = Conversation((user(Image(str(tmp_path / "copy.png")), "Sure?"),))  # another path, the same bytes
    engine.answer([ASKED, again, ASKED], Sampling(max_new_tokens=2))
    engine.score(ASKED, ["a", "b"])
    assert len(calls) == 1
    engine.answer([Conversation((user(BLUE, "And this?"),))], Sampling(max_new_tokens=2))
    assert len(calls) == 2


def test_the_picture_memory_forgets_the_oldest(engine, monkeypatch):
    monkeypatch.setattr(engine, "_pictures", Remembered(2, n_bytes=0))
    for shade in range(4):
        engine._visual(picture((shade * 60, 0, 0)))
    assert len(engine._pictures) == 2
    assert picture((180, 0, 0)).digest in engine._pictures and picture((0, 0, 0)).digest not in engine._pictures


def test_a_video_of_small_frames_has_room_where_usual_pictures_would_be_cut_into_tiles(tiny_model_tree, film, tmp_path):
    """Of 640x480 pixels, four tiles and the whole take 4 tokens each; 64x48 are shown as one view."""
    torch.manual_seed(0)
    tree = tiny_model_tree | {"views": {"tiles": {"scheme": "internvl", "max_tiles": 4}}}
    engine = TorchEngine(ModelConfig.model_validate(tree).build())
    clip = film(tmp_path / "clip.mp4", range(40, 240, 5))
    assert (engine.card.visual_tokens, engine.visual_tokens((64, 48)), engine.card.context_length) == (20, 4, 512)
    asked = Conversation((user(Video(str(clip), frames=30, timestamps=False), "What?"),))
    assert engine.answer([asked], Sampling(max_new_tokens=1))[0].n_prompt > 30 * 4


def test_a_saved_model_answers_as_it_did_and_its_adapters_are_merged(tiny_model_tree, tmp_path):
    torch.manual_seed(0)
    model = ModelConfig.model_validate(tiny_model_tree | {"lora": LoraConfig(rank=2).model_dump()}).build()
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = 0.3 * torch.randn_like(parameter)
    folder = save_model(model, tmp_path / "model", ["language"], {"recipe": "r"}, torch.float32)
    before = _reply(TorchEngine(model), ASKED, max_new_tokens=20)
    engine = TorchEngine.load(folder)
    assert _reply(engine, ASKED, max_new_tokens=20) == before
    assert not any("lora" in name for name, _ in engine.model.named_parameters())
    assert (engine.card.name, engine.card.visual_tokens, engine.card.context_length) == ("model", 4, 512)
    assert engine.card.provenance == {"recipe": "r"}


def test_inference_mode_does_not_leak_out_of_a_stream(engine):
    stream = engine.stream(ASKED, Sampling(max_new_tokens=3))
    next(stream)
    assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize("options", [{}, {"temperature": 0.8, "seed": 5}, {"repetition_penalty": 1.3}])
def test_replies_that_are_over_leave_the_batch_and_change_nothing_for_the_others(engine, options):
    """Stop strings end the replies one after the other; the batch shrinks when half of them are over."""
    alone = [engine.answer([c], Sampling(max_new_tokens=24, **options))[0].text for c in SEVERAL]
    whole = [text.replace("\ufffd", "") for text in alone]
    stops = tuple(dict.fromkeys(text[n : n + 1] for text, n in zip(whole, (2, 5, 9), strict=False)))
    sampling = Sampling(max_new_tokens=24, stop=stops, **options)
    sizes, step = [], engine._step
    engine._step = lambda embeddings, *rest: sizes.append(len(embeddings)) or step(embeddings, *rest)
    together = engine.answer(SEVERAL, sampling)
    assert sizes[0] == len(SEVERAL) and len(set(sizes)) > 1 and sizes == sorted(sizes, reverse=True)
    assert together == [fresh(engine, conversation, sampling) for conversation in SEVERAL]


@pytest.mark.parametrize("options", [{}, {"temperature": 0.8, "seed": 5}])
def test_a_batch_under_a_constraint_is_each_alone_under_it(engine, options):
    """Replies of many lengths, so that some are over while others go on under masks of their own."""
    choices = OneOf(("a", "the cat is red", "no", "a very long thing to say of a picture"))
    numbers = JsonSchema.of({"type": "array", "items": {"enum": [1, 22, 333]}, "maxItems": 4})
    for constraint in (choices, numbers):
        sampling = Sampling(max_new_tokens=60, constrain=constraint, logprobs=1, **options)
        together = engine.answer(SEVERAL, sampling)
        alone = [engine.answer([conversation], sampling)[0] for conversation in SEVERAL]
        assert [(r.text, r.n_tokens, r.finish) for r in together] == [(r.text, r.n_tokens, r.finish) for r in alone]
        assert all(r.text in choices.choices if constraint is choices else json.loads(r.text) is not None
                   for r in together)
        for one, other in zip(together, alone, strict=True):
            assert [p.value for p in one.logprobs] == pytest.approx([p.value for p in other.logprobs], abs=1e-4)


def test_the_card_names_the_licences_that_are_known(small_engine, engine):
    assert "smollm2-135m-instruct: Apache-2.0" in small_engine.card.licence
    assert small_engine.card.licence.startswith("dinov2-small: MIT")
    assert engine.card.licence == ""


def test_a_loaded_engine_runs_where_training_would(tiny_model, tmp_path, monkeypatch):
    folder = save_model(tiny_model, tmp_path / "model", ["connector"])
    monkeypatch.setattr("sensorium.engine.torch.best_device", lambda: torch.device("meta"))
    assert TorchEngine.load(folder).model.device.type == "meta"
