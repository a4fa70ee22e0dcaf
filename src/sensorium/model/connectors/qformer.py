"""The Q-Former: learned queries that read the picture through BERT's layers (BLIP-2, arXiv:2301.12597, section 3.1).

32 queries pass through 12 layers of width 768; every second layer, the first among them, also attends to the image
features. However large the picture, 32 tokens come out. As in BLIP-2's second stage there is no text in it, so the text
embeddings and the text half of each layer's feed-forward are left out.

The blocks are `transformers`' own; here are the queries, the norm before and the projection after, and the start from
BERT-base that the paper prescribes (`load_bert`).
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import Blip2QFormerConfig, Blip2QFormerModel

from sensorium.errors import SensoriumError
from sensorium.model.connectors.base import Connector, ConnectorSettings
from sensorium.model.pretrained import load_pretrained
from sensorium.parts import parse_part

HEAD_WIDTH = 64  # BERT's: 12 heads at width 768

# BERT's name -> the Q-Former's, the first that fits. Queries take the place of words, and so their feed-forward.
_RENAMES = (
    ("embeddings.LayerNorm.", "layernorm."),
    (".attention.self.", ".attention.attention."),
    (".attention.output.", ".attention.output."),
    (".intermediate.", ".intermediate_query."),
    (".output.", ".output_query."),
)


@dataclass(frozen=True)
class BertReport:
    """What `load_bert` did, as names: `loaded` and `missing` of the Q-Former, `unused` of the given weights."""

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]


class QFormerConnector(Connector):
    """[n, t, d] -> [n, n_queries, d_llm], whatever the grid."""

    def __init__(self, vision_width: int, language_width: int, config: QFormerConfig) -> None:
        super().__init__(vision_width, language_width)
        self.n_queries = config.n_queries
        self.norm = nn.LayerNorm(vision_width)
        self.queries = nn.Parameter(torch.randn(1, config.n_queries, config.width) * 0.02)
        self.qformer = Blip2QFormerModel(
            Blip2QFormerConfig(
                hidden_size=config.width,
                num_hidden_layers=config.n_layers,
                num_attention_heads=config.width // HEAD_WIDTH,
                intermediate_size=4 * config.width,
                hidden_dropout_prob=config.dropout,
                attention_probs_dropout_prob=config.dropout,
                cross_attention_frequency=config.cross_attention_every,
                encoder_hidden_size=vision_width,
            )
        )
        self.projection = nn.Linear(config.width, language_width)

    def n_tokens(self, grid: tuple[int, int]) -> int:
        return self.n_queries

    def token_grid(self, grid: tuple[int, int]) -> None:
        """Each query sees the whole picture."""

    def forward(self, features: Tensor, grid: tuple[int, int]) -> Tensor:
        self.check(features, grid)
        queries = self.queries.expand(features.shape[0], -1, -1)
        read = self.qformer(query_embeds=queries, encoder_hidden_states=self.norm(features))
        return self.projection(read.last_hidden_state)

    def load_bert(self, source: Mapping[str, Tensor] | str | Path) -> BertReport:
        """Copy BERT's weights in where the names correspond (self-attention; feed-forward; the norm after embedding).

        source: a state dict, a .safetensors or torch file, or a Hugging Face folder. The cross-attention has no
        counterpart in BERT, keeps its random start and is reported as missing.
        Raises SensoriumError when a shape differs, nothing fits, or the file cannot be read.
        """
        where = source if isinstance(source, str | Path) else "BERT weights"
        theirs = source if isinstance(source, Mapping) else _read_weights(Path(source))
        ours = self.qformer.state_dict()
        found, unused = {}, []
        for name, tensor in theirs.items():
            name_here = _name_in_qformer(name)
            if name_here not in ours:
                unused.append(name)
            elif tensor.shape != ours[name_here].shape:
                wanted, got = list(ours[name_here].shape), list(tensor.shape)
                raise SensoriumError(where, f"{name} is {got}, the Q-Former needs {wanted}.", "Set `width` to BERT's.")
            else:
                found[name_here] = tensor
        if not found:
            raise SensoriumError(where, "holds no weights of a BERT encoder.", "Give BERT-base's own weights.")
        self.qformer.load_state_dict(found, strict=False)
        return BertReport(tuple(found), tuple(name for name in ours if name not in found), tuple(unused))


def _weights_of(bert: str) -> Mapping[str, Tensor] | str:
    """What `load_bert` takes for a configuration's `bert`: files as they are, the tensors of a hub id."""
    if Path(bert).exists() or parse_part(bert).kind != "hub":
        return bert
    from transformers import AutoModel

    return load_pretrained(AutoModel, bert, bert, dtype=torch.float32).state_dict()


def _name_in_qformer(name: str) -> str:
    name = name.removeprefix("bert.")
    # The first published BERT files call a norm's weight and bias gamma and beta.
    name = name.replace(".LayerNorm.gamma", ".LayerNorm.weight").replace(".LayerNorm.beta", ".LayerNorm.bias")
    for theirs, ours in _RENAMES:
        if theirs in name:
            return name.replace(theirs, ours)
    return name


def _read_weights(path: Path) -> Mapping[str, Tensor]:
    """A state dict from a file, or from the model file in a folder. Pickled code is never run."""
    if path.is_dir():
        inside = [path / name for name in ("model.safetensors", "pytorch_model.bin") if (path / name).is_file()]
        if not inside:
            raise SensoriumError(path, "has neither model.safetensors nor pytorch_model.bin in it.")
        path = inside[0]
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise SensoriumError(path, "does not exist.") from error
    except (OSError, RuntimeError, EOFError, SafetensorError, pickle.UnpicklingError) as error:
        raise SensoriumError(path, "cannot be read as weights.", "Give a .safetensors file.") from error
    if not isinstance(weights, Mapping):
        raise SensoriumError(path, "holds no table of tensors.", "Give a state dict.")
    return weights


class QFormerConfig(ConnectorSettings):
    """kind `qformer`: the defaults are BLIP-2's. dropout is BERT's; it acts in training only.

    bert: where BERT's weights come from, a folder, a file or a hub id (BLIP-2: google-bert/bert-base-uncased); without,
    the layers start at random.
    """

    kind: Literal["qformer"] = "qformer"
    n_queries: int = Field(default=32, ge=1)
    n_layers: int = Field(default=12, ge=1)
    width: int = Field(default=768, ge=HEAD_WIDTH)
    cross_attention_every: int = Field(default=2, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    bert: str | None = None

    @model_validator(mode="after")
    def _width_holds_whole_heads(self) -> QFormerConfig:
        if self.width % HEAD_WIDTH:
            raise ValueError(f"width {self.width} is not a multiple of {HEAD_WIDTH}, the width of a head")
        return self

    def build(self, vision_width: int, language_width: int) -> QFormerConnector:
        connector = QFormerConnector(vision_width, language_width, self)
        if self.bert is not None and not connector.queries.is_meta:  # a skeleton has shapes only
            connector.load_bert(_weights_of(self.bert))
        return connector

    def trained(self) -> QFormerConfig:
        return self.model_copy(update={"bert": None})
