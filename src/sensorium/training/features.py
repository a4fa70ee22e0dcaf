"""Memory-mapped cache of what the frozen vision stem makes of each picture.

On two cores the encoder costs as much as the language model, and a frozen stem makes the same of the same picture every
time; so its output is computed once and read from disk afterwards, in float16. The cache is keyed by the pictures'
bytes, the encoder and the preprocessing: it can go stale in no way, and two recipes with one encoder share it. A stage
that trains the stem is refused, by name.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sensorium.conversation import Image
from sensorium.errors import SensoriumError
from sensorium.files import write_whole
from sensorium.media import open_image
from sensorium.model.multimodal import MultimodalModel
from sensorium.model.views import make_views
from sensorium.parts import cache_root

BATCH = 32
FLUSH_EVERY = 16  # batches
Progress = Callable[[int, int], None]


class FeatureCache:
    """Stem states of pictures, by path: [tokens, width] each, float16 on disk."""

    def __init__(self, folder: Path, paths: Sequence[str]) -> None:
        self.states = np.load(folder / "states.npy", mmap_mode="r")
        self._row = {path: row for row, path in enumerate(paths)}

    def __contains__(self, path: str) -> bool:
        return path in self._row

    def get(self, paths: Sequence[str]) -> Tensor:
        """Stem states [n, tokens, width], float32, in the order of the paths."""
        if unknown := [path for path in paths if path not in self._row]:
            raise SensoriumError(unknown[0], "is shown in a conversation but is in no scene of the dataset.",
                                 "Build the dataset again.")
        return torch.from_numpy(np.stack([self.states[self._row[path]] for path in paths])).float()


def build_feature_cache(
    model: MultimodalModel,
    paths: Sequence[str],
    precision: torch.dtype = torch.float32,
    progress: Progress | None = None,
) -> FeatureCache:
    """The cache of those pictures, computed where it is not there yet; an interrupted build goes on where it stopped.

    Raises SensoriumError when the model's stem trains, a picture does not open, or the disk is full.
    """
    if any(p.requires_grad for p in model.vision.stem.parameters()):
        raise SensoriumError("feature cache", "the vision stem trains, so its output changes with every step.",
                             "Set vision.tail_blocks so that only the tail trains, or freeze `vision`.")
    paths = sorted(set(paths))
    folder = cache_root() / "features" / _fingerprint(model, paths, precision)
    done_file = folder / "done.json"
    done = json.loads(done_file.read_text())["rows"] if done_file.exists() else 0
    if done < len(paths):
        try:
            _fill(model, paths, folder, done, precision, progress or (lambda done, total: None))
        except OSError as error:
            raise SensoriumError(folder, f"cannot be written ({error.strerror}).",
                                 "Free some space, or set SENSORIUM_CACHE to another folder.") from error
    return FeatureCache(folder, paths)


def _fill(
    model: MultimodalModel, paths: Sequence[str], folder: Path, done: int, precision: torch.dtype, tell: Progress
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    model.vision.stem.eval()
    sight = model.sight

    def pixels(path: str) -> Tensor:
        return make_views(open_image(Image(path)), sight)

    states: np.memmap | None = None
    with ThreadPoolExecutor(2) as pool, torch.inference_mode():
        starts = range(done, len(paths), BATCH)
        coming = [pool.submit(pixels, path) for path in paths[done : done + BATCH]]
        for number, start in enumerate(starts):
            batch = torch.cat([picture.result() for picture in coming])
            coming = [pool.submit(pixels, path) for path in paths[start + BATCH : start + 2 * BATCH]]
            with torch.autocast(model.device.type, precision, enabled=precision != torch.float32):
                output = model.vision.stem_states(batch.to(model.device)).float().cpu()
            if states is None:
                shape = (len(paths), *output.shape[1:])
                mode = "r+" if done else "w+"
                _require_space(folder, 2 * output[0].numel() * (len(paths) - done))
                states = np.lib.format.open_memmap(folder / "states.npy", mode, np.float16, shape)
            states[start : start + len(output)] = output.half().numpy()
            if number % FLUSH_EVERY == 0 or start + BATCH >= len(paths):  # a flush waits for the disk
                states.flush()
                write_whole(folder / "done.json", json.dumps({"rows": start + len(output)}))
            tell(start + len(output), len(paths))


def _require_space(folder: Path, n_bytes: int) -> None:
    """Raises SensoriumError beforehand: a memory map that meets a full disk kills the process without a word."""
    if (free := shutil.disk_usage(folder).free) < n_bytes:
        raise SensoriumError(folder, f"needs {n_bytes / 1e9:.1f} GB for vision features, {free / 1e9:.1f} GB are free.",
                             "Free some space, or set SENSORIUM_CACHE to another folder.")


def _fingerprint(model: MultimodalModel, paths: Sequence[str], precision: torch.dtype) -> str:
    """Of the pictures' bytes, the stem's weights, the preprocessing and the arithmetic."""
    digest = hashlib.sha256()
    vision = model.vision
    identity = {"layer": vision.n_layers, "size": vision.config.image_size, "views": model.config.views.model_dump(),
                "precision": str(precision), "part": vision.config.part}
    digest.update(json.dumps(identity, sort_keys=True).encode())
    for name, tensor in sorted(vision.stem.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().numpy().tobytes())
    for path in paths:
        digest.update(bytes.fromhex(Image(path).digest))
    return digest.hexdigest()[:32]
