"""The page put together: `make_report` reads the runs, chooses, collects pictures, and renders the template.

What a model or a data set wrote is text here and nothing else: the template escapes everything, and the page's own
policy forbids it every script but the one that it was written with, and every address.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from sensorium.data.dataset import Dataset
from sensorium.errors import SensoriumError, did_you_mean
from sensorium.evaluation.compare import compare
from sensorium.evaluation.report_page.album import SIDE, Album, Shown
from sensorium.evaluation.report_page.choosing import ORDERS, choose, differs
from sensorium.evaluation.report_page.media import Media, benchmark_media, scenes_media
from sensorium.evaluation.report_page.of_benchmark import benchmark_view
from sensorium.evaluation.report_page.of_scenes import is_scenes, scenes_view
from sensorium.evaluation.report_page.probed import panels
from sensorium.evaluation.report_page.tables import comparison_table, family_tables
from sensorium.evaluation.report_page.unparsed import effects, unparsed
from sensorium.evaluation.report_page.view import Answered, Corners, Runs, RunView, Sample
from sensorium.files import write_whole

HERE = Path(__file__).parent
HEAD, TAIL = 3000, 600  # characters of a reply that is too long to be shown whole
LISTED = 100  # rows of what is only listed: replies that were not read, questions that were not asked
# Characters that no document may hold, or that would end a line where none ends.
_CONTROL = {code: "\ufffd" for code in (*range(32), 127, *range(128, 160)) if chr(code) not in "\n\t"}
LETTERS = "AB"


@dataclass(frozen=True)
class Sources:
    """data: what the runs asked about, to show its pictures; media: their folder, if it is not beside the data."""

    data: Path | None = None
    media: Path | None = None


@dataclass(frozen=True)
class Choice:
    """What is shown in full: at most `samples` questions in an order of `ORDERS`; megabytes: of all pictures; side: of
    the largest one, in pixels."""

    samples: int = 60
    order: str = "errors"
    seed: int = 0
    megabytes: float = 12.0
    side: int = SIDE


@dataclass(frozen=True)
class Report:
    """html: the whole file. shown: questions in full, of how many; pictures: in the file."""

    html: str
    shown: int
    of: int
    pictures: int

    def write(self, path: Path) -> None:
        """Raises SensoriumError when the disk refuses."""
        write_whole(path, self.html.encode("utf-8", "replace"))


@dataclass(frozen=True)
class Card:
    """One question as the page shows it. answers: the replies of each run to it; differs: the runs were judged
    differently."""

    sample: Sample
    answers: tuple[tuple[Answered, ...], ...]
    shown: Shown
    differs: bool

    @property
    def is_drawn(self) -> bool:
        """Whether boxes are drawn, so that a legend is needed."""
        replied = any(one.boxes for answered in self.answers for one in answered[:1])
        return bool(self.shown.pictures and (self.sample.boxes or replied))

    def rectangles(self) -> list[tuple[str, Corners]]:
        """(class, x, y, width, height as shares) of the true boxes and of each run's first reply."""
        found = [("true", box) for box in self.sample.boxes]
        for letter, answered in zip(LETTERS.lower(), self.answers, strict=False):
            found += [(f"said-{letter}", box) for box in answered[0].boxes]
        return [(kind, _rectangle(box)) for kind, box in found if all(map(math.isfinite, box))]


def make_report(
    first: Path, second: Path | None = None, sources: Sources | None = None, choice: Choice | None = None,
    variant: str | None = None, version: str = "",
) -> Report:  # fmt: skip
    """The report of a run, or of two over the same questions. version: of the program, for the manifest.

    Raises SensoriumError for what is no finished run, runs that cannot be compared, and data that is not theirs.
    """
    sources, choice = sources or Sources(), choice or Choice()
    if choice.order not in ORDERS:
        raise SensoriumError("order of samples", f"{choice.order!r} is not known.", did_you_mean(choice.order, ORDERS))
    _check_fits(first, sources, variant)
    dataset = Dataset(sources.data) if sources.data is not None and is_scenes(first) else None
    one = _view(first, variant, dataset)
    comparison = None if second is None else compare(first, second, variant)
    other = None if second is None else _view(second, one.variant, dataset)
    runs = Runs(one, other, comparison)
    media = _media(first, sources, dataset)
    album = Album(int(choice.megabytes * 1e6), choice.side)
    cards = [_card(runs, name, album, media) for name in choose(runs, choice.samples, choice.order, choice.seed)]
    return Report(_render(runs, cards, album, sources, version), len(cards), len(one.samples), len(album.thumbnails))


def _check_fits(run: Path, sources: Sources, variant: str | None) -> None:
    """What was asked for must do something."""
    if sources.media is not None and sources.data is None:
        raise SensoriumError(sources.media, "holds pictures of nothing.", "Name the data as well.")
    if is_scenes(run) and sources.media is not None:
        raise SensoriumError(sources.media, "is not needed: scenes have their pictures with them.", "Leave it out.")
    if is_scenes(run) and variant is not None:
        raise SensoriumError(f"variant {variant!r}", "is of other benchmarks than scenes.", "Leave it out.")


def _view(folder: Path, variant: str | None, dataset: Dataset | None) -> RunView:
    if is_scenes(folder):
        return scenes_view(folder, None if dataset is None else dataset.info["vocabulary"])
    return benchmark_view(folder, variant)


def _media(run: Path, sources: Sources, dataset: Dataset | None) -> Media | None:
    if sources.data is None:
        return None
    return benchmark_media(run, sources.data, sources.media) if dataset is None else scenes_media(run, dataset)


def _card(runs: Runs, name: str, album: Album, media: Media | None) -> Card:
    sample = runs.first.samples[name]
    answers = tuple(view.samples[name].answered for view in runs.views)
    return Card(sample, answers, album.show(sample, media), differs(runs, name))


def _render(runs: Runs, cards: Sequence[Card], album: Album, sources: Sources, version: str) -> str:
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"brief": brief, "points": points, "plural": plural, "together": together}
    style, script = ((HERE / f"report.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    page = environment.get_template("report.html").render(
        runs=runs, views=runs.views, letters=LETTERS, families=family_tables(runs), cards=cards, album=album,
        comparison=None if runs.comparison is None else comparison_table(runs.comparison), version=version,
        has_media=sources.data is not None, listed=LISTED, effects=[effects(view) for view in runs.views],
        unparsed=[unparsed(view) for view in runs.views],
        panels=[panels(view.probed) for view in runs.views],
        verdicts=_verdicts(runs), differing=_differing(runs),
        style=Markup(style), script=Markup(script), style_hash=_digest(style), script_hash=_digest(script),
    )  # fmt: skip
    return page.translate(_CONTROL)


def _verdicts(runs: Runs) -> list[dict[str, int]]:
    """How many questions of each run have which verdict."""
    found = []
    for view in runs.views:
        counts = dict.fromkeys(("right", "partly", "wrong", "unparsed"), 0)
        for sample in view.samples.values():
            counts[sample.verdict] += 1
        found.append({name: n for name, n in counts.items() if n})
    return found


def _differing(runs: Runs) -> int:
    return sum(differs(runs, name) for name in runs.first.samples) if runs.second is not None else 0


def _rectangle(box: Corners) -> Corners:
    """x, y, width, height within the picture."""
    x1, y1, x2, y2 = (min(1.0, max(0.0, value)) for value in box)
    return x1, y1, max(0.0, x2 - x1), max(0.0, y2 - y1)


def together(cards: Sequence[Card]) -> list[list[Card]]:
    """Questions about one picture in one group, if they follow one another; those with boxes have their own picture."""
    groups: list[list[Card]] = []
    for card in cards:
        last = groups[-1][-1] if groups else None
        if last and last.sample.cluster == card.sample.cluster and last.shown == card.shown and not last.is_drawn \
                and not card.is_drawn:  # fmt: skip
            groups[-1].append(card)
        else:
            groups.append([card])
    return groups


def brief(text: str, head: int = HEAD, tail: int = TAIL) -> Markup:
    """The text, escaped; of one that is too long the beginning and the end, and how much was left out between them."""
    if len(text) <= head + tail + 100:
        return Markup("{}").format(text)
    left_out = f"{len(text) - head - tail:,} of {len(text):,} characters left out"
    return Markup('{}<span class="left-out"> … {} … </span>{}').format(text[:head], left_out, text[-tail:])


def points(pairs: Sequence[tuple[float, float]]) -> str:
    """As SVG has them."""
    return " ".join(f"{x},{y}" for x, y in pairs)


def plural(n: int, noun: str) -> str:
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def _digest(text: str) -> str:
    """As a content security policy names the one script that may run."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
