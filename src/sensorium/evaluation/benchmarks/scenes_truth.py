"""What the benchmarks made of our own scenes share: pictures, which names go together, and scores by split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from random import Random

from sensorium.conversation import Image
from sensorium.data.records import Scene
from sensorium.data.scenes.vocabulary import Vocabulary
from sensorium.evaluation.benchmarks.base import Answer
from sensorium.evaluation.scorers.outcome import Outcome

_TRIES = 20  # of a name at random, before all that are free are looked for


@cache
def vocabulary() -> Vocabulary:
    return Vocabulary.load()


def one(name: str) -> str:
    """A name with its article: "a cat", "an apple", "a pair of scissors"."""
    if name in vocabulary():
        return vocabulary()[name].one
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def thing(name: str) -> str:
    """The name as it stands after "the": "dog", "pair of scissors"."""
    return vocabulary()[name].counted(1) if name in vocabulary() else name


@cache
def confusable(first: str, second: str) -> bool:
    """Whether either may truthfully be said of the other (a duck is a bird)."""
    known = vocabulary()
    return first == second or (first in known and second in known and known.confusable(first, second))


def shows(path: str) -> Callable[[], tuple[Image, ...]]:
    return lambda: (Image(path),)


class Absent:
    """Names that a picture does not show, by POPE's three rules over the pictures of one split (arXiv:2305.10355).

    random: any name; popular: the most frequent ones; adversarial: those that most often stand beside what is there.
    A name that might truthfully be said of something in the picture is never taken.
    """

    def __init__(self, scenes: Iterable[Scene]) -> None:
        self.frequent: Counter[str] = Counter()
        self._beside: dict[str, Counter[str]] = {}
        for scene in scenes:
            names = list(scene.counts)
            self.frequent.update(names)
            for name in names:
                self._beside.setdefault(name, Counter()).update(other for other in names if other != name)
        self._names = sorted(self.frequent)
        self._ranked = [name for name, _ in self.frequent.most_common()]

    def pick(self, rule: str, beside: str, present: Sequence[str], used: Sequence[str], draw: Random) -> str | None:
        """One name by a rule, none of `used`; adversarial without any falls back to random. None where none is left."""

        def is_free(name: str) -> bool:
            return name not in used and not any(confusable(name, other) for other in present)

        if rule == "popular":
            return next(filter(is_free, self._ranked), None)
        if rule == "adversarial":
            ranked = (name for name, _ in self._beside.get(beside, Counter()).most_common())
            likely = next(filter(is_free, ranked), None)
            if likely is not None:
                return likely
        if not self._names:  # a split of pages shows no things at all
            return None
        for _ in range(_TRIES):
            if is_free(name := draw.choice(self._names)):
                return name
        free = list(filter(is_free, self._names))
        return draw.choice(free) if free else None


def by_split(
    name: str, answers: Sequence[Answer], variant: str, score: Callable[[Sequence[Answer], str], Outcome]
) -> Outcome:
    """Over all answers, and under `splits` over those of each split, where there are several."""
    whole = score(answers, variant)
    splits: dict[str, list[Answer]] = {}
    for answer in answers:
        splits.setdefault(answer.truth["split"], []).append(answer)
    if len(splits) == 1:
        return whole
    each = {split: score(of_split, variant) for split, of_split in splits.items()}
    values = {**whole.values, "splits": {split: dict(one.values) for split, one in each.items()}}
    intervals = {**whole.intervals, "splits": {split: dict(one.intervals) for split, one in each.items()}}
    return Outcome(name, variant, values, intervals, whole.notes)
