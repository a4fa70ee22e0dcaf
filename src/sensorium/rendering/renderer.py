"""Conversation -> ids, labels, visual slots.

Template text may hold special tokens; people's text never does: it is encoded with special tokens switched off, so
`<|im_end|>` typed by a user is ten plain characters. Supervised are exactly the tokens of the assistant's words and the
token that ends its turn. A visual slot is atomic: `<img>`, n slot ids, `</img>`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sensorium.conversation import Conversation, Image, Part, Text
from sensorium.errors import SensoriumError
from sensorium.grounding import parse_grounded
from sensorium.rendering.template import Piece, pieces, require_images_only

IGNORE = -100
_MARKS = ("<ref>", "</ref>", "<box>", "</box>")


@dataclass(frozen=True)
class Slot:
    """Where a picture's visual tokens stand: ids[start : start + length]."""

    start: int
    length: int
    image: Image


@dataclass(frozen=True)
class Rendered:
    """ids and labels of equal length (IGNORE where not supervised), and the visual slots in order."""

    ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def images(self) -> list[Image]:
        return [slot.image for slot in self.slots]


class Renderer:
    """Renders for one model.

    tokenizer: transformers' fast tokenizer with the model's added tokens; visual_tokens: how many a picture takes;
    slot, image_open, image_close: the added tokens' strings.
    """

    def __init__(
        self, tokenizer: Any, visual_tokens: int, slot: str = "<visual>", image_open: str = "<img>", image_close: str = "</img>"
    ) -> None:
        self.tokenizer = tokenizer
        self.visual_tokens = visual_tokens
        self.slot_id, self.open_id, self.close_id = tokenizer.convert_tokens_to_ids([slot, image_open, image_close])
        self._marks = {mark: tokenizer.convert_tokens_to_ids(mark) for mark in _MARKS}
        self._special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)

    def render(self, conversation: Conversation, generate: bool = False) -> Rendered:
        """ids, labels and slots. generate: end where the assistant is to speak.

        Raises SensoriumError for media other than pictures, and when the template cannot carry the conversation.
        """
        require_images_only(conversation)
        out = Rendered()
        opened = False  # whether an assistant's words were just rendered and the turn's end is still to be supervised
        for piece in pieces(self.tokenizer, conversation, generate):
            if piece.part is None:
                ids = self._encode_template(piece.template)
                n_supervised = self._turn_end(ids) if opened else 0
                self._append(out, ids, n_supervised)
            elif isinstance(piece.part, Image):
                self._append_slot(out, piece.part)
            else:
                ids = self._encode_part(piece)
                self._append(out, ids, len(ids) if piece.role == "assistant" else 0)
            opened = piece.role == "assistant" if piece.part is not None else False
        return out

    def encode_text(self, text: str) -> list[int]:
        """Plain characters only: no special token whatever the text says."""
        backend = self.tokenizer.backend_tokenizer
        backend.encode_special_tokens = True
        try:
            ids = backend.encode(text, add_special_tokens=False).ids
        finally:
            backend.encode_special_tokens = False
        if self._special.isdisjoint(ids):
            return ids
        # Tokenizers with added tokens that are not marked special still match them; one character at a time cannot.
        return [i for c in text for i in backend.encode(c, add_special_tokens=False).ids if i not in self._special]

    def decode(self, ids: list[int]) -> str:
        """Ids -> text as a reader sees it: grounding marks kept, turn ends and slots left out."""
        kept = set(self._marks.values())
        return self.tokenizer.decode([i for i in ids if i not in self._special or i in kept])

    @property
    def stop_ids(self) -> set[int]:
        """Tokens that end an assistant's turn."""
        probe = Conversation.from_json([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
        ids = self._encode_template(pieces(self.tokenizer, probe, generate=False)[-1].template)
        return {ids[self._turn_end(ids) - 1], self.tokenizer.eos_token_id} - {None}

    def _encode_template(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False)

    def _encode_part(self, piece: Piece) -> list[int]:
        part: Part | None = piece.part
        assert isinstance(part, Text)
        return self.encode_reply(part.text) if piece.role == "assistant" else self.encode_text(part.text)

    def encode_reply(self, text: str) -> list[int]:
        """An assistant's words: well-formed grounding becomes the model's own marks, everything else is plain."""
        ids: list[int] = []
        position = 0
        for item in parse_grounded(text):
            start, end = item.span
            ids += self.encode_text(text[position:start])
            rest = text[start:end]
            while rest:
                mark = min((m for m in _MARKS if m in rest), key=rest.index, default="")
                before, _, after = rest.partition(mark) if mark else (rest, "", "")
                ids += self.encode_text(before) + ([self._marks[mark]] if mark else [])
                rest = after
            position = end
        return ids + self.encode_text(text[position:])

    def _turn_end(self, ids: list[int]) -> int:
        """How many ids from the start close the assistant's turn: up to the first special token, included."""
        for index, token in enumerate(ids):
            if token in self._special:
                return index + 1
        raise SensoriumError("chat template", "does not end the assistant's turn with a special token.",
                             "A model trained on it would never stop speaking; choose another template.")

    def _append(self, out: Rendered, ids: list[int], n_supervised: int) -> None:
        out.ids.extend(ids)
        out.labels.extend(ids[:n_supervised] + [IGNORE] * (len(ids) - n_supervised))

    def _append_slot(self, out: Rendered, image: Image) -> None:
        out.slots.append(Slot(len(out.ids) + 1, self.visual_tokens, image))
        self._append(out, [self.open_id, *[self.slot_id] * self.visual_tokens, self.close_id], 0)
