"""Next-token loss on the assistant's words: the objective of the align and instruct stages.

Conversations are rendered by the renderer that also serves, and their pictures come from the feature cache where there
is one (`training.batches`). Conversations about one picture can share a row, and with it the cost of the picture's
tokens (`rendering.prefix`).
"""

from __future__ import annotations

import logging
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from sensorium.model.batch import Batch
from sensorium.model.labels import IGNORE
from sensorium.model.multimodal import MultimodalModel, supervised_labels
from sensorium.progress import ProgressCallback
from sensorium.training.batches import ReplyBatches
from sensorium.training.features import FeatureCache
from sensorium.training.measure import measure
from sensorium.training.objective import Loss
from sensorium.training.packing import Room, Sizes
from sensorium.training.samples import Samples

Weighting = Literal["token", "square"]
log = logging.getLogger(__name__)


class ReplyObjective:
    """samples: what is drawn; measures: their sizes, and which of them are bad. Bad ones are in no batch.

    weighting: `token`, every supervised token counts the same; `square`, each the less the longer its answer, by
    1 / sqrt(tokens of the answer), so that boxes and lists do not drown "Yes" and "No" (square averaging, InternVL 2.5,
    arXiv:2412.05271, section 3.4).
    """

    def __init__(
        self,
        model: MultimodalModel,
        samples: Samples,
        cache: FeatureCache | None = None,
        weighting: Weighting = "token",
        tell: ProgressCallback = lambda what, done, total: None,
        room: Room | None = None,
    ) -> None:
        self.model, self.samples, self.weighting = model, samples, weighting
        self.batch = ReplyBatches(model, samples, cache, room)
        self.measures = measure(samples, self.batch.renderer, tell, room)

    @property
    def sizes(self) -> Sizes:
        return self.measures.sizes

    def name(self, number: int) -> str:
        return self.samples[number][0].where

    def fingerprint(self) -> str:
        return self.samples.fingerprint()

    def always_look(self) -> None:
        """Run the encoder for batches of text too, on a blank picture and at no weight.

        Where processes must run it together, see `Parallel.must_look`.
        """
        model, size, cache = self.model, self.model.vision.config.image_size, self.batch.cache
        shape = (3, size, size) if cache is None else cache.states.shape[1:]
        blank = torch.zeros(1, *shape, device=model.device)
        model.blank = (blank, None) if cache is None else (None, blank)

    def loss(self, batch: Batch) -> Loss:
        """Weighted sum of cross-entropies over supervised tokens; metrics are teacher-forced."""
        for complaint in batch.complaints:
            log.warning("left out of its batch: %s", complaint)
        batch = batch.to(self.model.device)
        answers = _answers(batch)
        lengths = answers.bincount()
        metrics: dict[str, tuple[float, int]] = {}
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
        n_samples, n_tokens = _n_conversations(batch), int(batch.attention_mask.sum())
        if not batch.counts:
            return Loss((losses * weights).sum(), 0.0, 0, 0, lost=batch.lost)
        weight = float(weights.sum())
        return Loss((losses * weights).sum(), weight, n_samples, n_tokens, metrics, batch.lost, batch.n_pictures)


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
