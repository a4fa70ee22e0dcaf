"""Fixtures for the whole suite: the real parts, loaded once, and a tiny model and dataset made on the spot.

Tiny means two blocks of width 32 and pictures of 56 pixels: everything the real ones have (class token, chat template,
special tokens, boxes), in a size that trains in seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image as Picture
from PIL import ImageDraw

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may need a download site
torch.set_num_threads(1)  # threads wait for one another longer than tiny matrices take, most of all on a busy machine

CHATML = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are helpful.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome", "microsoft-edge")
COLOURS = {"red": (220, 40, 40), "green": (40, 170, 60), "blue": (40, 70, 220)}
NAMES = ("cat", "dog", "ball")


def make_tokenizer(template: str, special: Sequence[str], bos: str | None, eos: str) -> Any:
    """A byte-level BPE tokenizer of some 400 words with those special tokens and that chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=list(special), initial_alphabet=alphabet, show_progress=False
    )
    words = f"system user assistant You are helpful. There is a {' '.join(NAMES)} in the picture. {' '.join(COLOURS)}"
    backend.train_from_iterator([words] * 8, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=bos, eos_token=eos, pad_token=eos, chat_template=template,
        clean_up_tokenization_spaces=False,
    )


@pytest.fixture(scope="session")
def tokenizer_maker() -> Callable[..., Any]:
    """`make_tokenizer(template, special, bos, eos)`, for tests of other templates."""
    return make_tokenizer


@pytest.fixture(scope="session")
def chatml() -> str:
    """The chat template of the tiny language model."""
    return CHATML


@pytest.fixture(scope="session")
def tiny_parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of a random vision model (3 blocks, 4x4 patches) and language model (2 blocks), by role."""
    from transformers import Dinov2Config, Dinov2Model, LlamaConfig, LlamaForCausalLM

    root = tmp_path_factory.mktemp("parts")
    tokenizer = make_tokenizer(CHATML, ["<|im_start|>", "<|im_end|>"], None, "<|im_end|>")
    torch.manual_seed(11)
    vision = Dinov2Config(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=2, mlp_ratio=2, image_size=56, patch_size=14
    )
    Dinov2Model(vision).save_pretrained(root / "vision")
    language = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True, initializer_range=0.2,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(language).save_pretrained(root / "language")
    tokenizer.save_pretrained(root / "language")
    return {"vision": str(root / "vision"), "language": str(root / "language")}


@pytest.fixture
def tiny_model_tree(tiny_parts: dict[str, str]) -> dict[str, Any]:
    """The `model:` tree of a recipe over the tiny parts: 4 visual tokens a picture, one block in the trainable tail."""
    return {
        "vision": {"part": tiny_parts["vision"], "layer": 1, "tail_blocks": 1, "fresh_norm": True, "image_size": 56},
        "connector": {"kind": "pixel_shuffle", "factor": 2},
        "language": {"part": tiny_parts["language"]},
    }


@pytest.fixture
def tiny_model(tiny_model_tree: dict[str, Any]) -> Any:
    """A fresh tiny MultimodalModel, the same numbers every time, in eval mode."""
    from sensorium.model.multimodal import ModelConfig

    torch.manual_seed(3)
    return ModelConfig.model_validate(tiny_model_tree).build().eval()


def _scene(folder: Path, number: int) -> dict[str, Any]:
    """A picture with one coloured thing in one of four quarters, and the truth about it."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    name, (colour, rgb) = NAMES[number % 3], list(COLOURS.items())[number // 3 % 3]
    x, y = (number % 2) * 28, (number // 2 % 2) * 28
    picture = Picture.new("RGB", (56, 56), (200 + number, 200, 200))
    corners = (x + 2, y + 2, x + 25, y + 25)
    pen = ImageDraw.Draw(picture)  # a name is a shape: a full square, a frame, a disc
    if name == "ball":
        pen.ellipse(corners, fill=rgb)
    else:
        pen.rectangle(corners, outline=rgb, width=24 if name == "cat" else 4)
    picture.save(folder / "images" / f"{number:03}.png")
    box = [round(1000 * v / 56) for v in (x + 2, y + 2, x + 26, y + 26)]
    thing = {"name": name, "box": box, "colour": colour, "drawing": name, "style": "square"}
    return {"id": f"s{number}", "image": f"images/{number:03}.png", "width": 56, "height": 56, "background": "plain",
            "objects": [thing]}


def _conversations(scene: dict[str, Any]) -> list[dict[str, Any]]:
    thing = scene["objects"][0]
    picture = {"type": "image", "path": scene["image"]}

    def row(task: str, *messages: tuple[str, Any], shown: str | None = scene["id"]) -> dict[str, Any]:
        said = [{"role": role, "content": content} for role, content in messages]
        return {"id": f"{scene['id']}-{task}", "scene": shown, "task": task, "messages": said}

    ask, tell = {"type": "text", "text": "What is it?"}, f"There is a {thing['colour']} {thing['name']}."
    return [
        row("caption", ("user", [picture, ask]), ("assistant", tell)),
        row("chat", ("user", [picture, ask]), ("assistant", thing["name"]), ("user", "And the colour?"),
            ("assistant", thing["colour"])),
        row("chat", ("user", [picture, {"type": "text", "text": "Which colour?"}]), ("assistant", thing["colour"])),
        row("text", ("user", "Are you helpful?"), ("assistant", "You are."), shown=None),
    ]


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset folder of 18 training and 6 validation pictures, with caption, chat and text conversations."""
    root = tmp_path_factory.mktemp("data")
    splits = {}
    for split, numbers in (("train", range(18)), ("val", range(18, 24))):
        scenes = [_scene(root / split, number) for number in numbers]
        conversations = [row for scene in scenes for row in _conversations(scene)]
        for name, rows in (("scenes", scenes), ("conversations", conversations)):
            (root / split / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (root / split / "probes.jsonl").write_text("")
        splits[split] = {"scenes": len(scenes), "conversations": len(conversations), "probes": 0}
    info = {"format": "sensorium-conversations-1", "name": "tiny", "seed": 0, "fingerprint": "tiny", "splits": splits,
            "vocabulary": list(NAMES), "licences": {}, "held_out": {"objects": [], "styles": [], "backgrounds": []}}
    (root / "dataset.json").write_text(json.dumps(info))
    return root


@pytest.fixture
def tiny_recipe_tree(tiny_model_tree: dict[str, Any], tiny_data: Path) -> dict[str, Any]:
    """A recipe of three short stages over the tiny parts and data."""
    batch = {"max_tokens": 256, "max_samples": 4}
    optimizer = {"warmup_steps": 2}
    return {
        "name": "tiny", "seed": 5, "data": str(tiny_data), "model": tiny_model_tree,
        "validate_every": 4, "validation_samples": 6, "checkpoint_minutes": 1000,
        "stages": [
            {"name": "warm", "objective": "words", "samples": 24, "batch": {"max_samples": 4},
             "learning_rates": {"vision": 1e-3, "connector": 3e-3}, "optimizer": optimizer},
            {"name": "align", "objective": "replies", "samples": 24, "batch": batch, "optimizer": optimizer,
             "learning_rates": {"connector": 1e-3, "tokens": 1e-3}},
            {"name": "instruct", "objective": "replies", "samples": 24, "batch": batch, "optimizer": optimizer,
             "tasks": {"chat": 0.6, "caption": 0.2, "text": 0.2}, "lora": {"rank": 2, "alpha": 4, "dropout": 0.1},
             "learning_rates": {"vision": 1e-4, "connector": 1e-3, "tokens": 1e-3, "language": 1e-3}},
        ],
    }


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder for this test alone."""
    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def make_film(
    path: Path,
    pictures: Sequence[Any],
    fps: int = 10,
    times_s: Sequence[float] | None = None,
    codec: str = "libx264",
    rotation: float = 0,
    aspect: tuple[int, int] = (1, 1),
    sound_s: float = 0,
    gop: int = 12,
    options: dict[str, str] | None = None,
) -> Path:
    """A small video of these pictures: greys (of 64x48) or Pillow's; the container by the path's suffix.

    times_s: when each appears, for a variable rate. sound_s: so much of a tone of 440 Hz beside them.
    options: of the container.
    """
    from fractions import Fraction

    import av
    import numpy as np

    frames = [Picture.new("RGB", (64, 48), (one,) * 3) if isinstance(one, int) else one for one in pictures]
    with av.open(str(path), "w", container_options=options or {}) as out:
        stream = out.add_stream(codec, rate=fps)
        stream.width, stream.height = frames[0].size
        stream.pix_fmt, stream.time_base = "yuvj420p" if codec == "mjpeg" else "yuv420p", Fraction(1, 1000)
        stream.codec_context.time_base, stream.codec_context.gop_size = Fraction(1, 1000), gop
        stream.codec_context.sample_aspect_ratio = Fraction(*aspect)
        if codec in ("mpeg4", "mjpeg"):  # which know no thousandths of a second
            stream.codec_context.time_base = Fraction(1, fps)
        if codec == "libx264":
            stream.codec_context.options = {"preset": "ultrafast", "qp": "12", "bf": "2" if times_s is None else "0"}
        else:
            stream.bit_rate = 5_000_000  # else the codec saves bits where a test counts greys
        if codec == "libvpx":
            stream.codec_context.options = {"deadline": "realtime"}
        if rotation:
            stream.set_display_rotation(rotation)
        sound = out.add_stream("aac", rate=16000, layout="mono") if sound_s else None
        for i, picture in enumerate(frames):
            frame = av.VideoFrame.from_image(picture)
            base = stream.codec_context.time_base
            frame.pts, frame.time_base = round((i / fps if times_s is None else times_s[i]) / base), base
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
        if sound:
            tone = np.sin(2 * np.pi * 440 * np.arange(int(16000 * sound_s)) / 16000).astype(np.float32)
            for start in range(0, len(tone), 1024):
                piece = av.AudioFrame.from_ndarray(tone[None, start : start + 1024], format="fltp", layout="mono")
                piece.sample_rate, piece.pts, piece.time_base = 16000, start, Fraction(1, 16000)
                out.mux(sound.encode(piece))
            out.mux(sound.encode())
    return path


@pytest.fixture(scope="session")
def film() -> Callable[..., Path]:
    """`film(path, pictures, fps, …)`, see `make_film`."""
    return make_film


@pytest.fixture(scope="session")
def smollm2() -> tuple[Any, Callable[[], Any]]:
    """The real SmolLM2-135M-Instruct, loaded once, and a function that makes a fresh tokenizer of it."""
    from transformers import AutoTokenizer

    from sensorium.model.language import LanguageConfig, language_folder

    model, _ = LanguageConfig(part="smollm2-135m-instruct").build()
    folder = language_folder("smollm2-135m-instruct")
    return model.eval(), lambda: AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder as training leaves it, before any training: the default recipe's model, torch's seed 0."""
    from sensorium.model.checkpoint import save_model
    from sensorium.model.quiet import quietly
    from sensorium.training.recipe import load_recipe

    recipe = load_recipe(Path(__file__).parent.parent / "recipes" / "default.yaml")
    with torch.random.fork_rng(), quietly():
        torch.manual_seed(0)
        model = recipe.model_at(len(recipe.stages) - 1).build()
    trained = sorted({module for stage in recipe.stages for module in stage.learning_rates})
    return save_model(model, tmp_path_factory.mktemp("models") / "untrained", trained, {"recipe": recipe.name})


@pytest.fixture(scope="session")
def small_engine(model_folder: Path) -> Any:
    """The engine of `model_folder`. Shared: tests ask it, and change nothing."""
    from sensorium.engine.loading import load_engine

    return load_engine(model_folder)


class Internet:
    """An internet of names and addresses that are all on this machine's loopback; whoever was asked is noted.

    names: host -> what a name server says, one list of addresses for each time it is asked, the last one for ever.
    connections: (address, port, name in the certificate wanted) of each connection asked for; heads: what was sent;
    broken_off: answers that were not taken to their end.
    """

    def __init__(self) -> None:
        self.names: dict[str, list[list[str]]] = {}
        self.connections: list[tuple[str, int, str | None]] = []
        self.heads: list[bytes] = []
        self.broken_off = 0
        self._ports: dict[tuple[str, int], int] = {}
        self._sockets: list[socket.socket] = []
        self._find, self._open = socket.getaddrinfo, asyncio.open_connection

    def answer(self, address: str, *pieces: bytes | Callable[[], object], port: int = 80, tls: Any = None) -> None:
        """At this address, answer each request with these bytes; what can be called is called in its turn."""
        listening = socket.create_server(("127.0.0.1", 0))
        self._sockets.append(listening)
        self._ports[address, port] = listening.getsockname()[1]
        threading.Thread(target=self._serve, args=(listening, pieces, tls), daemon=True).start()

    def _serve(self, listening: socket.socket, pieces: Sequence[Any], tls: Any) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:  # the test is over
                return
            try:
                with connection if tls is None else tls.wrap_socket(connection, server_side=True) as talking:
                    head = b""
                    while b"\r\n\r\n" not in head and (piece := talking.recv(4096)):
                        head += piece
                    self.heads.append(head)
                    for piece in pieces:
                        talking.sendall(piece) if isinstance(piece, bytes) else piece()
            except OSError:  # the other side left
                self.broken_off += 1

    def find(self, host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> list[Any]:
        """In place of `socket.getaddrinfo`: numbers are read by the C library, names looked up here."""
        name = host.decode() if isinstance(host, bytes) else host
        with contextlib.suppress(socket.gaierror):
            return self._find(name, port, family, type, proto, socket.AI_NUMERICHOST)
        answers = self.names.get(name)
        if not answers:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        numbers = answers.pop(0) if len(answers) > 1 else answers[0]
        return [found for number in numbers for found in self.find(number, port, family, type, proto, flags)]

    async def open(self, host: str, port: int, **named: Any) -> Any:
        """In place of `asyncio.open_connection`: leads to the loopback where something answers there."""
        self.connections.append((host, port, named.get("server_hostname")))
        if (host, port) not in self._ports:
            raise ConnectionRefusedError(111, "Connection refused")
        return await self._open("127.0.0.1", self._ports[host, port], **named)

    def close(self) -> None:
        for listening in self._sockets:
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            listening.close()


@pytest.fixture
def internet(monkeypatch: pytest.MonkeyPatch) -> Iterator[Internet]:
    """Names are looked up and connections opened in it alone: no packet of the code under test leaves the loopback."""
    internet = Internet()
    monkeypatch.setattr(socket, "getaddrinfo", internet.find)
    monkeypatch.setattr(asyncio, "open_connection", internet.open)
    yield internet
    internet.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium, or whichever is on the PATH, driven by Playwright."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright to drive a browser")
    executable = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if executable is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} on the PATH")
    # Chromium's sandbox does not run as root, which is who runs tests in containers.
    as_root = hasattr(os, "geteuid") and os.geteuid() == 0
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=executable, args=["--no-sandbox"] if as_root else [])
        yield chromium
        chromium.close()


# The contrast of what is written with what is behind it, as WCAG 2 defines it, of every element with words of its own.
CONTRASTS = """() => {
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const part = (value) => (value / 255 <= 0.03928 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const worded = [...document.querySelectorAll("body *")].filter((element) =>
    element.checkVisibility() && !element.closest("script, style, select") &&
    [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()));
  return worded.map((element) => {
    const style = getComputedStyle(element);
    const pair = [light(parse(element.closest("svg") ? style.fill : style.color)), light(behind(element))];
    return [(Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05), element.className.baseVal ?? element.className,
            element.textContent.slice(0, 40)];
  });
}"""


@pytest.fixture(scope="session")
def contrasts() -> Callable[[Any], list[tuple[float, str, str]]]:
    """`contrasts(page)`: (contrast, class, words) of every element with words of its own."""
    return lambda page: [tuple(found) for found in page.evaluate(CONTRASTS)]
