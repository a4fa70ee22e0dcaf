"""The report in a real browser: filters, two runs, a phone, no script at all; and not one request beyond the file."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Picture

from sensorium.evaluation.probes import FOLDER
from sensorium.evaluation.probes.overlap import Overlap, Shared, write_overlap
from sensorium.evaluation.probes.sizes import SHARES, SIZES
from sensorium.evaluation.report_page import Sources, make_report
from sensorium.evaluation.run_folder import RunFolder, read_run

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright to drive a browser")

SCREENSHOT = "SENSORIUM_SCREENSHOT"  # the file into which the guide's picture of a report is written
PHONE, LAPTOP = {"width": 390, "height": 844}, {"width": 1366, "height": 768}


@pytest.fixture
def visit(browser: Any) -> Callable[..., Any]:
    """`with visit(file, **context) as page:` the open file; any request beyond it, and any error, fails the test."""

    @contextmanager
    def opened(file: Path, **options: Any) -> Iterator[Any]:
        context = browser.new_context(**{"viewport": LAPTOP, **options})
        page = context.new_page()
        asked: list[str] = []
        wrong: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.goto(file.as_uri())
        yield page
        context.close()
        assert [url for url in asked if not url.startswith("data:")] == [file.as_uri()]
        assert not wrong

    return opened


@pytest.fixture
def compared(a_run: Any, balls: Path, tmp_path: Path) -> Path:
    """A report of two runs: the first says no to everything, the second sees red and mumbles about blue."""

    def sees(question: str) -> str:
        return "Yes." if "red" in question else "Hmm." if "blue" in question else "No."

    first, second = a_run("first", balls, lambda question: "No."), a_run("second", balls, sees)
    make_report(first, second, Sources(balls), variant="vlmevalkit").write(tmp_path / "report.html")
    return tmp_path / "report.html"


@pytest.fixture
def of_scenes(scenes_run: Any, examples: Any, engine_of: Any, tmp_path: Path) -> Path:
    def says(question: str, colour: Any) -> str:
        if question.startswith("Describe"):
            return "A penguin. " + "And so on, without an end. " * 300
        return "<box>(10,220),(300,650)</box>" if question.startswith("Where") else "No, there is not."

    folder = scenes_run("m", engine_of(says), blind=True)
    make_report(folder, sources=Sources(examples.root)).write(tmp_path / "report.html")
    return tmp_path / "report.html"


@pytest.fixture
def probed(a_run: Any, balls: Path, tmp_path: Path) -> Path:
    """A report with a panel of each kind."""
    folder = a_run("m", balls, lambda question: "Yes" if "red" in question or "blue" in question else "No")
    a_run(f"m/{FOLDER}/no-picture", balls, lambda question: "Yes")
    shrunk = RunFolder(folder / FOLDER / SIZES.name, {"benchmark": "pope"})
    answers = [replace(one, id=f"{one.id}~{share}", n_prompt=40) for one in read_run(folder)[1] for share in SHARES]
    shrunk.add(answers)
    shrunk.finish([(one.id, 0) for one in answers], {"repeats": 1})
    shared = [Shared(question="q" * 90, training="somewhere/with_a_rather_long_name.json row 18: " + "words " * 20)]
    overlap = Overlap(training_data="mix.json", samples=9, skipped=0, questions=8, overlapping=1, pictures=4, near=0,
                      examples=shared)  # fmt: skip
    write_overlap(overlap, folder / FOLDER)
    make_report(folder).write(tmp_path / "report.html")
    return tmp_path / "report.html"


def shown(page: Any) -> int:
    return sum(card.is_visible() for card in page.locator(".card").all())


def test_filters_leave_what_was_asked_for(compared, visit):
    with visit(compared) as page:
        said = page.locator("#filters output")
        assert shown(page) == 8 and said.inner_text() == "8 of 8 shown"
        page.select_option("[name=verdict]", "unparsed")
        # Two questions name the blue ball.
        assert shown(page) == 2 and said.inner_text() == "2 of 8 shown"
        assert all("blue" in card.inner_text() for card in page.locator(".card:visible").all())
        page.select_option("[name=differ]", "no")
        assert shown(page) == 0
        assert page.get_by_text("None of these fits the filters.").count() == 2
        assert page.locator(".group:visible").count() == 0
        page.click("text=Clear")
        playwright.expect(said).to_have_text("8 of 8 shown")
        page.fill("[name=search]", "YELLOW ball")
        assert shown(page) == 2
        page.keyboard.press("Enter")  # a form that went anywhere would be a request
        assert shown(page) == 2


def test_two_runs_stand_side_by_side_where_they_differ(compared, visit):
    with visit(compared) as page:
        card = page.locator("#differing ~ .group .card", has_text="Is there a red ball").first
        left, right = (answer.bounding_box() for answer in card.locator(".answer").all())
        assert left["y"] == right["y"] and left["x"] + left["width"] <= right["x"]
        assert [answer.locator(".reply").inner_text() for answer in card.locator(".answer").all()] == ["No.", "Yes."]
        assert page.locator("#comparison ~ .lead").inner_text().startswith("Over 8 questions")


def test_without_scripts_everything_is_there_but_the_filters(compared, visit):
    with visit(compared, java_script_enabled=False) as page:
        assert page.locator(".card").count() == 8 and shown(page) == 8
        assert not page.locator("#filters").is_visible()


def test_what_was_probed_is_drawn_where_the_numbers_are(probed, visit):
    with visit(probed) as page:
        page.click("nav >> text=Probes")
        assert page.locator("#probes").bounding_box()["y"] < LAPTOP["height"]
        # Seeing and blind are right in half of the questions: two points above each other in the middle of their lines.
        seeing, blind = (one.bounding_box() for one in page.locator(".panel .marks").first.locator("circle").all())
        assert seeing["x"] == pytest.approx(blind["x"], abs=0.5) and seeing["y"] < blind["y"]
        curve, *_ = (one.bounding_box() for one in page.locator(".curve svg").all())
        points = [one.bounding_box() for one in page.locator(".curve circle").all()]
        assert len(points) == 4
        assert all(curve["x"] < one["x"] < curve["x"] + curve["width"] for one in points)
        page.click("text=1 example")
        assert page.get_by_text("row 18").is_visible()


@pytest.mark.parametrize("report", ["compared", "of_scenes", "probed"])
def test_nothing_is_wider_than_a_phone(report, visit, request):
    with visit(request.getfixturevalue(report), viewport=PHONE, has_touch=True) as page:
        for width in (390, 320):
            page.set_viewport_size({**PHONE, "width": width})
            assert page.evaluate("document.documentElement.scrollWidth") == width
            outside = page.evaluate("""() => [...document.querySelectorAll("h1, h2, h3, p, li, .picture, .reply")]
                .filter((element) => element.checkVisibility() && element.getBoundingClientRect().right > innerWidth)
                .map((element) => element.className || element.tagName)""")
            assert not outside


@pytest.mark.parametrize("report", ["compared", "of_scenes", "probed"])
def test_words_can_be_read_in_light_and_dark(report, visit, request, contrasts):
    with visit(request.getfixturevalue(report)) as page:
        grounds = set()
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
            found = contrasts(page)
            assert len(found) > 50
            assert not [one for one in found if one[0] < 4.5]  # WCAG 2.2, 1.4.3 (AA)
        assert len(grounds) == 2


def test_headings_follow_one_another_and_pictures_have_names(of_scenes, visit):
    with visit(of_scenes) as page:
        levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4,h5')].map((one) => Number(one.tagName[1]))")
        assert levels[0] == 1 and levels.count(1) == 1
        assert all(after - before <= 1 for before, after in pairwise(levels))
        assert page.locator("svg:not([aria-hidden]):not([aria-label])").count() == 0
        assert page.locator("svg.picture[aria-label*='with boxes drawn']").count() == 3


def test_boxes_lie_on_the_picture_where_the_model_put_them(of_scenes, visit):
    with visit(of_scenes) as page:
        group = page.locator(".group", has_text="Where is the penguin")
        picture, box = (group.locator(name).bounding_box() for name in (".picture", "rect.said-a"))
        place = [(box["x"] - picture["x"]) / picture["width"], (box["y"] - picture["y"]) / picture["height"]]
        assert place == pytest.approx([0.01, 0.22], abs=0.015)  # half the line's width may be counted
        assert box["width"] / picture["width"] == pytest.approx(0.29, abs=0.03)


def test_on_paper_long_replies_are_whole_and_controls_gone(of_scenes, visit):
    with visit(of_scenes) as page:
        page.emulate_media(media="print")
        assert not page.locator("#filters").is_visible() and not page.locator("nav").is_visible()
        cut = page.evaluate("""[...document.querySelectorAll(".reply, .wide")]
            .filter((element) => getComputedStyle(element).overflowY !== "visible" ||
                                 element.scrollHeight > element.clientHeight + 1).length""")
        assert cut == 0


@pytest.mark.slow
def test_the_embedded_model_sees_more_than_blind_and_its_report_shows_that(examples, scenes_run, tmp_path, visit):
    from sensorium.engine.loading import load_engine

    folder = scenes_run("default", load_engine("default", engine="auto", context_length=4096), blind=True)
    make_report(folder, sources=Sources(examples.root)).write(tmp_path / "report.html")
    with visit(tmp_path / "report.html", viewport={"width": 1180, "height": 1700}) as page:
        row = page.locator(".family tbody tr", has_text="existence").locator("td").all_inner_texts()
        assert float(row[0]) > float(row[2])
        assert page.locator(".radar .series").count() == 2
        if out := os.environ.get(SCREENSHOT):
            picture = Picture.open(io.BytesIO(page.screenshot(animations="disabled"))).convert("RGB")
            picture.quantize(256, kmeans=2).save(out, optimize=True)  # a third of the size, and looks the same
