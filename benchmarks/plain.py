"""What the training benchmarks measure with, and the plain way that they measure ours against."""

from __future__ import annotations

import copy
import json
import resource
import sys
import time
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F

from sensorium.model.batch import Batch
from sensorium.model.labels import IGNORE
from sensorium.training.objective import Loss
from sensorium.training.replies import ReplyObjective
from sensorium.training.samples import Samples, SceneSamples


class PlainObjective(ReplyObjective):
    """The same conversations, padded; every position's logits over the whole vocabulary."""

    def loss(self, batch: Batch) -> Loss:
        batch = batch.to(self.model.device)
        hidden = self.model.language_states(self.model.embed(batch), batch.attention_mask)
        logits = self.model.head(hidden).float()
        assert batch.labels is not None
        labels = batch.labels[:, 1:].flatten()
        total = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels, ignore_index=IGNORE, reduction="sum")
        return Loss(total, batch.n_supervised, len(batch.input_ids), int(batch.attention_mask.sum()))


def apart(samples: Samples) -> SceneSamples:
    """The same drawn conversations, each in a row of its own."""
    assert isinstance(samples, SceneSamples)
    alone = copy.copy(samples)
    alone.groups = [[conversation] for group in samples.groups for conversation in group]
    return alone


def now() -> float:
    """The time in seconds at which all that was asked of the GPU is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def forget_peak() -> None:
    """Let `peak_memory` begin anew: what preparations took is not what training takes."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    elif sys.platform.startswith("linux"):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    """Bytes that were in use at most: of the GPU, or of this process (off Linux, since it was started)."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    if sys.platform.startswith("linux"):
        status = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def few_scenes(data: Path, folder: Path, scenes: int) -> Path:
    """A dataset of the first so many scenes of another, to validate on a few: what is measured for a minute must not
    look at ten thousand pictures beforehand.
    """
    info = json.loads((data / "dataset.json").read_text(encoding="utf-8"))
    splits = {}
    for split, most in (("train", scenes), ("val", 4)):
        inside = folder / split
        inside.mkdir(parents=True)
        (inside / "images").symlink_to((data / split / "images").resolve())
        with (data / split / "scenes.jsonl").open("rb") as file:
            chosen = list(islice(file, most))
        ids = {json.loads(line)["id"] for line in chosen} | {None}
        with (data / split / "conversations.jsonl").open("rb") as file:
            said = [line for line in file if json.loads(line)["scene"] in ids]
        (inside / "scenes.jsonl").write_bytes(b"".join(chosen))
        (inside / "conversations.jsonl").write_bytes(b"".join(said))
        splits[split] = {"scenes": len(chosen), "conversations": len(said)}
    (folder / "dataset.json").write_text(json.dumps(info | {"splits": splits}), encoding="utf-8")
    return folder
