"""Any image-text-to-text model that transformers loads, with its own processor and chat template.

Tokens are grown by the model's own `generate`, since only that knows every architecture's cache and positions; but each
one is chosen by our sampler, as in the other engines: a logits processor leaves `generate` exactly the chosen token.
So temperature, top_p, top_k, seed, repetition penalty, constraints and stop strings mean the same everywhere, and a
reply that nobody wants any more is ended from there.

Some architectures keep notes about the prompt in the model itself (Qwen2-VL: positions), so one reply, or one batch of
them, is grown at a time; others wait. A thread of its own grows a stream, so that a slow reader keeps nobody waiting.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import Any

import torch
from PIL import Image as Picture
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor

from sensorium.conversation import Conversation, Image, user
from sensorium.engine.asking import require_question, require_room, with_frames
from sensorium.engine.base import GREEDY, SEES, Card, Delta, Reply, Sampling
from sensorium.engine.grammar import Grammars
from sensorium.engine.prompting import GrowingReply, deltas, make_samplers
from sensorium.engine.sampler import Chosen, TokenSampler
from sensorium.engine.transformers.chat import Chat
from sensorium.engine.transformers.folder import context_length_of, licence_of_folder, load_folder, read_folder
from sensorium.engine.transformers.pictures import share_pictures
from sensorium.media import encode_image
from sensorium.media.sight import USUAL_PICTURE
from sensorium.media.views import Size
from sensorium.media.watching import Watcher
from sensorium.model.device import best_device
from sensorium.model.quiet import quietly

Hear = Callable[[int, Chosen], bool]  # (row, its next token) -> whether the row's reply is over


class TransformersEngine:
    """model, processor: as `load_folder` gives them. batch_size: conversations that `answer` runs together.

    The card's visual tokens are those of a picture of 640x480; models that cut pictures into tiles take more for
    larger ones, so of a video's frames their own size is asked for.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        name: str,
        licence: str = "",
        provenance: dict[str, Any] | None = None,
        batch_size: int = 8,
    ) -> None:
        ends = model.generation_config.eos_token_id
        self.model, self.chat = model, Chat(processor, ends if isinstance(ends, list) else [ends])
        self.batch_size = batch_size
        share_pictures(model)
        # What the model never says stays so. Its own ways to sample do not: they are the asker's to choose.
        self.model.generation_config = GenerationConfig(
            eos_token_id=sorted(self.chat.stop_ids), pad_token_id=self.chat.tokenizer.pad_token_id,
            bos_token_id=self.chat.tokenizer.bos_token_id,
            suppress_tokens=getattr(model.generation_config, "suppress_tokens", None),
        )  # fmt: skip
        self._grammars = Grammars(self.chat)
        self._growing = Lock()
        self.watcher = Watcher()
        self.card = _card(model.config, self.chat, name, licence, provenance or {})

    @classmethod
    def load(cls, folder: Path, name: str | None = None, precision: str = "float32") -> TransformersEngine:
        """The engine of a folder of transformers', on `best_device`. Raises SensoriumError when it cannot be loaded."""
        name = name or folder.name
        with quietly():
            model, processor = load_folder(folder, name, getattr(torch, precision))
        about = {"model_type": model.config.model_type, "architecture": type(model).__name__}
        return cls(model.to(best_device()), processor, name, licence_of_folder(folder), about)

    def stream(self, conversation: Conversation, sampling: Sampling = GREEDY) -> Iterator[Delta]:
        """The reply, piece by piece. Closing the iterator ends it at its next token."""
        conversation = self._with_frames(conversation)
        prompt, [n_prompt] = self._prompt([conversation], sampling)
        [sampler] = self._samplers(prompt, [conversation], sampling)
        with closing(self._tokens(prompt, sampler)) as tokens:  # type: ignore[type-var]
            for delta in deltas(tokens, self.chat, sampling):
                yield replace(delta, n_prompt=n_prompt) if delta.finish else delta

    def answer(self, conversations: Sequence[Conversation], sampling: Sampling = GREEDY) -> list[Reply]:
        """Replies in the order of the conversations, in batches of like ones."""
        conversations = [self._with_frames(conversation) for conversation in conversations]
        kinds: dict[tuple[int, bool], list[int]] = {}
        for number, conversation in enumerate(conversations):
            kinds.setdefault(self.chat.kind(conversation), []).append(number)
        replies: dict[int, Reply] = {}
        for numbers in kinds.values():
            for start in range(0, len(numbers), self.batch_size):
                chosen = numbers[start : start + self.batch_size]
                replies |= zip(chosen, self._answer([conversations[i] for i in chosen], sampling), strict=True)
        return [replies[i] for i in range(len(conversations))]

    def _answer(self, conversations: Sequence[Conversation], sampling: Sampling) -> list[Reply]:
        prompt, lengths = self._prompt(conversations, sampling)
        growing = [GrowingReply(self.chat, sampling) for _ in lengths]
        pieces: list[list[Delta]] = [[] for _ in lengths]

        def hear(row: int, chosen: Chosen) -> bool:
            if delta := growing[row].push(chosen):
                pieces[row].append(delta)
            return growing[row].finish is not None

        samplers = self._samplers(prompt, conversations, sampling)
        with self._growing:
            self._grow(prompt, samplers, hear)
        last = [replace(reply.end(), n_prompt=n_prompt) for reply, n_prompt in zip(growing, lengths, strict=True)]
        return [Reply.of([*before, end]) for before, end in zip(pieces, last, strict=True)]

    def score(self, conversation: Conversation, candidates: Sequence[str]) -> list[float]:
        """log P of each candidate as the next reply, each by one forward of the prompt with it behind."""
        if not candidates:
            return []
        tails = [self._tail(candidate) for candidate in candidates]
        prompt, _ = self._prompt([conversation], Sampling(max_new_tokens=max(map(len, tails))))
        with self._growing, torch.inference_mode():
            return [self._log_p(prompt, tail) for tail in tails]

    def count(self, candidate: str) -> int:
        """How many tokens `score` sums over for a candidate."""
        return len(self._tail(candidate))

    def visual_tokens(self, shown: Image | Size) -> int:
        """What a usual picture takes, or one of that size: processors tell it only by preparing one."""
        return self.card.visual_tokens if isinstance(shown, Image) else self._of_size(shown)

    @cached_property
    def _of_size(self) -> Callable[[Size], int]:
        """What a grey picture of a size takes, each size prepared once."""
        return lru_cache(lambda size: _visual_tokens(self.chat, self.model.config, size))

    def _tail(self, candidate: str) -> list[int]:
        return self.chat.encode_reply(candidate) + self.chat.turn_end

    def _log_p(self, prompt: dict[str, Tensor], tail: list[int]) -> float:
        device = self.model.device
        ids = torch.tensor([tail], device=device)
        behind = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        length = prompt["input_ids"].shape[1]
        # Whatever else tells something of each token (its type, for one) tells of words that they are words.
        grown = {
            name: torch.cat([value, behind.get(name, torch.zeros_like(ids)).to(value)], dim=1)
            if value.shape == (1, length) else value
            for name, value in prompt.items()
        }  # fmt: skip
        if "logits_to_keep" in inspect.signature(self.model.forward).parameters:
            grown["logits_to_keep"] = len(tail) + 1  # type: ignore[assignment]
        logits = self.model(**grown, use_cache=False).logits[0, -len(tail) - 1 : -1]
        return float(torch.log_softmax(logits.float(), dim=-1).gather(1, ids[0, :, None]).sum())

    def _prompt(self, conversations: Sequence[Conversation], sampling: Sampling) -> tuple[dict[str, Tensor], list[int]]:
        """Tensors for the model, and how many tokens each prompt has. Raises SensoriumError where there is no room."""
        for conversation in conversations:
            require_question(conversation)
        conversations = [self._with_frames(conversation) for conversation in conversations]
        prepared = self.chat.tensors(conversations)
        lengths = prepared["attention_mask"].sum(1).tolist()
        for conversation, n_tokens in zip(conversations, lengths, strict=True):
            require_room(n_tokens, len(conversation.images), sampling.max_new_tokens, self.card)
        device, dtype = self.model.device, self.model.dtype
        return {
            name: value.to(device, dtype if value.is_floating_point() else None) for name, value in prepared.items()
        }, lengths

    def _with_frames(self, conversation: Conversation) -> Conversation:
        return with_frames(conversation, self.watcher, self.card, self.visual_tokens)

    def _samplers(
        self, prompt: dict[str, Tensor], conversations: Sequence[Conversation], sampling: Sampling
    ) -> list[TokenSampler]:
        """One for each conversation of a prompt, whose padding is not the reply's concern."""
        rows = zip(prompt["input_ids"], prompt["attention_mask"].bool(), conversations, strict=True)
        return make_samplers(self._grammars, sampling, [(ids[mask].tolist(), one.images) for ids, mask, one in rows])

    def _tokens(self, prompt: dict[str, Tensor], sampler: TokenSampler) -> Iterator[Chosen]:
        """A reply's tokens, grown in a thread that ends when nobody reads them any more."""
        said: SimpleQueue[Chosen | Exception | None] = SimpleQueue()
        unwanted = Event()

        def hear(_: int, chosen: Chosen) -> bool:
            said.put(chosen)
            return unwanted.is_set() or chosen.is_last or chosen.id in self.chat.stop_ids

        def grow() -> None:
            try:
                with self._growing:
                    if not unwanted.is_set():
                        self._grow(prompt, [sampler], hear)
                said.put(None)
            except Exception as error:  # noqa: BLE001 (raised again where the reply is read)
                said.put(error)

        # No daemon: a process that ended in the midst of torch's work would be aborted.
        Thread(target=grow, name="transformers").start()
        try:
            while (item := said.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            unwanted.set()

    def _grow(self, prompt: dict[str, Tensor], samplers: list[TokenSampler], hear: Hear) -> None:
        """Grow the replies of a batch and tell of each token, until all are over or as long as they may be.

        Whoever calls has taken `_growing`.
        """
        chooser = _Chooser(samplers, min(self.chat.stop_ids), hear)
        with suppress(_Enough):
            self.model.generate(**prompt, max_new_tokens=samplers[0].sampling.max_new_tokens, do_sample=False,
                                logits_processor=[chooser])  # fmt: skip


class _Enough(Exception):
    """Every reply of a batch is over: how a logits processor leaves `generate`."""


class _Chooser(LogitsProcessor):
    """Leaves the token that our sampler chooses, so that `generate`'s own choice is made."""

    def __init__(self, samplers: list[TokenSampler], end_id: int, hear: Hear) -> None:
        self._samplers = samplers
        self._said: list[list[int]] = [[] for _ in samplers]
        self._running = set(range(len(samplers)))
        self._over, self._hear = Chosen(end_id), hear
        self._is_likeliest = all(sampler.is_plain for sampler in samplers)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """scores: logits [rows, vocabulary]; returns 0 at each row's token and -inf elsewhere."""
        chosen = self._likeliest(scores) if self._is_likeliest else self._drawn(scores.float().cpu().numpy())
        for row in sorted(self._running):
            self._said[row].append(chosen[row].id)
            if self._hear(row, chosen[row]):
                self._running.remove(row)
        if not self._running:
            raise _Enough
        places = torch.tensor([token.id for token in chosen], device=scores.device)[:, None]
        return torch.full_like(scores, -torch.inf).scatter_(1, places, 0.0)

    @staticmethod
    def _likeliest(scores: Tensor) -> list[Chosen]:
        return [Chosen(token) for token in scores.argmax(-1).tolist()]

    def _drawn(self, logits: Any) -> list[Chosen]:
        return [
            sampler.choose(logits[row], self._said[row]) if row in self._running else self._over
            for row, sampler in enumerate(self._samplers)
        ]


def card_of_folder(folder: Path, name: str, size: Size = USUAL_PICTURE) -> Card:
    """The card of a folder's engine, without its weights; its visual tokens are of a picture of that size.

    Raises SensoriumError as `load_folder`.
    """
    with quietly():
        config, processor, _ = read_folder(folder, name)
        about = {"model_type": config.model_type, "architecture": ", ".join(config.architectures or ())}
        return _card(config, Chat(processor), name, licence_of_folder(folder), about, size)


def _card(
    config: Any, chat: Chat, name: str, licence: str, provenance: dict[str, Any], size: Size = USUAL_PICTURE
) -> Card:
    modalities = SEES if chat.sees else ("text",)
    length = context_length_of(config, chat.tokenizer)
    return Card(name, modalities, length, _visual_tokens(chat, config, size), licence, provenance)


def _visual_tokens(chat: Chat, config: Any, size: Size) -> int:
    """What a picture of that size costs, by preparing a question with one; 0 of a model that sees nothing."""
    if not chat.sees:
        return 0
    # The id of a visual token, where it is known: by the model rather than the processor, where Gemma's is another.
    picture_id = getattr(config, "image_token_id", None) or chat.picture_id
    grey = Image(encode_image(Picture.new("RGB", size, "grey")))
    shown = chat.tensors([Conversation((user(grey, "a"),))])["input_ids"]
    if picture_id is not None:
        return int((shown == picture_id).sum())
    return int(shown.shape[1] - chat.tensors([Conversation((user("a"),))])["input_ids"].shape[1])
