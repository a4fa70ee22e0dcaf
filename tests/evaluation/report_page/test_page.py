"""The file itself: its numbers are the run's, its words are text, and it needs nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import pytest
from PIL import Image as Picture
from typer.testing import CliRunner

from sensorium.cli.main import app
from sensorium.errors import SensoriumError
from sensorium.evaluation.compare import compare
from sensorium.evaluation.report_page import Choice, Sources, make_report
from sensorium.evaluation.results import score_run, shown

SIZE = (224, 168)  # of the pictures of balls
HOSTILE = "Yes</pre><script>document.title = 'taken'</script><img src='http://example.org/x' onerror='alert(1)'>"


def says(words):
    return lambda question: words


def yes_of_red(question):
    return "Yes." if "red" in question else "No."


def test_the_scores_are_those_of_the_run_with_their_intervals(a_run, balls, parsed):
    folder = a_run("m", balls, yes_of_red)
    text = parsed(make_report(folder).html).text
    results = score_run(folder)
    assert len(results.scores) == 5
    for score in results.scores:
        assert f"{score.name} {shown(score.value)} {shown(score.low)}–{shown(score.high)}" in text
    # Eight questions: the red ball is named twice, once with and once without it; the three others are not seen.
    assert "8 questions: 4 right 4 wrong" in text
    assert "asked as official, scored as official" in text
    assert results.data["sha256"] in text


def test_another_variant_judges_the_same_replies(a_run, balls, parsed):
    folder = a_run("m", balls, says("Yes, there is."))
    assert "8 questions: 4 right 4 wrong" in parsed(make_report(folder).html).text
    text = parsed(make_report(folder, variant="lmms-eval").html).text
    assert "8 questions: 8 unparsed" in text  # only a bare yes or no is read there
    assert "scored as lmms-eval" in text


def test_what_a_model_writes_is_text_and_never_a_part_of_the_page(a_run, balls, parsed):
    page = parsed(make_report(a_run("<b>m</b>", balls, says(HOSTILE))).html)
    assert " ".join(HOSTILE.split()) in page.text
    assert [found.get("src") for found in page.all("script")] == [None]
    assert not page.all("img") and not page.all("iframe")
    assert not [key for _, attributes in page.elements for key in attributes if key.startswith("on") or key == "style"]
    assert "<b>m</b> on POPE" in page.text


def test_only_the_own_script_and_style_may_run(a_run, balls, parsed):
    html = make_report(a_run("m", balls, says(HOSTILE))).html
    policy = next(found["content"] for found in parsed(html).all("meta") if "http-equiv" in found)
    assert policy.startswith("default-src 'none'")
    for tag in ("script", "style"):
        content, = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.S)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy


def test_the_file_names_no_address_but_itself(a_run, balls, parsed):
    page = parsed(make_report(a_run("m", balls, yes_of_red), sources=Sources(balls)).html)
    named = [value for _, attributes in page.elements for key, value in attributes.items()
             if key in ("href", "src", "action", "data", "poster", "srcset", "xlink:href")]  # fmt: skip
    assert named and all(value.startswith(("data:", "#")) for value in named)
    targets = {value[1:] for value in named if value.startswith("#")}
    assert targets <= {attributes.get("id") for _, attributes in page.elements}


def test_a_reply_of_ten_megabytes_is_shown_from_both_ends_and_says_so(a_run, balls, parsed):
    reply = "Yes, " + "ha " * 3_333_333 + "and the end."
    replies = iter([reply, *["No."] * 7])
    report = make_report(a_run("m", balls, lambda question: next(replies)))
    text = parsed(report.html).text
    assert f"of {len(reply):,} characters left out" in text and "and the end." in text
    assert len(report.html) < 200_000


def test_characters_that_no_document_may_hold_are_replaced(a_run, balls, tmp_path):
    make_report(a_run("m", balls, says("Yes\x00\x1b[31m \ud800 \x85"))).write(tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", html)
    assert "Yes\ufffd\ufffd[31m ? \ufffd" in html


def test_replies_that_were_not_read_are_listed_with_their_effect(a_run, balls, parsed):
    # lmms-eval reads a bare yes or no alone: of the eight replies, the two about red are not read.
    folder = a_run("m", balls, lambda question: "Hmm." if "red" in question else "no")
    text = parsed(make_report(folder, variant="lmms-eval").html).text
    assert "In 2 of 8 replies the rules read nothing" in text
    worth = [(label == "no") for asked, label in _labels() if asked != "red"]
    scored, alone, best = sum(worth) / 8, sum(worth) / 6, (sum(worth) + 2) / 8
    assert f"all 2 8 {scored:.3f} {alone:.3f} {best:.3f}" in text
    assert text.count("The rules read nothing in it.") == 2
    assert "2 unparsed" in text


def _labels():
    names = ["red", "green", "blue", "yellow"]
    return [pair for i, name in enumerate(names) for pair in ((name, "yes"), (names[i - 1], "no"))]


def test_a_missing_picture_is_named_and_neither_right_nor_wrong(a_run, balls, parsed):
    (balls / "images" / "green.png").unlink()
    report = make_report(a_run("m", balls, yes_of_red), sources=Sources(balls))
    text = parsed(report.html).text
    assert report.of == 6
    assert "2 questions could not be asked, and are not scored: neither right nor wrong" in text
    assert "green.png" in text and "2 not asked" in text


def test_each_picture_is_in_the_file_once_and_each_question_shows_its_own(a_run, balls, parsed):
    report = make_report(a_run("m", balls, yes_of_red), sources=Sources(balls))
    page = parsed(report.html)
    assert report.pictures == 4
    assert len(page.all("symbol")) == 4 and len({found["href"] for found in page.all("image")}) == 4
    assert len(page.all("use")) == 4  # two questions about one picture stand beside it together
    assert all(found["aria-label"] for found in page.all("svg", class_="picture"))


def test_without_the_data_the_page_says_how_to_see_pictures(a_run, balls, parsed):
    page = parsed(make_report(a_run("m", balls, yes_of_red)).html)
    assert not page.all("use") and "name the data with --data" in page.text


def test_data_of_another_run_is_refused(a_run, balls):
    folder = a_run("m", balls, yes_of_red)
    rows = (balls / "questions.json").read_text().splitlines()
    (balls / "questions.json").write_text("\n".join(rows[:-1]) + "\n")
    with pytest.raises(SensoriumError, match=r"is not the data that .* is a run of"):
        make_report(folder, sources=Sources(balls))


def test_a_picture_that_is_no_longer_what_the_model_was_shown_is_told(a_run, balls, parsed):
    folder = a_run("m", balls, yes_of_red)
    Picture.new("RGB", (20, 20)).save(balls / "images" / "red.png")
    (balls / "images" / "green.png").write_bytes(b"no picture")
    text = parsed(make_report(folder, sources=Sources(balls)).html).text
    assert text.count("The picture in the data is no longer the one that the model was shown.") == 1
    assert text.count("Not shown: ") == 1


def test_boxes_are_drawn_where_they_are(a_run, boxes, balls, parsed):
    # Where the ball is, in thousandths of 224 x 168 as the convention counts, and all of the left half.
    said = {"red": "(232,238),(767,951)", "green": "(0,0),(499,999)"}
    rule = lambda question: f"<box>{next(box for name, box in said.items() if name in question)}</box>"  # noqa: E731
    folder = a_run("m", boxes, rule, "refcoco", balls / "images")
    page = parsed(make_report(folder, sources=Sources(boxes, balls / "images")).html)
    assert "2 questions: 1 right 1 wrong" in page.text

    def drawn(kind):
        return [[float(found[key]) for key in ("x", "y", "width", "height")] for found in page.all("rect", class_=kind)]

    assert drawn("true") == [[52, 40, 120, 120]] * 2
    across, down = SIZE[0] / 999, SIZE[1] / 999
    first, second = drawn("said-a")
    assert first == pytest.approx([232 * across, 238 * down, (767 - 232) * across, (951 - 238) * down], abs=0.1)
    assert second == pytest.approx([0, 0, 499 * across, 168], abs=0.1)


def test_two_runs_show_the_comparison_and_both_replies_where_they_differ(a_run, balls, parsed):
    first, second = a_run("first", balls, says("No.")), a_run("second", balls, yes_of_red)
    page = parsed(make_report(first, second, Sources(balls)).html)
    overall = compare(first, second).overall
    found, interval = overall.difference, overall.difference.mean.interval
    row = (f"all {found.first:.3f} {found.second:.3f} {found.mean.value:+.3f} {interval[0]:+.3f} to {interval[1]:+.3f} "
           f"{overall.p:.3g} {found.mcnemar.only_first} : {found.mcnemar.only_second}")  # fmt: skip
    assert row in page.text and "B is tied" in page.text
    # Only the two questions about red are answered differently.
    differing = [found for found in page.all("section") if found.get("data-differ") == "yes"]
    assert [found["data-verdicts"].split() for found in differing] == [["wrong", "right"], ["right", "wrong"]]
    assert "Replies to 2 questions were judged differently" in page.text


def test_the_manifest_says_what_the_numbers_are_of_and_what_differs(a_run, balls, parsed):
    first, second = a_run("first", balls, says("No.")), a_run("second", balls, says("Yes."))
    page = parsed(make_report(first, second, version="1.2.3").html)
    header = json.loads((first / "replies.jsonl").read_text().splitlines()[0])
    assert page.text.count(f"data: sha256 {header['data']}") == 2
    assert "sampling max new tokens: 16, temperature: 0.0" in page.text
    assert "Written by Sensorium 1.2.3." in page.text
    # The name of the model and the digest of its weights, on both sides.
    assert len(page.all("div", class_="differs")) == 4


def test_runs_of_other_questions_are_not_shown_side_by_side(a_run, balls):
    first = a_run("first", balls, says("No."))
    rows = (balls / "questions.json").read_text().splitlines()
    (balls / "questions.json").write_text("\n".join(rows[:-2]) + "\n")
    with pytest.raises(SensoriumError, match="has no answer to 2 of the 8 questions"):
        make_report(first, a_run("second", balls, says("No.")))


def test_all_replies_to_a_question_that_was_asked_several_times_are_there(a_run, balls, parsed):
    spoken = iter(["Yes."] * 8 + ["No."] * 8)
    page = parsed(make_report(a_run("m", balls, lambda question: next(spoken), repeats=2)).html)
    assert page.text.count("Reply 2") == 8
    assert "2 replies to each question: expected 0.5000" in page.text


def test_scenes_show_blind_scores_chance_and_what_was_named(scenes_run, examples, engine_of, parsed):
    folder = scenes_run("m", engine_of(lambda question, colour: _scene_answer(question)), blind=True)
    page = parsed(make_report(folder, sources=Sources(examples.root)).html)
    # Always yes is right half the time, and never twice about one picture.
    assert "existence (of 200) 50.0 50.0–50.0 50.0 75.0 4 accuracy 50.0" in page.text
    assert "Read as cat, dog" in page.text and "true names bicycle, penguin" in page.text
    assert len(page.all("figure", class_="radar")) == 1 and "bars: 95 % of seeing" in page.text
    assert "Read as first box, overlap" in page.text
    assert len(page.all("rect", class_="true")) == 3


def _scene_answer(question):
    if question.startswith("Describe"):
        return "A cat and a dog."
    return "<box>(0,0),(499,499)</box>" if question.startswith("Where") else "Yes"


def test_two_runs_of_scenes_without_their_data(scenes_run, engine_of, parsed):
    first = scenes_run("first", engine_of(lambda question, colour: "No"))
    second = scenes_run("second", engine_of(lambda question, colour: _scene_answer(question)))
    page = parsed(make_report(first, second).html)
    assert page.text.count("B against A") == 1
    # "No" names nothing and is no box: four captions and three boxes are not read.
    assert "In 7 of 37 replies the rules read nothing" in page.text


def test_the_dataset_of_other_scenes_is_refused(scenes_run, examples, engine_of):
    folder = scenes_run("m", engine_of(lambda question, colour: "Yes"))
    path = examples.root / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "fingerprint": "other"}))
    with pytest.raises(SensoriumError, match="is not the data"):
        make_report(folder, sources=Sources(examples.root))


def test_what_would_do_nothing_is_refused(scenes_run, a_run, balls, examples, engine_of):
    scenes = scenes_run("scenes", engine_of(lambda question, colour: "Yes"))
    with pytest.raises(SensoriumError, match="other benchmarks than scenes"):
        make_report(scenes, variant="official")
    with pytest.raises(SensoriumError, match="have their pictures with them"):
        make_report(scenes, sources=Sources(examples.root, balls))
    with pytest.raises(SensoriumError, match="Name the data as well"):
        make_report(a_run("m", balls, yes_of_red), sources=Sources(None, balls))


def test_an_unknown_order_of_samples_names_the_known_ones(a_run, balls):
    with pytest.raises(SensoriumError, match="errors"):
        make_report(a_run("m", balls, yes_of_red), choice=Choice(order="error"))


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(SensoriumError, match=r"holds no replies\.jsonl"):
        make_report(tmp_path)


def test_the_command_writes_the_file_and_says_what_is_in_it(a_run, balls, tmp_path):
    out = tmp_path / "deep" / "report.html"
    words = ["report", a_run("m", balls, yes_of_red), "--data", balls, "--out", out, "--samples", 3, "--side", 50]
    done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0
    assert re.search(r"Written: .*report\.html \(\d\.\d MB; 3 of 8 questions, \d pictures\)", done.stderr)
    assert out.read_text(encoding="utf-8").startswith("<!doctype html>")
