"""The reference engine: our checkpoints in PyTorch, exactly as they were trained.

A prompt is rendered by the training renderer, its pictures are encoded once each (and remembered for the next
question), then tokens are drawn one by one with the language model's key-value cache. Of a prompt that begins like one
before it, as a second question about a video does, only the rest is read (see `engine.reuse`). A decoding method may
add a second branch to each prompt (see `engine.methods`): both stand in one batch and grow by the same tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL.Image import Image as PILImage
from torch import Tensor

from sensorium.conversation import Conversation, Image
from sensorium.engine.base import GREEDY, SEES, Card, Delta, Reply, Sampling
from sensorium.engine.grammar import Grammars
from sensorium.engine.methods.base import Method
from sensorium.engine.prompting import GrowingReply, deltas, make_samplers, render_prompt, scored_ids
from sensorium.engine.reuse import ReadBefore, Reading, batches
from sensorium.engine.sampler import Chosen, TokenSampler
from sensorium.engine.seeing import Remembered, Run, about, make_renderer, runs_of
from sensorium.media import open_image
from sensorium.media.views import Size, Views
from sensorium.media.watching import Watcher
from sensorium.model.attention import is_plain, use_grouped_attention
from sensorium.model.batch import Batch
from sensorium.model.checkpoint import load_model, read_config
from sensorium.model.compressors import Compression
from sensorium.model.device import best_device
from sensorium.model.dropping import Dropping, DroppingBudget
from sensorium.model.dropping.allowing import allow_dropping
from sensorium.model.dropping.shortening import Shortening
from sensorium.model.merging import merge_lora
from sensorium.model.multimodal import MultimodalModel, fuse
from sensorium.model.views import make_views
from sensorium.parts import licence_of
from sensorium.progress import ProgressCallback
from sensorium.rendering import Rendered
from sensorium.rendering.renderer import Slot

Precision = Literal["float32", "bfloat16"]
WHOLE = {"fit": "squash", "tiles": None}  # one view, of whatever scheme, to compare pictures by
Branches = tuple[Rendered, ...]  # of one conversation: its prompt, and a method's second branch if it has one


class TorchEngine:
    """model: assembled and trained; it is put into eval mode and its adapters are merged.

    precision: of weights and arithmetic; bfloat16 is several times faster on processors that have it in hardware.
    batch_size: conversations that `answer` runs together. compression: of pictures' visual tokens. dropping: of visual
    tokens inside the language model, for whatever is answered or scored.
    """

    def __init__(
        self,
        model: MultimodalModel,
        name: str = "model",
        provenance: dict[str, Any] | None = None,
        precision: Precision = "float32",
        batch_size: int = 32,
        compression: Compression | None = None,
        dropping: Dropping | None = None,
    ) -> None:
        if model.config.lora is not None:
            merge_lora(model.language)
        self.model = model.eval().requires_grad_(False).to(getattr(torch, precision))
        model.vision.keep_positions()
        if model.device.type == "cpu":
            use_grouped_attention(model.language)
        self.dropping = dropping
        if dropping is not None:
            allow_dropping(model.language, dropping)
        self.compression = compression
        self.renderer = make_renderer(model.tokenizer, model.sight, compression)
        self.batch_size = batch_size
        self.method: Method | None = None
        self._grammars = Grammars(self.renderer)
        self._pictures: Remembered[tuple[Tensor, Views]] = Remembered()
        self._compressed: Remembered[list[Tensor]] = Remembered()
        # Windows and recurrent states cannot be cut back to where two prompts part.
        self._read_before = ReadBefore() if is_plain(model.language) else None
        length = int(getattr(model.language.config, "max_position_embeddings", 2048))  # type: ignore[union-attr]
        parts = (model.config.vision.part, model.config.language.part)
        licence = "; ".join(f"{part}: {licence_of(part)}" for part in parts if licence_of(part))
        self.watcher = Watcher(self._features)
        known = about(provenance or {}, compression) | ({"dropping": dropping.spec} if dropping else {})
        self.card = Card(name, SEES, length, self.renderer.visual_tokens, licence, known)

    @classmethod
    def load(
        cls,
        folder: Path,
        name: str | None = None,
        progress: ProgressCallback | None = None,
        precision: Precision = "float32",
        compression: Compression | None = None,
        dropping: Dropping | DroppingBudget | None = None,
    ) -> TorchEngine:
        """The engine of a model folder, on `best_device`. Raises SensoriumError when it cannot be loaded."""
        _, content = read_config(folder)
        model = load_model(folder, progress, merge=True).to(best_device())
        if isinstance(dropping, DroppingBudget):
            dropping = _fitted(dropping, model)
        return cls(model, name or folder.name, content.get("provenance"), precision, compression=compression,
                   dropping=dropping)

    def decoding_by(self, method: Method | None) -> TorchEngine:
        """The same model, whose replies are chosen by a method, or plainly; `score` is the model's own either way.

        Its pictures are remembered apart, so that what a method costs can be measured.
        """
        other = self._apart()
        other.method = method
        plain = {key: value for key, value in self.card.provenance.items() if key != "method"}
        other.card = replace(self.card, provenance=plain | ({"method": method.spec} if method else {}))
        return other

    def compressing(self, compression: Compression | None) -> TorchEngine:
        """The same model, its pictures compressed so, or not at all; they are remembered apart."""
        other = self._apart()
        other.compression = compression
        other.renderer = make_renderer(self.model.tokenizer, self.model.sight, compression)
        other.card = replace(self.card, visual_tokens=other.renderer.visual_tokens,
                             provenance=about(self.card.provenance, compression))  # fmt: skip
        return other

    def dropping_by(self, budget: DroppingBudget) -> TorchEngine:
        """The same model, its visual tokens leaving between the layers so. Raises SensoriumError where they cannot."""
        other = copy(self)
        other.dropping = _fitted(budget, self.model)
        allow_dropping(self.model.language, other.dropping)
        other.card = replace(self.card, provenance=self.card.provenance | {"dropping": other.dropping.spec})
        return other

    def _apart(self) -> TorchEngine:
        """The same engine, which has seen and read nothing yet."""
        other = copy(self)
        other._pictures, other._compressed = Remembered(), Remembered()
        other._read_before = None if self._read_before is None else ReadBefore()
        return other

    def stream(self, conversation: Conversation, sampling: Sampling = GREEDY) -> Iterator[Delta]:
        """The reply, piece by piece."""
        prompt = self._branches(conversation, sampling)
        samplers = make_samplers(self._grammars, sampling, [(prompt[0].ids, prompt[0].images)])
        with self._reading([prompt]) as reading:
            tokens = (chosen for [(_, chosen)] in self._generate([prompt], samplers, lambda _: False, reading))
            for delta in deltas(tokens, self.renderer, sampling):
                n_prompt, n_cached = len(prompt[0]), reading.n_before
                yield replace(delta, n_prompt=n_prompt, n_cached=n_cached) if delta.finish else delta

    def answer(self, conversations: Sequence[Conversation], sampling: Sampling = GREEDY) -> list[Reply]:
        """Replies in the order of the conversations, computed in batches of similar prompt length; questions about one
        long video one after another, so that it is read once."""
        prompts = [self._branches(conversation, sampling) for conversation in conversations]
        replies: dict[int, Reply] = {}
        for chosen in batches([prompt for prompt, *_ in prompts], self.batch_size):
            replies |= zip(chosen, self._answer([prompts[i] for i in chosen], sampling), strict=True)
        return [replies[i] for i in range(len(prompts))]

    def _answer(self, prompts: list[Branches], sampling: Sampling) -> list[Reply]:
        growing = [GrowingReply(self.renderer, sampling) for _ in prompts]
        pieces: list[list[Delta]] = [[] for _ in prompts]
        samplers = make_samplers(self._grammars, sampling, [(prompt.ids, prompt.images) for prompt, *_ in prompts])
        with self._reading(prompts) as reading:
            for tokens in self._generate(prompts, samplers, lambda i: growing[i].finish is not None, reading):
                for i, chosen in tokens:
                    if growing[i].finish is None and (delta := growing[i].push(chosen)):
                        pieces[i].append(delta)
        last = [
            replace(growing[i].end(), n_prompt=len(prompt), n_cached=reading.n_before)
            for i, (prompt, *_) in enumerate(prompts)
        ]
        return [Reply.of([*before, end]) for before, end in zip(pieces, last, strict=True)]

    @torch.inference_mode()
    def score(self, conversation: Conversation, candidates: Sequence[str]) -> list[float]:
        """log P of each candidate as the next reply; the candidates run as one batch."""
        if not candidates:
            return []
        tails = [scored_ids(self.renderer, candidate) for candidate in candidates]
        prompt = self._prompt(conversation, Sampling(max_new_tokens=max(map(len, tails))))
        rows = [replace(prompt, ids=prompt.ids + tail) for tail in tails]
        states = self._states_before(rows, [len(tail) for tail in tails])
        scores = []
        for predicting, tail in zip(states, tails, strict=True):
            log_p = torch.log_softmax(self.model.head(predicting).float(), dim=-1)
            scores.append(float(log_p.gather(1, torch.tensor(tail, device=log_p.device)[:, None]).sum()))
        return scores

    def _states_before(self, rows: Sequence[Rendered], n_last: Sequence[int]) -> list[Tensor]:
        """Last hidden states [n, d] that predict the last n tokens of each row."""
        if self.dropping is None:
            embeddings, mask, _ = self._embed(rows, left=False)
            hidden = self.model.language_states(embeddings, mask)
            return [of[len(row) - 1 - n : len(row) - 1] for of, row, n in zip(hidden, rows, n_last, strict=True)]
        embeddings, mask, visual = self._embed(rows, left=True)
        asking = mask.shape[1] - 1 - torch.tensor(n_last, device=mask.device)
        shortening = Shortening(self.model.decoder, self.dropping, mask, visual, asking)
        hidden = shortening(embeddings, use_cache=False).last_hidden_state
        return [of[-1 - n : -1] for of, n in zip(hidden, n_last, strict=True)]

    def count(self, candidate: str) -> int:
        """How many tokens `score` sums over for a candidate."""
        return len(scored_ids(self.renderer, candidate))

    def visual_tokens(self, shown: Image | Size) -> int:
        """How many tokens a picture takes, by its header, or one of that size."""
        return self.renderer.tokens_of(shown)

    def _prompt(self, conversation: Conversation, sampling: Sampling) -> Rendered:
        return render_prompt(self.renderer, self.watcher, conversation, sampling.max_new_tokens, self.card)

    def _branches(self, conversation: Conversation, sampling: Sampling) -> Branches:
        """The prompt, and what the method runs beside it."""
        prompt = self._prompt(conversation, sampling)
        beside = None if self.method is None else self.method.beside(conversation)
        return (prompt,) if beside is None else (prompt, self._prompt(beside, sampling))

    def _shown(self, slots: Sequence[Slot], method: Method | None = None) -> list[Tensor]:
        """Visual tokens [t', d] of each slot, compressed where that is wanted. method: whose second branch looks."""
        if self.compression is None:
            return [self._visual(slot.image, method) for slot in slots]
        whose = "" if method is None else f" {method.spec}"
        runs = runs_of(slots, self.compression)
        return [
            tokens
            for run in runs
            for tokens in self._compressed.get(run.key + whose, lambda run=run: self._compress(run, method))  # type: ignore[misc]
        ]

    @torch.inference_mode()
    def _compress(self, run: Run, method: Method | None) -> list[Tensor]:
        assert self.compression is not None
        encoded = [self._encoded(image, method) for image in run.images]
        question = None
        if run.question and (ids := self.renderer.encode_text(run.question)):
            words = self.model.embed_ids(torch.tensor([ids], device=self.model.device))[0]
            question = words.float().mean(0).cpu().numpy()
        pictures = [(tokens.float().cpu().numpy(), views) for tokens, views in encoded]
        kept = self.compression.apply(pictures, question, [image.digest for image in run.images])
        return [torch.from_numpy(tokens).to(encoded[0][0]) for tokens in kept]

    def _visual(self, image: Image, method: Method | None = None) -> Tensor:
        """Visual tokens [t', d] of a picture as the prompt shows them, none left out."""
        tokens, views = self._encoded(image, method)
        return tokens if views.is_plain else tokens[torch.tensor(views.order, device=tokens.device)]

    def _encoded(self, image: Image, method: Method | None) -> tuple[Tensor, Views]:
        """Visual tokens [views * n_tokens, d] of all views of a picture, remembered by its content."""
        key = image.digest if method is None else f"{image.digest} {method.spec}"
        return self._pictures.get(key, lambda: self._encode(image, method))

    @torch.inference_mode()
    def _encode(self, image: Image, method: Method | None) -> tuple[Tensor, Views]:
        picture, sight = open_image(image), self.model.sight
        views = sight.views(picture.size)
        pixels = make_views(picture, sight, views).to(self.model.added_embeddings)
        if method is not None:
            pixels = method.disturb(pixels, image.digest)
        return self.model.visual_tokens(pixels).flatten(0, 1), views

    @torch.inference_mode()
    def _features(self, pictures: Sequence[PILImage]) -> np.ndarray[Any, Any]:
        """[n, d]: what the vision encoder makes of each picture, on average over its places, of length 1."""
        whole = replace(self.model.sight, config=self.model.config.views.model_copy(update=WHOLE))
        pixels = torch.cat([make_views(picture, whole) for picture in pictures])
        features = self.model.vision(pixels.to(self.model.added_embeddings)).mean(dim=1)
        return torch.nn.functional.normalize(features.float(), dim=-1).cpu().numpy()

    def _embed(
        self, rows: Sequence[Rendered], left: bool, n_plain: int | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Embeddings [b, t, d], mask [b, t] and visual slots [b, t] of prompts, padded on the left (to generate) or on
        the right.

        n_plain: so many rows see their pictures as they are, those behind as the method's second branch; None: all.
        """
        longest = max(len(row) for row in rows)
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        mask = torch.zeros(len(rows), longest, dtype=torch.bool)
        for i, row in enumerate(rows):
            place = slice(longest - len(row), longest) if left else slice(0, len(row))
            ids[i, place] = torch.tensor(row.ids)
            mask[i, place] = True
        batch = Batch(ids, mask).to(self.model.device)
        visual = [
            tokens for i, row in enumerate(rows)
            for tokens in self._shown(row.slots, None if n_plain is None or i < n_plain else self.method)
        ]  # fmt: skip
        embeddings = self.model.embed_ids(batch.input_ids)
        tokens = torch.cat(visual) if visual else embeddings.new_zeros(0, embeddings.shape[-1])
        slots = batch.input_ids == self.model.slot_id
        return fuse(embeddings, tokens, slots), batch.attention_mask, slots

    def _reading(self, prompts: list[Branches]) -> Reading:
        """Of a prompt that runs alone, what begins it may have been read before; of others everything is read.

        So it is where tokens are dropped: then each layer holds other positions.
        """
        is_alone = len(prompts) == len(prompts[0]) == 1 and self.dropping is None
        return Reading(self._read_before if is_alone else None)

    def _generate(
        self, prompts: list[Branches], samplers: list[TokenSampler], is_over: Callable[[int], bool], reading: Reading
    ) -> Iterator[list[tuple[int, Chosen]]]:
        """(number of the prompt, its next token) of every prompt that still runs, again and again.

        is_over: of a prompt's number, as whoever iterates sees it. Those that are leave the batch when they are half of
        it, so that a few long replies do not carry the rest along; until then their last token is repeated. Second
        branches stand behind all the prompts, in the same order. reading: of a prompt that runs alone.
        """
        n_branches = len(prompts[0])
        with torch.inference_mode():
            rows = [prompt[branch] for branch in range(n_branches) for prompt in prompts]
            embeddings, mask, visual = self._embed(rows, left=True, n_plain=len(prompts))
            shortening = None if self.dropping is None else Shortening(self.model.decoder, self.dropping, mask, visual)
            cache = reading.begin(embeddings)
        running = list(range(len(prompts)))
        alive, tokens = list(running), [0] * len(prompts)  # rows of the first branch, and the last token of each
        replies: list[list[int]] = [[] for _ in prompts]
        positions = (mask.long().cumsum(-1) - 1).clamp(min=0)[:, reading.n_before :]
        embeddings = embeddings[:, reading.n_before :]
        for _ in range(samplers[0].sampling.max_new_tokens):
            # Entered anew for every token: a generator must not leave inference mode switched on for its caller.
            with torch.inference_mode():
                states, cache = self._step(embeddings, mask, positions, cache, shortening)
                reading.grew(embeddings, cache)
                logits = self._logits(states[:, _in_branches(alive, len(running), n_branches)], len(alive))
            numbers = [running[row] for row in alive]
            chosen = _choose(logits, [samplers[i] for i in numbers], [replies[i] for i in numbers])
            for row, i, token in zip(alive, numbers, chosen, strict=True):
                tokens[row] = token.id
                replies[i].append(token.id)
            yield list(zip(numbers, chosen, strict=True))
            alive = [row for row in alive if not is_over(running[row])]
            if not alive:
                return
            with torch.inference_mode():
                if 2 * len(alive) <= len(running):
                    kept = torch.tensor(_in_branches(alive, len(running), n_branches), device=mask.device)
                    running, tokens = [running[row] for row in alive], [tokens[row] for row in alive]
                    cache.batch_select_indices(kept)
                    mask, positions = mask[kept], positions[kept]
                    if shortening is not None:
                        shortening.select(kept)
                    alive = list(range(len(running)))
                embeddings = self.model.embed_ids(torch.tensor(tokens * n_branches, device=mask.device)[:, None])
                mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
                positions = positions[:, -1:] + 1

    def _step(
        self, embeddings: Tensor, mask: Tensor, positions: Tensor, cache: Any, shortening: Shortening | None
    ) -> tuple[Tensor, Any]:
        """The newest hidden states [1 + m, b, d], of the last layer and of the method's m layers, and the cache."""
        layers = self._layers
        if shortening is not None:
            output = shortening(embeddings, cache, output_hidden_states=bool(layers))
        else:
            output = self.model.decoder(
                inputs_embeds=embeddings, attention_mask=mask, position_ids=positions, past_key_values=cache,
                use_cache=True, output_hidden_states=bool(layers),
            )  # fmt: skip
        states = [output.last_hidden_state, *(output.hidden_states[layer] for layer in layers)]
        return torch.stack([state[:, -1] for state in states]), output.past_key_values

    def _logits(self, states: Tensor, n: int) -> Tensor:
        """Newest hidden states [1 + m, branches * n, d] -> the scores [n, v] that tokens are chosen by."""
        logits = self.model.head(states.flatten(0, 1))
        if self.method is None:
            return logits
        logits = logits.float()
        scores = self.method.combine(logits[:n], logits[n:].unflatten(0, (-1, n)))
        scores[:, self.model.slot_id] = torch.finfo(scores.dtype).min  # as the head has it: no sum may undo it
        return scores

    @property
    def _layers(self) -> tuple[int, ...]:
        if self.method is None:
            return ()
        config: Any = self.model.language.config
        text = config.get_text_config()
        return self.method.layers(text.num_hidden_layers, getattr(text, "tie_word_embeddings", False))


def _fitted(budget: DroppingBudget, model: MultimodalModel) -> Dropping:
    n_layers = model.language.config.get_text_config().num_hidden_layers  # type: ignore[union-attr,operator]
    return budget.fitted(n_layers, model.tokens_per_picture)


def _in_branches(rows: Sequence[int], n: int, n_branches: int) -> list[int]:
    """Rows of the first branch, of n, and the same of those behind it."""
    return [branch * n + row for branch in range(n_branches) for row in rows]


def _choose(logits: Tensor, samplers: Sequence[TokenSampler], replies: Sequence[list[int]]) -> list[Chosen]:
    """The next token of each reply, as its sampler chooses it; logits [replies, vocabulary].

    Where the likeliest token is all that is asked for, one argmax on the model's device does for all replies.
    """
    if all(sampler.is_plain for sampler in samplers):
        return [Chosen(token) for token in logits.argmax(-1).tolist()]
    rows = logits.float().cpu().numpy()
    return [sampler.choose(row, said) for sampler, row, said in zip(samplers, rows, replies, strict=True)]
