"""Batches of replies: numbered samples read, their pictures opened, rendered and put side by side.

Apart from the objective, which holds the model, so that other processes can make them (`training.workers`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from sensorium.conversation import Conversation
from sensorium.errors import SensoriumError
from sensorium.media import open_image
from sensorium.model.batch import Batch
from sensorium.model.labels import IGNORE
from sensorium.model.multimodal import MultimodalModel
from sensorium.model.views import make_views
from sensorium.rendering import Renderer, Slot
from sensorium.rendering.batching import collate
from sensorium.training.features import FeatureCache
from sensorium.training.measure import look_at_pictures, render_sample
from sensorium.training.packing import Room
from sensorium.training.samples import Samples


class ReplyBatches:
    """A function of numbers. cache: what the frozen stem makes of their pictures; None: they are decoded. room: what a
    sample may take, see `render_sample`.

    Picklable: a copy in another process makes the same batches. Of the model it keeps what decides how words and
    pictures are read.
    """

    def __init__(
        self, model: MultimodalModel, samples: Samples, cache: FeatureCache | None, room: Room | None = None
    ) -> None:
        self.samples, self.cache, self.room = samples, cache, room
        self.renderer = Renderer.of(model)
        self.pad_id = model.tokenizer.pad_token_id or 0
        self.sight = model.sight

    def __call__(self, indices: Sequence[int]) -> Batch:
        """A pack of samples. One whose picture turns out to be damaged is left out, counted, and complained about.

        Of no samples, or none that could be read: a few words that nothing is learned from.
        """
        kept, names, pictures, lost, complaints = [], [], [], [], []
        for number in indices:
            try:
                talks = self.samples[number]
                rendered = render_sample(self.renderer, talks, self.room)
                views = look_at_pictures(talks, rendered, self._see)
            except SensoriumError as error:
                lost.append(number)
                complaints.append(str(error))
                continue
            kept.append(rendered)
            names.append("+".join(talk.id for talk in talks))
            pictures += views
        if kept:
            states = torch.cat(pictures) if pictures and self.cache is not None else None
            batch = collate(kept, self.pad_id, pictures if self.cache is None else None, states, names)
        else:
            batch = self._empty()
        return replace(batch, lost=tuple(lost), complaints=tuple(complaints))

    def _see(self, slot: Slot) -> Tensor:
        """A picture's views as the model takes them in, [views, …]."""
        if self.cache is not None:
            return self.cache.get([slot.image])
        return make_views(open_image(slot.image), self.sight, slot.views)

    def _empty(self) -> Batch:
        """A batch of weight 0, for a process that must take part in a step and has nothing for it."""
        words = Conversation.from_json([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
        rendered = self.renderer.render(words)
        rendered.labels[:] = [IGNORE] * len(rendered)
        return replace(collate([rendered], self.pad_id, supervised=False), counts=False)
