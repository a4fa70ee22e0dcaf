"""Captions as the COCO evaluation scores them (arXiv:1504.00325): BLEU, ROUGE-L, CIDEr-D; no Java.

Official files: annotations {images, annotations: [{image_id, caption}, …]} and results [{image_id, caption}]. Only
pictures with a result are scored, and the weights of CIDEr are counted on them alone. Values are 0-1 and, for CIDEr,
0-10, as the tool prints them.

variants: `official` (also lmms-eval's): Treebank words in lower case without punctuation; `vlmevalkit`: words are what
stands between blanks, case and punctuation kept, and everything times 100.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from sensorium.errors import SensoriumError
from sensorium.evaluation.intervals import Clusters, Interval
from sensorium.evaluation.metrics import Floats
from sensorium.evaluation.scorers.outcome import Outcome, known_variant
from sensorium.evaluation.scorers.rows import read_rows
from sensorium.evaluation.scorers.treebank import words_of

VARIANTS = ("official", "vlmevalkit", "lmms-eval")
LONGEST = 4  # n-grams of one to four words
_SIGMA = 6.0  # CIDEr-D's tolerance for another length
_BETA = 1.2  # ROUGE-L's weight of recall
_SMALL, _TINY = 1e-9, 1e-15  # BLEU's guards against division by zero; they show where nothing matches

Words = Sequence[str]
Grams = Mapping[tuple[str, ...], float]


@dataclass(frozen=True)
class CaptionReply:
    references: tuple[str, ...]
    caption: str


def read(annotations: Path, results: Path) -> tuple[list[CaptionReply], int]:
    """(captions with their references, pictures without a caption).

    Raises SensoriumError naming file and line, also for a caption of an unknown picture.
    """
    told, given = read_rows(annotations, "annotations"), read_rows(results)
    references: dict[int | str, list[str]] = {}
    for i in range(len(told)):
        references.setdefault(told.name(i, "image_id"), []).append(told.text(i, "caption"))
    found = []
    for picture, i in given.by("image_id").items():
        if picture not in references:
            raise given.fault(i, f"image_id {picture!r} is not in {annotations.name}.", "Are these files of one set?")
        found.append(CaptionReply(tuple(references[picture]), given.text(i, "caption")))
    if not found:
        raise SensoriumError(results, "holds no captions.")
    return found, len(references) - len(found)


def score(replies: Sequence[CaptionReply], variant: str = "official", missing: int = 0) -> Outcome:
    """`cider`, `rouge_l`, `bleu_1` to `bleu_4`. Intervals by picture, CIDEr's weights left as they are."""
    is_raw = known_variant(variant, VARIANTS) == "vlmevalkit"
    split = str.split if is_raw else words_of
    scale = 100.0 if is_raw else 1.0
    captions = [split(reply.caption) for reply in replies]
    references = [[split(reference) for reference in reply.references] for reply in replies]
    ciders = cider(captions, references)
    rouges = [rouge_l(caption, others) for caption, others in zip(captions, references, strict=True)]
    counts = Clusters()
    for caption, others in zip(captions, references, strict=True):
        counts.add(None, *bleu_counts(caption, others))
    bleus = bleu(counts.rows.sum(0).tolist())
    n = len(replies)
    values: dict[str, float] = {"cider": scale * sum(ciders) / n, "rouge_l": scale * sum(rouges) / n}
    intervals = {"cider": _mean_interval(ciders, scale), "rouge_l": _mean_interval(rouges, scale)}
    for k in range(LONGEST):
        values[f"bleu_{k + 1}"] = scale * bleus[k]
        intervals[f"bleu_{k + 1}"] = counts.interval(partial(_bleu_of_means, n, k, scale))
    notes = (f"{missing} pictures have no caption and are not scored",) if missing else ()
    return Outcome("caption", variant, {**values, "captions": n, "missing": missing}, intervals, notes)


def _mean_interval(values: Sequence[float], scale: float) -> Interval:
    clusters = Clusters()
    for value in values:
        clusters.add(None, value)
    return clusters.interval(lambda means: scale * means[..., 0])


def _bleu_of_means(n: int, k: int, scale: float, means: Floats) -> Floats:
    """[..., counts of a caption on average] -> [...]"""
    rows = means.reshape(-1, means.shape[-1]) * n
    return np.asarray([scale * bleu(row)[k] for row in rows.tolist()]).reshape(means.shape[:-1])


def grams(words: Words, longest: int = LONGEST) -> Counter[tuple[str, ...]]:
    """How often each run of one to `longest` words occurs."""
    return Counter(
        tuple(words[i : i + k]) for k in range(1, longest + 1) for i in range(len(words) - k + 1)
    )  # fmt: skip


def cider(captions: Sequence[Words], references: Sequence[Sequence[Words]]) -> list[float]:
    """CIDEr-D of each caption (arXiv:1411.5726, section 5), 0-10; of one picture alone it is 0.

    An n-gram weighs its count times ln(pictures / pictures whose references hold it). Similarity to a reference: the
    weights' product, clipped to the reference's, over the lengths of both vectors; times exp(-d² / 72), d the
    difference in **bigrams**; mean over n, then over references; times ten.
    """
    documents: Counter[tuple[str, ...]] = Counter()
    counted = [[grams(words) for words in others] for others in references]
    for others in counted:
        documents.update(set().union(*others))
    pictures = math.log(len(captions))
    found = []
    for caption, others in zip(captions, counted, strict=True):
        vector = _weighted(grams(caption), documents, pictures)
        total = sum(_similarity(vector, _weighted(other, documents, pictures)) for other in others)
        found.append(10.0 * total / LONGEST / len(others))
    return found


@dataclass(frozen=True)
class _Vector:
    weights: list[dict[tuple[str, ...], float]]  # by n
    norms: list[float]
    bigrams: float


def _weighted(counts: Grams, documents: Grams, pictures: float) -> _Vector:
    weights: list[dict[tuple[str, ...], float]] = [{} for _ in range(LONGEST)]
    for gram, count in counts.items():
        weights[len(gram) - 1][gram] = count * (pictures - math.log(max(1.0, documents[gram])))
    norms = [math.sqrt(sum(weight * weight for weight in of_n.values())) for of_n in weights]
    return _Vector(weights, norms, sum(count for gram, count in counts.items() if len(gram) == 2))


def _similarity(caption: _Vector, reference: _Vector) -> float:
    """Summed over n."""
    total = 0.0
    for own, other, norm, other_norm in zip(
        caption.weights, reference.weights, caption.norms, reference.norms, strict=True
    ):
        product = sum(min(weight, other[gram]) * other[gram] for gram, weight in own.items() if gram in other)
        if norm and other_norm:
            total += product / (norm * other_norm)
    return total * math.exp(-((caption.bigrams - reference.bigrams) ** 2) / (2 * _SIGMA**2))


def rouge_l(caption: Words, references: Sequence[Words]) -> float:
    """The longest common subsequence: F of the best precision and the best recall, which may be two references'."""
    common = [(_subsequence(reference, caption), max(1, len(reference))) for reference in references]
    precision = max(length for length, _ in common) / max(1, len(caption))
    recall = max(length / of for length, of in common)
    if not precision or not recall:
        return 0.0
    return (1 + _BETA**2) * precision * recall / (recall + _BETA**2 * precision)


def _subsequence(first: Words, second: Words) -> int:
    row = [0] * (len(second) + 1)
    for word in first:
        before = 0
        for j, other in enumerate(second, start=1):
            before, row[j] = row[j], before + 1 if word == other else max(row[j], row[j - 1])
    return row[-1]


def bleu_counts(caption: Words, references: Sequence[Words]) -> tuple[float, ...]:
    """(words, words of the nearest reference, then for each n: runs that match, then for each n: runs)."""
    own, most = grams(caption), Counter[tuple[str, ...]]()
    for reference in references:
        most |= grams(reference)
    matched = [0] * LONGEST
    for gram, count in own.items():
        matched[len(gram) - 1] += min(count, most[gram])
    nearest = min((abs(len(reference) - len(caption)), len(reference)) for reference in references)[1]
    runs = [max(0, len(caption) - k) for k in range(LONGEST)]
    return (len(caption), nearest, *matched, *runs)


def bleu(sums: Sequence[float]) -> list[float]:
    """BLEU-1 to BLEU-4 of a corpus, from the sums of `bleu_counts` (Papineni et al. 2002, nearest length)."""
    length, reference, counts = sums[0], sums[1], sums[2:]
    product, found = 1.0, []
    for k in range(LONGEST):
        product *= (counts[k] + _TINY) / (counts[LONGEST + k] + _SMALL)
        found.append(product ** (1 / (k + 1)))
    share = (length + _TINY) / (reference + _SMALL)
    return [one * math.exp(1 - 1 / share) for one in found] if share < 1 else found
