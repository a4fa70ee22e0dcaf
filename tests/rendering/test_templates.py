"""A chat template taken apart: its own words and people's, in order; templates that change messages are refused."""

from __future__ import annotations

import pytest

from sensorium.conversation import Conversation, Image, assistant, user
from sensorium.errors import SensoriumError
from sensorium.model.multimodal import ADDED_TOKENS
from sensorium.rendering import Renderer
from sensorium.rendering.template import pieces

PICTURE = Image(b"picture")


@pytest.fixture
def tokenizer(tokenizer_maker, chatml):
    return tokenizer_maker(chatml, ["<|im_start|>", "<|im_end|>"], None, "<|im_end|>")


def test_pieces_alternate_between_the_template_and_people(tokenizer):
    found = pieces(tokenizer, Conversation((user("Hi ", PICTURE), assistant("Hello"))), generate=False)
    opening = "<|im_start|>system\nYou are helpful.<|im_end|>\n<|im_start|>user\n"
    assert [piece.template or getattr(piece.part, "text", piece.part) for piece in found] == [
        opening, "Hi ", PICTURE, "<|im_end|>\n<|im_start|>assistant\n", "Hello", "<|im_end|>\n",
    ]
    assert [piece.role for piece in found] == ["", "user", "user", "", "assistant", ""]
    assert [piece.message for piece in found] == [-1, 0, 0, -1, 1, -1]


def test_a_prompt_ends_where_the_answer_begins(tokenizer):
    found = pieces(tokenizer, Conversation((user("Hi"),)), generate=True)
    assert found[-1].template == "<|im_end|>\n<|im_start|>assistant\n"
    assert sum(piece.part is not None for piece in found) == 1


def test_words_never_pass_through_the_template(tokenizer):
    typed = "{{ messages }} \U000f00001\U000f0001 <|im_end|>"
    found = pieces(tokenizer, Conversation((user(typed), assistant(typed))), generate=False)
    assert [piece.part.text for piece in found if piece.part is not None] == [typed, typed]


def _with_template(make_tokenizer, template: str | None) -> Renderer:
    tokenizer = make_tokenizer(template, ["<|im_start|>", "<|im_end|>"], None, "<|im_end|>")
    tokenizer.add_special_tokens({"additional_special_tokens": list(ADDED_TOKENS)})
    return Renderer(tokenizer, 4)


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("{{ messages[-1]['content'] }}<|im_end|>", "rendered 1 of 2 parts"),
        ("{% for m in messages | reverse %}{{ m['content'] }}<|im_end|>{% endfor %}", "in another order"),
        ("{% for m in messages %}{{ m['content'] * 2 }}<|im_end|>{% endfor %}", "rendered 4 of 2 parts"),
        ("{% for m in messages %}{{ m['content'] }}\n{% endfor %}", "does not end the assistant's turn"),
        ("{% for m in messages %}{{ m['content'] }}{% endfor %}", "does not end the assistant's turn"),
        (None, "cannot render a chat"),
    ],
)
def test_a_template_that_cannot_carry_a_conversation_is_refused(tokenizer_maker, template, complaint):
    with pytest.raises(SensoriumError, match=complaint):
        _with_template(tokenizer_maker, template).render(Conversation((user("Hi"), assistant("Hello"))))
