"""Does a sampler see what is there for a moment? Films of ten minutes, needles of three or four seconds, 64 frames.

A needle is a card with a word, or a thing that appears; it is found when one of the sampled frames lies in its span. No
language model takes part. Films are made here from a catalogue of cut-outs, or taken from a dataset of long films.

    python benchmarks/needle.py --films 10
    python benchmarks/needle.py --data runs/video-long --split test_seen

Told for each sampler: the share found, of cards and of things, and by the fifth of the film in which they are. `even`
is what frames at even distances would find by the lengths of the needles alone. With --features MODEL, `difference` is
taken a second time by that model's own vision encoder.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sensorium.conversation import Video
from sensorium.data.dataset import Dataset
from sensorium.data.films.build import FilmsConfig, caster_of, plot
from sensorium.data.films.encode import write_video
from sensorium.data.films.records import Film, Happening
from sensorium.data.films.stage import Stage
from sensorium.media.sampling import Features, Plan, sample

SAMPLERS = ("uniform", "scenes", "difference")
FIFTHS = 5


def main() -> None:
    options = _options()
    samplers: list[tuple[str, str, Features | None]] = [(name, name, None) for name in SAMPLERS]
    if options.features:
        samplers.append(("difference, features", "difference", _features(options.features)))
    found: dict[str, list[tuple[int, str, bool]]] = {title: [] for title, _, _ in samplers}
    chances: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (film, path) in enumerate(_films(options, Path(folder)), start=1):
            needles = [*film.of("card"), *film.of("shows")]
            chances += [min(1.0, options.frames * (end - start) / film.duration_s) for start, end in
                        (needle.span for needle in needles)]  # fmt: skip
            for title, method, features in samplers:
                frames = sample(Video(str(path)), Plan(method, options.frames), features=features).frames
                times = [frame.time_s for frame in frames]
                found[title] += [(_fifth(film, one), one.kind, _is_seen(one, times)) for one in needles]
            if not options.json:
                print(f"film {number}: {len(needles)} needles", file=sys.stderr)
    result = {title: _shares(marks) for title, marks in found.items()}
    result["even"] = {"all": sum(chances) / len(chances)}
    print(json.dumps(result) if options.json else _table(result))


def _films(options: argparse.Namespace, folder: Path) -> Iterator[tuple[Film, Path]]:
    """Films and their videos, made one by one."""
    if options.data:
        for film in Dataset(options.data).films(options.split):
            if film.minutes:
                yield film, Path(film.video)
        return
    config = FilmsConfig(catalogue=options.catalogue, out=folder, seed=options.seed, minutes=(options.minutes,))
    caster = caster_of(options.catalogue, options.split)
    for number in range(options.films):
        film = plot(config, caster, options.minutes, number)
        path = folder / film.video
        write_video(path, Stage(caster.catalogue, film).frames(), config.size, film.fps)
        yield film, path
        path.unlink()


def _is_seen(needle: Happening, times: list[float]) -> bool:
    return any(needle.span[0] <= time_s < needle.span[1] for time_s in times)


def _fifth(film: Film, needle: Happening) -> int:
    return min(FIFTHS - 1, int(FIFTHS * needle.span[0] / film.duration_s))


def _shares(marks: list[tuple[int, str, bool]]) -> dict[str, Any]:
    def share(of: list[bool]) -> float | None:
        return sum(of) / len(of) if of else None

    return {
        "all": share([seen for _, _, seen in marks]),
        "needles": len(marks),
        "cards": share([seen for _, kind, seen in marks if kind == "card"]),
        "things": share([seen for _, kind, seen in marks if kind == "shows"]),
        "by fifth": [share([seen for fifth, _, seen in marks if fifth == one]) for one in range(FIFTHS)],
    }


def _table(result: dict[str, dict[str, Any]]) -> str:
    heads = ("all", "cards", "things", *(f"{k}/{FIFTHS}" for k in range(1, FIFTHS + 1)))
    lines = [f"{'sampler':<22}" + "".join(f"{head:>8}" for head in heads)]
    for title, one in result.items():
        values = [one["all"], one.get("cards"), one.get("things"), *one.get("by fifth", [None] * FIFTHS)]
        lines.append(f"{title:<22}" + "".join(f"{'-' if v is None else f'{v:.2f}':>8}" for v in values))
    return "\n".join(lines)


def _features(model: str) -> Features:
    """A model's own vision encoder, as its engine takes it."""
    from sensorium.engine.loading import load_engine

    features = load_engine(model).watcher.features
    if features is None:
        raise SystemExit(f"{model}: its engine has no vision encoder in hand.")
    return features


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--catalogue", type=Path, default=Path("runs/catalogue"))
    parser.add_argument("--data", type=Path, help="a dataset with long films, instead of making some")
    parser.add_argument("--split", default="test_seen")
    parser.add_argument("--films", type=int, default=10)
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--features", metavar="MODEL", help="whose vision encoder to take as well")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
