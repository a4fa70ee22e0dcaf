"""What the probes found, as panels: a table with its marks, and what it means in a sentence."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from sensorium.evaluation.probes.findings import Blind, Findings
from sensorium.evaluation.probes.overlap import Overlap
from sensorium.evaluation.probes.polarity import Polarity
from sensorium.evaluation.probes.rotation import Rotation
from sensorium.evaluation.probes.sizes import Curve
from sensorium.evaluation.probes.slots import Slots
from sensorium.evaluation.report_page.tables import Mark

NOTHING = "–"
MOST_LETTERS = 12


@dataclass(frozen=True)
class PanelRow:
    """cells: under the panel's columns; marks: one for each of its series, on a line from 0 to 1."""

    cells: tuple[str, ...]
    marks: tuple[Mark | None, ...] = ()


@dataclass(frozen=True)
class Panel:
    """columns: of the rows' cells, the first names the row. series: what the marks are of; none where there are none.
    details: lines that are folded away."""

    title: str
    lead: str
    columns: tuple[str, ...]
    rows: tuple[PanelRow, ...]
    series: tuple[str, ...] = ()
    drawn: Drawn | None = None
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class Drawn:
    """A curve as SVG has it: a point, its whisker's ends and its label below, each in one place."""

    width: float
    height: float
    points: tuple[tuple[float, float], ...]
    whiskers: tuple[tuple[float, float, float], ...]
    labels: tuple[tuple[float, str], ...]
    rings: tuple[tuple[float, str], ...]


def panels(found: Findings | None) -> list[Panel]:
    """Those of which there is something to show, in the order in which they are best read."""
    if found is None:
        return []
    each = (
        _blind(found.blind) if found.blind else None,
        *(_curve(curve) for curve in found.curves),
        _polarity(found.polarity) if found.polarity else None,
        _rotation(found.rotation) if found.rotation else None,
        _letters(found.rotation) if found.rotation else None,
        _seen(found.slots, found.overlap) if found.slots or found.overlap else None,
    )
    return [panel for panel in each if panel is not None]


def _blind(blind: list[Blind]) -> Panel:
    best = max(1.0, *(max(one.seeing, one.blind) for one in blind))
    rows = [
        PanelRow(
            (one.probe, _three(one.seeing), _three(one.blind), f"{one.gain:+.3f}",
             _between(one.gain_low, one.gain_high), _three(one.guess), _three(one.base), _three(one.leakage),
             str(one.questions)),
            (_mark(one.seeing / best), _mark(one.blind / best)),
        )
        for one in blind
    ]  # fmt: skip
    columns = ("asked", "seeing", "blind", "gain", "95 %", "one answer always", "base model", "leakage", "questions")
    lead = (
        "The same questions without the right picture. The gain is what seeing adds; where it is small, the test can "
        "be answered from words alone, or the model does not look. Leakage is what the model knows blind beyond a base "
        "model."
    )
    return Panel("Without the picture", lead, columns, tuple(rows), ("seeing", "blind"))


def _curve(curve: Curve) -> Panel:
    rows = [
        PanelRow((point.at, _three(point.mean), _between(point.low, point.high), _count(point.visual_tokens),
                  _count(point.tokens or None)))
        for point in curve.points
    ]  # fmt: skip
    lead = f"{curve.questions} questions, each time with less to see. Flat: what was left out does not matter."
    columns = (curve.of, "mean", "95 %", "visual tokens", "tokens of a prompt")
    return Panel("Accuracy against visual tokens", lead, columns, tuple(rows), drawn=_drawn(curve))


def _drawn(curve: Curve) -> Drawn:
    """Points stand at the logarithm of the tokens where these differ, else side by side."""
    width, height, left, top, bottom = 420.0, 190.0, 44.0, 14.0, 36.0
    spent = [point.tokens if point.visual_tokens is None else point.visual_tokens for point in curve.points]
    is_measured = min(spent) > 0 and max(spent) >= 2 * min(spent)
    places = [math.log(value) for value in spent] if is_measured else [float(i) for i in range(len(spent))]
    span = max(places) - min(places) or 1.0
    top_value = max(1.0, *(point.mean for point in curve.points))

    def across(place: float) -> float:
        return round(left + 26 + (width - left - 52) * (place - min(places)) / span, 1)

    def down(value: float) -> float:
        return round(top + (height - top - bottom) * (1 - min(max(value / top_value, 0.0), 1.0)), 1)

    placed = list(zip(map(across, places), curve.points, spent, strict=True))
    return Drawn(
        width, height,
        tuple((x, down(point.mean)) for x, point, _ in placed),
        tuple((x, down(point.low), down(point.high)) for x, point, _ in placed
              if point.low is not None and point.high is not None),
        tuple((x, f"{point.at}: {value:.0f}" if value else point.at) for x, point, value in placed),
        tuple((down(part * top_value), f"{part * top_value:g}") for part in (0, 0.5, 1)),
    )  # fmt: skip


def _polarity(found: Polarity) -> Panel:
    rows = (
        PanelRow(("d′", f"{found.d_prime:.2f}", f"{found.d_prime_low:.2f} to {found.d_prime_high:.2f}",
                  "0: yes and no are not told apart")),
        PanelRow(("criterion", f"{found.criterion:+.2f}", f"{found.criterion_low:+.2f} to {found.criterion_high:+.2f}",
                  "below 0: leans to yes; above: to no")),
        PanelRow(("share of yes", f"{found.yes_ratio:.0%}", NOTHING, f"of the truth {found.true_yes_ratio:.0%}")),
    )  # fmt: skip
    lead = f"{found.questions} replies that say yes or no: telling the two apart, and preferring one, are two things."
    return Panel("Leaning to yes or no", lead, ("measure", "value", "95 %", "what it says"), rows)


def _rotation(found: Rotation) -> Panel:
    rows = (
        PanelRow(("right in the published order", _three(found.published), NOTHING), (_mark(found.published),)),
        PanelRow(("mean of all orders", _three(found.mean), NOTHING), (_mark(found.mean),)),
        PanelRow(("right in every order", _three(found.circular),
                  _between(found.circular_low, found.circular_high)),
                 (_mark(found.circular, found.circular_low, found.circular_high),)),
        PanelRow(("every order, by guessing", _three(found.chance), NOTHING), (_mark(found.chance),)),
        PanelRow(("changes its answer", _three(found.flips), NOTHING), (_mark(found.flips),)),
        PanelRow(("published less the others", f"{found.order_gain:+.3f}",
                  _between(found.order_low, found.order_high))),
    )  # fmt: skip
    lead = (
        f"{found.questions} questions with their options in every rotation. Doing better in the published order than "
        "in the others is a sign that the test was seen before."
    )
    return Panel("Options turned round", lead, ("measure", "share", "95 %"), rows, ("share",))


def _letters(found: Rotation) -> Panel:
    letters = sorted({*found.prior, *found.truth})[:MOST_LETTERS]
    rows = tuple(
        PanelRow((letter, f"{found.prior.get(letter, 0):.0%}", f"{found.truth.get(letter, 0):.0%}"),
                 (_mark(found.prior.get(letter, 0)), _mark(found.truth.get(letter, 0))))
        for letter in letters
    )  # fmt: skip
    return Panel("Favourite letters", "What is said, against where the right answers stand.",
                 ("letter", "said", "right"), rows, ("said", "right"))  # fmt: skip


def _seen(slots: Slots | None, overlap: Overlap | None) -> Panel:
    rows = list(_seen_rows(slots, overlap))
    shared = tuple(f"{one.question}: {one.training}" for one in overlap.examples) if overlap else ()
    lead = "Signs that the test stood in what the model learnt from; none of them is a proof."
    return Panel("Seen before?", lead, ("sign", "value", "95 %", "what it says"), tuple(rows), details=shared)


def _seen_rows(slots: Slots | None, overlap: Overlap | None) -> Iterator[PanelRow]:
    if slots:
        told = f"of {slots.sentences} sentences; published {slots.published:.3f}, perturbed {slots.perturbed:.3f}"
        yield PanelRow(("words guessed, gain", f"{slots.difference:+.3f}", _between(slots.low, slots.high), told))
    if overlap:
        told = f"of {overlap.questions}; {overlap.training_data}, {overlap.samples} samples"
        yield PanelRow(("texts also in training", str(overlap.overlapping), NOTHING, told))
        yield PanelRow(("pictures near one in training", str(overlap.near), NOTHING, f"of {overlap.pictures}"))


def _mark(value: float, low: float | None = None, high: float | None = None) -> Mark:
    at, start, end = (None if one is None else 100 * min(1.0, max(0.0, one)) for one in (value, low, high))
    assert at is not None
    return Mark(at, start, end)


def _three(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3f}"


def _between(low: float | None, high: float | None) -> str:
    return NOTHING if low is None or high is None else f"{low:.3f} to {high:.3f}"


def _count(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.0f}"
