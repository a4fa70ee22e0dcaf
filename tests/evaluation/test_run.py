"""A run asks everything once, keeps what it has, goes on where it was stopped, and names what it could not ask."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from PIL import Image as PILImage

from sensorium.conversation import Image
from sensorium.engine import Card, Reply, Sampling
from sensorium.errors import SensoriumError
from sensorium.evaluation.asking import Here
from sensorium.evaluation.benchmarks import Question
from sensorium.evaluation.response_cache import ResponseCache
from sensorium.evaluation.run import batches, limited, run
from sensorium.evaluation.run_folder import RunFolder, read_run

GREEDY = Sampling(max_new_tokens=8)
IDENTITY = {"benchmark": "mme", "engine": "e"}


class Echo:
    """Replies with the question and the seed; can be told to fail."""

    card = Card("echo", ("text", "image"), 2048, 1)

    def __init__(self, refuses=lambda text: False, dies_after=None):
        self.batches: list[list[str]] = []
        self.refuses, self.dies_after = refuses, dies_after

    def answer(self, conversations, sampling=GREEDY):
        texts = [conversation.messages[-1].text for conversation in conversations]
        if any(self.refuses(text) for text in texts):
            raise SensoriumError("prompt", "is too long.")
        if self.dies_after is not None and len(self.batches) >= self.dies_after:
            raise RuntimeError("out of memory")
        self.batches.append(texts)
        return [Reply(f"{text} {sampling.seed}", "stop", 1, 1) for text in texts]


def question(number, picture, task="count", media=lambda: ()):
    return Question(f"q{number}", picture, task, f"What is {number}?", {"answer": "yes"}, media, f"row {number}")


@pytest.fixture
def questions():
    """Twelve, about four pictures, the pictures' questions apart from one another as data sets have them."""
    return [question(i, f"p{i % 4}") for i in range(12)]


@pytest.fixture
def ask(tmp_path, questions):
    def asked(engine, out="out", chosen=None, **options):
        folder = RunFolder(tmp_path / out, IDENTITY)
        options = {"batch_size": 3, "sampling": GREEDY, **options}
        return run(chosen or questions, Here(engine), folder, "e", options.pop("sampling"), **options)

    return asked


def test_questions_about_one_picture_are_asked_together_and_kept_in_the_order_of_the_data(ask, questions):
    engine = Echo()
    finished = ask(engine)
    assert engine.batches == [[f"What is {i}?" for i in (p, p + 4, p + 8)] for p in range(4)]
    assert [answer.id for answer in finished.answers] == [one.id for one in questions]
    assert finished.answers[5].reply == "What is 5? 0"


def test_a_picture_with_more_questions_than_a_batch_is_not_split():
    many = [question(i, "p") for i in range(5)] + [question(9, "other")]
    assert [len(batch) for batch in batches(many, 3)] == [5, 1]
    assert [len(batch) for batch in batches(many, 6)] == [6]


def test_a_limit_counts_pictures_of_each_task(questions):
    mixed = questions + [question(100 + i, f"p{i}", "color") for i in range(3)]
    kept = limited(mixed, 2)
    assert {(one.task, one.cluster) for one in kept} == {(t, p) for t in ("count", "color") for p in ("p0", "p1")}
    assert len(kept) == 6 + 2


@pytest.mark.parametrize("survived", range(4))
def test_a_run_whose_engine_dies_goes_on_where_it_was(ask, tmp_path, survived):
    with pytest.raises(SensoriumError, match=rf"engine died \(out of memory\). {3 * survived} of 12 replies are kept"):
        ask(Echo(dies_after=survived))
    second = Echo()
    resumed = ask(second)
    assert len(second.batches) == 4 - survived
    whole = ask(Echo(), out="whole")
    assert resumed.answers == whole.answers
    assert (tmp_path / "out" / "replies.jsonl").read_bytes() == (tmp_path / "whole" / "replies.jsonl").read_bytes()


def test_a_larger_limit_asks_only_what_is_new_and_a_smaller_one_nothing(ask, questions, tmp_path):
    ask(Echo(), chosen=questions[:4])
    more = Echo()
    ask(more, chosen=questions)
    assert sum(map(len, more.batches)) == 8
    none = Echo()
    assert len(ask(none, chosen=questions[:4]).answers) == 4
    assert not none.batches
    assert len(read_run(tmp_path / "out")[1]) == 4
    assert not ask(Echo(dies_after=0), chosen=questions).unasked, "the others are still there"


def test_repeats_have_a_seed_each_and_can_be_added_to(ask):
    warm = Sampling(max_new_tokens=8, temperature=1.0, seed=5)
    ask(Echo(), sampling=warm)
    engine = Echo()
    finished = ask(engine, sampling=warm, repeats=3)
    assert len(engine.batches) == 8
    assert [(a.id, a.repeat, a.reply) for a in finished.answers[:3]] == [
        ("q0", 0, "What is 0? 5"), ("q0", 1, "What is 0? 6"), ("q0", 2, "What is 0? 7"),
    ]  # fmt: skip


def test_a_question_that_cannot_be_asked_costs_only_itself(ask):
    finished = ask(Echo(refuses=lambda text: "What is 6?" in text))
    assert finished.unasked == {"q6": "prompt: is too long."}
    assert len(finished.answers) == 11


def test_missing_and_damaged_pictures_are_counted_and_named(ask, tmp_path):
    PILImage.new("RGB", (8, 8)).save(tmp_path / "good.png")
    (tmp_path / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n and nothing more")
    chosen = [question(i, name, media=lambda name=name: (Image(str(tmp_path / name)),))
              for i, name in enumerate(("good.png", "damaged.png", "missing.png"))]  # fmt: skip

    class Looking(Echo):
        def answer(self, conversations, sampling=GREEDY):
            from sensorium.media import open_image

            for conversation in conversations:
                open_image(conversation.images[0]) if conversation.images else None
            return super().answer(conversations, sampling)

    finished = ask(Looking(), chosen=chosen)
    assert [answer.id for answer in finished.answers] == ["q0"]
    assert set(finished.unasked) == {"q1", "q2"}
    assert "damaged.png" in finished.unasked["q1"] and "missing.png" in finished.unasked["q2"]
    header, _ = read_run(tmp_path / "out")
    assert header["unasked"] == finished.unasked and header["planned"] == 3


def test_an_engine_that_refuses_even_a_greeting_is_the_one_at_fault(ask):
    asked = []
    with pytest.raises(SensoriumError, match=r"prompt: is too long\. 3 of 12 replies are kept"):
        ask(Echo(refuses=lambda text: asked.append(text) or len(asked) > 3))
    assert len(asked) < 12, "it is not waited for at every question"


def test_questions_that_all_cannot_be_asked_are_an_error_and_no_score_of_nothing(ask):
    with pytest.raises(SensoriumError, match="nor could any of the 12 questions"):
        ask(Echo(refuses=lambda text: text != "Hello"))


def test_an_id_that_is_there_twice_is_named_with_both_places(ask, questions):
    with pytest.raises(SensoriumError, match=r"row 3: question 'q3' was there before, in row 3"):
        ask(Echo(), chosen=[*questions, question(3, "p")])


def test_replies_come_from_the_cache_whatever_folder_asks(ask, tmp_path):
    cache = ResponseCache(tmp_path / "cache.sqlite")
    first = ask(Echo(), cache=cache)
    silent = Echo(dies_after=0)
    again = ask(silent, out="elsewhere", cache=cache)
    assert again.answers == first.answers and not silent.batches
    with pytest.raises(SensoriumError, match="died"):
        ask(Echo(dies_after=0), out="other-sampling", cache=cache, sampling=Sampling(max_new_tokens=9))


def test_a_full_disk_is_said_and_costs_the_batch_in_flight(ask, tmp_path):
    """/dev/full is a disk without room."""

    class Filling(Echo):
        def answer(self, conversations, sampling=GREEDY):
            if len(self.batches) == 2:
                journal = tmp_path / "out" / "journal.jsonl"
                journal.rename(tmp_path / "kept")
                journal.symlink_to("/dev/full")
            return super().answer(conversations, sampling)

    with pytest.raises(SensoriumError, match=r"journal.jsonl: cannot be written .*6 replies are kept; make room"):
        ask(Filling())
    (tmp_path / "kept").replace(tmp_path / "out" / "journal.jsonl")
    second = Echo()
    assert len(ask(second).answers) == 12
    assert len(second.batches) == 2


KILLED = """
    import os, signal, sys
    sys.path.insert(0, {tests!r})
    from pathlib import Path
    from test_run import Echo, GREEDY, IDENTITY, question
    from sensorium.evaluation.asking import Here
    from sensorium.evaluation.run import run
    from sensorium.evaluation.run_folder import RunFolder

    class Killed(Echo):
        def answer(self, conversations, sampling=GREEDY):
            if len(self.batches) == {batch}:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().answer(conversations, sampling)

    questions = [question(i, f"p{{i % 4}}") for i in range(12)]
    run(questions, Here(Killed()), RunFolder(Path({out!r}), IDENTITY), "e", GREEDY, batch_size=3)
"""


@pytest.mark.parametrize("batch", [0, 2])
def test_a_killed_process_leaves_what_another_one_ends_byte_for_byte(ask, tmp_path, batch):
    code = textwrap.dedent(KILLED.format(tests=str(Path(__file__).parent), batch=batch, out=str(tmp_path / "out")))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == -signal.SIGKILL, done.stderr
    engine = Echo()
    ask(engine)
    assert len(engine.batches) == 4 - batch
    ask(Echo(), out="whole")
    assert (tmp_path / "out" / "replies.jsonl").read_bytes() == (tmp_path / "whole" / "replies.jsonl").read_bytes()


def test_every_cut_of_the_journal_is_survived(ask, tmp_path):
    with pytest.raises(SensoriumError, match="9 of 12"):
        ask(Echo(dies_after=3))
    journal = (tmp_path / "out" / "journal.jsonl").read_bytes()
    ask(Echo(), out="whole")
    whole = (tmp_path / "whole" / "replies.jsonl").read_bytes()
    for cut in range(0, len(journal), 97):
        folder = tmp_path / f"cut-{cut}"
        folder.mkdir()
        (folder / "journal.jsonl").write_bytes(journal[:cut])
        engine = Echo()
        ask(engine, out=folder.name)
        assert (folder / "replies.jsonl").read_bytes() == whole
        assert len(engine.batches) == 4 - max(0, journal[:cut].count(b"\n") - 1)


def test_a_folder_of_another_run_is_refused_and_told_why(ask, tmp_path, questions):
    ask(Echo())
    with pytest.raises(SensoriumError, match=r'holds replies of another run \(engine was "e", is "f"\)'):
        RunFolder(tmp_path / "out", {**IDENTITY, "engine": "f"})


def edited(tmp_path, change):
    path = tmp_path / "out" / "replies.jsonl"
    path.write_text("".join(line + "\n" for line in change(path.read_text().splitlines())))
    return path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: lines[:-2], "holds 10 answers where its header says 12"),
        (lambda lines: [*lines[:-1], lines[-1][:30]], "line 13: is not JSON"),
        (lambda lines: [*lines, lines[4]], "line 14: 'q3' was answered before, in line 5"),
        (lambda lines: lines[1:], "is not a file of the format sensorium-run-1"),
        (lambda lines: [lines[0], '{"id": "q0"}', *lines[2:]], "line 2: is no answer"),
    ],
)
def test_replies_that_were_cut_off_or_edited_are_named_by_their_line(ask, tmp_path, change, said):
    ask(Echo())
    edited(tmp_path, change)
    with pytest.raises(SensoriumError, match=said):
        read_run(tmp_path / "out")


def test_replies_in_another_order_are_the_same_replies(ask, tmp_path):
    answers = ask(Echo()).answers
    edited(tmp_path, lambda lines: [lines[0], *reversed(lines[1:])])
    _, found = read_run(tmp_path / "out")
    assert found == answers


def test_a_reply_of_ten_megabytes_is_kept_whole(ask, tmp_path):
    class Endless(Echo):
        def answer(self, conversations, sampling=GREEDY):
            return [Reply("no \u2028\t\n" * 1_400_000, "length", 1, 1) for _ in conversations]

    [answer] = ask(Endless(), chosen=[question(0, "p")]).answers
    assert len(answer.reply.encode()) > 10_000_000
    assert read_run(tmp_path / "out")[1] == [answer]


def test_a_run_that_is_not_finished_says_so(ask, tmp_path):
    with pytest.raises(SensoriumError, match="died"):
        ask(Echo(dies_after=1))
    with pytest.raises(SensoriumError, match="again to finish it"):
        read_run(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "journal.jsonl").read_text().splitlines()[0])["format"] == "sensorium-run-1"
