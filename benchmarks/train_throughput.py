"""How fast do we train, beside a plain loop and beside transformers' own Trainer, on the same model and data?

Three ways to train one LLaVA-like model (DINOv2-S, an MLP of two layers on 256 tokens a picture, SmolLM2-135M), the
connector and the whole language model, in bfloat16, on the same conversations of mixed length: captions and chats about
pictures, and chats without one.

    ours     full packs without padding, logits for supervised positions only, features of the frozen tower cached
    plain    batches of fixed size in random order padded to their longest, every position's logits and loss, no cache
    trainer  transformers' Trainer over LlavaForConditionalGeneration, batches and padding as plain

    python benchmarks/train_throughput.py runs/scenes

Each way runs in a process of its own, several times in turn, and says how many samples and tokens (padding not counted)
a second it trained on and how much memory it took at most; its first step is not timed. Aims: ours three times as fast
as plain and twice as fast as trainer, with no more memory. Filling the feature cache is not timed: a training pays it
once.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from sensorium.data.dataset import Dataset
from sensorium.model.checkpoint import save_model
from sensorium.model.labels import IGNORE
from sensorium.rendering import Renderer
from sensorium.training.allocator import keep_freed_memory
from sensorium.training.data import training_samples
from sensorium.training.loop import train_step
from sensorium.training.measure import render_sample
from sensorium.training.recipe import Recipe
from sensorium.training.replies import ReplyObjective
from sensorium.training.stage import prepare_stage

SIDES = ("ours", "plain", "trainer")
RATES = {"connector": 2e-5, "tokens": 2e-5, "language": 2e-5}


def main() -> None:
    options = _options()
    if options.side:
        found = {"ours": _ours, "plain": _plain, "trainer": _trainer}[options.side](options)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps(found | {"memory": memory}))
        return
    rounds: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for number in range(options.rounds):
        for side in SIDES:
            one = _in_a_process(side, options)
            rounds[side].append(one)
            print(f"  round {number + 1}  {side:8} {one['samples'] / one['seconds']:7.2f} samples/s  "
                  f"{one['tokens'] / one['seconds']:7.0f} tokens/s  {one['memory'] / 1e9:5.1f} GB", flush=True)
    _report(rounds, options.json)


def recipe(options: argparse.Namespace) -> Recipe:
    """The model, data and batches that all three share."""
    return Recipe.model_validate({
        "name": "throughput", "seed": 3, "data": options.data, "precision": "bfloat16", "validation_samples": 1,
        "compile": options.compile,
        "model": {
            "vision": {"part": "dinov2-small", "layer": -2, "image_size": 224},
            "connector": {"kind": "mlp", "depth": 2},
            "language": {"part": "smollm2-135m-instruct"},
        },
        "stages": [{
            "name": "instruct", "objective": "replies", "samples": options.samples, "learning_rates": RATES,
            "tasks": {"caption": 0.3, "chat": 0.4, "text": 0.3},
            "batch": {"max_tokens": options.tokens},
        }],
    })


def _ours(options: argparse.Namespace) -> dict[str, float]:
    plan = recipe(options)
    torch.manual_seed(plan.seed)
    keep_freed_memory()
    model = plan.model.build()
    stage = prepare_stage(model, plan, 0, lambda *_: None)
    seconds = samples = tokens = 0.0
    for number, pack in enumerate(stage.plan.packs):
        started = time.perf_counter()
        step = train_step(stage, [stage.objective.batch(pack.tolist())], plan.precision)
        if number:
            seconds += time.perf_counter() - started
            samples, tokens = samples + step.samples, tokens + step.tokens
    return {"seconds": seconds, "samples": samples, "tokens": tokens}


def _plain(options: argparse.Namespace) -> dict[str, float]:
    plan = recipe(options)
    torch.manual_seed(plan.seed)
    model = plan.model.build()
    samples = training_samples(model, plan, 0, lambda *_: None)
    objective = ReplyObjective(model, samples)
    model.vision.requires_grad_(False)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=2e-5, fused=True)
    seconds = seen = tokens = 0.0
    for number, indices in enumerate(_shuffled(len(samples), options.batch)):
        started = time.perf_counter()
        batch = objective.batch(indices)
        with torch.autocast(model.device.type, torch.bfloat16):
            hidden = model.language_states(model.embed(batch), batch.attention_mask)
            logits = model.head(hidden).float()
            assert batch.labels is not None
            loss = torch.nn.functional.cross_entropy(
                logits[:, :-1].flatten(0, 1), batch.labels[:, 1:].flatten(), ignore_index=IGNORE
            )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if number:
            seconds += time.perf_counter() - started
            seen, tokens = seen + len(indices), tokens + int(batch.attention_mask.sum())
    return {"seconds": seconds, "samples": seen, "tokens": tokens}


def _trainer(options: argparse.Namespace) -> dict[str, float]:
    from transformers import LlavaForConditionalGeneration, Trainer, TrainerCallback, TrainingArguments

    from sensorium.export.huggingface import export_huggingface

    plan = recipe(options)
    torch.manual_seed(plan.seed)
    model = plan.model.build()
    samples = training_samples(model, plan, 0, lambda *_: None)
    objective = ReplyObjective(model, samples)
    renderer = Renderer(model.tokenizer, model.tokens_per_picture)
    rendered = [render_sample(renderer, samples[i]) for i in range(len(samples))]
    with tempfile.TemporaryDirectory() as scratch:
        thin = save_model(model, Path(scratch) / "thin", ["connector"], dtype=torch.float32)
        folder = export_huggingface(thin, Path(scratch) / "llava", form="llava")
        llava = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    llava.model.vision_tower.requires_grad_(False)
    image_token = llava.config.image_token_index

    class Rows(torch.utils.data.Dataset[int]):
        def __len__(self) -> int:
            return len(samples)

        def __getitem__(self, index: int) -> int:
            return index

    clock = {"seconds": 0.0, "samples": 0.0, "tokens": 0.0, "started": 0.0, "steps": 0}

    def collate(indices: Sequence[int]) -> dict[str, Any]:
        """Ids of our renderer, so that all three learn the same; pictures opened as they are in `plain`."""
        ids = [torch.tensor(rendered[i].ids) for i in indices]
        labels = [torch.tensor(rendered[i].labels) for i in indices]
        lengths = torch.tensor([len(one) for one in ids])
        padded = pad_sequence(ids, batch_first=True, padding_value=0)
        padded[padded == model.slot_id] = image_token
        batch = {"input_ids": padded, "labels": pad_sequence(labels, batch_first=True, padding_value=IGNORE),
                 "attention_mask": (torch.arange(padded.shape[1]) < lengths[:, None]).long()}
        pixels = objective.batch(indices).pixel_values
        return batch | ({"pixel_values": pixels} if pixels is not None else {})

    class Clock(TrainerCallback):
        """From the end of one step to the end of the next: collating counts, as it does for the others."""

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            now = time.perf_counter()
            if state.global_step > 1:
                clock["seconds"] += now - clock["started"]
            clock["started"], clock["steps"] = now, state.global_step

    class Counting(Trainer):
        def training_step(self, model: Any, inputs: dict[str, Any], *rest: Any) -> Any:
            if clock["steps"]:
                clock["samples"] += len(inputs["input_ids"])
                clock["tokens"] += int(inputs["attention_mask"].sum())
            return super().training_step(model, inputs, *rest)

    with tempfile.TemporaryDirectory() as scratch:
        arguments = TrainingArguments(
            scratch, per_device_train_batch_size=options.batch, num_train_epochs=1, learning_rate=2e-5, bf16=True,
            use_cpu=not torch.cuda.is_available(), report_to=[], save_strategy="no", logging_strategy="no",
            remove_unused_columns=False, seed=plan.seed, optim="adamw_torch_fused", disable_tqdm=True,
        )
        Counting(llava, arguments, data_collator=collate, train_dataset=Rows(), callbacks=[Clock()]).train()
    return {name: clock[name] for name in ("seconds", "samples", "tokens")}


def _shuffled(count: int, size: int) -> list[list[int]]:
    order = np.random.default_rng(3).permutation(count).tolist()
    return [order[start : start + size] for start in range(0, count, size)]


def _in_a_process(side: str, options: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, __file__, str(options.data), "--side", side]
    for name in ("samples", "batch", "tokens"):
        command += [f"--{name}", str(getattr(options, name))]
    if options.compile:
        command.append("--compile")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _report(rounds: dict[str, list[dict[str, float]]], as_json: bool) -> None:
    speeds = {side: [one["tokens"] / one["seconds"] for one in found] for side, found in rounds.items()}
    speed = {side: float(np.median(of_rounds)) for side, of_rounds in speeds.items()}
    memory = {side: max(one["memory"] for one in found) for side, found in rounds.items()}
    ratios = {side: speed["ours"] / speed[side] for side in SIDES[1:]}
    if as_json:
        print(json.dumps({"tokens_per_s": speed, "memory": memory, "ratios": ratios}))
        return
    for side in SIDES:
        print(f"{side:8} {speed[side]:8.0f} tokens/s  {memory[side] / 1e9:5.1f} GB")
    print(f"ours is {ratios['plain']:.2f} times as fast as plain (aim 3), {ratios['trainer']:.2f} as trainer (aim 2)")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a dataset folder made by `sensorium data build scenes`")
    parser.add_argument("--samples", type=int, default=160, help="conversations that each way trains on in a round")
    parser.add_argument("--batch", type=int, default=8, help="conversations in a batch of plain and trainer")
    parser.add_argument("--tokens", type=int, default=2048, help="tokens in a pack of ours")
    parser.add_argument("--rounds", type=int, default=2, help="how often each way has its turn")
    parser.add_argument("--compile", action="store_true", help="ours with torch.compile")
    parser.add_argument("--json", action="store_true", help="one JSON object at the end")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    Dataset(options.data)  # complains before anything is started
    return options


if __name__ == "__main__":
    main()
