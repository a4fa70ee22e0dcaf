"""What probes ask, and what they make of replies that are known to be blind, fond of a letter, or fond of yes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as Picture

from sensorium.conversation import Image, Video
from sensorium.engine import Sampling
from sensorium.errors import SensoriumError
from sensorium.evaluation.asking import Here
from sensorium.evaluation.benchmarks import BENCHMARKS, Answer, Data, Judged, Question
from sensorium.evaluation.probes import BASE, FOLDER, PROBES
from sensorium.evaluation.probes.audit import audit_of
from sensorium.evaluation.probes.findings import findings
from sensorium.evaluation.probes.frames import (
    frames_of,
    in_fewer_frames,
    with_one_frame,
    with_subtitles_alone,
)
from sensorium.evaluation.probes.overlap import difference_hash, overlap_of, read_overlap, write_overlap
from sensorium.evaluation.probes.polarity import criterion, d_prime, polarity_of
from sensorium.evaluation.probes.rotation import rotation_of, rotations
from sensorium.evaluation.probes.sizes import sizes_of
from sensorium.evaluation.probes.slots import slots, slots_of
from sensorium.evaluation.run import run
from sensorium.evaluation.run_folder import RunFolder
from sensorium.media import encode_image, open_image

GREEDY = Sampling(max_new_tokens=8)
COLOURS = {"red": (200, 0, 0), "green": (0, 200, 0), "blue": (0, 0, 200)}


def picture(colour) -> bytes:
    return encode_image(Picture.new("RGB", (40, 30), COLOURS[colour]), "PNG")


def pairs() -> list[Question]:
    """Two questions of yes and no about each of three pictures."""
    return [
        Question(f"existence/{colour}#{turn}", f"existence/{colour}", "existence", f"Is it {asked}?",
                 {"answer": truth, "question": f"Is it {asked}?"}, lambda colour=colour: (Image(picture(colour)),))
        for colour in COLOURS for turn, (asked, truth) in enumerate([(colour, "yes"), ("violet", "no")])
    ]  # fmt: skip


def looks(question, colour) -> str:
    """Right whenever it sees the colour; blind, it says no."""
    seen = next((name for name, value in COLOURS.items() if value == colour), None)
    return "Yes" if seen and f"it {seen}?" in question else "No"


@pytest.fixture
def ask(engine_of, tmp_path):
    """Answers of a rule to questions, kept in a folder of the run or of a probe."""

    def asked(questions, rule=looks, probe=None) -> list[Answer]:
        folder = RunFolder(tmp_path / (f"{FOLDER}/{probe}" if probe else ""), {"benchmark": "mme"})
        return run(questions, Here(engine_of(rule)), folder, "e", GREEDY).answers

    return asked


def judge(answers, name="mme"):
    return BENCHMARKS[name].judge(answers, "official")


def test_blind_probes_take_the_picture_away_and_leave_the_question():
    questions = pairs()
    own = [question.media()[0].digest for question in questions]
    for name in ("no-picture", "grey", "shuffled"):
        changed = PROBES[name].change(questions)
        assert [(one.id, one.text, one.truth) for one in changed] == [(q.id, q.text, q.truth) for q in questions]
    assert all(one.media() == () for one in PROBES["no-picture"].change(questions))
    grey = open_image(PROBES["grey"].change(questions)[0].media()[0])
    assert grey.size == (40, 30) and grey.getextrema() == ((128, 128),) * 3
    shuffled = [one.media()[0].digest for one in PROBES["shuffled"].change(questions)]
    assert all(here != there for here, there in zip(own, shuffled, strict=True))
    assert shuffled[::2] == shuffled[1::2], "questions about one picture get the same other one"
    assert sorted(set(shuffled)) == sorted(set(own))
    assert shuffled == [one.media()[0].digest for one in PROBES["shuffled"].change(questions)]


def test_a_shuffled_picture_is_another_picture_even_where_two_clusters_are_about_one():
    same = [Question(f"{i}", f"c{i}", "t", "?", {}, lambda i=i: (Image(picture("red" if i < 4 else "blue")),))
            for i in range(5)]  # fmt: skip
    for one in PROBES["shuffled"].change(same)[:4]:
        assert one.media()[0].digest == Image(picture("blue")).digest
    with pytest.raises(SensoriumError, match="same picture"):
        PROBES["shuffled"].change(same[:4])[0].media()
    with pytest.raises(SensoriumError, match="at least two pictures"):
        PROBES["shuffled"].change(same[:1])


def test_the_gain_is_what_seeing_adds_and_leakage_what_blind_knows_beyond_a_base(ask, tmp_path):
    questions = pairs()
    answers = ask(questions)
    for name in ("no-picture", "shuffled"):
        ask(PROBES[name].change(questions), probe=name)
    ask(PROBES["no-picture"].change(questions), lambda question, _: "No" if "violet" in question else "hm", BASE)
    found = findings(tmp_path, BENCHMARKS["mme"], "official", answers, judge(answers))
    blind = {one.probe: one for one in found.blind}
    assert set(blind) == {"no-picture", "shuffled"}
    # Seeing: all of six. Blind: the three noes. Each picture gains one of two, so there is no spread.
    assert (blind["no-picture"].seeing, blind["no-picture"].blind, blind["no-picture"].gain) == (1, 0.5, 0.5)
    assert (blind["no-picture"].gain_low, blind["no-picture"].gain_high) == (0.5, 0.5)
    assert blind["no-picture"].guess == 0.5
    assert (blind["no-picture"].base, blind["no-picture"].leakage) == (0.5, 0)
    scores = {score.name: score.value for score in blind["no-picture"].scores}
    assert scores["perception"] == 50, "half of the questions, no picture with both"
    shown = [[*column.cells] for column in found.table().columns]
    assert "gain over no-picture" in shown[0] and "+0.500" in shown[1]


def choice(number: int, options: str, answer: str, index: int | None = None) -> Question:
    listed = dict(zip("ABCDE", options.split(), strict=False))
    lines = "".join(f"{letter}. {text}\n" for letter, text in listed.items())
    truth = {"index": number if index is None else index, "options": listed, "answer": answer, "groups": {}}
    return Question(str(truth["index"]), str(number), "all", f"Question: Which {number}?\nOptions:\n{lines}Choose.\n",
                    truth, tuple)  # fmt: skip


def answered(questions, rule) -> list[Answer]:
    return [Answer(q.id, q.cluster, q.task, q.text, q.truth, rule(q)) for q in questions]


def test_every_option_stands_at_every_letter_once():
    [question] = [choice(7, "cat dog cow", "B")]
    turned = rotations([question])
    assert [one.truth["options"] for one in turned] == [
        {"A": "dog", "B": "cow", "C": "cat"}, {"A": "cow", "B": "cat", "C": "dog"},
    ]  # fmt: skip
    assert [(one.truth["answer"], one.truth["index"], one.id) for one in turned] == [
        ("A", 1_000_007, "7~1"), ("C", 2_000_007, "7~2"),
    ]  # fmt: skip
    assert turned[0].text == "Question: Which 7?\nOptions:\nA. dog\nB. cow\nC. cat\nChoose.\n"
    assert rotations([question, choice(7, "dog cow cat", "A", 1_000_007)]) == [], "the data has rotations of its own"
    with pytest.raises(SensoriumError, match="no options"):
        rotations(pairs())


def test_rotation_tells_knowing_from_a_favourite_letter():
    questions = [choice(1, "cat dog", "A"), choice(2, "car bus", "B")]
    every = [*questions, *rotations(questions)]
    knows = answered(every, lambda q: q.truth["answer"])
    found = rotation_of(knows, judge(knows, "mcq"))
    assert (found.circular, found.mean, found.flips, found.order_gain) == (1, 1, 0, 0)
    assert found.prior == {"A": 0.5, "B": 0.5}
    fond = answered(every, lambda q: "A")
    found = rotation_of(fond, judge(fond, "mcq"))
    assert (found.circular, found.mean, found.flips, found.prior) == (0, 0.5, 1, {"A": 1})
    assert found.chance == 0.25
    by_heart = answered(every, lambda q: {1: "A", 2: "B"}[q.truth["index"] % 1_000_000])
    found = rotation_of(by_heart, judge(by_heart, "mcq"))
    assert (found.published, found.order_gain, found.circular) == (1, 1, 0)
    assert rotation_of(knows[:1], judge(knows[:1], "mcq")) is None


def test_a_leaning_to_yes_shows_in_the_criterion_and_not_in_d_prime():
    # z(0.9) - z(0.2) and -(z(0.9) + z(0.2)) / 2 from the tables of the normal distribution.
    counts = np.array([8.5, 9, 1.5, 9])  # with the halves: 9 of 10, 2 of 10
    assert d_prime(counts) == pytest.approx(1.2816 + 0.8416, abs=1e-4)
    assert criterion(counts) == pytest.approx(-(1.2816 - 0.8416) / 2, abs=1e-4)
    asked = [Answer(f"{i}", f"p{i // 2}", "t", "?", {"answer": ("yes", "no")[i % 2]}, "") for i in range(40)]
    always = polarity_of(asked, [Judged(0, "yes")] * 40)
    assert always.d_prime == pytest.approx(0) and always.criterion < -1.5
    assert (always.yes_ratio, always.true_yes_ratio, always.questions) == (1, 0.5, 40)
    right = polarity_of(asked, [Judged(1, one.truth["answer"]) for one in asked])
    assert right.d_prime > 3 and right.criterion == pytest.approx(0)
    assert right.d_prime_low <= right.d_prime <= right.d_prime_high
    assert polarity_of(asked[::2], [Judged(1, "yes")] * 20) is None, "without a no nothing can be told"
    assert polarity_of([Answer("1", "p", "t", "?", {"answer": "B"}, "B")], [Judged(1, "B")]) is None


def test_the_audit_says_what_unread_replies_do_to_the_score():
    answers = [Answer(f"{i}", "p", "a" if i < 5 else "b", "?", {}, "x" * 300) for i in range(10)]
    judged = [Judged(1, "yes")] * 6 + [Judged(0, "no")] * 2 + [Judged(0, "")] * 2
    found = audit_of(answers, judged)
    assert (found.unread, found.share, found.mean, found.without, found.at_best) == (2, 0.2, 0.6, 0.75, 0.8)
    assert found.tasks == {"b": 2} and [one.id for one in found.examples] == ["8", "9"]
    assert len(found.examples[0].reply) == 200
    assert audit_of(answers[8:], judged[8:]).without is None


def test_slots_ask_for_the_rarest_word_in_both_orders():
    texts = ["A woman rides a bicycle downhill", "A woman rides a horse today", "Dog."]
    asked = slots([Question(str(i), f"p{i}", "t", text, {}, tuple) for i, text in enumerate(texts)])
    assert [(one.id, one.truth["word"]) for one in asked] == [
        ("0~published", "bicycle"), ("0~perturbed", "bicycle"), ("1~published", "horse"), ("1~perturbed", "horse"),
    ]  # fmt: skip
    assert "A woman rides a [MASK] downhill" in asked[0].text and "bicycle" not in asked[0].text
    assert "a [MASK] downhill A woman rides" in asked[1].text
    assert asked[0].media() == ()
    by_heart = answered(asked, lambda q: q.truth["word"].title() + "." if q.truth["slot"] == "published" else "cart")
    found = slots_of(by_heart)
    assert (found.sentences, found.published, found.perturbed, found.difference) == (2, 1, 0, 1)
    assert slots_of(by_heart[:1]) is None
    with pytest.raises(SensoriumError, match="no sentences"):
        slots([Question("1", "p", "t", "Dog?", {}, tuple)])


def stripes(shift: int, size=(64, 48)) -> Picture.Image:
    columns = (np.sin(np.arange(size[0]) / 5 + shift) * 100 + 128).astype(np.uint8)
    return Picture.fromarray(np.tile(columns, (size[1], 1))).convert("RGB")


def test_pictures_keep_their_hash_when_they_are_scaled_and_recoded():
    known = difference_hash(stripes(0))
    smaller = difference_hash(stripes(0).resize((40, 30), Picture.Resampling.LANCZOS))
    assert (known ^ smaller).bit_count() <= 4
    assert (known ^ difference_hash(stripes(2))).bit_count() > 4
    assert difference_hash(Picture.new("RGB", (30, 30), "grey")) == 0


@pytest.fixture
def training(tmp_path):
    """Three samples in LLaVA's form: one has a question of the test, one its picture made smaller."""
    folder = tmp_path / "training"
    folder.mkdir()
    stripes(0).resize((40, 30)).save(folder / "same.png")
    stripes(4).save(folder / "other.png")
    said = ["What is the name of the tall man beside the red car?", "Describe it.", "Is there a cat in it?"]
    rows = [{"id": str(i), "image": name, "conversations": [{"from": "human", "value": f"<image>\n{text}"},
                                                            {"from": "gpt", "value": "Yes."}]}
            for i, (name, text) in enumerate(zip(["other.png", "same.png", "missing.png"], said, strict=True))]
    (folder / "mix.json").write_text(json.dumps(rows))
    (folder / "sources.yaml").write_text("sources:\n  - {format: llava, path: mix.json}\n")
    return folder / "sources.yaml"


def test_a_test_is_found_in_training_data_by_its_words_and_its_pictures(training, tmp_path):
    texts = ["So: what is the name of the tall man beside the bus?", "Which animal of these sleeps on the small table?"]
    questions = [Question(f"q{i}", f"p{i}", "t", text, {}, lambda i=i: (Image(encode_image(stripes(2 * i), "PNG")),))
                 for i, text in enumerate(texts)]  # fmt: skip
    found = overlap_of(questions, training)
    assert (found.samples, found.skipped, found.questions, found.overlapping) == (3, 1, 2, 1)
    assert (found.pictures, found.near) == (2, 1)
    assert [one.question for one in found.examples] == ["p0", "q0"]
    assert "mix.json" in found.examples[0].training
    write_overlap(found, tmp_path / "probes")
    assert read_overlap(tmp_path / "probes") == found
    (tmp_path / "probes" / "overlap.json").write_text("{")
    with pytest.raises(SensoriumError, match="damaged"):
        read_overlap(tmp_path / "probes")


def test_words_that_all_questions_share_are_no_sign(training):
    text = "what is the name of the tall man beside the red car and the {}"
    found = overlap_of([Question(str(i), "p", "t", text.format(i), {}, tuple) for i in range(30)], training)
    assert found.questions == 30 and found.overlapping == 0


def test_probes_of_data_in_circles_need_no_more_questions(tmp_path):
    rows = ["index\tquestion\tA\tB\tanswer\timage", "7\tWhat?\ta\tb\tA\t" + "x" * 80, "1000007\tWhat?\tb\ta\tB\t7"]
    (tmp_path / "t.tsv").write_text("\n".join(rows) + "\n")
    asked = list(BENCHMARKS["mcq"].read(Data(tmp_path / "t.tsv"), "official"))
    answers = answered(asked, lambda q: q.truth["answer"])
    found = findings(tmp_path, BENCHMARKS["mcq"], "official", answers, judge(answers, "mcq"))
    assert found.rotation is not None and found.rotation.circular == 1


def test_smaller_pictures_keep_their_shape_and_everything_else():
    [first, *_] = questions = pairs()
    changed = PROBES["sizes"].change(questions)
    assert len(changed) == 3 * len(questions)
    assert [one.id for one in changed[:3]] == [f"{first.id}~1/2", f"{first.id}~1/4", f"{first.id}~1/8"]
    assert [open_image(one.media()[0]).size for one in changed[:3]] == [(20, 15), (10, 8), (5, 4)]
    assert all((one.text, one.truth) == (first.text, first.truth) for one in changed[:3])


def test_the_curve_of_sizes_has_the_score_and_the_tokens_of_each():
    """Two questions about each of four pictures; the smaller the picture, the fewer are right."""
    asked = [Question(f"{i // 2}#{i % 2}", str(i // 2), "count", "?", {"answer": ("yes", "no")[i % 2], "question": "?"},
                      tuple) for i in range(8)]  # fmt: skip

    def said(share, right, tokens):
        mark = f"~{share}" if share else ""
        return [Answer(f"{one.id}{mark}", one.cluster, one.task, "?", one.truth,
                       one.truth["answer"] if i < right else "hm", n_prompt=tokens)
                for i, one in enumerate(asked)]  # fmt: skip

    shrunk = [*said("1/2", 6, 40), *said("1/4", 4, 28), *said("1/8", 0, 25)]
    blind = said("", 0, 24)
    curve = sizes_of(said("", 8, 88), shrunk, blind, judge)
    assert [point.at for point in curve.points] == ["1/8", "1/4", "1/2", "1"]
    assert [point.mean for point in curve.points] == [0, 0.5, 0.75, 1]
    assert [point.tokens for point in curve.points] == [25, 28, 40, 88]
    assert [point.visual_tokens for point in curve.points] == [1, 4, 16, 64]
    # Of four pictures three are right twice and one never: sums of two less the mean, ±.5 and -1.5; Student's t of 3.
    assert curve.points[2].low == pytest.approx(0.75 - 3.182 * np.sqrt(3 * 0.5**2 + 1.5**2) / 8, abs=1e-3)
    assert [point.visual_tokens for point in sizes_of(said("", 8, 88), shrunk, [], judge).points] == [None] * 4
    assert sizes_of(said("", 8, 88), shrunk[1:], [], judge).questions == 7, "one is missing at one size, so at all"
    assert sizes_of(said("", 8, 88), shrunk[:8], [], judge) is None


def _about_a_video(number: int, frames: int | None = 8, said: str = "") -> Question:
    video = Video(f"{number}.mp4", frames=frames, sampling="uniform-inner")
    return Question(str(number), f"v{number}", "short", "What?", {"answer": "A"}, lambda: (video,), "row",
                    (lambda times_of: said) if said else None)  # fmt: skip


def test_one_frame_and_fewer_frames_are_of_the_same_video_and_say_the_same():
    questions = [_about_a_video(1, 8, "Hi.\n"), _about_a_video(2, None), _about_a_video(3, 3)]
    single = with_one_frame(questions)
    assert [q.media()[0].frames for q in single] == [1, 1, 1]
    assert {q.media()[0].sampling for q in single} == {"uniform-inner"} and single[0].said is questions[0].said
    fewer = in_fewer_frames(questions)
    assert [(q.id, q.media()[0].frames) for q in fewer] == [
        ("1~1/2", 4), ("1~1/4", 2), ("1~1/8", 1), ("2~1/2", 4), ("2~1/4", 2), ("2~1/8", 1), ("3~1/2", 1), ("3~1/4", 1),
        ("3~1/8", 1),
    ]  # fmt: skip


def test_subtitles_alone_need_subtitles_and_frames_a_video():
    [alone] = with_subtitles_alone([_about_a_video(1, said="Hi.\n")])
    assert alone.media() == () and alone.conversation(None).messages[0].text == "Hi.\nWhat?"
    with pytest.raises(SensoriumError, match="Add --subtitles"):
        with_subtitles_alone([_about_a_video(1)])
    picture = replace(_about_a_video(1), media=lambda: (Image("a.jpg"),))
    with pytest.raises(SensoriumError, match="is about no video"):
        with_one_frame([picture])[0].media()


def test_the_curve_of_frames_is_of_questions_asked_at_every_share():
    def said(share: str, right: int) -> list[Answer]:
        return [Answer(f"{i}{share}", f"v{i}", "short", "?", {"answer": "A"}, "A" if i < right else "B", n_prompt=10)
                for i in range(8)]  # fmt: skip

    def judge(answers):
        return [Judged(float(one.reply == "A"), one.reply) for one in answers]

    fewer = [*said("~1/2", 6), *said("~1/4", 4), *said("~1/8", 2)]
    curve = frames_of(said("", 8), fewer, [], judge)
    assert curve.of == "share of the video's frames" and curve.questions == 8
    assert [point.at for point in curve.points] == ["1/8", "1/4", "1/2", "1"]
    assert [point.mean for point in curve.points] == [0.25, 0.5, 0.75, 1.0]
