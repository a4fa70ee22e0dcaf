"""One way to ask any model: `stream`, `answer`, `score`. What stands above never sees a tensor of the model.

`engine.torch` is the reference, `engine.llamacpp` the fast one on processors, `engine.transformers` runs other people's
models and `engine.remote` asks a server; `engine.names` tells what a name means, `engine.loading` chooses.
"""

from sensorium.engine.base import Card, Delta, Engine, Logprob, Reply, Sampling
from sensorium.engine.constraint import YES_NO, Boxes, Constraint, JsonSchema, OneOf

__all__ = [
    "YES_NO", "Boxes", "Card", "Constraint", "Delta", "Engine", "JsonSchema", "Logprob", "OneOf", "Reply", "Sampling",
]
