"""Rendered conversations -> one padded batch.

Padding on the right; where a batch is packed (`model.attention.Packing`), it is taken out again before anything is
computed.
Rows that hold several conversations (see `prefix`) bring their segments and positions along.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sensorium.errors import SensoriumError
from sensorium.model.batch import Batch
from sensorium.model.labels import IGNORE
from sensorium.rendering.renderer import Rendered

PADDING = -1  # the segment of padding, which nothing looks at


def collate(
    samples: Sequence[Rendered],
    pad_id: int,
    pixel_values: Tensor | Sequence[Tensor] | None = None,
    stem_states: Tensor | None = None,
    sample_ids: Sequence[str] = (),
    supervised: bool = True,
) -> Batch:
    """Pad samples to the longest: ids, mask and labels [b, t].

    pixel_values (views [n, 3, h, w], or one such tensor for each picture) or stem_states: of all pictures of all
    samples, in order.
    Raises SensoriumError when `supervised` and no position of the batch is: it would train on nothing.
    """
    longest = max(len(sample) for sample in samples)
    ids = torch.full((len(samples), longest), pad_id, dtype=torch.long)
    labels = torch.full_like(ids, IGNORE)
    mask = torch.zeros_like(ids, dtype=torch.bool)
    for row, sample in enumerate(samples):
        ids[row, : len(sample)] = torch.tensor(sample.ids)
        labels[row, : len(sample)] = torch.tensor(sample.labels)
        mask[row, : len(sample)] = True
    segments = positions = None
    if any(sample.segments for sample in samples):
        segments, positions = torch.full_like(ids, PADDING), torch.zeros_like(ids)
        for row, sample in enumerate(samples):
            segments[row, : len(sample)] = torch.tensor(sample.segments or [0] * len(sample))
            positions[row, : len(sample)] = torch.tensor(sample.positions or range(len(sample)))
    batch = Batch(ids, mask, labels, _together(pixel_values), stem_states, segments, positions, _visual_order(samples),
                  tuple(sample_ids))
    if supervised and batch.n_supervised == 0:
        raise SensoriumError(f"batch of samples {', '.join(sample_ids) or 'unnamed'}", "has no supervised token.",
                             "Every training conversation needs an assistant turn.")
    return batch


def _together(pictures: Tensor | Sequence[Tensor] | None) -> Tensor | tuple[Tensor, ...] | None:
    """One tensor of all views where they have one size."""
    if pictures is None or isinstance(pictures, Tensor):
        return pictures
    if not pictures:
        return None
    same = len({tuple(views.shape[1:]) for views in pictures}) == 1
    return torch.cat(tuple(pictures)) if same else tuple(pictures)


def _visual_order(samples: Sequence[Rendered]) -> Tensor | None:
    """Which visual token of all views fills each slot; None where all do, in their own order."""
    shown = [slot.views for sample in samples for slot in sample.slots]
    if all(views is None or views.is_plain for views in shown):
        return None
    order: list[int] = []
    before = 0
    for views in shown:
        assert views is not None, "a renderer that asks for one picture's views asks for every picture's"
        order += [before + number for number in views.order]
        before += len(views) * views.n_tokens
    return torch.tensor(order)
