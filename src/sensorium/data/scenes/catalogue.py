"""The catalogue: every cut-out and background that scenes are composed of, as PNG and JPEG files with a table.

Built once from packages that others ship (emoji sets, clip art, stamps, photographs) and the curated vocabulary; from
then on only the folder is needed. A file's name holds a hash of its source, so building again renders only what is new
and an interrupted build goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from itertools import chain
from pathlib import Path

from PIL import Image

from sensorium.data.scenes.backgrounds import BackgroundArtwork, background_artworks
from sensorium.data.scenes.cutout import RENDER_VERSION, dominant_colour, render
from sensorium.data.scenes.emoji import HELD_OUT_STYLE, emoji_artworks
from sensorium.data.scenes.openclipart import openclipart_artworks
from sensorium.data.scenes.sources import Artwork
from sensorium.data.scenes.stamps import stamp_artworks
from sensorium.data.scenes.vocabulary import VOCABULARY_FILE, Vocabulary
from sensorium.errors import SensoriumError
from sensorium.files import replacing, write_whole
from sensorium.progress import ProgressCallback

FORMAT = "sensorium-catalogue-1"


@dataclass(frozen=True)
class Drawing:
    """One cut-out: an RGBA PNG trimmed to what is opaque, long side at most 320 pixels.

    name: the vocabulary's; style: whose hand ("noto", "openclipart"); path: relative to the catalogue's folder;
    colour: the one clear dominant colour, or None; hue_share: share of the opaque pixels within 20 degrees of the
    commonest hue (from 0.6 on it can be recoloured).
    """

    id: str
    name: str
    style: str
    path: str
    colour: str | None
    hue_share: float
    licence: str
    sha256: str


@dataclass(frozen=True)
class Background:
    """An RGB JPEG, 480x360. shows: vocabulary names that can be seen in it, so neither ask about nor place them."""

    name: str
    path: str
    held_out: bool
    licence: str
    shows: tuple[str, ...] = ()


@dataclass(frozen=True)
class Catalogue:
    """What `build_catalogue` wrote into `root`. Drawings are in the order of the vocabulary, then by id."""

    root: Path
    drawings: tuple[Drawing, ...]
    backgrounds: tuple[Background, ...]
    vocabulary: Vocabulary
    held_out_style: str = HELD_OUT_STYLE

    @classmethod
    def load(cls, root: Path) -> Catalogue:
        """Read a catalogue's folder; SensoriumError when it is none."""
        root = Path(root)
        table = root / "catalogue.json"
        if not table.exists():
            raise SensoriumError(root, "there is no catalogue here.", "Build it first (`build_catalogue`).")
        tree = json.loads(table.read_text("utf-8"))
        if tree.get("format") != FORMAT:
            raise SensoriumError(table, f"format is {tree.get('format')!r}, not {FORMAT!r}.", "Build it again.")
        backgrounds = tuple(Background(**{**row, "shows": tuple(row["shows"])}) for row in tree["backgrounds"])
        drawings = tuple(Drawing(**row) for row in tree["drawings"])
        return cls(root, drawings, backgrounds, Vocabulary.load(root / "vocabulary.yaml"), tree["held_out_style"])

    def save(self, vocabulary_text: str) -> None:
        """Write the table, and the vocabulary beside it, so that the folder explains itself whatever ships later."""
        write_whole(self.root / "vocabulary.yaml", vocabulary_text)
        tree = {
            "format": FORMAT,
            "held_out_style": self.held_out_style,
            "drawings": [asdict(drawing) for drawing in self.drawings],
            "backgrounds": [asdict(background) for background in self.backgrounds],
        }
        write_whole(self.root / "catalogue.json", json.dumps(tree, ensure_ascii=False, indent=0))

    @cached_property
    def by_name(self) -> dict[str, tuple[Drawing, ...]]:
        found: dict[str, list[Drawing]] = {}
        for drawing in self.drawings:
            found.setdefault(drawing.name, []).append(drawing)
        return {name: tuple(drawings) for name, drawings in found.items()}

    def drawings_of(self, name: str) -> tuple[Drawing, ...]:
        """All drawings of that name, in every style; empty when there is none."""
        return self.by_name.get(name, ())


def build_catalogue(root: Path, progress: ProgressCallback | None = None, processes: int = 2) -> Catalogue:
    """Collect, render and describe every drawing and background into `root`, and write its table.

    Resumable and deterministic. Packages are fetched into `root`/packages. Raises SensoriumError that says what is
    missing and how to get it: npm, a Debian package, or the extra that draws SVG.
    """
    report = progress or (lambda what, done, of: None)
    root = Path(root)
    for folder in ("drawings", "backgrounds", "packages"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    vocabulary = Vocabulary.load()
    report("fetching packages", 0, 1)
    artworks = list(collect(vocabulary, root / "packages"))
    drawings = []
    for done, drawing in enumerate(_in_parallel(partial(write_drawing, root), artworks, processes), 1):
        drawings.append(drawing)
        report("drawings", done, len(artworks))
    order = {name: rank for rank, name in enumerate(vocabulary.names)}
    drawings.sort(key=lambda drawing: (order[drawing.name], drawing.id))
    backgrounds = [write_background(root, artwork) for artwork in background_artworks()]
    catalogue = Catalogue(root, tuple(drawings), tuple(backgrounds), vocabulary)
    catalogue.save(VOCABULARY_FILE.read_text("utf-8"))
    return catalogue


def collect(vocabulary: Vocabulary, packages: Path) -> Iterator[Artwork]:
    """Every artwork of every source. Raises SensoriumError when one drawing would show two names."""
    names: dict[str, str] = {}
    sources = (openclipart_artworks(vocabulary), stamp_artworks(vocabulary), emoji_artworks(vocabulary, packages))
    for artwork in chain.from_iterable(sources):
        if artwork.id in names:
            raise SensoriumError(f"vocabulary: {artwork.name}", f"{artwork.id} draws {names[artwork.id]} already.",
                                 f"List it under `exclude` of {artwork.name}.")
        names[artwork.id] = artwork.name
        yield artwork


def write_drawing(root: Path, artwork: Artwork) -> Drawing:
    """Render one artwork into `root`/drawings unless it is there already, and describe it."""
    path = f"drawings/{artwork.id}-{artwork.content_key()}{RENDER_VERSION}.png"
    file = root / path
    if not file.exists():
        picture = render(artwork)  # outside: a source that does not open is no fault of the disk
        with replacing(file) as part:
            picture.save(part, "PNG")
    with Image.open(file) as drawn:
        colour, hue_share = dominant_colour(drawn)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return Drawing(artwork.id, artwork.name, artwork.style, path, colour, hue_share, artwork.licence, digest)


def write_background(root: Path, artwork: BackgroundArtwork) -> Background:
    """Write one background into `root`/backgrounds as JPEG."""
    path = f"backgrounds/{artwork.name}.jpg"
    picture = artwork.paint()
    with replacing(root / path) as part:
        picture.save(part, "JPEG", quality=92)
    return Background(artwork.name, path, artwork.held_out, artwork.licence, artwork.shows)


def _in_parallel(work: Callable[[Artwork], Drawing], artworks: Iterable[Artwork], processes: int) -> Iterator[Drawing]:
    if processes <= 1:
        yield from map(work, artworks)
        return
    # Spawned, not forked: the caller may hold threads (torch, a progress bar) that do not survive a fork.
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(work, artworks, chunksize=16)
