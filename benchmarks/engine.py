"""How much faster does the llamacpp engine write than `transformers.generate`, and is it slowed by being ours?

One model, one machine, one run: the llamacpp engine at Q8_0 and Q4_0, `generate` of transformers with the same language
model in float32 from the same embeddings, and bare llama.cpp (the server inside xllamacpp) on the same files. Each side
has a process of its own, since the threads of one library are in the way of another's; they take turns, round after
round, so that whatever else the machine does hits all of them; medians are printed. Measured are tokens a second after
the first, and the time to the first token of a first and of a second question about a picture. The threads of bare
llama.cpp wait asleep, as those of our engine do; with `--bare-wait default` they spin for a while first, which helps on
an idle machine, and on a busy one brings llama.cpp to a token in seconds.

    python benchmarks/engine.py --model default

Targets: 3 times `generate` at Q8_0, 4 times at Q4_0, 0.95 of bare llama.cpp; the second question's first token at least
5 times sooner than the first one's.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Picture

from sensorium.conversation import Conversation, Image, user
from sensorium.engine import Sampling
from sensorium.engine.llamacpp.engine import LlamaCppEngine
from sensorium.engine.loading import exported
from sensorium.model.folder import model_folder
from sensorium.model.gguf_folder import GgufFolder
from sensorium.rendering import Renderer

TALK = "Tell me a long story about a lighthouse, its keeper, and the ships that pass by in the night."
TARGETS = {"q8_0": 3.0, "q4_0": 4.0}
SIDES = ("transformers", *(f"{kind} {q}" for q in TARGETS for kind in ("llamacpp", "bare")))
Measure = Callable[[int], dict[str, float]]


def main() -> None:
    options = _options()
    if options.side:
        take_part(options)
        return
    for q in TARGETS:  # written once, and not by two processes at the same time
        exported(model_folder(options.model), q)  # type: ignore[arg-type]
    sides = [_Side(name, options) for name in SIDES]
    speeds: dict[str, list[float]] = defaultdict(list)
    try:
        for number in range(options.rounds + 1):  # the first warms up and is thrown away
            for side in sides:
                for name, value in side.measure(number).items():
                    speeds[name] += [value] if number else []
    finally:
        for side in sides:
            side.end()
    report({name: statistics.median(values) for name, values in speeds.items()}, options)


class _Side:
    """One side's process, which measures when it is told to."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        command = [sys.executable, __file__, "--side", name, "--model", options.model, "--tokens", str(options.tokens),
                   "--threads", str(options.threads)]
        waits_asleep = name.startswith("bare") and options.bare_wait == "passive"
        environment = os.environ | ({"OMP_WAIT_POLICY": "PASSIVE"} if waits_asleep else {})
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        assert self._process.stdin and self._process.stdout
        self._told, self._heard = self._process.stdin, self._process.stdout
        self._heard.readline()  # it is ready, and loads nothing while others are measured

    def measure(self, number: int) -> dict[str, float]:
        print(number, file=self._told, flush=True)
        return json.loads(self._heard.readline())  # type: ignore[no-any-return]

    def end(self) -> None:
        self._told.close()
        self._process.wait()


def take_part(options: argparse.Namespace) -> None:
    """Measure one side, once for each line that comes in; only the numbers go out."""
    folder = model_folder(options.model)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries say
    kind, _, q = options.side.partition(" ")
    measure = {"transformers": _transformers, "llamacpp": _engine, "bare": _bare}[kind](folder, q, options)
    print("ready", file=out, flush=True)
    for line in sys.stdin:
        print(json.dumps(measure(int(line))), file=out, flush=True)


class _Endless(Renderer):
    """No token ends a reply, so that all replies are of one length."""

    stop_ids = frozenset()  # type: ignore[assignment]


def _engine(folder: Path, q: str, options: argparse.Namespace) -> Measure:
    """Tokens a second of a reply, from its first token on; seconds to that of two questions about a picture."""
    engine = LlamaCppEngine(exported(folder, q), threads=options.threads)  # type: ignore[arg-type]
    engine.renderer.__class__ = _Endless

    def measure(number: int) -> dict[str, float]:
        stamps = []
        for delta in engine.stream(_talk(), Sampling(max_new_tokens=options.tokens, temperature=1.0, seed=number)):
            stamps.append((time.perf_counter(), delta.n_tokens))
        first, second = _first_tokens(engine, number)
        return {f"llamacpp {q}": _speed(stamps), f"first question {q}": first, f"second question {q}": second}

    return measure


def _speed(stamps: list[tuple[float, int]]) -> float:
    (start, first), (end, last) = stamps[0], stamps[-1]
    return (last - first) / (end - start)


def _transformers(folder: Path, _: str, options: argparse.Namespace) -> Measure:
    """Tokens a second of `generate` with its cache: the time of a long reply less that of one token."""
    import torch

    from sensorium.engine.torch import TorchEngine

    torch.set_num_threads(options.threads)
    engine = TorchEngine.load(folder)
    rendered = engine.renderer.render(_talk(), generate=True)
    embeddings = engine.model.embed_ids(torch.tensor([rendered.ids]))
    language: Any = engine.model.language

    def measure(_: int) -> dict[str, float]:
        times = []
        for n in (1, options.tokens):
            started = time.perf_counter()
            language.generate(inputs_embeds=embeddings, max_new_tokens=n, min_new_tokens=n, do_sample=True)
            times.append(time.perf_counter() - started)
        return {"transformers float32": (options.tokens - 1) / (times[1] - times[0])}

    return measure


def _bare(folder: Path, q: str, options: argparse.Namespace) -> Measure:
    """Tokens a second of llama.cpp's own server, by its own clock."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(GgufFolder.read(exported(folder, q)).text)  # type: ignore[arg-type]
    parameters.n_ctx, parameters.n_parallel, parameters.cache_ram_mib = 4096, 1, 0
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = options.threads
    parameters.warmup, parameters.verbosity = False, 1
    server = xllamacpp.Server(parameters)
    asked = {"prompt": TALK, "n_predict": options.tokens, "ignore_eos": True, "temperature": 1.0, "cache_prompt": False}

    def measure(_: int) -> dict[str, float]:
        found = server.handle_completions(asked)
        if isinstance(found, list):
            found = found[-1]
        return {f"bare llama.cpp {q}": float(found["timings"]["predicted_per_second"])}

    return measure


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
    parser.add_argument("--bare-wait", choices=("passive", "default"), default="passive")
    parser.add_argument("--side", choices=SIDES, help="measure this one alone, a line for each number that comes in")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


if __name__ == "__main__":
    main()
