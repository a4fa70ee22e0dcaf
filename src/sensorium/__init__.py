"""Sensorium: build, train, evaluate, correct, serve and talk with multimodal language models.

    import sensorium
    from sensorium.conversation import Conversation, Image, user

    engine = sensorium.load("default")
    question = Conversation((user(Image("photo.jpg"), "What is in the picture?"),))
    for delta in engine.stream(question):
        print(delta.text, end="", flush=True)

Importing the package is cheap; what is heavy is imported by `load`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sensorium.errors import SensoriumError

if TYPE_CHECKING:
    from pathlib import Path

    from sensorium.engine import Engine
    from sensorium.engine.loading import EngineName
    from sensorium.progress import ProgressCallback

__version__ = "0.1.0"
__all__ = ["SensoriumError", "__version__", "load"]


def load(
    name: str | Path = "default",
    progress: ProgressCallback | None = None,
    engine: EngineName = "auto",
    api_key: str | None = None,
    visual_tokens: int | None = None,
    compressor: str | None = None,
) -> Engine:
    """An engine to ask: `.stream`, `.answer`, `.score`.

    name: `default` (the model inside the package), a model folder or finished run of `sensorium train`, a folder of
    `sensorium export gguf`, a folder or hub id of transformers', or the address of a server that speaks OpenAI's API,
    `http://HOST/v1#MODEL`.
    progress: called with (what is happening, done, in all or 0 when unknown) while parts are fetched and converted.
    engine: of our models `torch`, the reference; `llamacpp`, several times faster on processors; `auto`, the latter
    where it can be. Others have one each, `transformers` or `remote`.
    api_key: of a server that wants one. visual_tokens: that a picture may take at most, as many as the model makes if
    left out; compressor: how they become fewer, `pool` if left out.
    Raises SensoriumError when there is no such model, or a part of it cannot be fetched.
    """
    from sensorium.engine.loading import load_engine

    return load_engine(name, progress, engine=engine, api_key=api_key, visual_tokens=visual_tokens,
                       compressor=compressor)
