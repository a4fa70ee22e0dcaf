"""`sensorium serve`: says where it serves, shows its page there, ends when told to."""

from __future__ import annotations

import base64
import io
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from PIL import Image as Picture

httpx = pytest.importorskip("httpx")
pytest.importorskip("gradio", reason="the page is part of the extra `serve`")


def _picture() -> str:
    data = io.BytesIO()
    Picture.new("RGB", (40, 30)).save(data, "PNG")
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"


PICTURE = _picture()


@contextmanager
def serving(*options: str) -> Iterator[str]:
    """The address that a real process prints; it must end well at Ctrl-C."""
    words = [sys.executable, "-m", "sensorium", "serve", "default", "--port", "0", "--context-length", "512", *options]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        said = ""
        while "Ctrl-C" not in said:
            line = process.stderr.readline()
            assert line, said  # it ended
            said += line
        yield re.search(r"at (http://127\.0\.0\.1:\d+)(/|/v1) ", said)[1]
        process.send_signal(signal.SIGINT)
        assert process.wait(30) in (0, -signal.SIGINT, 130)
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.stderr.close()
        process.wait()


def test_the_page_is_at_the_address_that_is_printed():
    with serving() as address, httpx.Client(base_url=address, timeout=30) as client:
        assert "gradio" in client.get("/").text
        assert client.get("/v1/models").json()["data"][0]["id"] == "default"
        choice = client.get("/").text
        assert '"llamacpp"' in choice and '"torch"' in choice


def test_without_the_page_there_is_the_api_alone():
    with serving("--no-page") as address, httpx.Client(base_url=address, timeout=30) as client:
        assert client.get("/").json()["error"]["code"] == "not_found"
        assert client.get("/v1/models").status_code == 200


def test_limits_on_what_is_shown_are_those_of_the_options(film, tmp_path):
    clip = film(tmp_path / "clip.mp4", range(0, 200, 5))  # four seconds of 64 x 48
    url = f"data:video/mp4;base64,{base64.b64encode(clip.read_bytes()).decode()}"

    def refused(client: httpx.Client, **choices: object) -> str:
        content = [{"type": "video_url", "video_url": {"url": url}, **choices}, {"type": "text", "text": "What?"}]
        body = {"model": "default", "messages": [{"role": "user", "content": content}]}
        answer = client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 400
        return str(answer.json()["error"]["message"])

    options = ("--max-frames", "3", "--max-seconds", "4.5", "--max-pixels", "3072")
    with serving("--no-page", *options) as address, httpx.Client(base_url=address, timeout=30) as client:
        assert "takes 4 frames; at most 3" in refused(client, frames=4)
    options = ("--max-seconds", "3", "--max-megapixels", "0.001")
    with serving("--no-page", *options) as address, httpx.Client(base_url=address, timeout=30) as client:
        assert "lasts 0:04; at most 0:03" in refused(client)
        picture = {"type": "image_url", "image_url": {"url": PICTURE}}
        body = {"model": "default", "messages": [{"role": "user", "content": [picture]}]}
        said = client.post("/v1/chat/completions", json=body).json()["error"]["message"]
        assert "has 0.0012 megapixels; at most 0.001" in said
