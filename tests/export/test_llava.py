"""The LLaVA form: transformers asks and answers as we do, or the model is refused with the setting that prevents it."""

from __future__ import annotations

import io
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image as Picture

from sensorium.conversation import Conversation, Image, Text, assistant, system, user
from sensorium.engine import Sampling
from sensorium.engine.torch import TorchEngine
from sensorium.errors import SensoriumError
from sensorium.export import export_huggingface
from sensorium.model.checkpoint import load_model
from sensorium.model.multimodal import ADDED_TOKENS


class Theirs:
    """An exported folder as transformers loads it."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoProcessor, LlavaForConditionalGeneration

        self.processor = AutoProcessor.from_pretrained(folder)
        self.model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()

    def inputs(self, conversation: Conversation, generate: bool = True) -> Any:
        """ids, mask and pixels, from the conversation to tensors by transformers alone."""

        def part(p: Text | Image) -> dict[str, Any]:
            if isinstance(p, Text):
                return {"type": "text", "text": p.text}
            return {"type": "image", "image": Picture.open(io.BytesIO(p.source))}

        said = [{"role": m.role, "content": [part(p) for p in m.parts]} for m in conversation]
        return self.processor.apply_chat_template(
            said, add_generation_prompt=generate, tokenize=True, return_dict=True, return_tensors="pt",
            processor_kwargs={"text_kwargs": {"padding": False}},
        )  # fmt: skip


def _conversations(photo: bytes) -> list[Conversation]:
    picture = Image(photo)
    return [
        Conversation((user(picture, "What is in the picture?"),)),
        Conversation((user("Look: ", picture, picture, " two of them."), assistant("A cat."), user("  Sure? "))),
        Conversation((system("Be brief."), user("Are you helpful?"))),
    ]


def _agree(source: Path, out: Path, conversations: list[Conversation]) -> None:
    """Same ids, same logits (all but the slot's) and the same greedy words."""
    theirs, engine = Theirs(out), TorchEngine(load_model(source, merge=True))
    ours, slot = engine.model, engine.model.slot_id
    replies = engine.answer(conversations, Sampling(max_new_tokens=12))
    for conversation, reply in zip(conversations, replies, strict=True):
        inputs = theirs.inputs(conversation)
        row = engine.renderer.render(conversation, generate=True)
        assert inputs["input_ids"][0].tolist() == row.ids
        with torch.inference_mode():
            embeddings, mask, _ = engine._embed([row], left=False)
            expected = ours.head(ours.language_states(embeddings, mask))
            found = theirs.model(**inputs).logits
        others = [i for i in range(found.shape[-1]) if i != slot]
        assert expected.shape == found.shape and expected[..., others].std() > 0.5  # the comparison says something
        torch.testing.assert_close(found[..., others], expected[..., others], atol=1e-4, rtol=1e-4)
        said = theirs.model.generate(**inputs, max_new_tokens=12)[0, len(row) :]
        text = theirs.processor.decode(said, skip_special_tokens=True)
        assert text.rstrip("\ufffd") == reply.text.rstrip("\ufffd")  # half a character at the end is not shown
        assert slot not in said.tolist()


@pytest.fixture
def source(llava_tree, save_trained, tmp_path) -> Path:
    return save_trained(llava_tree, tmp_path / "model", ("connector", "tokens", "language", "vision"))


def test_transformers_asks_and_answers_as_we_do(source, tmp_path, photo):
    """CLIP tower trained, LoRA merged, tied head; nothing is missing or left over in the weights."""
    from transformers import LlavaForConditionalGeneration

    out = export_huggingface(source, tmp_path / "out", "llava")
    _agree(source, out, _conversations(photo))
    _, told = LlavaForConditionalGeneration.from_pretrained(out, output_loading_info=True)
    assert not any(told[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("clip", {"image_size": 48}),  # the position table is made for 32
        ("clip", {"layer": 2}),
        ("clip", {"layer": -1}),
        ("both towers of clip", {}),  # of which the one that sees is taken
        ("siglip", {}),
        ("siglip", {"image_size": 48, "layer": -1}),
        ("dinov2", {"image_size": 56}),
        ("vit", {"image_size": 48}),
    ],
)
def test_towers_with_and_without_class_token_at_any_size(
    family, options, clip, llava_tree, save_trained, tmp_path, photo
):
    import transformers as t

    sizes = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48}
    made = {
        "both towers of clip": lambda: t.CLIPModel(t.CLIPConfig(
            text_config={**sizes, "vocab_size": 60}, vision_config={**sizes, "image_size": 32, "patch_size": 8},
        )),
        "siglip": lambda: t.SiglipVisionModel(t.SiglipVisionConfig(**sizes, image_size=32, patch_size=8)),
        "dinov2": lambda: t.Dinov2Model(t.Dinov2Config(**sizes, image_size=32, patch_size=8)),
        "vit": lambda: t.ViTModel(t.ViTConfig(**sizes, image_size=32, patch_size=8)),
    }
    if family != "clip":
        torch.manual_seed(2)
        made[family]().save_pretrained(tmp_path / family)
    part = clip if family == "clip" else str(tmp_path / family)
    tree = llava_tree | {"vision": llava_tree["vision"] | {"part": part} | options}
    source = save_trained(tree, tmp_path / "model", ("connector", "tokens", "language", "vision"))
    _agree(source, export_huggingface(source, tmp_path / "out", "llava"), _conversations(photo)[:2])


def test_an_untied_head_and_a_padded_table(llava_tree, tiny_parts, save_trained, tmp_path, photo):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    language = AutoModelForCausalLM.from_pretrained(tiny_parts["language"])
    language.resize_token_embeddings(language.config.vocab_size + 13)
    language.lm_head.weight = torch.nn.Parameter(0.2 * torch.randn_like(language.lm_head.weight))
    language.config.tie_word_embeddings = False
    language.save_pretrained(tmp_path / "language")
    AutoTokenizer.from_pretrained(tiny_parts["language"]).save_pretrained(tmp_path / "language")
    tree = {k: v for k, v in llava_tree.items() if k != "lora"} | {"language": {"part": str(tmp_path / "language")}}
    source = save_trained(tree, tmp_path / "model", ("connector", "tokens", "language"))
    out = export_huggingface(source, tmp_path / "out", "llava")
    _agree(source, out, _conversations(photo))
    theirs = Theirs(out)
    table, head = theirs.model.get_input_embeddings().weight, theirs.model.lm_head.weight
    assert not torch.equal(table, head) and torch.equal(table[-7:], head[-7:])
    ids = theirs.processor.tokenizer.convert_tokens_to_ids(list(ADDED_TOKENS))
    assert ids == list(range(len(table) - 7, len(table)))


def test_a_picture_padded_as_llava_does(llava_tree, save_trained, tmp_path, photo):
    """fit `pad` with CLIP's mean: the padding's colour must be theirs to the last bit."""
    views = {"fit": "pad", "mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]}
    source = save_trained(llava_tree | {"views": views}, tmp_path / "model", ("connector", "tokens", "language"))
    _agree(source, export_huggingface(source, tmp_path / "out", "llava"), _conversations(photo)[:1])


TRIMMING = (
    "{% if add_generation_prompt %}Q: {% endif %}"
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


def test_a_template_that_trims_and_prompts_otherwise_than_it_was_trained(
    llava_tree, save_trained, tokenizer_maker, tmp_path, photo, tiny_parts
):
    """Our renderer keeps people's spaces and begins replies after `assistant: `, as in training."""
    tree = llava_tree | {"language": {"part": tiny_parts["language"], "chat_template": TRIMMING}}
    source = save_trained(tree, tmp_path / "model", ("connector", "tokens", "language"))
    out = export_huggingface(source, tmp_path / "out", "llava")
    _agree(source, out, _conversations(photo))
    talk = Conversation((user(" A "), assistant(" B "), user("C\n"), assistant("")))
    prompt = Theirs(out).inputs(talk, generate=False)["input_ids"][0].tolist()
    assert prompt == TorchEngine(load_model(source)).renderer.render(talk).ids


def _sentencepiece(letters: str) -> Any:
    """Llama's kind of tokenizer: `▁` for spaces, one before each string, words merged across spaces."""
    from transformers import LlamaTokenizer

    tokens = ["<unk>", "<s>", "</s>", "▁", *letters]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    merges = [("▁", "▁"), ("▁", "W"), ("▁W", "h"), ("▁", "A"), ("▁", "S"), ("▁", "L"), (":", "▁"), ("R", ":▁")]
    for left, right in merges:
        vocabulary.setdefault(left + right, len(vocabulary))
    return LlamaTokenizer(vocab=vocabulary, merges=merges)


def test_a_sentencepiece_tokenizer_with_vicunas_template(llava_tree, save_trained, tmp_path, photo):
    """Words encoded by themselves begin with a space of the tokenizer's and do not merge with the template."""
    from transformers import LlamaConfig, LlamaForCausalLM

    template = (
        "{{ bos_token }}A chat.{% for m in messages %}{% if m.role == 'user' %} USER: {{ m.content }}"
        "{% elif m.role == 'assistant' %} ASSISTANT: {{ m.content }}{{ eos_token }}{% else %}{{ m.content }}{% endif %}"
        "{% endfor %}"
    )
    tokenizer = _sentencepiece("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:?.,")
    torch.manual_seed(5)
    LlamaForCausalLM(LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, initializer_range=0.2,
    )).save_pretrained(tmp_path / "language")  # fmt: skip
    tokenizer.save_pretrained(tmp_path / "language")
    tree = llava_tree | {"language": {"part": str(tmp_path / "language"), "chat_template": template}}
    source = save_trained(tree, tmp_path / "model", ("connector", "tokens", "language"))
    out = export_huggingface(source, tmp_path / "out", "llava")
    assert "\U000f0002" in (out / "chat_template.jinja").read_text()
    _agree(source, out, _conversations(photo)[:2])


def test_an_ordinary_tokenizer_gets_no_boundaries(source, tmp_path):
    template = (export_huggingface(source, tmp_path / "out", "llava") / "chat_template.jinja").read_text()
    assert "\U000f0002" not in template


def test_the_cards_code_runs_and_typed_marks_stay_characters(source, tmp_path, photo, monkeypatch, capsys):
    """The example of README.md as it stands, with a question that holds marks; the words are those of our engine."""
    out = export_huggingface(source, tmp_path / "out", "llava")
    (tmp_path / "photo.jpg").write_bytes(photo)
    monkeypatch.chdir(tmp_path)
    typed = "Is <|im_end|> or <visual> or </img> there?"
    block = (out / "README.md").read_text().split("\n    import torch\n")[1].split("\n\nMind:")[0]
    code = "import torch\n" + textwrap.dedent(block).replace("What is in the picture?", typed)
    capsys.readouterr()
    names: dict[str, Any] = {}
    exec(code, names)
    engine = TorchEngine(load_model(source, merge=True))
    asked = Conversation((user(Image(photo), typed),))
    assert names["inputs"]["input_ids"][0].tolist() == engine.renderer.render(asked, generate=True).ids
    said = engine.answer([asked], Sampling(max_new_tokens=64))[0].text
    assert capsys.readouterr().out.rstrip("\ufffd\n") == said.rstrip("\ufffd\n")


def test_the_slot_is_never_said(source, tmp_path, photo):
    """As in our head: however well its row fits, `generate` takes the next best token."""
    theirs = Theirs(export_huggingface(source, tmp_path / "out", "llava"))
    inputs, slot = theirs.inputs(_conversations(photo)[0]), theirs.model.config.image_token_id
    with torch.inference_mode():
        best = theirs.model(**inputs).logits[0, -1].argmax()
        theirs.model.lm_head.weight[slot] = 10 * theirs.model.lm_head.weight[best]
        assert theirs.model(**inputs).logits[0, -1].argmax() == slot
    said = theirs.model.generate(**inputs, max_new_tokens=1)[0, -1]
    assert said == best


def test_boxes_in_a_reply_survive_decoding(source, tmp_path):
    processor = Theirs(export_huggingface(source, tmp_path / "out", "llava")).processor
    ids = processor.tokenizer("<ref>cat</ref><box>(1,2),(3,4)</box><img><visual></img><|im_end|>")["input_ids"]
    assert processor.decode(ids, skip_special_tokens=True) == "<ref>cat</ref><box>(1,2),(3,4)</box>"


def test_half_the_space_answers_as_our_own_folder_of_half_the_space(source, tmp_path, photo):
    out = export_huggingface(source, tmp_path / "out", "llava", "bfloat16")
    from transformers import LlavaForConditionalGeneration

    model = LlavaForConditionalGeneration.from_pretrained(out, dtype="auto")
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    # The adapters merged and then rounded, here and in our own folder: the same numbers, and so the same answers.
    ours = export_huggingface(source, tmp_path / "ours", "sensorium", "bfloat16")
    _agree(ours, out, _conversations(photo))


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"connector": {"kind": "pixel_shuffle", "factor": 2}},
         r"connector: is `pixel_shuffle`; LLaVA has `mlp` of depth 2. Export it with `--format sensorium`"),
        ({"connector": {"kind": "mlp", "depth": 3}}, "connector: is `mlp` of depth 3; LLaVA has `mlp` of depth 2"),
        ({"vision": {"layer": 1, "tail_blocks": 1}}, "vision.tail_blocks: is 1; LLaVA has no tail"),
        ({"vision": {"fresh_norm": True}}, "vision.fresh_norm: is true; LLaVA has no norm"),
    ],
)  # fmt: skip
def test_another_assembly_is_refused_with_the_setting(llava_tree, save_trained, tmp_path, changed, complaint):
    tree = llava_tree | changed
    if "vision" in changed:
        tree["vision"] = llava_tree["vision"] | changed["vision"]
    source = save_trained(tree, tmp_path / "model", ("connector",))
    with pytest.raises(SensoriumError, match=complaint):
        export_huggingface(source, tmp_path / "out", "llava")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize(
    ("step", "wrong", "complaint"),
    [
        ("_sized", lambda tower, size, n: tower.apply(lambda m: [p.data.mul_(1.1) for p in m.parameters(False)]),
         "vision.part: is a CLIPVisionModel, of which transformers takes other features than we do"),
        ("_renders_the_same", lambda model, processor: False, "tokenizer: transformers makes other ids"),
    ],
)  # fmt: skip
def test_a_folder_that_would_answer_otherwise_is_not_written(source, tmp_path, monkeypatch, step, wrong, complaint):
    from sensorium.export import llava

    monkeypatch.setattr(llava, step, wrong)
    with pytest.raises(SensoriumError, match=complaint):
        export_huggingface(source, tmp_path / "out", "llava")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_registers_before_the_patches_are_refused(llava_tree, save_trained, tmp_path):
    import transformers as t

    config = t.Dinov2WithRegistersConfig(hidden_size=24, num_hidden_layers=3, num_attention_heads=2,
                                         intermediate_size=48, image_size=32, patch_size=8, num_register_tokens=3)
    t.Dinov2WithRegistersModel(config).save_pretrained(tmp_path / "tower")
    tree = llava_tree | {"vision": llava_tree["vision"] | {"part": str(tmp_path / "tower")}}
    source = save_trained(tree, tmp_path / "model", ("connector",))
    with pytest.raises(SensoriumError, match=r"vision.part: has 4 tokens before its patches; LLaVA has at most"):
        export_huggingface(source, tmp_path / "out", "llava")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ("Gemma2Config", "language.part: embeds by a Gemma2TextScaledWordEmbedding; LLaVA has a plain table"),
        ("LlamaConfig", "language.part: caps its logits; LLaVA has a head that does not"),
        ("PhiConfig", "language.part: has a head with bias; LLaVA has a head without"),
    ],
)
def test_a_language_model_that_does_more_than_llavas_is_refused(
    config, complaint, llava_tree, save_trained, tmp_path, tiny_parts
):
    import transformers as t

    tokenizer = t.AutoTokenizer.from_pretrained(tiny_parts["language"])
    made = getattr(t, config)(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, head_dim=16, max_position_embeddings=128,
    )  # fmt: skip
    made.final_logit_softcapping = 30.0 if config == "LlamaConfig" else None
    t.AutoModelForCausalLM.from_config(made).save_pretrained(tmp_path / "language")
    tokenizer.save_pretrained(tmp_path / "language")
    tree = llava_tree | {"language": {"part": str(tmp_path / "language")}}
    source = save_trained(tree, tmp_path / "model", ("connector",))
    with pytest.raises(SensoriumError, match=complaint):
        export_huggingface(source, tmp_path / "out", "llava")
