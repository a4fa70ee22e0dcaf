"""Questions that every engine is asked, and the tiny model in each of the engines that run a model themselves."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Picture

from sensorium.conversation import Conversation, Image, assistant, system, user


def picture(colour: tuple[int, int, int]) -> Image:
    data = io.BytesIO()
    Picture.new("RGB", (30, 20), colour).save(data, format="PNG")
    return Image(data.getvalue())


RED, BLUE = picture((250, 10, 10)), picture((10, 10, 250))
ASKED = Conversation((user(RED, "What is in the picture?"),))
SEVERAL = [
    ASKED,
    Conversation((user("Hi"),)),
    Conversation((user(BLUE, " and ", RED, " differ?"), assistant("Yes"), user("How? Be careful and helpful."))),
    Conversation((system("Be brief."), user("a " * 30))),
]


@pytest.fixture(scope="session")
def gguf_folder(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`model_folder` as `sensorium export gguf --quantization f16` writes it."""
    from sensorium.export.gguf import export_gguf

    return export_gguf(model_folder, tmp_path_factory.mktemp("gguf") / "tiny", "f16")


@pytest.fixture(scope="session")
def llamacpp_engine(gguf_folder: Path) -> Iterator[Any]:
    """The engine of `gguf_folder`. Shared: tests ask it, and change nothing."""
    pytest.importorskip("xllamacpp", reason="xllamacpp has no wheel for this platform")
    from sensorium.engine.llamacpp.engine import LlamaCppEngine

    engine = LlamaCppEngine(gguf_folder, threads=1, slots=4, context_length=4096)
    yield engine
    engine.close()


@pytest.fixture(params=["torch", "llamacpp"])
def any_engine(request: pytest.FixtureRequest) -> Any:
    """Each engine in turn, of one model."""
    return request.getfixturevalue({"torch": "small_engine", "llamacpp": "llamacpp_engine"}[request.param])
