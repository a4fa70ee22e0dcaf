"""How long does a person wait for the first word? Cold start of `sensorium chat`, everything cached, and where it goes.

Each repetition starts fresh processes, one after the other: the command itself, timed from its start to the first byte
of its answer; a process that does the same with a stamp after each step; and, as a yardstick of the machine, one that
only imports torch and transformers. Medians are printed. Target: under 8 s on two cores.

    python benchmarks/first_answer.py --model default --image photo.jpg

Files are in the page cache after the first repetition, which is thrown away: this measures the program, not the disk.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

STEPS = ("python", "sensorium", "loading the engine", "picture", "first token")
IMPORTS = "import torch; from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer"


def main() -> None:
    options = _options()
    if options.stamps is not None:
        _answer_with_stamps(options)
        return
    with tempfile.TemporaryDirectory() as folder:
        image = options.image or _picture(Path(folder) / "picture.png")
        asked = ["--image", str(image), "--question", options.question]
        asked += ["--engine", options.engine]
        chat = [sys.executable, "-m", "sensorium", "chat", options.model, *asked, "--max-new-tokens", "8"]
        stamped = [sys.executable, __file__, "--model", options.model, *asked]
        commands, steps, imports = [], [], []
        for round_number in range(options.repeat + 1):
            found = first_byte_s(chat), stamps_s(stamped), import_s()
            if round_number:
                commands.append(found[0])
                steps.append(found[1])
                imports.append(found[2])
    report(commands, steps, imports, options.json)


def first_byte_s(command: Sequence[str]) -> float:
    """Seconds from the start of the command to the first byte of its standard output."""
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.read(1)
        seconds = time.perf_counter() - started
        _, said = process.communicate()
    if process.returncode or not first:
        raise SystemExit(f"`{' '.join(command)}` failed: {said}")
    return seconds


def stamps_s(command: Sequence[str]) -> dict[str, float]:
    """Seconds of each of STEPS in a fresh process."""
    done = subprocess.run([*command, "--stamps", str(time.time())], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"`{' '.join(command)}` failed.")
    stamps = json.loads(done.stdout.splitlines()[-1])
    return {step: later - earlier for step, (earlier, later) in zip(STEPS, pairwise(stamps), strict=True)}


def import_s() -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", IMPORTS], check=True)
    return time.perf_counter() - started


def _answer_with_stamps(options: argparse.Namespace) -> None:
    """What `chat` does, one step after the other; prints the times of the clock after each, the start first."""
    stamps = [options.stamps, time.time()]
    from sensorium.cli import chat, main  # noqa: F401

    stamps.append(time.time())
    from sensorium.conversation import Conversation, Image, user
    from sensorium.engine import Sampling
    from sensorium.engine.loading import load_engine

    engine = load_engine(options.model, engine=options.engine)
    stamps.append(time.time())
    picture = Image(str(options.image))
    engine._visual(picture)  # type: ignore[attr-defined]  # remembered: the step after this one does not encode it again
    stamps.append(time.time())
    stream = engine.stream(Conversation((user(picture, options.question),)), Sampling(max_new_tokens=8))
    next(stream)
    stamps.append(time.time())
    print(json.dumps(stamps))


def _picture(path: Path) -> Path:
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (640, 480), (120, 170, 220))
    ImageDraw.Draw(picture).ellipse((200, 120, 440, 360), fill=(220, 60, 40))
    picture.save(path)
    return path


def report(commands: list[float], steps: list[dict[str, float]], imports: list[float], as_json: bool) -> None:
    whole, yardstick = statistics.median(commands), statistics.median(imports)
    parts = {step: statistics.median(row[step] for row in steps) for step in STEPS}
    if as_json:
        found = {"first_byte_s": whole, "steps_s": parts, "imports_s": yardstick, "ratio": whole / yardstick}
        print(json.dumps(found))
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"sensorium chat, start to first byte: {whole:.2f} s  (median of {len(commands)}, {cores} cores; target 8 s)")
    for step, seconds in parts.items():
        print(f"  {step:24} {seconds:6.2f} s")
    print(f"importing torch and transformers alone: {yardstick:.2f} s; chat takes {whole / yardstick:.2f} times that")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default", help="`default` or a model folder")
    parser.add_argument("--engine", default="auto", help="auto, llamacpp or torch")
    parser.add_argument("--image", type=Path, help="a picture; one is drawn if not given")
    parser.add_argument("--question", default="What is in the picture?")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    parser.add_argument("--stamps", type=float, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
