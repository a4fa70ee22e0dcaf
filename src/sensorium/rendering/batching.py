"""Rendered conversations -> one padded batch.

Padding on the right; batches are cut from samples of similar length (see `training.sampler`), so little of it remains.
Packing several samples into one row keeps its place here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sensorium.errors import SensoriumError
from sensorium.model.batch import IGNORE, Batch
from sensorium.rendering.renderer import Rendered


def collate(
    samples: Sequence[Rendered],
    pad_id: int,
    pixel_values: Tensor | None = None,
    stem_states: Tensor | None = None,
    sample_ids: Sequence[str] = (),
    supervised: bool = True,
) -> Batch:
    """Pad samples to the longest: ids, mask and labels [b, t].

    pixel_values or stem_states: of all pictures of all samples, in order.
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
    batch = Batch(ids, mask, labels, pixel_values, stem_states, tuple(sample_ids))
    if supervised and batch.n_supervised == 0:
        raise SensoriumError(f"batch of samples {', '.join(sample_ids) or 'unnamed'}", "has no supervised token.",
                             "Every training conversation needs an assistant turn.")
    return batch
