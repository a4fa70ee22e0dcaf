"""What may be said next: a constraint as a mask over the model's tokens.

Choices are the tokens that training and `score` write them with, and no others: a model knows one way to split a word,
and what it thinks of the first half of another says nothing of the word. JSON and boxes are grammars of characters, and
llguidance knows which tokens fit them, parts of characters too. Marks of grounding are the model's own tokens, as in
rendering; every other special token, the visual slot among them, is never allowed. A reply may end exactly where its
constraint lets it.

JSON is written as Python's json writes it, `{"a": 1, "b": [2]}`: free blanks are where small models lose themselves.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from threading import Lock
from typing import Any, Protocol

import numpy as np

from sensorium.engine.constraint import Boxes, Constraint, JsonSchema, OneOf
from sensorium.errors import SensoriumError
from sensorium.grounding import BOX_CLOSE, BOX_OPEN, MARKS, REF_CLOSE, REF_OPEN

Array = np.ndarray[Any, np.dtype[Any]]
MAX_CHARACTERS = 32_000  # of a schema, or of all choices
MAX_BOXES = 1000
# In llguidance's own units, of which it says that it does 50,000 a millisecond when building, 14,000 in a step.
_LIMITS: dict[str, Any] = {
    "initial_lexer_fuel": 1_000_000, "step_lexer_fuel": 200_000, "step_max_items": 50_000, "max_lexer_states": 50_000,
    "max_grammar_size": 100_000, "verbose_errors": False,
}  # fmt: skip
_LAYOUT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": ", "lenient": False}
_PROBE = "a é🦊\n"


class Spelling(Protocol):
    """How a model writes its replies: a Renderer, or what another engine has in its place.

    tokenizer: transformers' own; marks: those of grounding that are tokens of the model; unseen_ids: special tokens
    that are no part of a reply's text.
    """

    tokenizer: Any
    marks: dict[str, int]
    unseen_ids: frozenset[int]

    @property
    def stop_ids(self) -> set[int]: ...

    def encode_text(self, text: str) -> list[int]: ...

    def encode_reply(self, text: str) -> list[int]: ...

    def reply_pieces(self, text: str) -> Iterator[str | int]: ...

    def decode(self, ids: list[int]) -> str: ...


class TokenMask(Protocol):
    """The tokens that may come next in one reply; it is told each that came. Not for two threads at once."""

    def allowed(self, n_logits: int) -> Array:
        """Ids that may come next, of those below n_logits; only ids that end a turn when the reply is complete.

        Raises SensoriumError when there is none.
        """
        ...

    def accept(self, token: int) -> bool:
        """Go on after a token that was allowed; whether the reply is complete now, and nothing may follow.

        Raises SensoriumError when it is not complete and cannot go on.
        """
        ...

    def copy(self) -> TokenMask:
        """The same for another reply."""
        ...


class ChoiceMask:
    """choices: the ids of each that is still open after n_said ids; stop_ids: those that end a turn."""

    def __init__(self, choices: Sequence[Sequence[int]], stop_ids: Iterable[int], n_said: int = 0) -> None:
        self._open, self._n_said = choices, n_said
        self._stop_ids = sorted(stop_ids)

    def allowed(self, n_logits: int) -> Array:
        n = self._n_said
        ids = {choice[n] for choice in self._open if len(choice) > n}
        if any(len(choice) <= n for choice in self._open):
            ids.update(self._stop_ids)
        return np.array(sorted(ids))

    def accept(self, token: int) -> bool:
        n = self._n_said
        self._open = [choice for choice in self._open if len(choice) > n and choice[n] == token]
        self._n_said += 1
        return all(len(choice) <= self._n_said for choice in self._open)

    def copy(self) -> ChoiceMask:
        return ChoiceMask(self._open, self._stop_ids, self._n_said)


class GrammarMask:
    """matcher: of llguidance; sayable: [vocabulary], 1 where a token may be said at all."""

    def __init__(self, matcher: Any, sayable: Array) -> None:
        self._matcher, self._sayable = matcher, sayable

    def copy(self) -> GrammarMask:
        return GrammarMask(self._matcher.deep_copy(), self._sayable)

    def allowed(self, n_logits: int) -> Array:
        bits = np.unpackbits(np.frombuffer(self._matcher.compute_bitmask(), np.uint8), bitorder="little")
        n = min(n_logits, len(self._sayable))
        ids = np.flatnonzero(bits[:n] & self._sayable[:n])
        if not len(ids):
            raise self._stuck()
        return ids

    def accept(self, token: int) -> bool:
        if not self._matcher.consume_token(token):
            raise self._stuck()
        return bool(self._matcher.is_stopped())

    def _stuck(self) -> SensoriumError:
        reason = _first_line(self._matcher.get_error()) or "no token of this model fits"
        return SensoriumError("constrain", f"the reply cannot go on ({reason}).", "Ask for something simpler.")


class Grammars:
    """Masks for the replies of one model, and the bytes of its tokens.

    What grammars and bytes need of the tokenizer is made at the first use, which takes some tenths of a second, once
    for all threads.
    """

    def __init__(self, renderer: Spelling) -> None:
        self._renderer = renderer
        self._making = Lock()

    def mask(self, constraint: Constraint) -> TokenMask:
        """Raises SensoriumError when the constraint is none that can be kept to, with the reason."""
        if isinstance(constraint, OneOf):
            if (size := sum(map(len, constraint.choices))) > MAX_CHARACTERS:
                raise SensoriumError("constrain", f"{size} characters of choices are more than {MAX_CHARACTERS}.")
            return ChoiceMask([self._choice(choice) for choice in constraint.choices], self._renderer.stop_ids)
        return self._grammar(self._json(constraint) if isinstance(constraint, JsonSchema) else self._boxes(constraint))

    @property
    def token_bytes(self) -> list[bytes]:
        """What each token writes: whole characters, or a part of one. Raises SensoriumError as `mask` does."""
        with self._making:
            return self._made[1]

    @property
    def _vocabulary(self) -> Any:
        with self._making:
            return self._made[0]

    @cached_property
    def _made(self) -> tuple[Any, list[bytes]]:
        """llguidance's view of the tokenizer, and the bytes of each token.

        Raises SensoriumError when it reads the tokenizer otherwise than we do.
        """
        from llguidance import LLTokenizer
        from llguidance.hf import from_tokenizer

        renderer = self._renderer
        try:
            words = from_tokenizer(renderer.tokenizer, slices=[])
            tokens = [words.decode_bytes([i]) for i in range(words.vocab_size)]
            written = b"".join(tokens[i] for i in renderer.encode_text(_PROBE)).decode(errors="replace")
        except ValueError as error:
            written = str(error)
        if written.removeprefix(" ") != _PROBE:
            raise SensoriumError("constrain", "is not possible with this model's tokenizer, nor are log probabilities "
                                              f"(it writes {written[:80]!r}).", "Leave them out.")
        plain: Any = _PlainTokenizer(renderer, tokens)  # any object that has the names will do
        return LLTokenizer(plain, eos_token=sorted(renderer.stop_ids)), tokens

    @cached_property
    def _sayable(self) -> Array:
        """[vocabulary], 1 where a token is text, a mark or an end of the turn."""
        sayable = np.ones(self._vocabulary.vocab_size, np.uint8)
        sayable[[i for i in self._renderer.unseen_ids if i < len(sayable)]] = 0
        sayable[sorted(self._renderer.stop_ids)] = 1
        return sayable

    @cached_property
    def _lead(self) -> str:
        """What may stand before a reply's first word where the model is used to it; decoding takes it away."""
        return self._optional(self._renderer.encode_reply("a"))

    @cached_property
    def _blank(self) -> str:
        """What may stand before the first word after a mark: the blank that some tokenizers write there."""
        return self._optional(self._renderer.encode_text("a"))

    def _optional(self, ids: list[int]) -> str:
        before = b"".join(self.token_bytes[i] for i in ids).decode(errors="replace").removesuffix("a")
        return f"{_quoted(before)}? " if before.isspace() else ""

    def _choice(self, choice: str) -> list[int]:
        renderer, text = self._renderer, choice.encode(errors="replace").decode()  # as `encode_text` does
        plain = [piece for piece in renderer.reply_pieces(text) if isinstance(piece, str)]
        if any(renderer.decode(renderer.encode_text(piece)) != piece for piece in plain):
            raise SensoriumError("constrain", f"{choice!r} cannot be written by this model.", "Spell it otherwise.")
        return renderer.encode_reply(text)

    def _grammar(self, lark: str) -> GrammarMask:
        """lark: a grammar in llguidance's dialect of the Lark notation."""
        from llguidance import LLMatcher, LLParserLimits

        grammar, limits = LLMatcher.grammar_from_lark(lark), LLParserLimits(**_LIMITS)
        matcher = LLMatcher(self._vocabulary, grammar, log_level=0, limits=limits)
        if matcher.is_error():
            reason = _first_line(matcher.get_error())
            raise SensoriumError("constrain", f"cannot be kept to ({reason}).", "Leave out what is named, or simplify.")
        return GrammarMask(matcher, self._sayable)

    def _json(self, schema: JsonSchema) -> str:
        return f"start: {self._lead}json\njson: %json {_schema(schema.schema)}"

    def _boxes(self, boxes: Boxes) -> str:
        """A name and its boxes, again and again, separated by commas: the form of `grounding`.

        Marks that are no tokens of the model are spelled.
        """
        if boxes.at_most > MAX_BOXES:
            raise SensoriumError("constrain", f"{boxes.at_most} boxes are more than {MAX_BOXES}.", "Ask for fewer.")
        mark = {name: _quoted(name) for name in MARKS}
        mark |= {name: f"<[{token}]>" for name, token in self._renderer.marks.items()}
        number = "(0|[1-9][0-9]{0,2})"
        point = rf"\({number},{number}\)"
        return "\n".join((
            f"start: named more{{0,{boxes.at_most - 1}}}" if boxes.at_most > 1 else "start: named",
            'more: box | ", " named',
            f"named: {mark[REF_OPEN]} {self._blank}NAME {mark[REF_CLOSE]} box",
            f"box: {mark[BOX_OPEN]} {self._blank}CORNERS {mark[BOX_CLOSE]}",
            r"NAME: /[^<>\s]([^<>\n\r]{0,62}[^<>\s])?/",
            f"CORNERS: /{point},{point}/",
        ))


class _PlainTokenizer:
    """A renderer's tokenizer as llguidance asks for one; these are the names it asks by.

    Where only one text fits, llguidance has it split as the model is used to, and a tokenizer that knows special tokens
    would make them of `<|im_end|>` in it.
    """

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, renderer: Spelling, tokens: list[bytes]) -> None:
        self._encode, self.tokens = renderer.encode_text, tokens
        self.eos_token_id = min(renderer.stop_ids)
        self.special_token_ids = sorted(renderer.unseen_ids | set(renderer.marks.values()))
        # Some put a blank before a text's first word. The text is in the middle of a reply, so something stands before.
        self._before = "\n" if tokens[self._encode("a")[0]].startswith(b" ") else ""

    def __call__(self, text: str) -> list[int]:
        return self._encode(self._before + text)[len(self._encode(self._before)) :]


def _schema(text: str) -> str:
    """The schema with our layout in it. Raises SensoriumError when it is no JSON object, or too long."""
    if len(text) > MAX_CHARACTERS:
        raise SensoriumError("constrain", f"a schema of {len(text)} characters is longer than {MAX_CHARACTERS}.")
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SensoriumError("constrain", f"the schema is not JSON ({error}).") from error
    if not isinstance(schema, dict):
        raise SensoriumError("constrain", "a schema is a JSON object.", 'Write {"type": "object", …}.')
    return _quoted(schema | {"x-guidance": _LAYOUT})


def _quoted(value: Any) -> str:
    """JSON as it may stand in a grammar: one character that JSON allows bare, Lark does not."""
    return json.dumps(value).replace("\x7f", "\\u007f")


def _first_line(error: str) -> str:
    """What llguidance says is wrong, without where in the grammar that we wrote it stands."""
    return error.partition("\n")[0].rpartition("failed to compile JSON schema: ")[2].strip()[:300]

