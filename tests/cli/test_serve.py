"""`sensorium serve`: says where it serves, shows its page there, ends when told to."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

httpx = pytest.importorskip("httpx")
pytest.importorskip("gradio", reason="the page is part of the extra `serve`")


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
