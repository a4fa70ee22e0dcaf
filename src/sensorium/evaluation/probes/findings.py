"""All that the probes of one run found, from stored replies alone, and the table of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import Field
from rich.table import Table

from sensorium.evaluation.benchmarks.base import Answer, Benchmark, Judged
from sensorium.evaluation.headlines import Part, Score, headlines
from sensorium.evaluation.probes.audit import Audit, audit_of
from sensorium.evaluation.probes.base import BASE, FOLDER
from sensorium.evaluation.probes.blind import BLIND, NO_PICTURE
from sensorium.evaluation.probes.frames import FRAMES, SINGLE_FRAME, SUBTITLES_ONLY, frames_of
from sensorium.evaluation.probes.overlap import Overlap, read_overlap
from sensorium.evaluation.probes.polarity import Polarity, polarity_of
from sensorium.evaluation.probes.rotation import ROTATE, Rotation, rotation_of
from sensorium.evaluation.probes.sizes import SIZES, Curve, Point, sizes_of
from sensorium.evaluation.probes.slots import SLOTS, Slots, slots_of
from sensorium.evaluation.run_folder import REPLIES, read_run
from sensorium.evaluation.statistics import clustered_mean


class Blind(Part):
    """A run without the right pictures, over the questions that were answered both ways; mean worths, 0-1 as a rule."""

    probe: str
    questions: int
    seeing: float
    blind: float
    gain: float = Field(description="Multi-modal gain: seeing less blind.")
    gain_low: float | None
    gain_high: float | None
    guess: float | None = Field(description="What the commonest right answer of each task, said always, would reach.")
    base: float | None = Field(description="The base model's mean without pictures; null where none was asked.")
    leakage: float | None = Field(description="max(0, blind - base).")
    scores: list[Score] = Field(description="The blind run's official numbers.")


class Findings(Part):
    """What was probed; null or empty for what was not. The first two need no questions of their own."""

    audit: Audit
    polarity: Polarity | None = Field(description="Of benchmarks of yes and no.")
    blind: list[Blind]
    rotation: Rotation | None
    slots: Slots | None
    overlap: Overlap | None
    curves: list[Curve] = Field(description="The score against how much of a picture there is.")

    def table(self) -> Table | None:
        """For the terminal; None where nothing but the replies of the run itself was looked at."""
        if not self.blind and self.rotation is None and self.slots is None and self.overlap is None and not self.curves:
            return None
        table = Table("probe", "value", "95 %", "what it says", title="Probes")
        for row in self._rows():
            table.add_row(*row)
        return table

    def _rows(self) -> Iterator[tuple[str, str, str, str]]:
        for one in self.blind:
            guess = "" if one.guess is None else f"; one answer always {one.guess:.3f}"
            yield (f"gain over {one.probe}", f"{one.gain:+.3f}", _interval(one.gain_low, one.gain_high),
                   f"seeing {one.seeing:.3f}, blind {one.blind:.3f}{guess}")  # fmt: skip
            if one.leakage is not None:
                yield f"leakage ({one.probe})", f"{one.leakage:.3f}", "", f"base model without pictures {one.base:.3f}"
        if (turned := self.rotation) is not None:
            prior = ", ".join(f"{letter} {share:.0%}" for letter, share in turned.prior.items())
            yield ("circular accuracy", f"{turned.circular:.3f}", _interval(turned.circular_low, turned.circular_high),
                   f"right in every rotation; mean {turned.mean:.3f}, guessing {turned.chance:.3f}")  # fmt: skip
            yield "flip rate", f"{turned.flips:.3f}", "", f"another option when they move; says {prior}"
            yield ("published order", f"{turned.order_gain:+.3f}", _interval(turned.order_low, turned.order_high),
                   "gain over other orders; a sign of contamination")  # fmt: skip
        if (slots := self.slots) is not None:
            yield ("slot guessing", f"{slots.difference:+.3f}", _interval(slots.low, slots.high),
                   f"words guessed: published {slots.published:.3f}, perturbed {slots.perturbed:.3f}")  # fmt: skip
        for curve in self.curves:
            for point in curve.points:
                yield (f"{point.at} ({curve.of})", f"{point.mean:.3f}", _interval(point.low, point.high), _spent(point))
        if (shared := self.overlap) is not None:
            yield ("overlap, words", f"{shared.overlapping}", "", f"of {shared.questions} texts also in training")
            yield ("overlap, pictures", f"{shared.near}", "", f"of {shared.pictures} near one in training")
        if (bias := self.polarity) is not None:
            yield ("yes or no: d'", f"{bias.d_prime:.2f}", _interval(bias.d_prime_low, bias.d_prime_high),
                   f"tells them apart; says yes {bias.yes_ratio:.0%}, true {bias.true_yes_ratio:.0%}")  # fmt: skip
            yield ("yes or no: criterion", f"{bias.criterion:+.2f}",
                   _interval(bias.criterion_low, bias.criterion_high), "below 0 leans to yes")  # fmt: skip
        if (audit := self.audit).unread:
            without = "" if audit.without is None else f"; without them {audit.without:.3f}"
            yield ("unread replies", f"{audit.share:.3f}", _interval(audit.share_low, audit.share_high),
                   f"mean {audit.mean:.3f}{without}, at best {audit.at_best:.3f}")  # fmt: skip


def findings(
    folder: Path, benchmark: Benchmark, variant: str, answers: Sequence[Answer], judged: Sequence[Judged]
) -> Findings:
    """folder: of the run; answers: its first replies, judged by the variant.

    Raises SensoriumError for a probe's folder that is damaged.
    """
    probes = folder / FOLDER
    base = _replies(probes / BASE)
    turned = _replies(probes / ROTATE.name)
    in_circles = bool(answers) and "options" in answers[0].truth and "index" in answers[0].truth
    slots = _replies(probes / SLOTS.name)
    nothing = _replies(probes / NO_PICTURE.name)

    def judge(chosen: Sequence[Answer]) -> list[Judged]:
        return benchmark.judge(chosen, variant)

    curves = (sizes_of(answers, _replies(probes / SIZES.name), nothing, judge),
              frames_of(answers, _replies(probes / FRAMES.name), nothing, judge))  # fmt: skip
    return Findings(
        audit=audit_of(answers, judged),
        polarity=polarity_of(answers, judged),
        blind=[
            _blind(one.name, found, base, benchmark, variant, answers, judged)
            for one in (*BLIND, SINGLE_FRAME, SUBTITLES_ONLY) if (found := _replies(probes / one.name))
        ],
        rotation=rotation_of([*answers, *turned], [*judged, *benchmark.judge(turned, variant)]) if in_circles else None,
        slots=slots_of(slots),
        overlap=read_overlap(probes),
        curves=[curve for curve in curves if curve is not None],
    )  # fmt: skip


def _replies(folder: Path) -> list[Answer]:
    return read_run(folder)[1] if (folder / REPLIES).is_file() else []


def _blind(
    name: str, found: Sequence[Answer], base: Sequence[Answer], benchmark: Benchmark, variant: str,
    answers: Sequence[Answer], judged: Sequence[Judged],
) -> Blind:  # fmt: skip
    seeing = {answer.id: one.worth for answer, one in zip(answers, judged, strict=True)}
    both = [answer for answer in found if answer.id in seeing]
    blind = [one.worth for one in benchmark.judge(both, variant)]
    gain = clustered_mean([seeing[answer.id] - worth for answer, worth in zip(both, blind, strict=True)],
                          [answer.cluster for answer in both])  # fmt: skip
    low, high = gain.interval or (None, None)
    mean = sum(blind) / len(blind)
    compared = {answer.id for answer in both}
    of_base = [one.worth for one in benchmark.judge([one for one in base if one.id in compared], variant)]
    base_mean = sum(of_base) / len(of_base) if of_base else None
    return Blind(
        probe=name, questions=len(both), seeing=sum(seeing[answer.id] for answer in both) / len(both), blind=mean,
        gain=gain.value, gain_low=low, gain_high=high, guess=_guess(both), base=base_mean,
        leakage=None if base_mean is None else max(0.0, mean - base_mean),
        scores=list(headlines(benchmark.score(both, variant))),
    )  # fmt: skip


def _guess(answers: Sequence[Answer]) -> float | None:
    """Of benchmarks whose truth is one word."""
    truths: dict[str, Counter[str]] = {}
    for answer in answers:
        truth = answer.truth.get("answer")
        if not isinstance(truth, str):
            return None
        truths.setdefault(answer.task, Counter())[truth] += 1
    return sum(max(counts.values()) for counts in truths.values()) / len(answers)


def _spent(point: Point) -> str:
    if point.visual_tokens is not None:
        return f"{point.visual_tokens:.0f} visual tokens a question"
    return f"{point.tokens:.0f} tokens a prompt, text and picture" if point.tokens else ""


def _interval(low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else f"{low:.3f} to {high:.3f}"
