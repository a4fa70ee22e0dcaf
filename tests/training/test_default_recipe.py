"""The default's recipe learns in the shared machinery what a loop written out by hand learns, step by step."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sensorium.media import open_image
from sensorium.model.multimodal import MultimodalModel
from sensorium.model.quiet import quietly
from sensorium.model.views import make_views
from sensorium.rendering import Renderer
from sensorium.training import features, measure
from sensorium.training.journal import read_journal
from sensorium.training.loop import train
from sensorium.training.recipe import Recipe, StageConfig, load_recipe
from sensorium.training.samples import Talk
from sensorium.training.stage import prepare_stage, take_shape

RECIPE = Path(__file__).parent.parent.parent / "recipes" / "default.yaml"
IGNORED = -100


def _recipe(data: Path) -> Recipe:
    """Its stages of replies, a few steps each, on pictures of ours, which have no drills; exact arithmetic, so that a
    difference is a difference.
    """
    changes = ["precision=float32", "validate_every=1000", "validation_samples=2", f"data={data}"]
    changes += ["stages.1.samples=14", "stages.1.batch.max_samples=4"]  # 4 steps
    changes += ["stages.2.samples=14", "stages.2.batch.max_samples=2"]  # of pictures with up to four conversations
    recipe = load_recipe(RECIPE, [*changes, "stages.2.tasks={chat: 0.6, caption: 0.3, text: 0.1}"])
    return recipe.model_copy(update={"stages": recipe.stages[1:]})


def _hidden(model: MultimodalModel, renderer: Renderer, talk: Talk) -> tuple[Tensor, Tensor]:
    """One conversation, alone and unpadded: its hidden states [tokens, width] and labels [tokens]."""
    rendered = renderer.render(talk.conversation)
    language: Any = model.language
    table = torch.cat([language.get_input_embeddings().weight, model.added_embeddings])
    embeddings = table[torch.tensor(rendered.ids)]
    for slot in rendered.slots:
        pixels = make_views(open_image(slot.image), model.sight)
        with torch.no_grad():
            states = model.vision.stem(pixels, output_hidden_states=True).hidden_states[10]
        states = states.half().float()  # as the cache holds them
        for block in model.vision.tail:
            states = block(states)
        visual = model.connector(model.vision.norm(states[:, 1:]), (16, 16))[0]
        embeddings = torch.cat([embeddings[: slot.start], visual, embeddings[slot.start + len(visual) :]])
    return language.model(inputs_embeds=embeddings[None]).last_hidden_state[0], torch.tensor(rendered.labels)


def _loss(model: MultimodalModel, renderer: Renderer, talk: Talk, weighting: str) -> tuple[Tensor, float]:
    """Sum over the tokens of the answers, each answer's weighted by 1 / sqrt(its tokens) where that is wanted."""
    hidden, labels = _hidden(model, renderer, talk)
    language: Any = model.language
    logits = hidden @ torch.cat([language.lm_head.weight, model.added_embeddings]).T
    logits[:, model.slot_id] = -torch.inf
    losses = F.cross_entropy(logits[:-1], labels[1:], ignore_index=IGNORED, reduction="none")
    total, weight, place = torch.zeros(()), 0.0, 0
    wanted = (labels[1:] != IGNORED).tolist()
    while place < len(wanted):
        length = 0
        while place + length < len(wanted) and wanted[place + length]:
            length += 1
        each = length**-0.5 if length and weighting == "square" else 1.0
        total, weight = total + each * losses[place : place + length].sum(), weight + each * length
        place += max(1, length)
    return total, weight


def _by_hand(model: MultimodalModel, config: StageConfig, steps: list[list[Talk]]) -> list[float]:
    """The losses of a stage's steps: one conversation at a time, every logit, AdamW, warm-up and cosine."""
    begins = {"vision": ("vision.tail", "vision.norm"), "connector": ("connector",), "tokens": ("added_embeddings",),
              "language": ("language",)}
    groups = []
    model.requires_grad_(False)
    for module, rate in config.learning_rates.items():
        named = [(name, p) for name, p in model.named_parameters() if name.startswith(begins[module])]
        chosen = [p for name, p in named if module != "language" or "lora_" in name]
        for decay, part in ((0.01, [p for p in chosen if p.ndim > 1]), (0.0, [p for p in chosen if p.ndim == 1])):
            groups += [{"params": part, "weight_decay": decay, "peak": rate}] if part else []
    parameters = [p.requires_grad_() for group in groups for p in group["params"]]
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.95), eps=1e-8)
    renderer, losses = Renderer(model.tokenizer, 64), []
    warmup = round(0.03 * len(steps))
    for step, talks in enumerate(steps):
        done = (step - warmup) / (len(steps) - warmup)
        share = (step + 1) / warmup if step < warmup else 0.5 * (1 + math.cos(math.pi * done))
        for group in optimizer.param_groups:
            group["lr"] = share * group["peak"]
        found = [_loss(model, renderer, talk, config.weighting) for talk in talks]
        loss = sum(total for total, _ in found) / sum(weight for _, weight in found)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.slow
def test_the_defaults_recipe_has_the_losses_of_a_loop_written_by_hand(tiny_data, tmp_path, monkeypatch):
    """Of its real parts, from the first step of aligning to the last of instructing: packs, shared pictures, cached
    features and fused losses change nothing.
    """
    for module in (features, measure):
        monkeypatch.setattr(module, "cache_root", lambda: tmp_path / "cache")
    recipe = _recipe(tiny_data)
    with quietly():
        train(recipe, tmp_path / "run", say=lambda line: None)
        torch.manual_seed(recipe.seed)
        model, other = recipe.model.build(), recipe.model.build()
    rows = read_journal(tmp_path / "run" / "journal.jsonl")
    for number, config in enumerate(recipe.stages):
        stage = prepare_stage(other, recipe, number, lambda *_: None)  # for which samples are in which step
        samples = stage.objective.samples
        steps = [[talk for sample in pack for talk in samples[int(sample)]] for pack in stage.plan.packs]
        take_shape(model, recipe, number)
        found = [row["loss"] for row in rows if row["stage"] == config.name and "loss" in row]
        assert len(found) == len(steps) >= 3 and len({f"{loss:.2f}" for loss in found}) > 1
        assert found == pytest.approx(_by_hand(model, config, steps), rel=1e-3)
