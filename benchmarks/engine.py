"""How much faster does the llamacpp engine write than `transformers.generate`, and is it slowed by being ours?

One model, one machine, one run: the llamacpp engine at Q8_0 and Q4_0, `generate` of transformers with the same language
model in float32 from the same embeddings, and bare llama.cpp (the server inside xllamacpp, called in this process) on
the same files. They take turns, round after round, so that whatever else the machine does hits all of them; medians
are printed. Measured are tokens a second after the first, and the time to the first token of a first and of a second
question about a picture.

    python benchmarks/engine.py --model default

Targets: 3 times `generate` at Q8_0, 4 times at Q4_0, 0.95 of bare llama.cpp; the second question's first token at least
5 times sooner than the first one's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections import defaultdict
from typing import Any

import numpy as np
import torch
from PIL import Image as Picture

from sensorium.conversation import Conversation, Image, user
from sensorium.engine import Sampling
from sensorium.engine.llamacpp.engine import LlamaCppEngine
from sensorium.engine.loading import exported
from sensorium.engine.torch import TorchEngine
from sensorium.model.folder import model_folder
from sensorium.model.gguf_folder import GgufFolder
from sensorium.rendering import Renderer

TALK = "Tell me a long story about a lighthouse, its keeper, and the ships that pass by in the night."
TARGETS = {"q8_0": 3.0, "q4_0": 4.0}


def main() -> None:
    options = _options()
    folder = model_folder(options.model)
    files = {q: GgufFolder.read(exported(folder, q)) for q in ("q8_0", "q4_0")}  # type: ignore[arg-type]
    torch.set_num_threads(options.threads)
    plain = TorchEngine.load(folder)
    ours = {q: LlamaCppEngine(found.folder, threads=options.threads) for q, found in files.items()}
    for engine in ours.values():
        engine.renderer.__class__ = _Endless
    bare = {q: _server(found, options.threads) for q, found in files.items()}
    speeds: dict[str, list[float]] = defaultdict(list)
    for number in range(options.rounds + 1):  # the first warms up and is thrown away
        found = {"transformers float32": _transformers(plain, options.tokens)}
        for q, engine in ours.items():
            found[f"llamacpp {q}"] = _engine(engine, options.tokens, number)
            found[f"bare llama.cpp {q}"] = _bare(bare[q], options.tokens)
            first, second = _first_tokens(engine, number)
            found |= {f"first question {q}": first, f"second question {q}": second}
        for name, value in found.items():
            speeds[name] += [value] if number else []
    report({name: statistics.median(values) for name, values in speeds.items()}, options)


class _Endless(Renderer):
    """No token ends a reply, so that all replies are of one length."""

    stop_ids = frozenset()  # type: ignore[assignment]


def _engine(engine: LlamaCppEngine, tokens: int, number: int) -> float:
    """Tokens a second of a reply, from its first token on."""
    stamps = []
    for delta in engine.stream(_talk(), Sampling(max_new_tokens=tokens, temperature=1.0, seed=number)):
        stamps.append((time.perf_counter(), delta.n_tokens))
    return _speed(stamps)


def _speed(stamps: list[tuple[float, int]]) -> float:
    (start, first), (end, last) = stamps[0], stamps[-1]
    return (last - first) / (end - start)


def _transformers(engine: TorchEngine, tokens: int) -> float:
    """Tokens a second of `generate` with its cache: the time of a long reply less that of one token."""
    rendered = engine.renderer.render(_talk(), generate=True)
    embeddings = engine.model.embed_ids(torch.tensor([rendered.ids]))
    language: Any = engine.model.language
    times = []
    for n in (1, tokens):
        started = time.perf_counter()
        language.generate(inputs_embeds=embeddings, max_new_tokens=n, min_new_tokens=n, do_sample=True)
        times.append(time.perf_counter() - started)
    return (tokens - 1) / (times[1] - times[0])


def _server(files: GgufFolder, threads: int) -> Any:
    """llama.cpp's own server, in this process."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(files.text)
    parameters.n_ctx, parameters.n_parallel, parameters.cache_ram_mib = 4096, 1, 0
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    parameters.warmup = False
    return xllamacpp.Server(parameters)


def _bare(server: Any, tokens: int) -> float:
    """Tokens a second by the server's own clock."""
    asked = {"prompt": TALK, "n_predict": tokens, "ignore_eos": True, "temperature": 1.0, "cache_prompt": False}
    found = server.handle_completions(asked)
    if isinstance(found, list):
        found = found[-1]
    return float(found["timings"]["predicted_per_second"])


def _first_tokens(engine: LlamaCppEngine, number: int) -> tuple[float, float]:
    """Seconds to the first token of two questions about a picture that the engine has not seen."""
    noise = np.random.default_rng(number).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    shown, seconds = Image(_png(noise)), []
    for question in ("What is in the picture?", "How many cups are there?"):
        started = time.perf_counter()
        stream = engine.stream(Conversation((user(shown, question),)), Sampling(max_new_tokens=4))
        next(stream)
        seconds.append(time.perf_counter() - started)
        stream.close()
    return seconds[0], seconds[1]


def _png(pixels: np.ndarray[Any, Any]) -> bytes:
    import io

    data = io.BytesIO()
    Picture.fromarray(pixels).save(data, format="PNG")
    return data.getvalue()


def _talk() -> Conversation:
    return Conversation((user(TALK),))


def report(found: dict[str, float], options: argparse.Namespace) -> None:
    """Print the medians and the ratios that the targets are about."""
    ratios = {}
    for q in TARGETS:
        ratios[f"{q} to transformers"] = found[f"llamacpp {q}"] / found["transformers float32"]
        ratios[f"{q} to bare llama.cpp"] = found[f"llamacpp {q}"] / found[f"bare llama.cpp {q}"]
        ratios[f"{q} first to second question"] = found[f"first question {q}"] / found[f"second question {q}"]
    if options.json:
        print(json.dumps({"medians": found, "ratios": ratios}))
        return
    print(f"Medians of {options.rounds} rounds, {options.threads} threads, replies of {options.tokens} tokens:")
    for name, value in found.items():
        unit = f"{1000 * value:8.0f} ms to the first token" if "question" in name else f"{value:8.1f} tokens/s"
        print(f"  {name:24} {unit}")
    for q, target in TARGETS.items():
        print(f"{q}: {ratios[f'{q} to transformers']:.2f} times transformers (target {target:g}), "
              f"{ratios[f'{q} to bare llama.cpp']:.2f} of bare llama.cpp (target 0.95); second question "
              f"{ratios[f'{q} first to second question']:.1f} times sooner (target 5)")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default", help="`default` or a model folder")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=96, help="length of a reply")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


if __name__ == "__main__":
    main()
