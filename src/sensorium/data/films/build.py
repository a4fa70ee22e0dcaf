"""Build a dataset of films: the films first, by several processes, then the words, by one.

As with pictures (`scenes.build`): films are cut into shards, whose row files appear when their films are all there, so
a build that was broken off goes on where it was; a film depends on (seed, split, length, number) alone; words come
after, in order, because yes and no and the letters are kept even over a split.

Clips are for every split. Long films are for the tests alone and made only when asked for.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from sensorium.data.building import claim_folder, digest_of, in_processes, known_splits, write_file, write_rows
from sensorium.data.dataset import Rows
from sensorium.data.films.asking import PHRASES, ClipWriter
from sensorium.data.films.casting import Caster
from sensorium.data.films.choices import Chooser
from sensorium.data.films.clips import plot_clip
from sensorium.data.films.encode import write_video
from sensorium.data.films.long import LEAST_MINUTES, plot_long
from sensorium.data.films.narrator import NARRATOR, as_srt
from sensorium.data.films.records import Film, film_from_json
from sensorium.data.films.stage import Stage
from sensorium.data.records import FORMAT, SPLITS, TEST_SPLITS
from sensorium.data.scenes.catalogue import Catalogue
from sensorium.data.scenes.compose import Casting
from sensorium.data.scenes.phrases import Phrases
from sensorium.data.scenes.words import Words
from sensorium.progress import ProgressCallback

FILMS_VERSION = 1  # raise when the same seed makes other films
WORDS_VERSION = 1  # raise when other things are said about the same films
SHARD = 40
SIZES = {"train": 4000, "val": 100, **dict.fromkeys(TEST_SPLITS, 150)}

Shard = tuple[str, int, int, int]  # split, minutes (0: clips), first number, number after the last


class FilmsConfig(BaseModel):
    """What to build. sizes: clips of each split; minutes: lengths of long films, of which each test split has `long`
    each; conversations_per_clip: long films have none. size: (width, height) of the films, even numbers.
    fps, long_fps: frames a second.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    catalogue: Path
    out: Path
    name: str = "films"
    seed: int = Field(default=1, ge=0)
    sizes: dict[str, int] = SIZES
    minutes: tuple[int, ...] = ()
    long: int = Field(default=3, ge=1)
    conversations_per_clip: int = Field(default=3, ge=1)
    size: tuple[int, int] = (320, 240)
    fps: int = Field(default=8, ge=1, le=60)
    long_fps: int = Field(default=2, ge=1, le=60)
    processes: int = Field(default=2, ge=1)

    @field_validator("sizes")
    @classmethod
    def _known_splits(cls, sizes: dict[str, int]) -> dict[str, int]:
        return known_splits(sizes, "clip")

    @field_validator("minutes")
    @classmethod
    def _long_enough(cls, minutes: tuple[int, ...]) -> tuple[int, ...]:
        for one in minutes:
            if not LEAST_MINUTES <= one <= 240:
                raise ValueError(f"a long film has {LEAST_MINUTES} to 240 minutes, not {one}.")
        return tuple(sorted(set(minutes)))

    def shards(self, split: str) -> list[Shard]:
        """The pieces of work of a split: its clips, then its long films, one by one."""
        size = self.sizes[split]
        clips = [(split, 0, first, min(first + SHARD, size)) for first in range(0, size, SHARD)]
        lengths = self.minutes if split in TEST_SPLITS else ()
        return clips + [(split, minutes, number, number + 1) for minutes in lengths for number in range(self.long)]

    def build(self, progress: ProgressCallback | None = None) -> Path:
        return build_films(self, progress)


def build_films(config: FilmsConfig, progress: ProgressCallback | None = None) -> Path:
    """Build, or finish, the dataset of a config; returns its folder. What is complete is left as it is.

    Raises SensoriumError: no catalogue, no PyAV, a folder that holds something else, a full disk.
    """
    report = progress or (lambda what, done, of: None)
    catalogue = Catalogue.load(config.catalogue)
    films = _films_fingerprint(config)
    digests = [Phrases.digest(path) for path in (PHRASES, NARRATOR)]
    fingerprint = digest_of([films, WORDS_VERSION, *digests, config.name, config.conversations_per_clip])
    if claim_folder(config.out, films) == fingerprint:
        return config.out
    _make_films(config, report)
    splits = {}
    for split, size in config.sizes.items():
        report(f"writing {split}", 0, size)
        splits[split] = _write_words(config, split)
        report(f"writing {split}", size, size)
    shown = {drawing.name for drawing in catalogue.drawings}
    entries = catalogue.vocabulary.entries
    info = {
        "format": FORMAT,
        "name": config.name,
        "seed": config.seed,
        "fingerprint": fingerprint,
        "splits": splits,
        "vocabulary": [entry.name for entry in entries if entry.name in shown],
        "licences": _licences(config, catalogue),
        "held_out": {
            "objects": [entry.name for entry in entries if entry.held_out and entry.name in shown],
            "styles": [catalogue.held_out_style],
            "backgrounds": [background.name for background in catalogue.backgrounds if background.held_out],
            "words": [word.upper() for word in Words.load().held_out],
        },
    }
    write_file(config.out / "dataset.json", (json.dumps(info, ensure_ascii=False, indent=1) + "\n").encode())
    return config.out


def _films_fingerprint(config: FilmsConfig) -> str:
    """What the films depend on, as one hash."""
    table = hashlib.sha256((config.catalogue / "catalogue.json").read_bytes()).hexdigest()
    kept = config.model_dump(include={"seed", "sizes", "minutes", "long", "size", "fps", "long_fps"})
    return digest_of([FILMS_VERSION, table, Phrases.digest(NARRATOR), Words.digest(), kept])


def _make_films(config: FilmsConfig, report: ProgressCallback) -> None:
    """Make every shard that is not there yet, then join each split's shards into its `films.jsonl`."""
    splits = [split for split in config.sizes if not (config.out / split / "films.jsonl").exists()]
    shards = [shard for split in splits for shard in config.shards(split)]
    missing = [shard for shard in shards if not _shard_file(config, shard).exists()]
    done = len(shards) - len(missing)
    report("filming", done, len(shards))
    for _ in in_processes(partial(make_shard, config), missing, config.processes):
        done += 1
        report("filming", done, len(shards))
    for split in splits:
        rows = b"".join(_shard_file(config, shard).read_bytes() for shard in config.shards(split))
        write_file(config.out / split / "films.jsonl", rows)
        shutil.rmtree(config.out / split / "shards")


def make_shard(config: FilmsConfig, shard: Shard) -> None:
    """Make the films of a shard; its row file is written last, and films that are there are not made again."""
    split, minutes, first, end = shard
    caster, rows = caster_of(config.catalogue, split), []
    for number in range(first, end):
        film = plot(config, caster, minutes, number)
        path = config.out / split / film.video
        if not path.exists():
            write_video(path, Stage(caster.catalogue, film).frames(), config.size, film.fps)
        if film.subtitles is not None:
            write_file(config.out / split / film.subtitles, as_srt(film.lines))
        rows.append(film.to_json())
    write_rows(_shard_file(config, shard), rows)


def plot(config: FilmsConfig, caster: Caster, minutes: int, number: int) -> Film:
    """The truth of film `number` of a length."""
    rng = np.random.default_rng((config.seed, SPLITS.index(caster.casting.split), 101, minutes, number))
    if minutes:
        return plot_long(caster, number, minutes, config.size, config.long_fps, rng)
    return plot_clip(caster, number, config.size, config.fps, rng)


@lru_cache(maxsize=2)
def caster_of(catalogue: Path, split: str) -> Caster:
    """Raises SensoriumError where the catalogue has nothing to show for a split."""
    found = Catalogue.load(catalogue)
    return Caster(found, Casting.of(found, split))


def _shard_file(config: FilmsConfig, shard: Shard) -> Path:
    split, minutes, first, _ = shard
    return config.out / split / "shards" / f"{minutes}-{first:06d}.jsonl"


def _write_words(config: FilmsConfig, split: str) -> dict[str, int]:
    """Write the conversations and questions of a split; returns how many rows each of its files has."""
    folder = config.out / split
    films = Rows(folder / "films.jsonl", film_from_json)
    seed = config.seed * 1000 + SPLITS.index(split)
    caster = caster_of(config.catalogue, split)
    writer, chooser = ClipWriter(caster, seed), Chooser(caster, seed)
    clips = (film for film in films if not film.minutes)
    written = [pair for film in clips for pair in writer.write(film, config.conversations_per_clip)]
    questions = [] if split == "train" else [question for film in films for question in chooser.write(film)]
    write_rows(folder / "conversations.jsonl", ({**row.to_json(), "spans": spans} for row, spans in written))
    write_rows(folder / "questions.jsonl", (question.to_json() for question in questions))
    return {"films": len(films), "conversations": len(written), "questions": len(questions)}


def _licences(config: FilmsConfig, catalogue: Catalogue) -> dict[str, int]:
    """Licence -> how many of the drawings and backgrounds that are shown have it."""
    shown: set[str] = set()
    for split in config.sizes:
        for film in Rows(config.out / split / "films.jsonl", film_from_json):
            shown.update(actor.drawing for actor in film.actors)
            shown.update(one.background for one in film.sets)
    licences = {drawing.id: drawing.licence for drawing in catalogue.drawings}
    licences |= {background.name: background.licence for background in catalogue.backgrounds}
    return dict(sorted(Counter(licences[name] for name in shown).items()))
