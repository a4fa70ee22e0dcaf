"""How much of its devices' peak a training uses: model FLOPs utilisation, MFU (PaLM, arXiv:2204.02311, appendix B).

Only the work that the method asks for counts, so that waiting, padding and whatever is computed again lower the share
and never raise it. Of each weight, two operations (a product, a sum) for each vector that it is multiplied with; as
many again for the gradient of its input, where something below it trains; and as many for its own gradient, where it
trains itself. Attention adds, in each layer, 4 * width operations for each pair of tokens of one conversation, and
twice that backwards; as in PaLM, a token counts as looking at its whole conversation, not only at what came before.

Left out, being less than a hundredth: norms, activations, table look-ups, class tokens of pictures that are not cached,
the words that a word warm-up compares visual tokens with. Nothing is said of mixtures of experts.

Used by `training.loop`, and by `training.preview` for an estimate beforehand.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from sensorium.model.batch import Batch
from sensorium.model.blocks import blocks_of
from sensorium.model.multimodal import MultimodalModel
from sensorium.training.ranks import Ranks
from sensorium.training.words import WordBatch

# Dense peaks of the tensor cores in bfloat16 with sums in float32, from the makers' data sheets (where a sheet shows
# the figure with sparsity, half of it); V100 and T4 know no bfloat16, theirs are of float16. A name is looked up word
# by word, and the first row whose words are all in it counts.
PEAKS = (
    ("GB200", 2500e12), ("B200", 2250e12),  # NVIDIA Blackwell data sheet; DGX B200
    ("H100 PCIe", 756e12), ("H100 NVL", 835e12), ("H100", 989e12),  # NVIDIA H100 data sheet; plain: SXM
    ("GH200", 989e12), ("H200 NVL", 835e12), ("H200", 989e12), ("H20", 148e12),  # NVIDIA GH200, H200, H20 data sheets
    ("H800 PCIe", 756e12), ("H800", 989e12),  # an H100 with slower links to other GPUs, as the A800 is an A100
    ("A100", 312e12), ("A800", 312e12), ("A30", 165e12), ("A40", 149.7e12), ("A10", 125e12), ("A10G", 70e12),  # Ampere
    ("RTX A6000", 154.8e12), ("RTX 3090", 71e12),  # NVIDIA Ampere GA102 whitepaper, appendix A
    ("L40S", 362e12), ("L40", 181e12), ("L4", 121e12),  # NVIDIA L40S, L40 and L4 data sheets
    ("RTX 6000 Ada", 364e12), ("RTX 4090", 165e12),  # NVIDIA Ada whitepaper, appendix A
    ("RTX 5090", 209.5e12),  # NVIDIA RTX Blackwell whitepaper, appendix A
    ("V100 PCIE", 112e12), ("V100", 125e12), ("T4", 65e12),  # NVIDIA V100 (plain: SXM2) and T4 data sheets
    ("MI355X", 2500e12), ("MI325X", 1307e12), ("MI300X", 1307e12), ("MI250X", 191.5e12),  # AMD; MI250X: one of two dies
)  # fmt: skip
OTHER_CHIPS = {"Ti", "SUPER", "D", "Laptop", "Max-Q", "MIG"}  # words that make of a name another chip, or a slice


def peak_flops(device: torch.device) -> float | None:
    """Floating-point operations per second that a device can do at most, in bfloat16; None where nobody told us."""
    return peak_by_name(torch.cuda.get_device_name(device)) if device.type == "cuda" else None


def peak_by_name(name: str) -> float | None:
    """`peak_flops` of what torch calls a GPU, such as `NVIDIA A100-SXM4-80GB`."""
    words = set(name.split()) | set(name.replace("-", " ").split())
    if words & OTHER_CHIPS:
        return None
    return next((peak for chip, peak in PEAKS if words >= set(chip.split())), None)


class Utilisation:
    """The share of all processes' peak that a stage's steps use. Make it when it is settled what trains.

    Every process makes one, and asks it the same.
    """

    def __init__(self, model: MultimodalModel, ranks: Ranks) -> None:
        self.ranks = ranks
        peak = peak_flops(ranks.device) if _is_countable(model) else None
        self.peak = ranks.total([math.nan if peak is None else peak])[0]  # nan as soon as one of them is not known
        self.cost = None if math.isnan(self.peak) else StepCost.of(model)

    def of(self, work: Iterable[Any], seconds: float) -> float | None:
        """MFU of a step over this process's batches; seconds: that it took, waiting included. None: nobody knows."""
        if self.cost is None:
            return None
        flops = self.ranks.total([sum(map(self.cost.flops, work))])[0]
        return flops / (seconds * self.peak)


@dataclass(frozen=True)
class TowerCost:
    """Operations of a tower, forward and backward. per_pair: for a token that looks at one of its conversation.

    gives_gradient: whether something trains in it or below it, so that gradients come to what stands upon it.
    """

    per_token: float
    per_pair: float
    gives_gradient: bool

    def flops(self, tokens: float, pairs: float) -> float:
        return self.per_token * tokens + self.per_pair * pairs

    @classmethod
    def of(cls, tower: nn.Module, width: int, takes_gradient: bool = False) -> TowerCost:
        """tower: modules in the order in which they run. width: heads * channels of its attention. takes_gradient:
        whether something below it trains.
        """
        blocks = blocks_of(tower)
        per_token = per_pair = 0
        flows = takes_gradient
        for module in _in_order(tower):
            for weight in _matrices(module):
                per_token += weight.numel() * (2 + 2 * flows + 2 * weight.requires_grad)
            flows = flows or any(p.requires_grad for p in module.parameters(recurse=False))
            if any(module is block for block in blocks):
                per_pair += 4 * width * (3 if flows else 1)
        return cls(per_token, per_pair, flows)


def _in_order(tower: nn.Module) -> Iterator[nn.Module]:
    """All modules about in the order in which they run. What holds others comes after them: the parameters that it has
    itself, such as a class token, join what the first of them made.
    """
    for child in tower.children():
        yield from _in_order(child)
    yield tower


def _matrices(module: nn.Module) -> list[nn.Parameter]:
    """The weight that a module itself multiplies vectors with, or []: tables are looked up."""
    weight = dict(module.named_parameters(recurse=False)).get("weight")
    return [] if weight is None or weight.ndim < 2 or isinstance(module, nn.Embedding) else [weight]


@dataclass(frozen=True)
class StepCost:
    """Operations of a step's parts, forward and backward, as a model trains now.

    patches: of one view. connector: operations a picture; head: a supervised token.
    """

    patches: int
    stem: TowerCost
    tail: TowerCost
    connector: float
    language: TowerCost
    head: float

    @classmethod
    def of(cls, model: MultimodalModel) -> StepCost:
        vision, text = model.vision, model.language.config.get_text_config()  # type: ignore[operator, union-attr]
        stem = TowerCost.of(vision.stem, vision.width)
        tail = TowerCost.of(vision.tail, vision.width, stem.gives_gradient)
        seeing = tail.gives_gradient or any(p.requires_grad for p in vision.norm.parameters())
        # What a connector's weights are multiplied with differs by kind: patches, blocks of them, queries. So its
        # forward pass is counted by running one, and the backward pass is to it as its weights' are to theirs.
        weights = TowerCost.of(model.connector, 0, seeing)
        only_forward = sum(2 * p.numel() for module in model.connector.modules() for p in _matrices(module))
        connector = _connector_flops(model) * weights.per_token / only_forward
        reading = weights.gives_gradient or model.added_embeddings.requires_grad
        heads = getattr(text, "num_attention_heads", 0)  # none: what is recurrent costs the same for every token
        channels = getattr(text, "head_dim", None) or text.hidden_size // max(1, heads)
        language = TowerCost.of(model.decoder, heads * channels, reading)
        table: Tensor = model.language.get_output_embeddings().weight  # type: ignore[operator, union-attr]
        rows = (table, model.added_embeddings)
        head = sum(p.numel() * (2 + 2 * language.gives_gradient + 2 * p.requires_grad) for p in rows)
        return cls(math.prod(vision.grid), stem, tail, connector, language, head)

    def flops(self, batch: Batch | WordBatch) -> float:
        """Operations of the forward and backward pass over a batch, padding left out."""
        total = 0.0
        if batch.stem_states is not None:
            n, tokens = batch.stem_states.shape[:2]
            total += n * (self.tail.flops(tokens, tokens**2) + self.connector)
        elif isinstance(batch, Batch) and batch.pixel_values is not None:
            tokens = self.patches
            towers = self.stem.flops(tokens, tokens**2) + self.tail.flops(tokens, tokens**2)
            total += batch.n_pictures * (towers + self.connector)
        if isinstance(batch, Batch):
            total += self.language.flops(int(batch.attention_mask.sum()), _pairs(batch))
            total += self.head * batch.n_supervised
        return total


def _pairs(batch: Batch) -> int:
    """Pairs of tokens of one conversation; a beginning that several share is looked at by each, and counted once."""
    if batch.segments is None:
        return int(batch.attention_mask.sum(1).square().sum())
    segments = batch.segments.masked_fill(~batch.attention_mask, -1)
    lengths = nn.functional.one_hot(segments + 1)[..., 1:].sum(1)  # [b, segments], padding left out
    seen = lengths + lengths[:, :1]
    seen[:, 0] = lengths[:, 0]
    return int((lengths * seen).sum())


def _connector_flops(model: MultimodalModel) -> int:
    """Operations of a connector's forward pass over one picture, counted on torch's `meta` device: nothing is computed,
    and the random state stays as it is.
    """
    vision, columns = model.vision, model.added_embeddings.shape[1]
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        connector = model.config.connector.trained().build(vision.width, columns).eval().requires_grad_(False)
        connector(torch.empty(1, math.prod(vision.grid), vision.width), vision.grid)
    return counter.get_total_flops()


def _is_countable(model: MultimodalModel) -> bool:
    """Whether the language model is made of attention, and each token goes through all of its weights."""
    text: Any = model.language.config.get_text_config()  # type: ignore[operator, union-attr]
    return hasattr(text, "num_attention_heads") and not getattr(text, "num_experts_per_tok", None)
