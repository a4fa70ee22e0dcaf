"""How many questions a second does `sensorium evaluate` ask and score?

Three measurements, each by itself:

    ours, plain        400 questions of yes and no, two a picture, in POPE's files, to a random LLaVA-like model (a CLIP
                       tower, an MLP, SmolLM2-135M) in the transformers engine, with everything that a run does
                       (reading, digests, batches, journal, score); against the processor and `generate` for one
                       question after the other. They take turns; neither is timed while it loads.
    --lmms-eval PYTHON the same, and in its turn lmms-eval with the same model; PYTHON is of an environment that has it.
    --llamacpp MODEL   what a second question about a picture costs in the llamacpp engine: the time of two questions
                       about each of new pictures over that of one.
    --stored N         the time to score N replies that lie on the disk.

    python benchmarks/evaluate.py
    python benchmarks/evaluate.py --lmms-eval ~/lmms/bin/python
    python benchmarks/evaluate.py --llamacpp default --pictures 40
    python benchmarks/evaluate.py --stored 1000000

Aims: 2 times plain, 1.5 times lmms-eval; a picture's two questions cost less than 1.3 times one; a million replies in
60 s.
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
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as Picture

from sensorium.conversation import Conversation, Image, user
from sensorium.engine.base import Engine, Sampling
from sensorium.evaluation.asking import Here
from sensorium.evaluation.benchmarks import BENCHMARKS, Answer, Data
from sensorium.evaluation.results import score_run
from sensorium.evaluation.run import run
from sensorium.evaluation.run_folder import RunFolder
from sensorium.media import encode_image, open_image

TOKENS = 16  # of a reply: what POPE is asked with
TEXTS = ("Is there a ball in the image?", "Is there a boat in the image?")
ABOUT = {
    "model": {"name": "random", "provenance": {}}, "limit": None, "data_about": {"name": "made", "layout": "official"},
}  # fmt: skip


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as scratch:
        if options.stored:
            found = stored(options.stored, Path(scratch))
        elif options.llamacpp:
            found = second_questions(options.llamacpp, options.pictures, options.rounds)
        else:
            found = against_others(options.pictures, options.rounds, Path(scratch), options.threads, options.lmms_eval)
    print(json.dumps(found) if options.json else "\n".join(f"{name}: {value}" for name, value in found.items()))


def against_others(n: int, rounds: int, scratch: Path, threads: int, python: str | None) -> dict[str, Any]:
    """Questions a second of each, ratios round by round, and how many replies are the same."""
    from sensorium.engine.transformers.engine import TransformersEngine
    from sensorium.engine.transformers.folder import load_folder

    folder, data = _random_llava(scratch), _questions(n, scratch / "data")
    sides: dict[str, Callable[[int], tuple[float, list[str]]]] = {
        # Both anew, so that neither remembers a picture of the last round.
        "ours": lambda number: _timed(partial(_ours, TransformersEngine.load(folder), data, scratch / f"run-{number}")),
        "plain": lambda number: _timed(partial(_plain, *load_folder(folder, "llava", torch.float32), data)),
    }
    with ExitStack() as held:
        if python:
            sides["lmms-eval"] = held.enter_context(lmms_eval(python, scratch, data, threads))
        found: dict[str, list[tuple[float, list[str]]]] = {name: [] for name in sides}
        for number in range(rounds):
            for name, answer in sides.items():
                found[name].append(answer(number))
                print(f"round {number + 1}, {name}: {found[name][-1][0]:.1f} s", file=sys.stderr, flush=True)
    told: dict[str, Any] = {"questions": 2 * n, "rounds": rounds}
    seconds = {name: [one for one, _ in results] for name, results in found.items()}
    for name, of_side in seconds.items():
        told[f"{name}, questions a second"] = round(2 * n / statistics.median(of_side), 2)
    for name, aim in (("plain", 2.0), ("lmms-eval", 1.5)):
        if name in sides:
            ratios = [other / own for other, own in zip(seconds[name], seconds["ours"], strict=True)]
            told[f"against {name}"] = {
                "ratio": round(statistics.median(ratios), 2), "of each round": [round(one, 2) for one in ratios],
                "aim": aim, "same replies": _same(found["ours"][0][1], found[name][0][1]),
            }  # fmt: skip
    return told


def _timed(answer: Callable[[], list[str]]) -> tuple[float, list[str]]:
    start = time.perf_counter()
    replies = answer()
    return time.perf_counter() - start, replies


def _same(one: list[str], other: list[str]) -> int:
    return sum(a.strip() == b.strip() for a, b in zip(one, other, strict=True))


@contextmanager
def lmms_eval(
    python: str, scratch: Path, data: Path, threads: int
) -> Iterator[Callable[[int], tuple[float, list[str]]]]:
    """Runs of lmms-eval in an environment of its own, the model loaded once. scratch: holds `llava`."""
    import datasets

    rows = [{"id": str(row["question_id"]), "question_id": str(row["question_id"]), "question": row["text"],
             "answer": row["label"], "image_source": row["image"], "category": "random",
             "image": str(data / "images" / row["image"])} for row in _rows(data)]  # fmt: skip
    table = datasets.Dataset.from_list(rows).cast_column("image", datasets.Image())
    table.to_parquet(scratch / "pope.parquet")
    home = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(scratch / "cache")}
    command = [python, str(Path(__file__).with_name("lmms_eval_side.py")), str(scratch), str(threads)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=home) as other:
        assert other.stdin is not None and other.stdout is not None

        def line_of(start: str) -> str:
            assert other.stdout is not None
            for line in other.stdout:
                if line.startswith(start):
                    return line
            raise SystemExit("lmms-eval ended; what it said stands above.")

        def answer(number: int) -> tuple[float, list[str]]:
            assert other.stdin is not None
            other.stdin.write(f"{number}\n")
            other.stdin.flush()
            told = json.loads(line_of('{"seconds"'))
            return told["seconds"], told["replies"]

        line_of("ready")
        yield answer
        other.stdin.close()


def _ours(engine: Engine, data: Path, out: Path) -> list[str]:
    pope = BENCHMARKS["pope"]
    source = Data(data)
    sampling = Sampling(max_new_tokens=TOKENS)
    header = {"benchmark": "pope", "prompt": "official", "data": source.sha256, "split": None, "engine": "random",
              "sampling": {"max_new_tokens": TOKENS}}  # fmt: skip
    answers = run(list(pope.read(source, "official")), Here(engine), RunFolder(out, header), "random", sampling,
                  about=ABOUT).answers  # fmt: skip
    score_run(out).write(out)
    return [answer.reply for answer in answers]


@torch.inference_mode()
def _plain(model: Any, processor: Any, data: Path) -> list[str]:
    """What a script that knows only transformers does."""
    replies = []
    for row in _rows(data):
        content = [{"type": "image", "image": open_image(data / "images" / row["image"])},
                   {"type": "text", "text": row["text"]}]  # fmt: skip
        prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True,
                                               tokenize=True, return_dict=True, return_tensors="pt")  # fmt: skip
        ids = model.generate(**prompt, max_new_tokens=TOKENS, do_sample=False)
        replies.append(processor.decode(ids[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True))
    return replies


def second_questions(model: str, n: int, rounds: int) -> dict[str, Any]:
    """Seconds a picture with one question and with two, about pictures that the engine has not seen."""
    from sensorium.engine.loading import load_engine

    engine = load_engine(name=model, engine="llamacpp")
    sampling = Sampling(max_new_tokens=TOKENS)
    engine.answer([_asked(picture, TEXTS[0]) for picture in _pictures(2, -1)], sampling)  # warms up
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for number in range(rounds):
        for count, times in seconds.items():
            asked = [_asked(one, text) for one in _pictures(n, 2 * number + count) for text in TEXTS[:count]]
            start = time.perf_counter()
            engine.answer(asked, sampling)
            times.append((time.perf_counter() - start) / n)
    one, two = (statistics.median(times) for times in seconds.values())
    return {"one question, s a picture": round(one, 4), "two questions, s a picture": round(two, 4),
            "ratio": round(two / one, 3), "aim": 1.3, "pictures": n}  # fmt: skip


def stored(n: int, scratch: Path) -> dict[str, Any]:
    """Seconds to read and score n replies to POPE's questions, six a picture, in all three sets."""
    pope = ("random", "popular", "adversarial")
    said = ("Yes", "No", "Yes, there is.", "no")
    header = {"benchmark": "pope", "prompt": "official", "data": "made", "split": None, "engine": "made",
              "sampling": {"max_new_tokens": TOKENS}}  # fmt: skip
    rows: list[dict[str, Any]] = [{"format": "sensorium-run-1", **header, **ABOUT, "planned": n, "repeats": 1,
                                   "unasked": {}, "answers": n, "others": 0}]  # fmt: skip
    chosen = np.random.default_rng(0).integers(len(said), size=n)
    blank = Answer("", "", "", TEXTS[0], {}, "")
    with (scratch / "replies.jsonl").open("w") as file:
        file.write(json.dumps(rows[0]) + "\n")
        for i in range(n):
            task = pope[i % 3]
            truth = {"answer": ("yes", "no")[i % 2], "sets": [task]}
            answer = replace(blank, id=f"{task}/{i}", cluster=f"{i // 6}.jpg", task=task, truth=truth,
                             reply=said[chosen[i]], n_tokens=3, media=("0" * 64,))  # fmt: skip
            file.write(json.dumps({"number": i, **answer.to_json()}) + "\n")
    start, cpu = time.perf_counter(), time.process_time()
    accuracy = score_run(scratch).values["accuracy"]
    return {"seconds": round(time.perf_counter() - start, 2), "of the processor": round(time.process_time() - cpu, 2),
            "aim": 60 * n / 1_000_000, "replies": n, "accuracy": accuracy}  # fmt: skip


def _asked(picture: Image, text: str) -> Conversation:
    return Conversation((user(picture, text),))


def _pictures(n: int, seed: int) -> Iterator[Image]:
    draw = np.random.default_rng(seed + 1)
    for _ in range(n):
        cells = draw.integers(256, size=(8, 8, 3), dtype=np.uint8)
        yield Image(encode_image(Picture.fromarray(cells).resize((224, 224)), "PNG"))


def _questions(n: int, folder: Path) -> Path:
    (folder / "images").mkdir(parents=True)
    rows = []
    for number, picture in enumerate(_pictures(n, 0)):
        (folder / "images" / f"{number}.png").write_bytes(picture.source)  # type: ignore[arg-type]
        rows += [{"question_id": 2 * number + i, "image": f"{number}.png", "text": text, "label": ("yes", "no")[i]}
                 for i, text in enumerate(TEXTS)]  # fmt: skip
    (folder / "random.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def _rows(data: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (data / "random.json").read_text().splitlines()]


def _random_llava(scratch: Path) -> Path:
    """A folder of transformers' with nothing trained: 64 visual tokens a picture, 30 layers of 576 above them."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    from sensorium.export import export_huggingface
    from sensorium.model.checkpoint import save_model
    from sensorium.model.multimodal import ModelConfig
    from sensorium.model.quiet import quietly

    tower = CLIPVisionConfig(hidden_size=192, num_hidden_layers=6, num_attention_heads=4, intermediate_size=768,
                             image_size=224, patch_size=28)  # fmt: skip
    torch.manual_seed(0)
    with quietly():
        CLIPVisionModel(tower).save_pretrained(scratch / "clip")
        tree = {"vision": {"part": str(scratch / "clip"), "layer": -2, "image_size": 224},
                "connector": {"kind": "mlp", "depth": 2}, "language": {"part": "smollm2-135m-instruct"}}  # fmt: skip
        model = ModelConfig.model_validate(tree).build()
        made = save_model(model, scratch / "made", ["vision", "connector", "tokens"], {}, torch.float32)
        return export_huggingface(made, scratch / "llava", "llava")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=200, help="two questions about each")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--lmms-eval", metavar="PYTHON", help="of an environment with lmms-eval, to measure it as well")
    parser.add_argument("--llamacpp", metavar="MODEL", help="measure the cost of a second question instead")
    parser.add_argument("--stored", type=int, metavar="N", help="measure scoring N stored replies instead")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
