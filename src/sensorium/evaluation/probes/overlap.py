"""Contamination by comparison: which questions and pictures of a test also stand in a set that a model learnt from?

Words: a question overlaps when eight of its words in a row (all of them, if it has fewer) stand in a training text.
Runs of words that more than a tenth of the questions share are the test's template, and say nothing. Pictures: two are
near when their difference hashes, 64 bits of which neighbour is brighter, differ in at most four; scaling, recoding and
slight recolouring leave them so.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image as Picture
from pydantic import Field

from sensorium.conversation import Conversation, Image
from sensorium.data.dataset import Dataset
from sensorium.data.readers.base import Annotated
from sensorium.data.sources import load_sources
from sensorium.errors import SensoriumError
from sensorium.evaluation.benchmarks.base import Question
from sensorium.evaluation.headlines import Part
from sensorium.files import write_whole
from sensorium.media import open_image
from sensorium.progress import ProgressCallback

OVERLAP = "overlap.json"
WORDS, NEAR = 8, 4
TEMPLATE = 0.1  # share of the questions
EXAMPLES = 10


class Shared(Part):
    """question: an id, or a picture's; training: where the like of it stands."""

    question: str
    training: str


class Overlap(Part):
    """A test against one training set."""

    training_data: str
    samples: int
    skipped: int = Field(description="Training samples that could not be read.")
    questions: int = Field(description="Different texts that hold more than the test's template.")
    overlapping: int
    pictures: int = Field(description="Different pictures of the test that are not even throughout.")
    near: int
    examples: list[Shared]


def overlap_of(questions: Sequence[Question], training: Path, progress: ProgressCallback | None = None) -> Overlap:
    """training: a folder of our own format (its splits train and val), or a YAML file that names sources of any reader.

    Raises SensoriumError for training data that is none.
    """
    tell = progress or (lambda what, done, total: None)
    grams, texts = _own_grams(questions)
    hashes = _own_pictures(questions, tell)
    lengths = sorted({len(gram) for gram in grams})
    found: dict[str, str] = {}
    seen: dict[str, str] = {}  # picture of the training set -> where it was first
    hashed: list[tuple[int, str]] = []
    samples = skipped = 0
    for where, content in _training(training):
        samples += 1
        tell("comparing with the training data", samples, 0)
        if isinstance(content, SensoriumError):
            skipped += 1
            continue
        said, pictures = _content(content)
        for text in said:
            words = _words(text)
            for length in lengths:
                for i in range(len(words) - length + 1):
                    for name in grams.get(tuple(words[i : i + length]), ()):
                        found.setdefault(name, where)
        for image in pictures:
            if hashes and isinstance(image.source, str) and image.source not in seen:
                seen[image.source] = where
                try:
                    hashed.append((difference_hash(open_image(image)), where))
                except SensoriumError:
                    skipped += 1
    near = _near(hashes, hashed)
    return Overlap(
        training_data=training.name, samples=samples, skipped=skipped, questions=texts, overlapping=len(found),
        pictures=len(hashes), near=len(near),
        examples=[Shared(question=name, training=where)
                  for part in (near, found) for name, where in list(part.items())[:EXAMPLES]],
    )  # fmt: skip


def difference_hash(picture: Picture.Image) -> int:
    """64 bits: of nine by eight cells, whether each is brighter than its right neighbour. 0 of an even picture."""
    cells = np.asarray(picture.convert("L").resize((9, 8), Picture.Resampling.BILINEAR), dtype=np.int16)
    return int.from_bytes(np.packbits(cells[:, :-1] > cells[:, 1:]).tobytes(), "big")


def _own_grams(questions: Sequence[Question]) -> tuple[dict[tuple[str, ...], list[str]], int]:
    """Run of words -> the questions that hold it, without the template's; and how many texts have any."""
    texts: dict[tuple[str, ...], str] = {}
    for question in questions:
        texts.setdefault(tuple(_words(_asked(question))), question.id)
    runs = {name: set(_runs(words)) for words, name in texts.items() if words}
    counts = Counter(run for own in runs.values() for run in own)
    most = max(1, TEMPLATE * len(runs))
    grams: dict[tuple[str, ...], list[str]] = {}
    for name, own in runs.items():
        for run in own:
            if counts[run] <= most:
                grams.setdefault(run, []).append(name)
    return grams, len({name for names in grams.values() for name in names})


def _asked(question: Question) -> str:
    """The words of the test: its captions or its phrase, where the question is but a request."""
    return " ".join(question.truth.get("references") or ()) or str(question.truth.get("phrase") or question.text)


def _runs(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    length = min(WORDS, len(words))
    for i in range(len(words) - length + 1):
        yield tuple(words[i : i + length])


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _own_pictures(questions: Sequence[Question], tell: ProgressCallback) -> dict[str, int]:
    """A question's cluster -> the hash of its picture, each picture once."""
    clusters: dict[str, Question] = {}
    for question in questions:
        clusters.setdefault(question.cluster, question)
    hashes: dict[str, int] = {}
    known: set[str] = set()
    for done, (cluster, question) in enumerate(clusters.items()):
        tell("reading the pictures", done, len(clusters))
        try:
            for image in question.media():
                if isinstance(image, Image) and image.digest not in known:
                    known.add(image.digest)
                    if value := difference_hash(open_image(image)):
                        hashes.setdefault(cluster, value)
        except SensoriumError:
            continue  # the run itself has counted and named it
    return hashes


def _near(own: dict[str, int], hashed: Sequence[tuple[int, str]]) -> dict[str, str]:
    """Cluster -> the nearest training picture, where that is near."""
    if not own or not hashed:
        return {}
    training = np.array([value for value, _ in hashed], dtype=np.uint64)
    found = {}
    for cluster, value in own.items():
        distances = np.bitwise_count(training ^ np.uint64(value))
        nearest = int(distances.argmin())
        if distances[nearest] <= NEAR:
            found[cluster] = hashed[nearest][1]
    return found


def _training(path: Path) -> Iterator[tuple[str, Conversation | Annotated | SensoriumError]]:
    if path.suffix in (".yaml", ".yml"):
        for settings in load_sources(path).sources:
            source = settings.open()
            for number in range(len(source)):
                try:
                    sample = source[number]
                except SensoriumError as error:
                    yield str(error.where), error
                else:
                    yield sample.where, sample.content
        return
    dataset = Dataset(path)
    for split in ("train", "val"):
        for row in dataset.conversations(split) if split in dataset.splits else ():
            try:
                yield row.where, row.conversation()
            except SensoriumError as error:
                yield row.where, error


def _content(content: Conversation | Annotated) -> tuple[list[str], tuple[Image, ...]]:
    if isinstance(content, Conversation):
        return [message.text for message in content], content.images
    said = [*content.captions, *content.words]
    said += [text for one in content.questions for text in (one.text, *one.answers)]
    said += [region.name for region in content.regions]
    return said, (content.image,)


def write_overlap(found: Overlap, folder: Path) -> None:
    write_whole(folder / OVERLAP, found.model_dump_json(indent=2) + "\n")


def read_overlap(folder: Path) -> Overlap | None:
    """None where none was made. Raises SensoriumError for a damaged file."""
    path = folder / OVERLAP
    if not path.is_file():
        return None
    try:
        return Overlap.model_validate_json(path.read_bytes())
    except ValueError as error:
        raise SensoriumError(path, "is damaged.", "Remove it, and run the probe again.") from error
