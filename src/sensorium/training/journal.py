"""The record of a training run: one JSON object a line, and the picture drawn from it at the end.

Two kinds of row, `{"stage", "step", "loss", "lr", "samples", "tokens", "seconds", …}` for a step and `{"stage", "step",
"validation": {name: value}}`; rows with other keys pass through. A line is out of the process's hands when `write`
returns, so a killed run has lost at most a part of its last line, which is dropped when the journal is next opened.
Steps may count through the run or begin anew with each stage; the order of the rows is the order of the stages.

Used by `training.loop`, and by whoever reads a run afterwards; it knows nothing of either.
"""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from sensorium.errors import SensoriumError
from sensorium.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = dict[str, Any]
Points = tuple[list[float], list[float]]  # x and y

# Okabe and Ito's colours, told apart by colour-blind readers too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


class Journal:
    """An open journal; a torn last line is cut off at opening. Use it in a `with` block, or call `close`.

    Raises SensoriumError when the file cannot be opened or written; a line that did not fit is taken back whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                _cut_torn_line(path)
            self._file = io.FileIO(path, "ab")
        except OSError as problem:
            raise _cannot_write(path, problem) from problem

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def write(self, row: Mapping[str, Any]) -> None:
        """Append a row. JSON has no nan and no infinity: such a number is written as null."""
        line = _line(row)
        size = os.fstat(self._file.fileno()).st_size
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as problem:
            self._file.truncate(size)
            raise _cannot_write(self.path, problem) from problem

    def truncate_after(self, step: int, stage: str | None = None) -> None:
        """Forget what came after `step`, so that a run resumed from there records no step twice.

        With `stage`, the step is one of that stage, and the stages that began after it are forgotten too; without, it
        counts through the run. Rows without a step stay. The file is replaced whole.
        """
        rows = read_journal(self.path)
        order = {name: i for i, name in enumerate(_stages(rows))}
        place = order.get(stage, len(order)) if stage is not None else None

        def is_kept(row: Row) -> bool:
            if "step" not in row:
                return True
            at = order[row.get("stage", "")]
            return row["step"] <= step if place is None or at == place else at < place

        self._file.close()
        try:
            write_whole(self.path, b"".join(_line(row) for row in rows if is_kept(row)), _REMEDY)
            self._file = io.FileIO(self.path, "ab")
        except OSError as problem:
            raise _cannot_write(self.path, problem) from problem


def read_journal(path: Path) -> list[Row]:
    """All rows of a journal; a torn last line is passed over.

    Raises SensoriumError when the file is missing, or a line before the last is no JSON object.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as problem:
        raise SensoriumError(path, f"cannot read this journal ({problem.strerror or problem}).") from problem
    return [_parse(line, path, number) for number, line in enumerate(lines[:-1], start=1)]


def plot_losses(journal_path: Path, png_path: Path) -> None:
    """Draw a journal (`loss_figure`) into a PNG file, replaced whole.

    Raises SensoriumError when the journal cannot be read, holds no loss yet, or the file cannot be written.
    """
    rows = read_journal(journal_path)
    if not any(_is_number(row.get("loss")) for row in rows):
        raise SensoriumError(journal_path, "there is no loss in it to draw.", "Train at least one step.")
    image = io.BytesIO()
    loss_figure(rows).savefig(image, format="png")
    write_whole(png_path, image.getvalue(), _REMEDY)


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
    for i, stage in enumerate(_stages(rows)):
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
    for i, stage in enumerate(_stages(rows)):
        start = min(row["place"] for row in rows if row.get("stage", "") == stage)
        for panel in axes:
            if i:
                panel.axvline(start, color="0.35", linestyle=":", linewidth=1.2)
        # Above the frame, at the stage's beginning: x in steps, y in shares of the panel.
        axes[0].text(start, 1.02, stage, transform=axes[0].get_xaxis_transform(), fontsize=10, fontweight="bold")


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


def _stages(rows: Iterable[Row]) -> list[str]:
    """Names of stages in the order in which they began; a row without one counts as of the stage ""."""
    return list(dict.fromkeys(row.get("stage", "") for row in rows if "step" in row))


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


def _line(row: Mapping[str, Any]) -> bytes:
    return json.dumps(_finite(row), ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _parse(line: bytes, path: Path, number: int) -> Row:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, dict):
        raise SensoriumError(f"{path} line {number}", "this is no JSON object.", "Remove the line.")
    return row


def _cut_torn_line(path: Path) -> None:
    """Remove what follows the last line break: the beginning of a line whose writer was killed."""
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)


_REMEDY = "Free some space, or look at rights."


def _cannot_write(path: Path, problem: OSError) -> SensoriumError:
    return SensoriumError(path, f"cannot write ({problem.strerror or problem}).", _REMEDY)
