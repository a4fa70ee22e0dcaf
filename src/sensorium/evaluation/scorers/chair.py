"""CHAIR (arXiv:1809.02156): which of the things that a caption names are not in the picture.

The classes are COCO's 80, and the words for them come from the synonym table of its authors, one class a line, names
apart by commas, the class first. The table has no licence, so it is not here: `--synonyms FILE` names yours. Truth:
the classes of the instance annotations and those that the five human captions name.

Words are made singular by the table (a plural of one of its words is that word), where the official tool asks
pattern.en, a library of Python 2: mis-made singulars ("glas") are not copied, and scores may differ in the last digits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sensorium.errors import SensoriumError
from sensorium.evaluation.intervals import Clusters
from sensorium.evaluation.metrics import ratio
from sensorium.evaluation.scorers.outcome import Outcome, known_variant
from sensorium.evaluation.scorers.rows import Rows, read_json, read_rows, read_text
from sensorium.evaluation.scorers.treebank import tokens_of, words_of

VARIANTS = ("official",)
_YOUNG_AND_OLD = ("baby", "adult")
_ANIMALS = (
    "bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "animal", "cub",
)  # fmt: skip
# Two words that are one thing; the second of a pair alone would often be another.
_PAIRS = (
    "motor bike", "motor cycle", "air plane", "traffic light", "street light", "traffic signal", "stop light",
    "fire hydrant", "stop sign", "parking meter", "suit case", "sports ball", "baseball bat", "baseball glove",
    "tennis racket", "wine glass", "hot dog", "cell phone", "mobile phone", "teddy bear", "hair drier", "potted plant",
    "laptop computer", "home plate",
)  # fmt: skip
_SAME_AS = {
    **{pair: pair for pair in _PAIRS},
    **{f"{age} {animal}": animal for age in _YOUNG_AND_OLD for animal in _ANIMALS},
    "passenger jet": "jet", "passenger train": "train", "bow tie": "tie", "toilet seat": "toilet",
}  # fmt: skip


@dataclass(frozen=True)
class ChairReply:
    """truth: the classes in the picture."""

    truth: frozenset[str]
    caption: str


class Mentions(Protocol):
    """Whoever knows which classes a caption names: the authors' table, or a vocabulary of one's own."""

    def mentions(self, caption: str, /) -> list[str]:
        """The class of every mention, in order, repeats kept."""
        ...


class Synonyms:
    """Words for classes. classes: each a list of names, the class first."""

    def __init__(self, classes: Iterable[Sequence[str]]) -> None:
        import inflect

        engine = inflect.engine()
        self.of: dict[str, str] = {}
        for names in classes:
            for name in names:
                self.of[name] = names[0]
        known = {word for name in (*self.of, *_SAME_AS) for word in name.split()} | {"seat"}
        plurals = {str(engine.plural_noun(word)): word for word in sorted(known - _PLURALS)}
        self._singular = {many: one for many, one in plurals.items() if many not in known}

    @classmethod
    def read(cls, path: Path) -> Synonyms:
        """Raises SensoriumError naming the line of a name that two classes claim."""
        classes: list[list[str]] = []
        owner: dict[str, int] = {}
        for number, line in enumerate(read_text(path).splitlines(), start=1):
            names = [name.strip() for name in line.split(",") if name.strip()]
            for name in names:
                if owner.setdefault(name, number) != number:
                    raise SensoriumError(f"{path} line {number}", f"{name!r} was there in line {owner[name]}.")
            classes += [names] if names else []
        if not classes:
            raise SensoriumError(path, "has no classes.", "One class a line, its names apart by commas.")
        return cls(classes)

    def mentions(self, caption: str) -> list[str]:
        """The class of every mention, in order, repeats kept."""
        words = [self._singular.get(word, word) for word in tokens_of(caption)]
        found, i = [], 0
        while i < len(words):
            pair = " ".join(words[i : i + 2])
            found.append(_SAME_AS.get(pair, words[i]))
            i += 2 if pair in _SAME_AS else 1
        if "toilet" in found:
            found = [word for word in found if word != "seat"]
        return [self.of[word] for word in found if word in self.of]


_PLURALS = frozenset({"scissors", "skis", "sheep", "glasses"})  # they have no plural of their own


def read(results: Path, synonyms: Synonyms, instances: Sequence[Path], captions: Sequence[Path]) -> list[ChairReply]:
    """results: rows {image_id, caption}, or the official {imgToEval: {id: {image_id, caption}}}; instances, captions:
    COCO's annotation files, several where a set is in two.

    Raises SensoriumError naming file and line, also for a picture that no annotation file knows.
    """
    truth: dict[int | str, set[str]] = {}
    for path in instances:
        _add_instances(truth, path, synonyms)
    for path in captions:
        told = read_rows(path, "annotations")
        for i in range(len(told)):
            truth.setdefault(told.name(i, "image_id"), set()).update(synonyms.mentions(told.text(i, "caption")))
    given = _results(results)
    found = []
    for picture, i in given.by("image_id").items():
        if picture not in truth:
            raise given.fault(i, f"image_id {picture!r} is in none of the annotation files.", "Are they of one set?")
        found.append(ChairReply(frozenset(truth[picture]), given.text(i, "caption")))
    if not found:
        raise SensoriumError(results, "holds no captions.")
    return found


def _results(path: Path) -> Rows:
    text = read_text(path)
    if text.lstrip().startswith("{") and '"imgToEval"' in text:
        content = read_json(path)
        of_pictures = content.get("imgToEval")
        if isinstance(of_pictures, dict):
            keys = list(of_pictures)
            return Rows(path, list(of_pictures.values()), lambda i: text.count("\n", 0, text.find(f'"{keys[i]}"')) + 1)
    return read_rows(path)


def _add_instances(truth: dict[int | str, set[str]], path: Path, synonyms: Synonyms) -> None:
    names = {}
    categories = read_rows(path, "categories")
    for i in range(len(categories)):
        name = categories.text(i, "name")
        if name not in synonyms.of:
            raise categories.fault(i, f"the class {name!r} is not in the synonym table.")
        names[categories.name(i, "id")] = synonyms.of[name]
    images = read_rows(path, "images")
    for i in range(len(images)):
        truth.setdefault(images.name(i, "id"), set())
    told = read_rows(path, "annotations")
    for i in range(len(told)):
        category = told.name(i, "category_id")
        if category not in names:
            raise told.fault(i, f"category_id {category!r} is not among the categories.")
        truth.setdefault(told.name(i, "image_id"), set()).add(names[category])


def score(replies: Sequence[ChairReply], synonyms: Mentions, variant: str = "official") -> Outcome:
    """Percent, as the tool prints it: `chair_s` of captions, `chair_i` of mentions (repeats count), `recall` of the
    classes that are there, and `words` a caption has on average, without which the others say little."""
    known_variant(variant, VARIANTS)
    sums = Clusters()  # mentions, wrong ones, right classes, true classes, words, captions with a wrong one
    for reply in replies:
        named = synonyms.mentions(reply.caption)
        wrong = sum(one not in reply.truth for one in named)
        right = len(reply.truth.intersection(named))
        sums.add(None, len(named), wrong, right, len(reply.truth), len(words_of(reply.caption)), wrong > 0)
    mentions, wrong, right, true, words, captions = sums.rows.sum(0)
    n = len(replies)
    values: Mapping[str, float] = {
        "chair_s": float(100 * captions / n),
        "chair_i": float(100 * ratio(wrong, mentions)),
        "recall": float(100 * ratio(right, true)),
        "words": float(words / n),
        "captions": n,
        "mentions": int(mentions),
        "wrong": int(wrong),
    }
    share = Clusters()
    for row in sums.rows:
        share.add(None, row[5], 1)
    intervals = {
        "chair_s": share.mean_interval(100),
        "chair_i": sums.interval(lambda means: 100 * ratio(means[..., 1], means[..., 0])),
        "recall": sums.interval(lambda means: 100 * ratio(means[..., 2], means[..., 3])),
    }
    notes = () if mentions else ("chair_i is 0 / 0, where the official tool stops; 0 is given",)
    return Outcome("chair", variant, values, intervals, notes)
