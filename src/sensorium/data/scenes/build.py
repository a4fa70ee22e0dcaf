"""Build the scenes dataset: pictures first, by several processes, then the words, by one.

Pictures are cut into shards of two hundred; a shard's row file appears when its pictures are all there, so a build
that was broken off goes on at the next shard. Words come after, from the finished truth of a split and in its order,
because yes and no are balanced over the whole; they take a minute, and are written anew whenever what they depend on
changed. Nothing depends on the number of processes or on the time.

Two fingerprints: that of the pictures (catalogue, seed, sizes) guards the folder; that of the words (phrases, text
chats, number of conversations) says whether what stands there is still what would be written.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from sensorium.conversation import Conversation
from sensorium.data.building import claim_folder, digest_of, in_processes, known_splits, write_file, write_rows
from sensorium.data.dataset import Rows
from sensorium.data.records import FORMAT, SPLITS, TEST_SPLITS, ConversationRow, Scene, scene_from_json
from sensorium.data.scenes.authors import Authors
from sensorium.data.scenes.catalogue import Catalogue
from sensorium.data.scenes.compose import Composer
from sensorium.data.scenes.fonts import BY_NAME, FACES, fetch_fonts
from sensorium.data.scenes.phrases import Phrases
from sensorium.data.scenes.printed import PrintedComposer
from sensorium.data.scenes.reading import PHRASES as READING_PHRASES
from sensorium.data.scenes.several import PHRASES as SEVERAL_PHRASES
from sensorium.data.scenes.words import Words
from sensorium.errors import SensoriumError
from sensorium.progress import ProgressCallback

PICTURES_VERSION = 1  # raise when `compose` makes other pictures from the same seed
WORDS_VERSION = 5  # raise when `write` or `probes` say other things about the same scenes
# As the two above, of what has an option of its own: who leaves it out is not asked to build anew.
SMALL_VERSION = PRINTED_VERSION = READING_VERSION = 1
SEVERAL_VERSION = 3
SHARD = 200
# Not every picture offers every probe; of 450, at least 200 offer each, in every test split.
SIZES = {"train": 16000, "val": 300, **dict.fromkeys(TEST_SPLITS, 450)}
_JPEG_QUALITY = 87

Shard = tuple[str, int, int]  # split, first number, number after the last


class ScenesConfig(BaseModel):
    """What to build; by default what the embedded default was trained on.

    sizes: pictures a split; conversations_per_scene: one caption, the rest chats; besides, each scene has a drill,
    and one about places where it has clear ones.
    several: conversations about two or three pictures at once, for each picture of a split. small, cards, pages: more
    pictures for each picture of a split, of small things, with printed cards and signs, and printed pages.
    text_chats: JSON lines of `{"messages": […]}` without pictures, appended to train as they are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    catalogue: Path
    out: Path
    name: str = "scenes"
    seed: int = Field(default=1, ge=0)
    sizes: dict[str, int] = SIZES
    conversations_per_scene: int = Field(default=5, ge=1)
    several: float = Field(default=0, ge=0, le=10)
    small: float = Field(default=0, ge=0, le=10)
    cards: float = Field(default=0, ge=0, le=10)
    pages: float = Field(default=0, ge=0, le=10)
    text_chats: Path | None = None
    processes: int = Field(default=2, ge=1)

    @field_validator("sizes")
    @classmethod
    def _known_splits(cls, sizes: dict[str, int]) -> dict[str, int]:
        return known_splits(sizes, "picture")

    @property
    def is_printed(self) -> bool:
        return bool(self.cards or self.pages)

    def numbers(self, split: str) -> dict[str, range]:
        """Kind of picture -> the numbers of those pictures: the plain ones first, as if there were no others."""
        size, found, end = self.sizes[split], dict[str, range](), 0
        for kind, share in (("plain", 1), ("small", self.small), ("cards", self.cards), ("page", self.pages)):
            count = max(1, round(share * size)) if share else 0
            found[kind] = range(end, end := end + count)
        return found

    def build(self, progress: ProgressCallback | None = None) -> Path:
        return build_scenes(self, progress)


def build_scenes(config: ScenesConfig, progress: ProgressCallback | None = None) -> Path:
    """Build, or finish, the dataset of a config; returns its folder. What is complete is left as it is.

    Raises SensoriumError: no catalogue, a folder that holds something else, a full disk. No file is ever half written.
    """
    report = progress or (lambda what, done, of: None)
    catalogue = Catalogue.load(config.catalogue)
    pictures = pictures_fingerprint(config)
    said = [
        pictures, WORDS_VERSION, Phrases.digest(), _text_digest(config), config.name, config.conversations_per_scene,
    ]  # fmt: skip
    if config.several:
        said += [config.several, SEVERAL_VERSION, Phrases.digest(SEVERAL_PHRASES)]
    if config.is_printed:
        said += [READING_VERSION, Phrases.digest(READING_PHRASES)]
    fingerprint = digest_of(said)
    if claim_folder(config.out, pictures) == fingerprint:
        return config.out
    if config.is_printed:
        fetch_fonts(progress)
    _make_pictures(config, report)
    splits, licences = {}, dict[str, set[str]]()
    for split, size in config.sizes.items():
        report(f"writing {split}", 0, size)
        splits[split] = _write_words(config, catalogue, split)
        _add_licences(licences, catalogue, config.out / split)
        report(f"writing {split}", size, size)
    entries = catalogue.vocabulary.entries
    shown = {drawing.name for drawing in catalogue.drawings}
    info: dict[str, Any] = {
        "format": FORMAT,
        "name": config.name,
        "seed": config.seed,
        "fingerprint": fingerprint,
        "splits": splits,
        "vocabulary": [entry.name for entry in entries if entry.name in shown],
        "licences": {licence: len(shown_under) for licence, shown_under in sorted(licences.items())},
        "held_out": {
            "objects": [entry.name for entry in entries if entry.held_out and entry.name in shown],
            "styles": [catalogue.held_out_style],
            "backgrounds": [background.name for background in catalogue.backgrounds if background.held_out],
        },
    }
    if config.is_printed:
        info["held_out"]["words"] = list(Words.load().held_out)
        info["held_out"]["fonts"] = [face.name for face in FACES if face.held_out]
    write_file(config.out / "dataset.json", (json.dumps(info, ensure_ascii=False, indent=1) + "\n").encode())
    return config.out


def pictures_fingerprint(config: ScenesConfig) -> str:
    """What the pictures depend on, as one hash."""
    table = config.catalogue / "catalogue.json"
    shown = [PICTURES_VERSION, hashlib.sha256(table.read_bytes()).hexdigest(), config.seed, config.sizes]
    if config.small:
        shown += ["small", SMALL_VERSION, config.small]
    if config.is_printed:
        fonts = [[face.name, face.package.part.sha256] for face in FACES]
        shown += ["printed", PRINTED_VERSION, config.cards, config.pages, Words.digest(), fonts]
    return digest_of(shown)


def _text_digest(config: ScenesConfig) -> str | None:
    if config.text_chats is None:
        return None
    try:
        return hashlib.sha256(config.text_chats.read_bytes()).hexdigest()
    except OSError as error:
        raise SensoriumError(config.text_chats, f"cannot be read ({error.strerror}).", "Check `text_chats`.") from error


def _make_pictures(config: ScenesConfig, report: ProgressCallback) -> None:
    """Compose every shard that is not there yet, then join each split's shards into its `scenes.jsonl`."""
    splits = [split for split in config.sizes if not (config.out / split / "scenes.jsonl").exists()]
    shards = [shard for split in splits for shard in _shards(config, split)]
    missing = [shard for shard in shards if not _shard_file(config, shard).exists()]
    report("composing", len(shards) - len(missing), len(shards))
    done = len(shards) - len(missing)
    for _ in in_processes(partial(make_shard, config), missing, config.processes):
        done += 1
        report("composing", done, len(shards))
    for split in splits:
        files = [_shard_file(config, shard) for shard in _shards(config, split)]
        write_file(config.out / split / "scenes.jsonl", b"".join(file.read_bytes() for file in files))
        shutil.rmtree(config.out / split / "shards")


def _shards(config: ScenesConfig, split: str) -> list[Shard]:
    size = sum(map(len, config.numbers(split).values()))
    return [(split, first, min(first + SHARD, size)) for first in range(0, size, SHARD)]


def make_shard(config: ScenesConfig, shard: Shard) -> None:
    """Compose the pictures of a shard; its row file is written last."""
    split, first, end = shard
    composer, rows = _composer(config.catalogue, split, config.seed), []
    printer = PrintedComposer(composer) if config.is_printed else None
    numbers = config.numbers(split)
    for number in range(first, end):
        kind = next(kind for kind, of_kind in numbers.items() if number in of_kind)
        maker = printer if printer and kind in ("cards", "page") else composer
        picture, scene = maker.compose(number, kind)
        jpeg = io.BytesIO()
        picture.save(jpeg, "JPEG", quality=_JPEG_QUALITY)
        write_file(config.out / split / scene.image, jpeg.getvalue())
        rows.append(json.dumps(scene.to_json(), ensure_ascii=False))
    write_file(_shard_file(config, shard), "".join(row + "\n" for row in rows).encode())


@lru_cache(maxsize=1)
def _composer(catalogue: Path, split: str, seed: int) -> Composer:
    return Composer(Catalogue.load(catalogue), split, seed)


def _shard_file(config: ScenesConfig, shard: Shard) -> Path:
    split, first, _ = shard
    return config.out / split / "shards" / f"{first:06d}.jsonl"


def _write_words(config: ScenesConfig, catalogue: Catalogue, split: str) -> dict[str, int]:
    """Write the conversations and probes of a split; returns how many rows each of its files has."""
    folder, number = config.out / split, SPLITS.index(split)
    scenes: dict[str, list[Scene]] = {kind: [] for kind in config.numbers(split)}
    for scene in Rows(folder / "scenes.jsonl", scene_from_json):
        scenes[scene.kind].append(scene)
    casting = _composer(config.catalogue, split, config.seed).casting
    chats = config.conversations_per_scene - 1
    authors = Authors(catalogue.vocabulary, casting, config.seed * 1000 + number, chats, config.several)
    rows = list(authors.conversations(scenes))
    if split == "train" and config.text_chats:
        rows.extend(_text_rows(config.text_chats))
    probes = [] if split == "train" else list(authors.probes(scenes))
    write_rows(folder / "conversations.jsonl", (row.to_json() for row in rows))
    write_rows(folder / "probes.jsonl", (probe.to_json() for probe in probes))
    return {"scenes": sum(map(len, scenes.values())), "conversations": len(rows), "probes": len(probes)}


def _text_rows(path: Path) -> Iterator[ConversationRow]:
    rows = Rows(path, lambda row, where: (row, where))
    for number, (row, where) in enumerate(rows):
        if Conversation.from_json(row.get("messages"), where).images:
            raise SensoriumError(where, "has a picture; text chats have none.")
        yield ConversationRow(f"text-{number:06d}", None, "text", row["messages"])


def _add_licences(licences: dict[str, set[str]], catalogue: Catalogue, folder: Path) -> None:
    """Add to licence -> ids the drawings and backgrounds that the pictures of a split show."""
    scenes: list[Scene] = list(Rows(folder / "scenes.jsonl", scene_from_json))
    drawings = {thing.drawing for scene in scenes for thing in scene.objects}
    backgrounds = {scene.background for scene in scenes}
    found = [(d.licence, d.id) for d in catalogue.drawings if d.id in drawings]
    fonts = sorted({block.font for scene in scenes for block in scene.printed})
    found += [(BY_NAME[font].package.licence, font) for font in fonts]
    for licence, name in [*found, *((b.licence, b.name) for b in catalogue.backgrounds if b.name in backgrounds)]:
        licences.setdefault(licence, set()).add(name)
