"""How few visual tokens will do, and by which method? Score, tokens and time of each, on scenes the model never saw.

Every method is asked the questions of scenes-mme with every budget, and held against the model as it is and against
`random` of the same budget, picture by picture. The time of a first answer is taken in one run with all of them in
turns, each round about a picture that none has seen, so that what else the machine does hits all alike.

What is done is not done again: replies are ordinary runs in OUT/METHOD-BUDGET, times are in OUT/times.json. FastV and
PyramidDrop, which leave tokens out between the language model's layers, need `--engine torch`; their budget is the
average over the layers.

    python benchmarks/compression.py runs/scenes --out runs/compression
    python benchmarks/compression.py runs/scenes --out runs/dropping --engine torch --methods random pool fastv
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import time
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PILImage

from sensorium.conversation import Conversation, Image, user
from sensorium.engine import Sampling
from sensorium.engine.loading import load_engine
from sensorium.evaluation.asking import Here
from sensorium.evaluation.benchmarks import BENCHMARKS, Answer, Data
from sensorium.evaluation.identity import engine_identity
from sensorium.evaluation.methods import Trial
from sensorium.evaluation.run import run
from sensorium.evaluation.statistics.paired import Difference, difference
from sensorium.files import write_whole
from sensorium.media import open_image
from sensorium.model.compressors import COMPRESSORS
from sensorium.model.dropping import DROPPINGS, DroppingBudget
from sensorium.model.fewer import Fewer, fewer_tokens
from sensorium.progress import ProgressCallback

BENCHMARK = BENCHMARKS["scenes-mme"]
SAME_AS = {"deco": "pool"}  # one rule with two names is measured once
QUESTION = "What is in the picture?"
COLUMNS = ("method", "visual tokens", "score of 200", "to all tokens (95 %)", "to random (95 %)", "first answer, ms")


@dataclass(frozen=True)
class Way:
    """fewer: None for the model as it is; engine: who answers so."""

    fewer: Fewer | None
    engine: Any

    @property
    def name(self) -> str:
        return "none" if self.fewer is None else f"{self.fewer.method}-{self.fewer.budget}"


def main() -> None:
    options = _options()
    engine = load_engine(options.model, engine=options.engine, context_length=options.context_length)
    with closing(engine) if hasattr(engine, "close") else nullcontext():
        ways = _ways(engine, options)
        answers = {way.name: _asked(way, options) for way in ways}
        times = _times(ways, options) if options.rounds else {}
    rows = [_row(way, answers, times) for way in ways]
    table = _table(rows)
    write_whole(options.out / "compression.md", table)
    print(table, end="")
    if options.json:
        print(json.dumps({"questions": len(answers["none"]), "rows": rows}))


def _ways(engine: Any, options: argparse.Namespace) -> list[Way]:
    """The model as it is, then every method with every budget below what a picture takes there."""
    ways = [Way(None, engine)]
    for budget in options.budgets:
        if budget >= engine.card.visual_tokens:
            continue
        for method in options.methods:
            fewer = fewer_tokens(budget, method)
            dropping = isinstance(fewer, DroppingBudget)
            ways.append(Way(fewer, engine.dropping_by(fewer) if dropping else engine.compressing(fewer)))
    return ways


def _asked(way: Way, options: argparse.Namespace) -> list[Answer]:
    """Replies to all questions; those that OUT holds are not asked for."""
    trial = Trial(BENCHMARK, Data(options.data, None, options.split), options.limit, options.out, None, {})
    identity = engine_identity(options.model, way.engine.card, "float32")
    about = trial.header({"name": way.engine.card.name, "provenance": way.engine.card.provenance})
    done = run(trial.questions(), Here(way.engine), trial.folder(way.name, identity), identity, trial.sampling,
               progress=_told(way.name), about=about)  # fmt: skip
    return done.answers


def _times(ways: Sequence[Way], options: argparse.Namespace) -> dict[str, list[float]]:
    """Milliseconds to the first word about a new picture, one for each round; all in one run, or those of the last."""
    path = options.out / "times.json"
    header = {"ways": [way.name for way in ways], "rounds": options.rounds,
              "engine": engine_identity(options.model, ways[0].engine.card, "float32")}  # fmt: skip
    if path.exists() and (kept := json.loads(path.read_text()))["of"] == header:
        return kept["ms"]  # type: ignore[no-any-return]
    tell, found = _told("times"), dict[str, list[float]]()
    shown = _pictures(options)
    for number in range(options.rounds + 1):  # the first one warms up
        first = number % len(ways)
        for way in (*ways[first:], *ways[:first]):
            asked = Conversation((user(_unseen(shown[number % len(shown)], number), QUESTION),))
            began = time.perf_counter()
            stream = way.engine.stream(asked, Sampling(max_new_tokens=2))
            next(stream)
            took_ms = 1000 * (time.perf_counter() - began)
            list(stream)
            if number:
                found.setdefault(way.name, []).append(took_ms)
        tell("rounds", number, options.rounds)
    write_whole(path, json.dumps({"of": header, "ms": found}))
    return found


def _pictures(options: argparse.Namespace) -> list[PILImage.Image]:
    trial = Trial(BENCHMARK, Data(options.data, None, options.split), 4, options.out, None, {})
    return [open_image(question.media()[0]) for question in trial.questions()[:8]]


def _unseen(picture: PILImage.Image, number: int) -> Image:
    """The picture with one pixel changed: another one to every memory, the same work."""
    changed = picture.convert("RGB")
    changed.putpixel((0, 0), (number % 256, number // 256, 77))
    data = io.BytesIO()
    changed.save(data, format="PNG")
    return Image(data.getvalue())


def _row(way: Way, answers: dict[str, list[Answer]], times: dict[str, list[float]]) -> dict[str, Any]:
    plain, ours = answers["none"], answers[way.name]
    fewer = way.fewer
    # What leaves between the layers is held against a draw between the layers, where there is one.
    drawn = None if fewer is None else [f"{fewer.method}-random-{fewer.budget}", f"random-{fewer.budget}"]
    chance = next((answers[name] for name in drawn or () if name in answers and name != way.name), None)
    took = times.get(way.name)
    return {
        "method": "all of them" if fewer is None else fewer.method,
        "visual_tokens": fewer.budget if isinstance(fewer, DroppingBudget) else way.engine.card.visual_tokens,
        "score": float(np.mean(list(_scores(ours).values()))),
        "to_none": None if fewer is None else _paired(plain, ours),
        "to_random": None if chance is None else _paired(chance, ours),
        "first_answer_ms": None if took is None else statistics.median(took),
    }


def _paired(before: Sequence[Answer], after: Sequence[Answer]) -> dict[str, float | None]:
    """after - before over the pairs of questions that both answered."""
    one, other = _scores(before), _scores(after)
    both = [pair for pair in one if pair in other]
    found: Difference = difference([one[p] for p in both], [other[p] for p in both], both, are_binary=False)
    low, high = found.mean.interval or (None, None)
    return {"value": found.mean.value, "low": low, "high": high, "p": found.p}


def _scores(answers: Sequence[Answer]) -> dict[str, float]:
    """MME's score of each pair of questions: of 200, half for the answers, half for both of them."""
    judged = BENCHMARK.judge(answers, BENCHMARK.known_variant(None, BENCHMARK.prompts[0]))
    pairs: dict[str, list[float]] = {}
    for answer, one in zip(answers, judged, strict=True):
        pairs.setdefault(answer.cluster, []).append(one.worth)
    return {pair: 100 * sum(worth) / len(worth) + 100 * all(one == 1 for one in worth) for pair, worth in pairs.items()}


def _table(rows: Sequence[dict[str, Any]]) -> str:
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---|" + "---:|" * (len(COLUMNS) - 1)]
    for row in rows:
        took = row["first_answer_ms"]
        cells = (row["method"], str(row["visual_tokens"]), f"{row['score']:.1f}", _shown(row["to_none"]),
                 _shown(row["to_random"]), "–" if took is None else f"{took:.0f}")  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _shown(found: dict[str, float | None] | None) -> str:
    if found is None:
        return "–"
    low, high = found["low"], found["high"]
    return f"{found['value']:+.1f}" + ("" if low is None or high is None else f" ({low:+.1f} to {high:+.1f})")


def _told(name: str) -> ProgressCallback:
    return lambda what, done, total: print(f"{name}: {what} {done} of {total}", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    methods = [name for name in COMPRESSORS if name not in SAME_AS and name != "frames"]  # which is ToMe's of a picture
    known = [*methods, *DROPPINGS]
    parser.add_argument("data", type=Path, help="a dataset folder made by `sensorium data build scenes`")
    parser.add_argument("--out", type=Path, default=Path("runs/compression"))
    parser.add_argument("--model", default="default")
    parser.add_argument("--engine", choices=("llamacpp", "torch"), default="llamacpp")
    parser.add_argument("--methods", nargs="+", choices=known, default=methods)
    parser.add_argument("--budgets", nargs="+", type=int, default=[64, 32, 16, 8, 4])
    parser.add_argument("--split", help="only splits with that word; all test splits if left out")
    parser.add_argument("--limit", type=int, help="ask only about so many pictures of each task")
    parser.add_argument("--rounds", type=int, default=15, help="first answers of each whose time is taken; 0: none")
    parser.add_argument("--context-length", type=int, default=1024)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
