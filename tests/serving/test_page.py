"""The page in a real browser: what a person does there, and what the browser must never do.

Waits end with what is waited for, or after WAIT_S.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image as Picture

pytest.importorskip("gradio", reason="the page is part of the extra `serve`")
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright to drive a browser")

from sensorium.conversation import Conversation, Image, Text, Video, decode_data_url, user  # noqa: E402
from sensorium.engine import YES_NO, Boxes, Card, Sampling  # noqa: E402
from sensorium.errors import SensoriumError  # noqa: E402
from sensorium.grounding import draw_grounded, parse_grounded  # noqa: E402
from sensorium.media import open_image  # noqa: E402
from sensorium.media.video import VideoLimits  # noqa: E402
from sensorium.serving.page.engines import EngineChoice  # noqa: E402
from sensorium.serving.page.examples import EXAMPLES  # noqa: E402
from sensorium.serving.page.words import CHINESE, ENGLISH  # noqa: E402

ROOT = Path(__file__).parent.parent.parent
SCENE = ROOT / "docs" / "pictures" / "scene.jpg"
WAIT_S = 30
SCREENSHOT = "SENSORIUM_SCREENSHOT"  # the file into which the README's picture of the page is written
BOXED = ("There is ", "<ref>a cat</ref>", "<box>(100,200),(500,800)</box>", " and ", "<ref>a dog</ref>",
         "<box>(600,100),(900,400)</box>", ".")  # fmt: skip


@pytest.fixture
def visit(browser: Any) -> Callable[..., Any]:
    """`with visit(address, **context) as page:` the page, ready; any request beyond this machine fails the test."""

    @contextmanager
    def opened(address: str, **options: Any) -> Iterator[Any]:
        options = {"viewport": {"width": 1366, "height": 768}, "locale": "en-US"} | options
        context = browser.new_context(**options)
        context.set_default_timeout(1000 * WAIT_S)
        page = context.new_page()
        asked: list[str] = []
        wrong: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(address)
        page.wait_for_selector("#figures h2")
        yield page
        context.close()
        hosts = {urlsplit(url).hostname for url in asked if not url.startswith(("data:", "blob:"))}
        assert hosts == {"127.0.0.1"}
        assert not wrong

    return opened


def ask(page: Any, question: str, *pictures: Path) -> None:
    """Hand pictures over, write, and press Enter; does not wait for the reply."""
    if pictures:
        page.locator("#ask input[type=file]").set_input_files([str(picture) for picture in pictures])
        playwright.expect(page.locator("#ask .thumbnail-item")).to_have_count(len(pictures), timeout=1000 * WAIT_S)
    page.fill("#ask textarea", question)
    page.keyboard.press("Enter")


def replies(page: Any) -> Any:
    return page.locator("#chat .bot-row")


def says(page: Any, text: str | re.Pattern[str]) -> None:
    """Wait until the last bubble says that."""
    playwright.expect(replies(page).last).to_contain_text(text, timeout=1000 * WAIT_S)


def free(page: Any) -> None:
    """Wait until the next question may be sent."""
    page.wait_for_selector("#ask .submit-button")


def saved(page: Any, button: str) -> tuple[str, str]:
    """(name, text) of the file that the button downloads."""
    with page.expect_download() as download:
        page.click(button)
    return download.value.suggested_filename, Path(download.value.path()).read_text(encoding="utf-8")


def test_a_picture_is_asked_about_and_the_answer_grows(serve, told, visit):
    told.go = threading.Semaphore(0)
    with serve(told, page=True) as address, visit(address) as page:
        ask(page, "What is it?", SCENE)
        playwright.expect(page.locator("#chat [data-testid=user] img")).to_have_count(1, timeout=1000 * WAIT_S)
        for word, so_far in (("one", "one"), ("two", "one two"), ("three", "one two three")):
            told.go.release()
            says(page, so_far)
            assert word in so_far
        free(page)
        assert page.input_value("#ask textarea") == ""
        shown = {key: page.inner_text(f"[data-figure={key}]") for key in ("reply_tokens", "picture_tokens",
                                                                         "cached_tokens", "prompt_tokens")}
    assert shown == {"reply_tokens": "3 tokens", "picture_tokens": "64 tokens (1 × 64)", "cached_tokens": "4 tokens",
                     "prompt_tokens": "13 / 1,000 tokens"}  # fmt: skip
    (conversation, sampling), = told.asked
    assert conversation.messages[0].text == "What is it?"
    assert Path(conversation.images[0].source).read_bytes() == SCENE.read_bytes()
    assert sampling == Sampling(max_new_tokens=512)


def test_boxes_of_a_reply_are_drawn_into_the_picture_in_the_colours_of_their_names(serve, told, visit):
    told.words = BOXED
    with serve(told, page=True) as address, visit(address) as page:
        ask(page, "Where are they?", SCENE)
        drawn = page.locator("#chat .bot-row img")
        drawn.wait_for()
        says(page, "There is")
        free(page)
        source = drawn.get_attribute("src")
        picture = open_image(page.request.get(source).body())
        names = {name: page.locator("#chat .bot-row b", has_text=name).locator("i")
                 .evaluate("e => getComputedStyle(e).color") for name in ("a cat", "a dog")}  # fmt: skip
        assert "<ref>" not in page.inner_text("#chat")
    assert names == {"a cat": "rgb(230, 25, 75)", "a dog": "rgb(60, 180, 75)"}
    boxed = draw_grounded(open_image(SCENE).resize(picture.size), parse_grounded("".join(BOXED)))
    for x, y in ((300, 800), (900, 250)):  # in thousandths: a lower edge, a right edge
        at = round(boxed.width * x / 1000), round(boxed.height * y / 1000)
        assert picture.getpixel(at) == boxed.getpixel(at) in ((230, 25, 75), (60, 180, 75))


def test_several_pictures_and_turns_make_one_conversation(serve, told, visit, tmp_path):
    other = tmp_path / "other.png"
    Picture.new("RGB", (50, 40), "blue").save(other)
    with serve(told, page=True) as address, visit(address) as page:
        ask(page, "First?", SCENE, other)
        says(page, "one two three")
        free(page)
        ask(page, "Second?")
        playwright.expect(replies(page)).to_have_count(2, timeout=1000 * WAIT_S)
        free(page)
        page.click("#new")
        playwright.expect(replies(page)).to_have_count(0, timeout=1000 * WAIT_S)
        ask(page, "Third?")
        says(page, "one two three")
    said = [[(message.role, message.text, len(message.images)) for message in asked] for asked, _ in told.asked]
    first, reply = ("user", "First?", 2), ("assistant", "one two three", 0)
    assert said == [[first], [first, reply, ("user", "Second?", 0)], [("user", "Third?", 0)]]


@pytest.fixture(scope="module")
def clip(film, tmp_path_factory):
    """Eight seconds, lighter by 3 each tenth of a second."""
    return film(tmp_path_factory.mktemp("films") / "clip.mp4", range(5, 245, 3))


def test_the_frames_of_a_video_are_shown_with_their_times_and_costs_before_the_answer(serve, told, visit, clip):
    told.go = threading.Semaphore(0)
    with serve(told, page=True) as address, visit(address) as page:
        ask(page, "What happens?", SCENE, clip)
        cells = page.locator("#chat .user-row .strip .frame")
        playwright.expect(cells).to_have_count(8, timeout=1000 * WAIT_S)
        assert cells.all_inner_texts() == [f"0:0{second} 64 tokens" for second in range(8)]
        assert page.inner_text("#chat .watched") == "clip.mp4 · 0:08 · frames: 8 · tokens: 512"
        sources = [cell.get_attribute("src") for cell in page.locator("#chat .strip img").all()]
        greys = [open_image(page.request.get(address + source).body()).getpixel((9, 9))[0] for source in sources]
        assert "one" not in page.inner_text("#chat .bot-row")
        told.go.release(100)
        says(page, "one two three")
        free(page)
        shown = [page.inner_text(f"[data-figure={kind}_tokens]") for kind in ("picture", "frame")]
        _, text = saved(page, "#save-json")
    assert greys == pytest.approx([5 + 3 * (10 * second + 5) for second in range(8)], abs=3)  # middles of the seconds
    assert shown == ["64 tokens (1 × 64)", "512 tokens (8 × 64)"]
    ((conversation, _),) = told.asked
    assert len(conversation.images) == 9 and conversation.messages[0].text.endswith("What happens?")
    picture, video, _ = Conversation.from_json(text).messages[0].parts
    assert isinstance(picture, Image) and isinstance(video, Video) and video.frames == 8
    assert decode_data_url(video.source) == clip.read_bytes()


def test_frames_are_chosen_by_the_settings_and_a_video_has_its_subtitles(serve, told, visit, clip, tmp_path):
    subtitles = tmp_path / "clip.srt"
    subtitles.write_text("1\n00:00:00,000 --> 00:00:02,000\nIt begins.\n\n2\n00:00:06,000 --> 00:00:08,000\nIt ends.\n")
    with serve(told, page=True) as address, visit(address) as page:
        page.fill("#frames input", "3")
        page.keyboard.press("Tab")
        ask(page, "What happens?", clip, subtitles)
        says(page, "one two three")
        free(page)
        playwright.expect(page.locator("#chat .strip .frame")).to_have_count(3, timeout=1000 * WAIT_S)
        page.click("#sampling input")
        page.get_by_role("option", name=ENGLISH["subtitles"]).click()
        page.click("#chat [aria-label=Retry]")
        playwright.expect(page.locator("#chat .strip .frame")).to_have_count(2, timeout=1000 * WAIT_S)
        _until(lambda: len(told.asked) == 2)
        free(page)
        assert page.locator("#chat .strip .frame").all_inner_texts() == ["0:01 64 tokens", "0:07 64 tokens"]
    said = [[part.text for part in asked.messages[0].parts if isinstance(part, Text)] for asked, _ in told.asked]
    assert said[0] == ["0:01 It begins. ", "\n0:04 ", "\n0:06 It ends. ", "\n", "What happens?"]
    assert said[1] == ["0:01 It begins. ", "\n0:07 It ends. ", "\n", "What happens?"]


def test_a_video_that_cannot_be_shown_is_named_as_its_owner_knows_it(serve, told, visit, clip, tmp_path):
    broken = tmp_path / "party.mp4"
    broken.write_bytes(clip.read_bytes()[:3000])
    with serve(told, page=True, video=VideoLimits(max_seconds=5)) as address, visit(address) as page:
        for file, said in ((broken, r"No answer\. party\.mp4: is damaged or cut off"),
                           (clip, r"clip\.mp4: lasts 0:08; at most 0:05 are allowed.*--max-seconds")):  # fmt: skip
            ask(page, "What happens?", file)
            says(page, re.compile(said))
            assert "/tmp" not in page.inner_text("#chat")
            page.reload()
            page.wait_for_selector("#figures h2")
    assert told.asked == []


def test_settings_reach_the_engine_and_an_answer_is_made_again_with_new_ones(serve, told, visit):
    with serve(told, page=True) as address, visit(address) as page:
        page.fill("#temperature input[type=number]", "0.5")
        page.fill("#top-p input[type=number]", "0.8")
        page.fill("#max-tokens input", "2")
        page.fill("#seed input", "7")
        page.keyboard.press("Tab")
        page.locator("#form").get_by_label(ENGLISH["yes_no"]).check()
        ask(page, "Again?")
        says(page, "one two")
        free(page)
        page.fill("#seed input", "8")
        page.keyboard.press("Tab")
        page.locator("#form").get_by_label(ENGLISH["boxes"]).check()
        page.click("#chat [aria-label=Retry]")
        _until(lambda: len(told.asked) == 2)
        free(page)
    assert [sampling for _, sampling in told.asked] == [
        Sampling(2, 0.5, 0.8, seed=seed, constrain=form) for seed, form in ((7, YES_NO), (8, Boxes()))]
    assert [len(conversation.messages) for conversation, _ in told.asked] == [1, 1]


def test_a_model_that_sees_nothing_is_not_asked_for_boxes_nor_shown_pictures(serve, told, visit):
    told.card = Card("blind", ("text",), 1000, 0)
    with serve(told, page=True) as address, visit(address) as page:
        shown = page.inner_text("#form").split("\n")
        assert page.inner_text("#chat").strip() == ENGLISH["empty_words"]
        assert page.get_attribute("#ask textarea", "placeholder") == ENGLISH["ask_words"]
        assert not page.locator("#ask .upload-button").is_visible()
    assert shown == [ENGLISH[key] for key in ("form", "free", "yes_no")]


def test_stop_ends_the_reply_and_keeps_what_was_said(serve, told, visit):
    told.go = threading.Semaphore(1)
    with serve(told, page=True) as address, visit(address) as page:
        ask(page, "Long?")
        says(page, "one")
        page.click("#ask .stop-button")
        says(page, ENGLISH["stopped"])
        told.go.release(10)  # the engine looks up between tokens
        free(page)
        ask(page, "And now?")
        says(page, "one two three")
    assert told.left == 1
    assert [message.text for message in told.asked[1][0]] == ["Long?", "one ", "And now?"]


def test_a_closed_tab_ends_its_reply(serve, told, visit):
    told.words = tuple(f"{n} " for n in range(1000))
    told.go = threading.Semaphore(1)
    with serve(told, page=True) as address:
        with visit(address) as page:
            ask(page, "Long?")
            says(page, "0")
        end = time.monotonic() + WAIT_S
        while not told.left and time.monotonic() < end:
            told.go.release()  # a token now and then, as an engine goes on, and never all before the end
            time.sleep(0.1)
    assert told.left == 1


def test_a_new_conversation_ends_the_reply_of_the_old_one(serve, told, visit):
    told.go = threading.Semaphore(1)
    with serve(told, page=True) as address, visit(address) as page:
        ask(page, "Long?")
        says(page, "one")
        page.click("#new")
        free(page)
        playwright.expect(replies(page)).to_have_count(0, timeout=1000 * WAIT_S)
        told.go.release(10)
        ask(page, "Anew?")
        says(page, "one two three")
        playwright.expect(replies(page)).to_have_count(1, timeout=1000 * WAIT_S)
    assert told.left == 1 and [len(conversation.messages) for conversation, _ in told.asked] == [1, 1]


def test_a_server_ends_although_a_page_is_open(serve, told, visit):
    with ExitStack() as afterwards, serve(told, page=True) as address:  # which fails if the server does not end
        page = afterwards.enter_context(visit(address))
        ask(page, "Are you there?")
        says(page, "one two three")


def test_what_goes_wrong_is_said_where_the_answer_would_be(serve, told, visit, tmp_path):
    broken = tmp_path / "holiday.png"
    data = io.BytesIO()
    Picture.effect_noise((200, 200), 90).save(data, format="PNG")
    broken.write_bytes(data.getvalue()[:5000])
    with serve(told, page=True) as address, visit(address) as page:
        ask(page, "What is it?", broken)
        says(page, re.compile(r"No answer\. holiday\.png: is damaged or cut off"))
        assert str(tmp_path) not in page.inner_text("#chat") and "/tmp" not in page.inner_text("#chat")
        assert page.input_value("#ask textarea") == "What is it?"  # to be mended and sent again
        page.reload()
        page.wait_for_selector("#figures h2")
        ask(page, " ")
        says(page, ENGLISH["no_question"])
        told.error = SensoriumError("conversation", "has 2000 tokens; there is room for 1000.", "Start anew.")
        ask(page, "Too long?")
        says(page, "conversation: has 2000 tokens; there is room for 1000. Start anew.")
        assert page.input_value("#ask textarea") == "Too long?"
        told.error = RuntimeError("a wire came loose")
        ask(page, "Again?")
        says(page, ENGLISH["failed"])
        told.error = None
        ask(page, "Now?")
        says(page, "one two three")
        free(page)
        metrics = page.request.get(f"{address}/metrics").text()
    ended = dict(re.findall(r'sensorium_requests_total{status="(\w+)"} (\S+)', metrics))
    assert ended == {"refused": "1.0", "failed": "1.0", "answered": "1.0"}  # as the API counts them
    assert [message.text for message in told.asked[-1][0]] == ["Now?"]


def test_text_is_shown_as_its_characters_and_loads_nothing(serve, told, visit):
    told.words = ("<img src=http://192.0.2.1/a.png> ", "![b](http://192.0.2.1/b.png) ", "<|im_end|> `a < b`")
    with serve(told, page=True) as address, visit(address) as page:
        ask(page, "<image> <script>window.hurt = 1</script> <box>")
        says(page, "<img src=http://192.0.2.1/a.png> ![b](http://192.0.2.1/b.png) <|im_end|> a < b")
        playwright.expect(page.locator("#chat [data-testid=user]")).to_contain_text(
            "<image> <script>window.hurt = 1</script> <box>"
        )
        assert page.evaluate("window.hurt") is None
        assert page.locator("#chat img").count() == 0


def test_a_conversation_is_saved_in_both_forms(serve, told, visit):
    with serve(told, page=True) as address, visit(address) as page:
        page.click("#save-json")
        page.get_by_text(ENGLISH["nothing_said"]).wait_for()
        ask(page, "What is it?", SCENE)
        says(page, "one two three")
        free(page)
        name, text = saved(page, "#save-json")
        assert name == "conversation.json"
        name, markdown = saved(page, "#save-markdown")
        assert name == "conversation.md"
    conversation = Conversation.from_json(text)
    assert [(message.role, message.text) for message in conversation] == [("user", "What is it?"),
                                                                          ("assistant", "one two three")]
    assert json.loads(text)[0]["content"][0]["image_url"]["url"].startswith("data:image/jpeg;base64,")
    assert open_image(conversation.images[0]).tobytes() == open_image(SCENE).tobytes()
    assert markdown.startswith("## You\n\n![picture 1][picture-1]\n\nWhat is it?\n\n## told\n\none two three\n")
    assert markdown.split("\n[picture-1]: ")[1].startswith("data:image/jpeg;base64,")


def test_another_engine_is_loaded_when_it_is_first_asked(serve, tell, told, visit):
    other, may_load = tell(("four",)), threading.Event()
    n_loads = []

    def load(progress: Callable[[str, int, int], None]) -> Any:
        n_loads.append(1)
        progress("weights", 1, 4)
        assert may_load.wait(WAIT_S)
        return other

    choice = EngineChoice("quick", told, {"careful": load})
    with serve(told, choice, page=True) as address, visit(address) as page:
        ask(page, "Who?")
        says(page, "one two three")
        free(page)
        assert not n_loads
        page.get_by_label("careful").check()
        ask(page, "And you?")
        says(page, "Loading careful: weights 25%")
        may_load.set()
        says(page, "four")
        free(page)
        ask(page, "Again?")
        playwright.expect(replies(page)).to_have_count(3, timeout=1000 * WAIT_S)
    assert len(n_loads) == 1 and len(told.asked) == 1 and len(other.asked) == 2


def test_the_page_waits_in_the_same_queue_as_the_api(serve, told, visit):
    import httpx

    told.go = threading.Semaphore(0)
    body = {"model": "told", "messages": [{"role": "user", "content": "Mine?"}]}
    with serve(told, page=True, max_running=1, max_waiting=1) as address, visit(address) as page:
        first = threading.Thread(target=httpx.post, args=(f"{address}/v1/chat/completions",),
                                 kwargs={"json": body, "timeout": WAIT_S})  # fmt: skip
        first.start()
        _until(lambda: httpx.get(f"{address}/health").json()["running"] == 1)
        ask(page, "And mine?")
        says(page, ENGLISH["waiting"])
        assert httpx.get(f"{address}/health").json()["waiting"] == 1
        assert httpx.post(f"{address}/v1/chat/completions", json=body).status_code == 429
        told.go.release(1000)
        says(page, "one two three")
        free(page)
        first.join(WAIT_S)
        answered = re.search(r'sensorium_requests_total{status="answered"} (\S+)', httpx.get(f"{address}/metrics").text)
    assert told.most == 1 and float(answered[1]) == 2


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_chinese_browser_gets_chinese(serve, told, visit):
    told.words = BOXED
    with serve(told, page=True) as address, visit(address, locale="zh-CN") as page:
        labels = page.inner_text("#side")
        for key in ("last_reply", "nothing_yet", "settings", "form", "free", "yes_no", "boxes", "temperature",
                    "max_tokens", "seed", "new", "export_json"):  # fmt: skip
            assert CHINESE[key] in labels, key
        assert page.get_attribute("#ask textarea", "placeholder") == CHINESE["ask"]
        assert CHINESE["empty"] in page.inner_text("#chat")
        assert page.inner_text("#line") == CHINESE["sees"].format(visual=64, context=1000)
        ask(page, " ")
        says(page, CHINESE["no_question"])
        ask(page, "?", SCENE)
        says(page, "There is")
        free(page)
        assert page.inner_text("[data-figure=reply_tokens]") == CHINESE["tokens"].format(n=7)


def test_it_fits_a_phone_and_a_laptop_and_is_dark_where_that_is_wanted(serve, told, visit):
    told.words = BOXED
    phone = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True, "color_scheme": "dark"}
    laptop = {"viewport": {"width": 1366, "height": 768}, "color_scheme": "light"}
    with serve(told, page=True) as address:
        for options in (phone, laptop):
            with visit(address, **options) as page:
                ask(page, "Where? " * 20 + "x" * 200, SCENE)
                page.locator("#chat .bot-row img").wait_for()
                free(page)
                width, height = page.evaluate("(e => [e.scrollWidth, e.scrollHeight])(document.documentElement)")
                assert width <= options["viewport"]["width"]
                if options is laptop:
                    assert height <= options["viewport"]["height"]
                    assert page.evaluate("(e => e.scrollHeight <= e.clientHeight)(document.querySelector('#side'))")
                field = page.locator("#ask").bounding_box()
                assert field["y"] + field["height"] <= options["viewport"]["height"]  # the question is in reach
                ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
                light = sum(map(int, re.findall(r"\d+", ground)[:3]))
                assert light < 200 if options is phone else light > 600


def test_words_can_be_read_in_light_and_dark(serve, told, visit, contrasts):
    told.words = BOXED
    with serve(told, page=True) as address:
        for scheme in ("light", "dark"):
            with visit(address, color_scheme=scheme) as page:
                found = contrasts(page)
                ask(page, "Where are they?", SCENE)
                page.locator("#chat .bot-row img").wait_for()
                free(page)
                found += contrasts(page)
            assert len(found) > 50 and {"There is ", "Where are they?"} & {words for *_, words in found}
            # WCAG 2.2, 1.4.3 (AA); a square before a name is no word
            assert not [one for one in found if one[0] < 4.5 and one[-1] != "■"]


def test_a_picture_is_pasted_from_the_clipboard(serve, told, visit):
    """Into the field, which has the caret when the page opens, and also when something else was clicked since."""
    copied = Picture.open(SCENE).convert("RGB")
    data = io.BytesIO()
    copied.save(data, format="PNG")
    with serve(told, page=True) as address, visit(address) as page:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address)
        page.evaluate(
            """async (url) => {
              const picture = await (await fetch(url)).blob();
              await navigator.clipboard.write([new ClipboardItem({"image/png": picture})]);
            }""",
            "data:image/png;base64," + base64.b64encode(data.getvalue()).decode(),
        )
        for n_pasted, place in enumerate(("#ask textarea", "#figures"), start=1):
            page.click(place)
            page.keyboard.press("Control+V")
            playwright.expect(page.locator("#ask .thumbnail-item")).to_have_count(n_pasted, timeout=1000 * WAIT_S)
        page.fill("#ask textarea", "What is it?")
        page.keyboard.press("Enter")
        says(page, "one two three")
        free(page)
        pictures = [open_image(picture) for picture in told.asked[0][0].images]
    assert [picture.tobytes() for picture in pictures] == [copied.tobytes()] * 2


def test_with_keys_the_page_asks_for_one_and_then_works(serve, told, visit, browser):
    with serve(told, page=True, keys=("open sesame",)) as address:
        context = browser.new_context(locale="zh-CN")
        page = context.new_page()
        page.goto(address)
        assert page.inner_text("h1") == CHINESE["sign_in"]
        page.fill("input", "wrong")
        page.click("button")
        page.get_by_text(CHINESE["wrong_key"]).wait_for()
        page.fill("input", "open sesame")
        page.click("button")
        page.wait_for_selector("#figures h2")
        ask(page, "What is it?", SCENE)
        says(page, "one two three")
        cookie, = context.cookies()
        assert cookie["httpOnly"] and cookie["sameSite"] == "Strict" and "sesame" not in cookie["value"]
        assert page.request.get(f"{address}/v1/models").status == 401  # the cookie is for the page alone
        context.close()


@pytest.fixture(scope="module")
def default_engine() -> Any:
    from sensorium.engine.loading import load_engine

    return load_engine("default", engine="auto", context_length=4096)


def test_the_examples_are_answered_rightly_by_the_embedded_model(default_engine):
    asked = [Conversation((user(Image(str(example.picture)), example.question),)) for example in EXAMPLES]
    said = [reply.text.lower() for reply in default_engine.answer(asked, Sampling(max_new_tokens=40))]
    wanted = (("penguin", "bicycle"), ("two",), ("right",), ("yes",))
    missing = [(text, word) for text, words in zip(said, wanted, strict=True) for word in words if word not in text]
    assert not missing


def test_the_embedded_model_answers_about_an_example_and_a_dropped_picture(serve, default_engine, visit):
    with serve(default_engine, page=True) as address, visit(address) as page:
        page.get_by_text(EXAMPLES[0].question).click()
        says(page, "penguin")
        free(page)
        ask(page, "How many penguins are there?")
        says(page, "one penguin")
        free(page)
        assert int(page.inner_text("[data-figure=cached_tokens]").split()[0]) >= 64  # the picture is read once
        assert "default" in page.inner_text("#head")
        if out := os.environ.get(SCREENSHOT):
            page.mouse.move(0, 0)
            Picture.open(io.BytesIO(page.screenshot(animations="disabled"))).save(out, optimize=True)
        page.click("#new")
        playwright.expect(replies(page)).to_have_count(0, timeout=1000 * WAIT_S)
        _drop(page, SCENE)
        playwright.expect(page.locator("#ask .thumbnail-item")).to_have_count(1, timeout=1000 * WAIT_S)
        page.fill("#ask textarea", "What is in the picture?")
        page.keyboard.press("Enter")
        says(page, "pizza")
        free(page)
        ask(page, "Where is the apple? Answer with a box.")
        page.locator("#chat .bot-row img").wait_for()
        free(page)


def _drop(page: Any, picture: Path) -> None:
    """What a browser tells a page when a file is let go of over the conversation."""
    page.evaluate(
        """async ([name, url]) => {
          const files = new DataTransfer();
          files.items.add(new File([await (await fetch(url)).blob()], name, {type: "image/jpeg"}));
          document.querySelector("#chat").dispatchEvent(new DragEvent("drop", {dataTransfer: files, bubbles: true}));
        }""",
        [picture.name, "data:image/jpeg;base64," + base64.b64encode(picture.read_bytes()).decode()],
    )


def test_without_the_page_gradio_is_not_imported(told):
    code = (
        "import sys\n"
        "from sensorium.engine import Card\n"
        "from sensorium.media.watching import Watcher\n"
        "from sensorium.serving import ServerSettings, create_app\n"
        "engine = type('Engine', (), {'card': Card('none', ('text',), 100, 0), 'watcher': Watcher()})()\n"
        "create_app(engine, ServerSettings())\n"
        "assert 'gradio' not in sys.modules and 'pandas' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr


def test_an_answer_is_corrected_where_the_switch_is_on(serve, told, visit, correcting):
    told.words = ("Two dogs play. ", "The ball is ", "on the left.")
    with serve(told, correcting=correcting, page=True) as address, visit(address) as page:
        page.locator("#correct input").check()
        ask(page, "What is there?", SCENE)
        says(page, ENGLISH["corrected"].format(refuted=2, claims=5))
        free(page)
        row = page.locator("#chat .bot-row", has_text="The ball").first
        assert [row.locator(tag).all_inner_texts() for tag in ("del", "ins")] == [
            ["Two", "dogs", "play", "left"], ["One", "dog", "plays", "right"]]
        assert "Is the ball on the left side of the image? its box lies elsewhere" in row.inner_text()
        drawn = open_image(page.request.get(row.locator("img").get_attribute("src")).body())
        assert drawn.getpixel((round(drawn.width * 0.25), round(drawn.height * 0.8))) == (230, 25, 75)  # the dog's
        _, text = saved(page, "#save-json")
        assert Conversation.from_json(text).messages[1].text == "One dog plays. The ball is on the right."
        page.locator("#correct input").uncheck()
        ask(page, "And now?")
        says(page, "Two dogs play. The ball is on the left.")
        if out := os.environ.get(SCREENSHOT + "_CORRECTED"):
            page.screenshot(path=out, animations="disabled")
    assert told.asked[1][0].messages[1].text == "One dog plays. The ball is on the right."


def test_what_cannot_be_corrected_says_why_in_the_visitors_language(serve, told, visit, correcting):
    told.words = ("图里有", "一只狗。")
    with serve(told, correcting=correcting, page=True) as address, visit(address, locale="zh-CN") as page:
        assert CHINESE["correct"] in page.inner_text("#side")
        page.locator("#correct input").check()
        ask(page, "有什么？", SCENE)
        says(page, CHINESE["unmended"].partition("{")[0])
        assert "图里有一只狗。" in page.inner_text("#chat")


def test_without_a_corrector_there_is_no_switch(serve, told, visit):
    with serve(told, page=True) as address, visit(address) as page:
        assert page.locator("#correct").count() == 0 and ENGLISH["correct"] not in page.inner_text("#side")
