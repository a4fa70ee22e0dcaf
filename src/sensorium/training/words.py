"""The word warm-up: teach visual tokens to be words before the language model is run at all.

Each visual token learns to point at the mean input embedding of the name of what it covers, among the names of the
whole vocabulary and "background"; where the colour of the thing is known, also at the colour's embedding among the
colours. Names and boxes are known because the scenes were composed. No language model runs, so a picture costs a
hundredth of what it costs later, and the language model afterwards reads warmed tokens almost as words.

The loss of a token is cross-entropy over cosine similarities, plus a pull of its norm to the embeddings' own, since the
language model has never seen vectors of another size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sensorium.data.dataset import Rows, Scene
from sensorium.data.records import COLOURS
from sensorium.errors import SensoriumError
from sensorium.model.multimodal import MultimodalModel
from sensorium.training.features import FeatureCache
from sensorium.training.objective import Loss, passes

BACKGROUND = 0  # index of the background among the names
IGNORED = -1
TEMPERATURE = 0.07
BACKGROUND_WEIGHT = 0.2  # three tokens of four are background and would drown the names
COLOUR_WEIGHT = 0.3
NORM_WEIGHT = 0.1


@dataclass(frozen=True)
class WordBatch:
    """stem_states [n, tokens, width]; names, colours [n, t']: target index of each visual token, or IGNORED."""

    stem_states: Tensor
    names: Tensor
    colours: Tensor

    def to(self, device: torch.device) -> WordBatch:
        return WordBatch(self.stem_states.to(device), self.names.to(device), self.colours.to(device))


class WordObjective:
    """Scenes as targets for single visual tokens."""

    def __init__(
        self,
        model: MultimodalModel,
        scenes: Rows[Scene],
        cache: FeatureCache,
        samples: int,
        seed: int,
        vocabulary: Sequence[str],
    ) -> None:
        kind, tokens = model.config.connector.kind, model.tokens_per_picture
        if kind in ("qformer", "resampler"):
            raise SensoriumError("connector", f"each token of {kind} sees the whole picture, so none covers a place.",
                                 "Leave the word warm-up out, or choose pixel_shuffle, mlp or linear.")
        self.model, self.scenes, self.cache = model, scenes, cache
        self.vocabulary = ["background", *vocabulary]
        self.index = {name: i for i, name in enumerate(self.vocabulary)}
        self.rows = passes(len(scenes), samples, seed)
        self.lengths = np.ones(len(self.rows), dtype=np.int64)
        self.name_table = F.normalize(word_embeddings(model, self.vocabulary), dim=-1)
        self.colour_table = F.normalize(word_embeddings(model, COLOURS), dim=-1)
        table = model.language.get_input_embeddings().weight.detach()  # type: ignore[operator, union-attr]
        self.norm = float(table.float().norm(dim=-1).mean())
        self.grid = (round(tokens**0.5), round(tokens**0.5))

    def batch(self, indices: Sequence[int]) -> WordBatch:
        """Raises SensoriumError for a batch without a single target: its mean loss would be 0 / 0."""
        scenes = [self.scenes[self.rows[i]] for i in indices]
        labels = [token_labels(scene, self.grid, self.index) for scene in scenes]
        names, colours = (torch.from_numpy(np.stack(column)) for column in zip(*labels, strict=True))
        if (names == IGNORED).all():
            raise SensoriumError(f"scenes {', '.join(scene.id for scene in scenes)}",
                                 "share a batch in which no visual token covers anything that has a name.",
                                 "Put more scenes into a batch (batch.max_tokens, batch.max_samples), or drop these.")
        return WordBatch(self.cache.get([scene.image for scene in scenes]), names, colours)

    def loss(self, batch: WordBatch) -> Loss:
        """Sum over visual tokens with a target, their weight, and the share of named tokens that point right."""
        batch = batch.to(self.model.device)
        visual = self.model.visual_tokens(None, batch.stem_states).float()
        direction = F.normalize(visual, dim=-1).flatten(0, 1)
        names, colours = batch.names.flatten(), batch.colours.flatten()
        # Cosines of 0.9 and 0.902 are one number in bfloat16, so autocast ends before them.
        with torch.autocast(direction.device.type, enabled=False):
            scores = direction @ self.name_table.T / TEMPERATURE
            colour_scores = direction @ self.colour_table.T / TEMPERATURE
        losses = F.cross_entropy(scores, names, ignore_index=IGNORED, reduction="none")
        weights = torch.where(names == BACKGROUND, BACKGROUND_WEIGHT, 1.0) * (names != IGNORED)
        total = (losses * weights).sum()
        coloured = colours != IGNORED
        if coloured.any():
            colour_loss = F.cross_entropy(colour_scores[coloured], colours[coloured], reduction="sum")
            total = total + COLOUR_WEIGHT * colour_loss
        spread = (visual.norm(dim=-1).flatten() / self.norm - 1).square()
        total = total + NORM_WEIGHT * (spread * (names != IGNORED)).sum()
        named = names > BACKGROUND
        best = scores.argmax(-1)
        is_right, behind = best == names, names == BACKGROUND
        metrics = {"named_right": (int(is_right[named].sum()), int(named.sum())),
                   "background_right": (int(is_right[behind].sum()), int(behind.sum()))}
        if coloured.any():
            right = int((colour_scores[coloured].argmax(-1) == colours[coloured]).sum())
            metrics["colour_right"] = (right, int(coloured.sum()))
        return Loss(total, float(weights.sum()), len(batch.names), int(names.numel()), metrics)


def word_embeddings(model: MultimodalModel, words: Sequence[str]) -> Tensor:
    """The mean input embedding [words, d_llm] of each word as it stands inside a sentence (with a space before it)."""
    table = model.language.get_input_embeddings().weight.detach().float()  # type: ignore[operator, union-attr]
    ids = [model.tokenizer.encode(f" {word}", add_special_tokens=False) for word in words]
    return torch.stack([table[torch.tensor(i)].mean(0) for i in ids])


def token_labels(scene: Scene, grid: tuple[int, int], index: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Targets [rows*columns] of the visual tokens of a picture: the name and the colour of what each covers.

    A token belongs to the thing whose box covers more than half of its cell, the smallest such thing where boxes
    overlap; to the background where no box covers a tenth of it; else to nobody (IGNORED). A colour only with a name.
    """
    rows, columns = grid
    x = np.arange(columns) / columns
    y = np.arange(rows) / rows
    names = np.full((rows, columns), BACKGROUND)
    colours = np.full((rows, columns), IGNORED)
    touched = np.zeros((rows, columns), dtype=bool)
    for thing in sorted(scene.objects, key=lambda thing: -thing.box.area):
        x1, y1, x2, y2 = thing.box.to_unit()
        wide = np.clip(np.minimum(x + 1 / columns, x2) - np.maximum(x, x1), 0, None) * columns
        high = np.clip(np.minimum(y + 1 / rows, y2) - np.maximum(y, y1), 0, None) * rows
        cover = high[:, None] * wide[None, :]
        touched |= cover > 0.1
        names[cover > 0.5] = index.get(thing.name, IGNORED)
        colours[cover > 0.5] = COLOURS.index(thing.colour) if thing.colour in COLOURS else IGNORED
    names[touched & (names == BACKGROUND)] = IGNORED
    return names.reshape(-1), colours.reshape(-1)
