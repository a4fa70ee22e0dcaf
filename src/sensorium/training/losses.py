"""The picture drawn from a journal at the end of a run: losses and validation numbers against the step.

Only the finite numbers are drawn; the stages follow one another, whether their steps count anew or not.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sensorium.errors import SensoriumError
from sensorium.files import write_whole
from sensorium.training.journal import REMEDY, Row, read_journal, stages_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Points = tuple[list[float], list[float]]  # x and y

# Okabe and Ito's colours, told apart by colour-blind readers too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def plot_losses(journal_path: Path, png_path: Path) -> None:
    """Draw a journal (`loss_figure`) into a PNG file, replaced whole.

    Raises SensoriumError when the journal cannot be read, holds no loss yet, or the file cannot be written.
    """
    rows = read_journal(journal_path)
    if not any(_is_number(row.get("loss")) for row in rows):
        raise SensoriumError(journal_path, "there is no loss in it to draw.", "Train at least one step.")
    image = io.BytesIO()
    loss_figure(rows).savefig(image, format="png")
    write_whole(png_path, image.getvalue(), REMEDY)


def loss_figure(rows: Iterable[Row]) -> Figure:
    """Loss against step, and validation numbers below it.

    Each step's loss is faint, the smoothed one plain; a validation number called `loss` is marked in the same panel.
    The others share a panel with what is of their size: all within 0–1, or beyond. Dotted lines part the stages.
    """
    # Here, because matplotlib takes half a second to import, and a run draws once, at its end. A Figure made without
    # pyplot draws with Agg and touches no global state.
    from matplotlib.figure import Figure

    rows = _with_places(rows)
    panels = _validation_panels(rows)
    figure = Figure(figsize=(9, 4 + 2.4 * len(panels)), layout="constrained", dpi=110)
    heights = [3.0, *[2.0] * len(panels)]
    axes = figure.subplots(1 + len(panels), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    _draw_losses(axes[0], rows)
    for panel, (title, curves) in zip(axes[1:], panels.items(), strict=True):
        _draw_validation(panel, title, curves)
    _mark_stages(axes, rows)
    axes[-1].set_xlabel("step")
    axes[-1].margins(x=0.01)
    return figure


def _draw_losses(panel: Axes, rows: Sequence[Row]) -> None:
    shown: list[float] = []
    for i, stage in enumerate(stages_of(rows)):
        x, y = _points((row["place"], row.get("loss")) for row in rows if row.get("stage", "") == stage)
        smooth = _smoothed(y)
        shown += smooth
        panel.plot(x, y, color=COLOURS[0], alpha=0.25, linewidth=0.8, label=None if i else "each step")
        panel.plot(x, smooth, color=COLOURS[0], linewidth=1.8, label=None if i else "smoothed")
    x, y = _points((row["place"], row.get("validation", {}).get("loss")) for row in rows)
    if x:
        panel.plot(x, y, "o", color=COLOURS[1], markersize=5, label="validation")
    _scale_losses(panel, shown + y)
    panel.set_ylabel("loss")
    panel.grid(alpha=0.25)
    panel.legend(loc="upper right", frameon=False, fontsize=9)


def _scale_losses(panel: Axes, shown: Sequence[float]) -> None:
    """Limits from the smoothed and validation losses: a single wild step must not press the rest flat."""
    from matplotlib.ticker import LogLocator

    lowest, highest = min(shown), max(shown)
    if lowest > 0 and highest > 8 * lowest:  # as would the first steps of a run that falls far
        panel.set_yscale("log")
        panel.yaxis.set_minor_locator(LogLocator(subs=(2, 3, 5)))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_formatter("{x:g}")
        panel.tick_params(axis="y", which="minor", labelsize=8)
        panel.set_ylim(lowest / 1.6, highest * 1.6)
    else:
        room = 0.35 * (highest - lowest) or 1.0
        panel.set_ylim(lowest - room, highest + room)


def _draw_validation(panel: Axes, title: str, curves: Mapping[str, Points]) -> None:
    for i, (name, (x, y)) in enumerate(curves.items()):
        style = ("-", "--", ":")[i // len(COLOURS) % 3]
        panel.plot(x, y, style, marker="o", markersize=3, color=COLOURS[i % len(COLOURS)], label=name)
    panel.set_ylabel(title)
    panel.grid(alpha=0.25)
    panel.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)


def _mark_stages(axes: Iterable[Axes], rows: Sequence[Row]) -> None:
    axes = list(axes)
    length, named_at, height = max(row["place"] for row in rows), -math.inf, 1.02
    for i, stage in enumerate(stages_of(rows)):
        start = min(row["place"] for row in rows if row.get("stage", "") == stage)
        for panel in axes:
            if i:
                panel.axvline(start, color="0.35", linestyle=":", linewidth=1.2)
        # Above the frame, at the stage's beginning: x in steps, y in shares of the panel. Higher where it would lie on
        # the name before: a short stage leaves no room.
        height = height + 0.05 if start - named_at < length / 8 else 1.02
        named_at = start
        axes[0].text(start, height, stage, transform=axes[0].get_xaxis_transform(), fontsize=10, fontweight="bold")


def _validation_panels(rows: Sequence[Row]) -> dict[str, dict[str, Points]]:
    """Panel title -> name -> points, for every validation number but the loss."""
    names = dict.fromkeys(name for row in rows for name in row.get("validation", {}) if name != "loss")
    panels: dict[str, dict[str, Points]] = {}
    for name in names:
        x, y = _points((row["place"], row.get("validation", {}).get(name)) for row in rows)
        title = "validation, 0–1" if all(0 <= value <= 1 for value in y) else "validation"
        if x:
            panels.setdefault(title, {})[name] = (x, y)
    return panels


def _with_places(rows: Iterable[Row]) -> list[Row]:
    """The rows that have a step, each with its `place` on the x axis: a stage that counts anew follows on the last."""
    placed: list[Row] = []
    offset = highest = 0
    stage = None
    for row in rows:
        if "step" not in row:
            continue
        if row.get("stage", "") != stage:
            stage = row.get("stage", "")
            offset = highest if row["step"] < highest else 0
        highest = max(highest, row["step"] + offset)
        placed.append(row | {"place": row["step"] + offset})
    return placed


def _smoothed(values: Sequence[float]) -> list[float]:
    """Exponential mean over about a fiftieth of the values, at least five, corrected for its start at 0."""
    decay = 1 - 1 / max(5.0, len(values) / 50)
    total = weight = 0.0
    smooth = []
    for value in values:
        total, weight = decay * total + (1 - decay) * value, decay * weight + (1 - decay)
        smooth.append(total / weight)
    return smooth


def _points(pairs: Iterable[tuple[float, object]]) -> Points:
    """x and y of the pairs whose y is a finite number."""
    kept = [(x, float(y)) for x, y in pairs if _is_number(y)]  # type: ignore[arg-type]
    return [x for x, _ in kept], [y for _, y in kept]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
