"""The transformers engine: what our own engines say of an exported model, and other architectures, tiny and random."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image as PILImage

from sensorium.conversation import Audio, Conversation, Image, assistant, system, user
from sensorium.engine import Boxes, JsonSchema, OneOf, Sampling
from sensorium.engine.base import SEES
from sensorium.engine.transformers.chat import Chat
from sensorium.engine.transformers.engine import TransformersEngine, card_of_folder
from sensorium.engine.transformers.folder import count_parameters
from sensorium.errors import SensoriumError
from sensorium.grounding import parse_grounded
from sensorium.media import open_image

from .checkpoints import CHECKPOINTS, TEMPLATE, TEXT, write_checkpoint
from .conftest import ASKED, BLUE, RED, SEVERAL

SHORT = Sampling(max_new_tokens=8)


@pytest.fixture
def idefics3(tokenizer_maker: Callable[..., Any]) -> tuple[Any, Any]:
    """Pictures cut into tiles, with marks of rows and columns; SmolVLM's architecture."""
    import transformers as t

    special = ["<|im_start|>", "<|im_end|>", "<image>", "<fake_token_around_image>", "<global-img>",
               "<end_of_utterance>"] + [f"<row_{i}_col_{j}>" for i in range(1, 7) for j in range(1, 7)]  # fmt: skip
    tokenizer = tokenizer_maker(TEMPLATE.replace("PICTURE", "<image>"), special, None, "<|im_end|>")
    ends = {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": None, "pad_token_id": tokenizer.eos_token_id}
    config = t.Idefics3Config(
        text_config={**TEXT, **ends, "model_type": "llama", "vocab_size": len(tokenizer)},
        vision_config={"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
                       "image_size": 32, "patch_size": 8},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"), scale_factor=2, pad_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    pictures = t.Idefics3ImageProcessor(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
    processor = t.Idefics3Processor(pictures, tokenizer, image_seq_len=4, chat_template=tokenizer.chat_template)
    return _seeded(lambda: t.Idefics3ForConditionalGeneration(config)), processor


@pytest.fixture
def qwen2_vl(tokenizer_maker: Callable[..., Any]) -> tuple[Any, Any]:
    """Pictures of any size, and positions in three directions that the model itself remembers between steps."""
    import transformers as t

    class PicturesOnly(t.Qwen2VLProcessor):
        """Its part for videos needs torchvision."""

        def check_argument_for_proper_class(self, name: str, argument: Any) -> Any:
            return None if argument is None else super().check_argument_for_proper_class(name, argument)

    special = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    shown = "<|vision_start|><|image_pad|><|vision_end|>"
    tokenizer = tokenizer_maker(TEMPLATE.replace("PICTURE", shown), special, None, "<|im_end|>")
    start, end, image, video = tokenizer.convert_tokens_to_ids(special[2:])
    config = t.Qwen2VLConfig(
        text_config={**TEXT, "vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id,
                     "bos_token_id": None, "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]}},
        vision_config={"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2,
                       "patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 2},
        image_token_id=image, video_token_id=video, vision_start_token_id=start, vision_end_token_id=end,
    )  # fmt: skip
    pictures = t.Qwen2VLImageProcessor(patch_size=4, merge_size=2, temporal_patch_size=2, min_pixels=64 * 4,
                                       max_pixels=64 * 16)  # fmt: skip
    processor = PicturesOnly(pictures, tokenizer, None, chat_template=tokenizer.chat_template)
    return _seeded(lambda: t.Qwen2VLForConditionalGeneration(config)), processor


@pytest.fixture
def text_only(tiny_parts: dict[str, str]) -> tuple[Any, Any]:
    """A language model that sees nothing, whose messages are plain strings."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tiny_parts["language"]
    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def _seeded(build: Callable[[], Any]) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(6)
        return build().eval()


@pytest.fixture(scope="session")
def checkpoint(tokenizer_maker: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`checkpoint(name)`: the folder of one of CHECKPOINTS, written once."""
    root = tmp_path_factory.mktemp("checkpoints")

    def written(name: str) -> Path:
        return root / name if (root / name).exists() else write_checkpoint(name, tokenizer_maker, root / name)

    return written


@pytest.fixture(params=["idefics3", "qwen2_vl", "text_only", *CHECKPOINTS])
def tiny_engine(request: pytest.FixtureRequest) -> TransformersEngine:
    if request.param in CHECKPOINTS:
        return TransformersEngine.load(request.getfixturevalue("checkpoint")(request.param))
    return TransformersEngine(*request.getfixturevalue(request.param), request.param)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_the_card_of_other_peoples_folders_tells_what_a_picture_costs(checkpoint, name):
    """Of those with a part for videos as well, which needs torchvision."""
    card = card_of_folder(checkpoint(name), name)
    assert (card.modalities, card.visual_tokens, card.context_length) == (SEES, CHECKPOINTS[name][1], 1024)
    assert card.provenance["model_type"] == name


def test_of_a_size_they_tell_what_one_of_that_size_costs(checkpoint):
    """Of 32x32 pixels InternVL cuts one view of 4x4 patches, 2x2 tokens; of 64x32 two tiles and the whole."""
    engine = TransformersEngine.load(checkpoint("internvl"))
    assert [engine.visual_tokens(size) for size in ((32, 32), (64, 32), (640, 480))] == [4, 3 * 4, 5 * 4]
    assert card_of_folder(checkpoint("internvl"), "internvl", (32, 32)).visual_tokens == 4


def test_info_tells_what_a_size_costs_with_a_folder_of_transformers(checkpoint, tmp_path, monkeypatch, capsys):
    """InternVL of 32 pixels a tile, 4 tokens each: 64x32 is two tiles and the whole."""
    from sensorium.cli.main import run

    def info(*words: str) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["sensorium", "info", str(checkpoint("internvl")), *words])
        with pytest.raises(SystemExit):
            run()
        said = capsys.readouterr()
        return said.out, said.err

    assert "12 of them a picture of 64x32 takes" in info("--size", "64x32")[0]
    assert "20 of them a picture of 640x480 takes" in info()[0]
    PILImage.new("RGB", (32, 32)).save(tmp_path / "small.png")
    assert "takes 4 visual tokens, of 1,024 tokens" in info("--image", str(tmp_path / "small.png"))[0]
    assert "at most 100,000,000" in info("--size", "50000x50000")[1]


def _questions(engine: TransformersEngine) -> list[Conversation]:
    plain = [Conversation((user("Are you helpful?"),)), Conversation((system("Be."), user("You are " * 9)))]
    shown = [ASKED, Conversation((user("Look: ", BLUE, " a longer question?"), assistant("Yes"), user("And now?")))]
    return plain + (shown if engine.chat.sees else [])


def test_an_exported_model_says_and_scores_what_the_torch_engine_does(llava_model, transformers_engine):
    from sensorium.engine.torch import TorchEngine
    from sensorium.model.quiet import quietly

    with quietly():
        ours = TorchEngine.load(llava_model)
    candidates = ["A cat.", "<ref>dog</ref><box>(1,2),(3,4)</box>"]
    for conversation in SEVERAL[1:3]:
        expected = ours.score(conversation, candidates)
        assert transformers_engine.score(conversation, candidates) == pytest.approx(expected, rel=1e-3)
        said, found = (engine.answer([conversation], SHORT)[0] for engine in (ours, transformers_engine))
        assert found == said
    assert transformers_engine.card.visual_tokens == ours.card.visual_tokens == 64
    drawn = Sampling(max_new_tokens=4, temperature=1.0, top_p=0.9, top_k=40, seed=5, repetition_penalty=1.2)
    assert transformers_engine.answer(SEVERAL[1:2], drawn) == ours.answer(SEVERAL[1:2], drawn)


def test_other_architectures_answer_alike_alone_together_and_streamed(tiny_engine):
    questions = _questions(tiny_engine)
    together = tiny_engine.answer(questions, SHORT)
    for question, reply in zip(questions, together, strict=True):
        assert tiny_engine.answer([question], SHORT) == [reply]
        deltas = list(tiny_engine.stream(question, SHORT))
        assert "".join(delta.text for delta in deltas) == reply.text
        assert (deltas[-1].n_prompt, deltas[-1].finish) == (reply.n_prompt, reply.finish)
    assert len({reply.text for reply in together}) > 1


def test_scores_are_the_models_own_over_the_whole_conversation(tiny_engine):
    """One forward over question and answer as transformers' processor writes both."""
    for question in _questions(tiny_engine):
        answer = "There is a cat."
        prepared = _as_transformers(tiny_engine, question + assistant(answer))
        ids = prepared["input_ids"][0]
        with torch.inference_mode():
            log_p = tiny_engine.model(**prepared).logits[0].log_softmax(-1)
        length = tiny_engine.chat.tensors([question])["input_ids"].shape[1]
        end = length + tiny_engine.count(answer)
        assert ids[end - 1] == tiny_engine.chat.tokenizer.eos_token_id
        expected = sum(float(log_p[place - 1, ids[place]]) for place in range(length, end))
        tiny_engine.answer([_questions(tiny_engine)[0]], SHORT)  # what a model remembers of others must not matter
        assert tiny_engine.score(question, [answer, answer]) == pytest.approx([expected] * 2, rel=1e-4)


def _as_transformers(engine: TransformersEngine, conversation: Conversation) -> Any:
    def content(message: Any) -> Any:
        if not engine.chat.sees:
            return message.text
        return [{"type": "image", "image": open_image(part)} if isinstance(part, Image)
                else {"type": "text", "text": part.text} for part in message.parts]  # fmt: skip

    said = [{"role": message.role, "content": content(message)} for message in conversation]
    return engine.chat.processor.apply_chat_template(said, tokenize=True, return_dict=True, return_tensors="pt")


def test_ids_of_ordinary_words_are_the_processors_own(tiny_engine):
    for question in _questions(tiny_engine):
        found = tiny_engine.chat.tensors([question])["input_ids"][0].tolist()
        theirs = _as_transformers(tiny_engine, question)["input_ids"][0].tolist()
        assert found[: len(theirs)] == theirs  # and then the assistant's turn begins
        assert len(found) > len(theirs)


def test_typed_marks_become_no_tokens_whatever_the_processor_does_with_them(tiny_engine):
    """Processors look for marks in the text, and put more marks in their place."""
    chat = tiny_engine.chat
    typed = " ".join([token.content for token in chat.tokenizer.added_tokens_decoder.values()][:6])
    shown = (RED,) if chat.sees else ()
    plain = Conversation((user(*shown, "What is it?"), assistant("A cat."), user("Sure?")))
    marked = Conversation((user(*shown, f"What {typed} is it?"), assistant(f"{typed} cat."), user(f"Sure?{typed}")))

    def control(conversation: Conversation) -> list[int]:
        return [i for i in chat.tensors([conversation])["input_ids"][0].tolist() if i in chat._control]

    assert control(marked) == control(plain)
    n_plain, n_marked = (reply.n_prompt for reply in tiny_engine.answer([plain, marked], Sampling(max_new_tokens=1)))
    assert n_marked >= n_plain + 3 * len(typed.replace(" ", ""))  # each of their letters by itself


def test_a_mark_in_two_halves_is_none(idefics3):
    engine = TransformersEngine(*idefics3, "idefics3")
    halves = Conversation((user(RED, "<ima", "ge>"),))
    whole = Conversation((user(RED, "<image>"),))
    ids = [engine.chat.tensors([c])["input_ids"][0].tolist() for c in (halves, whole)]
    assert ids[0] == ids[1]
    # Around a picture they are two texts, which some templates bring together.
    processor = idefics3[1]
    processor.chat_template = processor.tokenizer.chat_template = (
        "{% for m in messages %}{% for p in m['content'] %}{% if p['type'] == 'image' %}<image>{% endif %}{% endfor %}"
        "{% for p in m['content'] %}{{ p['text'] }}{% endfor %}<|im_end|>{% endfor %}"
    )
    chat = Chat(processor)
    around, plain = (chat.tensors([Conversation((user(before, RED, after),))])["input_ids"][0].tolist()
                     for before, after in (("<ima", "ge>"), ("a", "b")))  # fmt: skip
    assert around.count(chat.picture_id) == plain.count(chat.picture_id) > 0


def test_boxes_that_the_model_said_are_its_tokens_and_those_typed_are_not(transformers_engine):
    chat = transformers_engine.chat
    box = "<ref>cat</ref><box>(1,2),(3,4)</box>"
    marks = set(chat.tokenizer.convert_tokens_to_ids(["<ref>", "</ref>", "<box>", "</box>"]))

    def n_marks(*turns: Any) -> int:
        return sum(i in marks for i in chat.tensors([Conversation(turns)])["input_ids"][0].tolist())

    assert n_marks(user("Where?"), assistant(box), user("Sure?")) == 4
    assert n_marks(user(box)) == n_marks(user("Where?"), assistant("<box>1</box>"), user("Sure?")) == 0
    assert sum(i in marks for i in chat.encode_reply(f"<|im_end|> {box} <ref>")) == 4
    assert chat.stop_ids.isdisjoint(chat.encode_reply("<|im_end|>"))
    assert transformers_engine.count("<|im_end|>") > len("im_end")


def test_a_mark_that_cannot_be_kept_apart_is_refused(text_only):
    """A tokenizer that reads full-width letters as plain ones finds the mark where no mark was typed."""
    from tokenizers import AddedToken, normalizers

    tokenizer = text_only[1]
    tokenizer.backend_tokenizer.normalizer = normalizers.NFKC()
    tokenizer.add_tokens([AddedToken("<think>", normalized=True)])
    chat = Chat(tokenizer)
    with pytest.raises(SensoriumError, match="holds marks that this model's tokenizer keeps for itself"):
        chat.tensors([Conversation((user("Say ＜think＞."),))])
    with pytest.raises(SensoriumError, match="reply '＜think＞': holds marks"):
        chat.encode_reply("＜think＞")
    assert chat.tensors([Conversation((user("Say <think>."),))])["input_ids"].shape[1] > len("<think>")


def test_half_a_surrogate_pair_is_no_obstacle(tiny_engine):
    assert tiny_engine.answer([Conversation((user("\ud83d?"),))], Sampling(max_new_tokens=1))[0].n_tokens == 1


def test_the_models_own_way_to_sample_is_not_used_and_what_it_never_says_stays_unsaid(text_only):
    """As Qwen2-VL's folder asks for sampling with a penalty, and an exported one of ours for no slots."""
    model, tokenizer = text_only
    question = Conversation((user("Are you helpful?"),))
    expected = TransformersEngine(model, tokenizer, "plain").answer([question], SHORT)[0]
    first = tokenizer(expected.text)["input_ids"][0]
    model.generation_config.update(do_sample=True, temperature=2.0, repetition_penalty=2.0, max_length=3)
    assert TransformersEngine(model, tokenizer, "sampling").answer([question], SHORT)[0] == expected
    model.generation_config.suppress_tokens = [first]
    found = TransformersEngine(model, tokenizer, "suppressing").answer([question], SHORT)[0].text
    assert found and first not in tokenizer(found)["input_ids"]


def test_streams_of_one_thread_do_not_wait_for_each_other(tiny_engine):
    """Which they would if whoever reads a stream also grew it."""
    first, second = _questions(tiny_engine)[:2]
    expected = [reply.text for reply in tiny_engine.answer([first, second], SHORT)]
    one, other = tiny_engine.stream(first, SHORT), tiny_engine.stream(second, SHORT)
    begun = next(one).text
    assert "".join(delta.text for delta in other) == expected[1]
    assert begun + "".join(delta.text for delta in one) == expected[0]


def test_what_fails_while_a_reply_grows_reaches_its_reader(text_only, monkeypatch):
    engine = TransformersEngine(*text_only, "broken")

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr(engine.model, "forward", fail)
    for ask in (lambda: list(engine.stream(SEVERAL[1], SHORT)), lambda: engine.answer(SEVERAL[1:2], SHORT)):
        with pytest.raises(RuntimeError, match="no memory"):
            ask()


def test_what_it_cannot_do_is_refused(text_only, idefics3):
    blind, seeing = TransformersEngine(*text_only, "blind"), TransformersEngine(*idefics3, "seeing")
    assert (blind.card.modalities, blind.card.visual_tokens) == (("text",), 0)
    with pytest.raises(SensoriumError, match="has a picture; this model takes text only"):
        blind.answer([ASKED])
    with pytest.raises(SensoriumError, match="has audio"):
        seeing.answer([Conversation((user(Audio("a.wav")),))])


def test_other_architectures_keep_to_constraints_and_tell_how_likely_each_token_was(tiny_engine):
    """Their tokenizers have no marks of grounding: these are spelled."""
    choices, questions = OneOf(("Yes", "No, never", "<|im_end|> 猫")), _questions(tiny_engine)
    said = tiny_engine.answer(questions, Sampling(max_new_tokens=60, temperature=1.0, constrain=choices, logprobs=1))
    assert all(reply.text in choices.choices and reply.finish == "stop" for reply in said)
    for reply in said:
        assert b"".join(token.bytes for token in reply.logprobs).decode() == reply.text
        assert all(token.value <= token.top[0].value < 0 for token in reply.logprobs)
    boxed = tiny_engine.answer(questions[:1], Sampling(max_new_tokens=400, temperature=1.0, constrain=Boxes(1)))[0]
    if boxed.finish == "stop":
        assert [len(item.boxes) for item in parse_grounded(boxed.text)] == [1]
    assert boxed.text.startswith("<ref>")
    schema = JsonSchema.of({"type": "array", "items": {"enum": ["a", 1]}, "minItems": 2, "maxItems": 2})
    deltas = list(tiny_engine.stream(questions[-1], Sampling(max_new_tokens=60, constrain=schema)))
    found = json.loads("".join(delta.text for delta in deltas))
    assert len(found) == 2 and set(found) <= {"a", 1}


def test_templates_that_write_a_space_before_answers(tokenizer_maker, text_only):
    """`Assistant:` is where the prompt ends, and the words trained on begin with the space behind it."""
    template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}: {{ m['content'] }}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant:{% endif %}"
    )
    tokenizer = tokenizer_maker(template, ["<|im_start|>", "<|im_end|>"], None, "<|im_end|>")
    chat = Chat(tokenizer)
    whole = tokenizer.apply_chat_template([{"role": "user", "content": "a"}, {"role": "assistant", "content": "cat"}],
                                          return_dict=True)["input_ids"]  # fmt: skip
    prompt = chat.tensors([Conversation((user("a"),))])["input_ids"][0].tolist()
    assert prompt + chat.encode_reply("cat") + chat.turn_end == whole
    assert chat.decode(chat.encode_reply("cat")) == "cat"
    engine = TransformersEngine(text_only[0], tokenizer, "spaced")
    for constraint, said in ((OneOf(("cat",)), "cat"), (JsonSchema.of({"const": "cat"}), '"cat"')):
        [reply] = engine.answer([Conversation((user("a"),))], Sampling(constrain=constraint, logprobs=0))
        assert reply.text == said and reply.finish == "stop"
        assert b"".join(token.bytes for token in reply.logprobs).decode() in (said, f" {said}")
    forced = engine.answer([Conversation((user("a"),))], Sampling(constrain=OneOf(("cat",)), logprobs=0))[0].logprobs
    assert b"".join(token.bytes for token in forced) == b" cat"  # as it was trained on


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{% for m in messages %}{{ m['role'] }}<|im_end|>{% endfor %}", "drops or repeats an assistant's words"),
        ("{{ raise_exception('no') }}", "chat template: refuses the conversation: no"),
        (None, "cannot be prepared for this model"),
    ],
)
def test_a_template_that_carries_no_answer_is_refused(tokenizer_maker, template, said):
    tokenizer = tokenizer_maker(template, ["<|im_start|>", "<|im_end|>"], None, "<|im_end|>")
    with pytest.raises(SensoriumError, match=said):
        Chat(tokenizer)


@pytest.fixture
def folder(tiny_parts: dict[str, str], tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_parts["language"], tmp_path / "mine"))


def test_a_folder_is_read_as_data_only(folder, monkeypatch):
    state = folder / "model.safetensors"
    kept = state.read_bytes()
    state.rename(folder / "pytorch_model.bin")
    with pytest.raises(SensoriumError, match="mine: has no weights in safetensors"):
        TransformersEngine.load(folder)
    state.write_bytes(kept)
    (folder / "evil.py").write_text("raise SystemExit('code of a folder has run')")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(
        config | {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}}
    ))  # fmt: skip
    with pytest.raises(SensoriumError, match="cannot be read"):
        TransformersEngine.load(folder)


def test_the_card_tells_what_the_folder_says(folder):
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\nA model.\n")
    card = card_of_folder(folder, "mine")
    assert (card.name, card.licence, card.modalities, card.context_length) == ("mine", "apache-2.0", ("text",), 512)
    loaded = TransformersEngine.load(folder)
    assert loaded.card == card
    assert count_parameters(folder) == sum(p.numel() for p in loaded.model.parameters())  # the head is tied
    for damaged in ("---\n: [\n---\n", "no front matter", "---\n- a\n---\n"):
        (folder / "README.md").write_text(damaged)
        assert card_of_folder(folder, "mine").licence == ""
