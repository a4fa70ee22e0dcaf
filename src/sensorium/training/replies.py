"""Next-token loss on the assistant's words: the objective of the align and instruct stages.

Conversations are rendered by the renderer that also serves, and their pictures come from the feature cache where there
is one. Conversations about one picture can share a row, and with it the cost of the picture's tokens
(`rendering.prefix`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from sensorium.conversation import Conversation, Image
from sensorium.errors import SensoriumError
from sensorium.media import open_image
from sensorium.model.batch import Batch
from sensorium.model.labels import IGNORE
from sensorium.model.multimodal import MultimodalModel, supervised_labels
from sensorium.model.views import make_views
from sensorium.progress import ProgressCallback
from sensorium.rendering import Renderer
from sensorium.rendering.batching import collate
from sensorium.training.features import FeatureCache
from sensorium.training.measure import measure, render_sample
from sensorium.training.objective import Loss
from sensorium.training.packing import Sizes
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
    ) -> None:
        self.model, self.samples, self.cache, self.weighting = model, samples, cache, weighting
        self.renderer = Renderer.of(model)
        self.pad_id = model.tokenizer.pad_token_id or 0
        self.measures = measure(samples, self.renderer, tell)

    @property
    def sizes(self) -> Sizes:
        return self.measures.sizes

    def batch(self, indices: Sequence[int]) -> Batch:
        """A pack of samples. One whose picture turns out to be damaged is left out and counted.

        Of no samples, or none that could be read: a few words that nothing is learned from.
        """
        kept, names, pictures, unread = [], [], [], []
        for number in indices:
            try:
                talks = self.samples[number]
                rendered = render_sample(self.renderer, talks)
                views = [] if self.cache is not None else [self._views(image) for image in rendered.images]
            except SensoriumError as error:
                log.warning("left out of its batch: %s", error)
                unread.append(number)
                continue
            kept.append(rendered)
            names.append("+".join(talk.id for talk in talks))
            pictures += views
        lost = tuple(unread)
        if not kept:
            return self._empty(lost)
        paths = [str(image.source) for rendered in kept for image in rendered.images]
        stem = self.cache.get(paths) if self.cache is not None and paths else None
        return replace(collate(kept, self.pad_id, pictures, stem, names), lost=lost)

    def _empty(self, lost: tuple[int, ...]) -> Batch:
        """A batch of weight 0, for a process that must take part in a step and has nothing for it."""
        words = Conversation.from_json([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
        rendered = self.renderer.render(words)
        rendered.labels[:] = [IGNORE] * len(rendered)
        batch = collate([rendered], self.pad_id, supervised=False)
        return replace(batch, counts=False, lost=lost)

    def fingerprint(self) -> str:
        return self.samples.fingerprint()

    def always_look(self) -> None:
        """Run the encoder for batches of text too, on a blank picture and at no weight.

        Where processes must run it together, see `Parallel.must_look`.
        """
        model, size = self.model, self.model.vision.config.image_size
        shape = (3, size, size) if self.cache is None else self.cache.states.shape[1:]
        blank = torch.zeros(1, *shape, device=model.device)
        model.blank = (blank, None) if self.cache is None else (None, blank)

    def _views(self, image: Image) -> Tensor:
        return make_views(open_image(image), self.model.sight)

    def loss(self, batch: Batch) -> Loss:
        """Weighted sum of cross-entropies over supervised tokens; metrics are teacher-forced."""
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
