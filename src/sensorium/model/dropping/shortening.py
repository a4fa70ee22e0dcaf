"""Run a language model whose later layers see fewer visual tokens.

The model's own forward pass stays what it is: a `Shortening` travels through it among the named arguments, and before
each layer a hook hands the layer what it is to see. Where a stage begins, tokens leave the hidden states, positions and
rotations; from there on that layer's keys and values are fewer too. So layers have caches of different lengths, and
each is given a mask of its own, made from who is there and where they stood in the prompt (which windows go by).

Prompts are padded on the left, so that each ends in the last column however many of its tokens have left.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sensorium.model.blocks import blocks_of
from sensorium.model.dropping.dropping import Dropping, Stage
from sensorium.model.dropping.looking import Look, Seen

ARGUMENT = "shortening"  # under which it travels


class Present(NamedTuple):
    """Who is there from some layer on, all [b, s]. real: False for padding; visual: real ones that are a picture's."""

    real: Tensor
    positions: Tensor
    visual: Tensor

    def taken(self, index: Tensor, real: Tensor) -> Present:
        return Present(real, self.positions.gather(1, index), self.visual.gather(1, index) & real)


class Shortening:
    """One batch, from its prompts to the ends of its replies: called first with the prompts, then with each token.

    decoder: prepared by `allow_dropping`. mask, visual [b, t]: which tokens of the prompts, padded on the left, are
    real, and which of them a picture's. asking [b]: the column of each prompt's last token, by default the last one;
    behind it stands what must not have a say.
    """

    def __init__(
        self, decoder: nn.Module, dropping: Dropping, mask: Tensor, visual: Tensor, asking: Tensor | None = None
    ) -> None:
        self.decoder, self.dropping = decoder, dropping
        b, t = mask.shape
        visual = visual & mask
        positions = (mask.long().cumsum(-1) - 1).clamp(min=0)
        self._from_end = torch.zeros(b, dtype=torch.long, device=mask.device) if asking is None else t - 1 - asking
        self._n_visual = visual.sum(1)
        self._present = [Present(mask, positions, visual)]  # at first, and after each stage that drops anything
        self._columns: list[Tensor | None] = [None]  # which columns of the prompt each stage holds
        self._stages = self._that_drop(dropping.stages)
        self._windows = _windows(decoder, len(blocks_of(decoder)))
        self._masks: dict[tuple[int, int | None], Tensor] = {}
        self._look: Look | None = None
        self._seeds: list[bytes] = []  # to draw lots by, of each prompt
        self._cache: Any = None
        self._is_read = False

    @property
    def n_tokens(self) -> list[list[int]]:
        """How many tokens of each conversation each layer holds: [layers][b]."""
        return [self._present[self._stage(i)].real.sum(1).tolist() for i in range(len(self._windows))]

    def __call__(self, embeddings: Tensor, cache: Any = None, use_cache: bool = True, **named: Any) -> Any:
        """The decoder's output for the prompts' embeddings [b, t, d], or for one more token of each, [b, 1, d].

        Its last hidden states [b, t', d] are those of the tokens that stayed, each row's last ones in the last columns.
        """
        if self._is_read:
            self._present = [_one_more(present) for present in self._present]
        elif use_cache:
            from transformers import DynamicCache

            cache = DynamicCache()  # one without windows: ours are in the masks, by places in the prompt
        if self.dropping.ranking == "random" and not self._is_read:
            self._seeds = [_seed(row[shown]) for row, shown in zip(embeddings, self._present[0].visual, strict=True)]
        self._masks, self._look, self._cache = {}, None, cache
        positions = self._present[0].positions[:, -embeddings.shape[1] :]
        output = self.decoder(
            inputs_embeds=embeddings, attention_mask=self._mask(0, None, embeddings), position_ids=positions,
            past_key_values=cache, use_cache=use_cache, **{ARGUMENT: self}, **named,
        )  # fmt: skip
        self._is_read = True
        return output

    def select(self, rows: Tensor) -> None:
        """Go on with these rows of the batch alone, in this order."""
        self._present = [Present(*(of_all[rows] for of_all in present)) for present in self._present]

    def before(
        self, number: int, layer: nn.Module, hidden: Tensor, named: dict[str, Any]
    ) -> tuple[Tensor, dict[str, Any]]:
        """What the layer of this number is to be given in place of hidden states and named arguments."""
        stage = self._stage(number)
        if not self._is_read:
            if stage > 0 and self._stages[stage - 1].layers == number:
                paid = self._paid(stage - 1, number, layer, hidden, named)
                hidden = _taken(hidden, self._drop(stage - 1, paid))
            named = self._of_stage(stage, named)
            if self.dropping.ranking == "attention" and any(s.layers == number + 1 for s in self._stages):
                named["look"] = self._look = Look(self._asking(stage))
        return hidden, named | {"attention_mask": self._mask(stage, self._windows[number], hidden)}

    def _stage(self, number: int) -> int:
        return sum(stage.layers <= number for stage in self._stages)

    def _that_drop(self, stages: tuple[Stage, ...]) -> list[Stage]:
        """The stages at which any prompt of the batch loses a token: nobody needs to be ranked for the others."""
        found, before = [], self._n_visual.tolist()
        for stage in stages:
            after = [stage.count(n) for n in self._n_visual.tolist()]
            if after != before:
                found.append(stage)
            before = after
        return found

    def _asking(self, stage: int) -> Tensor:
        """The columns of the tokens that ask."""
        return self._present[stage].real.shape[1] - 1 - self._from_end

    def _paid(self, stage: int, number: int, layer: nn.Module, hidden: Tensor, named: dict[str, Any]) -> Tensor:
        """What decides who of a stage's tokens goes on to the next one: [b, s], more is better."""
        if self.dropping.ranking == "random":
            return _lots(self._present[stage].visual, self._seeds)
        if self.dropping.ranking == "attention":
            assert self._look is not None and self._look.paid is not None, "`allow_dropping` has seen it look"
            return self._look.paid
        look = Look(self._asking(stage), is_glance=True)
        told = self._of_stage(stage, named) | {"attention_mask": self._mask(stage, self._windows[number], hidden)}
        told = {name: None if value is self._cache else value for name, value in told.items()}  # nothing is kept of it
        with suppress(Seen):
            layer.forward(hidden, **told, look=look)  # no hooks: this layer is still to run
        assert look.paid is not None, "`allow_dropping` has seen it look"
        return look.paid

    def _drop(self, stage: int, paid: Tensor) -> Tensor:
        """Note who goes on to the next stage -> their columns [b, s'], padded on the left with some that do not."""
        present = self._present[stage]
        n = torch.tensor([self._stages[stage].count(n) for n in self._n_visual.tolist()], device=paid.device)
        # Of equals the first: stable, so that a row is in a batch what it is alone.
        order = paid.masked_fill(~present.visual, -1).argsort(dim=1, descending=True, stable=True)
        is_chosen = torch.arange(order.shape[1], device=n.device) < n[:, None]
        stays = torch.where(present.visual, torch.zeros_like(is_chosen).scatter(1, order, is_chosen), present.real)
        longest = int(stays.sum(1).max())
        index = stays.long().argsort(dim=1, stable=True)[:, -longest:]
        self._present.append(present.taken(index, stays.gather(1, index)))
        before = self._columns[stage]
        self._columns.append(index if before is None else before.gather(1, index))
        return index

    def _of_stage(self, stage: int, named: dict[str, Any]) -> dict[str, Any]:
        """A layer's named arguments, positions and rotations narrowed to a stage's tokens."""
        columns = self._columns[stage]
        if columns is None:
            return dict(named)
        narrowed = {name: _narrowed(named[name], columns) for name in PER_TOKEN if named.get(name) is not None}
        return named | narrowed

    def _mask(self, stage: int, window: int | None, like: Tensor) -> Tensor:
        """Additive mask [b, 1, t, s] of a stage: nobody looks ahead, at padding, or farther back than a window."""
        if (stage, window) not in self._masks:
            real, positions, _ = self._present[stage]
            back = positions[:, -like.shape[1] :, None] - positions[:, None]
            seen = real[:, None] & (back >= 0)
            if window is not None:
                seen &= back < window
            mask = torch.zeros(seen.shape, dtype=like.dtype, device=like.device)
            self._masks[stage, window] = mask.masked_fill(~seen, torch.finfo(like.dtype).min)[:, None]
        return self._masks[stage, window]


PER_TOKEN = ("position_ids", "position_embeddings", "cache_position")  # of a layer's named arguments


def hand_over(decoder: nn.Module) -> None:
    """Put before each layer what hands a `Shortening` the word; without one a layer runs as ever."""
    for number, layer in enumerate(blocks_of(decoder)):
        if not getattr(layer, ARGUMENT, False):
            layer.register_forward_pre_hook(partial(_hand_over, number), with_kwargs=True)
            setattr(layer, ARGUMENT, True)


def _hand_over(number: int, layer: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
    shortening = named.pop(ARGUMENT, None)
    if shortening is None:
        return None
    hidden, named = shortening.before(number, layer, *given, named)
    return (hidden,), named


def _windows(decoder: nn.Module, n_layers: int) -> list[int | None]:
    """How far back each layer sees, its own token counted, as transformers decides it."""
    config: Any = decoder.config.get_text_config()  # type: ignore[operator, union-attr]
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"] * n_layers
    return [window if kind == "sliding_attention" else None for kind in kinds]


def _seed(tokens: Tensor) -> bytes:
    """Of a prompt's visual tokens [n, d] before the first layer: what half precision does not see changes nothing."""
    return hashlib.sha256(tokens.to(torch.float16).cpu().numpy().tobytes()).digest()


def _lots(visual: Tensor, seeds: list[bytes]) -> Tensor:
    """Numbers by lot for the visual tokens of each row, others for other pictures and at each stage: [b, s]."""
    lots = torch.zeros(visual.shape)
    for row, there, seed in zip(lots, visual.cpu(), seeds, strict=True):
        n = int(there.sum())
        drawn = hashlib.sha256(seed + n.to_bytes(4, "big")).digest()[:7]
        row[there] = torch.randperm(n, generator=torch.Generator().manual_seed(int.from_bytes(drawn, "big"))).float()
    return lots.to(visual.device)


def _taken(of_tokens: Tensor, index: Tensor) -> Tensor:
    """[b or 1, t, d] at [b, s] -> [b, s, d]."""
    rows = of_tokens.expand(len(index), *of_tokens.shape[1:])
    return rows.gather(1, index[..., None].expand(*index.shape, rows.shape[-1]))


def _narrowed(of_tokens: Any, columns: Tensor) -> Any:
    """positions [b or 1, t], or rotations, one or several [b or 1, t, d], at columns [b, s]."""
    if isinstance(of_tokens, Tensor):
        return _taken(of_tokens, columns) if of_tokens.ndim == 3 else _taken(of_tokens[..., None], columns)[..., 0]
    return tuple(_narrowed(one, columns) for one in of_tokens)


def _one_more(present: Present) -> Present:
    """A token of the reply behind each row."""
    real, positions, visual = present
    one = real.new_ones(len(real), 1)
    positions = torch.cat([positions, positions[:, -1:] + 1], 1)
    return Present(torch.cat([real, one], 1), positions, torch.cat([visual, ~one], 1))
