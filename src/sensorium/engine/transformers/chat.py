"""Conversation -> tensors by a model's own processor and chat template, and ids -> words of its replies.

Marks such as `<image>` or `<|im_end|>` that somebody typed must stay characters. Text without marks takes the model's
own way, so that the ids are those it was trained on. In marks, a character is put between each two letters at which the
tokenizer splits and which it drops: so neither it nor the processor, which looks for marks in the text, finds them.
(transformers has `sanitize_control_tokens` for this, which many of its processors do not know of.) What comes out is
checked: it must hold exactly the control tokens of the same conversation without those texts, or it is refused. An
answer's well-formed boxes are its own and not somebody's typing.

For `engine.grammar` it is what a Renderer is for our own models.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from threading import Lock
from typing import Any

from jinja2 import TemplateError

from sensorium.conversation import Conversation, Image, Message, Text
from sensorium.engine.asking import require_pictures_only
from sensorium.errors import SensoriumError
from sensorium.grounding import MARKS, marks_apart
from sensorium.media import open_image

# Of a private use plane: stands for an answer's words where a template is looked at; splits marks that were typed.
_WORDS, _SPLIT = "\U000f0010", "\U000f0011"
_MARKS_TYPED = "holds marks that this model's tokenizer keeps for itself"
_REMEDY = "Write them in another way, for example with a space inside."
Turns = list[dict[str, Any]]


class Chat:
    """processor: transformers' processor of a model that sees, or the tokenizer alone of one that does not.

    end_ids: what ends a reply by the model's generation config, beside what its template says.
    Raises SensoriumError when the template cannot carry a question and an answer.
    """

    def __init__(self, processor: Any, end_ids: Sequence[int] = ()) -> None:
        self.processor = processor
        self.tokenizer = tokenizer = getattr(processor, "tokenizer", processor)
        self.sees = tokenizer is not processor
        tokenizer.padding_side = "left"  # replies of several conversations grow at the same end
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        added = {i: token.content for i, token in tokenizer.added_tokens_decoder.items()}
        # Added whitespace (Gemma's, for one) is ordinary text, and what no word stands for is nobody's mark.
        marks = {i: mark for i, mark in added.items() if not mark.isspace() and i != tokenizer.unk_token_id}
        self._marks = re.compile("|".join(map(re.escape, sorted(marks.values(), key=len, reverse=True))) or "(?!)")
        self._can_split = _split_at(tokenizer, _SPLIT)
        self._control = set(marks) | (set(tokenizer.all_special_ids) - {tokenizer.unk_token_id})
        self.marks = {mark: i for i, mark in marks.items() if mark in MARKS}
        self.unseen_ids = frozenset(self._control | {tokenizer.unk_token_id}) - {None} - set(self.marks.values())
        special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
        self._hidden = (special | set(tokenizer.all_special_ids)) - set(self.marks.values())
        self._preparing = Lock()  # padding is a setting of the tokenizer, not of a call
        self._anchor, self._lead, self.turn_end = self._look_at_template()
        ends = (*end_ids, tokenizer.eos_token_id, self.turn_end[-1])
        self.stop_ids: set[int] = {i for i in ends if i is not None}

    def tensors(self, conversations: Sequence[Conversation]) -> Any:
        """Everything that the model's forward takes of prompts up to where the replies begin, padded on the left.

        Conversations of one batch are of one `kind`: processors disagree about how to mix others.
        Raises SensoriumError when a picture does not open, or the processor or template refuses a conversation.
        """
        for conversation in conversations:
            require_pictures_only(conversation, self.sees)
        turns = [[self._turn(message) for message in conversation] for conversation in conversations]
        with self._preparing:
            if not any(self._has_marks(turn) for row in turns for turn in row):
                return self._encode(turns)
            prepared = self._encode([[self._with_words(turn, self._split) for turn in row] for row in turns])
            clean = self._encode([[self._with_words(turn, _letters) for turn in row] for row in turns])
            if not self._can_split or self._control_tokens(prepared) != self._control_tokens(clean):
                raise SensoriumError("conversation", f"{_MARKS_TYPED}.", _REMEDY)
            return prepared

    def kind(self, conversation: Conversation) -> tuple[int, bool]:
        """How many pictures, and whether marks were typed: what conversations of one batch have in common."""
        turns = ({"role": m.role, "content": m.text} for m in conversation)
        with self._preparing:
            return len(conversation.images), any(self._has_marks(turn) for turn in turns)

    def decode(self, ids: list[int]) -> str:
        """A reply's words and boxes; special tokens, and the space that templates write before answers, left out."""
        seen = [i for i in ids if i not in self._hidden]
        text = self.tokenizer.decode(seen, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text.removeprefix(self._lead)

    def encode_reply(self, text: str) -> list[int]:
        """An answer's words as they stand behind the prompt; well-formed boxes are the model's own marks.

        Raises SensoriumError for other marks that cannot be kept apart.
        """
        if not text:
            return []
        with self._preparing:
            if self._has_control(_without_boxes(text)):
                text = "".join(piece if is_mark else self._split([piece])[0] for piece, is_mark in marks_apart(text))
                self._require_plain(_without_boxes(text))
            before, whole = self._ids(self._anchor), self._ids(self._anchor + self._lead + text)
            # Where the words merge with what stands before them, they are said by themselves, as after any prompt.
            return whole[len(before) :] if whole[: len(before)] == before else self._ids(text)

    def encode_text(self, text: str) -> list[int]:
        """Plain characters only. Raises SensoriumError for marks that cannot be kept apart."""
        with self._preparing:
            if self._has_control(text):
                self._require_plain(text := self._split([text])[0])
            return self._ids(text)

    def reply_pieces(self, text: str) -> Iterator[str | int]:
        """An assistant's words in order: plain text, and the ids of the marks of well-formed grounding."""
        for piece, is_mark in marks_apart(text):
            yield self.marks.get(piece, piece) if is_mark else piece

    @cached_property
    def picture_id(self) -> int | None:
        """The id that stands for visual tokens in a prompt, where the processor tells."""
        return getattr(self.processor, "image_token_id", None)

    def _turn(self, message: Message) -> dict[str, Any]:
        """A message as transformers' templates take it; texts side by side are one, so no mark is made of two."""
        if not self.sees:
            return {"role": message.role, "content": _plain(message.text)}
        content: list[dict[str, Any]] = []
        for part in message.parts:
            if isinstance(part, Image):
                content.append({"type": "image", "image": open_image(part)})
            elif isinstance(part, Text) and content and content[-1]["type"] == "text":
                content[-1]["text"] += _plain(part.text)
            elif isinstance(part, Text):
                content.append({"type": "text", "text": _plain(part.text)})
        return {"role": message.role, "content": content}

    def _has_marks(self, turn: dict[str, Any]) -> bool:
        """Whether ids of the turn's words are control tokens, also of words that a picture stands between."""
        text = _words(turn)
        return self._has_control(_without_boxes(text) if turn["role"] == "assistant" else text)

    def _with_words(self, turn: dict[str, Any], change: Callable[[list[str]], list[str]]) -> dict[str, Any]:
        """The turn with its texts changed where they hold control tokens."""
        if not self._has_control(_words(turn)):
            return turn
        if isinstance(turn["content"], str):
            return turn | {"content": change([turn["content"]])[0]}
        words = iter(change([part["text"] for part in turn["content"] if "text" in part]))
        content = [part | {"text": next(words)} if "text" in part else part for part in turn["content"]]
        return turn | {"content": content}

    def _split(self, texts: list[str]) -> list[str]:
        """The texts with their marks split, also those that begin in one and end in the next."""
        marks = self._marks.finditer("".join(texts))
        inside = {place for match in marks for place in range(match.start() + 1, match.end())}
        places = itertools.count()
        return ["".join(f"{_SPLIT}{c}" if next(places) in inside else c for c in text) for text in texts]

    def _require_plain(self, text: str) -> None:
        """Raises SensoriumError when splitting has not kept the tokenizer from its marks, or leaves traces."""
        if not self._can_split or self._has_control(text):
            raise SensoriumError(f"reply {text.replace(_SPLIT, '')!r}", f"{_MARKS_TYPED}.", _REMEDY)

    def _has_control(self, text: str) -> bool:
        return not self._control.isdisjoint(self._ids(text))

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer.encode(_plain(text), add_special_tokens=False)

    def _control_tokens(self, prepared: Any) -> list[list[int]]:
        """The control tokens of each row in their order, padding left out."""
        rows = zip(prepared["input_ids"].tolist(), prepared["attention_mask"].tolist(), strict=True)
        return [[i for i, seen in zip(ids, mask, strict=True) if seen and i in self._control] for ids, mask in rows]

    def _encode(self, turns: list[Turns]) -> Any:
        padding = len(turns) > 1
        common = {"add_generation_prompt": True, "tokenize": True, "return_dict": True, "return_tensors": "pt"}
        extra: dict[str, Any] = {"padding": padding}
        if self.sees:
            extra = {"processor_kwargs": {"text_kwargs": {"padding": padding}}}
        return self._carried(lambda: self.processor.apply_chat_template(turns, **common, **extra))

    def _rendered(self, turns: Turns, generate: bool) -> str:
        return self._carried(
            lambda: self.processor.apply_chat_template(turns, add_generation_prompt=generate, tokenize=False)
        )

    @staticmethod
    def _carried(prepare: Callable[[], Any]) -> Any:
        """What the processor makes, or its refusal in our words."""
        try:
            return prepare()
        except TemplateError as error:
            raise SensoriumError("chat template", f"refuses the conversation: {error}") from error
        except (ValueError, NotImplementedError) as error:  # no template; marks that cannot be kept apart
            reason = " ".join(str(error).split())[:200]
            raise SensoriumError("conversation", f"cannot be prepared for this model ({reason}).") from error

    def _look_at_template(self) -> tuple[str, str, list[int]]:
        """What stands before an answer since the last control token, the space after that, and the ids that end it."""

        def turn(role: str, text: str) -> dict[str, Any]:
            return {"role": role, "content": [{"type": "text", "text": text}] if self.sees else text}

        asked = self._rendered([turn("user", "a")], generate=True)
        whole = self._rendered([turn("user", "a"), turn("assistant", _WORDS)], generate=False)
        before, found, after = whole.partition(_WORDS)
        if not found or _WORDS in after:
            raise SensoriumError("chat template", "drops or repeats an assistant's words.", "Choose another model.")
        lead = before[len(asked) :] if before.startswith(asked) and before[len(asked) :].isspace() else ""
        anchor = asked[max((match.start() for match in self._marks.finditer(asked)), default=0) :]
        ids = self._ids(after)
        end = next((n for n, i in enumerate(ids, start=1) if i in self._control), 0)
        turn_end = ids[:end] or [self.tokenizer.eos_token_id]
        if turn_end[-1] is None:
            raise SensoriumError("tokenizer", "has no token that ends a reply.", "Choose an instruction-tuned model.")
        return anchor, lead, turn_end


def _split_at(tokenizer: Any, mark: str) -> bool:
    """Make the tokenizer split there and drop it; False for tokenizers in Python, which have no such rule."""
    from tokenizers import pre_tokenizers

    if (backend := getattr(tokenizer, "backend_tokenizer", None)) is None:
        return False
    rules = [pre_tokenizers.Split(mark, "removed"), backend.pre_tokenizer]
    backend.pre_tokenizer = pre_tokenizers.Sequence([rule for rule in rules if rule is not None])
    return True


def _words(turn: dict[str, Any]) -> str:
    content = turn["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _letters(texts: list[str]) -> list[str]:
    return ["a" for _ in texts]


def _plain(text: str) -> str:
    """Half a surrogate pair, which JSON allows, is no character."""
    return text.encode(errors="replace").decode()


def _without_boxes(text: str) -> str:
    """The text with the marks of well-formed grounding taken out: a model may say them, and have said them."""
    return "".join(" " if is_mark else piece for piece, is_mark in marks_apart(text))
