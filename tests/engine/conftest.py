"""Questions that every engine is asked, and each of the engines, about the real language model and random eyes."""

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

from ..serving.conftest import served


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


@pytest.fixture(scope="session")
def llava_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder as LLaVA is assembled: a random CLIP tower of 8x8 patches, SmolLM2, nothing trained."""
    import torch
    from transformers import CLIPVisionConfig, CLIPVisionModel

    from sensorium.model.checkpoint import save_model
    from sensorium.model.multimodal import ModelConfig
    from sensorium.model.quiet import quietly

    root = tmp_path_factory.mktemp("llava")
    tower = CLIPVisionConfig(hidden_size=24, num_hidden_layers=3, num_attention_heads=2, intermediate_size=48,
                             image_size=64, patch_size=8, initializer_factor=8.0)  # fmt: skip
    with torch.random.fork_rng(), quietly():
        torch.manual_seed(1)
        CLIPVisionModel(tower).save_pretrained(root / "clip")
        tree = {"vision": {"part": str(root / "clip"), "layer": -2, "image_size": 64},
                "connector": {"kind": "mlp", "depth": 2}, "language": {"part": "smollm2-135m-instruct"}}
        model = ModelConfig.model_validate(tree).build()
        return save_model(model, root / "model", ["vision", "connector", "tokens"], {}, torch.float32)


@pytest.fixture(scope="session")
def llava_folder(llava_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`llava_model` as `sensorium export hf --format llava` writes it."""
    from sensorium.export import export_huggingface

    return export_huggingface(llava_model, tmp_path_factory.mktemp("hf") / "llava", "llava")


@pytest.fixture(scope="session")
def transformers_engine(llava_folder: Path) -> Any:
    """The engine of `llava_folder`. Shared: tests ask it, and change nothing."""
    from sensorium.engine.transformers.engine import TransformersEngine

    return TransformersEngine.load(llava_folder)


@pytest.fixture(scope="session")
def served_address(llamacpp_engine: Any) -> Iterator[str]:
    """Our own server before the llamacpp engine."""
    pytest.importorskip("fastapi", reason="serving is an extra")
    with served(llamacpp_engine) as address:
        yield address


@pytest.fixture(scope="session")
def remote_engine(served_address: str) -> Iterator[Any]:
    """The engine of an endpoint that is our own server."""
    from sensorium.engine.remote.engine import RemoteEngine

    engine = RemoteEngine(f"{served_address}/v1")
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def llava_renderer(llava_model: Path) -> Renderer:
    """How `llava_model` is asked by our own renderer."""
    from sensorium.model.checkpoint import load_model
    from sensorium.model.quiet import quietly

    with quietly():
        model = load_model(llava_model)
    return Renderer(model.tokenizer, model.tokens_per_picture)


ENGINES = {"torch": "small_engine", "llamacpp": "llamacpp_engine", "transformers": "transformers_engine",
           "remote": "remote_engine"}  # fmt: skip


@pytest.fixture(params=ENGINES)
def engine_name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def any_engine(request: pytest.FixtureRequest, engine_name: str) -> Any:
    """Each engine in turn."""
    return request.getfixturevalue(ENGINES[engine_name])


@pytest.fixture
def renderer(request: pytest.FixtureRequest, engine_name: str) -> Renderer:
    """How the model of that engine is asked: what an engine says of tokens is compared with this."""
    if engine_name == "transformers":
        return request.getfixturevalue("llava_renderer")
    return request.getfixturevalue("small_engine").renderer
