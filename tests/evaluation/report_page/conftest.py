"""Finished runs to report: of POPE and RefCOCO look-alikes drawn here, and of the web page's examples as scenes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Picture
from PIL import ImageDraw

from sensorium.data.dataset import Dataset
from sensorium.engine import Sampling
from sensorium.evaluation import ReplyFile, evaluate_scenes
from sensorium.evaluation.asking import Here
from sensorium.evaluation.benchmarks import BENCHMARKS, Data
from sensorium.evaluation.run import run
from sensorium.evaluation.run_folder import RunFolder
from sensorium.serving.page.examples import EXAMPLES

COLOURS = {"red": (220, 20, 20), "green": (20, 160, 40), "blue": (30, 40, 220), "yellow": (240, 220, 20)}
BALL = (52, 40, 172, 160)  # in pixels
SIZE = (224, 168)

# What is in the examples, by eye: (name, colour, box in thousandths).
CONTENTS = {
    "penguin": [("penguin", "black", (12, 230, 292, 650)), ("bicycle", "blue", (455, 495, 890, 808))],
    "owls": [("owl", "brown", (14, 340, 366, 790)), ("owl", "brown", (405, 300, 740, 728))],
    "cat": [("cat", "orange", (325, 36, 735, 490)), ("balloon", "red", (664, 550, 965, 980))],
    "guitars": [("chair", "brown", (185, 180, 448, 564)), ("guitar", "red", (535, 105, 952, 498))],
}
ABSENT = {"penguin": "clock", "owls": "car", "cat": "dog", "guitars": "apple"}


@pytest.fixture
def balls(tmp_path: Path) -> Path:
    """POPE's layout: four pictures of a ball, two questions about each."""
    folder = tmp_path / "balls"
    (folder / "images").mkdir(parents=True)
    names, rows = list(COLOURS), []
    for number, colour in enumerate(names):
        picture = Picture.new("RGB", SIZE, (235, 235, 230))
        ImageDraw.Draw(picture).ellipse(BALL, fill=COLOURS[colour])
        picture.save(folder / "images" / f"{colour}.png")
        for asked, label in ((colour, "yes"), (names[number - 1], "no")):
            rows.append({"question_id": len(rows), "image": f"{colour}.png", "label": label,
                         "text": f"Is there a {asked} ball in the image?"})  # fmt: skip
    (folder / "questions.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def boxes(balls: Path) -> Path:
    """RefCOCO as JSON lines: where is the ball? Two of them."""
    rows = [{"image": f"{colour}.png", "sent": f"{colour} ball", "bbox": list(BALL), "width": SIZE[0],
             "height": SIZE[1]} for colour in ("red", "green")]  # fmt: skip
    path = balls.parent / "refcoco.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def a_run(engine_of: Any, tmp_path: Path) -> Callable[..., Path]:
    """`a_run(name, data, rule)`: the folder of a finished run of POPE, its replies rule(question)."""

    def made(
        name: str, data: Path, rule: Callable[[str], str], benchmark: str = "pope", media: Path | None = None,
        repeats: int = 1,
    ) -> Path:  # fmt: skip
        source, chosen = Data(data, media), BENCHMARKS[benchmark]
        prompt, sampling = chosen.prompts[0], Sampling(max_new_tokens=16)
        asked = {"benchmark": benchmark, "prompt": prompt, "data": source.sha256, "split": None, "engine": name}
        folder = RunFolder(tmp_path / name, {**asked, "sampling": {"max_new_tokens": 16, "temperature": 0.0}})
        about = {"model": {"name": name, "provenance": {}}, "limit": None,
                 "data_about": {"name": data.name, "layout": source.layout}}  # fmt: skip
        asker = Here(engine_of(lambda question, colour: rule(question)))
        run(list(chosen.read(source, prompt)), asker, folder, name, sampling, repeats, about=about)
        return tmp_path / name

    return made


@pytest.fixture
def examples(tmp_path: Path) -> Dataset:
    """Our own scenes' layout over the four pictures that the page offers to begin with."""
    root = tmp_path / "examples"
    folder = root / "test_seen"
    (folder / "images").mkdir(parents=True)
    probes = []
    for example in EXAMPLES:
        name = example.picture.stem
        (folder / "images" / example.picture.name).write_bytes(example.picture.read_bytes())
        probes += _probes(name, {"scene": name, "image": f"images/{example.picture.name}"})
    (folder / "scenes.jsonl").write_text("")
    (folder / "probes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in probes))
    names = sorted({thing for things in CONTENTS.values() for thing, _, _ in things} | set(ABSENT.values()))
    info = {
        "format": "sensorium-conversations-1", "name": "examples", "seed": 0, "fingerprint": "e",
        "splits": {"test_seen": {"scenes": 4, "conversations": 0, "probes": len(probes)}}, "vocabulary": names,
        "licences": {}, "held_out": {},
    }  # fmt: skip
    (root / "dataset.json").write_text(json.dumps(info))
    return Dataset(root)


def _probes(name: str, about: dict[str, str]) -> Iterator[dict[str, Any]]:
    things = CONTENTS[name]
    (first, colour, box), (second, _, _) = things

    def pair(subset: str, yes: str, no: str) -> dict[str, Any]:
        asked = [{"question": f"{question} Please answer yes or no.", "answer": answer}
                 for question, answer in ((yes, "Yes"), (no, "No"))]  # fmt: skip
        return {"id": f"{name}-{subset}", **about, "subset": subset, "questions": asked}

    yield pair("existence", f"Is there a {first} in this image?", f"Is there a {ABSENT[name]} in this image?")
    yield pair("color", f"Is the {first} in this image {colour}?", f"Is the {first} in this image green?")
    if first == second:
        yield pair("count", f"Are there two {first}s in this image?", f"Is there only one {first} in this image?")
    else:
        yield pair("count", f"Is there only one {first} in this image?", f"Are there three {first}s in this image?")
        yield pair("position", f"Is the {first} on the left side of the {second}?",
                   f"Is the {first} on the right side of the {second}?")  # fmt: skip
        yield {"id": f"{name}-grounding", **about, "subset": "grounding", "name": first, "box": list(box)}
    yield {"id": f"{name}-caption", **about, "subset": "caption", "objects": sorted({thing for thing, _, _ in things})}


@pytest.fixture
def scenes_run(examples: Dataset, tmp_path: Path) -> Callable[..., Path]:
    """`scenes_run(name, engine, blind=False)`: the folder of replies to the examples."""

    def made(name: str, engine: Any, blind: bool = False) -> Path:
        for is_blind in (False, True) if blind else (False,):
            header = {"model": name, "data": "e", "split": "test_seen", "blind": is_blind}
            path = tmp_path / name / f"replies-test_seen{'-blind' if is_blind else ''}.jsonl"
            evaluate_scenes(engine, examples, "test_seen", is_blind, keep=ReplyFile(path, header))
        about = {"model": {"name": name}, "data": {"name": "examples"}, "limit": None}
        (tmp_path / name / "results.json").write_text(json.dumps(about))
        return tmp_path / name

    return made


class Parsed(HTMLParser):
    """elements: (tag, attributes) in order; text: of everything but scripts and styles, blanks as one."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._words: list[str] = []
        self._inside = ""
        self.feed(html)
        self.text = " ".join("".join(self._words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""
        self._words.append(" " if tag not in ("span", "b", "code", "q") else "")

    def handle_data(self, data: str) -> None:
        if self._inside not in ("script", "style"):
            self._words.append(data)

    def all(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        wanted = {key.rstrip("_"): value for key, value in attributes.items()}
        return [found for name, found in self.elements if name == tag and wanted.items() <= found.items()]


@pytest.fixture
def parsed() -> type[Parsed]:
    return Parsed
