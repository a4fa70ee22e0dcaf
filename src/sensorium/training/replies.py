"""Next-token loss on the assistant's words: the objective of the align and instruct stages.

Conversations are drawn from the tasks by their shares, rendered by the renderer that also serves, and their pictures
come from the feature cache when the stem is frozen. Conversations about one picture can share a row, and with it the
cost of the picture's tokens (`rendering.prefix`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sensorium.data.dataset import ConversationRow, Rows
from sensorium.data.draw import passes
from sensorium.errors import SensoriumError
from sensorium.media import open_image
from sensorium.model.batch import IGNORE, Batch
from sensorium.model.multimodal import MultimodalModel, supervised_labels
from sensorium.model.views import make_views
from sensorium.rendering import Rendered, Renderer, collate, share_prefix
from sensorium.training.features import FeatureCache
from sensorium.training.objective import Loss

Weighting = Literal["token", "square"]
Drawn = tuple[str, int]  # a task and the number of one of its rows


class ReplyObjective:
    """rows: conversations of each task; shares: how many of the `conversations` come from each task, in proportion.

    together: at most so many drawn conversations about one picture stand in one row and share its beginning.
    A sample is such a row. weighting: `token`, every supervised token counts the same; `square`, each the less the
    longer its answer, by 1 / sqrt(tokens of the answer), so that boxes and lists do not drown "Yes" and "No" (square
    averaging, InternVL 2.5, arXiv:2412.05271, section 3.4). Raises SensoriumError for a task without rows.
    """

    def __init__(
        self,
        model: MultimodalModel,
        rows: Mapping[str, Rows[ConversationRow]],
        shares: Mapping[str, float],
        cache: FeatureCache | None,
        conversations: int,
        seed: int,
        together: int = 1,
        weighting: Weighting = "token",
    ) -> None:
        self.model, self.cache, self.weighting = model, cache, weighting
        self.renderer = Renderer(model.tokenizer, model.tokens_per_picture)
        self.pad_id = model.tokenizer.pad_token_id or 0
        self.rows = rows
        drawn, scenes = _draw(rows, shares, conversations, seed, together)
        self.samples = _together(drawn, scenes, together)
        self.lengths = np.array([len(self._render(sample)) for sample in self.samples])

    def _render(self, sample: Sequence[Drawn]) -> Rendered:
        rendered = []
        for task, number in sample:
            row = self.rows[task][number]
            rendered.append(self.renderer.render(row.conversation()))
            if all(label == IGNORE for label in rendered[-1].labels):
                raise SensoriumError(row.where, "has no assistant turn, so there is nothing to learn from it.")
        return rendered[0] if len(rendered) == 1 else share_prefix(rendered)

    def batch(self, indices: Sequence[int]) -> Batch:
        samples = [self.samples[i] for i in indices]
        rendered = [self._render(sample) for sample in samples]
        paths = [str(image.source) for sample in rendered for image in sample.images]
        pixels = stem = None
        if paths and self.cache is not None:
            stem = self.cache.get(paths)
        elif paths:
            pixels = self._pixels(rendered)
        names = ["+".join(self.rows[task][number].id for task, number in sample) for sample in samples]
        return collate(rendered, self.pad_id, pixels, stem, names)

    def _pixels(self, rendered: Sequence[Rendered]) -> Tensor:
        size, views = self.model.vision.config.image_size, self.model.config.views
        return torch.cat([make_views(open_image(image), views, size) for s in rendered for image in s.images])

    def loss(self, batch: Batch) -> Loss:
        """Weighted sum of cross-entropies over supervised tokens; metrics are teacher-forced."""
        batch = batch.to(self.model.device)
        answers = _answers(batch)
        lengths = answers.bincount()
        metrics = {}
        if self.model.training:  # logits in memory and an argmax over them are too dear for every step
            losses = self.model.losses(batch)
        else:
            logits, labels = self.model(batch), supervised_labels(batch)
            losses = F.cross_entropy(logits.float(), labels, reduction="none")
            right = logits.argmax(-1) == labels
            n_right = answers[right].bincount(minlength=len(lengths))
            metrics = {"tokens_right": (int(right.sum()), len(labels)),
                       "answers_right": (int((n_right == lengths).sum()), len(lengths))}
        weights = lengths[answers].float().pow(-0.5) if self.weighting == "square" else torch.ones_like(losses)
        n_tokens = int(batch.attention_mask.sum())
        return Loss((losses * weights).sum(), float(weights.sum()), _n_conversations(batch), n_tokens, metrics)


def _answers(batch: Batch) -> Tensor:
    """Which answer, counted from 0, each supervised token belongs to. An answer is a run of labels."""
    assert batch.labels is not None
    supervised = batch.labels[:, 1:] != IGNORE
    starts = supervised & ~F.pad(supervised, (1, 0))[:, :-1]
    return (starts.flatten().cumsum(0) - 1)[supervised.flatten()]


def _n_conversations(batch: Batch) -> int:
    """Rows, or the segments in them where several conversations share a row."""
    if batch.segments is None:
        return len(batch.input_ids)
    return int(batch.segments.amax(dim=1).clamp(min=1).sum())


def _draw(
    rows: Mapping[str, Rows[ConversationRow]], shares: Mapping[str, float], count: int, seed: int, together: int
) -> tuple[list[Drawn], list[str | None]]:
    """`count` conversations, each task its share, and the picture of each.

    Alone, a task's rows come in whole shuffled passes. Where several are to stand together, the passes go over
    pictures, in the same order for every task, so that conversations about one picture are drawn at the same time.
    """
    whole = sum(shares.values())
    drawn: list[Drawn] = []
    shown: list[str | None] = []
    for number, (task, share) in enumerate(sorted(shares.items())):
        if not rows.get(task):
            raise SensoriumError(f"tasks.{task}", "the data has no conversation of this task.",
                                 "Build the data with it, or leave the task out.")
        of_task = max(1, round(count * share / whole))
        if together == 1:
            chosen = passes(len(rows[task]), of_task, seed + number).tolist()
            scenes: list[str | None] = [None] * of_task
        else:
            pictures = [_opening_picture(row) for row in rows[task]]
            order = _by_picture(pictures, together - 1, seed)
            chosen = [order[i % len(order)] for i in range(of_task)]
            scenes = [pictures[row] for row in chosen]
        drawn += [(task, row) for row in chosen]
        shown += scenes
    return drawn, shown


def _opening_picture(row: ConversationRow) -> str | None:
    """The scene of a conversation that opens with its picture: words before the picture leave nothing to share."""
    content = next((m["content"] for m in row.messages if m["role"] == "user"), None)
    opens = isinstance(content, list) and bool(content) and content[0].get("type", "").startswith("image")
    return row.scene if opens else None


def _by_picture(pictures: Sequence[str | None], at_once: int, seed: int) -> list[int]:
    """Row numbers in rounds over the shuffled pictures, `at_once` rows of each a round; rows without one are alone.

    A picture's place depends on its name and the seed only, so that it is the same for every task.
    """
    of_picture: dict[str, list[int]] = {}
    for row, picture in enumerate(pictures):
        of_picture.setdefault(picture if picture is not None else f"row {row}", []).append(row)
    places = {p: hashlib.sha256(f"{seed} {p}".encode()).digest() for p in of_picture}
    shuffled = sorted(of_picture, key=places.__getitem__)
    rounds = max(len(numbers) for numbers in of_picture.values())
    return [
        row
        for start in range(0, rounds, at_once)
        for picture in shuffled
        for row in of_picture[picture][start : start + at_once]
    ]


def _together(drawn: Sequence[Drawn], scenes: Sequence[str | None], most: int) -> list[list[Drawn]]:
    """Group what was drawn by picture, at most `most` different conversations a group; what has no picture is alone."""
    open_groups: dict[str, list[list[Drawn]]] = {}
    groups: list[list[Drawn]] = []
    for item, scene in zip(drawn, scenes, strict=True):
        fitting = open_groups.setdefault(scene, []) if scene is not None else []
        group = next((g for g in fitting if len(g) < most and item not in g), None)
        if group is None:
            group = []
            groups.append(group)
            fitting.append(group)
        group.append(item)
    return groups
