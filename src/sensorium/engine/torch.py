"""The reference engine: our checkpoints in PyTorch, exactly as they were trained.

A prompt is rendered by the training renderer, its pictures are encoded once each (and remembered for the next
question), then tokens are drawn one by one with the language model's key-value cache.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from sensorium.conversation import Conversation, Image
from sensorium.engine.base import GREEDY, Card, Delta, FinishReason, Reply, Sampling
from sensorium.engine.sampler import TextStream, TokenSampler
from sensorium.errors import SensoriumError
from sensorium.media import open_image
from sensorium.model.attention import use_grouped_attention
from sensorium.model.batch import Batch
from sensorium.model.checkpoint import load_model, read_config
from sensorium.model.language import merge_lora
from sensorium.model.multimodal import MultimodalModel, fuse
from sensorium.model.views import make_views
from sensorium.parts.package import ProgressCallback
from sensorium.rendering import Rendered, Renderer

REMEMBERED_PICTURES = 64
Precision = Literal["float32", "bfloat16"]


class TorchEngine:
    """model: assembled and trained; it is put into eval mode and its adapters are merged.

    precision: of weights and arithmetic; bfloat16 is several times faster on processors that have it in hardware.
    batch_size: conversations that `answer` runs together.
    """

    def __init__(
        self,
        model: MultimodalModel,
        name: str = "model",
        provenance: dict[str, Any] | None = None,
        precision: Precision = "float32",
    ) -> None:
        if model.config.lora is not None:
            merge_lora(model.language)
        self.model = model.eval().requires_grad_(False).to(getattr(torch, precision))
        if model.device.type == "cpu":
            use_grouped_attention(model.language)
        self.renderer = Renderer(model.tokenizer, model.tokens_per_picture)
        self.batch_size = 32
        self._stop_ids = self.renderer.stop_ids
        self._pictures: OrderedDict[str, Tensor] = OrderedDict()
        length = int(getattr(model.language.config, "max_position_embeddings", 2048))  # type: ignore[union-attr]
        self.card = Card(name, ("text", "image"), length, model.tokens_per_picture, provenance=provenance or {})

    @classmethod
    def load(
        cls,
        folder: Path,
        name: str | None = None,
        progress: ProgressCallback | None = None,
        precision: Precision = "float32",
    ) -> TorchEngine:
        """The engine of a model folder. Raises SensoriumError when it cannot be loaded."""
        _, content = read_config(folder)
        model = load_model(folder, progress, merge=True)
        return cls(model, name or folder.name, content.get("provenance"), precision)

    def stream(self, conversation: Conversation, sampling: Sampling = GREEDY) -> Iterator[Delta]:
        """The reply, piece by piece."""
        prompt = self._prompt(conversation, sampling)
        text = TextStream(self.renderer.decode, sampling.stop)
        n_tokens = 0
        finish: FinishReason = "length"
        for token in self._generate([prompt], [TokenSampler(sampling)], sampling.max_new_tokens):
            if token[0] in self._stop_ids:
                finish = "stop"
                break
            n_tokens += 1
            if piece := text.push(token[0]):
                yield Delta(piece, n_tokens=n_tokens)
            if text.stopped:
                finish = "stop"
                break
        yield Delta(text.finish(), finish, n_tokens)

    def answer(self, conversations: Sequence[Conversation], sampling: Sampling = GREEDY) -> list[Reply]:
        """Replies in the order of the conversations, computed in batches of similar prompt length."""
        prompts = [self._prompt(conversation, sampling) for conversation in conversations]
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        replies: dict[int, Reply] = {}
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            replies |= zip(chosen, self._answer([prompts[i] for i in chosen], sampling), strict=True)
        return [replies[i] for i in range(len(prompts))]

    def _answer(self, prompts: list[Rendered], sampling: Sampling) -> list[Reply]:
        texts = [TextStream(self.renderer.decode, sampling.stop) for _ in prompts]
        shown = ["" for _ in prompts]
        finish: list[FinishReason | None] = [None] * len(prompts)
        counts = [0] * len(prompts)
        for tokens in self._generate(prompts, [TokenSampler(sampling) for _ in prompts], sampling.max_new_tokens):
            for i, token in enumerate(tokens):
                if finish[i] is not None:
                    continue
                if token in self._stop_ids:
                    finish[i] = "stop"
                    continue
                counts[i] += 1
                shown[i] += texts[i].push(token)
                finish[i] = "stop" if texts[i].stopped else None
            if all(finish):
                break
        return [
            Reply(shown[i] + texts[i].finish(), finish[i] or "length", len(prompts[i]), counts[i])
            for i in range(len(prompts))
        ]

    @torch.inference_mode()
    def score(self, conversation: Conversation, candidates: Sequence[str]) -> list[float]:
        """log P of each candidate as the next reply; the candidates run as one batch."""
        if not candidates:
            return []
        tails = [self.renderer.encode_reply(candidate) + self.renderer.turn_end for candidate in candidates]
        prompt = self._prompt(conversation, Sampling(max_new_tokens=max(map(len, tails))))
        rows = [replace(prompt, ids=prompt.ids + tail) for tail in tails]
        embeddings, mask = self._embed(rows, left=False)
        hidden = self.model.language_states(embeddings, mask)
        scores = []
        for row, tail in enumerate(tails):
            predicting = hidden[row, len(prompt) - 1 : len(prompt) - 1 + len(tail)]
            log_p = torch.log_softmax(self.model.head(predicting).float(), dim=-1)
            scores.append(float(log_p.gather(1, torch.tensor(tail, device=log_p.device)[:, None]).sum()))
        return scores

    def _prompt(self, conversation: Conversation, sampling: Sampling) -> Rendered:
        if conversation.messages[-1].role != "user":
            raise SensoriumError("conversation", "ends with another turn than the user's; there is nothing to answer.")
        prompt = self.renderer.render(conversation, generate=True)
        if len(prompt) + sampling.max_new_tokens > self.card.context_length:
            raise SensoriumError(
                "conversation",
                f"has {len(prompt)} tokens ({len(prompt.slots)} pictures of {self.card.visual_tokens}); with "
                f"{sampling.max_new_tokens} for the reply that is more than the model's {self.card.context_length}.",
                "Show fewer pictures, start anew, or lower max_new_tokens.",
            )
        return prompt

    @torch.inference_mode()
    def _visual(self, image: Image) -> Tensor:
        """Visual tokens [t', d] of a picture, remembered by its content."""
        key = image.digest
        if key not in self._pictures:
            size = self.model.vision.config.image_size
            pixels = make_views(open_image(image), self.model.config.views, size).to(self.model.added_embeddings)
            self._pictures[key] = self.model.visual_tokens(pixels).flatten(0, 1)
            if len(self._pictures) > REMEMBERED_PICTURES:
                self._pictures.popitem(last=False)
        self._pictures.move_to_end(key)
        return self._pictures[key]

    def _embed(self, rows: Sequence[Rendered], left: bool) -> tuple[Tensor, Tensor]:
        """Embeddings [b, t, d] and mask [b, t] of prompts, padded on the left (to generate) or on the right."""
        longest = max(len(row) for row in rows)
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        mask = torch.zeros(len(rows), longest, dtype=torch.bool)
        for i, row in enumerate(rows):
            place = slice(longest - len(row), longest) if left else slice(0, len(row))
            ids[i, place] = torch.tensor(row.ids)
            mask[i, place] = True
        batch = Batch(ids, mask).to(self.model.device)
        visual = [self._visual(image) for row in rows for image in row.images]
        embeddings = self.model.embed_ids(batch.input_ids)
        tokens = torch.cat(visual) if visual else embeddings.new_zeros(0, embeddings.shape[-1])
        return fuse(embeddings, tokens, batch.input_ids == self.model.slot_id), batch.attention_mask

    def _generate(self, prompts: list[Rendered], samplers: list[TokenSampler], limit: int) -> Iterator[list[int]]:
        """The next token of every prompt, again and again; whoever iterates decides when a reply is over."""
        with torch.inference_mode():
            embeddings, mask = self._embed(prompts, left=True)
        replies: list[list[int]] = [[] for _ in prompts]
        positions = (mask.long().cumsum(-1) - 1).clamp(min=0)
        cache: Any = None
        for _ in range(limit):
            # Entered anew for every token: a generator must not leave inference mode switched on for its caller.
            with torch.inference_mode():
                states, cache = self._step(embeddings, mask, positions, cache)
                logits = self.model.head(states)
            tokens = [sampler.choose(row, said) for sampler, row, said in zip(samplers, logits, replies, strict=True)]
            for said, token in zip(replies, tokens, strict=True):
                said.append(token)
            yield tokens
            with torch.inference_mode():
                embeddings = self.model.embed_ids(torch.tensor(tokens, device=mask.device)[:, None])
                mask = torch.cat([mask, mask.new_ones(len(tokens), 1)], dim=1)
                positions = positions[:, -1:] + 1

    def _step(self, embeddings: Tensor, mask: Tensor, positions: Tensor, cache: Any) -> tuple[Tensor, Any]:
        """Last hidden state [b, d] and the grown cache."""
        output = self.model.decoder(
            inputs_embeds=embeddings, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
        )
        return output.last_hidden_state[:, -1], output.past_key_values
