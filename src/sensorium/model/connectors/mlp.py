"""N linear layers with GELU between: LLaVA-1.5's connector (arXiv:2310.03744).

Depth 2 is the published `mlp2x_gelu`: d -> d_llm, GELU (exact), d_llm -> d_llm. Every patch becomes one token, so CLIP
ViT-L/14 at 224 pixels gives 256 tokens and at 336 gives 576.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from sensorium.model.connectors.base import Connector, ConnectorSettings


class MlpConnector(Connector):
    """[n, t, d] -> [n, t, d_llm]; the hidden width is the language model's."""

    def __init__(self, vision_width: int, language_width: int, depth: int) -> None:
        super().__init__(vision_width, language_width)
        layers: list[nn.Module] = [nn.Linear(vision_width, language_width)]
        for _ in range(depth - 1):
            layers += [nn.GELU(), nn.Linear(language_width, language_width)]
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor, grid: tuple[int, int]) -> Tensor:
        self.check(features, grid)
        return self.layers(features)


class MlpConfig(ConnectorSettings):
    """kind `mlp`: depth counts the linear layers."""

    kind: Literal["mlp"] = "mlp"
    depth: int = Field(default=2, ge=1, le=8)

    def build(self, vision_width: int, language_width: int) -> MlpConnector:
        return MlpConnector(vision_width, language_width, self.depth)
