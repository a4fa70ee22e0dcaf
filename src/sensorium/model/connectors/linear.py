"""One matrix: LLaVA's first connector (arXiv:2304.08485, section 4.1). The baseline that others must beat."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from sensorium.model.connectors.base import Connector, ConnectorSettings


class LinearConnector(Connector):
    """[n, t, d] -> [n, t, d_llm]: every patch becomes one token."""

    def __init__(self, vision_width: int, language_width: int, bias: bool) -> None:
        super().__init__(vision_width, language_width)
        self.projection = nn.Linear(vision_width, language_width, bias=bias)

    def forward(self, features: Tensor, grid: tuple[int, int]) -> Tensor:
        self.check(features, grid)
        return self.projection(features)


class LinearConfig(ConnectorSettings):
    """kind `linear`: one token a patch."""

    kind: Literal["linear"] = "linear"
    bias: bool = True

    def build(self, vision_width: int, language_width: int) -> LinearConnector:
        return LinearConnector(vision_width, language_width, self.bias)
