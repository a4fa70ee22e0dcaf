"""Every benchmark is read alike from every layout, asked as its protocols ask, and scored as its scorer says."""

from __future__ import annotations

import hashlib

import pytest

from sensorium.conversation import Video
from sensorium.errors import SensoriumError
from sensorium.evaluation.benchmarks import BENCHMARKS, Answer, Data, MissingMedia
from sensorium.media import open_image
from sensorium.media.watching import Watcher

LAYOUTS = ("official", "parquet", "tsv")
OWN = ("easy-vqa",)  # of one layout; beside what is made of scenes, see `test_scenes_benchmarks`
THEIRS = [name for name in BENCHMARKS if name not in OWN and not name.startswith("scenes-")]
ALL = [(name, layout) for name in THEIRS for layout in LAYOUTS if (name, layout) != ("mcq", "official")]
QUESTIONS = {"mme": 6, "pope": 4, "refcoco": 2}  # of the look-alikes; the others have three


def questions_of(name, path, prompt=None):
    benchmark = BENCHMARKS[name]
    return list(benchmark.read(Data(path), benchmark.known_prompt(prompt)))


def seen_at(video):
    return Watcher().watch(video).times_s


def right_reply(name, truth):
    """What a perfect model says, by the benchmark's own rules."""
    if name == "refcoco":
        x1, y1, x2, y2 = truth["box"]
        width, height = truth["width"], truth["height"]
        corners = [round(999 * v / of) for v, of in ((x1, width), (y1, height), (x2, width), (y2, height))]
        return f"<box>({corners[0]},{corners[1]}),({corners[2]},{corners[3]})</box>"
    if name == "caption":
        return truth["references"][0]
    return truth["answers"][0] if "answers" in truth else truth["answer"]


def answered(name, questions, reply):
    return [Answer(q.id, q.cluster, q.task, q.text, q.truth, reply(name, q.truth)) for q in questions]


HEADLINE = {
    "mme": ("perception", 400.0), "pope": ("accuracy", 1.0), "refcoco": ("precision", 1.0), "chartqa":
    ("relaxed_accuracy", 100.0), "docvqa": ("anls", 1.0), "infovqa": ("anls", 1.0), "mathvista": ("accuracy", 100.0),
    "mcq": ("overall", 1.0), "videomme": ("overall", 100.0), "caption": ("bleu_1", 1.0),
}  # fmt: skip


@pytest.mark.parametrize(("name", "layout"), ALL)
def test_a_perfect_model_scores_all_there_is(lookalike, name, layout):
    data = Data(lookalike(name, layout))
    assert data.layout == layout
    questions = questions_of(name, data.path)
    assert len(questions) == QUESTIONS.get(name, 3)
    assert len({question.id for question in questions}) == len(questions)
    answers = answered(name, questions, right_reply)
    key, full = HEADLINE.get(name, ("overall", 100.0))
    outcome = BENCHMARKS[name].score(answers, "official")
    # Ten people of whom two say "dark red": the answer of the other eight is worth all.
    assert outcome[key] == pytest.approx(full, abs=1e-6)
    judged = BENCHMARKS[name].judge(answers, "official")
    if name == "caption":
        assert sum(one.worth for one in judged) / len(judged) == pytest.approx(outcome["cider"])
    else:
        assert [one.worth for one in judged] == [1.0] * len(questions)


@pytest.mark.parametrize(("name", "layout"), ALL)
def test_every_variant_scores_and_judges(lookalike, name, layout):
    questions = questions_of(name, lookalike(name, layout))
    benchmark = BENCHMARKS[name]
    wrong = answered(name, questions, lambda name, truth: "hm")
    for variant in benchmark.variants:
        assert benchmark.score(wrong, variant).variant == variant
        assert len(benchmark.judge(wrong, variant)) == len(questions)
        if name != "pope":  # whose own rule takes everything without a negation for yes
            assert not any(one.worth for one in benchmark.judge(wrong, variant))


@pytest.mark.parametrize(("name", "layout"), [pair for pair in ALL if pair[0] != "videomme"])
def test_pictures_are_fetched_when_a_question_is_asked(lookalike, name, layout):
    for question in questions_of(name, lookalike(name, layout)):
        images = question.conversation(seen_at).images
        assert images and all(open_image(image).size == (64, 48) for image in images)


@pytest.mark.parametrize("name", [name for name in THEIRS if name not in ("mcq", "videomme")])
def test_the_same_questions_are_about_the_same_pictures_in_every_layout(lookalike, name):
    """Questions per picture, whatever a layout calls the pictures."""
    shapes = []
    for layout in LAYOUTS:
        sizes: dict[str, int] = {}
        for question in questions_of(name, lookalike(name, layout)):
            sizes[question.cluster] = sizes.get(question.cluster, 0) + 1
        shapes.append(sorted(sizes.values()))
    assert shapes[0] == shapes[1] == shapes[2]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_question_about_a_video_shows_the_video(lookalike, layout):
    path = lookalike("videomme", layout)
    data = Data(path.parent if path.is_file() else path)
    for question in BENCHMARKS["videomme"].read(data, "official"):
        [video] = [part for part in question.conversation(seen_at).messages[0].parts if isinstance(part, Video)]
        assert str(video.source).endswith(".mp4")


def test_video_mme_is_asked_in_the_words_of_its_authors(lookalike):
    text = questions_of("videomme", lookalike("videomme", "official"), "official")[0].text
    lines = text.split("\n")
    # The digest of the instruction line, from the benchmark's own documentation.
    assert hashlib.sha256(lines[0].encode()).hexdigest().startswith("f0c20c6deb544ad5")
    assert lines[1:] == ["Which?", "A. One.", "B. Two.", "C. Three.", "D. Four.", "The best answer is:"]


def test_subtitles_are_told_as_video_mme_tells_them(lookalike, film):
    path = lookalike("videomme", "official")
    film(path / "videos" / "001.mp4", range(40, 240, 5))  # four seconds
    (path / "subtitle").mkdir()
    said = ["Early.", "One.", "Two.", "After all frames."]
    spans = [("00:00:00,000", "00:00:00,900"), ("00:00:00,950", "00:00:01,100"), ("00:00:02,000", "00:00:03,900"),
             ("00:00:03,950", "00:00:03,990")]  # fmt: skip
    (path / "subtitle" / "001.srt").write_text(
        "".join(f"{i}\n{a} --> {b}\n{words}\n\n" for i, (words, (a, b)) in enumerate(zip(said, spans, strict=True)))
    )

    def text(prompt, **options):
        question = next(iter(BENCHMARKS["videomme"].read(Data(path, with_subtitles=True, **options), prompt)))
        return question.conversation(seen_at).messages[0].text.split("\n")

    bare = questions_of("videomme", path, "official")[0].text.split("\n")
    lead, *told = text("official", frames=2)  # at 1 and 3 s
    # The digest of the lead-in line, from the benchmark's own documentation.
    assert hashlib.sha256(lead.encode()).hexdigest().startswith("bead13ac0524a58e")
    assert told == ["One.", "Two.", *bare]
    four = text("official", frames=4)[1:]  # at 0.5, 1.5, 2.5 and 3.5 s
    assert four == ["Early.", "Two.", *bare], "a line that two frames show is told once"
    assert text("vlmevalkit", frames=4)[1:4] == ["Early.", "Two.", "Two."], "at 0.8, 1.6, 2.4, 3.2 s: repeats kept"
    assert text("official", frames=1)[:2] == [lead, "Two."]
    (path / "subtitle" / "001.srt").rename(path / "subtitle" / "002.srt")
    assert text("official") == bare, "a video without subtitles is asked about without"


@pytest.mark.parametrize(
    ("prompt", "sampling"), [("official", "uniform"), ("vlmevalkit", "uniform-inner"), ("lmms-eval", "uniform-ends")]
)
def test_each_protocol_takes_its_own_frames_and_no_times(lookalike, prompt, sampling):
    data = Data(lookalike("videomme", "official"), frames=5)
    [video] = next(iter(BENCHMARKS["videomme"].read(data, prompt))).media()
    assert (video.frames, video.sampling, video.timestamps) == (5, sampling, False)


def test_protocols_ask_in_their_own_words(lookalike):
    path = lookalike("mme", "tsv")
    assert questions_of("mme", path)[0].text == "Is it red? Please answer yes or no."
    short = "\nAnswer the question using a single word or phrase."
    assert questions_of("mme", path, "lmms-eval")[0].text == "Is it red?" + short
    assert questions_of("vqav2", lookalike("vqav2", "official"), "official")[0].text == "what is red?"
    assert questions_of("textvqa", lookalike("textvqa", "official"), "lmms-eval")[0].text == "What does it say?" + short
    asked = questions_of("mcq", lookalike("mcq", "tsv"))[0].text
    assert asked.startswith("Hint: Look.\nQuestion: Colour?\nOptions:\nA. red\nB. blue\nPlease select")


def test_a_prompt_that_only_one_variant_can_read_is_scored_by_it():
    assert BENCHMARKS["refcoco"].known_variant(None, "lmms-eval") == "lmms-eval"
    assert BENCHMARKS["refcoco"].known_variant(None, "sensorium") == "official"
    with pytest.raises(SensoriumError, match="Did you mean `lmms-eval`"):
        BENCHMARKS["mme"].known_variant("lmm-eval", "official")


def test_a_picture_of_which_one_question_was_not_answered_does_not_count_in_mme(lookalike):
    questions = questions_of("mme", lookalike("mme", "parquet"))
    answers = answered("mme", questions[1:], right_reply)
    outcome = BENCHMARKS["mme"].score(answers, "official")
    assert outcome["subtasks"]["existence"]["pictures"] == 1
    assert "1 pictures have one question without its twin" in outcome.notes[0]


def test_a_row_of_several_sets_of_pope_counts_in_each(lookalike):
    questions = questions_of("pope", lookalike("pope", "tsv"))
    outcome = BENCHMARKS["pope"].score(answered("pope", questions, right_reply), "official")
    assert outcome["questions"] == 5
    assert {name: one["questions"] for name, one in outcome["sets"].items()} == {"random": 2, "popular": 3}


def test_rotations_of_a_question_are_right_together_or_not_at_all(lookalike):
    questions = questions_of("mcq", lookalike("mcq", "tsv"))
    answers = answered("mcq", questions, lambda name, truth: "A" if truth["index"] == 1_000_001 else truth["answer"])
    outcome = BENCHMARKS["mcq"].score(answers, "official")
    assert (outcome["overall"], outcome["vanilla"]) == (0.5, pytest.approx(2 / 3))
    assert questions[0].cluster == questions[2].cluster


def test_a_missing_picture_is_found_when_it_is_asked_for(lookalike):
    path = lookalike("pope", "official")
    (path / "images" / "red.png").unlink()
    question = next(one for one in questions_of("pope", path) if one.cluster == "red.png")
    with pytest.raises(MissingMedia, match=r"red\.png: this picture is not there\. .*--media"):
        question.conversation(seen_at)


def test_names_in_the_data_do_not_lead_out_of_its_folder(tmp_path):
    (tmp_path / "secret.png").write_bytes(b"x")
    (tmp_path / "data").mkdir()
    with pytest.raises(MissingMedia):
        Data(tmp_path / "data").picture("../secret.png")
    with pytest.raises(MissingMedia):
        Data(tmp_path / "data").picture(str(tmp_path / "secret.png"))


@pytest.mark.parametrize(
    ("name", "row", "said"),
    [
        ("mme", {"index": 1, "image": "", "question": "?", "answer": "Maybe", "category": "count"}, "none of yes, no"),
        ("mme", {"index": 1, "image": "", "question": "?", "answer": "Yes", "category": "cuont"}, "`category` is"),
        ("mcq", {"index": "x", "question": "?", "A": "a", "B": "b", "answer": "A"}, "no integer"),
        ("mcq", {"index": 1, "question": "?", "A": "a", "B": "", "answer": "B"}, "none of A"),
        ("docvqa", {"index": 1, "question": "?", "answers": ""}, "has no answers"),
        ("pope", {"index": 1, "question": "?", "answer": "yes"}, "has no column category"),
    ],
)
def test_a_wrong_row_is_named_by_its_line(tsv, tmp_path, name, row, said):
    path = tsv(tmp_path / "t.tsv", [row])
    with pytest.raises(SensoriumError, match=said) as found:
        questions_of(name, path)
    assert found.value.where.startswith(str(path))
