"""Subtitles are told for the very frames that a model is shown, however these are chosen, and films decoded once."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image as PILImage

from sensorium.conversation import Conversation, Image, Text
from sensorium.engine import Card, Reply, Sampling
from sensorium.evaluation.asking import Here
from sensorium.evaluation.benchmarks import Data
from sensorium.evaluation.benchmarks.videomme import VIDEOMME
from sensorium.evaluation.run import run
from sensorium.evaluation.run_folder import RunFolder
from sensorium.media.video import open_video
from sensorium.media.watching import Watcher

FPS, FRAMES = 2, 60
SAMPLINGS = ("uniform", "uniform-inner", "uniform-ends", "fps:0.2", "scenes", "difference")


class Seeing:
    """Answers "A", and keeps each conversation as it was asked and as a model is shown it."""

    card = Card("seeing", ("text", "image", "video"), 0, 0)

    def __init__(self, features=None):
        self.watcher = Watcher(features)
        self.asked: list[Conversation] = []
        self.shown: list[Conversation] = []

    def answer(self, conversations, sampling):
        self.asked += conversations
        self.shown += [self.watcher.shown(conversation) for conversation in conversations]
        return [Reply("A", "stop", 1, 1) for _ in conversations]


def grey(number):
    return 4 * number + 8


def folds(pictures):
    """Features that see something else than colours do: how far a grey is from the middle one."""
    return np.array([[abs(float(np.asarray(picture).mean()) - 128)] for picture in pictures])


def srt(n_frames):
    spans = [(f"00:00:{k / FPS:06.3f}", f"00:00:{(k + 1) / FPS:06.3f}") for k in range(n_frames)]
    return "\n".join(f"{k}\n{a} --> {b}\nline {k}\n" for k, (a, b) in enumerate(spans)).replace(".", ",")


@pytest.fixture
def folder(film, tmp_path):
    """Video-MME's layout, three questions about one film; frame k, of the grey 4k + 8, has the line k."""
    for name in ("videos", "subtitle"):
        (tmp_path / "data" / name).mkdir(parents=True)
    film(tmp_path / "data" / "videos" / "001.mkv", [grey(k) for k in range(FRAMES)], fps=FPS, gop=4)
    (tmp_path / "data" / "subtitle" / "001.srt").write_text(srt(FRAMES))
    questions = [{"question_id": f"001-{i}", "task_type": "OCR Problems", "question": "Which?", "answer": "A",
                  "options": ["A. One.", "B. Two.", "C. Three.", "D. Four."]} for i in range(3)]  # fmt: skip
    row = {"video_id": "001", "duration": "short", "domain": "Knowledge", "sub_category": "Astronomy"}
    (tmp_path / "data" / "test.json").write_text(json.dumps([{**row, "questions": questions}]))
    return tmp_path / "data"


def ask(engine, folder, sampling):
    data = Data(folder, frames=4, sampling=sampling, with_subtitles=True)
    kept = RunFolder(folder.parent / "out", {"engine": "seeing"})
    return run(list(VIDEOMME.read(data, "official")), Here(engine), kept, "seeing", Sampling(max_new_tokens=1))


def told(conversation):
    return [int(line.split()[1]) for line in conversation.messages[0].text.split("\n") if line.startswith("line ")]


def seen(conversation):
    """Numbers of the frames in it, by their greys."""
    means = [np.asarray(PILImage.open(io.BytesIO(part.source))).mean() for part in conversation.messages[0].parts
             if isinstance(part, Image)]  # fmt: skip
    return [round((mean - 8) / 4) for mean in means]


@pytest.mark.parametrize("features", [None, folds], ids=["colours", "features"])
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_the_lines_told_are_those_of_the_frames_shown(folder, sampling, features):
    engine = Seeing(features)
    assert not ask(engine, folder, sampling).unasked
    for asked, shown in zip(engine.asked, engine.shown, strict=True):
        assert told(asked) == seen(shown) and told(asked)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_of_a_film_that_ends_early_lines_of_what_there_is_are_told(folder, sampling):
    path = folder / "videos" / "001.mkv"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    engine = Seeing()
    ask(engine, folder, sampling)
    assert told(engine.asked[0]) == seen(engine.shown[0])
    assert len(told(engine.asked[0])) <= 4 and max(told(engine.asked[0])) < 0.6 * FRAMES


@pytest.mark.parametrize("sampling", ["difference", "scenes"])
def test_a_film_is_decoded_once_for_all_its_questions(folder, sampling, monkeypatch):
    opened = []
    monkeypatch.setattr("sensorium.media.sampling.open_video", lambda *a: opened.append(a) or open_video(*a))
    engine = Seeing()
    assert len(ask(engine, folder, sampling).answers) == 3 and len(opened) == 1


def test_frames_taken_by_subtitles_have_their_lines_beside_them(folder):
    (folder / "subtitle" / "001.srt").write_text("1\n00:00:04,000 --> 00:00:04,400\nline 8\n\n"
                                                 "2\n00:00:20,000 --> 00:00:20,400\nline 40\n")  # fmt: skip
    engine = Seeing()
    assert not ask(engine, folder, "subtitles").unasked
    assert told(engine.asked[0]) == [], "and not a second time before the question"
    first, second = [k for k, part in enumerate(engine.shown[0].messages[0].parts) if isinstance(part, Image)]
    parts = engine.shown[0].messages[0].parts
    assert seen(engine.shown[0]) == [8, 40]
    assert [parts[first - 1], parts[second - 1]] == [Text("line 8 "), Text("\nline 40 ")]
