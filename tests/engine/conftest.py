"""Questions that every engine is asked, and the tiny model in each of the engines that run a model themselves."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Picture

from sensorium.conversation import Conversation, Image, assistant, system, user
from sensorium.model.multimodal import ADDED_TOKENS
from sensorium.rendering import Renderer


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


def make_sentencepiece(template: str) -> Any:
    """A tokenizer of the SentencePiece kind, as Llama 2's: blanks are `▁`, one more before the first word, and what
    has no word is bytes."""
    from tokenizers import Tokenizer, decoders, models, normalizers, trainers
    from transformers import PreTrainedTokenizerFast

    rules = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trained = Tokenizer(models.BPE())
    trained.normalizer = rules
    trainer = trainers.BpeTrainer(vocab_size=120, show_progress=False)
    words = ["Yes", "No", "the", "cat", "sat", "on", "a", "mat", '{"a": 1}', "(1,20),(345,6789)"]
    trained.train_from_iterator([words] * 4, trainer)
    learned = json.loads(trained.to_str())["model"]
    tokens = ["<unk>", "<|im_start|>", "<|im_end|>", *(f"<0x{byte:02X}>" for byte in range(256)), *learned["vocab"]]
    merges = [tuple(merge) for merge in learned["merges"]]
    vocabulary = {word: i for i, word in enumerate(tokens)}
    backend = Tokenizer(models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    backend.normalizer = rules
    backend.decoder = decoders.Sequence([
        decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)
    ])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|im_end|>", unk_token="<unk>", chat_template=template,
        additional_special_tokens=["<|im_start|>"],
    )  # fmt: skip
    tokenizer.add_tokens(list(ADDED_TOKENS), special_tokens=True)
    return tokenizer


@pytest.fixture(scope="session")
def sentencepiece_renderer(chatml: str) -> Renderer:
    """Of the tokenizer made by `make_sentencepiece`."""
    return Renderer(make_sentencepiece(chatml), 4)


@pytest.fixture(scope="session")
def smollm2_renderer(smollm2: Any) -> Renderer:
    """Of SmolLM2's tokenizer with our tokens."""
    tokenizer = smollm2[1]()
    tokenizer.add_tokens(list(ADDED_TOKENS), special_tokens=True)
    return Renderer(tokenizer, 4)


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
