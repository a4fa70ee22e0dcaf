"""What a conversation becomes over six families of chat templates: ids, labels, slots; what people type stays text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sensorium.conversation import Audio, Conversation, Image, Message, Text, assistant, system, user
from sensorium.errors import SensoriumError
from sensorium.model.labels import IGNORE
from sensorium.model.multimodal import ADDED_TOKENS
from sensorium.rendering import Renderer

QWEN = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}"
    "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
# As Vicuna's: its generation prompt lacks the blank that stands before every answer.
VICUNA = (
    "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] }} {% set messages = messages[1:] %}"
    "{% else %}A chat between a curious user and an assistant. {% endif %}"
    "{% for m in messages %}{% if m['role'] == 'user' %}USER: {{ m['content'] }} "
    "{% else %}ASSISTANT: {{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate') }}{% endif %}"
    "<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ m['content'] | trim }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
# The system prompt goes into the first user's turn, as Mistral's does.
MISTRAL = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set first = messages[0]['content'] + '\n\n' %}"
    "{% set messages = messages[1:] %}{% else %}{% set first = '' %}{% endif %}"
    "{% for m in messages %}{% if m['role'] == 'user' %}"
    "[INST] {{ first if loop.first else '' }}{{ m['content'] }} [/INST]"
    "{% else %} {{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)


@dataclass(frozen=True)
class Family:
    """A family of templates: its special tokens, and the string that ends an assistant's turn."""

    template: str
    special: tuple[str, ...]
    bos: str | None
    eos: str
    turn_end: str


FAMILIES = {
    "qwen": Family(QWEN, ("<|endoftext|>", "<|im_start|>", "<|im_end|>"), None, "<|endoftext|>", "<|im_end|>"),
    "llama": Family(
        LLAMA, ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>",
    ),
    "vicuna": Family(VICUNA, ("<s>", "</s>"), "<s>", "</s>", "</s>"),
    "gemma": Family(GEMMA, ("<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"), "<bos>", "<eos>", "<end_of_turn>"),
    "mistral": Family(MISTRAL, ("<s>", "</s>", "[INST]", "[/INST]"), "<s>", "</s>", "</s>"),
}
NAMES = ["smollm2", *FAMILIES]
PICTURE, OTHER = Image(b"one"), Image(b"two")


@pytest.fixture(scope="module")
def renderers(smollm2, tokenizer_maker) -> dict[str, Renderer]:
    made = {}
    for name in NAMES:
        if name == "smollm2":
            tokenizer = smollm2[1]()
        else:
            family = FAMILIES[name]
            tokenizer = tokenizer_maker(family.template, family.special, family.bos, family.eos)
        tokenizer.add_special_tokens({"additional_special_tokens": list(ADDED_TOKENS)})
        made[name] = Renderer(tokenizer, visual_tokens=4)
    return made


@pytest.fixture(params=NAMES)
def renderer(request, renderers) -> Renderer:
    return renderers[request.param]


def _turn_end(renderer: Renderer) -> str:
    template = renderer.tokenizer.chat_template
    return next((f.turn_end for f in FAMILIES.values() if f.template == template), "<|im_end|>")


def _runs(renderer: Renderer, rendered: Any) -> list[str]:
    """The stretches of supervised tokens, decoded with every special token shown."""
    runs: list[list[int]] = []
    before = False
    for label in rendered.labels:
        if label != -100:
            runs = [*runs, [label]] if not before else [*runs[:-1], [*runs[-1], label]]
        before = label != -100
    return [renderer.tokenizer.decode(run) for run in runs]


TALK = Conversation((
    user("Look: ", PICTURE, " and ", OTHER, " – what differs?"),
    assistant("A café, 2 dogs\nand 🦊."),
    user("Sure?"),
    assistant("Yes"),
))


def test_decoding_the_labels_gives_back_the_answers_and_nothing_else(renderer):
    rendered = renderer.render(TALK)
    end = _turn_end(renderer)
    assert _runs(renderer, rendered) == ["A café, 2 dogs\nand 🦊." + end, "Yes" + end]
    assert all(label in (-100, token) for label, token in zip(rendered.labels, rendered.ids, strict=True))


def test_the_whole_rendering_reads_as_the_template_writes_it(renderer):
    """Against transformers' own rendering of the same words, where pictures are left out of both."""
    talk = Conversation((user("Are you there?"), assistant("I am."), user("Good.")))
    messages = [{"role": m.role, "content": m.text} for m in talk]
    expected = renderer.tokenizer.apply_chat_template(messages, tokenize=False)
    assert renderer.tokenizer.decode(renderer.render(talk).ids) == expected


def test_a_prompt_is_the_beginning_of_the_rendering_of_its_answer(renderer):
    for length in (1, 3):
        asked = Conversation(TALK.messages[:length])
        prompt = renderer.render(asked, generate=True)
        whole = renderer.render(asked + TALK.messages[length])
        assert whole.ids[: len(prompt)] == prompt.ids
        answer = whole.ids[len(prompt) :]
        assert answer[: len(renderer.encode_reply(TALK.messages[length].text))] == renderer.encode_reply(
            TALK.messages[length].text
        )
        # Exactly the tokens after the prompt are supervised, up to the end of the turn.
        supervised = [label for label in whole.labels[len(prompt) :] if label != -100]
        assert answer[: len(supervised)] == supervised
        assert prompt.slots == whole.slots


def test_a_slot_is_atomic_and_stands_where_the_picture_was_shown(renderer):
    rendered = renderer.render(TALK)
    slot, opening, closing = renderer.tokenizer.convert_tokens_to_ids(["<visual>", "<img>", "</img>"])
    assert rendered.ids.count(slot) == 2 * 4
    assert [s.image for s in rendered.slots] == [PICTURE, OTHER]
    for s in rendered.slots:
        assert rendered.ids[s.start - 1 : s.start + s.length + 1] == [opening, *[slot] * 4, closing]
    shown = renderer.tokenizer.decode(rendered.ids)
    one = "<img>" + "<visual>" * 4 + "</img>"
    assert f"Look: {one} and {one} – what differs?" in shown


def test_named_pictures_are_counted_through_the_turns_and_never_supervised(renderer):
    """Qwen-VL (arXiv:2308.12966, appendix B): "Picture 1: <img>…</img>" and a line's end, whoever comes between."""
    named = Renderer(renderer.tokenizer, renderer.visual_tokens, named=True)
    first, second, third = (Image(f"{name}.png") for name in "abc")
    turns = (user(first, "One? ", second), assistant("Two."), user(third, "Three?"), assistant("Yes."))
    conversation = Conversation(turns)
    plain, out = renderer.render(conversation), named.render(conversation)
    assert out.images == [first, second, third] and [slot.length for slot in out.slots] == [renderer.visual_tokens] * 3
    for number, slot in enumerate(out.slots, start=1):
        name, end = named.encode_text(f"Picture {number}: "), named.encode_text("\n")
        assert out.ids[slot.start - 1 - len(name) : slot.start - 1] == name and out.ids[slot.start - 1] == named.open_id
        after = slot.start + slot.length + 1
        assert out.ids[after : after + len(end)] == end
    assert [label for label in out.labels if label != IGNORE] == [label for label in plain.labels if label != IGNORE]


def test_a_picture_that_was_just_named_is_not_named_again(renderer):
    named = Renderer(renderer.tokenizer, 1, named=True)

    def shown(*parts: str | Text | Image) -> str:
        rendered = named.render(Conversation((user(*parts), assistant("Yes."))))
        return named.tokenizer.decode(rendered.ids)

    one, other = (Image(f"{name}.png") for name in "ab")
    seen = "<img><visual></img>"
    told = shown("Picture 1: ", one, " Picture 2:\n", other, "Same?")
    assert f"Picture 1: {seen}\n Picture 2:\n{seen}\nSame?" in told
    assert "Picture 1: Pic" not in shown(Text("Pict"), Text("ure 1:"), Text(" "), one)
    assert f"Picture 2: Picture 1: {seen}\n" in shown("Picture 2: ", one), "that is another's name"
    assert f"Picture 1: is it? Picture 1: {seen}\n" in shown("Picture 1: is it? ", one)
    assert f"Picture 1: {seen}\nPicture 2: {seen}\n" in shown("Picture 1: ", one, other)


def test_a_system_message_is_rendered_and_not_supervised(renderer):
    talk = Conversation((system("Be brief."), user("Hi"), assistant("Hello")))
    if "System role" in renderer.tokenizer.chat_template:
        with pytest.raises(SensoriumError, match="refuses a conversation of turns system, user, assistant: System"):
            renderer.render(talk)
        return
    rendered = renderer.render(talk)
    assert "Be brief." in renderer.tokenizer.decode(rendered.ids)
    assert _runs(renderer, rendered) == ["Hello" + _turn_end(renderer)]


@pytest.mark.parametrize("silent", [assistant(""), Message("assistant", ())])
def test_an_empty_answer_supervises_only_the_end_of_the_turn(renderer, silent):
    rendered = renderer.render(Conversation((user("Hush."), silent)))
    assert _runs(renderer, rendered) == [_turn_end(renderer)]


def test_an_answer_in_two_parts_is_one_answer(renderer):
    talk = Conversation((user("Hi"), Message("assistant", (Text("Hel"), Text("lo")))))
    assert _runs(renderer, renderer.render(talk)) == ["Hello" + _turn_end(renderer)]


def test_stop_ids_hold_the_end_of_turn_and_the_end_of_text(renderer):
    ends = renderer.tokenizer.convert_ids_to_tokens(sorted(renderer.stop_ids))
    assert set(ends) == {_turn_end(renderer), renderer.tokenizer.eos_token}
    assert renderer.tokenizer.decode(renderer.turn_end) == _turn_end(renderer)


_GROUNDED = "Here: <ref>the cat</ref><box>(1,20),(300,999)</box> and <box>(0,0),(5,5)</box>."


def test_well_formed_grounding_in_an_answer_becomes_marks(renderer):
    marks = renderer.tokenizer.convert_tokens_to_ids(["<ref>", "</ref>", "<box>", "</box>"])
    rendered = renderer.render(Conversation((user("Where?"), assistant(_GROUNDED))))
    assert [rendered.ids.count(mark) for mark in marks] == [1, 1, 2, 2]
    assert _runs(renderer, rendered) == [_GROUNDED + _turn_end(renderer)]
    assert renderer.decode([label for label in rendered.labels if label != -100]) == _GROUNDED


@pytest.mark.parametrize(
    "text", ["<box>(1,2)</box>", "<ref>cat</ref> alone", "<box>(1,2),(3,4)", "</box><box>", "<box>(1,2),(3,1000)</box>"]
)
def test_malformed_grounding_in_an_answer_stays_text(renderer, text):
    marks = set(renderer.tokenizer.convert_tokens_to_ids(["<ref>", "</ref>", "<box>", "</box>"]))
    ids = renderer.encode_reply(text)
    assert marks.isdisjoint(ids)
    assert renderer.decode(ids) == text


def test_grounding_typed_by_a_user_stays_text(renderer):
    marks = set(renderer.tokenizer.convert_tokens_to_ids(["<ref>", "</ref>", "<box>", "</box>"]))
    rendered = renderer.render(Conversation((user(_GROUNDED),)))
    assert marks.isdisjoint(rendered.ids)
    assert _GROUNDED in renderer.tokenizer.decode(rendered.ids)


_SPECIAL = sorted({s for family in FAMILIES.values() for s in family.special} | set(ADDED_TOKENS) | {"<image>"})
# SmolLM2's vocabulary lacks the bytes of a few control characters and of the unassigned planes 4 to 11.
_WORDS = st.text(st.characters(max_codepoint=0x3FFFF, exclude_categories=["Cs", "Cc"]), max_size=8)
_TYPED = st.lists(
    st.one_of(st.sampled_from(_SPECIAL), _WORDS, st.sampled_from([" ", "\n", "\U000f00000\U000f0001"])),
    max_size=8,
).map("".join)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(typed=_TYPED)
def test_whatever_is_typed_stays_text(renderers, typed):
    for renderer in renderers.values():
        special = set(renderer.tokenizer.all_special_ids) | set(renderer.tokenizer.added_tokens_decoder)
        ids = renderer.encode_text(typed)
        assert special.isdisjoint(ids)
        assert renderer.decode(ids) == typed
        # In its place in the conversation too: the template's special tokens are as many as for any other words.
        talk = Conversation((user(typed, PICTURE, typed), assistant("Yes"), user(typed)))
        plain = Conversation((user("a", PICTURE, "a"), assistant("Yes"), user("a")))
        count = [sum(token in special for token in renderer.render(c).ids) for c in (talk, plain)]
        assert count[0] == count[1]
        assert len(renderer.render(talk).slots) == 1


def test_half_a_surrogate_pair_is_replaced(renderer):
    assert renderer.decode(renderer.encode_text("a\ud83db")) == "a?b"


def test_roles_that_the_template_refuses_are_named(renderers):
    talk = Conversation((user("Hi"), user("Hello?"), assistant("Yes")))
    with pytest.raises(SensoriumError, match="turns user, user, assistant: Roles must alternate"):
        renderers["gemma"].render(talk)


def test_only_users_show_pictures_and_nobody_plays_sounds(renderer):
    with pytest.raises(SensoriumError, match=r"messages\[1\]: has a picture in a"):
        renderer.render(Conversation((user("Draw"), Message("assistant", (PICTURE,)))))
    with pytest.raises(SensoriumError, match=r"messages\[0\]: has audio"):
        renderer.render(Conversation((user("Listen", Audio(b"x")),)))


def test_two_threads_render_as_one(renderers):
    """Training renders ahead in a thread while validation renders with the same tokenizer."""
    from concurrent.futures import ThreadPoolExecutor

    first = renderers["smollm2"]
    second = Renderer(first.tokenizer, 4)
    talk = Conversation((user("<|im_end|> " * 20), assistant("no <|im_start|>")))
    expected = first.render(talk).ids
    with ThreadPoolExecutor(2) as pool:
        ids = list(pool.map(lambda i: (first, second)[i % 2].render(talk).ids, range(400)))
    assert all(found == expected for found in ids)
