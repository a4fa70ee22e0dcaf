"""Which samples share a batch, and in which order: like lengths together, everything shuffled, resumable.

A batch is padded to its longest sample, so mixed lengths waste most of it. Sorting the whole epoch would fix that and
spoil the shuffle: instead the shuffled samples are sorted only inside *megabatches*, each worth some dozens of batches,
cut into batches by a budget of padded tokens, and the batches are shuffled again (LLaVA's `group_by_modality_length`
and Hugging Face's `LengthGroupedSampler` do the same without a budget).

The order is a function of the seed, the epoch, the lengths and the configuration, of nothing else: not of workers,
devices, or global random state. So a place in it is one number, and a resumed run goes on with the very next batch.

Used by `training.loop`, which counts the batches itself; knows nothing of what the samples are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field

from sensorium.errors import SensoriumError

Indices = NDArray[np.int64]


class SamplerConfig(BaseModel):
    """How batches are cut.

    max_tokens: budget of a batch, longest sample times number of samples. max_samples: no more than these, however
    short. megabatch: batches' worth of samples sorted together; larger wastes less padding, shuffles less. too_long:
    what to do with a sample longer than the budget: stop with an error that names it, or give it a batch alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_tokens: int = Field(default=4096, ge=1)
    max_samples: int = Field(default=32, ge=1)
    megabatch: int = Field(default=64, ge=1)
    too_long: Literal["error", "alone"] = "error"

    def build(self, lengths: ArrayLike, seed: int) -> LengthSampler:
        return LengthSampler(lengths, self, seed)


class LengthSampler:
    """Batches of sample indices, each epoch covering each sample exactly once.

    lengths: [samples] tokens of each sample, at least 1. seed: not negative.
    Raises SensoriumError when there are no samples, or one is too long and the configuration says `error`.
    """

    def __init__(self, lengths: ArrayLike, config: SamplerConfig, seed: int) -> None:
        self.lengths: Indices = np.asarray(lengths, dtype=np.int64)
        self.config, self.seed = config, seed
        _check_lengths(self.lengths, config)

    def batches(self, epoch: int) -> list[Indices]:
        """All batches of one epoch in their order; each [samples in batch], longest sample first."""
        random = np.random.default_rng((self.seed, epoch))
        order = random.permutation(len(self.lengths))
        size = self._megabatch_samples()
        batches = [
            batch
            for start in range(0, len(order), size)
            for batch in self._cut(self._longest_first(order[start : start + size]))
        ]
        return [batches[i] for i in random.permutation(len(batches))]

    def state_dict(self) -> dict[str, Any]:
        """What the order depends on, as a fingerprint; the place in it is the loop's affair."""
        return {"order": self._fingerprint()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises SensoriumError if the order is no longer the one that a checkpoint's place was in."""
        if state["order"] != self._fingerprint():
            what = "the data, the seed or the batch settings are not those of the checkpoint; its place means nothing."
            raise SensoriumError("resume", what, "Put them back, or start a new run in another folder.")

    def _megabatch_samples(self) -> int:
        """Samples in a megabatch: as many as that many batches of samples of mean length would hold."""
        typical = int(self.config.max_tokens // self.lengths.mean())
        return self.config.megabatch * min(max(typical, 1), self.config.max_samples)

    def _longest_first(self, indices: Indices) -> Indices:
        return indices[np.argsort(-self.lengths[indices], kind="stable")]

    def _cut(self, indices: Indices) -> Iterator[Indices]:
        """Batches within the budget; with the longest first, the first of each batch tells how many it holds."""
        start = 0
        while start < len(indices):
            fitting = int(self.config.max_tokens // self.lengths[indices[start]])
            size = min(max(fitting, 1), self.config.max_samples)  # 0 fit only when it is alone
            yield indices[start : start + size]
            start += size

    def _fingerprint(self) -> str:
        digest = hashlib.sha256(f"{self.seed} {self.config.model_dump_json()} ".encode())
        digest.update(self.lengths.astype("<i8").tobytes())
        return digest.hexdigest()


def _check_lengths(lengths: Indices, config: SamplerConfig) -> None:
    if lengths.ndim != 1 or not len(lengths):
        raise SensoriumError("samples", "there are none to train on.", "Look at what the data report says was dropped.")
    if lengths.min() < 1:
        raise SensoriumError(f"sample {int(lengths.argmin())}", "it has no tokens.", "Leave empty samples out.")
    longest = int(lengths.argmax())
    if config.too_long == "error" and lengths[longest] > config.max_tokens:
        what = f"its {int(lengths[longest])} tokens exceed the batch budget, max_tokens = {config.max_tokens}."
        raise SensoriumError(f"sample {longest}", what, "Raise max_tokens, or set `too_long: alone`.")
