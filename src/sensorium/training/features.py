"""Memory-mapped cache of what the frozen vision stem makes of each picture.

On two cores the encoder costs as much as the language model, and a frozen stem makes the same of the same picture every
time; so its output is computed once and read from disk afterwards, in float16. The cache is keyed by the pictures'
bytes, the encoder and the preprocessing, wherever the pictures come from: it can go stale in no way, and two recipes
with one encoder share it. A stage that trains the stem is refused, by name.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sensorium.conversation import Image
from sensorium.errors import SensoriumError
from sensorium.files import write_whole
from sensorium.media import open_image
from sensorium.model.multimodal import MultimodalModel
from sensorium.model.views import Sight, make_views
from sensorium.parts import cache_root

BATCH = 32
FLUSH_EVERY = 16  # batches
Progress = Callable[[int, int], None]
_Error = tuple[str, str, str]  # what a SensoriumError is made of


class FeatureCache:
    """Stem states of pictures' views: [tokens, width] each, float16 on disk. A copy in another process reads the same
    file.

    rows: SHA-256 of a picture's bytes -> its row; names: path -> row, of pictures that lie in files of their own;
    damaged: row -> what is wrong with a picture that could not be read. starts: where the views of each row begin.
    """

    def __init__(
        self, folder: Path, rows: dict[bytes, int], names: dict[str, int], damaged: dict[int, _Error],
        starts: Sequence[int],
    ) -> None:
        self._made_of = folder, rows, names, damaged, starts
        self.states = np.load(folder / "states.npy", mmap_mode="r")

    def __reduce__(self) -> tuple[type[FeatureCache], tuple[object, ...]]:
        return type(self), self._made_of  # else the map would be copied as what it holds

    def get(self, pictures: Sequence[Image | str]) -> Tensor:
        """Stem states [views, tokens, width], float32, of the pictures (or their paths) in order.

        Raises SensoriumError for one that is damaged, or was not there when the cache was made.
        """
        starts, rows = self._made_of[4], [self._row(picture) for picture in pictures]
        return torch.from_numpy(np.concatenate([self.states[starts[row] : starts[row + 1]] for row in rows])).float()

    def _row(self, picture: Image | str) -> int:
        _, rows, names, damaged, _ = self._made_of
        image = Image(picture) if isinstance(picture, str) else picture
        row = names.get(image.source) if isinstance(image.source, str) else None
        if row is None:
            row = rows.get(bytes.fromhex(image.digest))
        if row is None:
            where = image.source if isinstance(image.source, str) else f"picture ({len(image.source):,} bytes)"
            raise SensoriumError(where, "is shown in a conversation but was not there when features were computed.",
                                 "If it has changed since, start again; else build the dataset again.")
        if row in damaged:
            raise SensoriumError(*damaged[row])
        return row


def build_feature_cache(
    model: MultimodalModel,
    pictures: Sequence[Image | str],
    precision: torch.dtype = torch.float32,
    progress: Progress | None = None,
    skip_damaged: bool = False,
) -> FeatureCache:
    """The cache of those pictures (or paths), computed where it is not there yet; an interrupted build goes on where it
    stopped.

    pictures: asked for one by one and twice at most, so they need not lie in memory. skip_damaged: leave those that
    do not open to whoever asks for them. Raises SensoriumError when the model's stem trains, there is no picture, one
    does not open, or the disk is full.
    """
    require_frozen_stem(model, "feature cache")
    if not model.config.views.has_one_size:
        raise SensoriumError("feature cache", "pictures at their own sizes have features of many shapes.",
                             "Choose another `views.fit`, or train the stem.")
    rows, names, first = _found(pictures)
    if not rows:
        raise SensoriumError("feature cache", "the data shows no picture.", "Leave `cache_features` out.")
    folder = cache_root() / "features" / _fingerprint(model, rows, precision)
    state, opened = _read_state(folder), _Pictures(pictures, first, model.sight, skip_damaged)
    if state["rows"] < len(rows):
        try:
            _fill(model, opened, folder, state, precision, progress or (lambda done, total: None))
        except OSError as error:
            raise SensoriumError(folder, f"cannot be written ({error.strerror}).",
                                 "Free some space, or set SENSORIUM_CACHE to another folder.") from error
    damaged = {int(row): error for row, error in state["damaged"].items()}
    if damaged and not skip_damaged:
        raise SensoriumError(*next(iter(damaged.values())))
    return FeatureCache(folder, rows, names, damaged, opened.starts)


def require_frozen_stem(model: MultimodalModel, where: str) -> None:
    """Raises SensoriumError when the model's stem trains."""
    if any(p.requires_grad for p in model.vision.stem.parameters()):
        raise SensoriumError(where, "the vision stem trains, so its output changes with every step.",
                             "Set vision.tail_blocks so that only the tail trains, or freeze `vision`.")


def _found(pictures: Sequence[Image | str]) -> tuple[dict[bytes, int], dict[str, int], list[int]]:
    """What there is, each picture once however often and under whatever names it is shown: rows and names as
    FeatureCache takes them, and for each row the first number that shows it. Rows are in the order of the digests.
    """
    numbers: dict[bytes, int] = {}
    digests: dict[str, bytes] = {}
    for number, picture in enumerate(pictures):
        source = picture.source if isinstance(picture, Image) else picture
        is_name = isinstance(source, str) and not source.startswith("data:")
        if is_name and source in digests:
            continue
        digest = bytes.fromhex(Image(source).digest)
        numbers.setdefault(digest, number)
        if is_name:
            digests[str(source)] = digest
    rows = {digest: row for row, digest in enumerate(sorted(numbers))}
    return rows, {name: rows[digest] for name, digest in digests.items()}, [numbers[digest] for digest in rows]


class _Pictures:
    """Pictures in the order of their rows, as pixels; of a damaged one that may be skipped black, and its error.

    starts: where the views of each row begin, and at last where those of all end; by the headers.
    """

    def __init__(self, pictures: Sequence[Image | str], first: Sequence[int], sight: Sight, skip: bool) -> None:
        self.pictures, self.first, self.sight, self.skip = pictures, first, sight, skip
        self.starts: Sequence[int] = range(len(first) + 1)
        if sight.config.depends_on_size:
            self.starts = [0, *accumulate(self._n_views(row) for row in range(len(first)))]

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, row: int) -> tuple[Tensor, _Error | None]:
        try:
            return make_views(open_image(self.pictures[self.first[row]]), self.sight), None
        except SensoriumError as error:
            if not self.skip:
                raise
            n_views, side = self.starts[row + 1] - self.starts[row], self.sight.size
            return torch.zeros(n_views, 3, side, side), (error.where, error.what, error.remedy)

    def _n_views(self, row: int) -> int:
        picture = self.pictures[self.first[row]]
        try:
            return len(self.sight.views_of(Image(picture) if isinstance(picture, str) else picture))
        except SensoriumError:
            return 1  # what is wrong with it is said when it is opened


def _fill(
    model: MultimodalModel, pictures: _Pictures, folder: Path, state: dict[str, Any], precision: torch.dtype,
    tell: Progress,
) -> None:
    """Compute rows from state["rows"] on; state is kept up to date, here and beside the features."""
    folder.mkdir(parents=True, exist_ok=True)
    model.vision.stem.eval()
    states: np.memmap | None = None
    begun, count, starts = state["rows"], len(pictures), pictures.starts
    with ThreadPoolExecutor(2) as pool, torch.inference_mode():
        for number, (start, opened) in enumerate(_ahead(pool, pictures, begun)):
            for row, (_, error) in enumerate(opened, start):
                if error is not None:
                    state["damaged"][str(row)] = error
            batch = torch.cat([pixels for pixels, _ in opened])
            with torch.autocast(model.device.type, precision, enabled=precision != torch.float32):
                output = model.vision.stem_states(batch.to(model.device)).float().cpu()
            if states is None:
                shape = (starts[-1], *output.shape[1:])
                _require_space(folder, 2 * output[0].numel() * (starts[-1] - starts[begun]))
                mode = "r+" if begun else "w+"
                states = np.lib.format.open_memmap(folder / "states.npy", mode, np.float16, shape)
            end = start + len(opened)
            states[starts[start] : starts[end]] = output.half().numpy()
            if number % FLUSH_EVERY == 0 or end == count:  # a flush waits for the disk
                states.flush()
                state["rows"] = end
                write_whole(folder / "done.json", json.dumps(state))
            tell(end, count)


def _ahead(
    pool: ThreadPoolExecutor, pictures: _Pictures, begun: int
) -> Iterator[tuple[int, list[tuple[Tensor, _Error | None]]]]:
    """(first row, pictures) of each batch; the next one is opened while one is worked on."""

    def submit(start: int) -> list[Future[tuple[Tensor, _Error | None]]]:
        return [pool.submit(pictures.__getitem__, row) for row in range(start, min(start + BATCH, len(pictures)))]

    coming = submit(begun)
    for start in range(begun, len(pictures), BATCH):
        opened = [picture.result() for picture in coming]
        coming = submit(start + BATCH)
        yield start, opened


def _read_state(folder: Path) -> dict[str, Any]:
    """rows: how many are done; damaged: row -> error."""
    path = folder / "done.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    return {"rows": found.get("rows", 0), "damaged": found.get("damaged", {})}


def _require_space(folder: Path, n_bytes: int) -> None:
    """Raises SensoriumError beforehand: a memory map that meets a full disk kills the process without a word."""
    if (free := shutil.disk_usage(folder).free) < n_bytes:
        raise SensoriumError(folder, f"needs {n_bytes / 1e9:.1f} GB for vision features, {free / 1e9:.1f} GB are free.",
                             "Free some space, or set SENSORIUM_CACHE to another folder.")


def _fingerprint(model: MultimodalModel, digests: Iterable[bytes], precision: torch.dtype) -> str:
    """Of the pictures' bytes, the stem's weights, the preprocessing and the arithmetic."""
    digest = hashlib.sha256()
    vision = model.vision
    views = model.config.views.model_dump(exclude={"named"})  # what stands before a picture is not seen in it
    identity = {"layer": vision.n_layers, "size": vision.config.image_size, "views": views,
                "precision": str(precision), "part": vision.config.part}
    digest.update(json.dumps(identity, sort_keys=True).encode())
    for name, tensor in sorted(vision.stem.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().numpy().tobytes())
    for one in digests:
        digest.update(one)
    return digest.hexdigest()[:32]
