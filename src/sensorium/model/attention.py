"""Grouped-query attention by plain matrix products, and packed batches, for CPUs.

PyTorch's fused attention is made for long sequences and GPUs; for the few hundred tokens of a conversation, forward and
backward in bfloat16 on a CPU, two batched products and a softmax are two to three times faster, and the query heads of
one key head share a product, so keys and values are never repeated. `benchmarks/train_step.py` measures it.

Where a whole batch runs at once on a CPU (training, scoring), and the model's layers all attend to everything before
them, it is packed: the tokens of all conversations in one row without padding, and attention goes over a few
conversations at a time, each over its shared beginning and itself, so that little is computed for pairs that may not
see one another, and scores stay in the processor's cache.

Registered with transformers under the name `grouped`; a language model takes it by `set_attn_implementation`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import compress, groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

NAME = "grouped"
CHUNK = 8  # conversations: their scores fit into the second-level cache of a processor core, or nearly


@dataclass(frozen=True)
class Chunk:
    """A few conversations (or rests of conversations after a shared beginning) whose attention is computed at once.

    queries [m, s], keys [m, l]: places in the packed row, 0 where shorter ones are filled up. real [m, s]: True where a
    query is one. hidden [m, 1, s, l]: True where a query must not look.
    """

    queries: Tensor
    keys: Tensor
    real: Tensor
    hidden: Tensor


@dataclass(frozen=True)
class Packing:
    """Where the tokens of a padded batch stand in one packed row, and who sees whom there.

    index [n]: of each packed token in the flattened batch. positions [1, n].
    """

    index: Tensor
    positions: Tensor
    chunks: tuple[Chunk, ...]

    @classmethod
    def of(cls, mask: Tensor, segments: Tensor | None = None, position_ids: Tensor | None = None) -> Packing:
        """mask [b, t]: True for tokens; segments, position_ids [b, t]: as in `Batch`."""
        index = mask.flatten().nonzero().flatten()
        positions = mask.long().cumsum(-1) - 1 if position_ids is None else position_ids
        parts = torch.zeros_like(mask, dtype=torch.long) if segments is None else segments
        runs = sorted(_runs(mask.tolist(), parts.tolist()), key=lambda run: (run.end - run.start, run.seen))
        groups = [runs[i : i + CHUNK] for i in range(0, len(runs), CHUNK)]
        chunks = tuple(_chunk(group, mask.device) for group in groups)
        return cls(index, positions.flatten()[index][None], chunks)

    def additive_mask(self, dtype: torch.dtype) -> Tensor:
        """Who sees whom in the packed row -> [1, 1, n, n], 0 where i may look at j, the smallest number where not."""
        n = len(self.index)
        mask = torch.full((n, n), torch.finfo(dtype).min, dtype=dtype, device=self.index.device)
        for chunk in self.chunks:
            seen = ~chunk.hidden[:, 0] & chunk.real[..., None]  # [m, s, l]
            for queries, keys, visible in zip(chunk.queries, chunk.keys, seen, strict=True):
                rows, columns = visible.nonzero(as_tuple=True)
                mask[queries[rows], keys[columns]] = 0
        return mask[None, None]

    def pack(self, padded: Tensor) -> Tensor:
        """[b, t, d] -> [1, n, d]"""
        return padded.flatten(0, 1)[self.index][None]

    def unpack(self, packed: Tensor, b: int, t: int) -> Tensor:
        """[1, n, d] -> [b, t, d], zeros where padding stood."""
        padded = packed.new_zeros(b * t, packed.shape[-1])
        return padded.index_copy(0, self.index, packed[0]).view(b, t, -1)


def stand_in_mask(embeddings: Tensor) -> Tensor:
    """The mask that goes with a `Packing`: transformers takes it as it is and makes none of its own.

    Nothing can be added to it, so that a model which drops the packing on the way fails instead of mixing.
    """
    return embeddings.new_zeros(1, 1, 0, 0)


class _LostPacking(RuntimeError):
    """A packed batch came to a layer's attention without its packing."""


class _Run(NamedTuple):
    """Tokens [start, end) of the packed row, which see [first, first + seen), each other, and nobody ahead."""

    start: int
    end: int
    first: int
    seen: int


def _runs(mask: list[list[bool]], segments: list[list[int]]) -> Iterator[_Run]:
    at = 0
    for row, is_token in zip(segments, mask, strict=True):
        first, seen = at, 0
        for segment, tokens in groupby(compress(row, is_token)):
            end = at + len(list(tokens))
            yield _Run(at, end, first, seen)
            seen = end - first if segment == 0 else seen
            at = end


def _chunk(runs: list[_Run], device: torch.device) -> Chunk:
    m, s = len(runs), max(run.end - run.start for run in runs)
    most_seen = max(run.seen for run in runs)
    queries, keys = torch.zeros(m, s, dtype=torch.long), torch.zeros(m, most_seen + s, dtype=torch.long)
    real, visible = torch.zeros(m, s, dtype=torch.bool), torch.zeros(m, s, most_seen + s, dtype=torch.bool)
    for i, run in enumerate(runs):
        length = run.end - run.start
        queries[i, :length] = keys[i, most_seen : most_seen + length] = torch.arange(run.start, run.end)
        keys[i, : run.seen] = torch.arange(run.first, run.first + run.seen)
        real[i, :length] = True
        visible[i, :, : run.seen] = True
        visible[i, :length, most_seen : most_seen + length] = torch.ones(length, length, dtype=torch.bool).tril()
    return Chunk(*(tensor.to(device) for tensor in (queries, keys, real, ~visible[:, None])))


class _PackedAttention(torch.autograd.Function):
    """query [heads, n, d], key [key heads, n, d], value [key heads, n, v] -> [n, heads, v], chunk by chunk.

    Written out with its backward pass, because autograd would keep and add up a tensor of full length for each chunk.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, chunks: tuple[Chunk, ...], scaling: float
    ) -> Tensor:
        heads, n, _ = query.shape
        output = query.new_empty(n, heads, value.shape[-1])
        kept = []
        for chunk in chunks:
            q, k, v = _gather(query, chunk.queries, len(key)), _gather(key, chunk.keys), _gather(value, chunk.keys)
            (m, s), seen = chunk.queries.shape, chunk.keys.shape[1]
            scores = torch.bmm(q * scaling, k.transpose(1, 2)).view(m, heads, s, seen)
            scores.masked_fill_(chunk.hidden, torch.finfo(scores.dtype).min)
            weights = scores.softmax(-1).view(len(q), -1, seen)
            attended = torch.bmm(weights, v).view(m, heads, s, -1).transpose(1, 2)
            output[chunk.queries[chunk.real]] = attended[chunk.real]
            kept.append(weights)
        ctx.save_for_backward(query, key, value, *kept)
        ctx.chunks, ctx.scaling = chunks, scaling
        return output

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        query, key, value, *kept = ctx.saved_tensors
        heads, n, d = query.shape
        to_query = query.new_empty(n, heads, d)
        # A shared beginning gathers from all its conversations: summed in float32.
        to_key, to_value = (torch.zeros(n, len(of), of.shape[-1], device=of.device) for of in (key, value))
        for chunk, weights in zip(ctx.chunks, kept, strict=True):
            q, k, v = _gather(query, chunk.queries, len(key)), _gather(key, chunk.keys), _gather(value, chunk.keys)
            (m, s), seen = chunk.queries.shape, chunk.keys.shape[1]
            g = gradient[chunk.queries].masked_fill_(~chunk.real[..., None, None], 0)
            g = g.transpose(1, 2).reshape(*q.shape[:2], -1)
            of_value = torch.bmm(weights.transpose(1, 2), g)
            of_scores = torch._softmax_backward_data(torch.bmm(g, v.transpose(1, 2)), weights, -1, weights.dtype)
            of_scores = of_scores * ctx.scaling
            of_query = torch.bmm(of_scores, k).view(m, heads, s, d).transpose(1, 2)
            to_query[chunk.queries[chunk.real]] = of_query[chunk.real]
            of_key = torch.bmm(of_scores.transpose(1, 2), q)
            for total, of in ((to_key, of_key), (to_value, of_value)):
                of = of.view(m, len(key), seen, -1).transpose(1, 2).reshape(m * seen, len(key), -1)
                total.index_add_(0, chunk.keys.flatten(), of.float())
        return to_query.transpose(0, 1), to_key.to(key).transpose(0, 1), to_value.to(value).transpose(0, 1), None, None


def _gather(of_heads: Tensor, places: Tensor, key_heads: int | None = None) -> Tensor:
    """[heads, n, d] at places [m, l] -> [m * key heads, heads of each * l, d]."""
    heads, _, d = of_heads.shape
    m = len(places)
    return of_heads.transpose(0, 1)[places].transpose(1, 2).reshape(m * (key_heads or heads), -1, d)


def grouped_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    packing: Packing | None = None,
    look: Callable[[Tensor, Tensor, Tensor | None, float], None] | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """query [b, heads, t, d], key [b, key heads, s, d], value [b, key heads, s, v], additive mask [b, 1, t, s]
    -> [b, t, heads, v].

    No mask means that everything is seen, as a single new token with its cache does. With a packing, b is 1 and the
    packing says who sees whom. look: is shown queries, keys, mask and scaling before anything is computed, see
    `model.dropping`.
    """
    if look is not None:
        look(query, key, attention_mask, scaling)
    if packing is not None:
        q, k = query[0].to(value.dtype), key[0].to(value.dtype)
        return _PackedAttention.apply(q, k, value[0], packing.chunks, scaling)[None], None  # type: ignore[no-untyped-call]
    if attention_mask is not None and not attention_mask.numel():
        raise _LostPacking(f"{type(module).__name__} was not handed the packing of its batch.")
    b, heads, t, d = query.shape
    key_heads, s = key.shape[1], key.shape[2]
    rows = (query * scaling).reshape(b, key_heads, heads // key_heads * t, d)
    scores = torch.matmul(rows, key.transpose(-1, -2)).view(b, heads, t, s)
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = scores.softmax(-1).to(value.dtype).view(b, key_heads, heads // key_heads * t, s)
    return torch.matmul(weights, value).view(b, heads, t, -1).transpose(1, 2).contiguous(), None


def use_grouped_attention(language: nn.Module) -> None:
    """Switch a transformers language model to it, unless its attention is more than a softmax of products.

    Whole batches are then packed where `can_pack`; otherwise masks must be additive.
    """
    if not is_softmax_of_products(language) or not _is_exchangeable(language):
        return
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, eager_mask

    AttentionInterface.register(NAME, grouped_attention)
    AttentionMaskInterface.register(NAME, eager_mask)
    language.set_attn_implementation(NAME)  # type: ignore[operator]
    setattr(language, _PACKS, is_plain(language) and _hands_on(language))  # once: it goes through all modules


def can_pack(language: nn.Module) -> bool:
    """Whether a language model's attention is ours, and nothing else mixes tokens: a packing rules attention only."""
    config: Any = language.config
    return config._attn_implementation == NAME and getattr(language, _PACKS, False)


def _hands_on(language: nn.Module) -> bool:
    """Whether a packing arrives in every layer: some models drop what they do not know, on one token as on thousands.

    Of a skeleton on torch's `meta` device nobody can say; it is believed.
    """
    table: Tensor = language.get_input_embeddings().weight  # type: ignore[operator]
    if table.is_meta:
        return True
    token = table.detach()[None, :1]
    packing = Packing.of(torch.ones(1, 1, dtype=torch.bool, device=token.device))
    was_training = language.training
    language.eval()  # no dropout, which would move the random state
    try:
        with torch.no_grad():
            language.get_decoder()(  # type: ignore[operator]
                inputs_embeds=token, attention_mask=stand_in_mask(token), position_ids=packing.positions,
                use_cache=False, packing=packing,
            )
    except _LostPacking:
        return False
    finally:
        language.train(was_training)
    return True


def is_plain(language: nn.Module) -> bool:
    """Whether conversations can share a row: every layer mixes tokens by attention to everything before, as it is told,
    and by nothing else.
    """
    return not why_not_plain(language)


def why_not_plain(language: nn.Module) -> str:
    """What in a language model keeps conversations from sharing a row, in words, or nothing.

    Windows and chunks do not see everything; convolutions and recurrent states run on from one conversation into the
    next, whatever a mask says; attention of a model's own (ALiBi's, most often) makes masks and positions of its own.
    """
    config: Any = language.config.get_text_config()  # type: ignore[operator, union-attr]
    if getattr(config, "sliding_window", None) or "sliding_attention" in (getattr(config, "layer_types", None) or ()):
        return "some layers look through a sliding window"
    return why_not_by_masks(language)


def why_not_by_masks(language: nn.Module) -> str:
    """What in a language model mixes tokens otherwise than by attention under the masks it is given, in words, or
    nothing."""
    config: Any = language.config.get_text_config()  # type: ignore[operator, union-attr]
    kinds = set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    if kinds:
        return f"some layers are no full attention ({', '.join(sorted(kinds))})"
    mixers = {type(module).__name__ for module in language.modules() if _mixes_otherwise(module)}
    if mixers:
        return f"{', '.join(sorted(mixers))} carries something on from token to token"
    if any(name.endswith("position_embeddings") and getattr(table, "padding_idx", None) is not None
           for name, table in language.named_modules()):
        return "its positions are counted from the padding token's number"  # RoBERTa's, and nobody else's
    return "" if _is_exchangeable(language) else f"{type(language).__name__} has an attention of its own"


_PACKS = "sensorium_packs"
_OTHER_MIXERS = ("mamba", "conv", "recurrent", "deltanet", "rwkv", "linearattention", "lightning")


def _mixes_otherwise(module: nn.Module) -> bool:
    from transformers.pytorch_utils import Conv1D  # GPT-2's name for a linear layer

    return not isinstance(module, Conv1D) and any(mixer in type(module).__name__.lower() for mixer in _OTHER_MIXERS)


def _is_exchangeable(language: nn.Module) -> bool:
    """Whether the model's attention is one of transformers' registry, to which it hands masks and whatever else it is
    given: what it says of itself, as its serving backends ask it.
    """
    return getattr(language, "_supports_attention_backend", False)


def is_softmax_of_products(language: nn.Module) -> bool:
    """Whether a layer's attention is no more than that: neither capped scores (Gemma 2) nor sinks (gpt-oss)."""
    config: Any = language.config
    has_sinks = any(name.endswith("sinks") for name, _ in language.named_parameters())
    return not (getattr(config.get_text_config(), "attn_logit_softcapping", None) or has_sinks)


def additive_mask(segments: Tensor, dtype: torch.dtype) -> Tensor:
    """Who sees whom -> [b, 1, t, t], 0 where position i may look at j and the smallest number where not.

    segments [b, t]: 0 is seen by all that follow (a shared beginning), k > 0 only by its own segment, -1 is padding.
    Nobody looks ahead. Padding sees itself, so that its softmax is defined.
    """
    t = segments.shape[1]
    causal = torch.ones(t, t, dtype=torch.bool, device=segments.device).tril()
    mine = segments[:, :, None] == segments[:, None, :]
    shared = segments[:, None, :] == 0
    seen = causal & (mine | (shared & (segments >= 0)[:, :, None]))
    mask = torch.zeros(seen.shape, dtype=dtype, device=segments.device)
    return mask.masked_fill(~seen, torch.finfo(dtype).min)[:, None]
