"""Next-token loss on the assistant's words: the objective of the align and instruct stages.

Conversations are drawn from the tasks by their shares, rendered by the renderer that also serves, and their pictures come
from the feature cache when the stem is frozen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sensorium.data.dataset import ConversationRow, Rows
from sensorium.errors import SensoriumError
from sensorium.media import open_image
from sensorium.model.batch import Batch
from sensorium.model.multimodal import MultimodalModel, supervised_labels
from sensorium.model.views import make_views
from sensorium.rendering import Rendered, Renderer, collate
from sensorium.training.features import FeatureCache
from sensorium.training.objective import Loss, passes


class ReplyObjective:
    """rows: conversations of each task; shares: how many samples come from each task, in proportion.

    Raises SensoriumError for a task without rows.
    """

    def __init__(
        self,
        model: MultimodalModel,
        rows: Mapping[str, Rows[ConversationRow]],
        shares: Mapping[str, float],
        cache: FeatureCache | None,
        samples: int,
        seed: int,
    ) -> None:
        self.model, self.cache = model, cache
        self.renderer = Renderer(model.tokenizer, model.tokens_per_picture)
        self.pad_id = model.tokenizer.pad_token_id or 0
        self.rows = rows
        self.drawn = _draw(rows, shares, samples, seed)
        self.lengths = self._lengths()

    def _lengths(self) -> np.ndarray:
        """Tokens of each sample. Each row is rendered once, however often it is drawn."""
        known: dict[tuple[str, int], int] = {}
        for task, row in self.drawn:
            if (task, row) not in known:
                known[task, row] = len(self._render(self.rows[task][row]))
        return np.array([known[key] for key in self.drawn])

    def _render(self, row: ConversationRow) -> Rendered:
        rendered = self.renderer.render(row.conversation())
        if all(label == -100 for label in rendered.labels):
            raise SensoriumError(row.where, "has no assistant turn, so there is nothing to learn from it.")
        return rendered

    def batch(self, indices: Sequence[int]) -> Batch:
        rows = [self.rows[task][row] for task, row in (self.drawn[i] for i in indices)]
        rendered = [self._render(row) for row in rows]
        paths = [str(image.source) for sample in rendered for image in sample.images]
        pixels = stem = None
        if paths and self.cache is not None:
            stem = self.cache.get(paths)
        elif paths:
            pixels = self._pixels(rendered)
        return collate(rendered, self.pad_id, pixels, stem, [row.id for row in rows])

    def _pixels(self, rendered: Sequence[Rendered]) -> Tensor:
        size, views = self.model.vision.config.image_size, self.model.config.views
        return torch.cat([make_views(open_image(image), views, size) for s in rendered for image in s.images])

    def loss(self, batch: Batch) -> Loss:
        """Sum of cross-entropies over supervised tokens; metrics are teacher-forced."""
        logits = self.model(batch)
        labels = supervised_labels(batch)
        total = F.cross_entropy(logits.float(), labels, reduction="sum")
        right = logits.detach().argmax(-1) == labels
        metrics = {"tokens_right": (int(right.sum()), len(labels)), "answers_right": _answers_right(batch, right)}
        return Loss(total, len(labels), len(batch.input_ids), int(batch.attention_mask.sum()), metrics)


def _answers_right(batch: Batch, right: Tensor) -> tuple[int, int]:
    """How many answers are right in every token, and how many answers there are. An answer is a run of labels."""
    assert batch.labels is not None
    supervised = batch.labels[:, 1:] != -100
    starts = supervised & ~F.pad(supervised, (1, 0))[:, :-1]
    answer = (starts.flatten().cumsum(0) - 1)[supervised.flatten()]
    n_answers = int(starts.sum())
    wrong = torch.zeros(n_answers, dtype=torch.long).index_add_(0, answer, (~right).long())
    return int((wrong == 0).sum()), n_answers


def _draw(
    rows: Mapping[str, Rows[ConversationRow]], shares: Mapping[str, float], samples: int, seed: int
) -> list[tuple[str, int]]:
    """(task, row) of every sample: each task its share, whole shuffled passes over its rows."""
    whole = sum(shares.values())
    drawn: list[tuple[str, int]] = []
    for number, (task, share) in enumerate(sorted(shares.items())):
        if not rows.get(task):
            raise SensoriumError(f"tasks.{task}", "the data has no conversation of this task.",
                                 "Build the data with it, or leave the task out.")
        count = max(1, round(samples * share / whole))
        drawn += [(task, int(row)) for row in passes(len(rows[task]), count, seed + number)]
    return drawn
