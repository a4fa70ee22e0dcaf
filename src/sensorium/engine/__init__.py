"""One way to ask any model: `stream`, `answer`, `score`. What stands above never sees a tensor of the model."""

from sensorium.engine.base import Card, Delta, Engine, Reply, Sampling
from sensorium.engine.torch import TorchEngine

__all__ = ["Card", "Delta", "Engine", "Reply", "Sampling", "TorchEngine"]
