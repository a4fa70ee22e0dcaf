"""The loss of replies is transformers' own, on supervised rows only, and adds up however the batch is cut."""

from __future__ import annotations

from collections import Counter
from functools import partial
from itertools import groupby
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sensorium.data.dataset import Dataset
from sensorium.errors import SensoriumError
from sensorium.model.attention import use_grouped_attention
from sensorium.model.labels import IGNORE
from sensorium.model.language import LoraConfig, add_lora
from sensorium.model.multimodal import MultimodalModel, supervised_labels
from sensorium.training.features import build_feature_cache
from sensorium.training.loop import train_step
from sensorium.training.parallel import Parallel
from sensorium.training.ranks import ALONE
from sensorium.training.recipe import StageConfig
from sensorium.training.replies import ReplyObjective, Weighting, _answers
from sensorium.training.samples import SceneSamples
from sensorium.training.stage import Stage
from sensorium.training.trainable import choose_trainable

SHARES = {"caption": 0.5, "chat": 0.25, "text": 0.25}


@pytest.fixture
def make(tiny_model, tiny_data, own_cache):
    """make(conversations=16, cached=True, …): an objective over the tiny data."""
    tiny_model.requires_grad_(False).eval()
    data = Dataset(tiny_data)
    cache = build_feature_cache(tiny_model, [s.image for s in data.scenes("train")])
    rows = {task: data.conversations("train", [task]) for task in SHARES}

    def build(conversations: int = 16, cached: bool = True, shares: dict[str, float] = SHARES, together: int = 1,
              weighting: Weighting = "token"):
        samples = SceneSamples(rows, shares, conversations, 0, together)
        return ReplyObjective(tiny_model, samples, cache if cached else None, weighting)

    return build


def _full_logits(model: MultimodalModel, batch: Any) -> Tensor:
    return model.head(model.language_states(model.embed(batch), batch.attention_mask))


def test_the_loss_is_that_of_transformers_causal_models(make):
    from transformers.loss.loss_utils import ForCausalLMLoss

    objective = make()
    batch = objective.batch(range(8))
    with torch.no_grad():
        loss = objective.loss(batch)
        logits = _full_logits(objective.model, batch)
        expected = ForCausalLMLoss(logits, batch.labels, logits.shape[-1])
    assert float(loss.total) / loss.weight == pytest.approx(float(expected), rel=1e-5)
    assert loss.weight == (batch.labels != IGNORE).sum() and loss.samples == 8
    assert loss.tokens == batch.attention_mask.sum()


def test_the_head_runs_on_supervised_rows_only(make):
    objective = make()
    rows = []
    head = objective.model.language.get_output_embeddings()
    head.register_forward_hook(lambda _, args, __: rows.append(args[0].shape[:-1].numel()))
    batch = objective.batch(range(8))
    objective.loss(batch)
    assert rows == [batch.n_supervised] and batch.n_supervised < 0.5 * batch.input_ids.numel()


def test_cached_features_and_pixels_give_the_same_loss(make):
    with torch.no_grad():
        losses = [float(o.loss(o.batch(range(12))).total) for o in (make(), make(cached=False))]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)  # the cache is float16


def _stage(objective: ReplyObjective, taken: list[dict[str, Tensor]]) -> Stage:
    """A stage whose optimizer only notes the gradients of a step."""
    config = StageConfig.model_validate({
        "name": "x", "objective": "replies", "samples": 4, "optimizer": {"clip_norm": 1e9},
        "learning_rates": {"vision": 1e-3, "connector": 1e-3, "tokens": 1e-3},
    })
    groups = choose_trainable(objective.model, config)
    named = [(name, p) for group in groups.values() for name, p in group if p.requires_grad]

    class Notes:
        def step(self) -> None:
            taken.append({name: p.grad.clone() for name, p in named if p.grad is not None})

        def zero_grad(self, set_to_none: bool) -> None:
            for _, p in named:
                p.grad = None

    parameters: list[nn.Parameter] = [p for _, p in named]
    parallel = Parallel(objective.model, ALONE)
    return Stage(0, config, objective, objective, None, parallel, Notes(), parameters, 1)  # type: ignore[arg-type]


def test_one_batch_of_four_equals_four_batches_of_one(make):
    """Samples of unlike length: a mean of means would weigh the short ones more."""
    objective = make(shares={"caption": 0.5, "chat": 0.5}, conversations=8)
    indices = [0, 1, 6, 7]
    assert len({objective.batch([i]).n_supervised for i in indices}) > 1
    taken: list[dict[str, Tensor]] = []
    stage = _stage(objective, taken)
    train_step(stage, [objective.batch(indices)], "float32")
    train_step(stage, [objective.batch([i]) for i in indices], "float32")
    train_step(stage, [objective.batch(indices[:1]), objective.batch(indices[1:])], "float32")
    whole, ones, uneven = taken
    assert whole.keys() == ones.keys() == uneven.keys() and len(whole) > 15
    assert max(float(g.abs().max()) for g in whole.values()) > 1e-2
    for name, gradient in whole.items():
        torch.testing.assert_close(ones[name], gradient, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(uneven[name], gradient, atol=1e-6, rtol=1e-5)


def test_a_step_over_text_alone_leaves_connector_and_encoder_without_gradient(make):
    objective = make(shares={"text": 1.0}, conversations=4)
    taken: list[dict[str, Tensor]] = []
    found = train_step(_stage(objective, taken), [objective.batch(range(4))], "float32")
    assert set(taken[0]) == {"added_embeddings"} and found.weight > 0


@pytest.mark.parametrize("grouped", [False, True])
def test_conversations_together_in_a_row_lose_what_they_lose_apart(make, grouped):
    apart, together = make(120), make(120, together=3)
    apart.samples.groups = [[item] for group in together.samples.groups for item in group]
    if grouped:
        use_grouped_attention(apart.model.language)
    groups = together.samples.groups
    assert len(groups) < len(apart.samples) and max(map(len, groups)) == 3
    assert Counter(task for group in groups for task, _ in group) == {"caption": 60, "chat": 30, "text": 30}
    with torch.no_grad():
        one, other = (o.loss(o.batch(range(len(o.samples)))) for o in (apart, together))
    assert float(one.total) == pytest.approx(float(other.total), rel=1e-5)
    assert (one.weight, one.samples, one.metrics) == (other.weight, other.samples, other.metrics)
    assert other.tokens < 0.9 * one.tokens


def test_conversations_that_share_a_row_are_about_one_picture_and_open_with_it(make):
    samples = make(120, together=3).samples
    for sample in samples.groups:
        rows = [samples.rows[task][number] for task, number in sample]
        assert len({row.scene for row in rows}) == 1 and len(set(sample)) == len(sample)
        assert len(sample) == 1 or all(row.messages[0]["content"][0]["type"] == "image" for row in rows)


def test_metrics_are_worked_out_when_validating_only(make):
    objective = make(4)
    with torch.no_grad():
        assert set(objective.loss(objective.batch([0])).metrics) == {"tokens_right", "answers_right"}
        objective.model.train()
        assert objective.loss(objective.batch([0])).metrics == {}


def test_each_conversation_in_a_shared_row_has_its_own_logits(make):
    """Per label, not only in sum: no conversation sees its neighbours."""
    together = make(120, together=3)
    groups = together.samples.groups
    index = next(i for i, group in enumerate(groups) if len(group) == 3)
    with torch.no_grad():
        joined = together.model(together.batch([index]))
        alone = []
        for item in groups[index]:
            groups.append([item])
            alone.append(together.model(together.batch([len(groups) - 1])))
    torch.testing.assert_close(joined, torch.cat(alone), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("together", [1, 3])
def test_a_pack_in_one_row_has_the_logits_of_its_conversations_apart(make, together):
    """Where attention is not ours (GPUs): one row under a block mask, positions from 0 for each conversation."""
    objective = make(60, together=together)
    batch = objective.batch(range(10))
    shapes = []
    objective.model.decoder.register_forward_pre_hook(
        lambda _, args, kwargs: shapes.append(tuple(kwargs["inputs_embeds"].shape[:2])), with_kwargs=True
    )
    with torch.no_grad():
        padded = objective.model(batch)
        objective.model.packs = True
        packed = objective.model(batch)
    assert shapes == [tuple(batch.input_ids.shape), (1, int(batch.attention_mask.sum()))]
    torch.testing.assert_close(packed, padded, atol=1e-5, rtol=1e-5)


def test_a_batch_of_no_samples_weighs_nothing_and_can_be_run(make):
    objective = make()
    objective.model.connector.requires_grad_(True)
    objective.model.added_embeddings.requires_grad_(True)
    for train in (True, False):
        objective.model.train(train)
        loss = objective.loss(objective.batch([]))
        assert (loss.weight, loss.samples, loss.tokens, loss.metrics) == (0, 0, 0, {}) and float(loss.total) == 0
    loss.total.backward()
    assert objective.model.added_embeddings.grad.abs().sum() == 0


def test_grouped_attention_is_attention(make):
    objective = make()
    batch = objective.batch(range(8))
    with torch.no_grad():
        plain = objective.model(batch)
        use_grouped_attention(objective.model.language)
        grouped = objective.model(batch)
    others = [i for i in range(plain.shape[1]) if i != objective.model.slot_id]
    torch.testing.assert_close(grouped[:, others], plain[:, others], atol=1e-4, rtol=1e-4)


def test_answers_count_as_right_only_in_every_token(make):
    """Worked out by hand from the argmax: an answer is what one assistant's turn supervises."""
    objective = make(shares={"chat": 1.0}, conversations=6)
    objective.samples.groups = [[("chat", 2 * i)] for i in range(6)]  # those of two turns
    model = objective.model
    batch = objective.batch(range(6))
    with torch.no_grad():
        predicted = _full_logits(model, batch).argmax(-1)
    # Make some answers right: put the prediction itself where the label stood, in the first answer of each row.
    labels = batch.labels.clone()
    for row in range(6):
        places = (labels[row] != IGNORE).nonzero().flatten().tolist()
        first = [p for i, p in enumerate(places) if p - i == places[0]]
        labels[row, first] = predicted[row, [p - 1 for p in first]]
    object.__setattr__(batch, "labels", labels)
    with torch.no_grad():
        metrics = objective.loss(batch).metrics
    right, of = metrics["answers_right"]
    assert of == 12 and 6 <= right < 12
    assert metrics["tokens_right"][1] == batch.n_supervised > metrics["tokens_right"][0]


@pytest.mark.parametrize("in_bfloat16", [False, True])
def test_gradients_of_the_fast_way_are_those_of_the_plain_way(make, in_bfloat16):
    """Pictures, shared rows, adapters, square weights: packed attention, one-function adapters and head and none."""
    from peft.tuners.lora.layer import Linear

    objective = make(40, together=3, weighting="square")
    model = objective.model
    add_lora(model.language, LoraConfig(rank=4))
    use_grouped_attention(model.language)
    torch.manual_seed(3)
    trained = dict(model.connector.named_parameters()) | {"added": model.added_embeddings}
    for name, parameter in model.language.named_parameters():
        if "lora_" in name:
            parameter.data = 0.1 * torch.randn_like(parameter)
            trained[name] = parameter
    for parameter in trained.values():
        parameter.requires_grad_(True)
    model.train()
    batch = objective.batch(range(len(objective.samples)))
    with torch.autocast("cpu", torch.bfloat16, enabled=in_bfloat16):
        loss = objective.loss(batch)
    fast = torch.autograd.grad(loss.total, list(trained.values()))
    for module in model.language.modules():
        if isinstance(module, Linear):
            module.forward = partial(Linear.forward, module)
    model.language.set_attn_implementation("sdpa")
    with torch.autocast("cpu", torch.bfloat16, enabled=in_bfloat16):
        losses = F.cross_entropy(model(batch).float(), supervised_labels(batch), reduction="none")
    answers = _answers(batch)
    total = (losses * answers.bincount()[answers].float().pow(-0.5)).sum()
    plain = torch.autograd.grad(total, list(trained.values()))
    assert float(loss.total.detach()) == pytest.approx(float(total.detach()), rel=1e-2 if in_bfloat16 else 1e-5)
    for name, one, other in zip(trained, fast, plain, strict=True):
        worst = (one - other).abs().max() / other.abs().max()
        assert worst < (0.1 if in_bfloat16 else 1e-4), name


def test_square_weighting_counts_the_tokens_of_an_answer_by_the_root_of_their_number(make):
    """Answer by answer: sum of cross-entropies over the root of the length; weights add up to roots."""
    objective = make(shares={"caption": 0.5, "chat": 0.5}, conversations=8, weighting="square")
    batch = objective.batch(range(8))
    with torch.no_grad():
        loss, logits = objective.loss(batch), _full_logits(objective.model, batch)
    total = weight = 0.0
    lengths = set()
    for row, labels in enumerate(batch.labels.tolist()):
        for is_answer, places in groupby(range(len(labels)), key=lambda place: labels[place] != IGNORE):
            if is_answer:
                at = list(places)
                log_p = logits[row, [i - 1 for i in at]].float().log_softmax(-1)
                total -= sum(float(p[labels[i]]) for p, i in zip(log_p, at, strict=True)) / len(at) ** 0.5
                weight += len(at) ** 0.5
                lengths.add(len(at))
    assert len(lengths) > 1
    assert float(loss.total) == pytest.approx(total, rel=1e-5) and loss.weight == pytest.approx(weight)


def test_tasks_get_their_shares_in_whole_passes(make):
    drawn = Counter(group[0] for group in make(144).samples.groups)
    assert Counter(task for task, _ in drawn.elements()) == {"caption": 72, "chat": 36, "text": 36}
    assert all(drawn["caption", row] == 4 and drawn["text", row] == 2 for row in range(18))
    assert all(drawn["chat", row] == 1 for row in range(36))


def test_a_task_without_conversations_is_named(make):
    with pytest.raises(SensoriumError, match=r"tasks.poems: the data has no conversation of this task"):
        make(shares={"caption": 1.0, "poems": 1.0})


def test_a_conversation_without_an_answer_is_named(make, tiny_model):
    samples = make(shares={"text": 1.0}, conversations=2).samples
    row = samples.rows["text"][0]
    object.__setattr__(row, "messages", row.messages[:1])
    samples.rows = {"text": [row] * 18}
    with pytest.raises(SensoriumError, match=r"2 of 2 samples cannot.*jsonl row 4: has no assistant turn"):
        ReplyObjective(tiny_model, samples)
