"""How long each sample is, and which cannot be used, before the first step.

Every sample is rendered once without opening a picture: its tokens of text, its visual tokens, whether its pictures are
there and are pictures. Packs are planned from these numbers, and what is bad is counted by reason here and not met in
the middle of the night. Measures are kept in the cache, keyed by what the samples and the renderer are made of.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from sensorium.data.defects import reason_of
from sensorium.errors import SensoriumError
from sensorium.files import write_whole
from sensorium.media import image_size
from sensorium.model.labels import IGNORE
from sensorium.parts import cache_root
from sensorium.progress import ProgressCallback
from sensorium.rendering import Rendered, Renderer, Slot, share_prefix
from sensorium.training.packing import Indices, PackPlan, Room, Sizes
from sensorium.training.samples import Samples, Talk

Seen = TypeVar("Seen")
VERSION = 4  # raise when the same sample measures otherwise
PARALLEL_FROM = 20_000  # samples; below, starting processes takes longer than they save
_BLOCK = 256
_PROBED = 100  # samples of a source, for its mean length
_EXAMPLES = 3  # of what is bad, shown in an error


@dataclass(frozen=True)
class Measures:
    """sizes: tokens of each sample, 0 where it was dropped. supervised [samples]: tokens that are learned of each.
    dropped: sample -> complaint, naming file and row.

    reasons: sample -> the complaint without what differs from row to row. faults: sample -> why parts of its
    annotations were left out.
    """

    sizes: Sizes
    supervised: Indices
    dropped: dict[int, str]
    reasons: dict[int, str]
    faults: dict[int, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Contribution:
    """What a source really gives to a stage: samples and their tokens, and what was dropped, by reason.

    left_out: annotations of samples that were kept.
    """

    title: str
    samples: int
    text_tokens: int
    visual_tokens: int
    dropped: Counter[str]
    left_out: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        """As plain data. `dataclasses.asdict` cannot: it makes a Counter anew from pairs, and counts the pairs."""
        return vars(self) | {"dropped": dict(self.dropped), "left_out": dict(self.left_out)}


def render_sample(renderer: Renderer, talks: Sequence[Talk], room: Room | None = None) -> Rendered:
    """The tokens of a sample. room: what it may take; one that takes more has its pictures cut into fewer tiles until
    it fits, or nothing is left to cut. Raises SensoriumError for a conversation of which nothing can be learned.
    """
    rendered = _rendered(renderer, talks)
    while room is not None and not room.holds(len(rendered), visual_tokens(rendered)):
        smaller = renderer.fewer()
        if smaller is None:
            break
        renderer, rendered = smaller, _rendered(smaller, talks)
    return rendered


def visual_tokens(rendered: Rendered) -> int:
    """Of a sample, the marks between them counted as well."""
    return sum(slot.length for slot in rendered.slots)


def _rendered(renderer: Renderer, talks: Sequence[Talk]) -> Rendered:
    rendered = []
    for talk in talks:
        rendered.append(renderer.render(talk.conversation))
        if all(label == IGNORE for label in rendered[-1].labels):
            raise SensoriumError(talk.where, "has no assistant turn, so there is nothing to learn from it.")
    return rendered[0] if len(rendered) == 1 else share_prefix(rendered)


def look_at_pictures(talks: Sequence[Talk], rendered: Rendered, look: Callable[[Slot], Seen]) -> list[Seen]:
    """What `look` finds in each picture of a sample. A SensoriumError of its is raised again, naming file and row."""
    found = []
    for number, slot in enumerate(rendered.slots, start=1):
        try:
            found.append(look(slot))
        except SensoriumError as error:
            where = f"{talks[0].where}: picture {number} ({error.where})"
            raise SensoriumError(where, error.what, error.remedy) from error
    return found


def measure(
    samples: Samples, renderer: Renderer, tell: ProgressCallback, room: Room | None = None
) -> Measures:
    """Measure every sample, or read the measures of an earlier run. room: see `render_sample`.

    Raises SensoriumError when more of them are bad than `samples.max_bad` allows, with the reasons.
    """
    path = cache_root() / "lengths" / f"{_fingerprint(samples, renderer, room)}.json"
    found = _read(path, len(samples))
    if found is None:
        found = _measured(samples, renderer, tell, room)
    elif not found.dropped:
        return found
    else:  # what was missing may be there by now
        _measure_again(found, samples, renderer, room)
    check_bad(samples, found.dropped, found.reasons)
    content = {"text": found.sizes.text.tolist(), "visual": found.sizes.visual.tolist(),
               "supervised": found.supervised.tolist(), "dropped": found.dropped, "reasons": found.reasons,
               "faults": found.faults}
    with contextlib.suppress(SensoriumError, OSError):  # a cache that cannot be written costs time, nothing else
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(content))
    return found


def check_bad(samples: Samples, dropped: dict[int, str], reasons: dict[int, str]) -> None:
    """Raises SensoriumError when too many samples are bad."""
    if len(dropped) <= samples.max_bad * len(samples):
        return
    listed = ", ".join(f"{count} x {reason}" for reason, count in Counter(reasons.values()).most_common(5))
    examples = " ".join(f"[{i}] {line}" for i, line in enumerate(list(dropped.values())[:_EXAMPLES], start=1))
    what = f"{len(dropped):,} of {len(samples):,} samples cannot be used ({len(dropped) / len(samples):.1%}; "
    what += f"allowed are {samples.max_bad:.1%}): {listed}. For example: {examples}"
    raise SensoriumError("data", what, "Mend them (`sensorium data check` lists all), or raise max_bad_rows.")


def contributions(
    samples: Samples, measures: Measures, plan: PackPlan, lost: Sequence[int] = ()
) -> list[Contribution]:
    """What each source gives, in the order of `samples.titles`. lost: samples that training could not read."""
    numbers = np.array([samples.source(i) for i in range(len(samples))])
    unused = dict.fromkeys(plan.too_long, "is longer than the batch budget.")
    unused |= dict.fromkeys(plan.unreadable, "is longer than the language model reads.")
    unused |= dict.fromkeys(lost, "could not be read while training.")
    used = (measures.sizes.whole > 0) & ~np.isin(np.arange(len(samples)), list(unused))
    found = []
    for number, title in enumerate(samples.titles):
        mine = used & (numbers == number)
        dropped = Counter(why for i, why in (measures.reasons | unused).items() if numbers[i] == number)
        faults = (why for i, all_of_it in measures.faults.items() if numbers[i] == number for why in all_of_it)
        text, visual = (int(tokens[mine].sum()) for tokens in (measures.sizes.text, measures.sizes.visual))
        found.append(Contribution(title, int(mine.sum()), text, visual, dropped, Counter(faults)))
    return found


def mean_tokens(samples: Samples, renderer: Renderer) -> list[float]:
    """Mean tokens of a sample of each source, over the first hundred of each in the samples' (shuffled) order."""
    found: list[list[int]] = [[] for _ in samples.titles]
    for number in range(len(samples)):
        lengths = found[samples.source(number)]
        if len(lengths) < _PROBED:
            found_one = _measure_one(samples, renderer, number, None)
            if found_one.text:
                lengths.append(found_one.text + found_one.visual)
        if all(len(lengths) == _PROBED for lengths in found):
            break
    for title, lengths in zip(samples.titles, found, strict=True):
        if not lengths:
            raise SensoriumError(title, "has no sample that can be used.", "See `sensorium data check`.")
    return [float(np.mean(lengths)) for lengths in found]


def contribution_table(found: Sequence[Contribution]) -> list[str]:
    """Lines for people: a source each, and under it what was dropped."""
    rows: list[tuple[str, ...]] = [("source", "samples", "text tokens", "visual tokens", "dropped")]
    rows += [(one.title, *(f"{number:,}" for number in (one.samples, one.text_tokens, one.visual_tokens,
                                                        one.dropped.total()))) for one in found]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row, one in zip(rows, [None, *found], strict=True):
        numbers = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        lines.append("  ".join((row[0].ljust(widths[0]), *numbers)))
        if one:
            lines += [f"    {count:,} dropped: {reason}" for reason, count in one.dropped.most_common()]
            lines += [f"    {count:,} annotations left out: {reason}" for reason, count in one.left_out.most_common()]
    return lines


class Measured(NamedTuple):
    """What one sample is; of a bad one the complaint and its reason."""

    text: int
    visual: int
    supervised: int
    complaint: str
    reason: str
    faults: tuple[str, ...]


def _measured(
    samples: Samples, renderer: Renderer, tell: ProgressCallback, room: Room | None = None
) -> Measures:
    text, visual, supervised = np.zeros((3, len(samples)), dtype=np.int64)
    dropped: dict[int, str] = {}
    reasons: dict[int, str] = {}
    faults: dict[int, list[str]] = {}
    for number, found in enumerate(_all(samples, renderer, room)):
        text[number], visual[number], supervised[number] = found.text, found.visual, found.supervised
        if found.complaint:
            dropped[number], reasons[number] = found.complaint, found.reason
        if found.faults:
            faults[number] = list(found.faults)
        if (number + 1) % _BLOCK == 0 or number + 1 == len(samples):
            tell("measuring samples", number + 1, len(samples))
    return Measures(Sizes(text, visual), supervised, dropped, reasons, faults)


def _measure_again(found: Measures, samples: Samples, renderer: Renderer, room: Room | None) -> None:
    """Look once more at the samples that were dropped."""
    for number in list(found.dropped):
        again = _measure_one(samples, renderer, number, room)
        del found.dropped[number], found.reasons[number]
        found.sizes.text[number], found.sizes.visual[number] = again.text, again.visual
        found.supervised[number] = again.supervised
        if again.complaint:
            found.dropped[number], found.reasons[number] = again.complaint, again.reason


def _all(samples: Samples, renderer: Renderer, room: Room | None) -> Iterator[Measured]:
    if len(samples) < PARALLEL_FROM:
        for number in range(len(samples)):
            yield _measure_one(samples, renderer, number, room)
        return
    # Spawned, not forked: torch's threads and a progress display do not survive a fork.
    context = multiprocessing.get_context("spawn")
    blocks = [range(start, min(start + _BLOCK, len(samples))) for start in range(0, len(samples), _BLOCK)]
    with ProcessPoolExecutor(os.cpu_count(), context, _work_with, (samples, renderer, room)) as pool:
        try:
            for block in pool.map(_measure_block, blocks):
                yield from block
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


_of_worker: list[tuple[Samples, Renderer, Room | None]] = []


def _work_with(samples: Samples, renderer: Renderer, room: Room | None) -> None:
    _of_worker[:] = [(samples, renderer, room)]


def _measure_block(block: range) -> list[Measured]:
    samples, renderer, room = _of_worker[0]
    return [_measure_one(samples, renderer, number, room) for number in block]


def _measure_one(samples: Samples, renderer: Renderer, number: int, room: Room | None) -> Measured:
    try:
        talks = samples[number]
        rendered = render_sample(renderer, talks, room)
        look_at_pictures(talks, rendered, lambda slot: image_size(slot.image))
    except SensoriumError as error:
        return Measured(0, 0, 0, str(error), reason_of(error), ())
    visual = visual_tokens(rendered)
    supervised = sum(label != IGNORE for label in rendered.labels[1:])  # nothing predicts the first
    faults = tuple(fault for talk in talks for fault in talk.faults)
    return Measured(len(rendered) - visual, visual, supervised, "", "", faults)


def _read(path: Path, n_samples: int) -> Measures | None:
    try:
        content = json.loads(path.read_bytes())
        sizes = Sizes.of(content["text"], content["visual"])
        supervised = np.asarray(content["supervised"], dtype=np.int64)
        dropped, reasons, faults = (
            {int(i): said for i, said in content[key].items()} for key in ("dropped", "reasons", "faults")
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return Measures(sizes, supervised, dropped, reasons, faults) if len(sizes) == n_samples else None


def _fingerprint(samples: Samples, renderer: Renderer, room: Room | None) -> str:
    tokenizer = renderer.tokenizer
    about = [VERSION, samples.fingerprint(), renderer.visual_tokens, tokenizer.chat_template,
             tokenizer.backend_tokenizer.to_str()]
    if renderer.sight is not None and renderer.sight.config.depends_on_size:
        about += [repr(renderer.sight), repr(room)]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:32]
