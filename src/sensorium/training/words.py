"""The word warm-up: teach visual tokens to be words before the language model is run at all.

Each visual token learns to point at the mean input embeddings of the words for what it covers: the name, among the
names of the whole vocabulary and "background"; the colour, among the colours; how many of that name the picture shows,
among the numbers; and between "left" and "right", "top" and "bottom", "narrow" and "wide", "short" and "tall", as far
along as the thing's box says. All of it is known because the scenes were composed. No language model runs, so a picture
costs a hundredth of what it costs later, and the language model afterwards reads warmed tokens almost as words.

The loss of a token is cross-entropy over cosine similarities, for each kind of word apart, plus a pull of its norm to
the embeddings' own, since the language model has never seen vectors of another size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sensorium.data.dataset import Rows, Scene
from sensorium.data.draw import passes
from sensorium.data.records import COLOURS
from sensorium.errors import SensoriumError
from sensorium.model.multimodal import MultimodalModel
from sensorium.training.features import FeatureCache
from sensorium.training.objective import Loss
from sensorium.training.packing import Sizes

BACKGROUND = 0  # index of the background among the names
IGNORED = -1
TEMPERATURE = 0.07
COVERED = 1 / 3  # of a token's cell by a box: the token is the thing's. Half left small things with a token or two
TOUCHED = 0.1  # from here to COVERED a token is nobody's
BACKGROUND_WEIGHT = 0.2  # three tokens of four are background and would drown the names
COLOUR_WEIGHT = 0.3
COUNT_WEIGHT = 0.2
PLACE_WEIGHT = 0.2  # of each of the four
NORM_WEIGHT = 0.1
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven")
# Word at 0 and word at 1 of: the middle of the box across and down, its width, its height, as shares of the picture.
PLACES = (("left", "right"), ("top", "bottom"), ("narrow", "wide"), ("short", "tall"))
NEAR = 0.1  # of the picture: a place told to within this counts as right in the metrics


@dataclass(frozen=True)
class TokenLabels:
    """Targets of visual tokens [..., t']: indices of words, IGNORED where there is none; places [..., t', 4] in 0..1.

    Where a name stands (not BACKGROUND, not IGNORED), a place stands too, and a number if NUMBERS has the word.
    """

    names: Tensor
    colours: Tensor
    counts: Tensor
    places: Tensor

    @classmethod
    def stack(cls, labels: Sequence[TokenLabels]) -> TokenLabels:
        return cls(*(torch.stack([getattr(one, f.name) for one in labels]) for f in fields(cls)))


@dataclass(frozen=True)
class WordBatch:
    """stem_states [n, tokens, width] of n pictures, and the targets of their visual tokens."""

    stem_states: Tensor
    labels: TokenLabels

    def to(self, device: torch.device) -> WordBatch:
        labels = TokenLabels(*(getattr(self.labels, f.name).to(device) for f in fields(TokenLabels)))
        return WordBatch(self.stem_states.to(device), labels)


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
        self.sizes = Sizes.of([0] * len(self.rows), [tokens] * len(self.rows))
        self.name_table = _directions(model, self.vocabulary)
        self.colour_table = _directions(model, COLOURS)
        self.number_table = _directions(model, NUMBERS)
        self.place_tables = [_directions(model, pair) for pair in PLACES]
        table = model.language.get_input_embeddings().weight.detach()  # type: ignore[operator, union-attr]
        self.norm = float(table.float().norm(dim=-1).mean())
        self.grid = (round(tokens**0.5), round(tokens**0.5))

    def batch(self, indices: Sequence[int]) -> WordBatch:
        """Raises SensoriumError for a batch without a single target: its mean loss would be 0 / 0."""
        scenes = [self.scenes[self.rows[i]] for i in indices]
        labels = TokenLabels.stack([token_labels(scene, self.grid, self.index) for scene in scenes])
        if (labels.names == IGNORED).all():
            raise SensoriumError(f"scenes {', '.join(scene.id for scene in scenes)}",
                                 "share a batch in which no visual token covers anything that has a name.",
                                 "Put more scenes into a batch (batch.max_tokens, batch.max_samples), or drop these.")
        return WordBatch(self.cache.get([scene.image for scene in scenes]), labels)

    def loss(self, batch: WordBatch) -> Loss:
        """Sum over visual tokens with a target, their weight, and how many tokens point right, kind by kind."""
        batch = batch.to(self.model.device)
        visual = self.model.visual_tokens(None, batch.stem_states).float()
        # Cosines of 0.9 and 0.902 are one number in bfloat16, so autocast ends here.
        with torch.autocast(visual.device.type, enabled=False):
            total, metrics = self._point(F.normalize(visual, dim=-1).flatten(0, 1), batch.labels)
        names = batch.labels.names.flatten()
        spread = (visual.norm(dim=-1).flatten() / self.norm - 1).square()
        total = total + NORM_WEIGHT * (spread * (names != IGNORED)).sum()
        weight = float(_name_weights(names).sum())
        return Loss(total, weight, len(batch.stem_states), int(names.numel()), metrics)

    def _point(self, direction: Tensor, labels: TokenLabels) -> tuple[Tensor, dict[str, tuple[int, int]]]:
        """Unit vectors [m, d] of all tokens -> the summed loss of where they point, and the metrics."""
        names = labels.names.flatten()
        scores = direction @ self.name_table.T / TEMPERATURE
        losses = F.cross_entropy(scores, names, ignore_index=IGNORED, reduction="none")
        total = (losses * _name_weights(names)).sum()
        is_right, named, behind = scores.argmax(-1) == names, names > BACKGROUND, names == BACKGROUND
        metrics = {"named_right": (int(is_right[named].sum()), int(named.sum())),
                   "background_right": (int(is_right[behind].sum()), int(behind.sum()))}
        kinds = (("colour", labels.colours, self.colour_table, COLOUR_WEIGHT),
                 ("count", labels.counts, self.number_table, COUNT_WEIGHT))
        for kind, targets, table, weight in kinds:
            known = targets.flatten() != IGNORED
            if known.any():
                of_kind, target = direction[known] @ table.T / TEMPERATURE, targets.flatten()[known]
                total = total + weight * F.cross_entropy(of_kind, target, reduction="sum")
                metrics[f"{kind}_right"] = (int((of_kind.argmax(-1) == target).sum()), len(target))
        if named.any():
            places = labels.places.flatten(0, -2)[named]
            # [m, 4]: how far towards the second word of each pair a token points.
            towards = torch.stack([direction[named] @ (t[1] - t[0]) / TEMPERATURE for t in self.place_tables], dim=-1)
            surprise = F.binary_cross_entropy_with_logits(towards, places, reduction="sum")
            total = total + PLACE_WEIGHT * (surprise - _entropy(places))
            near = ((towards.sigmoid() - places).abs() < NEAR).all(-1)
            metrics["place_right"] = (int(near.sum()), len(near))
        return total, metrics


def _name_weights(names: Tensor) -> Tensor:
    return torch.where(names == BACKGROUND, BACKGROUND_WEIGHT, 1.0) * (names != IGNORED)


def _entropy(shares: Tensor) -> Tensor:
    """What binary cross-entropy against shares keeps when they are met exactly: taken off, a perfect token costs 0."""
    return F.binary_cross_entropy(shares, shares, reduction="sum")


def _directions(model: MultimodalModel, words: Sequence[str]) -> Tensor:
    return F.normalize(word_embeddings(model, words), dim=-1)


def word_embeddings(model: MultimodalModel, words: Sequence[str]) -> Tensor:
    """The mean input embedding [words, d_llm] of each word as it stands inside a sentence (with a space before it)."""
    table = model.language.get_input_embeddings().weight.detach().float()  # type: ignore[operator, union-attr]
    ids = [model.tokenizer.encode(f" {word}", add_special_tokens=False) for word in words]
    return torch.stack([table[torch.tensor(i)].mean(0) for i in ids])


def token_labels(scene: Scene, grid: tuple[int, int], index: dict[str, int]) -> TokenLabels:
    """Targets [rows*columns] of the visual tokens of a picture: the words for what each covers.

    A token belongs to the thing whose box covers more than a third of its cell, the smallest such thing where boxes
    overlap; to the background where no box covers a tenth of it; else to nobody (IGNORED). A thing whose name is not in
    `index` is nobody's either.
    """
    rows, columns = grid
    x = np.arange(columns) / columns
    y = np.arange(rows) / rows
    owner = np.full((rows, columns), BACKGROUND)  # 0, or 1 + number of the thing
    touched = np.zeros((rows, columns), dtype=bool)
    for number in sorted(range(len(scene.objects)), key=lambda number: -scene.objects[number].box.area):
        x1, y1, x2, y2 = scene.objects[number].box.to_unit()
        wide = np.clip(np.minimum(x + 1 / columns, x2) - np.maximum(x, x1), 0, None) * columns
        high = np.clip(np.minimum(y + 1 / rows, y2) - np.maximum(y, y1), 0, None) * rows
        cover = high[:, None] * wide[None, :]
        touched |= cover > TOUCHED
        owner[cover > COVERED] = 1 + number
    names = np.array([BACKGROUND, *(index.get(thing.name, IGNORED) for thing in scene.objects)])[owner]
    names[touched & (owner == 0)] = IGNORED
    counts, colours, places = [IGNORED], [IGNORED], [(0.0, 0.0, 0.0, 0.0)]
    for thing in scene.objects:
        is_known = thing.name in index
        colours.append(COLOURS.index(thing.colour) if is_known and thing.colour in COLOURS else IGNORED)
        count = scene.counts[thing.name]
        counts.append(count - 1 if is_known and count <= len(NUMBERS) else IGNORED)
        x1, y1, x2, y2 = thing.box.to_unit()
        places.append(((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1))
    flat = owner.reshape(-1)
    return TokenLabels(
        torch.from_numpy(names.reshape(-1)),
        torch.tensor(colours)[flat],
        torch.tensor(counts)[flat],
        torch.tensor(places, dtype=torch.float32)[flat].clamp(0, 1),
    )
