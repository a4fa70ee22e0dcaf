"""How fast do we train, beside a plain loop and beside transformers' own Trainer, on the same model and data?

Three ways to train one LLaVA-like model (DINOv2-S, an MLP of two layers on 256 tokens a picture, SmolLM2-135M), the
connector and the whole language model, in bfloat16, on the same conversations of mixed length: captions and chats about
pictures, and chats without one.

    ours     full packs without padding, conversations about one picture sharing its tokens (`together`, as in the
             default's recipe), logits for supervised positions only, features of the frozen tower cached
    plain    batches of fixed size in random order padded to their longest, every position's logits and loss, no cache
    trainer  transformers' Trainer over LlavaForConditionalGeneration, batches and padding as plain

    python benchmarks/train_throughput.py runs/scenes
    python benchmarks/train_throughput.py runs/scenes --language 1.5B --compile     # on a GPU

All three train on the very same conversations, drawn as ours draws them, and on the same loss: shared tokens are seen
by each conversation as if it were alone, so its logits are those of its own row. That each way has learned from as many
conversations and supervised tokens is checked at the end. --together 1 leaves sharing out, as do recipes that say
nothing of it, and files of sources.

With --language the language model is a random one of that many parameters (the shape of Qwen2.5's): speed does not ask
what the weights know. Each way runs in a process of its own, several times in turn, and says how many samples and
tokens (of each conversation by itself, padding not counted) a second it trained on, how much of what it computed for
were tokens, how much memory training took at most, and on a GPU whose peak is known how much of that peak it used (MFU;
of a processor's peak nobody says). Its first step is not timed. Aims: ours three times as fast as plain and twice as
fast as trainer, with no more memory. Filling the feature cache is not timed: a training pays it once.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from plain import PlainObjective, apart, few_scenes, forget_peak, now, peak_memory
from torch.nn.utils.rnn import pad_sequence

from sensorium.data.dataset import Dataset
from sensorium.model.batch import Batch
from sensorium.model.checkpoint import save_model
from sensorium.model.device import best_device
from sensorium.model.labels import IGNORE
from sensorium.model.language import LanguageConfig
from sensorium.model.multimodal import MultimodalModel
from sensorium.rendering import Renderer
from sensorium.training.allocator import keep_freed_memory
from sensorium.training.data import training_samples
from sensorium.training.flops import StepCost, peak_flops
from sensorium.training.loop import train_step
from sensorium.training.measure import render_sample
from sensorium.training.packing import Indices
from sensorium.training.recipe import Recipe
from sensorium.training.samples import Samples
from sensorium.training.stage import prepare_stage

SIDES = ("ours", "plain", "trainer")
RATES = {"connector": 2e-5, "tokens": 2e-5, "language": 2e-5}
TOKENIZER = "smollm2-135m-instruct"
# Width, of the layer between, layers, heads, key heads: Qwen2.5's (arXiv:2412.15115, table 1, and its configurations).
SHAPES = {"0.5B": (896, 4864, 24, 14, 2), "1.5B": (1536, 8960, 28, 12, 2)}


@dataclass
class Tally:
    """What a way went through in its timed steps. tokens: of the conversations, each by itself; filled: tokens in rows,
    shared ones once; places: those with their padding; flops: operations of the method.

    learned: (conversations, supervised tokens) of all steps. memory: bytes at most, of training alone.
    """

    seconds: float = 0.0
    samples: int = 0
    tokens: int = 0
    filled: int = 0
    places: int = 0
    flops: float = 0.0
    memory: int = 0
    learned: tuple[int, int] = (0, 0)

    def add(self, seconds: float, samples: int, tokens: int, filled: int, places: int, flops: float) -> None:
        self.seconds, self.samples, self.tokens = self.seconds + seconds, self.samples + samples, self.tokens + tokens
        self.filled, self.places, self.flops = self.filled + filled, self.places + places, self.flops + flops

    def learn(self, batch: Batch, samples: int) -> None:
        self.learned = (self.learned[0] + samples, self.learned[1] + batch.n_supervised)


def main() -> None:
    options = _options()
    if options.side:
        found: Tally = {"ours": _ours, "plain": _plain, "trainer": _trainer}[options.side](options)
        if not found.seconds:
            raise SystemExit("nothing was timed: all samples went into the first step; raise --samples")
        found.memory = peak_memory()
        print(json.dumps(asdict(found)))
        return
    peak = peak_flops(best_device())
    rounds: dict[str, list[Tally]] = {side: [] for side in SIDES}
    with ExitStack() as held:
        scratch = Path(held.enter_context(tempfile.TemporaryDirectory()))
        options.data = few_scenes(options.data, scratch / "data", options.samples)
        if options.language in SHAPES:
            options.language = str(random_language(options.language, scratch / "language"))
        for number in range(options.rounds):
            for side in SIDES:
                one = _in_a_process(side, options)
                rounds[side].append(one)
                print(f"  round {number + 1}  {_line(side, [one], peak)}", flush=True)
    _report(rounds, peak, options.json)


def recipe(options: argparse.Namespace) -> Recipe:
    """The model, data and batches that all three share."""
    return Recipe.model_validate({
        "name": "throughput", "seed": 3, "data": options.data, "precision": "bfloat16", "validation_samples": 1,
        "compile": options.compile,
        "model": {
            "vision": {"part": "dinov2-small", "layer": -2, "image_size": 224},
            "connector": {"kind": "mlp", "depth": 2},
            "language": {"part": options.language},
        },
        "stages": [{
            "name": "instruct", "objective": "replies", "samples": options.samples, "learning_rates": RATES,
            "tasks": {"caption": 0.3, "chat": 0.4, "text": 0.3},
            "together": options.together, "batch": {"max_tokens": options.tokens},
        }],
    })


def random_language(size: str, folder: Path) -> Path:
    """A language model of one of `SHAPES` with random weights and SmolLM2's words, as a part's folder."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    width, between, layers, heads, key_heads = SHAPES[size]
    tokenizer = LanguageConfig(part=TOKENIZER).tokenizer()
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=between, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=key_heads, tie_word_embeddings=True,
    )
    with best_device():
        Qwen2ForCausalLM(config).bfloat16().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _built(plan: Recipe) -> MultimodalModel:
    torch.manual_seed(plan.seed)
    return plan.model.build().to(best_device())


def _ours(options: argparse.Namespace) -> Tally:
    plan, tally = recipe(options), Tally()
    keep_freed_memory()
    model = _built(plan)
    stage = prepare_stage(model, plan, 0, lambda *_: None)
    cost = StepCost.of(model)
    room = plan.stages[0].batch.max_tokens
    tokens = _tokens_apart(model, stage.objective.samples)
    forget_peak()
    for number, pack in enumerate(stage.plan.packs):
        started = now()
        batch = stage.objective.batch(pack.tolist())
        step = train_step(stage, [batch], plan.precision)
        seconds = now() - started
        tally.learn(batch, step.samples)
        if number:
            places = max(room, step.tokens)
            tally.add(seconds, step.samples, int(tokens[pack].sum()), step.tokens, places, cost.flops(batch))
    return tally


def _tokens_apart(model: MultimodalModel, samples: Samples) -> Indices:
    """Tokens of each sample, those that its conversations share counted for each of them."""
    alone = PlainObjective(model, apart(samples)).sizes.whole
    return np.array([part.sum() for part in np.split(alone, np.cumsum([len(talks) for talks in samples])[:-1])])


def _plain(options: argparse.Namespace) -> Tally:
    plan, tally = recipe(options), Tally()
    model = _built(plan)
    objective = PlainObjective(model, apart(training_samples(model, plan, 0, lambda *_: None)))
    model.vision.requires_grad_(False)
    cost = StepCost.of(model)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=2e-5, fused=True)
    forget_peak()
    for number, indices in enumerate(_shuffled(len(objective.samples), options.batch)):
        started = now()
        batch = objective.batch(indices)
        with torch.autocast(model.device.type, torch.bfloat16):
            loss = objective.loss(batch)
        (loss.total / loss.weight).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seconds = now() - started
        tally.learn(batch, loss.samples)
        if number:
            places = batch.input_ids.numel()
            tally.add(seconds, loss.samples, loss.tokens, loss.tokens, places, cost.flops(batch))
    return tally


def _trainer(options: argparse.Namespace) -> Tally:
    from transformers import LlavaForConditionalGeneration, Trainer, TrainerCallback, TrainingArguments

    from sensorium.export.huggingface import export_huggingface

    plan, tally = recipe(options), Tally()
    torch.manual_seed(plan.seed)
    model = plan.model.build()
    objective = PlainObjective(model, apart(training_samples(model, plan, 0, lambda *_: None)))
    samples, renderer = objective.samples, Renderer(model.tokenizer, model.tokens_per_picture)
    rendered = [render_sample(renderer, samples[i]) for i in range(len(samples))]
    with tempfile.TemporaryDirectory() as scratch:
        thin = save_model(model, Path(scratch) / "thin", ["connector"], dtype=torch.float32)
        folder = export_huggingface(thin, Path(scratch) / "llava", form="llava")
        llava = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    llava.model.vision_tower.requires_grad_(False)
    model.vision.requires_grad_(False)
    cost = StepCost.of(model)  # the same model, so the same operations
    model.language = torch.nn.Identity()  # ours only opens pictures from here on
    image_token = llava.config.image_token_index

    class Rows(torch.utils.data.Dataset[int]):
        def __len__(self) -> int:
            return len(samples)

        def __getitem__(self, index: int) -> int:
            return index

    def collate(indices: Sequence[int]) -> dict[str, Any]:
        """Ids of our renderer, so that all three learn the same; pictures opened as they are in `plain`."""
        ids = [torch.tensor(rendered[i].ids) for i in indices]
        labels = [torch.tensor(rendered[i].labels) for i in indices]
        lengths = torch.tensor([len(one) for one in ids])
        padded = pad_sequence(ids, batch_first=True, padding_value=0)
        padded[padded == model.slot_id] = image_token
        batch = {"input_ids": padded, "labels": pad_sequence(labels, batch_first=True, padding_value=IGNORE),
                 "attention_mask": (torch.arange(padded.shape[1]) < lengths[:, None]).long()}
        ours = objective.batch(indices)
        batch["flops"] = torch.tensor(cost.flops(ours), dtype=torch.float64)
        return batch | ({"pixel_values": ours.pixel_values} if ours.pixel_values is not None else {})

    class Clock(TrainerCallback):
        """From the end of one step to the end of the next: collating counts, as it does for the others."""

        started = 0.0

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step > 1:
                tally.seconds += now() - self.started
            self.started = now()

    class Counting(Trainer):
        def training_step(self, model: Any, inputs: dict[str, Any], *rest: Any) -> Any:
            flops, mask = float(inputs.pop("flops")), inputs["attention_mask"]
            so_far = tally.learned
            supervised = int((inputs["labels"][:, 1:] != IGNORE).sum())
            tally.learned = (so_far[0] + len(mask), so_far[1] + supervised)
            if self.state.global_step:
                tally.add(0.0, len(mask), int(mask.sum()), int(mask.sum()), mask.numel(), flops)
            return super().training_step(model, inputs, *rest)

    with tempfile.TemporaryDirectory() as scratch:
        arguments = TrainingArguments(
            scratch, per_device_train_batch_size=options.batch, num_train_epochs=1, learning_rate=2e-5, bf16=True,
            use_cpu=not torch.cuda.is_available(), report_to=[], save_strategy="no", logging_strategy="no",
            remove_unused_columns=False, seed=plan.seed, optim="adamw_torch_fused", disable_tqdm=True,
        )
        forget_peak()
        Counting(llava, arguments, data_collator=collate, train_dataset=Rows(), callbacks=[Clock()]).train()
    return tally


def _shuffled(count: int, size: int) -> list[list[int]]:
    order = np.random.default_rng(3).permutation(count).tolist()
    return [order[start : start + size] for start in range(0, count, size)]


def _in_a_process(side: str, options: argparse.Namespace) -> Tally:
    command = [sys.executable, __file__, str(options.data), "--side", side]
    for name in ("samples", "batch", "tokens", "together", "language"):
        command += [f"--{name}", str(getattr(options, name))]
    if options.compile:
        command.append("--compile")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{done.stderr[-4000:]}")
    return Tally(**json.loads(done.stdout.splitlines()[-1]))


def _numbers(rounds: Sequence[Tally], peak: float | None) -> dict[str, float | None]:
    """Medians over the rounds; the most memory of any."""
    mfu = [one.flops / one.seconds / peak for one in rounds] if peak else None
    return {
        "samples_per_s": float(np.median([one.samples / one.seconds for one in rounds])),
        "tokens_per_s": float(np.median([one.tokens / one.seconds for one in rounds])),
        "fill": rounds[0].filled / rounds[0].places,
        "memory": max(one.memory for one in rounds),
        "mfu": float(np.median(mfu)) if mfu else None,
    }


def _line(side: str, rounds: Sequence[Tally], peak: float | None) -> str:
    found = _numbers(rounds, peak)
    mfu = f"MFU {found['mfu']:.1%}" if peak else "MFU unknown: no peak of this device"
    return (f"{side:8} {found['samples_per_s']:8.2f} samples/s  {found['tokens_per_s']:8.0f} tokens/s  "
            f"{found['fill']:4.0%} full  {found['memory'] / 1e9:5.1f} GB  {mfu}")


def _report(rounds: dict[str, list[Tally]], peak: float | None, as_json: bool) -> None:
    learned = {tuple(one.learned) for of_side in rounds.values() for one in of_side}
    if len(learned) > 1:
        raise SystemExit(f"the ways have not learned from the same: {sorted(learned)} conversations and tokens")
    found = {side: _numbers(of_side, peak) for side, of_side in rounds.items()}
    ratios = {
        side: {what: found["ours"][what] / found[side][what] for what in ("tokens_per_s", "samples_per_s", "memory")}
        for side in SIDES[1:]
    }
    if as_json:
        print(json.dumps({"sides": found, "ours_by": ratios}))
        return
    for side, of_side in rounds.items():
        print(_line(side, of_side, peak))
    for side, aim in (("plain", 3), ("trainer", 2)):
        of = ratios[side]
        print(f"ours beside {side}: {of['tokens_per_s']:.2f} times the tokens/s (aim {aim}), "
              f"{of['samples_per_s']:.2f} times the samples/s, {of['memory']:.2f} times the memory (aim: at most 1)")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a dataset folder made by `sensorium data build scenes`")
    parser.add_argument("--language", default=TOKENIZER, help=f"a part, or a random model: {', '.join(SHAPES)}")
    parser.add_argument("--samples", type=int, default=160, help="conversations that each way trains on in a round")
    parser.add_argument("--batch", type=int, default=8, help="conversations in a batch of plain and trainer")
    parser.add_argument("--tokens", type=int, default=2048, help="tokens in a pack of ours")
    parser.add_argument("--together", type=int, default=4, help="of ours: conversations about a picture in a row")
    parser.add_argument("--rounds", type=int, default=2, help="how often each way has its turn")
    parser.add_argument("--compile", action="store_true", help="ours with torch.compile")
    parser.add_argument("--json", action="store_true", help="one JSON object at the end")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    Dataset(options.data)  # complains before anything is started
    return options


if __name__ == "__main__":
    main()
