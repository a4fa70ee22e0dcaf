"""A dataset of three pictures, small enough to score by hand, and an engine that answers by a rule."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from PIL import Image as PILImage

from sensorium.conversation import Conversation
from sensorium.data.dataset import Dataset
from sensorium.engine import Card, Delta, Reply, Sampling
from sensorium.media import open_image

# The colour of each picture tells the rule engine which one it is shown: scene id -> (colour, size, names, box).
PICTURES = {
    "000000": ((200, 0, 0), (40, 30), ["dog"], [0, 0, 499, 499]),
    "000001": ((0, 200, 0), (30, 40), ["cat", "car"], [0, 0, 499, 499]),
    "000002": ((0, 0, 200), (40, 30), ["dog", "cat"], [500, 500, 999, 999]),
}


GREEDY = Sampling()


class RuleEngine:
    """Replies with rule(question, colour of the picture or None); remembers what it was asked."""

    card = Card("rule", ("text", "image"), 2048, 1)

    def __init__(self, rule: Callable[[str, tuple[int, int, int] | None], str]) -> None:
        self.rule = rule
        self.asked: list[Conversation] = []
        self.samplings: list[Sampling] = []

    def answer(self, conversations: Sequence[Conversation], sampling: Sampling = GREEDY) -> list[Reply]:
        self.asked += conversations
        self.samplings.append(sampling)
        replies = []
        for conversation in conversations:
            pictures = [open_image(image).getpixel((5, 5)) for image in conversation.images]
            text = self.rule(conversation.messages[-1].text, pictures[0] if pictures else None)
            replies.append(Reply(text, "stop", 1, len(text.split())))
        return replies

    def stream(self, conversation: Conversation, sampling: Sampling = GREEDY) -> Iterator[Delta]:
        yield Delta(self.answer([conversation], sampling)[0].text, "stop")

    def score(self, conversation: Conversation, candidates: Sequence[str]) -> list[float]:
        return [-float(len(candidate)) for candidate in candidates]

    def count(self, candidate: str) -> int:
        return len(candidate.split()) + 2  # a turn that ends with two tokens


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Three pictures; each asks existence, caption and grounding, and the first one count."""
    root = tmp_path / "data"
    folder = root / "test_seen"
    (folder / "images").mkdir(parents=True)
    scenes, probes = [], []
    for scene, (colour, size, names, box) in PICTURES.items():
        image = f"images/{scene}.png"
        PILImage.new("RGB", size, colour).save(folder / image)
        here = {"id": scene, "image": image}
        scenes.append({**here, "width": size[0], "height": size[1], "background": "plain", "objects": []})
        pair = [
            {"question": f"Is there a {names[0]} in this image? Please answer yes or no.", "answer": "Yes"},
            {"question": "Is there a boat in this image? Please answer yes or no.", "answer": "No"},
        ]
        about = {"scene": scene, "image": image}
        probes.append({"id": f"{scene}-existence", **about, "subset": "existence", "questions": pair})
        if scene == "000000":
            probes.append({"id": f"{scene}-count", **about, "subset": "count", "questions": pair})
        probes.append({"id": f"{scene}-caption", **about, "subset": "caption", "objects": names})
        probes.append({"id": f"{scene}-grounding", **about, "subset": "grounding", "name": names[0], "box": box})
    _write_rows(folder / "scenes.jsonl", scenes)
    _write_rows(folder / "probes.jsonl", probes)
    info = {
        "format": "sensorium-conversations-1", "name": "tiny", "seed": 0, "fingerprint": "f",
        "splits": {"test_seen": {"scenes": 3, "conversations": 0, "probes": len(probes)}},
        "vocabulary": ["dog", "cat", "car", "boat", "scissors"], "licences": {}, "held_out": {},
    }  # fmt: skip
    (root / "dataset.json").write_text(json.dumps(info))
    return Dataset(root)


def _write_rows(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def looks(question: str, colour: tuple[int, int, int] | None) -> str:
    """The rule of an engine that sees: right about every picture, and blind says no, nothing, and the whole picture."""
    unseen: tuple[list[str], list[int]] = ([], [0, 0, 999, 999])
    names, box = next(((names, box) for own, _, names, box in PICTURES.values() if own == colour), unseen)
    if question.startswith("Describe"):
        return "There is " + " and ".join(f"a {name}" for name in names) + "."
    if question.startswith("Where"):
        return f"<ref>it</ref><box>({box[0]},{box[1]}),({box[2]},{box[3]})</box>"
    return "Yes" if any(f" {name} " in question for name in names) else "No"


@pytest.fixture
def engine_of() -> type[RuleEngine]:
    return RuleEngine


@pytest.fixture
def seeing() -> RuleEngine:
    return RuleEngine(looks)
