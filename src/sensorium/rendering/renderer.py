"""Conversation -> ids, labels, visual slots.

Template text may hold special tokens; people's text never does: it is encoded by a copy of the tokenizer that knows no
added tokens, so `<|im_end|>` typed by a user is ten plain characters. Supervised are exactly the tokens of the
assistant's words and the token that ends its turn. A visual slot is atomic: `<img>`, n slot ids, `</img>`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from sensorium.conversation import Conversation, Image, Part, Text
from sensorium.errors import SensoriumError
from sensorium.grounding import MARKS, marks_apart
from sensorium.media import image_size
from sensorium.media.sight import USUAL_PICTURE, Sight
from sensorium.media.views import Size, Views
from sensorium.model.labels import IGNORE
from sensorium.rendering.template import Piece, pieces, require_images_only

if TYPE_CHECKING:
    from sensorium.model.multimodal import MultimodalModel


@dataclass(frozen=True)
class Slot:
    """Where a picture's visual tokens stand: ids[start : start + length].

    views: how the picture is shown, where that depends on its size. message: number of the one that shows it; question:
    what that one says, where an engine wants to know.
    """

    start: int
    length: int
    image: Image
    views: Views | None = None
    message: int = 0
    question: str = ""

    @property
    def runs(self) -> list[tuple[int, int]]:
        """(start, length) of each stretch of visual tokens; added tokens may stand between them."""
        if self.views is None:
            return [(self.start, self.length)]
        runs: list[tuple[int, int]] = []
        for place, item in enumerate(self.views.layout, self.start):
            if isinstance(item, int):
                if runs and sum(runs[-1]) == place:
                    runs[-1] = (runs[-1][0], runs[-1][1] + 1)
                else:
                    runs.append((place, 1))
        return runs


@dataclass(frozen=True)
class Rendered:
    """ids and labels of equal length (IGNORE where not supervised), and the visual slots in order.

    segments, positions: empty for one conversation; of the same length where `share_prefix` joined several.
    """

    ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)
    segments: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def images(self) -> list[Image]:
        return [slot.image for slot in self.slots]


class Renderer:
    """Renders for one model.

    tokenizer: transformers' fast tokenizer with the model's added tokens; visual_tokens: how many a picture takes;
    slot, image_open, image_close: the added tokens' strings. views: how a picture is shown, or how many visual tokens
    it takes, where pictures differ. sight: what decides that, if a model's. named: see `ViewsConfig`.
    """

    def __init__(
        self,
        tokenizer: Any,
        visual_tokens: int,
        slot: str = "<visual>",
        image_open: str = "<img>",
        image_close: str = "</img>",
        views: Callable[[Size], Views | int] | None = None,
        sight: Sight | None = None,
        named: bool = False,
    ) -> None:
        self.tokenizer = tokenizer
        self._named = named
        self.sight = sight
        self.visual_tokens = visual_tokens
        self._views = views
        self.slot_id, self.open_id, self.close_id = tokenizer.convert_tokens_to_ids([slot, image_open, image_close])
        self.marks: dict[str, int] = {mark: tokenizer.convert_tokens_to_ids(mark) for mark in MARKS}
        self._special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
        self.unseen_ids = frozenset(self._special) - set(self.marks.values())  # special, and not part of a reply's text
        # A copy, because the tokenizer's own switch would have to be set and reset around each text, and training
        # renders batches ahead in one thread while another renders validation with the same tokenizer.
        self._plain = _without_added_tokens(tokenizer)

    @classmethod
    def of(cls, model: MultimodalModel) -> Renderer:
        """The renderer of a model, to train it and to ask it."""
        return cls.seeing(model.tokenizer, model.sight)

    @classmethod
    def seeing(cls, tokenizer: Any, sight: Sight) -> Renderer:
        """The renderer of a model that shows its pictures so, all of their visual tokens."""
        views = sight.views if sight.config.depends_on_size else None
        usual = len(sight.views(USUAL_PICTURE).layout)
        return cls(tokenizer, usual, views=views, sight=sight, named=sight.config.named)

    def fewer(self) -> Renderer | None:
        """The same, pictures cut into fewer tiles at most; None where they cannot take less."""
        sight = self.sight and self.sight.fewer()
        if sight is None:
            return None
        other = copy(self)
        other.sight, other._views = sight, sight.views
        return other

    def render(self, conversation: Conversation, generate: bool = False) -> Rendered:
        """ids, labels and slots. generate: end where the assistant is to speak.

        Raises SensoriumError for media other than pictures, and when the template cannot carry the conversation.
        """
        require_images_only(conversation)
        out = Rendered()
        opened = None  # the assistant's message just rendered, whose end is still to be supervised
        said = ""  # right before a picture
        for piece in pieces(self.tokenizer, conversation, generate):
            if opened not in (None, piece.message):
                ids = self._encode_template(piece.template)
                self._append(out, ids, self._turn_end(ids))
            elif piece.part is None:
                self._append(out, self._encode_template(piece.template), 0)
            if isinstance(piece.part, Image):
                self._append_slot(out, piece.part, piece.message, said)
            elif piece.part is not None:
                ids = self._encode_part(piece)
                self._append(out, ids, len(ids) if piece.role == "assistant" else 0)
            said = said + piece.part.text if isinstance(piece.part, Text) else ""
            opened = piece.message if piece.role == "assistant" else None
        if opened is not None:
            self._turn_end([])  # the template ends with the answer's last word: an error
        return out

    def encode_text(self, text: str) -> list[int]:
        """Plain characters only: no special token whatever the text says."""
        text = text.encode(errors="replace").decode()  # half a surrogate pair, which JSON allows, is no character
        ids = self._plain.encode(text, add_special_tokens=False).ids
        if self._special.isdisjoint(ids):
            return ids
        # Some vocabularies hold special tokens as words of their own (Unigram's do); one character never is one.
        return [i for c in text for i in self._plain.encode(c, add_special_tokens=False).ids if i not in self._special]

    def decode(self, ids: list[int]) -> str:
        """Ids -> text as a reader sees it: grounding marks kept, turn ends and slots left out."""
        # By the tokenizer itself: transformers would take blanks before commas away, which the model did write.
        seen = [i for i in ids if i not in self.unseen_ids]
        return self.tokenizer.backend_tokenizer.decode(seen, skip_special_tokens=False)

    @cached_property
    def turn_end(self) -> list[int]:
        """The ids that close an assistant's turn, supervised after its words; the last one is special."""
        probe = Conversation.from_json([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
        ids = self._encode_template(pieces(self.tokenizer, probe, generate=False)[-1].template)
        return ids[: self._turn_end(ids)]

    @property
    def stop_ids(self) -> set[int]:
        """Tokens that end a reply: the turn's last one, and the tokenizer's end of text."""
        return {self.turn_end[-1], self.tokenizer.eos_token_id} - {None}

    def _encode_template(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False)

    def _encode_part(self, piece: Piece) -> list[int]:
        part: Part | None = piece.part
        assert isinstance(part, Text)
        return self.encode_reply(part.text) if piece.role == "assistant" else self.encode_text(part.text)

    def encode_reply(self, text: str) -> list[int]:
        """An assistant's words: well-formed grounding becomes the model's own marks, everything else is plain."""
        ids: list[int] = []
        for piece in self.reply_pieces(text):
            ids += [piece] if isinstance(piece, int) else self.encode_text(piece)
        return ids

    def reply_pieces(self, text: str) -> Iterator[str | int]:
        """An assistant's words in order: plain text, and the ids of the marks of well-formed grounding."""
        for piece, is_mark in marks_apart(text):
            yield self.marks[piece] if is_mark else piece

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

    def tokens_of(self, shown: Image | Size) -> int:
        """How many visual tokens a picture takes, by its header, or one of that size.

        Raises SensoriumError when it is no picture.
        """
        views = self._views_of(shown)
        return views if isinstance(views, int) else len(views.layout)

    def _views_of(self, shown: Image | Size) -> Views | int:
        if self._views is None:
            return self.visual_tokens
        return self._views(image_size(shown) if isinstance(shown, Image) else shown)

    def _append_slot(self, out: Rendered, image: Image, message: int, said: str) -> None:
        views = self._views_of(image)
        if isinstance(views, Views):
            seen = [self.slot_id if isinstance(item, int) else self._added_id(item) for item in views.layout]
        else:
            seen = [self.slot_id] * views
        known = views if isinstance(views, Views) else None
        name = f"Picture {len(out.slots) + 1}: "
        if self._named and not said.rstrip().endswith(name.rstrip()):  # people's own words may name it already
            self._append(out, self.encode_text(name), 0)
        out.slots.append(Slot(len(out.ids) + 1, len(seen), image, known, message))
        self._append(out, [self.open_id, *seen, self.close_id], 0)
        if self._named:
            self._append(out, self.encode_text("\n"), 0)

    def _added_id(self, token: str) -> int:
        return self.tokenizer.convert_tokens_to_ids(token)


def _without_added_tokens(tokenizer: Any) -> Tokenizer:
    """The tokenizer's vocabulary and rules, to which `<|im_end|>` is only characters; they are shared, not copied."""
    backend = tokenizer.backend_tokenizer
    plain = Tokenizer(backend.model)
    for rule in ("normalizer", "pre_tokenizer", "decoder"):
        if getattr(backend, rule) is not None:
            setattr(plain, rule, getattr(backend, rule))
    return plain
