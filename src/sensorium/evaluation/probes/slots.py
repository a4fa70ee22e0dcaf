"""Slot guessing: can a model fill in a word of the test's own sentences without seeing the picture?

The rarest word of each sentence is taken out and asked for, once in the sentence as it was published and once with the
sentence's halves exchanged. Language alone helps in both; a sentence learnt by heart helps in the first. The difference
is the sign (after slot guessing for perturbed captions, MM-Detect, arXiv:2411.03823, which perturbs by translating back
and forth; exchanging halves needs no translator, and is a coarser thing).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from pydantic import Field

from sensorium.errors import SensoriumError
from sensorium.evaluation.benchmarks.base import Answer, Question
from sensorium.evaluation.headlines import Part
from sensorium.evaluation.probes.base import Probe
from sensorium.evaluation.statistics import clustered_mean

_ASK = "One word of this sentence was replaced by [MASK]:\n{}\nWhich word was it? Answer with that word alone."
_LETTERS = 4  # that a word must have to be worth asking for
_WORDS = 4  # that a sentence must have


class Slots(Part):
    """Shares of words guessed, in sentences asked both ways."""

    sentences: int
    published: float
    perturbed: float
    difference: float = Field(description="Published less perturbed; well above 0 it is a sign of contamination.")
    low: float | None
    high: float | None


def slots(questions: Sequence[Question]) -> list[Question]:
    """Two for each different sentence that has a word to ask for."""
    sentences: dict[str, Question] = {}
    for question in questions:
        sentences.setdefault(_sentence(question), question)
    frequency = Counter(word for sentence in sentences for word in set(re.findall(r"\w+", sentence.lower())))
    found = []
    for sentence, question in sentences.items():
        words = sentence.split()
        places = [i for i, word in enumerate(words) if len(re.sub(r"\W", "", word)) >= _LETTERS]
        if len(words) < _WORDS or not places:
            continue
        place = min(places, key=lambda i: (frequency[re.sub(r"\W", "", words[i]).lower()], i))
        word = re.sub(r"\W", "", words[place]).lower()
        masked = [*words[:place], re.sub(r"\w(.*\w)?", "[MASK]", words[place]), *words[place + 1 :]]
        half = len(words) // 2
        for name, shown in (("published", masked), ("perturbed", masked[half:] + masked[:half])):
            found.append(Question(f"{question.id}~{name}", question.cluster, question.task,
                                  _ASK.format(" ".join(shown)), {"word": word, "slot": name}, tuple, question.where))
    if not found:
        raise SensoriumError("--probe slots", "this benchmark has no sentences of its own to ask about.")
    return found


def _sentence(question: Question) -> str:
    """What the benchmark's authors wrote: a caption, a phrase, or else the longest line of the question."""
    references = question.truth.get("references")
    own = references[0] if references else question.truth.get("phrase") or question.truth.get("question")
    return str(own) if own else max(question.text.splitlines(), key=len)


def slots_of(answers: Sequence[Answer]) -> Slots | None:
    """Of the sentences of which both have a reply."""
    guessed: dict[str, dict[str, float]] = {}
    clusters: dict[str, str] = {}
    for one in answers:
        name = one.id.rpartition("~")[0]
        said = re.findall(r"\w+", one.reply.lower())
        guessed.setdefault(name, {})[one.truth["slot"]] = float(one.truth["word"] in said)
        clusters[name] = one.cluster
    both = {name: pair for name, pair in guessed.items() if len(pair) == 2}
    if not both:
        return None
    published, perturbed = (np.array([pair[slot] for pair in both.values()]) for slot in ("published", "perturbed"))
    difference = clustered_mean(published - perturbed, [clusters[name] for name in both])
    low, high = difference.interval or (None, None)
    return Slots(sentences=len(both), published=float(published.mean()), perturbed=float(perturbed.mean()),
                 difference=difference.value, low=low, high=high)  # fmt: skip


SLOTS = Probe("slots", "for a word of its own sentence, without the picture", slots)
