"""The word warm-up: teach visual tokens to be words before the language model is run at all.

Each visual token learns to be the sum of the words for what it covers: the name of the thing, its colour, how many of
that name the picture shows, where it is and how large. Words are mean input embeddings of length 1. A place is a step
along what tells "right" from "left" and "bottom" from "top", since the words themselves are nearly one direction, and
their common part says nothing; width and height are steps from "narrow" to "wide" and from "short" to "tall" in the
same way, so that a token says all of its thing's box. All of it is known because the scenes were composed. No language
model runs, so a picture costs a hundredth of what it costs later.

The sum is what makes tokens legible: a language model given true sums learns to read colours and numbers from them
within a hundred steps, and hardly ever from tokens that only point nearer to the right word than to the wrong ones.
So the loss of a token is its angle to the sum; cross-entropy over cosine similarities, for each kind of word apart,
which tells near words from one another; and a pull of its norm to the embeddings' own, since the language model has
never seen vectors of another size.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sensorium.data.dataset import Rows, Scene
from sensorium.data.draw import passes
from sensorium.data.records import COLOURS
from sensorium.errors import SensoriumError
from sensorium.media.sight import Sight
from sensorium.media.views import Size
from sensorium.model.multimodal import MultimodalModel
from sensorium.training.features import FeatureCache
from sensorium.training.objective import Loss
from sensorium.training.packing import Indices, Sizes

BACKGROUND = 0  # index of the background among the names
IGNORED = -1
TEMPERATURE = 0.04  # a sum of five words is at 0.45 from each of them at best, and 600 names must stay apart there
COVERED = 1 / 3  # of a token's cell by a box: the token is the thing's. Half left small things with a token or two
TOUCHED = 0.1  # from here to COVERED a token is nobody's
BACKGROUND_WEIGHT = 0.2  # three tokens of four are background and would drown the names
SUM_WEIGHT = 4.0
COLOUR_WEIGHT = 0.3
COUNT_WEIGHT = 0.3
NORM_WEIGHT = 0.1
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven")
AXES = (("left", "right"), ("top", "bottom"), ("narrow", "wide"), ("short", "tall"))
PLACE_SIZE = 1.5  # of a place at the rim, where a word is 1
USUAL_SIDE = 0.3  # of the picture: neither narrow nor wide; nothing is narrowest, twice as much and more is widest
CLEAR = 0.28  # of the way from the middle to a rim, where questions about places begin: what the metrics count


Metrics = dict[str, tuple[float, int]]  # name -> (sum, of how many)


@dataclass(frozen=True)
class TokenLabels:
    """Targets of visual tokens [..., t']: indices of words, IGNORED where there is none; places [..., t', 4]: how far
    from the middle along each of AXES, -1..1.

    Where a name stands (not BACKGROUND, not IGNORED), a number stands too if NUMBERS has the word.
    """

    names: Tensor
    colours: Tensor
    counts: Tensor
    places: Tensor

    @classmethod
    def by_view(cls, labels: Sequence[TokenLabels], n_tokens: int) -> TokenLabels:
        """Those of whole pictures, [t'] each -> [views, n_tokens]."""
        joined = (torch.cat([getattr(one, f.name) for one in labels]) for f in fields(cls))
        return cls(*(one.unflatten(0, (-1, n_tokens)) for one in joined))


@dataclass(frozen=True)
class WordBatch:
    """stem_states [n, tokens, width] of the views of some pictures, and the targets of their visual tokens."""

    stem_states: Tensor
    labels: TokenLabels
    n_pictures: int

    def to(self, device: torch.device) -> WordBatch:
        labels = TokenLabels(*(getattr(self.labels, f.name).to(device) for f in fields(TokenLabels)))
        return WordBatch(self.stem_states.to(device), labels, self.n_pictures)


def require_places(model: MultimodalModel) -> None:
    """Raises SensoriumError where visual tokens stand for no places in the picture, and so can be no words for them."""
    if not model.config.views.has_one_size:
        what = "show pictures at their own sizes, and the word warm-up learns from kept features."
        raise SensoriumError("views", what, "Leave the warm-up out, or choose another `views.fit`, or tiles.")
    kind = model.config.connector.kind
    if kind in ("qformer", "resampler"):
        raise SensoriumError("connector", f"each token of {kind} sees the whole picture, so none covers a place.",
                             "Leave the word warm-up out, or choose pixel_shuffle, mlp or linear.")


class WordBatches:
    """A function of numbers: scenes as targets for single visual tokens. Picklable, like `ReplyBatches`.

    rows [samples]: which scene each number is; sight: how pictures are cut into views; vocabulary: all names.
    """

    def __init__(
        self, scenes: Rows[Scene], rows: Indices, cache: FeatureCache, sight: Sight, vocabulary: Sequence[str]
    ) -> None:
        self.scenes, self.rows, self.cache, self.sight = scenes, rows, cache, sight
        self.index = {name: i for i, name in enumerate(vocabulary)}

    def __call__(self, indices: Sequence[int]) -> WordBatch:
        """Raises SensoriumError for a batch without a single target: its mean loss would be 0 / 0."""
        if not indices:  # a picture of which nothing is wanted
            empty = self([0])
            nothing = torch.full_like(empty.labels.names, IGNORED)
            places = torch.zeros_like(empty.labels.places)
            return WordBatch(empty.stem_states, TokenLabels(nothing, nothing, nothing, places), 0)
        scenes = [self.scenes[self.rows[i]] for i in indices]
        cells = [token_cells(self.sight, (scene.width, scene.height)) for scene in scenes]
        of_pictures = [token_labels(scene, of, self.index) for scene, of in zip(scenes, cells, strict=True)]
        labels = TokenLabels.by_view(of_pictures, self.sight.views((self.sight.size,) * 2).n_tokens)
        if (labels.names == IGNORED).all():
            raise SensoriumError(f"scenes {', '.join(scene.id for scene in scenes)}",
                                 "share a batch in which no visual token covers anything that has a name.",
                                 "Put more scenes into a batch (batch.max_tokens, batch.max_samples), or drop these.")
        return WordBatch(self.cache.get([scene.image for scene in scenes]), labels, len(scenes))


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
        require_places(model)
        self.model, self.scenes = model, scenes
        self.vocabulary = ["background", *vocabulary]
        self.rows = passes(len(scenes), samples, seed)
        self.sizes = word_sizes(model.sight, scenes, self.rows)
        self.batch = WordBatches(scenes, self.rows, cache, model.sight, self.vocabulary)
        self.name_table = _directions(model, self.vocabulary)
        self.colour_table = _directions(model, COLOURS)
        self.number_table = _directions(model, NUMBERS)
        self.place_table = torch.cat([_directions(model, ends).diff(dim=0) for ends in AXES])  # second less first
        self.place_table = F.normalize(self.place_table, dim=-1)
        table = model.language.get_input_embeddings().weight.detach()  # type: ignore[operator, union-attr]
        self.norm = float(table.float().norm(dim=-1).mean())

    def name(self, number: int) -> str:
        return f"{self.scenes.path}: scene {self.scenes[int(self.rows[number])].id}"

    def fingerprint(self) -> str:
        names = [self.scenes[int(row)].id for row in self.rows[: len(self.scenes)]]
        return hashlib.sha256(json.dumps([names, self.vocabulary]).encode()).hexdigest()

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
        if not weight:
            return Loss(total, 0.0, 0, 0)
        return Loss(total, weight, batch.n_pictures, int(names.numel()), metrics, pictures=batch.n_pictures)

    def _point(self, direction: Tensor, labels: TokenLabels) -> tuple[Tensor, Metrics]:
        """Unit vectors [m, d] of all tokens -> the summed loss of where they point, and the metrics."""
        names = labels.names.flatten()
        scores = direction @ self.name_table.T / TEMPERATURE
        losses = F.cross_entropy(scores, names, ignore_index=IGNORED, reduction="none")
        off = 1 - (direction * self.sums(labels).flatten(0, -2)).sum(-1)
        total = ((losses + SUM_WEIGHT * off) * _name_weights(names)).sum()
        is_right, named, behind = scores.argmax(-1) == names, names > BACKGROUND, names == BACKGROUND
        metrics: Metrics = {"named_right": (int(is_right[named].sum()), int(named.sum())),
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
            for kind, axes in (("place", slice(0, 2)), ("size", slice(2, 4))):
                places = labels.places.flatten(0, -2)[named][:, axes]
                metrics[f"{kind}_right"] = _sides_right(direction[named] @ self.place_table[axes].T, places)
            metrics["cosine"] = (float((1 - off.detach())[named].sum()), int(named.sum()))
        return total, metrics

    def sums(self, labels: TokenLabels) -> Tensor:
        """What each token should be: the words of its targets added up, length 1 [..., t', d_llm]."""
        words = self.name_table[labels.names.clamp(min=0)]
        for targets, table in ((labels.colours, self.colour_table), (labels.counts, self.number_table)):
            words = words + table[targets.clamp(min=0)] * (targets != IGNORED)[..., None]
        return F.normalize(words + PLACE_SIZE * labels.places @ self.place_table, dim=-1)


def _name_weights(names: Tensor) -> Tensor:
    return torch.where(names == BACKGROUND, BACKGROUND_WEIGHT, 1.0) * (names != IGNORED)


def _sides_right(lean: Tensor, places: Tensor) -> tuple[int, int]:
    """How often tokens [m, axes] lean to the true side (left or right, narrow or wide), where that is clear."""
    clear = places.abs() > CLEAR
    return int((lean * places > 0)[clear].sum()), int(clear.sum())


def _directions(model: MultimodalModel, words: Sequence[str]) -> Tensor:
    return F.normalize(word_embeddings(model, words), dim=-1)


def word_embeddings(model: MultimodalModel, words: Sequence[str]) -> Tensor:
    """The mean input embedding [words, d_llm] of each word as it stands inside a sentence (with a space before it)."""
    table = model.language.get_input_embeddings().weight.detach().float()  # type: ignore[operator, union-attr]
    ids = [model.tokenizer.encode(f" {word}", add_special_tokens=False) for word in words]
    return torch.stack([table[torch.tensor(i)].mean(0) for i in ids])


@lru_cache(64)
def token_cells(sight: Sight, picture: Size) -> NDArray[np.float64]:
    """What each visual token of a picture of that size covers, view after view: corners [t', 4] in fractions of the
    picture, outside 0–1 on the ground around it.
    """
    views = sight.views(picture)
    return np.array([views.covers(token) for token in range(len(views) * views.n_tokens)])


def word_sizes(sight: Sight, scenes: Rows[Scene], rows: Indices) -> Sizes:
    """Visual tokens of the scenes with those numbers, and no text."""
    if not sight.config.depends_on_size:
        each = [len(token_cells(sight, (sight.size, sight.size)))] * len(rows)
    else:
        found = [len(token_cells(sight, (scene.width, scene.height))) for scene in scenes]
        each = [found[row] for row in rows]
    return Sizes.of([0] * len(rows), each)


def token_labels(scene: Scene, cells: NDArray[np.float64], index: dict[str, int]) -> TokenLabels:
    """Targets [t'] of the visual tokens of a picture: the words for what each covers. cells: see `token_cells`.

    A token belongs to the thing whose box covers more than a third of its cell, the smallest such thing where boxes
    overlap; to the background where no box covers a tenth of it; else to nobody (IGNORED). A thing whose name is not in
    `index` is nobody's either, nor is a token that sees nothing of the picture.
    """
    left, top, right, bottom = cells.T
    owner = np.full(len(cells), BACKGROUND)  # 0, or 1 + number of the thing
    touched = (right <= 0) | (bottom <= 0) | (left >= 1) | (top >= 1)
    for number in sorted(range(len(scene.objects)), key=lambda number: -scene.objects[number].box.area):
        x1, y1, x2, y2 = scene.objects[number].box.to_unit()
        wide = np.clip(np.minimum(right, x2) - np.maximum(left, x1), 0, None) / (right - left)
        high = np.clip(np.minimum(bottom, y2) - np.maximum(top, y1), 0, None) / (bottom - top)
        cover = high * wide
        touched |= cover > TOUCHED
        owner[cover > COVERED] = 1 + number
    names = np.array([BACKGROUND, *(index.get(thing.name, IGNORED) for thing in scene.objects)])[owner]
    names[touched & (owner == 0)] = IGNORED
    counts, colours, places = [IGNORED], [IGNORED], [(0.0,) * len(AXES)]
    for thing in scene.objects:
        is_known = thing.name in index
        colours.append(COLOURS.index(thing.colour) if is_known and thing.colour in COLOURS else IGNORED)
        count = scene.counts[thing.name]
        counts.append(count - 1 if is_known and count <= len(NUMBERS) else IGNORED)
        x1, y1, x2, y2 = thing.box.to_unit()
        wide, high = (min(side / USUAL_SIDE - 1, 1.0) for side in (x2 - x1, y2 - y1))
        places.append((x1 + x2 - 1, y1 + y2 - 1, wide, high))
    return TokenLabels(
        torch.from_numpy(names),
        torch.tensor(colours)[owner],
        torch.tensor(counts)[owner],
        torch.tensor(places, dtype=torch.float32)[owner],
    )
