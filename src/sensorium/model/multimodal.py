"""Vision encoder, connector, language model: assembled into one.

`MultimodalModel.forward` is the whole method in a few lines: encode the pictures, put their vectors into the visual
slots of the embedded text, run the language model, and compute logits only for the positions that are supervised.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from sensorium.errors import SensoriumError
from sensorium.media.sight import USUAL_PICTURE
from sensorium.model.attention import Packing, additive_mask, can_pack, stand_in_mask
from sensorium.model.batch import Batch
from sensorium.model.connectors.choice import ConnectorConfig
from sensorium.model.head_loss import head_loss
from sensorium.model.labels import IGNORE
from sensorium.model.language import LanguageConfig, LoraConfig, add_lora
from sensorium.model.views import Sight, ViewsConfig
from sensorium.model.vision import VisionConfig, VisionEncoder
from sensorium.progress import ProgressCallback

# Tokens of our own, in the order of their ids after the language model's vocabulary. The first marks a visual slot.
SLOT, IMAGE_OPEN, IMAGE_CLOSE = "<visual>", "<img>", "</img>"
ADDED_TOKENS = (SLOT, IMAGE_OPEN, IMAGE_CLOSE, "<ref>", "</ref>", "<box>", "</box>")


class ModelConfig(BaseModel):
    """What a model is made of. The recipe's `model:` tree and a checkpoint's config.json have this shape."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    vision: VisionConfig
    connector: ConnectorConfig
    language: LanguageConfig
    views: ViewsConfig = ViewsConfig()
    lora: LoraConfig | None = None

    def build(self, progress: ProgressCallback | None = None, unread: bool = False) -> MultimodalModel:
        """Load the parts and assemble them; connector, fresh norms and added tokens are initialised by torch's seed.

        unread: of the language model's layers only the shapes, see `model.unread`; they are read before they run.
        """
        vision = self.vision.build(progress)
        language, tokenizer = self.language.build(progress, unread)
        width = language.get_input_embeddings().weight.shape[1]  # type: ignore[operator]
        connector = self.connector.build(vision.width, width)
        model = MultimodalModel(vision, connector, language, tokenizer, self)
        if self.lora is not None:
            add_lora(model.language, self.lora)
        return model

    def with_parts(self, vision: str, language: str) -> ModelConfig:
        """The same model, its parts named otherwise: where they lie has changed, not what they are."""
        renamed = {"vision": self.vision.model_copy(update={"part": vision})}
        return self.model_copy(update=renamed | {"language": self.language.model_copy(update={"part": language})})


class MultimodalModel(nn.Module):
    """vision: [n, 3, h, w] -> [n, t, d]; connector: -> [n, t', d_llm]; language: a causal LM without our added tokens.

    The added tokens live in `added_embeddings` [len(added_tokens), d_llm], used for input and for output (tied), so the
    language model's own embedding table stays frozen, shared and untouched.
    """

    def __init__(
        self, vision: VisionEncoder, connector: nn.Module, language: nn.Module, tokenizer: Any, config: ModelConfig
    ) -> None:
        super().__init__()
        self.vision, self.connector, self.language = vision, connector, language
        # Whether batches run as one row of all their tokens where the attention is not ours; training sets it where the
        # language model's layers allow it.
        self.packs = False
        # What `visual_tokens` is run on, at no weight, where a batch has no picture; None: nothing is.
        self.blank: tuple[Tensor | None, Tensor | None] | None = None
        self.config = config
        table: Tensor = language.get_input_embeddings().weight  # type: ignore[operator]
        # Near the mean of the embeddings with their own spread: a new token starts as an average word, not as noise.
        sample = table.detach()[::16]
        mean, std = sample.mean(0), sample.std(0)
        self.added_tokens = ADDED_TOKENS + config.views.added_tokens
        self.added_embeddings = nn.Parameter(mean + 0.1 * std * torch.randn(len(self.added_tokens), table.shape[1]))
        self.vocabulary_size = table.shape[0]
        self.tokenizer = _with_added_tokens(tokenizer, self.vocabulary_size, self.added_tokens)

    @property
    def slot_id(self) -> int:
        """The token id that marks a visual slot."""
        return self.vocabulary_size + ADDED_TOKENS.index(SLOT)

    @property
    def sight(self) -> Sight:
        """How pictures are shown to the encoder, and how many visual tokens each takes."""
        patches = self.vision.grid
        n_tokens, grid = self.connector.n_tokens(patches), self.connector.token_grid(patches)  # type: ignore[operator]
        is_placed = grid is not None and grid[0] * grid[1] == n_tokens
        side = self.vision.patch_size * (patches[0] // grid[0]) if is_placed else self.vision.patch_size
        return Sight(self.config.views, self.vision.config.image_size, side, None if is_placed else n_tokens)

    @property
    def tokens_per_picture(self) -> int:
        """What USUAL_PICTURE takes in the prompt between its marks; where sizes do not decide, every picture."""
        return len(self.sight.views(USUAL_PICTURE).layout)

    @property
    def device(self) -> torch.device:
        return self.added_embeddings.device

    def forward(self, batch: Batch) -> Tensor:
        """Logits [supervised positions, vocabulary + added] in the order of `supervised_labels(batch)`."""
        return self.head(self.predicting_states(batch))

    def losses(self, batch: Batch) -> Tensor:
        """Cross-entropies [supervised positions] of `supervised_labels(batch)`: those of `forward`'s logits, cheaper.

        The logits never stand in memory together, see `head_loss`; where the head trains, or caps its logits, they do.
        """
        hidden, labels = self.predicting_states(batch), supervised_labels(batch)
        head: Any = self.language.get_output_embeddings()  # type: ignore[operator, union-attr]
        if self._logit_cap or head.weight.requires_grad or getattr(head, "bias", None) is not None:
            return nn.functional.cross_entropy(self.head(hidden).float(), labels, reduction="none")
        never = ADDED_TOKENS.index(SLOT)
        return head_loss(hidden, head.weight, self.added_embeddings, labels, never)

    def predicting_states(self, batch: Batch) -> Tensor:
        """Last hidden states [supervised positions, d_llm] that predict `supervised_labels(batch)`."""
        embeddings = self.embed(batch)
        hidden = self.language_states(embeddings, batch.attention_mask, batch.segments, batch.position_ids)
        assert batch.labels is not None, "a batch in training has labels"
        predicts = batch.labels[:, 1:] != IGNORE  # position t predicts the label at t + 1
        return hidden[:, :-1][predicts]

    def embed(self, batch: Batch) -> Tensor:
        """Input embeddings [b, t, d_llm], visual vectors in their slots."""
        embeddings = self.embed_ids(batch.input_ids)
        if batch.pixel_values is None and batch.stem_states is None:
            visual = embeddings.new_zeros(0, embeddings.shape[-1])
            if self.blank is not None:
                embeddings = embeddings + 0 * self.visual_tokens(*self.blank).sum()
        else:
            visual = self._visual_tokens_of(batch)
        return fuse(embeddings, visual, batch.input_ids == self.slot_id, batch.sample_ids)

    def visual_tokens(self, pixel_values: Tensor | None, stem_states: Tensor | None = None) -> Tensor:
        """Pictures, or what the frozen stem made of them -> visual tokens [n, t', d_llm]."""
        grid = self.vision.grid
        if stem_states is None:
            assert pixel_values is not None
            grid = self.vision.grid_of(pixel_values.shape[3], pixel_values.shape[2])
            stem_states = self.vision.stem_states(pixel_values)
        return self.connector(self.vision.finish(stem_states, grid), grid)

    def _visual_tokens_of(self, batch: Batch) -> Tensor:
        """Visual tokens [m, d_llm] of all pictures, in the order in which they stand in the prompts."""
        pixels = batch.pixel_values
        if isinstance(pixels, tuple):
            tokens = torch.cat([self.visual_tokens(of_picture).flatten(0, 1) for of_picture in pixels])
        else:
            tokens = self.visual_tokens(pixels, batch.stem_states).flatten(0, 1)
        return tokens if batch.visual_order is None else tokens[batch.visual_order]

    def embed_ids(self, ids: Tensor) -> Tensor:
        """Embeddings of ids [b, t], ours or the language model's -> [b, t, d_llm]."""
        is_added = ids >= self.vocabulary_size
        base = self.language.get_input_embeddings()(ids.masked_fill(is_added, 0))  # type: ignore[operator]
        added = nn.functional.embedding((ids - self.vocabulary_size).clamp(min=0), self.added_embeddings).to(base.dtype)
        return torch.where(is_added[..., None], added, base)

    def language_states(
        self, embeddings: Tensor, mask: Tensor, segments: Tensor | None = None, position_ids: Tensor | None = None
    ) -> Tensor:
        """Last hidden states [b, t, d_llm], without the head. mask [b, t]; segments, position_ids: as in Batch."""
        if can_pack(self.language):
            packing = Packing.of(mask, segments, position_ids)
            output = self.decoder(
                inputs_embeds=packing.pack(embeddings),
                attention_mask=stand_in_mask(embeddings),
                position_ids=packing.positions,
                use_cache=False,
                packing=packing,
            )
            return packing.unpack(output.last_hidden_state, *mask.shape)
        if self.packs and len(mask) > 1:
            packing = Packing.of(mask, segments, position_ids)
            output = self.decoder(
                inputs_embeds=packing.pack(embeddings),
                attention_mask=packing.additive_mask(embeddings.dtype),
                position_ids=packing.positions,
                use_cache=False,
            )
            return packing.unpack(output.last_hidden_state, *mask.shape)
        if segments is not None:
            mask = additive_mask(segments, embeddings.dtype)
        output = self.decoder(
            inputs_embeds=embeddings, attention_mask=mask, position_ids=position_ids, use_cache=False
        )
        return output.last_hidden_state

    @property
    def decoder(self) -> nn.Module:
        """The language model without its head."""
        return self.language.get_decoder()  # type: ignore[operator, return-value]

    @property
    def _logit_cap(self) -> float | None:
        config: Any = self.language.config
        return getattr(config.get_text_config(), "final_logit_softcapping", None)

    def head(self, hidden: Tensor) -> Tensor:
        """Hidden states [..., d_llm] -> logits [..., vocabulary + added]; a slot is never predicted."""
        base = self.language.get_output_embeddings()(hidden)  # type: ignore[operator]
        added = hidden @ self.added_embeddings.to(hidden.dtype).T
        if cap := self._logit_cap:
            base, added = torch.tanh(base / cap) * cap, torch.tanh(added / cap) * cap
        is_slot = torch.arange(len(self.added_tokens), device=added.device) == ADDED_TOKENS.index(SLOT)
        return torch.cat([base, added.masked_fill(is_slot, torch.finfo(added.dtype).min)], dim=-1)


def supervised_labels(batch: Batch) -> Tensor:
    """The labels that `forward`'s logits predict, flat."""
    assert batch.labels is not None
    labels = batch.labels[:, 1:]
    return labels[labels != IGNORE]


def fuse(embeddings: Tensor, visual: Tensor, slots: Tensor, sample_ids: tuple[str, ...] = ()) -> Tensor:
    """Put visual vectors [m, d] into the slots (mask [b, t]) of embeddings [b, t, d], in reading order.

    Raises SensoriumError with both counts and the samples' names when they do not match: a shifted picture would train
    silently on nonsense.
    """
    n_slots = int(slots.sum())
    if n_slots != visual.shape[0]:
        names = ", ".join(sample_ids[:8]) or "unnamed"
        raise SensoriumError(
            f"batch of samples {names}",
            f"has {n_slots} visual slots in its text ({slots.sum(1).tolist()} a sample) "
            f"but {visual.shape[0]} visual vectors.",
            "Every picture needs exactly its own slots, rendered by the model's renderer.",
        )
    if n_slots == 0:
        return embeddings
    return embeddings.masked_scatter(slots[..., None], visual.to(embeddings.dtype))


def _with_added_tokens(tokenizer: Any, vocabulary_size: int, added: tuple[str, ...]) -> Any:
    """The tokenizer with our tokens after the table's last row.

    Some tables are padded beyond the tokenizer's vocabulary; the gap is filled with placeholders that nobody can type,
    so that ids and rows agree.
    """
    if tokenizer is None:  # models assembled from random parts in tests have no words
        return None
    gap = vocabulary_size - len(tokenizer)
    placeholders = [f"<unused-{i}>" for i in range(gap)]
    tokenizer.add_special_tokens({"additional_special_tokens": [*placeholders, *added]})
    found = tokenizer.convert_tokens_to_ids(SLOT)
    if found != vocabulary_size:
        raise SensoriumError("tokenizer", f"gave {SLOT} the id {found}, expected {vocabulary_size}.",
                             "The language model's vocabulary already has a token of that name.")
    return tokenizer
