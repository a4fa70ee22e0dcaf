"""Woodpecker's protocol: a real server that says recorded replies, real detectors and engines of tiny random models."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.correction import Budget
from sensorium.correction.difference import page
from sensorium.correction.picture import Picture
from sensorium.correction.verifiers.base import Found
from sensorium.correction.verifiers.open_vocabulary import OpenVocabulary
from sensorium.correction.woodpecker import WOODPECKER_STAGES, Woodpecker, WoodpeckerReport
from sensorium.correction.woodpecker.replies import read_entities, read_passage, read_questions, without_boxes
from sensorium.correction.woodpecker.sight import meant
from sensorium.engine import Card, Reply
from sensorium.errors import SensoriumError
from sensorium.grounding import Box

pytest.importorskip("openai", reason="the remote engine is an extra")

TEXT = "Two white dogs lie there. What a day! They watch a cat."
# What a capable model says to each kind of request; the last lines of a request tell which sentence it is about.
RECORDED = {
    "Rewritten:": lambda asked: "Two white dogs lie there. What a day! The dogs watch a cat.",
    "Things:": lambda asked: {"Two white": "dog", "What a da": "None", "The dogs ": "dog.cat"}[last(asked, "Sentence")],
    "Questions:": lambda asked: "What colour is the dog? & dog" if "white" in asked.split("Sentence:")[-1] else
                  "Is the dog near the cat? & dog.cat\nWhat does the moon do? & moon\nWhat is the dog doing? & dog",
    "Corrected:": lambda asked: "One brown dog([0.05, 0.05, 0.25, 0.25]) lies there. What a day! It watches nothing.",
}  # fmt: skip


def last(asked: str, mark: str) -> str:
    return asked.rpartition(f"{mark}: ")[2][:9]


class Writer:
    """A server of OpenAI's API whose model says what is recorded, or what `says` has for a kind of request."""

    def __init__(self) -> None:
        self.says: dict[str, Any] = {}
        self.asked: list[dict[str, Any]] = []

    def reply(self, asked: dict[str, Any]) -> tuple[int, str]:
        self.asked.append(asked)
        request = asked["messages"][-1]["content"]
        if not isinstance(request, str):
            return 200, "brown"  # a question about a picture
        kind = request.rstrip().rpartition("\n")[2]
        said = self.says.get(kind, RECORDED[kind])
        if isinstance(said, list):
            said = said.pop(0) if len(said) > 1 else said[0]
        if isinstance(said, int):
            return said, ""
        return 200, said(request) if callable(said) else said

    @property
    def kinds(self) -> list[str]:
        said = [asked["messages"][-1]["content"] for asked in self.asked]
        return [request.rstrip().rpartition("\n")[2] for request in said if isinstance(request, str)]


@contextlib.contextmanager
def speaking(writer: Writer) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(200, {"object": "list", "data": [{"id": "writer"}]})

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, text = writer.reply(asked)
            message = {"role": "assistant", "content": text}
            self._send(status, {
                "id": "c", "object": "chat.completion", "created": 1, "model": "writer",
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
            })  # fmt: skip

        def _send(self, status: int, content: Any) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def writer() -> Writer:
    return Writer()


@pytest.fixture
def llm(writer: Writer) -> Iterator[Any]:
    from sensorium.engine.remote.engine import RemoteEngine

    with speaking(writer) as address:
        engine = RemoteEngine(address, retries=0, timeout_s=10)
        yield engine
        engine.close()


class Finds:
    """A detector with boxes by phrase, of which each pass is counted."""

    name = "finds"

    def __init__(self, **found: list[Found]) -> None:
        self.found, self.passes = found, []

    def together(self, picture, names, threshold, text_threshold):
        self.passes.append((tuple(names), threshold, text_threshold))
        return [(name, one) for name in names for one in self.found.get(name, []) if one.score > threshold]


DOG = Found(Box(50, 50, 250, 250), 0.9)


class Answers:
    """A model that answers questions about pictures, and knows which it was shown."""

    card = Card("answers", ("text", "image"), 4096, 1)

    def __init__(self, says: str = "brown") -> None:
        self.says, self.shown = says, []

    def answer(self, conversations, sampling):
        from sensorium.media import open_image

        self.shown += [(c.messages[0].text.partition(" Answer")[0], open_image(c.images[0]).size)
                       for c in conversations]  # fmt: skip
        return [Reply(self.says, "stop", 9, 1) for _ in conversations]


@pytest.fixture
def protocol(llm: Any) -> Woodpecker:
    return Woodpecker(llm, Finds(dog=[DOG]), Answers())


def test_the_stages_follow_one_another_at_the_original_cost(protocol, writer, scene):
    report = protocol.correct(scene.image, TEXT, "What is there?")
    assert report.output == "One brown dog lies there. What a day! It watches nothing."
    assert report.grounded.startswith("One brown dog([0.05, 0.05, 0.25, 0.25])")
    assert [s.entities for s in report.stages.sentences] == [("dog",), (), ("dog", "cat")]
    assert report.stages.told.counting == (
        "There is 1 dog: [0.05, 0.05, 0.25, 0.25].".replace("0.05", "0.051").replace("0.25", "0.251"),
        "There is no cat.")  # fmt: skip
    assert report.stages.told.specific == ("dog 1: What colour is the dog? brown.",
                                           "dog 1: What is the dog doing? brown.")  # fmt: skip
    # S = 3 sentences: one call for pronouns, S for things, for questions only where things were found, one to correct.
    assert report.cost.calls == {"llm": 1 + 3 + 2 + 1, "detector": 2, "vqa": 2}
    assert report.cost.calls["llm"] <= 2 * 3 + 2 and "3 sentences: 8 calls" in report.notes[-1]
    assert protocol.detector.passes == [(("dog",), 0.35, 0.25), (("dog", "cat"), 0.35, 0.25)]
    assert "There is no cat." in writer.asked[-1]["messages"][-1]["content"]
    assert writer.asked[0]["temperature"] == 0.2 and writer.asked[-1]["temperature"] == 0.1


def test_things_are_asked_about_from_their_boxes_and_relations_from_the_whole(protocol, writer, scene):
    protocol.detector.found["cat"] = [Found(Box(500, 500, 600, 600), 0.9), Found(Box(700, 0, 800, 100), 0.5)]
    writer.says["Questions:"] = (
        "Where is the cat? & cat\nWhat colour is the cat? & cat\nIs the dog near the cat? & dog.cat")
    writer.says["Things:"] = "dog.cat"
    protocol.correct(scene.image, "A dog and a cat.")
    assert protocol.vqa.shown == [("Where is the cat?", (320, 240)), ("What colour is the cat?", (32, 24)),
                                  ("What colour is the cat?", (32, 24)), ("Is the dog near the cat?", (320, 240))]


def test_two_names_of_one_box_leave_the_second_without_as_in_the_original(protocol, writer, scene):
    writer.says |= {"Things:": "man.person", "Questions:": "None"}
    one, other = Found(Box(10, 10, 400, 900), 0.8), Found(Box(10, 10, 400, 902), 0.7)
    protocol.detector.found = {"man": [one], "person": [other]}
    report = protocol.correct(scene.image, "A man and a person.")
    assert [len(seen.boxes) for seen in report.stages.seen] == [1, 0]
    assert report.stages.told.counting[1] == "There is no person."


MALFORMED = [
    ("Things:", ["I think there is a dog and also, maybe, a cat, who knows", "dog\ncat", "dog"], ("dog",)),
    ("Things:", ["", "...", "{}"], None),
    ("Questions:", ["Here you are:", "What colour is the dog? & dog"], ("dog",)),
]


@pytest.mark.parametrize(("kind", "replies", "entities"), MALFORMED)
def test_a_malformed_reply_is_asked_for_again_a_few_times(protocol, writer, scene, kind, replies, entities):
    writer.says |= {"Rewritten:": "A white dog.", "Things:": "dog"}
    writer.says[kind] = list(replies)
    report = protocol.correct(scene.image, "A white dog.")
    assert report.stages.sentences[0].entities == entities
    assert writer.kinds.count(kind) == len(replies) <= protocol.tries
    seeds = {asked.get("seed") for asked, k in zip(writer.asked, writer.kinds, strict=True) if k == kind}
    assert len(seeds) == len(replies)
    if entities is None:  # nothing is known, so nothing is changed
        assert report.output == "A white dog." and "things could not be read in 3 tries" in report.notes[0]


def test_one_sentence_that_cannot_be_read_costs_only_itself(protocol, writer, scene):
    right = RECORDED["Things:"]
    writer.says["Things:"] = lambda asked: "?!" if last(asked, "Sentence") == "Two white" else right(asked)
    report = protocol.correct(scene.image, TEXT)
    assert [s.entities for s in report.stages.sentences] == [None, (), ("dog", "cat")]
    assert [seen.name for seen in report.stages.seen] == ["dog", "cat"] and report.edits


@pytest.mark.parametrize("correction", ["", "x" * 5000])
def test_a_correction_that_is_none_leaves_the_passage(protocol, writer, scene, correction):
    writer.says["Corrected:"] = correction
    report = protocol.correct(scene.image, TEXT)
    assert report.output == report.grounded == TEXT and not report.edits
    assert writer.kinds.count("Corrected:") == 3
    assert any("correction could not be read" in note for note in report.notes)


def test_a_dead_server_is_asked_once_and_the_passage_stays(protocol, writer, scene):
    writer.says = dict.fromkeys(RECORDED, 500)
    report = protocol.correct(scene.image, TEXT)
    assert report.output == TEXT and len(writer.asked) == 1
    assert report.notes[0].startswith("the language model could not be asked")


class Mute:
    card = Card("mute", ("text", "image"), 1, 1)

    def answer(self, conversations, sampling):
        raise SensoriumError("mute", "does not answer.")


def test_questions_that_nobody_answers_are_left_out(protocol, scene):
    protocol.vqa = Mute()
    report = protocol.correct(scene.image, TEXT)
    assert report.stages.told.specific == () and all(asked.answer is None for asked in report.stages.answers)
    assert report.output.startswith("One brown dog") and "does not answer" in report.notes[0]


def test_a_spent_budget_ends_in_a_report(protocol, scene):
    for calls in range(12):
        protocol.budget = Budget(calls=calls)
        report = protocol.correct(scene.image, TEXT)
        assert sum(report.cost.calls.values()) <= calls
        assert (report.output == TEXT) == (calls < 11)


@pytest.mark.parametrize("start", WOODPECKER_STAGES)
def test_any_stage_can_be_made_anew_from_a_file(protocol, writer, scene, start):
    first = protocol.correct(scene.image, TEXT)
    earlier = WoodpeckerReport.from_json(json.loads(json.dumps(first.to_json())))
    assert earlier == first
    writer.asked.clear()
    again = protocol.correct(scene.image, TEXT, earlier=earlier, start=start)
    assert again.stages == first.stages and again.output == first.output
    made = WOODPECKER_STAGES[WOODPECKER_STAGES.index(start) :]
    kinds = {"sentences": "Rewritten:", "concepts": "Things:", "questions": "Questions:", "correction": "Corrected:"}
    assert set(writer.kinds) == {kinds[stage] for stage in made if stage in kinds}
    assert ("detector" in again.cost.calls) == ("detections" in made)
    with pytest.raises(SensoriumError, match="report: text: is another"):
        protocol.correct(scene.image, "A dog.", earlier=earlier, start=start)


def test_a_real_detector_and_a_real_engine_take_part(llm, writer, tiny_owl, tiny_model, scene):
    from sensorium.engine.torch import TorchEngine

    writer.says |= {"Rewritten:": "A dog and a zorble.", "Things:": "dog.zorble",
                    "Questions:": "What colour is the zorble? & zorble",
                    "Corrected:": "A zorble."}  # fmt: skip
    protocol = Woodpecker(llm, OpenVocabulary(str(tiny_owl)), TorchEngine(tiny_model, "tiny"), box_threshold=0.0)
    report = protocol.correct(scene.image, "A dog and a zorble.")
    assert [seen.name for seen in report.stages.seen] == ["dog", "zorble"]
    assert sum(len(seen.boxes) for seen in report.stages.seen) > 0  # a random model finds something everywhere
    assert report.cost.calls["detector"] == 1 and report.output == "A zorble."
    assert len(report.stages.answers) == len(report.stages.seen[1].boxes) == report.cost.calls["vqa"]


def test_the_command_runs_the_protocol(llm, writer, tiny_owl, scene, tmp_path):
    from typer.testing import CliRunner

    from sensorium.cli.main import app

    address = f"{llm.card.provenance['address']}#writer"
    words = ["correct", "-i", scene.image, "-t", TEXT, "--protocol", "woodpecker", "--llm", address, "--judge", address,
             "--detector", str(tiny_owl), "--json"]  # fmt: skip
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    first = json.loads(done.stdout)
    assert first["schema"] == "sensorium-woodpecker-1"
    assert first["output"] == "One brown dog lies there. What a day! It watches nothing."
    (tmp_path / "first.json").write_text(done.stdout)
    writer.asked.clear()
    again = CliRunner().invoke(app, [*words, "--report", str(tmp_path / "first.json")], catch_exceptions=False)
    assert json.loads(again.stdout)["output"] == first["output"] and writer.kinds == ["Corrected:"]
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"image": scene.image, "text": text}) + "\n" for text in (TEXT, "", TEXT)))
    batch = ["correct", "--input", str(rows), "--out", str(tmp_path / "out.jsonl"), *words[5:-1]]
    assert "2 corrected, 0 done before, 1 failed" in CliRunner().invoke(app, batch, catch_exceptions=False).stderr
    assert "0 corrected, 3 done before" in CliRunner().invoke(app, batch, catch_exceptions=False).stderr


def test_the_report_is_shown_as_any_other(protocol, scene):
    report = protocol.correct(scene.image, TEXT)
    shown = page(report, Picture(scene.image))
    assert "<del>" in shown and "1 found" in shown and "data:image/png" in shown


@given(st.text(max_size=200))
def test_no_reply_of_a_language_model_is_more_than_malformed(reply):
    for read in (read_entities, lambda r: read_questions(r, ("dog",)), lambda r: read_passage(r, "A dog.")):
        with contextlib.suppress(ValueError):
            read(reply)
    assert without_boxes(reply.replace("([", "")) == reply.replace("([", "")


@pytest.mark.parametrize(
    ("reply", "names"),
    [("None", ()), ("none.", ()), ("dog.cat", ("dog", "cat")), ("Dog. traffic light. dog.", ("dog", "traffic light")),
     ("Things: dog", ("dog",)), ("nonesuch", ("nonesuch",)), ("cannon.none such", ("cannon", "none such"))],
)  # fmt: skip
def test_lists_of_things_are_read(reply, names):
    assert read_entities(reply) == names


def test_boxes_behind_things_are_taken_out():
    assert without_boxes("Two dogs([0.1, 0.4, 0.3, 0.9]; [0.5, 0.4, 0.7, 0.9]) play (a lot) [1].") == (
        "Two dogs play (a lot) [1].")


def test_a_detectors_phrase_is_the_thing_it_shares_words_with_or_nothing():
    assert meant("dog", ("dog", "cat")) == "dog" and meant("traffic", ("traffic light", "car")) == "traffic light"
    assert meant("a black cat .", ("dog", "cat")) == "cat"
    assert meant("light", ("traffic light", "light bulb")) is None and meant("zorble", ("dog",)) is None


def test_what_is_no_text_or_picture_is_refused(protocol: Woodpecker, scene: Any, tmp_path: Any, writer: Writer) -> None:
    refused: list[tuple[Callable[[], Any], str]] = [
        (lambda: protocol.correct(scene.image, " "), "is empty"),
        (lambda: protocol.correct(scene.image, "图里有一只狗"), "only English"),
        (lambda: protocol.correct(tmp_path / "none.png", "A dog."), "does not exist"),
        (lambda: protocol.correct(scene.image, "A dog.", start="concept"), "is no stage"),
    ]
    for call, message in refused:
        with pytest.raises(SensoriumError, match=message):
            call()
    assert not writer.asked
