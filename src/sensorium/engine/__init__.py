"""One way to ask any model: `stream`, `answer`, `score`. What stands above never sees a tensor of the model.

`engine.torch` is the reference, `engine.llamacpp` the fast one on processors; `engine.loading` chooses.
"""

from sensorium.engine.base import Card, Delta, Engine, Reply, Sampling

__all__ = ["Card", "Delta", "Engine", "Reply", "Sampling"]
