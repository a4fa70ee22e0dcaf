"""What does a server do under load: throughput, time to the first word, failures, mixed-up replies, memory?

Starts `sensorium serve` and, for each number of clients, lets them ask one question after the other for a while. Every
client shows its own picture, a coloured number, so that each reply can be held against what that picture gets from an
idle server: a reply that belongs to another client's picture is *mixed up*, one that differs otherwise is *rounded*,
because llama.cpp rounds a batch of several replies otherwise than one. Then a thousand short requests: does the
server's memory stay where it was?

    python benchmarks/serve_load.py --model default

Targets: no failure, nothing mixed up, and memory that does not grow.
"""

from __future__ import annotations

import argparse
import base64
import io
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
from PIL import Image, ImageDraw

QUESTION = "What is in the picture?"


@dataclass
class Found:
    """What some clients met. first_s, whole_s: seconds to the first words and to the end of each reply."""

    first_s: list[float] = field(default_factory=list)
    whole_s: list[float] = field(default_factory=list)
    tokens: int = 0
    failed: int = 0
    mixed_up: int = 0
    rounded: int = 0


def main() -> None:
    options = _options()
    command = [sys.executable, "-m", "sensorium", "serve", options.model, "--port", str(options.port)]
    with subprocess.Popen([*command, "--max-waiting", "64"], stderr=subprocess.PIPE, text=True) as server:
        try:
            client = _connected(options.port)
            name = client.models.list().data[0].id
            shown = [_picture(number) for number in range(max(options.clients))]
            expected = [_ask(client, name, url)[0] for url in shown]
            rows = {}
            for n in options.clients:
                rows[n] = load(client, name, shown[:n], expected, options.seconds)
                print(_line(n, rows[n], options.seconds), flush=True)
            before = _memory_mb(server.pid)
            for number in range(options.requests):
                _ask(client, name, shown[number % len(shown)], max_tokens=2)
            after = _memory_mb(server.pid)
            print(f"memory: {before:.0f} MB before {options.requests} requests, {after:.0f} MB after")
        finally:
            server.terminate()


def load(client: Any, name: str, shown: list[str], expected: list[str], seconds: float) -> Found:
    """Each client asks about its own picture until the time is over."""
    found, lock, end = Found(), threading.Lock(), time.perf_counter() + seconds

    def ask(number: int) -> None:
        while time.perf_counter() < end:
            try:
                text, first_s, whole_s, tokens = _ask(client, name, shown[number])
            except openai.OpenAIError:
                with lock:
                    found.failed += 1
                continue
            with lock:
                found.first_s.append(first_s)
                found.whole_s.append(whole_s)
                found.tokens += tokens
                if text != expected[number]:
                    found.mixed_up += text in expected
                    found.rounded += text not in expected

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(shown))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def _ask(client: Any, name: str, url: str, max_tokens: int = 48) -> tuple[str, float, float, int]:
    """(reply, seconds to its first words, seconds to its end, its tokens)."""
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": QUESTION}]
    started, first, text, tokens = time.perf_counter(), 0.0, "", 0
    chunks = client.chat.completions.create(
        model=name, messages=[{"role": "user", "content": parts}], max_completion_tokens=max_tokens, stream=True,
        stream_options={"include_usage": True},
    )
    for chunk in chunks:
        if chunk.choices and (piece := chunk.choices[0].delta.content):
            first = first or time.perf_counter() - started
            text += piece
        if chunk.usage is not None:
            tokens = chunk.usage.completion_tokens
    return text, first, time.perf_counter() - started, tokens


def _line(n: int, found: Found, seconds: float) -> str:
    if len(found.first_s) < 2:
        return f"{n} clients: {found.failed} requests failed, {len(found.first_s)} did not"
    middle, late = statistics.median(found.first_s), statistics.quantiles(found.first_s, n=20)[-1]
    return (f"{n:3} clients: {len(found.first_s) / seconds:5.2f} replies/s, {found.tokens / seconds:6.1f} tokens/s, "
            f"first words p50 {middle:.2f} s, p95 {late:.2f} s; failed {found.failed}, mixed up {found.mixed_up}, "
            f"rounded {found.rounded} of {len(found.first_s)}")


def _connected(port: int) -> Any:
    """A client, once the server answers."""
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0, timeout=120)
    for _ in range(600):
        try:
            client.models.list()
            return client
        except openai.APIConnectionError:
            time.sleep(0.1)
    raise SystemExit("The server did not come up within a minute.")


def _picture(number: int) -> str:
    colour = tuple(60 + number * step % 190 for step in (37, 91, 143))
    picture = Image.new("RGB", (320, 240), colour)
    ImageDraw.Draw(picture).text((80, 40), str(number), fill=(255, 255, 255), font_size=150)
    data = io.BytesIO()
    picture.save(data, format="PNG")
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()


def _memory_mb(pid: int) -> float:
    """Resident memory of a process (Linux)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1e3


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default", help="`default` or a model folder")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--seconds", type=float, default=60, help="for each number of clients")
    parser.add_argument("--requests", type=int, default=1000, help="to look at the memory over")
    parser.add_argument("--port", type=int, default=8917)
    return parser.parse_args()


if __name__ == "__main__":
    main()
