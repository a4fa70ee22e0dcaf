"""How few visual tokens will do, and by which method? Score, tokens and time of each, on scenes the model never saw.

Every method is asked the questions of scenes-mme with every budget, and those of films, where a folder of films is
given too; it is held against the model as it is, and against `random` of as many tokens as it really leaves, picture by
picture and film by film. (`pool` of 32 leaves 30, since they make a grid; then `random` is asked with 30 as well.) The
time of a first answer is taken in one run with all of them in turns, each round about a picture or frames that none has
seen, so that what else the machine does hits all alike.

What is done is not done again: replies are ordinary runs in OUT/METHOD-BUDGET, times are in OUT/times.json. FastV and
PyramidDrop, which leave tokens out between the language model's layers, need `--engine torch`; their budget is the
average over the layers. `frames` compares the frames of a film; of one picture it is `tome`, and not measured there.

    python benchmarks/compression.py runs/scenes --out runs/compression
    python benchmarks/compression.py runs/scenes runs/video --frames 16 --methods random pool tome frames
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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PILImage

from sensorium.conversation import Conversation, Image, user
from sensorium.engine import Sampling
from sensorium.engine.loading import load_engine
from sensorium.evaluation.asking import Here
from sensorium.evaluation.benchmarks import BENCHMARKS, Answer, Benchmark, Data
from sensorium.evaluation.identity import engine_identity
from sensorium.evaluation.methods import Trial
from sensorium.evaluation.run import run
from sensorium.evaluation.statistics.paired import Difference, difference
from sensorium.files import write_whole
from sensorium.media import open_image
from sensorium.media.watching import Watcher
from sensorium.model.compressors import COMPRESSORS, Compression
from sensorium.model.dropping import DROPPINGS, DroppingBudget
from sensorium.model.fewer import Fewer, fewer_tokens
from sensorium.progress import ProgressCallback

Scores = dict[str, tuple[float, str]]  # what is scored together -> its score, and the picture or film it is about
SAME_AS = {"deco": "pool"}  # one rule with two names is measured once
QUESTION = "What is in the picture?"
ROOM, ROOM_OF_FRAME = 1024, 128  # tokens: for a picture, a question and its answer; beside them for each frame
COLUMNS = ("asked", "method", "visual tokens", "score", "to all tokens (95 %)", "to random (95 %)", "first answer, ms")


@dataclass(frozen=True)
class Way:
    """fewer: None for the model as it is; engine: who answers so."""

    fewer: Fewer | None
    engine: Any

    @property
    def name(self) -> str:
        return "none" if self.fewer is None else f"{self.fewer.method}-{self.fewer.budget}"

    @property
    def visual_tokens(self) -> int:
        """Of a picture, that are really left: not all methods can leave any number."""
        return self.fewer.budget if isinstance(self.fewer, DroppingBudget) else int(self.engine.card.visual_tokens)


@dataclass(frozen=True)
class Subject:
    """What is asked about: the pictures or the films of a folder. limit: so many of each task."""

    benchmark: Benchmark
    data: Data
    limit: int | None

    @classmethod
    def of(cls, folder: Path, options: argparse.Namespace) -> Subject:
        data = Data(folder, None, options.split, frames=options.frames)
        is_film = data.scenes.has_films(data.scene_splits[0])
        return cls(BENCHMARKS["videomme" if is_film else "scenes-mme"], data, options.limit)

    @property
    def is_film(self) -> bool:
        return self.benchmark.modality == "video"

    @property
    def title(self) -> str:
        return f"films, {self.data.frames} frames (of 100)" if self.is_film else f"{self.benchmark.name} (of 200)"

    def trial(self, out: Path) -> Trial:
        return Trial(self.benchmark, self.data, self.limit, out, None, {})

    def ways(self, ways: Sequence[Way]) -> list[Way]:
        """Those that are worth asking about this: what compares frames has nothing to compare in a picture."""
        return [way for way in ways if self.is_film or not (isinstance(way.fewer, Compression) and way.fewer.compares)]


def main() -> None:
    options = _options()
    subjects = [Subject.of(folder, options) for folder in options.data]
    room = options.context_length or ROOM + ROOM_OF_FRAME * options.frames * any(one.is_film for one in subjects)
    engine = load_engine(options.model, engine=options.engine, context_length=room)
    rows, n_questions = [], 0
    with closing(engine) if hasattr(engine, "close") else nullcontext():
        all_ways = _ways(engine, options)
        for subject in subjects:
            ways = subject.ways(all_ways)
            answers = {way.name: _asked(way, subject, options) for way in ways}
            times = _times(ways, subject, options) if options.rounds else {}
            rows += [_row(way, subject, answers, times) for way in ways]
            n_questions += len(answers["none"])
    table = _table(rows)
    write_whole(options.out / "compression.md", table)
    print(table, end="")
    if options.json:
        print(json.dumps({"questions": n_questions, "rows": rows}))


def _ways(engine: Any, options: argparse.Namespace) -> list[Way]:
    """The model as it is, then every method with every budget below what a picture takes there, and as many by lot as
    each of them leaves."""
    ways = {"none": Way(None, engine)}
    for budget in options.budgets:
        if budget >= engine.card.visual_tokens:
            continue
        asked = [_way(engine, budget, method) for method in options.methods]
        if "random" in options.methods:
            left = {way.visual_tokens for way in asked}
            asked = [_way(engine, n, "random") for n in sorted(left, reverse=True)] + asked
        ways |= {way.name: way for way in asked}
    return list(ways.values())


def _way(engine: Any, budget: int, method: str) -> Way:
    fewer = fewer_tokens(budget, method)
    return Way(fewer, engine.dropping_by(fewer) if isinstance(fewer, DroppingBudget) else engine.compressing(fewer))


def _asked(way: Way, subject: Subject, options: argparse.Namespace) -> list[Answer]:
    """Replies to all questions; those that OUT holds are not asked for."""
    trial = subject.trial(options.out)
    identity = engine_identity(options.model, way.engine.card, "float32")
    about = trial.header({"name": way.engine.card.name, "provenance": way.engine.card.provenance})
    done = run(trial.questions(), Here(way.engine), trial.folder(way.name, identity), identity, trial.sampling,
               progress=_told(f"{subject.benchmark.name}, {way.name}"), about=about)  # fmt: skip
    return done.answers


def _times(ways: Sequence[Way], subject: Subject, options: argparse.Namespace) -> dict[str, list[float]]:
    """Milliseconds to the first word about a new picture or new frames, one for each round; all in one run, or those of
    the last. What decoding a film takes is the same on all ways and left out."""
    path = options.out / (f"times-of-{subject.data.frames}-frames.json" if subject.is_film else "times.json")
    header = {"ways": [way.name for way in ways], "rounds": options.rounds,
              "engine": engine_identity(options.model, ways[0].engine.card, "float32")}  # fmt: skip
    if path.exists() and (kept := json.loads(path.read_text()))["of"] == header:
        return kept["ms"]  # type: ignore[no-any-return]
    tell, found = _told(f"{subject.benchmark.name}, times"), dict[str, list[float]]()
    shown = _pictures(subject, options)
    for number in range(options.rounds + 1):  # the first one warms up
        first = number % len(ways)
        for way in (*ways[first:], *ways[:first]):
            unseen = [_unseen(picture, number) for picture in shown[number % len(shown)]]
            asked = Conversation((user(*unseen, QUESTION),))
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


def _pictures(subject: Subject, options: argparse.Namespace) -> list[list[PILImage.Image]]:
    """What some questions show: a picture, or the frames of a film."""
    questions = replace(subject, limit=4).trial(options.out).questions()[:8]
    watcher = Watcher()
    asked = (question.conversation(lambda video: watcher.watch(video).times_s) for question in questions)
    shown = (watcher.shown(conversation).images for conversation in asked)
    return [[open_image(image) for image in images] for images in shown]


def _unseen(picture: PILImage.Image, number: int) -> Image:
    """The picture with one pixel changed: another one to every memory, the same work."""
    changed = picture.convert("RGB")
    changed.putpixel((0, 0), (number % 256, number // 256, 77))
    data = io.BytesIO()
    changed.save(data, format="PNG")
    return Image(data.getvalue())


def _row(
    way: Way, subject: Subject, answers: dict[str, list[Answer]], times: dict[str, list[float]]
) -> dict[str, Any]:
    plain, ours = _scores(subject, answers["none"]), _scores(subject, answers[way.name])
    fewer = way.fewer
    drawn = []
    if fewer is not None and fewer.method != "random":
        # What leaves between the layers is held against a draw between the layers, where there is one.
        drawn = [f"{fewer.method}-random-{fewer.budget}", f"random-{way.visual_tokens}"]
    chance = next((_scores(subject, answers[name]) for name in drawn if name in answers), None)
    took = times.get(way.name)
    return {
        "asked": subject.title,
        "method": "all of them" if fewer is None else fewer.method,
        "visual_tokens": way.visual_tokens,
        "score": float(np.mean([worth for worth, _ in ours.values()])),
        "to_none": None if fewer is None else _paired(plain, ours),
        "to_random": None if chance is None else _paired(chance, ours),
        "first_answer_ms": None if took is None else statistics.median(took),
    }


def _paired(one: Scores, other: Scores) -> dict[str, float | None]:
    """other - one over what both answered; what is about one picture or film falls together."""
    both = [key for key in one if key in other]
    pictures = [one[key][1] for key in both]
    found: Difference = difference([one[k][0] for k in both], [other[k][0] for k in both], pictures, are_binary=False)
    low, high = found.mean.interval or (None, None)
    return {"value": found.mean.value, "low": low, "high": high, "p": found.p}


def _scores(subject: Subject, answers: Sequence[Answer]) -> Scores:
    """Of each pair of questions MME's score of 200, half for the answers, half for both of them; of each question about
    a film 100 for the right letter. And which picture or film it is about."""
    benchmark = subject.benchmark
    judged = benchmark.judge(answers, benchmark.known_variant(None, benchmark.prompts[0]))
    if subject.is_film:
        return {one.id: (100 * read.worth, _seen(one)) for one, read in zip(answers, judged, strict=True)}
    pairs: dict[str, list[float]] = {}
    for one, read in zip(answers, judged, strict=True):
        pairs.setdefault(one.cluster, []).append(read.worth)
    about = {one.cluster: _seen(one) for one in answers}
    return {pair: (100 * sum(worth) / len(worth) + 100 * all(one == 1 for one in worth), about[pair])
            for pair, worth in pairs.items()}  # fmt: skip


def _seen(answer: Answer) -> str:
    """A picture is asked about in several pairs, and lots are drawn once for it."""
    return " ".join(answer.media)


def _table(rows: Sequence[dict[str, Any]]) -> str:
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---|---|" + "---:|" * (len(COLUMNS) - 2)]
    for row in rows:
        took = row["first_answer_ms"]
        cells = (row["asked"], row["method"], str(row["visual_tokens"]), f"{row['score']:.1f}", _shown(row["to_none"]),
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
    methods = [name for name in COMPRESSORS if name not in SAME_AS]
    known = [*methods, *DROPPINGS]
    parser.add_argument("data", type=Path, nargs="+",
                        help="a dataset folder made by `sensorium data build scenes`, or by `… video`, or one of each")
    parser.add_argument("--frames", type=int, default=8, help="so many of each film")
    parser.add_argument("--out", type=Path, default=Path("runs/compression"))
    parser.add_argument("--model", default="default")
    parser.add_argument("--engine", choices=("llamacpp", "torch"), default="llamacpp")
    parser.add_argument("--methods", nargs="+", choices=known, default=methods)
    parser.add_argument("--budgets", nargs="+", type=int, default=[64, 32, 16, 8, 4])
    parser.add_argument("--split", help="only splits with that word; all test splits if left out")
    parser.add_argument("--limit", type=int, help="ask only about so many pictures or films of each task")
    parser.add_argument("--rounds", type=int, default=15, help="first answers of each whose time is taken; 0: none")
    parser.add_argument("--context-length", type=int, help=f"tokens; {ROOM:,} and {ROOM_OF_FRAME} more a frame")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
